use super::*;
use crate::agreement::tests::sample;
use crate::keys::PersonKey;

/// An institution of the sample agreement with two people.
pub(crate) struct House {
    pub(crate) org: OrgName,
    pub(crate) key: InstitutionKey,
    maker: PersonKey,
    checker: PersonKey,
}

impl House {
    pub(crate) fn new(org: &str, seed: u8) -> Self {
        Self {
            org: org.parse().unwrap(),
            key: InstitutionKey::from_seed(&[seed; 32]),
            maker: PersonKey::from_seed(&[seed + 100; 32]),
            checker: PersonKey::from_seed(&[seed + 150; 32]),
        }
    }

    fn approve(
        &self,
        person: &PersonKey,
        user: &str,
        role: Role,
        digest: &AgreementDigest,
    ) -> Approval {
        let endorsement = Endorsement::issue(
            &self.key,
            &self.org,
            &user.parse().unwrap(),
            person.public(),
        );
        Approval::sign(person, &endorsement, role, digest)
    }

    fn both(&self, digest: &AgreementDigest) -> (Approval, Approval) {
        (
            self.approve(&self.maker, "u.maker", Role::Maker, digest),
            self.approve(&self.checker, "u.checker", Role::Checker, digest),
        )
    }

    fn two_people(
        &self,
        digest: AgreementDigest,
        maker: Approval,
        checker: Approval,
    ) -> Result<TwoPersonApproval, ApprovalError> {
        TwoPersonApproval::new(digest, &self.org, &self.key.public(), maker, checker)
    }

    pub(crate) fn sign(&self, digest: AgreementDigest) -> InstitutionSignature {
        let (maker, checker) = self.both(&digest);
        InstitutionSignature::sign(&self.key, self.two_people(digest, maker, checker).unwrap())
    }
}

pub(crate) fn bank() -> House {
    House::new("north-bank", 1)
}

pub(crate) fn insurer() -> House {
    House::new("east-life", 2)
}

fn other_digest() -> AgreementDigest {
    AgreementDigest::from_bytes([9; 32])
}

#[test]
fn two_people_on_each_side_make_a_countersigned_agreement() {
    let agreement = sample();
    let (owner, recipient) = (
        bank().sign(agreement.digest()),
        insurer().sign(agreement.digest()),
    );
    assert_eq!(owner.verify_for(&agreement), Ok(Side::Owner));
    assert_eq!(recipient.verify_for(&agreement), Ok(Side::Recipient));
    let signed = Countersigned::new(agreement, owner, recipient).unwrap();
    assert_eq!(
        signed.signature(Side::Recipient).maker().user().as_str(),
        "u.maker"
    );
}

#[test]
fn one_person_cannot_be_maker_and_checker() {
    let (house, digest) = (bank(), sample().digest());
    let (maker, checker) = house.both(&digest);
    let same_user = house.approve(&house.checker, "u.maker", Role::Checker, &digest);
    assert!(matches!(
        house.two_people(digest, maker.clone(), same_user),
        Err(ApprovalError::SamePerson(_))
    ));
    let same_key = house.approve(&house.maker, "u.checker", Role::Checker, &digest);
    assert!(matches!(
        house.two_people(digest, maker.clone(), same_key),
        Err(ApprovalError::SameKey { .. })
    ));
    assert!(matches!(
        house.two_people(digest, maker.clone(), maker.clone()),
        Err(ApprovalError::WrongRole { .. })
    ));
    assert!(house.two_people(digest, maker, checker).is_ok());
}

#[test]
fn approvals_that_must_fail() {
    let (house, digest) = (bank(), sample().digest());
    let (maker, checker) = house.both(&digest);
    let stranger = insurer().approve(&house.checker, "u.checker", Role::Checker, &digest);
    let other = house.approve(&house.checker, "u.checker", Role::Checker, &other_digest());
    let renamed = Approval {
        user: "u.other".parse().unwrap(),
        ..checker.clone()
    };
    let as_checker = Approval {
        role: Role::Checker,
        user: checker.user.clone(),
        ..maker.clone()
    };
    for (name, checker) in [
        ("endorsed_elsewhere", stranger),
        ("other_agreement", other),
        ("renamed_user", renamed),
        ("relabelled_role", as_checker),
        (
            "swapped_signature",
            Approval {
                signature: maker.signature,
                ..checker
            },
        ),
    ] {
        assert!(
            house.two_people(digest, maker.clone(), checker).is_err(),
            "{name}"
        );
    }
}

#[test]
fn institution_signatures_that_must_fail() {
    let agreement = sample();
    let digest = agreement.digest();
    let good = bank().sign(digest);
    let (_, checker) = bank().both(&other_digest());
    let forged_people = InstitutionSignature {
        checker,
        ..good.clone()
    };
    assert!(
        forged_people.verify_for(&agreement).is_err(),
        "approval_of_other_agreement"
    );
    assert!(
        bank().sign(other_digest()).verify_for(&agreement).is_err(),
        "other_agreement"
    );
    let renamed = InstitutionSignature {
        org: insurer().org,
        ..good.clone()
    };
    assert!(
        renamed.verify_for(&agreement).is_err(),
        "renamed_institution"
    );
    let unsigned = InstitutionSignature {
        signature: good.maker.signature,
        ..good.clone()
    };
    assert!(matches!(
        unsigned.verify_for(&agreement),
        Err(ApprovalError::BadInstitutionSignature(_))
    ));
    let stranger = House::new("west-fund", 3).sign(digest);
    assert!(matches!(
        stranger.verify_for(&agreement),
        Err(ApprovalError::NotAParty(_))
    ));
    assert!(
        Countersigned::new(agreement, good.clone(), good).is_err(),
        "one_institution_twice"
    );
}

#[test]
fn json_forms_are_strict_and_round_trip() {
    let agreement = sample();
    let signature = bank().sign(agreement.digest());
    let text = serde_json::to_string(&signature).unwrap();
    let read: InstitutionSignature = serde_json::from_str(&text).unwrap();
    assert_eq!(read.verify_for(&agreement), Ok(Side::Owner));
    let extra = text.replacen('{', "{\"note\":1,", 1);
    assert!(serde_json::from_str::<InstitutionSignature>(&extra).is_err());
    let nested = text.replacen("\"role\"", "\"note\":1,\"role\"", 1);
    assert!(serde_json::from_str::<InstitutionSignature>(&nested).is_err());
}

#[test]
fn either_party_revokes_and_nobody_else() {
    let agreement = sample();
    let (user, at) = (
        "u.officer".parse().unwrap(),
        "2026-05-01T00:00:00Z".parse().unwrap(),
    );
    let by =
        |house: &House| Revocation::sign(&house.key, agreement.digest(), &house.org, &user, at);
    assert_eq!(by(&bank()).verify(&agreement), Ok(Side::Owner));
    assert_eq!(by(&insurer()).verify(&agreement), Ok(Side::Recipient));
    assert!(matches!(
        by(&House::new("west-fund", 3)).verify(&agreement),
        Err(ApprovalError::NotAParty(_))
    ));
    let pretender = House {
        org: bank().org,
        ..insurer()
    };
    assert!(matches!(
        by(&pretender).verify(&agreement),
        Err(ApprovalError::BadInstitutionSignature(_))
    ));
    let mut moved = by(&bank());
    moved.at = "2026-05-02T00:00:00Z".parse().unwrap();
    assert!(moved.verify(&agreement).is_err());
    let mut other = by(&bank());
    other.agreement = other_digest();
    assert_eq!(other.verify(&agreement), Err(ApprovalError::WrongAgreement));
}
