//! One tag of a taxonomy, and how an agreement uses it.

use serde_json::{Value as Json, json};

use super::{Class, SecurityLevel};
use crate::tag::{Form, Tag, TagProblem, Written};
use crate::text::{Subject, TagName};

/// A tag of a taxonomy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub(super) name: TagName,
    pub(super) meaning: Box<str>,
    pub(super) subject: Subject,
    pub(super) class: Class,
    pub(super) security_level: SecurityLevel,
    /// INVARIANT (C3 has no form): `None` exactly if the class is C3, so nothing can be made
    /// of such a definition but a refusal. Established in `read`.
    pub(super) exact: Option<Tag>,
}

/// How an agreement uses a definition: the form, its level, and a coarser hierarchy if it
/// gives one.
pub(crate) struct Use {
    pub(crate) form: Form,
    pub(crate) level: Option<u64>,
    pub(crate) coarser: Option<Written>,
}

impl Definition {
    /// The tag's name.
    #[must_use]
    pub fn name(&self) -> &TagName {
        &self.name
    }

    /// What it says of a customer, in a sentence.
    #[must_use]
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// What it is about, for advice.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The class after JR/T 0171-2020.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The level after JR/T 0197-2020.
    #[must_use]
    pub fn security_level(&self) -> SecurityLevel {
        self.security_level
    }

    /// The tag told exactly; `None` for class C3, which is told in no form.
    #[must_use]
    pub fn exact(&self) -> Option<&Tag> {
        self.exact.as_ref()
    }

    /// The tag in the form that an agreement gives it.
    pub(crate) fn in_form(&self, wanted: Use) -> Result<Tag, Vec<TagProblem>> {
        let exact = self.told().map_err(|problem| vec![problem])?;
        let mut spec = exact.to_spec();
        spec.form = wanted.form;
        spec.level = wanted.level;
        if let Some(coarser) = wanted.coarser {
            spec.written.levels = coarser.levels;
            spec.written.bands = coarser.bands;
        }
        let tag = spec.check()?;
        tag.check_coarser_than(exact)
            .map_err(|problem| vec![problem])?;
        Ok(tag)
    }

    /// The tag, if its class may leave at all.
    pub(crate) fn told(&self) -> Result<&Tag, TagProblem> {
        self.exact.as_ref().ok_or_else(|| TagProblem {
            key: "class",
            index: None,
            problem: format!(
                "`{}` is of class C3 (authentication data), which never leaves its institution",
                self.name
            ),
            would_pass: "leave this tag out; no agreement can allow it".to_owned(),
        })
    }

    pub(super) fn json(&self) -> Json {
        let mut fields = match &self.exact {
            Some(tag) => tag.definition_json(),
            None => serde_json::Map::new(),
        };
        let mut insert = |key: &str, value| fields.insert(key.to_owned(), value);
        insert("name", json!(self.name));
        insert("meaning", json!(self.meaning));
        insert("subject", json!(self.subject));
        insert("class", json!(self.class));
        insert("security_level", json!(self.security_level));
        fields.into()
    }
}
