//! Stopping an agreement.

use serde::{Deserialize, Serialize};

use super::ApprovalError;
use crate::agreement::{Agreement, Side};
use crate::keys::{InstitutionKey, Signature, Statement};
use crate::moment::Timestamp;
use crate::text::{AgreementDigest, OrgName, UserId};

/// One institution's statement that an agreement no longer holds.
///
/// One person and one institution are enough: stopping must never wait for a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    pub(super) agreement: AgreementDigest,
    org: OrgName,
    user: UserId,
    pub(super) at: Timestamp,
    signature: Signature,
}

impl Revocation {
    /// The institution revokes; `user` is who asked for it, `at` when.
    #[must_use]
    pub fn sign(
        key: &InstitutionKey,
        agreement: AgreementDigest,
        org: &OrgName,
        user: &UserId,
        at: Timestamp,
    ) -> Self {
        let signature = key.sign(
            Statement::Revocation,
            &revoked(&agreement, org, user, &at.to_string()),
        );
        Self {
            agreement,
            org: org.clone(),
            user: user.clone(),
            at,
            signature,
        }
    }

    /// Digest of the agreement that is revoked.
    #[must_use]
    pub fn agreement(&self) -> &AgreementDigest {
        &self.agreement
    }

    /// The institution that revokes.
    #[must_use]
    pub fn org(&self) -> &OrgName {
        &self.org
    }

    /// The person who asked for it.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// When it was signed, by the signer's clock.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Checks that a party of this agreement signed it; tells whose side.
    ///
    /// # Errors
    /// [`ApprovalError`]: another agreement, no party, or a bad signature.
    pub fn verify(&self, agreement: &Agreement) -> Result<Side, ApprovalError> {
        if self.agreement != agreement.digest() {
            return Err(ApprovalError::WrongAgreement);
        }
        let side = agreement
            .side_of(&self.org)
            .ok_or_else(|| ApprovalError::NotAParty(self.org.clone()))?;
        let at = self.at.to_string();
        agreement
            .party(side)
            .signing_key
            .verify(
                Statement::Revocation,
                &revoked(&self.agreement, &self.org, &self.user, &at),
                &self.signature,
            )
            .map_err(|_| ApprovalError::BadInstitutionSignature(self.org.clone()))?;
        Ok(side)
    }
}

fn revoked<'a>(
    digest: &'a AgreementDigest,
    org: &'a OrgName,
    user: &'a UserId,
    at: &'a str,
) -> [&'a [u8]; 4] {
    [
        digest.as_bytes(),
        org.as_str().as_bytes(),
        user.as_str().as_bytes(),
        at.as_bytes(),
    ]
}
