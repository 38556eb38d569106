use counterfoil_policy::keys::NoisePublicKey;

use super::*;
use crate::testing::{Story, bank, initialised, later, now, stranger};

fn invitation(org: &str, valid: Duration) -> Invitation {
    Invitation {
        org: OrgName::new(org).unwrap(),
        id: "invite-1".into(),
        secret_sha256: Digest::from_bytes([9; 32]),
        valid,
    }
}

fn joining(seed: u8) -> Joining {
    Joining {
        invite: bank().name.into(),
        secret_sha256: Digest::from_bytes([1; 32]),
        signing_key: PublicKey::from_bytes([seed; 32]),
        noise_key: PublicKey::from_bytes([seed; 32]),
        cert_sha256: Digest::from_bytes([seed; 32]),
        cert_expires: later(now(), Duration::days(365)),
    }
}

/// As the bank joined in [`Story::begun`], with an invite of its own.
fn again() -> Joining {
    let keys = bank().keys();
    Joining {
        invite: "second".into(),
        secret_sha256: Digest::from_bytes([2; 32]),
        signing_key: PublicKey::from_bytes(*keys.signing_key.as_bytes()),
        noise_key: PublicKey::from_bytes(*keys.noise_key.as_bytes()),
        ..joining(77)
    }
}

fn second_invite() -> InviteIssued {
    InviteIssued {
        invite: label("second"),
        org: bank().org(),
        secret_sha256: Digest::from_bytes([2; 32]),
        expires: later(now(), Duration::DAY),
    }
}

fn invited() -> Story {
    let mut story = Story::empty();
    story.told(initialised());
    story.told(bank().invited());
    story
}

fn code<T>(result: Result<T, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code, |_| "granted")
}

#[test]
fn an_invite_has_a_life_a_number_of_its_own_and_no_reserved_name() {
    let mut story = Story::begun();
    let ask = |story: &Story, asked: &Invitation| code(invite(&story.state, now(), asked));
    let day = invitation("west-fund", Duration::DAY);
    assert_eq!(ask(&story, &day), "granted");
    assert_eq!(
        ask(&story, &invitation("west-fund", INVITE_LIFE_MAX)),
        "granted"
    );
    let longer = INVITE_LIFE_MAX + Duration::SECOND;
    for life in [Duration::ZERO, Duration::seconds(-1), longer] {
        assert_eq!(ask(&story, &invitation("west-fund", life)), "invite_life");
    }
    assert_eq!(
        ask(&story, &invitation("broker", Duration::DAY)),
        "org_reserved"
    );
    for event in invite(&story.state, now(), &day).unwrap().events {
        story.told_event(event);
    }
    assert_eq!(ask(&story, &day), "invite_id");
}

impl Story {
    fn told_event(&mut self, event: counterfoil_audit::entry::Event) {
        self.tell(event).unwrap();
    }
}

#[test]
fn an_invite_opens_once_until_its_end_and_to_its_secret() {
    let mut story = invited();
    let at = |story: &Story, when, asked: &Joining| code(join(&story.state, when, asked));
    assert_eq!(at(&story, now(), &joining(1)), "granted");
    let end = later(now(), Duration::DAY);
    assert_eq!(at(&story, end, &joining(1)), "invite_expired");
    let just_before = Timestamp::from_unix_micros(end.unix_micros() - 1).unwrap();
    assert_eq!(at(&story, just_before, &joining(1)), "granted");
    let wrong_secret = Joining {
        secret_sha256: Digest::from_bytes([8; 32]),
        ..joining(1)
    };
    let wrong_number = Joining {
        invite: "other".into(),
        ..joining(1)
    };
    let first = join(&story.state, now(), &wrong_secret).err().unwrap();
    assert_eq!(first.code, "invite_unknown");
    assert_eq!(Some(first), join(&story.state, now(), &wrong_number).err());
    for event in join(&story.state, now(), &joining(1)).unwrap().events {
        story.told_event(event);
    }
    assert_eq!(at(&story, now(), &joining(1)), "invite_used");
}

#[test]
fn an_institution_comes_back_with_its_keys_or_after_a_revocation() {
    let mut story = Story::begun();
    story.told(second_invite());
    let replaced = join(&story.state, now(), &again()).unwrap().value;
    assert_eq!(replaced, Some(bank().certificate()));
    let other = PublicKey::from_bytes(*NoisePublicKey::from_bytes([5; 32]).unwrap().as_bytes());
    for differs in [
        Joining {
            signing_key: other,
            ..again()
        },
        Joining {
            noise_key: other,
            ..again()
        },
    ] {
        assert_eq!(code(join(&story.state, now(), &differs)), "keys_differ");
    }
    let revoked = revoke(&story.state, &bank().org(), "left").unwrap();
    assert_eq!(revoked.value, bank().certificate());
    for event in revoked.events {
        story.told_event(event);
    }
    // The open invite went with the institution.
    assert_eq!(code(join(&story.state, now(), &again())), "invite_used");
    story.told(InviteIssued {
        invite: label("third"),
        ..second_invite()
    });
    let with_new_keys = Joining {
        invite: "third".into(),
        signing_key: other,
        ..again()
    };
    assert_eq!(code(join(&story.state, now(), &with_new_keys)), "granted");
}

#[test]
fn only_an_institution_that_stands_is_revoked() {
    let mut story = Story::begun();
    let unknown = revoke(&story.state, &stranger().org(), "left");
    assert_eq!(code(unknown), "partner_unknown");
    for event in revoke(&story.state, &bank().org(), "left").unwrap().events {
        story.told_event(event);
    }
    assert_eq!(
        code(revoke(&story.state, &bank().org(), "left")),
        "partner_unknown"
    );
}
