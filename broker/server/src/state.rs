//! The broker's state: nothing but the fold of its log.
//!
//! `apply` is pure. It refuses an entry that cannot follow those before it, which stops a broker from starting on a log that
//! it did not write like that; what `decide` makes is never refused.

pub(crate) mod agreements;
pub(crate) mod flows;
pub(crate) mod partners;

use counterfoil_audit::entry::FlowId;
use counterfoil_audit::entry::{Entry, Event};

use agreements::Agreements;
use flows::{Flow, Flows};
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
    pub(crate) flows: Flows,
    initialised: bool,
}

impl State {
    /// The log has its first entry.
    pub(crate) fn initialised(&self) -> bool {
        self.initialised
    }

    /// A flow by id.
    pub(crate) fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id)
    }

    /// Folds one entry.
    pub(crate) fn apply(&mut self, index: u64, entry: &Entry) -> Result<(), Inconsistent> {
        match entry.event() {
            Event::BrokerInitialised(_) if self.initialised => {
                Err(Inconsistent("the log was opened twice"))
            }
            Event::BrokerInitialised(_) => {
                self.initialised = true;
                Ok(())
            }
            _ if !self.initialised => Err(Inconsistent("the first entry does not open the log")),
            Event::InviteIssued(event) => {
                self.partners.issued(event);
                Ok(())
            }
            Event::PartnerJoined(event) => self.partners.joined(event),
            Event::PartnerRevoked(event) => self.partners.revoked(event),
            Event::AgreementProposed(event) => self.agreements.proposed(event),
            Event::AgreementCountersigned(event) => self.agreements.countersigned(event),
            Event::AgreementRevoked(event) => self.agreements.revoked(event),
            event => self.flows.apply(index, entry.time(), event),
        }
    }
}
