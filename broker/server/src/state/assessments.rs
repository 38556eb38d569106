//! What two compliance officers found out about each institution.

use std::collections::{BTreeMap, HashMap};

use counterfoil_audit::entry::{AssessmentApproved, AssessmentProposed, Digest, OfficerAdded};
use counterfoil_policy::approval::Assessment;
use counterfoil_policy::decision::PartnerFacts;
use counterfoil_policy::keys::PersonPublicKey;

use super::Inconsistent;

/// An assessment that was proposed.
#[derive(Debug, Clone)]
pub(crate) struct Proposal {
    pub(crate) assessment: Assessment,
    pub(crate) maker: String,
    /// Approved, or left behind by a later one that was: it cannot come into force any more.
    pub(crate) closed: bool,
}

/// Officers, proposals, and what is in force.
#[derive(Debug, Default)]
pub(crate) struct Assessments {
    officers: BTreeMap<String, PersonPublicKey>,
    proposals: HashMap<Digest, Proposal>,
    /// The newest proposal about each institution.
    newest: HashMap<String, Digest>,
    in_force: HashMap<String, PartnerFacts>,
}

impl Assessments {
    /// What is known of an institution; `None` before its first assessment.
    pub(crate) fn of(&self, org: &str) -> Option<&PartnerFacts> {
        self.in_force.get(org)
    }

    /// An officer's key.
    pub(crate) fn officer(&self, user: &str) -> Option<&PersonPublicKey> {
        self.officers.get(user)
    }

    /// Some officer has this key.
    pub(crate) fn is_key(&self, key: &PersonPublicKey) -> bool {
        self.officers.values().any(|other| other == key)
    }

    /// A proposal by digest.
    pub(crate) fn proposal(&self, sha256: &Digest) -> Option<&Proposal> {
        self.proposals.get(sha256)
    }

    /// The newest proposal about an institution, if it waits for its second officer.
    pub(crate) fn waiting(&self, org: &str) -> Option<(&Digest, &Proposal)> {
        let sha256 = self.newest.get(org)?;
        let proposal = self.proposals.get(sha256)?;
        (!proposal.closed).then_some((sha256, proposal))
    }

    pub(super) fn officer_added(&mut self, event: &OfficerAdded) -> Result<(), Inconsistent> {
        let key: PersonPublicKey = event
            .key
            .as_str()
            .parse()
            .map_err(|_| Inconsistent("an officer was added without a key"))?;
        let user = event.user.as_str().to_owned();
        if self.is_key(&key) || self.officers.insert(user, key).is_some() {
            return Err(Inconsistent("an officer was added twice"));
        }
        Ok(())
    }

    pub(super) fn proposed(&mut self, event: &AssessmentProposed) -> Result<(), Inconsistent> {
        let wrong = Inconsistent("an assessment that does not parse was proposed");
        let assessment: Assessment =
            serde_json::from_value(event.assessment.as_value().clone()).map_err(|_| wrong)?;
        let digest = assessment.digest().map_err(|_| wrong)?;
        if digest != *event.sha256.as_bytes() || assessment.org.as_str() != event.org.as_str() {
            return Err(wrong);
        }
        let proposal = Proposal {
            assessment,
            maker: event.maker.as_str().to_owned(),
            closed: false,
        };
        if self.proposals.insert(event.sha256, proposal).is_some() {
            return Err(Inconsistent("an assessment was proposed twice"));
        }
        self.newest
            .insert(event.org.as_str().to_owned(), event.sha256);
        Ok(())
    }

    pub(super) fn approved(&mut self, event: &AssessmentApproved) -> Result<(), Inconsistent> {
        let wrong = Inconsistent("an assessment was approved that did not wait for it");
        let facts = self
            .proposals
            .get(&event.sha256)
            .filter(|proposal| !proposal.closed && proposal.maker != event.checker.as_str())
            .map(|proposal| proposal.assessment.facts.clone())
            .ok_or(wrong)?;
        let org = event.org.as_str();
        for proposal in self.proposals.values_mut() {
            proposal.closed |= proposal.assessment.org.as_str() == org;
        }
        self.in_force.insert(org.to_owned(), facts);
        Ok(())
    }
}
