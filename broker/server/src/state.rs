//! The broker's state: nothing but the fold of its log.
//!
//! `apply` is pure. It refuses an entry that cannot follow those before it, which stops a broker from starting on a log that
//! it did not write like that; what `decide` makes is never refused.

pub(crate) mod agreements;
pub(crate) mod assessments;
pub(crate) mod budgets;
pub(crate) mod flows;
pub(crate) mod marks;
pub(crate) mod partners;

use std::collections::HashMap;

use counterfoil_audit::entry::{Digest, FlowId, OrgName};
use counterfoil_audit::entry::{Entry, Event};

use agreements::Agreements;
use assessments::Assessments;
use budgets::Budgets;
use flows::{Flow, Flows};
use marks::Marks;
use partners::Partners;

/// An entry that cannot follow those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry does not follow from those before it: {0}")]
pub(crate) struct Inconsistent(pub(crate) &'static str);

/// Everything that the broker knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) partners: Partners,
    pub(crate) agreements: Agreements,
    pub(crate) assessments: Assessments,
    pub(crate) flows: Flows,
    pub(crate) marks: Marks,
    pub(crate) budgets: Budgets,
    /// The log's first entry: the key that signs it.
    vkey: Option<String>,
    /// Indices of the entries about each institution, oldest first.
    about: HashMap<OrgName, Vec<u64>>,
}

impl State {
    /// The log has its first entry.
    pub(crate) fn initialised(&self) -> bool {
        self.vkey.is_some()
    }

    /// The key that the log was opened with.
    pub(crate) fn vkey(&self) -> Option<&str> {
        self.vkey.as_deref()
    }

    /// Indices of the entries that an institution may see: those about it, its agreements and its flows, and refusals of
    /// its own attempts, of which the other side does not learn.
    pub(crate) fn about(&self, org: &OrgName) -> &[u64] {
        self.about.get(org).map_or(&[], Vec::as_slice)
    }

    /// A flow by id.
    pub(crate) fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id)
    }

    /// Folds one entry.
    pub(crate) fn apply(&mut self, index: u64, entry: &Entry) -> Result<(), Inconsistent> {
        self.fold(index, entry)?;
        for org in self.concerned(entry) {
            self.about.entry(org).or_default().push(index);
        }
        Ok(())
    }

    /// The institutions that an entry is about.
    fn concerned(&self, entry: &Entry) -> Vec<OrgName> {
        let of_agreement = |sha256: &Digest| {
            let record = self.agreements.get(sha256);
            let parties = record.into_iter().flat_map(|record| record.parties());
            parties.filter_map(|name| OrgName::new(name).ok()).collect()
        };
        let of_flow = |id| {
            let grant = self.flow(id).and_then(|flow| flow.grant.as_ref());
            let parties = grant.map(|g| vec![g.source.org.clone(), g.recipient.org.clone()]);
            parties.unwrap_or_default()
        };
        match entry.event() {
            Event::InviteIssued(e) => vec![e.org.clone()],
            Event::PartnerJoined(e) => vec![e.org.clone()],
            Event::PartnerRevoked(e) => vec![e.org.clone()],
            Event::AgreementProposed(e) => of_agreement(&e.agreement.sha256),
            Event::AgreementCountersigned(e) => of_agreement(&e.agreement.sha256),
            Event::AgreementRevoked(e) => of_agreement(&e.agreement.sha256),
            // Of hits both sides learn from people who have looked at them, whichever of the two ended the flow.
            Event::IncidentCanaries(_) => Vec::new(),
            // The broker tells of a scoring that it was stopped in.
            Event::TraceFailed(e) => vec![e.org.clone()],
            // Of an accusation the accused learns from people, and not from its own agent.
            Event::AgreementRefused(_)
            | Event::FlowDenied(_)
            | Event::CanariesCommitted(_)
            | Event::TraceAuthorised(_)
            | Event::TraceRefused(_)
            | Event::TraceConcluded(_)
            | Event::IncidentOpened(_) => vec![entry.actor().org.clone()],
            event => event.flow().map(of_flow).unwrap_or_default(),
        }
    }

    fn fold(&mut self, index: u64, entry: &Entry) -> Result<(), Inconsistent> {
        match entry.event() {
            Event::BrokerInitialised(_) if self.initialised() => {
                Err(Inconsistent("the log was opened twice"))
            }
            Event::BrokerInitialised(event) => {
                self.vkey = Some(event.vkey.to_string());
                Ok(())
            }
            _ if !self.initialised() => Err(Inconsistent("the first entry does not open the log")),
            Event::InviteIssued(event) => self.partners.issued(event),
            Event::PartnerJoined(event) => self.partners.joined(event),
            Event::PartnerRevoked(event) => self.partners.revoked(event),
            Event::OfficerAdded(event) => self.assessments.officer_added(event),
            Event::AssessmentProposed(event) => self.assessments.proposed(event),
            Event::AssessmentApproved(event) => self.assessments.approved(event),
            Event::AgreementProposed(event) => self.agreements.proposed(event),
            Event::AgreementCountersigned(event) => self.agreements.countersigned(event),
            Event::AgreementRevoked(event) => self.agreements.revoked(event),
            Event::TraceAuthorised(event) => {
                self.marks.authorised(index, entry.time(), event);
                Ok(())
            }
            Event::IncidentOpened(event) => {
                self.marks.incident(event);
                Ok(())
            }
            Event::TraceConcluded(event) => {
                self.marks.scored(event.scoring.value());
                Ok(())
            }
            Event::TraceFailed(event) => {
                self.marks.scored(event.scoring.value());
                Ok(())
            }
            event => {
                // First: an event that no flow can have changes nothing else.
                self.flows.apply(index, entry.time(), event)?;
                if let Event::ReleaseIntent(event) = event {
                    self.marks.released(index, entry.time(), event);
                }
                self.budgets.apply(entry.time(), event)
            }
        }
    }
}

#[cfg(test)]
mod tests;
