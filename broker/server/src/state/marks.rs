//! Marked releases by lineage, and the leaked files that were scored against them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use counterfoil_audit::entry::{
    AgreementRef, Digest, FlowId, IncidentOpened, Label, OrgName, ReleaseIntent, ReleaseMarks,
    Timestamp, TraceAuthorised,
};
use counterfoil_policy::approval::ScoringRequest;
use counterfoil_watermark::{Commitment, MasterKey};

use crate::error::Error;
use crate::home::Home;

/// All marked releases, and scorings.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    lineages: BTreeMap<Label, Vec<Arc<Release>>>,
    /// Releases whose rows have reference codes, by owner.
    coded: BTreeMap<String, Vec<Arc<Release>>>,
    /// The owner's commitment to the key of mark tags, by lineage.
    tag_keys: BTreeMap<String, Digest>,
    /// When each lineage's files were scored, oldest first.
    scorings: BTreeMap<Label, Vec<Timestamp>>,
    /// Requests that were scored: each is scored once.
    requests: HashSet<Digest>,
    /// Scorings that have no outcome yet, by the index of their authorisation, and who asked.
    open: BTreeMap<u64, OrgName>,
    /// By owner and file.
    incidents: BTreeMap<(OrgName, Digest), Label>,
}

/// A marked release.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) flow: FlowId,
    pub(crate) recipient: OrgName,
    pub(crate) agreement: AgreementRef,
    /// Index of its `release.intent`.
    pub(crate) entry: u64,
    pub(crate) time: Timestamp,
    pub(crate) marks: ReleaseMarks,
}

/// A scoring that two people authorised, as its entry has it.
#[derive(Debug, Clone)]
pub(crate) struct ScoringEntry {
    pub(crate) request: ScoringRequest,
    pub(crate) lineage: Label,
}

impl Marks {
    pub(super) fn released(&mut self, entry: u64, time: Timestamp, intent: &ReleaseIntent) {
        if let Some(marks) = &intent.marks {
            if let Some(key) = marks.tag_key {
                self.tag_keys
                    .entry(marks.lineage.to_string())
                    .or_insert(key);
            }
            let release = Arc::new(Release {
                flow: intent.flow,
                recipient: intent.recipient.org.clone(),
                agreement: intent.agreement.clone(),
                entry,
                time,
                marks: marks.clone(),
            });
            if marks.reference_key.is_some() {
                let owner = intent.source.org.to_string();
                self.coded.entry(owner).or_default().push(release.clone());
            }
            let of_lineage = self.lineages.entry(marks.lineage.clone()).or_default();
            of_lineage.push(release);
        }
    }

    pub(super) fn authorised(&mut self, index: u64, time: Timestamp, event: &TraceAuthorised) {
        self.open.insert(index, event.org.clone());
        let of_lineage = self.scorings.entry(event.lineage.clone()).or_default();
        of_lineage.push(time);
        self.requests.insert(event.request_sha256);
    }

    pub(super) fn incident(&mut self, event: &IncidentOpened) {
        let key = (event.org.clone(), event.file_sha256);
        self.incidents.insert(key, event.incident.clone());
    }

    pub(super) fn scored(&mut self, scoring: u64) {
        self.open.remove(&scoring);
    }

    /// The marked releases of a lineage, oldest first; shared, because a scoring takes all of them along.
    pub(crate) fn releases(&self, lineage: &Label) -> &[Arc<Release>] {
        self.lineages.get(lineage).map_or(&[], Vec::as_slice)
    }

    /// The commitment to the key of a lineage's mark tags, from its first release that has one.
    pub(crate) fn tag_key(&self, lineage: &str) -> Option<Digest> {
        self.tag_keys.get(lineage).copied()
    }

    /// The releases of an owner whose rows have reference codes, oldest first.
    pub(crate) fn coded(&self, owner: &str) -> &[Arc<Release>] {
        self.coded.get(owner).map_or(&[], Vec::as_slice)
    }

    /// Scorings that were authorised and have no outcome, and who asked for each.
    pub(crate) fn open(&self) -> impl Iterator<Item = (u64, &OrgName)> {
        self.open.iter().map(|(scoring, org)| (*scoring, org))
    }

    /// Whether a scoring has no outcome yet.
    pub(crate) fn is_open(&self, scoring: u64) -> bool {
        self.open.contains_key(&scoring)
    }

    /// Whether a request was scored.
    pub(crate) fn is_scored(&self, request: &Digest) -> bool {
        self.requests.contains(request)
    }

    /// Scorings of a lineage since a moment, in microseconds of Unix time.
    pub(crate) fn scorings_since(&self, lineage: &Label, micros: u64) -> usize {
        let times = self.scorings.get(lineage).into_iter().flatten().rev();
        times
            .take_while(|time| time.unix_micros() >= micros)
            .count()
    }

    /// The incident of a file, if it turned up before.
    pub(crate) fn incident_of(&self, owner: &OrgName, file_sha256: Digest) -> Option<&Label> {
        self.incidents.get(&(owner.clone(), file_sha256))
    }

    /// The key of marks in a broker's directory. It is made where there is none and no release was marked; another one
    /// than the log commits to could not trace what was delivered.
    pub(crate) fn key_of(&self, home: &Home) -> Result<MasterKey, Error> {
        let first = self.lineages.values().flatten().next();
        if !home.has_mark_key() {
            if first.is_some() {
                return Err(Error::Home(
                    "`keys/marks.key` is missing, and without it no marked delivery can be traced: restore it from your backup".into(),
                ));
            }
            home.make_mark_key()?;
        }
        let key = home.mark_key()?;
        let opens = |release: &Arc<Release>| {
            let lineage = release.marks.lineage.as_str();
            let commitment = Commitment::to_dataset(&key.dataset(lineage), lineage);
            release.marks.dataset_key == Digest::from_bytes(*commitment.as_bytes())
        };
        if first.is_none_or(opens) {
            return Ok(key);
        }
        Err(Error::Home(
            "`keys/marks.key` is not the key that the log commits to, so it traces nothing that was delivered: restore the right one from your backup".into(),
        ))
    }
}
