//! What is wrong with the text of an agreement, and what could be better.

use counterfoil_policy::agreement::{Advice, Agreement, MarkReach, Minimisation, lint_beside};
use counterfoil_policy::decision::{Obstacle, Rules, obstacles};
use counterfoil_policy::finding::Finding;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::taxonomy::Library;
use serde::Serialize;

/// What a linter says of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// Nothing is wrong; there may be advice.
    pub valid: bool,
    /// What is wrong, by line.
    pub findings: Vec<Finding>,
    /// Rules for which a broker with all packs would deny every request for all tags, by line. Nobody is kept from signing.
    pub obstacles: Vec<Obstacle>,
    /// What could be better, by line.
    pub advice: Vec<Advice>,
    /// For each tag the coarsest form that the taxonomy holds for adequate to the purpose.
    pub minimisation: Vec<Minimisation>,
    /// What the marks can do at all; none if deliveries are not marked.
    pub marks: Option<MarkReach>,
}

/// Checks the text of an agreement over one of the library's taxonomies, also beside others; needs no home.
#[must_use]
pub fn lint(text: &str, library: &Library, beside: &[Agreement], now: Timestamp) -> LintReport {
    match Agreement::parse_with(text, library) {
        Ok(agreement) => LintReport {
            valid: true,
            findings: Vec::new(),
            obstacles: obstacles(Rules::built_in(), &agreement, now),
            advice: {
                let mut advice = counterfoil_policy::agreement::lint(&agreement);
                advice.extend(lint_beside(&agreement, beside));
                advice.sort();
                advice
            },
            minimisation: library
                .find(&agreement.taxonomy().name, agreement.taxonomy().version)
                .map(|taxonomy| counterfoil_policy::agreement::minimisation(&agreement, taxonomy))
                .unwrap_or_default(),
            marks: agreement.mark_reach(),
        },
        Err(findings) => LintReport {
            valid: false,
            findings: findings.iter().cloned().collect(),
            obstacles: Vec::new(),
            advice: Vec::new(),
            minimisation: Vec::new(),
            marks: None,
        },
    }
}
