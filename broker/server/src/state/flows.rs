//! Flows: asked for, granted, matched, and released or not.

use std::collections::HashMap;

use counterfoil_audit::entry::{CanariesCommitted, Decision, Event, FlowGranted, Integer, Outcome};
use counterfoil_audit::entry::{Digest, FlowId, Timestamp};

use super::Inconsistent;
use crate::flow::canaries::Committed;

/// Where a flow stands, as far as the log knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Granted; the agents match, or will.
    Running,
    /// Ended, and nothing left: denied, declined, refused or aborted; the entry at this index says why.
    Closed {
        /// Why.
        decision: Decision,
        /// Index of the entry.
        entry: u64,
        /// It was the broker or an agent that failed, and not a decision.
        aborted: bool,
    },
    /// Recorded as released; whatever happens now, it counts as that.
    Released {
        /// Index of the `release.intent`.
        intent: u64,
        /// How it went, once known.
        outcome: Option<Outcome>,
        /// Index of the entry in which the recipient said that it opened the delivery.
        acknowledged: Option<u64>,
    },
}

/// One flow.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    /// What was granted; nothing for a denied flow, whose id is used up all the same.
    pub(crate) grant: Option<FlowGranted>,
    pub(crate) asked: Timestamp,
    pub(crate) stage: Stage,
    /// What its owner mixes in.
    pub(crate) canaries: Option<Committed>,
    /// Indices of the entries about it, oldest first.
    pub(crate) entries: Vec<u64>,
}

impl Flow {
    /// Index of the flow's `release.intent`.
    pub(crate) fn intent_index(&self) -> Option<u64> {
        match self.stage {
            Stage::Released { intent, .. } => Some(intent),
            _ => None,
        }
    }
}

/// All flows.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    by_id: HashMap<FlowId, Flow>,
    /// Flows granted under each agreement, oldest first, so that counting a period does not walk over all flows.
    granted: HashMap<Digest, Vec<FlowId>>,
}

impl Flows {
    /// A flow by id.
    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.by_id.get(&id)
    }

    /// All flows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FlowId, &Flow)> {
        self.by_id.iter().map(|(id, flow)| (*id, flow))
    }

    /// Flows granted under an agreement since a moment.
    pub(crate) fn granted_since(
        &self,
        agreement: Digest,
        since: Timestamp,
    ) -> impl Iterator<Item = &FlowGranted> {
        let granted = self.granted.get(&agreement).into_iter().flatten().rev();
        granted
            .filter_map(|id| self.by_id.get(id))
            // Entries' times never go back, so the first that is too old ends the search.
            .take_while(move |flow| flow.asked >= since)
            .filter_map(|flow| flow.grant.as_ref())
    }

    /// Folds an event of a flow, and keeps its index.
    pub(super) fn apply(
        &mut self,
        index: u64,
        time: Timestamp,
        event: &Event,
    ) -> Result<(), Inconsistent> {
        self.fold(index, time, event)?;
        if let Some(flow) = event.flow().and_then(|id| self.by_id.get_mut(&id)) {
            flow.entries.push(index);
        }
        Ok(())
    }

    fn fold(&mut self, index: u64, time: Timestamp, event: &Event) -> Result<(), Inconsistent> {
        match event {
            Event::FlowGranted(e) => self.open(e.flow, time, Some((**e).clone()), Stage::Running),
            // A replayed request is denied under the id of the flow that it repeats, which stays as it is.
            Event::FlowDenied(e) if self.by_id.contains_key(&e.flow) => Ok(()),
            Event::FlowDenied(e) => {
                self.open(e.flow, time, None, closed(e.decision.clone(), index, false))
            }
            Event::CanariesCommitted(e) => self.committed(index, e),
            Event::FlowDeclined(e) => self.close(e.flow, closed(e.decision.clone(), index, false)),
            Event::FlowRefused(e) => self.close(e.flow, closed(e.decision.clone(), index, false)),
            Event::FlowAborted(e) => {
                let decision = Decision {
                    outcome: crate::refusal::label("aborted"),
                    code: e.stage.clone(),
                    field: None,
                    rule: None,
                    source: None,
                    message: e.reason.clone(),
                    would_pass: None,
                };
                self.close(e.flow, closed(decision, index, true))
            }
            Event::ReleaseIntent(e) => {
                let stage = Stage::Released {
                    intent: index,
                    outcome: None,
                    acknowledged: None,
                };
                self.close(e.flow, stage)
            }
            Event::ReleaseOutcome(e) => {
                self.released(e.flow, |outcome, _| *outcome = Some(e.outcome))
            }
            Event::DeliveryAcknowledged(e) => self.released(e.flow, |_, seen| *seen = Some(index)),
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        id: FlowId,
        asked: Timestamp,
        grant: Option<FlowGranted>,
        stage: Stage,
    ) -> Result<(), Inconsistent> {
        if self.by_id.contains_key(&id) {
            return Err(Inconsistent("a flow's id was used twice"));
        }
        if let Some(grant) = &grant {
            let of_agreement = self.granted.entry(grant.agreement.sha256).or_default();
            of_agreement.push(id);
        }
        let flow = Flow {
            grant,
            asked,
            stage,
            canaries: None,
            entries: Vec::new(),
        };
        self.by_id.insert(id, flow);
        Ok(())
    }

    fn committed(&mut self, index: u64, event: &CanariesCommitted) -> Result<(), Inconsistent> {
        let committed = Committed {
            entry: Integer::new(index).map_err(|_| Inconsistent("an index is too large"))?,
            codes_sha256: event.codes_sha256,
            rate: event
                .expected_rate
                .as_str()
                .parse()
                .map_err(|_| Inconsistent("a rate of canaries is no decimal"))?,
        };
        let flow = self.by_id.get_mut(&event.flow);
        let flow = flow
            .filter(|flow| flow.stage == Stage::Running && flow.canaries.is_none())
            .ok_or(Inconsistent(
                "canaries were committed twice, or for a flow that does not run",
            ))?;
        flow.canaries = Some(committed);
        Ok(())
    }

    fn close(&mut self, id: FlowId, stage: Stage) -> Result<(), Inconsistent> {
        let flow = self
            .by_id
            .get_mut(&id)
            .filter(|flow| flow.stage == Stage::Running)
            .ok_or(Inconsistent("a flow ended that was not running"))?;
        flow.stage = stage;
        Ok(())
    }

    fn released(
        &mut self,
        id: FlowId,
        change: impl FnOnce(&mut Option<Outcome>, &mut Option<u64>),
    ) -> Result<(), Inconsistent> {
        match self.by_id.get_mut(&id).map(|flow| &mut flow.stage) {
            Some(Stage::Released {
                outcome,
                acknowledged,
                ..
            }) => {
                change(outcome, acknowledged);
                Ok(())
            }
            _ => Err(Inconsistent(
                "something followed a release that is not in the log",
            )),
        }
    }
}

fn closed(decision: Decision, entry: u64, aborted: bool) -> Stage {
    Stage::Closed {
        decision,
        entry,
        aborted,
    }
}
