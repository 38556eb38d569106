//! What any auditor can repeat over the entries alone: does the story hold together?
//!
//! A log can be complete and signed and still tell of a release that nobody granted.
//! [`History`] folds the entries in their order and notes what does not follow from what
//! came before. Memory: some 200 bytes a flow, an agreement and a scoring.

#[cfg(test)]
mod tests;
mod traces;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use crate::entry::{
    AgreementRef, Digest, Entry, Event, FlowGranted, FlowId, OrgName, ReleaseIntent,
    ReleaseOutcome, Timestamp,
};

use traces::{Found, Traces};

/// How far a time may lie before the latest one seen: a broker's clock that is being
/// corrected steps back, but not by more.
pub const STEP_BACK_MICROS_MAX: u64 = 2_000_000;
/// The most findings that are kept; the rest are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Which entries the fold sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of the log, from the first.
    Whole,
    /// Some, in order; what refers to an unseen entry is no finding.
    Part,
}

/// One thing that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The entry where it shows.
    pub index: u64,
    /// What it is.
    pub kind: FindingKind,
}

/// What can be wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// The time lies well before an earlier entry's.
    TimeWentBack {
        /// By how much.
        by_ms: u64,
    },
    /// The flow was granted before.
    FlowGrantedTwice,
    /// The same signed request was granted before.
    RequestGrantedTwice,
    /// The agreement was not countersigned before.
    AgreementNotInForce,
    /// The agreement was revoked before.
    AgreementRevoked,
    /// The owner or the recipient was revoked before.
    PartnerRevoked,
    /// The flow was not granted before.
    ReleaseWithoutGrant,
    /// The flow was granted under another agreement, or between others.
    ReleaseUnlikeGrant,
    /// The flow had been declined, aborted or refused.
    ReleaseAfterEnd,
    /// The flow was released before.
    ReleasedTwice,
    /// No `release.intent` of this flow stands at the index it names.
    OutcomeWithoutIntent,
    /// The flow was not released before.
    AcknowledgedWithoutIntent,
    /// An earlier release of the lineage commits to other keys of marks.
    MarkKeyDiffers,
    /// The digest, rows, lineage or key that is logged is not that of the signed request.
    ScoringUnlikeRequest,
    /// Maker and checker are not two people, each with a key.
    ScoringByOnePerson,
    /// Its key of mark tags is not the one that the lineage's releases commit to.
    ScoringKeyDiffers,
    /// The same signed request was scored before.
    RequestScoredTwice,
    /// No scoring of this owner was authorised at the index it names.
    ScoringNotAuthorised,
    /// The scoring had ended before.
    ScoringEndedTwice,
    /// The incident was opened before.
    IncidentOpenedTwice,
    /// The incident was not opened before, or for another file.
    IncidentUnlikeScoring,
    /// It names an institution to which nothing marked of this owner was released before.
    NamedWithoutRelease,
    /// The flow's owner had committed to no canaries at the index it names.
    IncidentWithoutCanaries,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FindingKind::TimeWentBack { by_ms } => {
                return write!(
                    f,
                    "entry `{}`: its time lies {by_ms} ms before an earlier entry's",
                    self.index
                );
            }
            FindingKind::FlowGrantedTwice => "its flow was granted before",
            FindingKind::RequestGrantedTwice => "its request was granted before",
            FindingKind::AgreementNotInForce => "its agreement was not countersigned before",
            FindingKind::AgreementRevoked => "its agreement was revoked before",
            FindingKind::PartnerRevoked => "its owner or recipient was revoked before",
            FindingKind::ReleaseWithoutGrant => "it releases a flow that was not granted before",
            FindingKind::ReleaseUnlikeGrant => {
                "it releases under another agreement, or between other parties, than was granted"
            }
            FindingKind::ReleaseAfterEnd => "it releases a flow that had ended",
            FindingKind::ReleasedTwice => "its flow was released before",
            FindingKind::OutcomeWithoutIntent => {
                "the entry it names is no release intent of its flow"
            }
            FindingKind::AcknowledgedWithoutIntent => {
                "it acknowledges a flow that was not released before"
            }
            FindingKind::MarkKeyDiffers => {
                "it commits to other keys of marks than an earlier release of its lineage"
            }
            FindingKind::ScoringUnlikeRequest => {
                "the digest, rows, lineage or key that it logs is not that of the signed request"
            }
            FindingKind::ScoringByOnePerson => {
                "its maker and checker are not two people, each with a key"
            }
            FindingKind::ScoringKeyDiffers => {
                "its key of mark tags is not the one that the lineage's releases commit to"
            }
            FindingKind::RequestScoredTwice => "its request was scored before",
            FindingKind::ScoringNotAuthorised => {
                "the entry it names authorises no scoring of its owner"
            }
            FindingKind::ScoringEndedTwice => "its scoring had ended before",
            FindingKind::IncidentOpenedTwice => "its incident was opened before",
            FindingKind::IncidentUnlikeScoring => {
                "its incident was not opened before, or for another file"
            }
            FindingKind::NamedWithoutRelease => {
                "it names an institution to which nothing marked was released before"
            }
            FindingKind::IncidentWithoutCanaries => {
                "the entry it names commits to no canaries of its flow"
            }
        };
        write!(f, "entry `{}`: {what}", self.index)
    }
}

/// The fold.
#[derive(Clone, Debug)]
pub struct History {
    coverage: Coverage,
    latest: Option<Timestamp>,
    agreements: HashMap<AgreementRef, Standing>,
    revoked: HashSet<OrgName>,
    flows: HashMap<FlowId, Flow>,
    requests: HashSet<Digest>,
    traces: Traces,
    findings: Vec<Finding>,
    left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    InForce,
    Revoked,
}

#[derive(Clone, Debug, Default)]
struct Flow {
    grant: Option<(AgreementRef, OrgName, OrgName)>,
    intent: Option<u64>,
    ended: bool,
}

impl History {
    /// Before the first entry.
    #[must_use]
    pub fn new(coverage: Coverage) -> Self {
        Self {
            coverage,
            latest: None,
            agreements: HashMap::new(),
            revoked: HashSet::new(),
            flows: HashMap::new(),
            requests: HashSet::new(),
            traces: Traces::default(),
            findings: Vec::new(),
            left_out: 0,
        }
    }

    /// What was found, and how many findings more there were than are kept.
    #[must_use]
    pub fn into_findings(self) -> (Vec<Finding>, u64) {
        (self.findings, self.left_out)
    }

    /// Takes the next entry.
    pub fn apply(&mut self, index: u64, entry: &Entry) {
        self.check_time(index, entry.time());
        match entry.event() {
            Event::PartnerJoined(event) => {
                self.revoked.remove(&event.org);
            }
            Event::PartnerRevoked(event) => {
                self.revoked.insert(event.org.clone());
            }
            Event::AgreementCountersigned(event) => {
                // Once revoked, a version stays so.
                self.agreements
                    .entry(event.agreement.clone())
                    .or_insert(Standing::InForce);
            }
            Event::AgreementRevoked(event) => {
                self.agreements
                    .insert(event.agreement.clone(), Standing::Revoked);
            }
            Event::FlowGranted(event) => self.granted(index, event),
            Event::CanariesCommitted(event) => self.traces.canaries(index, event),
            // A flow with an incident is not released.
            Event::IncidentCanaries(event) => {
                self.flow(event.flow).ended = true;
                let found = self.traces.hit(event);
                self.found(index, found);
            }
            Event::FlowDeclined(event) => self.flow(event.flow).ended = true,
            Event::FlowAborted(event) => self.flow(event.flow).ended = true,
            Event::FlowRefused(event) => self.flow(event.flow).ended = true,
            Event::ReleaseIntent(event) => self.intent(index, event),
            Event::ReleaseOutcome(event) => self.outcome(index, event),
            Event::DeliveryAcknowledged(event) => {
                let released = self.flow(event.flow).intent.is_some();
                self.missing(index, released, FindingKind::AcknowledgedWithoutIntent);
            }
            event => self.trace(index, event),
        }
    }

    fn trace(&mut self, index: u64, event: &Event) {
        let found = match event {
            Event::TraceAuthorised(event) => self.traces.authorised(index, event),
            Event::IncidentOpened(event) => self.traces.opened(event),
            Event::TraceConcluded(event) => self.traces.concluded(event),
            Event::TraceFailed(event) => self.traces.failed(event),
            _ => return,
        };
        self.found(index, found);
    }

    fn check_time(&mut self, index: u64, time: Timestamp) {
        let latest = self.latest.map_or(time, |latest| latest.max(time));
        let back = latest.unix_micros() - time.unix_micros();
        if back > STEP_BACK_MICROS_MAX {
            self.find(
                index,
                FindingKind::TimeWentBack {
                    by_ms: back / 1_000,
                },
            );
        }
        self.latest = Some(latest);
    }

    fn granted(&mut self, index: u64, event: &FlowGranted) {
        let (source, recipient) = (&event.source.org, &event.recipient.org);
        self.check_standing(index, &event.agreement, source, recipient);
        if !self.requests.insert(event.request_sha256) {
            self.find(index, FindingKind::RequestGrantedTwice);
        }
        let grant = (event.agreement.clone(), source.clone(), recipient.clone());
        if self.flow(event.flow).grant.replace(grant).is_some() {
            self.find(index, FindingKind::FlowGrantedTwice);
        }
    }

    fn intent(&mut self, index: u64, event: &ReleaseIntent) {
        let (source, recipient) = (&event.source.org, &event.recipient.org);
        self.check_standing(index, &event.agreement, source, recipient);
        let flow = self.flow(event.flow);
        let twice = flow.intent.replace(index).is_some();
        let ended = flow.ended;
        let granted = flow.grant.is_some();
        let like = flow.grant.as_ref().is_none_or(|(agreement, from, to)| {
            (agreement, from, to) == (&event.agreement, source, recipient)
        });
        self.missing(index, granted, FindingKind::ReleaseWithoutGrant);
        let marks = self.traces.released(event);
        self.found(index, marks);
        for (wrong, kind) in [
            (!like, FindingKind::ReleaseUnlikeGrant),
            (ended, FindingKind::ReleaseAfterEnd),
            (twice, FindingKind::ReleasedTwice),
        ] {
            if wrong {
                self.find(index, kind);
            }
        }
    }

    fn outcome(&mut self, index: u64, event: &ReleaseOutcome) {
        match self.flow(event.flow).intent {
            Some(intent) if intent == event.intent.value() => {}
            Some(_) => self.find(index, FindingKind::OutcomeWithoutIntent),
            None => self.missing(index, false, FindingKind::OutcomeWithoutIntent),
        }
    }

    fn check_standing(
        &mut self,
        index: u64,
        agreement: &AgreementRef,
        source: &OrgName,
        recipient: &OrgName,
    ) {
        match self.agreements.get(agreement) {
            Some(Standing::InForce) => {}
            Some(Standing::Revoked) => self.find(index, FindingKind::AgreementRevoked),
            None => self.missing(index, false, FindingKind::AgreementNotInForce),
        }
        if self.revoked.contains(source) || self.revoked.contains(recipient) {
            self.find(index, FindingKind::PartnerRevoked);
        }
    }

    fn flow(&mut self, flow: FlowId) -> &mut Flow {
        self.flows.entry(flow).or_default()
    }

    fn found(&mut self, index: u64, found: Found) {
        for (kind, if_whole) in found {
            if if_whole {
                self.missing(index, false, kind);
            } else {
                self.find(index, kind);
            }
        }
    }

    /// Notes what an earlier entry should have said, if earlier entries are known.
    fn missing(&mut self, index: u64, said: bool, kind: FindingKind) {
        if !said && self.coverage == Coverage::Whole {
            self.find(index, kind);
        }
    }

    fn find(&mut self, index: u64, kind: FindingKind) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { index, kind });
        } else {
            self.left_out += 1;
        }
    }
}
