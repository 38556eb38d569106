//! Tracing a leaked file: first two people's authorisation in the log, then scores, then their outcome in the log.
//!
//! [`Scoring::score`] takes the [`Recorded`] that only the ledger makes, so nothing is scored before its file's digest and
//! row count are durable. The broker sees mark tags and cells, never the file, which holds identifiers.

#[cfg(feature = "bench")]
pub mod bench;
mod codes;
pub(crate) mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use counterfoil_audit::entry::{Digest, Label};
use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_proto::report::{
    AccusedFlow, AccusedRecipient, CodedFlow, ColumnRead, Evidence, Shortfall, TraceReport,
};
use counterfoil_watermark::{
    Assignment, Commitment, Leak, Level, Lineage, MarkError, MarkTag, MasterKey, Reading, Standard,
    Suspect, Trace, Verdict, assignments,
};

use crate::log::Recorded;
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::marks::{Release, ScoringEntry};

/// Anybody innocent is named in one of so many traces, or fewer.
const FALSE_NAMING_ONE_IN: u64 = 1_000_000_000;
/// Fewest marked positions that are scored: what is read from fewer says much of each, and scores of files of one's own making
/// would tell symbols one by one. Rows do not bound that, since most cells of a row may carry no mark.
const READS_MIN: u64 = 50;
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
    /// A key that is not the one that an entry commits to.
    #[error("the key of a delivery is not the one that the log commits to")]
    Commitment,
}

impl Unscored {
    /// What the caller is refused with.
    pub(crate) fn refusal(&self) -> Refusal {
        let would_pass = match self {
            Self::TooLittle => "a larger part of the delivery",
            _ => "a file whose columns can be told",
        };
        Refusal::new("unreadable", self.to_string(), would_pass)
    }
}

/// Everything that the log says of a lineage, taken out of state so that scoring holds no lock.
pub(crate) struct Scoring {
    lineage: Lineage,
    name: Label,
    /// By recipient.
    candidates: Vec<(String, Vec<Arc<Release>>)>,
}

impl Scoring {
    /// Of all marked releases of a lineage; `None` if there are none.
    pub(crate) fn of(state: &State, name: &Label) -> Option<Self> {
        let releases = state.marks.releases(name);
        let agreements: BTreeSet<_> = releases.iter().map(|of| of.agreement.sha256).collect();
        let agreements = agreements
            .iter()
            .filter_map(|sha256| state.agreements.get(sha256));
        let lineages = agreements.filter_map(|record| Some(record.agreement.marks()?.lineage()));
        let lineage = Lineage::merged(lineages)?;
        Some(Self::over(lineage, name.clone(), releases))
    }

    fn over(lineage: Lineage, name: Label, releases: &[Arc<Release>]) -> Self {
        let mut by_recipient: BTreeMap<&str, Vec<Arc<Release>>> = BTreeMap::new();
        for release in releases {
            let of_recipient = by_recipient.entry(release.recipient.as_str());
            of_recipient.or_default().push(release.clone());
        }
        let by_recipient = by_recipient.into_iter();
        Self {
            lineage,
            name,
            candidates: by_recipient
                .map(|(recipient, releases)| (recipient.to_owned(), releases))
                .collect(),
        }
    }

    /// Scores all candidates. Blocks, for seconds.
    pub(crate) fn score(
        &self,
        recorded: &Recorded<ScoringEntry>,
        content: &LeakContent,
        master: &MasterKey,
        progress: impl FnMut(usize),
    ) -> Result<Scored, Unscored> {
        let coded = codes::found(&self.candidates, &self.name, content, master)?;
        let leak = self.leak(content)?;
        let read = self.readings(content, &leak);
        let read = read.and_then(|readings| self.trace(&leak, readings, master));
        let (readings, trace) = match read {
            Ok(read) => read,
            // What the codes say needs no score, and makes none allowed.
            Err(Unscored::NoColumn | Unscored::TooLittle | Unscored::Ambiguous(_))
                if !coded.is_empty() =>
            {
                let dataset = master.dataset(self.name.as_str());
                (Vec::new(), Trace::new(&self.lineage, &dataset, &leak, &[]))
            }
            Err(why) => return Err(why),
        };
        let suspects = self.suspects(master)?;
        let verdict = trace.accuse(Standard::one_in(FALSE_NAMING_ONE_IN), &suspects, progress);
        Ok(Scored {
            scoring: recorded.index(),
            readings: readings.len() as u64,
            columns: self.columns(readings.first()),
            reads: [Level::Recipient, Level::Flow].map(|level| trace.reads(level)),
            accused: self.accused(&verdict),
            coded,
            verdict,
        })
    }

    fn readings(&self, content: &LeakContent, leak: &Leak) -> Result<Vec<Assignment>, Unscored> {
        let known = self.known(content);
        let readings = assignments(&self.lineage, leak, &known).map_err(Unscored::Ambiguous)?;
        if readings.is_empty() || readings.iter().all(Vec::is_empty) {
            return Err(Unscored::NoColumn);
        }
        Ok(readings)
    }

    fn trace(
        &self,
        leak: &Leak,
        readings: Vec<Assignment>,
        master: &MasterKey,
    ) -> Result<(Vec<Assignment>, Trace), Unscored> {
        let dataset = master.dataset(self.name.as_str());
        let trace = Trace::new(&self.lineage, &dataset, leak, &readings);
        if trace.reads(Level::Recipient) < READS_MIN {
            return Err(Unscored::TooLittle);
        }
        Ok((readings, trace))
    }

    /// Recipients that are candidates.
    pub(crate) fn recipients(&self) -> usize {
        self.candidates.len()
    }

    fn leak(&self, content: &LeakContent) -> Result<Leak, Unscored> {
        let bits = self.lineage.bits();
        let tags = content.mark_tags.iter();
        let tags: Option<Vec<_>> = tags.map(|tag| MarkTag::new(*tag, bits)).collect();
        let columns = content.columns.iter().zip(&content.known);
        let columns = columns.filter(|(_, known)| known.as_deref() != Some(CODES));
        let columns = columns.map(|(cells, _)| cells.clone()).collect();
        Leak::new(tags.ok_or(Unscored::Content)?, columns).map_err(|_| Unscored::Content)
    }

    /// A tag's name may stand for several columns of the lineage (other forms in other agreements): then it says nothing.
    fn known(&self, content: &LeakContent) -> Vec<Option<usize>> {
        let place = |name: &Option<String>| {
            let name = name.as_deref()?;
            let columns = self.lineage.columns().iter().enumerate();
            let mut named = columns.filter(|(_, column)| column.name() == name);
            let (place, _) = named.next()?;
            named.next().is_none().then_some(place)
        };
        let known = content.known.iter();
        let known = known.filter(|known| known.as_deref() != Some(CODES));
        known.map(place).collect()
    }

    /// Derives every candidate's keys, and compares each with what the log committed to when it left.
    fn suspects(&self, master: &MasterKey) -> Result<Vec<Suspect>, Unscored> {
        let name = self.name.as_str();
        let dataset = Commitment::to_dataset(&master.dataset(name), name);
        let opens = |committed: &Digest, key: Commitment| {
            (Commitment::from_bytes(*committed.as_bytes()) == key)
                .then_some(())
                .ok_or(Unscored::Commitment)
        };
        let suspect = |(recipient, releases): &(String, Vec<Arc<Release>>)| {
            let key = master.recipient(name, recipient);
            let of_recipient = Commitment::to_recipient(&key, name, recipient);
            let mut flows = Vec::with_capacity(releases.len());
            for release in releases {
                let flow = release.flow.to_string();
                let flow_key = master.flow(name, &flow);
                opens(&release.marks.dataset_key, dataset)?;
                opens(&release.marks.recipient_key, of_recipient)?;
                opens(
                    &release.marks.flow_key,
                    Commitment::to_flow(&flow_key, name, &flow),
                )?;
                flows.push(flow_key);
            }
            Ok(Suspect {
                recipient: key,
                flows,
            })
        };
        self.candidates.iter().map(suspect).collect()
    }

    fn columns(&self, reading: Option<&Assignment>) -> Vec<ColumnRead> {
        let read = |matched: &counterfoil_watermark::Match| {
            let column = self.lineage.columns().get(matched.column)?;
            Some(ColumnRead {
                column: matched.found as u64,
                tag: column.name().to_owned(),
                reading: match matched.reading {
                    Reading::AsDelivered => "as delivered".to_owned(),
                    Reading::Scaled(0) => "as delivered".to_owned(),
                    Reading::Scaled(power) => format!("times 10^{power}"),
                    Reading::Date(style) => format!("{style:?}"),
                },
            })
        };
        reading.into_iter().flatten().filter_map(read).collect()
    }

    fn accused(&self, verdict: &Verdict) -> Vec<AccusedRecipient> {
        let of = |accused: &counterfoil_watermark::Accused| {
            let (recipient, releases) = self.candidates.get(accused.suspect)?;
            let evidence_of = |place: usize| {
                let mut named = accused.flows.iter();
                named.find(|(flow, _)| *flow == place).map(|(_, e)| *e)
            };
            let told = releases.iter().enumerate();
            // Where no flow is named all are listed and none is chosen.
            let told =
                told.filter(|(place, _)| accused.flows.is_empty() || evidence_of(*place).is_some());
            let mut flows = told.map(|(place, release)| flow(release, evidence_of(place)));
            let listed = flows.by_ref().take(FLOWS_LISTED_MAX).collect();
            Some(AccusedRecipient {
                recipient: recipient.clone(),
                evidence: evidence(accused.evidence),
                key_commitment: releases.first()?.marks.recipient_key.to_string(),
                flows: listed,
                flows_left_off: flows.count() as u64,
            })
        };
        verdict.accused.iter().filter_map(of).collect()
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
    readings: u64,
    columns: Vec<ColumnRead>,
    reads: [u64; 2],
    accused: Vec<AccusedRecipient>,
    coded: Vec<CodedFlow>,
    verdict: Verdict,
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
        self.accused
            .iter()
            .map(|accused| accused.recipient.as_str())
    }

    /// Recipients whose reference codes are in the file.
    pub(crate) fn coded(&self) -> impl Iterator<Item = &str> {
        let recipients = self.coded.iter().map(|coded| coded.recipient.as_str());
        recipients.collect::<BTreeSet<_>>().into_iter()
    }

    /// Candidates that were scored.
    pub(crate) fn candidates(&self) -> u64 {
        self.verdict.candidates
    }

    /// The report. Scores of those who are not named stay in one histogram.
    pub(crate) fn report(self, said: &Said<'_>) -> TraceReport {
        let request = &said.entry.request;
        let shortfall = self.verdict.shortfall.map(|missing| Shortfall {
            rows_more_unaltered: missing.rows_more_unaltered.map(coarse),
            rows_more_at_this_rate: missing.rows_more_at_this_rate.map(coarse),
        });
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
            readings: self.readings,
            columns: self.columns,
            reads: self.reads,
            candidates: self.verdict.candidates,
            false_naming_one_in: FALSE_NAMING_ONE_IN,
            log10_threshold: rounded(self.verdict.ln_threshold / std::f64::consts::LN_10),
            accused: self.accused,
            coded: self.coded,
            others: others(self.verdict.others.bins()),
            keys_compared: self.verdict.candidates + 1,
            tag_key: request.tag_key.map(|key| key.to_string()),
            shortfall,
        }
    }
}

#[cfg(test)]
mod tests;
