//! What is wrong with a document, told all at once.

use std::fmt;

use serde::Serialize;

/// One fault of a document: where, what, and what would pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Line in the text, from 1; absent if the document came in canonical form.
    pub line: Option<u32>,
    /// The field's path, like `tags[2].bands[0]`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What would be accepted instead.
    pub would_pass: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; would pass: {}", self.problem, self.would_pass)
    }
}

/// All faults of a document, in the order of its lines; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        findings.dedup();
        Self(findings)
    }

    pub(crate) fn of_document(problem: impl Into<String>, would_pass: impl Into<String>) -> Self {
        Self(vec![Finding {
            line: None,
            path: String::new(),
            problem: problem.into(),
            would_pass: would_pass.into(),
        }])
    }

    /// The findings, first line first.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
