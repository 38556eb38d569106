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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minimisation {
    /// Line of the tag, from 1; absent if the agreement came in canonical form.
    pub line: Option<u32>,
    /// The tag.
    pub tag: TagName,
    /// How the two stand to each other.
    pub fit: Fit,
    /// The level delivered; 0 is exact.
    pub agreed_level: usize,
    /// The coarsest adequate level; absent if the tag is not needed or nothing is known.
    pub adequate_level: Option<usize>,
    /// Different values at the level delivered; absent if unbounded.
    pub agreed_values: Option<usize>,
    /// Different values at the adequate level; absent if unbounded or if there is none.
    pub adequate_values: Option<usize>,
    /// Why that is adequate, and what to do.
    pub advice: String,
}

/// Compares every tag of an agreement with what its taxonomy holds for adequate.
#[must_use]
pub fn minimisation(agreement: &Agreement, taxonomy: &Taxonomy) -> Vec<Minimisation> {
    let purpose = agreement.purpose();
    let judge = |(index, tag): (usize, &Tag)| {
        let adequacy = taxonomy
            .definition(tag.name())
            .and_then(|definition| taxonomy.adequacy(definition.subject(), purpose));
        let (fit, adequate_level) = fit(tag, adequacy);
        let adequate_values = adequate_level.and_then(|level| tag.distinct_values_at(level));
        let advice = match (fit, adequacy) {
            (Fit::Adequate, Some(adequacy)) => adequacy.why.to_string(),
            (Fit::Finer, Some(adequacy)) => format!(
                "{}; {}",
                adequacy.why,
                how_to(tag, adequate_level.unwrap_or_default())
            ),
            (Fit::NotNeeded, Some(adequacy)) => format!("{}; leave the tag out", adequacy.why),
            _ => format!(
                "taxonomy {} has no `[[adequacy]]` of this tag's subject for {purpose}",
                taxonomy.reference()
            ),
        };
        Minimisation {
            line: agreement.lines.get(&format!("tags[{index}]")).copied(),
            tag: tag.name().clone(),
            fit,
            agreed_level: tag.level(),
            adequate_level,
            agreed_values: tag.distinct_values(),
            adequate_values,
            advice,
        }
    };
    agreement.tags().iter().enumerate().map(judge).collect()
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
