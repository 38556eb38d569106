//! Scoring the marks in a leaked file against all deliveries of a lineage.

use std::collections::BTreeMap;
use std::sync::Arc;

use counterfoil_audit::entry::{Digest, Label};
use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_proto::report::{AccusedRecipient, ColumnRead};
use counterfoil_watermark::{
    Assignment, Commitment, Leak, Level, Lineage, MarkTag, MasterKey, Reading, Standard, Suspect,
    Trace, Verdict, assignments,
};

use super::{FALSE_NAMING_ONE_IN, FLOWS_LISTED_MAX, Unscored, evidence, flow};
use crate::state::marks::Release;

/// Fewest marked positions that are scored: what is read from fewer says much of each, and scores of files of one's own making
/// would tell symbols one by one. Rows do not bound that, since most cells of a row may carry no mark.
const READS_MIN: u64 = 50;

/// All whom marks could name.
pub(super) struct Candidates {
    pub(super) lineage: Lineage,
    pub(super) name: Label,
    pub(super) by_recipient: Vec<(String, Vec<Arc<Release>>)>,
}

/// What marks say.
pub(super) struct Scores {
    pub(super) readings: u64,
    pub(super) columns: Vec<ColumnRead>,
    pub(super) reads: [u64; 2],
    pub(super) accused: Vec<AccusedRecipient>,
    pub(super) verdict: Verdict,
}

impl Candidates {
    pub(super) fn over(lineage: Lineage, name: Label, releases: &[Arc<Release>]) -> Self {
        let mut by_recipient: BTreeMap<&str, Vec<Arc<Release>>> = BTreeMap::new();
        for release in releases {
            let of_recipient = by_recipient.entry(release.recipient.as_str());
            of_recipient.or_default().push(release.clone());
        }
        let by_recipient = by_recipient.into_iter();
        Self {
            lineage,
            name,
            by_recipient: by_recipient
                .map(|(recipient, releases)| (recipient.to_owned(), releases))
                .collect(),
        }
    }

    /// Scores all of them. Blocks, for seconds.
    pub(super) fn score(
        &self,
        content: &LeakContent,
        master: &MasterKey,
        progress: impl FnMut(usize),
    ) -> Result<Scores, Unscored> {
        let leak = self.leak(content)?;
        let readings = self.readings(content, &leak)?;
        let trace = self.trace(&leak, &readings, master)?;
        let suspects = self.suspects(master)?;
        let verdict = trace.accuse(Standard::one_in(FALSE_NAMING_ONE_IN), &suspects, progress);
        Ok(Scores {
            readings: readings.len() as u64,
            columns: self.columns(readings.first()),
            reads: [Level::Recipient, Level::Flow].map(|level| trace.reads(level)),
            accused: self.accused(&verdict),
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
        readings: &[Assignment],
        master: &MasterKey,
    ) -> Result<Trace, Unscored> {
        let dataset = master.dataset(self.name.as_str());
        let trace = Trace::new(&self.lineage, &dataset, leak, readings);
        if trace.reads(Level::Recipient) < READS_MIN {
            return Err(Unscored::TooLittle);
        }
        Ok(trace)
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
        self.by_recipient.iter().map(suspect).collect()
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
            let (recipient, releases) = self.by_recipient.get(accused.suspect)?;
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
