//! Assessments of institutions by two compliance officers of a broker.
//!
//! The keys of officers stand in the broker's log, where its operator entered them: the log pins them, and shows who was
//! added when. An operator who adds two officers of their own making can assess alone; that too is in the log.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ApprovalError, Role};
use crate::decision::PartnerFacts;
use crate::keys::{PersonKey, PersonPublicKey, Signature, Statement};
use crate::moment::Timestamp;
use crate::text::{OrgName, UserId};

/// What two officers sign: what is known of an institution from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assessment {
    /// The institution.
    pub org: OrgName,
    /// What was found.
    pub facts: PartnerFacts,
    /// When it was proposed: equal findings at another time are another assessment, so no approval serves twice.
    pub at: Timestamp,
}

impl Assessment {
    /// SHA-256 of the RFC 8785 form.
    ///
    /// # Errors
    /// None that can occur; the canonicaliser's type has one.
    pub fn digest(&self) -> Result<[u8; 32], serde_json::Error> {
        let canonical = serde_json_canonicalizer::to_vec(self)?;
        Ok(Sha256::digest(canonical).into())
    }
}

/// One officer's signature in one role; a claim until [`verify`](Self::verify).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficerSignature {
    /// The officer.
    pub user: UserId,
    /// Over digest, user and role.
    pub signature: Signature,
}

impl OfficerSignature {
    /// The officer signs an assessment's digest.
    #[must_use]
    pub fn sign(key: &PersonKey, user: &UserId, role: Role, digest: &[u8; 32]) -> Self {
        Self {
            user: user.clone(),
            signature: key.sign(Statement::Assessment, &parts(digest, user, role)),
        }
    }

    /// Checks the signature with the key that the log has for the officer.
    ///
    /// # Errors
    /// [`ApprovalError::BadOfficerSignature`].
    pub fn verify(
        &self,
        key: &PersonPublicKey,
        role: Role,
        digest: &[u8; 32],
    ) -> Result<(), ApprovalError> {
        key.verify(
            Statement::Assessment,
            &parts(digest, &self.user, role),
            &self.signature,
        )
        .map_err(|_| ApprovalError::BadOfficerSignature(self.user.clone()))
    }
}

fn parts<'a>(digest: &'a [u8; 32], user: &'a UserId, role: Role) -> [&'a [u8]; 3] {
    [digest, user.as_str().as_bytes(), role.as_str().as_bytes()]
}
