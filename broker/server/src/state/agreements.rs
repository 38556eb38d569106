//! Agreements: proposed by one side, countersigned by the other, revoked by either.

use std::collections::HashMap;
use std::sync::Arc;

use counterfoil_audit::entry::{AgreementCountersigned, AgreementProposed, AgreementRevoked};
use counterfoil_audit::entry::{Digest, Document, OrgName};
use counterfoil_policy::agreement::Agreement;

use super::Inconsistent;

/// Where an agreement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// One side has signed.
    Proposed,
    /// Both have.
    Active,
    /// Both have signed a later version.
    Superseded,
    /// One side has ended it.
    Revoked,
}

impl Status {
    /// As it goes over the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
        }
    }
}

/// An agreement with what was signed so far.
#[derive(Debug, Clone)]
pub(crate) struct AgreementRecord {
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) status: Status,
    /// Institutions' signature bundles, the proposer's first.
    pub(crate) signatures: Vec<Document>,
    pub(crate) revocation: Option<Document>,
}

impl AgreementRecord {
    /// Its owner and its recipient.
    pub(crate) fn parties(&self) -> [&str; 2] {
        [
            self.agreement.owner().name.as_str(),
            self.agreement.recipient().name.as_str(),
        ]
    }

    /// The institution is one of its parties.
    pub(crate) fn concerns(&self, org: &OrgName) -> bool {
        self.parties().contains(&org.as_str())
    }
}

/// All agreements, by digest of the canonical text.
#[derive(Debug, Default)]
pub(crate) struct Agreements {
    by_digest: HashMap<Digest, AgreementRecord>,
    /// Digests by id, in the order in which they were proposed, so that no call walks over everybody's agreements.
    by_id: HashMap<String, Vec<Digest>>,
}

impl Agreements {
    /// An agreement by digest.
    pub(crate) fn get(&self, digest: &Digest) -> Option<&AgreementRecord> {
        self.by_digest.get(digest)
    }

    /// All agreements.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Digest, &AgreementRecord)> {
        self.by_digest.iter()
    }

    /// All versions of all agreements of an id. Two pairs of institutions may use the same.
    pub(crate) fn of_id(&self, id: &str) -> impl Iterator<Item = &AgreementRecord> {
        let digests = self.by_id.get(id).into_iter().flatten();
        digests.filter_map(|digest| self.by_digest.get(digest))
    }

    /// The highest version of an agreement between these two institutions.
    pub(crate) fn latest_version(&self, id: &str, parties: [&str; 2]) -> u32 {
        self.of_id(id)
            .filter(|record| record.parties() == parties)
            .map(|record| record.agreement.version())
            .max()
            .unwrap_or(0)
    }

    pub(super) fn proposed(&mut self, event: &AgreementProposed) -> Result<(), Inconsistent> {
        let canonical = serde_json_canonicalizer::to_vec(&event.document)
            .map_err(|_| Inconsistent("an agreement has no canonical form"))?;
        let agreement = Agreement::from_canonical(&canonical)
            .map_err(|_| Inconsistent("an agreement that does not parse was proposed"))?;
        if agreement.digest().as_bytes() != event.agreement.sha256.as_bytes() {
            return Err(Inconsistent(
                "an agreement has another digest than its entry says",
            ));
        }
        let record = AgreementRecord {
            agreement: Arc::new(agreement),
            status: Status::Proposed,
            signatures: vec![event.signature.clone()],
            revocation: None,
        };
        let id = record.agreement.id().to_string();
        if self
            .by_digest
            .insert(event.agreement.sha256, record)
            .is_some()
        {
            return Err(Inconsistent("an agreement was proposed twice"));
        }
        self.by_id
            .entry(id)
            .or_default()
            .push(event.agreement.sha256);
        Ok(())
    }

    pub(super) fn countersigned(
        &mut self,
        event: &AgreementCountersigned,
    ) -> Result<(), Inconsistent> {
        let record = self
            .by_digest
            .get_mut(&event.agreement.sha256)
            .filter(|record| record.status == Status::Proposed)
            .ok_or(Inconsistent(
                "an agreement was signed that was not waiting for it",
            ))?;
        record.status = Status::Active;
        record.signatures.push(event.signature.clone());
        let agreement = record.agreement.clone();
        for digest in self
            .by_id
            .get(agreement.id().as_str())
            .into_iter()
            .flatten()
        {
            let Some(earlier) = self.by_digest.get_mut(digest) else {
                continue;
            };
            let same = earlier.agreement.owner().name == agreement.owner().name
                && earlier.agreement.recipient().name == agreement.recipient().name;
            let standing = matches!(earlier.status, Status::Active | Status::Proposed);
            if same && standing && earlier.agreement.version() < agreement.version() {
                earlier.status = Status::Superseded;
            }
        }
        Ok(())
    }

    pub(super) fn revoked(&mut self, event: &AgreementRevoked) -> Result<(), Inconsistent> {
        let record = self
            .by_digest
            .get_mut(&event.agreement.sha256)
            .filter(|record| record.status != Status::Revoked)
            .ok_or(Inconsistent("an agreement was revoked that does not stand"))?;
        record.status = Status::Revoked;
        record.revocation = Some(event.signature.clone());
        Ok(())
    }
}
