//! Signing an agreement: two people on each side, then two institutions.
//!
//! ```text
//! maker's approval ----\
//!                       TwoPersonApproval -> InstitutionSignature --\
//! checker's approval --/                                             Countersigned
//!                       (the other institution, the same way) ------/
//! ```
//!
//! Each step has one constructor that verifies what it takes. What arrives as JSON
//! ([`Approval`], [`InstitutionSignature`], [`Revocation`]) is a claim until verified.

mod officers;
mod people;
mod revocation;
mod scoring;

use serde::{Deserialize, Serialize};

use people::expect_org;

use crate::agreement::{Agreement, Side};
use crate::keys::{InstitutionKey, InstitutionPublicKey, Signature, Statement};
use crate::text::{AgreementDigest, OrgName, UserId, closed_list};

pub use officers::{Assessment, OfficerSignature};
pub use people::{Approval, Endorsement};
pub use revocation::Revocation;
pub use scoring::{ScoringRequest, all_lineages};

closed_list!(
    /// The part a person takes in approving.
    Role, "a role", "maker or checker",
    {
        Maker = "maker": "Proposes the agreement.",
        Checker = "checker": "A second person who looks at what the first proposed.",
    }
);

/// Why an approval or a signature does not stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The endorsement of the person's key is not by this institution.
    #[error("the institution did not endorse the key of user `{0}`; have it endorsed again")]
    NotEndorsed(UserId),
    /// The person's signature is not over this agreement, institution and role.
    #[error(
        "the approval of user `{0}` is not for this agreement, institution and role; approve again"
    )]
    BadApproval(UserId),
    /// The approval is for the other role.
    #[error("user `{user}` approved as {found}, where a {expected} is needed")]
    WrongRole {
        /// The person.
        user: UserId,
        /// The role in the approval.
        found: Role,
        /// The role that was needed.
        expected: Role,
    },
    /// Maker and checker are the same user.
    #[error("maker and checker are the same user `{0}`; a second person must check")]
    SamePerson(UserId),
    /// Maker and checker have the same key.
    #[error(
        "users `{maker}` and `{checker}` hold the same key; a second person must check with a key of their own"
    )]
    SameKey {
        /// The maker.
        maker: UserId,
        /// The checker.
        checker: UserId,
    },
    /// The signature names another institution than expected.
    #[error("the signature is of `{found}`, expected `{expected}`")]
    WrongInstitution {
        /// The institution in the signature.
        found: OrgName,
        /// The institution that was expected.
        expected: OrgName,
    },
    /// The institution's signature is not over this agreement and these approvals.
    #[error(
        "the signature of `{0}` is not valid with the key pinned for it; check the fingerprint"
    )]
    BadInstitutionSignature(OrgName),
    /// An officer's signature is not over this assessment and role.
    #[error("the signature of officer `{0}` is not for this assessment and role; sign again")]
    BadOfficerSignature(UserId),
    /// The statement is about another agreement, version or digest.
    #[error("the statement is about another agreement or version")]
    WrongAgreement,
    /// The institution is no party of the agreement.
    #[error("`{0}` is no party of the agreement")]
    NotAParty(OrgName),
}

/// Two verified approvals by different people with different keys, over one digest.
///
/// INVARIANT (two people): established in [`new`](Self::new), the only constructor.
#[derive(Clone, Debug)]
pub struct TwoPersonApproval {
    digest: AgreementDigest,
    org: OrgName,
    maker: Approval,
    checker: Approval,
}

impl TwoPersonApproval {
    /// Verifies both approvals and that two people made them.
    ///
    /// # Errors
    /// [`ApprovalError`]: either approval does not stand, or one person holds both roles,
    /// by id or by key.
    pub fn new(
        digest: AgreementDigest,
        org: &OrgName,
        pinned: &InstitutionPublicKey,
        maker: Approval,
        checker: Approval,
    ) -> Result<Self, ApprovalError> {
        maker.verify(Role::Maker, &digest, org, pinned)?;
        checker.verify(Role::Checker, &digest, org, pinned)?;
        if maker.user == checker.user {
            return Err(ApprovalError::SamePerson(maker.user));
        }
        if maker.user_key == checker.user_key {
            return Err(ApprovalError::SameKey {
                maker: maker.user,
                checker: checker.user,
            });
        }
        Ok(Self {
            digest,
            org: org.clone(),
            maker,
            checker,
        })
    }
}

/// An institution's signature of an agreement, with the approvals it rests on.
///
/// Made only from a [`TwoPersonApproval`]; read from JSON it is a claim until
/// [`verify`](Self::verify) or [`Countersigned::new`] has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstitutionSignature {
    org: OrgName,
    maker: Approval,
    checker: Approval,
    signature: Signature,
}

impl InstitutionSignature {
    /// The institution signs what two of its people approved.
    #[must_use]
    pub fn sign(key: &InstitutionKey, approval: TwoPersonApproval) -> Self {
        let TwoPersonApproval {
            digest,
            org,
            maker,
            checker,
        } = approval;
        let signature = key.sign(
            Statement::Agreement,
            &parts(&digest, &org, &maker, &checker),
        );
        Self {
            org,
            maker,
            checker,
            signature,
        }
    }

    /// The institution.
    #[must_use]
    pub fn org(&self) -> &OrgName {
        &self.org
    }

    /// The maker's approval.
    #[must_use]
    pub fn maker(&self) -> &Approval {
        &self.maker
    }

    /// The checker's approval.
    #[must_use]
    pub fn checker(&self) -> &Approval {
        &self.checker
    }

    /// Checks institution, both approvals, that two people made them, and the signature.
    ///
    /// # Errors
    /// [`ApprovalError`], naming the part that does not stand.
    pub fn verify(
        &self,
        digest: &AgreementDigest,
        org: &OrgName,
        pinned: &InstitutionPublicKey,
    ) -> Result<(), ApprovalError> {
        expect_org(&self.org, org)?;
        TwoPersonApproval::new(
            *digest,
            org,
            pinned,
            self.maker.clone(),
            self.checker.clone(),
        )?;
        pinned
            .verify(
                Statement::Agreement,
                &parts(digest, org, &self.maker, &self.checker),
                &self.signature,
            )
            .map_err(|_| ApprovalError::BadInstitutionSignature(org.clone()))
    }

    /// Checks the signature with the keys pinned in the agreement; tells whose side signed.
    ///
    /// # Errors
    /// [`ApprovalError::NotAParty`], or what [`verify`](Self::verify) finds.
    pub fn verify_for(&self, agreement: &Agreement) -> Result<Side, ApprovalError> {
        let side = agreement
            .side_of(&self.org)
            .ok_or_else(|| ApprovalError::NotAParty(self.org.clone()))?;
        self.verify(
            &agreement.digest(),
            &self.org,
            &agreement.party(side).signing_key,
        )?;
        Ok(side)
    }
}

/// Everything the institution's signature covers, in fixed order.
fn parts<'a>(
    digest: &'a AgreementDigest,
    org: &'a OrgName,
    maker: &'a Approval,
    checker: &'a Approval,
) -> [&'a [u8]; 10] {
    let of = |approval: &'a Approval| -> [&'a [u8]; 4] {
        [
            approval.user.as_str().as_bytes(),
            approval.user_key.as_bytes(),
            approval.endorsement.as_bytes(),
            approval.signature.as_bytes(),
        ]
    };
    let [a, b, c, d] = of(maker);
    let [e, f, g, h] = of(checker);
    [
        digest.as_bytes(),
        org.as_str().as_bytes(),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
    ]
}

/// An agreement with both institutions' valid signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersigned {
    agreement: Agreement,
    owner: InstitutionSignature,
    recipient: InstitutionSignature,
}

impl Countersigned {
    /// Verifies both signatures with the keys pinned in the agreement.
    ///
    /// # Errors
    /// [`ApprovalError`] of the first signature that does not stand.
    pub fn new(
        agreement: Agreement,
        owner: InstitutionSignature,
        recipient: InstitutionSignature,
    ) -> Result<Self, ApprovalError> {
        for (signature, party) in [
            (&owner, agreement.owner()),
            (&recipient, agreement.recipient()),
        ] {
            signature.verify(&agreement.digest(), &party.name, &party.signing_key)?;
        }
        Ok(Self {
            agreement,
            owner,
            recipient,
        })
    }

    /// The agreement.
    #[must_use]
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// The signature of a side.
    #[must_use]
    pub fn signature(&self, side: Side) -> &InstitutionSignature {
        match side {
            Side::Owner => &self.owner,
            Side::Recipient => &self.recipient,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
