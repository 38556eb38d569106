//! The minimisation linter: for each tag the coarsest form that is adequate to the purpose.
//!
//! What is adequate is the taxonomy's advice (`[[adequacy]]`), somebody's judgement with its
//! reason, and not law. Nothing is refused by it.

use serde::Serialize;

use crate::agreement::Agreement;
use crate::tag::Tag;
use crate::taxonomy::{Adequacy, Need, Taxonomy};
use crate::text::TagName;

/// How a tag's agreed form stands to what its purpose needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// As coarse as is adequate, or coarser.
    Adequate,
    /// A coarser level would be adequate.
    Finer,
    /// The purpose does not need the tag.
    NotNeeded,
    /// The taxonomy says nothing about this purpose.
    Unknown,
}

/// One tag's agreed level against the coarsest adequate one.
///
/// A tag by which segments choose has no level: of it a delivery tells one bit, whether its customers belong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minimisation {
    /// Line of the tag, from 1; absent if the agreement came in canonical form.
    pub line: Option<u32>,
    /// The tag.
    pub tag: TagName,
    /// Whether it is delivered; otherwise only segments choose by it.
    pub delivered: bool,
    /// How the two stand to each other.
    pub fit: Fit,
    /// The level delivered, 0 is exact; absent if the tag is not delivered.
    pub agreed_level: Option<usize>,
    /// The coarsest adequate level; absent if the tag is not needed or nothing is known.
    pub adequate_level: Option<usize>,
    /// Different values at the level delivered, or in and outside a segment; absent if unbounded.
    pub agreed_values: Option<usize>,
    /// Different values at the adequate level; absent if unbounded or if there is none.
    pub adequate_values: Option<usize>,
    /// Why that is adequate, and what to do.
    pub advice: String,
}

/// Compares every tag of an agreement with what its taxonomy holds for adequate.
#[must_use]
pub fn minimisation(agreement: &Agreement, taxonomy: &Taxonomy) -> Vec<Minimisation> {
    let judged = Judge {
        agreement,
        taxonomy,
    };
    let delivered = agreement.tags().iter().enumerate();
    let others = agreement.segment_tags().iter().enumerate();
    delivered
        .map(|(index, tag)| judged.delivered(index, tag))
        .chain(others.map(|(index, tag)| judged.chosen_by(index, tag.definition())))
        .collect()
}

struct Judge<'a> {
    agreement: &'a Agreement,
    taxonomy: &'a Taxonomy,
}

impl Judge<'_> {
    fn delivered(&self, index: usize, tag: &Tag) -> Minimisation {
        let adequacy = self.adequacy(tag);
        let (fit, adequate_level) = fit(tag, adequacy);
        let what = match fit {
            Fit::Finer => how_to(tag, adequate_level.unwrap_or_default()),
            _ => "leave the tag out".to_owned(),
        };
        Minimisation {
            line: self.line(&format!("tags[{index}]")),
            tag: tag.name().clone(),
            delivered: true,
            fit,
            agreed_level: Some(tag.level()),
            adequate_level,
            agreed_values: tag.distinct_values(),
            adequate_values: adequate_level.and_then(|level| tag.distinct_values_at(level)),
            advice: self.advice(fit, adequacy, &what),
        }
    }

    /// One bit is as coarse as can be, so it is adequate wherever the tag is needed at all.
    fn chosen_by(&self, index: usize, tag: &Tag) -> Minimisation {
        let adequacy = self.adequacy(tag);
        let fit = match fit(tag, adequacy).0 {
            Fit::Finer => Fit::Adequate,
            other => other,
        };
        Minimisation {
            line: self.line(&format!("segment_tags[{index}]")),
            tag: tag.name().clone(),
            delivered: false,
            fit,
            agreed_level: None,
            adequate_level: None,
            agreed_values: Some(2),
            adequate_values: None,
            advice: self.advice(fit, adequacy, "choose segments by another tag"),
        }
    }

    fn adequacy(&self, tag: &Tag) -> Option<&Adequacy> {
        let definition = self.taxonomy.definition(tag.name())?;
        self.taxonomy
            .adequacy(definition.subject(), self.agreement.purpose())
    }

    fn line(&self, path: &str) -> Option<u32> {
        self.agreement.lines.get(path).copied()
    }

    fn advice(&self, fit: Fit, adequacy: Option<&Adequacy>, what: &str) -> String {
        match (fit, adequacy) {
            (Fit::Adequate, Some(adequacy)) => adequacy.why.to_string(),
            (Fit::Finer | Fit::NotNeeded, Some(adequacy)) => format!("{}; {what}", adequacy.why),
            _ => format!(
                "taxonomy {} has no `[[adequacy]]` of this tag's subject for {}",
                self.taxonomy.reference(),
                self.agreement.purpose()
            ),
        }
    }
}

fn fit(tag: &Tag, adequacy: Option<&Adequacy>) -> (Fit, Option<usize>) {
    match adequacy.map(|adequacy| adequacy.need) {
        None => (Fit::Unknown, None),
        Some(Need::Nothing) => (Fit::NotNeeded, None),
        Some(Need::Level(level)) => {
            let level = level.min(tag.level_count());
            let fit = if tag.level() < level {
                Fit::Finer
            } else {
                Fit::Adequate
            };
            (fit, Some(level))
        }
    }
}

fn how_to(tag: &Tag, level: usize) -> String {
    let form = if tag.kind().is_closed() {
        "level"
    } else {
        "banded"
    };
    format!("write form = \"{form}\" and level = {level}")
}
