//! The taxonomies that an agent has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::read::{self, Draft};
use super::{Definition, Taxonomy, TaxonomyRef, Use};
use crate::agreement::SegmentTag;
use crate::finding::{Finding, Findings};
use crate::tag::Tag;
use crate::text::TaxonomyName;

const CN_FINANCE: &str = include_str!("cn-finance.toml");

static BUILT_IN: LazyLock<Arc<Taxonomy>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "compiled in, and read by a test")]
    let taxonomy = read::draft(CN_FINANCE)
        .and_then(|draft| draft.complete(None))
        .expect("the built-in taxonomy is valid");
    Arc::new(taxonomy)
});

/// What is wrong with one of several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFindings {
    /// The file's name.
    pub file: String,
    /// What is wrong in it.
    pub findings: Findings,
}

impl fmt::Display for FileFindings {
    /// A line each, `FILE: line 3: ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}: {finding}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileFindings {}

/// Taxonomies by name and version; the built-in one is always there.
#[derive(Clone, Debug)]
pub struct Library {
    taxonomies: BTreeMap<(TaxonomyName, u32), Arc<Taxonomy>>,
}

impl Default for Library {
    /// [`built_in`](Self::built_in).
    fn default() -> Self {
        Self::built_in()
    }
}

impl Library {
    /// The built-in `cn-finance` alone.
    #[must_use]
    pub fn built_in() -> Self {
        let taxonomy = Arc::clone(&BUILT_IN);
        let key = (taxonomy.reference.name.clone(), taxonomy.reference.version);
        Self {
            taxonomies: BTreeMap::from([(key, taxonomy)]),
        }
    }

    /// The text of the built-in taxonomy, with its comments: a sample for one's own.
    #[must_use]
    pub fn built_in_text() -> &'static str {
        CN_FINANCE
    }

    /// Reads taxonomies, each a file's name and text, in any order.
    ///
    /// # Errors
    /// [`FileFindings`]: what is wrong with the first file that cannot be read, by line; one
    /// that extends a taxonomy which is not there, or itself by way of others; a name and
    /// version that are there twice.
    pub fn load(files: &[(&str, &str)]) -> Result<Self, FileFindings> {
        let mut library = Self::built_in();
        let mut waiting = Vec::new();
        for (file, text) in files {
            let draft = read::draft(text).map_err(|findings| in_file(file, findings))?;
            waiting.push((*file, draft));
        }
        while !waiting.is_empty() {
            let is_ready = |(_, draft): &(&str, Draft)| match &draft.extends {
                Some(base) => library.taxonomies.contains_key(base),
                None => true,
            };
            let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            if ready.is_empty() {
                return Err(unready(&library, &rest));
            }
            for (file, draft) in ready {
                library
                    .add(draft)
                    .map_err(|findings| in_file(file, findings))?;
            }
            waiting = rest;
        }
        Ok(library)
    }

    fn add(&mut self, draft: Draft) -> Result<(), Findings> {
        let key = (draft.name.clone(), draft.version);
        if self.taxonomies.contains_key(&key) {
            let problem = format!("taxonomy `{}` version {} is here already", key.0, key.1);
            return Err(Findings::of_document(
                problem,
                "another name, or a higher version",
            ));
        }
        let base = draft
            .extends
            .as_ref()
            .and_then(|base| self.taxonomies.get(base));
        let taxonomy = draft.complete(base.cloned().as_deref())?;
        self.taxonomies.insert(key, Arc::new(taxonomy));
        Ok(())
    }

    /// Every taxonomy, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Taxonomy> {
        self.taxonomies.values().map(AsRef::as_ref)
    }

    /// The taxonomy of a name and version.
    #[must_use]
    pub fn find(&self, name: &TaxonomyName, version: u32) -> Option<&Arc<Taxonomy>> {
        self.taxonomies.get(&(name.clone(), version))
    }

    /// The highest version of a name.
    #[must_use]
    pub fn latest(&self, name: &TaxonomyName) -> Option<&Arc<Taxonomy>> {
        self.taxonomies
            .range((name.clone(), 0)..=(name.clone(), u32::MAX))
            .next_back()
            .map(|(_, taxonomy)| taxonomy)
    }

    /// What to do about a taxonomy that is not here, for messages.
    #[must_use]
    pub fn missing(&self, name: &TaxonomyName, version: u32) -> String {
        match self.latest(name) {
            Some(latest) => format!(
                "version {version} of taxonomy `{name}`; the highest here is {}",
                latest.reference.version
            ),
            None => {
                let known: Vec<_> = self
                    .iter()
                    .map(|taxonomy| taxonomy.reference.to_string())
                    .collect();
                format!(
                    "taxonomy `{name}` version {version}; here are {}",
                    known.join(", ")
                )
            }
        }
    }

    /// Whether the tags of an agreement are what the taxonomy that `reference` names says:
    /// `Ok(false)` if that version is not here, so that nothing can be said.
    pub(crate) fn check(
        &self,
        reference: &TaxonomyRef,
        tags: &[Tag],
        segment_tags: &[SegmentTag],
    ) -> Result<bool, Findings> {
        let Some(taxonomy) = self.find(&reference.name, reference.version) else {
            return Ok(false);
        };
        let mut findings = Vec::new();
        let mut note = |path: &str, problem: String| {
            findings.push(Finding {
                line: None,
                path: path.to_owned(),
                problem,
                would_pass: format!("what {reference} says here"),
            });
        };
        if taxonomy.reference.digest != reference.digest {
            note(
                "taxonomy.digest",
                format!("{reference} says something else here"),
            );
        }
        for (index, tag) in tags.iter().enumerate() {
            if !taxonomy.defines(tag) {
                let problem = format!("`{}` is not what {reference} defines", tag.name());
                note(&format!("tags[{index}]"), problem);
            }
        }
        for (index, tag) in segment_tags.iter().enumerate() {
            if !taxonomy.defines_segment_tag(tag) {
                let problem = format!("`{}` is not what {reference} defines", tag.name());
                note(&format!("segment_tags[{index}]"), problem);
            }
        }
        if findings.is_empty() {
            Ok(true)
        } else {
            Err(Findings::new(findings))
        }
    }
}

impl Taxonomy {
    /// Whether a tag of an agreement is one of the forms of its definition here.
    #[must_use]
    pub fn defines(&self, tag: &Tag) -> bool {
        let spec = tag.to_spec();
        let wanted = Use {
            form: spec.form,
            level: spec.level,
            coarser: Some(spec.written),
        };
        self.definition(tag.name())
            .and_then(|definition| definition.in_form(wanted).ok())
            .is_some_and(|own| own == *tag)
    }

    /// Whether a tag that an agreement's segments use is what is defined here.
    #[must_use]
    pub fn defines_segment_tag(&self, tag: &SegmentTag) -> bool {
        self.definition(tag.name())
            .and_then(Definition::exact)
            .is_some_and(|exact| *tag == SegmentTag::of(exact))
    }
}

fn in_file(file: &str, findings: Findings) -> FileFindings {
    FileFindings {
        file: file.to_owned(),
        findings,
    }
}

/// None of the files can be completed: each waits for a taxonomy that is nowhere, or they
/// wait for each other.
fn unready(library: &Library, waiting: &[(&str, Draft)]) -> FileFindings {
    let is_waiting = |base: &(TaxonomyName, u32)| {
        waiting
            .iter()
            .any(|(_, draft)| draft.name == base.0 && draft.version == base.1)
    };
    let fault = waiting.iter().find_map(|(file, draft)| {
        let base = draft.extends.as_ref()?;
        Some((file, draft, base)).filter(|_| !is_waiting(base))
    });
    let first = || {
        let (file, draft) = waiting.first()?;
        Some((file, draft, draft.extends.as_ref()?))
    };
    let Some((file, draft, base)) = fault.or_else(first) else {
        return in_file("", Findings::of_document("nothing to read", "a taxonomy"));
    };
    let (problem, would_pass) = if is_waiting(base) {
        (
            "this taxonomy extends itself by way of others".to_owned(),
            "a chain that ends, at `cn-finance` for instance".to_owned(),
        )
    } else {
        (
            format!("`{}` version {} is not here", base.0, base.1),
            format!(
                "a taxonomy that is; missing is {}",
                library.missing(&base.0, base.1)
            ),
        )
    };
    let finding = Finding {
        line: draft.extends_line,
        path: "extends".to_owned(),
        problem,
        would_pass,
    };
    in_file(file, Findings::new(vec![finding]))
}
