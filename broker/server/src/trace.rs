//! Tracing a leaked file: first two people's authorisation in the log, then scores, then their outcome in the log.
//!
//! [`Scoring::score`] takes the [`Recorded`] that only the ledger makes, so nothing is scored before its file's digest and
//! row count are durable. The broker sees mark tags and cells, never the file, which holds identifiers.

#[cfg(feature = "bench")]
pub mod bench;
mod codes;
mod marks;
pub(crate) mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;

use counterfoil_proto::leak::LeakContent;
use counterfoil_proto::report::{AccusedFlow, Evidence, MarksRead, Shortfall, TraceReport};
use counterfoil_watermark::{Lineage, MarkError, MasterKey};

use crate::log::Recorded;
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::marks::{Release, ScoringEntry};

use codes::Coded;
use marks::{Candidates, Scores};

/// Anybody innocent is named in one of so many traces, or fewer.
const FALSE_NAMING_ONE_IN: u64 = 1_000_000_000;
/// Most flows of one recipient that are listed where none can be chosen, and most whose codes are in a file: a report has an end.
const FLOWS_LISTED_MAX: usize = 256;
/// Fewest others of whom a histogram is shown.
const HISTOGRAM_MIN: u64 = 20;

/// Why a file was not scored, although it was authorised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unscored {
    /// The columns cannot be told from each other.
    #[error(
        "the file cannot be read as this lineage: {0}; say which column is which tag with `--is COLUMN=TAG`"
    )]
    Ambiguous(MarkError),
    /// None of them is one of the lineage's.
    #[error("no column of the file can be one that carries marks in this lineage")]
    NoColumn,
    /// A tag that does not fit, or columns of different length.
    #[error("what was sent is not rows of this lineage")]
    Content,
    /// Too few of its cells can say anything.
    #[error(
        "too few of the file's cells carry marks to say anything: scores of a few would tell the marks"
    )]
    TooLittle,
    /// None of its codes is of a delivery of the owner's.
    #[error("no reference code of the file is one of a delivery of yours")]
    NoCode,
    /// A key that is not the one that an entry commits to.
    #[error("the key of a delivery is not the one that the log commits to")]
    Commitment,
}

impl Unscored {
    /// What the caller is refused with.
    pub(crate) fn refusal(&self) -> Refusal {
        let would_pass = match self {
            Self::TooLittle => "a larger part of the delivery",
            Self::NoCode => "a file with codes as they were delivered, or with rows of customers",
            _ => "a file whose columns can be told",
        };
        Refusal::new("unreadable", self.to_string(), would_pass)
    }
}

/// What a leaked file is compared with, taken out of state so that scoring holds no lock.
pub(crate) struct Scoring {
    /// None where codes alone are looked for.
    marks: Option<Candidates>,
    /// All releases of the owner whose rows have codes, of whichever lineage.
    coded: Vec<Arc<Release>>,
}

impl Scoring {
    /// Of all releases that a request is about; `None` if there are none.
    pub(crate) fn of(state: &State, entry: &ScoringEntry) -> Option<Self> {
        let coded = state.marks.coded(entry.request.org.as_str()).to_vec();
        if entry.request.is_of_codes() {
            return Some(Self { marks: None, coded });
        }
        let releases = state.marks.releases(&entry.lineage);
        let agreements: BTreeSet<_> = releases.iter().map(|of| of.agreement.sha256).collect();
        let agreements = agreements
            .iter()
            .filter_map(|sha256| state.agreements.get(sha256));
        let lineages = agreements.filter_map(|record| Some(record.agreement.marks()?.lineage()));
        let lineage = Lineage::merged(lineages)?;
        let marks = Candidates::over(lineage, entry.lineage.clone(), releases);
        let marks = Some(marks);
        Some(Self { marks, coded })
    }

    /// Looks for codes, and scores all candidates. Blocks, for seconds.
    pub(crate) fn score(
        &self,
        recorded: &Recorded<ScoringEntry>,
        content: &LeakContent,
        master: &MasterKey,
        progress: impl FnMut(usize),
    ) -> Result<Scored, Unscored> {
        let coded = codes::found(&self.coded, content, master)?;
        let marks = match &self.marks {
            None if coded.flows.is_empty() => return Err(Unscored::NoCode),
            None => None,
            Some(candidates) => match candidates.score(content, master, progress) {
                Ok(scores) => Some(scores),
                // What the codes say needs no score, and makes none allowed.
                Err(Unscored::NoColumn | Unscored::TooLittle | Unscored::Ambiguous(_))
                    if !coded.flows.is_empty() =>
                {
                    None
                }
                Err(why) => return Err(why),
            },
        };
        Ok(Scored {
            scoring: recorded.index(),
            coded,
            marks,
        })
    }

    /// Recipients that are candidates.
    pub(crate) fn recipients(&self) -> usize {
        self.marks
            .as_ref()
            .map_or(0, |marks| marks.by_recipient.len())
    }
}

fn flow(release: &Release, named: Option<counterfoil_watermark::Evidence>) -> AccusedFlow {
    AccusedFlow {
        flow: release.flow.to_string(),
        agreement: release.agreement.id.to_string(),
        version: release.agreement.version,
        entry: release.entry,
        time: release.time.to_string(),
        key_commitment: release.marks.flow_key.to_string(),
        evidence: named.map(evidence),
    }
}

fn evidence(found: counterfoil_watermark::Evidence) -> Evidence {
    Evidence {
        log10_e: rounded(found.ln_e / std::f64::consts::LN_10),
        p: found.p,
    }
}

/// Up to 1, 2 or 5 times a power of ten.
fn coarse(rows: u64) -> u64 {
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    let mut steps = powers.flat_map(|power| [1, 2, 5].map(|step| power.saturating_mul(step)));
    steps.find(|step| *step >= rows).unwrap_or(u64::MAX)
}

/// Of a few, no more than how many there are.
fn others(bins: &[u64]) -> Vec<u64> {
    match bins.iter().sum() {
        few @ 0..HISTOGRAM_MIN => vec![few],
        _ => bins.to_vec(),
    }
}

/// To hundredths.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The outcome, before it is told to anybody.
pub(crate) struct Scored {
    scoring: u64,
    coded: Coded,
    /// None where codes alone said something.
    marks: Option<Scores>,
}

/// What the report says beside the outcome.
pub(crate) struct Said<'a> {
    pub(crate) broker: &'a str,
    pub(crate) time: String,
    pub(crate) incident: &'a str,
    pub(crate) entry: &'a ScoringEntry,
}

impl Scored {
    /// Recipients that are named.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let accused = self.marks.iter().flat_map(|marks| &marks.accused);
        accused.map(|accused| accused.recipient.as_str())
    }

    /// Recipients whose reference codes are in the file.
    pub(crate) fn coded(&self) -> impl Iterator<Item = &str> {
        let recipients = self.coded.flows.iter();
        let recipients = recipients.map(|coded| coded.recipient.as_str());
        recipients.collect::<BTreeSet<_>>().into_iter()
    }

    /// Candidates that were scored; none where codes alone were looked for.
    pub(crate) fn candidates(&self) -> u64 {
        self.marks
            .as_ref()
            .map_or(0, |marks| marks.verdict.candidates)
    }

    /// The report. Scores of those who are not named stay in one histogram.
    pub(crate) fn report(self, said: &Said<'_>) -> TraceReport {
        let request = &said.entry.request;
        TraceReport {
            broker: said.broker.to_owned(),
            time: said.time.clone(),
            incident: said.incident.to_owned(),
            scoring: self.scoring,
            org: request.org.to_string(),
            lineage: request.lineage.clone(),
            file_sha256: request.file_sha256.to_string(),
            rows: request.rows,
            rows_used: request.rows_used,
            tag_key: request.tag_key.map(|key| key.to_string()),
            marks: self.marks.map(Scores::told),
            coded: self.coded.flows,
            code_keys_compared: self.coded.keys_compared,
        }
    }
}

impl Scores {
    fn told(self) -> MarksRead {
        let verdict = self.verdict;
        let shortfall = verdict.shortfall.map(|missing| Shortfall {
            rows_more_unaltered: missing.rows_more_unaltered.map(coarse),
            rows_more_at_this_rate: missing.rows_more_at_this_rate.map(coarse),
        });
        MarksRead {
            readings: self.readings,
            columns: self.columns,
            reads: self.reads,
            candidates: verdict.candidates,
            false_naming_one_in: FALSE_NAMING_ONE_IN,
            log10_threshold: rounded(verdict.ln_threshold / std::f64::consts::LN_10),
            accused: self.accused,
            others: others(verdict.others.bins()),
            keys_compared: verdict.candidates + 1,
            shortfall,
        }
    }
}

#[cfg(test)]
mod tests;
