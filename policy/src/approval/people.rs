//! People: their endorsed keys and their approvals.

use serde::{Deserialize, Serialize};

use super::{ApprovalError, Role};
use crate::keys::{
    InstitutionKey, InstitutionPublicKey, PersonKey, PersonPublicKey, Signature, Statement,
};
use crate::text::{AgreementDigest, OrgName, UserId};

/// An institution's word that a key belongs to one of its people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    org: OrgName,
    user: UserId,
    user_key: PersonPublicKey,
    signature: Signature,
}

impl Endorsement {
    /// The institution endorses a person's key.
    #[must_use]
    pub fn issue(
        key: &InstitutionKey,
        org: &OrgName,
        user: &UserId,
        user_key: PersonPublicKey,
    ) -> Self {
        let signature = key.sign(Statement::Endorsement, &endorsed(org, user, &user_key));
        Self {
            org: org.clone(),
            user: user.clone(),
            user_key,
            signature,
        }
    }

    /// The person's id.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The person's key.
    #[must_use]
    pub fn user_key(&self) -> PersonPublicKey {
        self.user_key
    }

    /// Checks that `org` with this key endorsed the person.
    ///
    /// # Errors
    /// [`ApprovalError::WrongInstitution`] or [`ApprovalError::NotEndorsed`].
    pub fn verify(
        &self,
        org: &OrgName,
        pinned: &InstitutionPublicKey,
    ) -> Result<(), ApprovalError> {
        expect_org(&self.org, org)?;
        verify_endorsement(org, &self.user, &self.user_key, &self.signature, pinned)
    }
}

fn endorsed<'a>(org: &'a OrgName, user: &'a UserId, key: &'a PersonPublicKey) -> [&'a [u8]; 3] {
    [
        org.as_str().as_bytes(),
        user.as_str().as_bytes(),
        key.as_bytes(),
    ]
}

fn verify_endorsement(
    org: &OrgName,
    user: &UserId,
    key: &PersonPublicKey,
    endorsement: &Signature,
    pinned: &InstitutionPublicKey,
) -> Result<(), ApprovalError> {
    pinned
        .verify(
            Statement::Endorsement,
            &endorsed(org, user, key),
            endorsement,
        )
        .map_err(|_| ApprovalError::NotEndorsed(user.clone()))
}

pub(super) fn expect_org(found: &OrgName, expected: &OrgName) -> Result<(), ApprovalError> {
    if found == expected {
        Ok(())
    } else {
        Err(ApprovalError::WrongInstitution {
            found: found.clone(),
            expected: expected.clone(),
        })
    }
}

/// One person's approval of one agreement in one role; a claim until verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub(super) role: Role,
    pub(super) user: UserId,
    pub(super) user_key: PersonPublicKey,
    pub(super) endorsement: Signature,
    pub(super) signature: Signature,
}

impl Approval {
    /// The person signs (agreement digest, institution, role).
    #[must_use]
    pub fn sign(
        key: &PersonKey,
        endorsement: &Endorsement,
        role: Role,
        digest: &AgreementDigest,
    ) -> Self {
        let signature = key.sign(
            Statement::Approval,
            &approved(digest, &endorsement.org, role),
        );
        Self {
            role,
            user: endorsement.user.clone(),
            user_key: endorsement.user_key,
            endorsement: endorsement.signature,
            signature,
        }
    }

    /// The role taken.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The person's id.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Checks endorsement, role and signature.
    ///
    /// # Errors
    /// [`ApprovalError`]: wrong role, key not endorsed, or a signature over something else.
    pub fn verify(
        &self,
        expected: Role,
        digest: &AgreementDigest,
        org: &OrgName,
        pinned: &InstitutionPublicKey,
    ) -> Result<(), ApprovalError> {
        if self.role != expected {
            let user = self.user.clone();
            return Err(ApprovalError::WrongRole {
                user,
                found: self.role,
                expected,
            });
        }
        verify_endorsement(org, &self.user, &self.user_key, &self.endorsement, pinned)?;
        self.user_key
            .verify(
                Statement::Approval,
                &approved(digest, org, self.role),
                &self.signature,
            )
            .map_err(|_| ApprovalError::BadApproval(self.user.clone()))
    }
}

fn approved<'a>(digest: &'a AgreementDigest, org: &'a OrgName, role: Role) -> [&'a [u8]; 3] {
    [
        digest.as_bytes(),
        org.as_str().as_bytes(),
        role.as_str().as_bytes(),
    ]
}
