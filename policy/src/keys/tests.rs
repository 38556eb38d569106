use super::*;
use proptest::prelude::*;

fn institution() -> InstitutionKey {
    InstitutionKey::from_seed(&[7; 32])
}

#[test]
fn the_public_key_is_the_one_of_rfc_8032() {
    // RFC 8032, section 7.1, test 1.
    let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let key = PersonKey::from_seed(&seed.unwrap().try_into().unwrap());
    assert_eq!(
        hex::encode(key.public().as_bytes()),
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
}

#[test]
fn a_signature_holds_for_its_own_statement_parts_and_key_only() {
    let key = institution();
    let signature = key.sign(Statement::Approval, &[b"ab", b"c"]);
    let public = key.public();
    assert!(
        public
            .verify(Statement::Approval, &[b"ab", b"c"], &signature)
            .is_ok()
    );
    assert!(
        public
            .verify(Statement::Agreement, &[b"ab", b"c"], &signature)
            .is_err()
    );
    assert!(
        public
            .verify(Statement::Approval, &[b"a", b"bc"], &signature)
            .is_err()
    );
    let other = InstitutionKey::from_seed(&[8; 32]).public();
    assert!(
        other
            .verify(Statement::Approval, &[b"ab", b"c"], &signature)
            .is_err()
    );
}

#[test]
fn text_forms_round_trip() {
    let public = institution().public();
    assert_eq!(
        public.to_string().parse::<InstitutionPublicKey>(),
        Ok(public)
    );
    let noise = NoisePublicKey::from_bytes([9; 32]).unwrap();
    assert_eq!(noise.to_string().parse::<NoisePublicKey>(), Ok(noise));
}

#[test]
fn key_text_that_must_fail() {
    let good = institution().public().to_string();
    let cases = [
        ("wrong_prefix", good.replace("ed25519", "x25519")),
        ("no_prefix", good.replace("ed25519:", "")),
        ("no_padding", good.trim_end_matches('=').to_owned()),
        ("space", format!("{good} ")),
        ("short", "ed25519:AAAA".to_owned()),
        (
            "small_order_identity",
            format!(
                "ed25519:{}",
                STANDARD.encode({
                    let mut identity = [0_u8; 32];
                    identity[0] = 1;
                    identity
                })
            ),
        ),
    ];
    for (name, text) in cases {
        assert!(text.parse::<InstitutionPublicKey>().is_err(), "{name}");
    }
    // Non-zero trailing bits encode the same bytes a second way.
    let loose = format!(
        "x25519:{}",
        STANDARD.encode([9; 32]).replace("CQk=", "CQl=")
    );
    assert!(loose.parse::<NoisePublicKey>().is_err(), "trailing_bits");
    assert!(
        NoisePublicKey::from_bytes([0; 32]).is_none(),
        "zero_noise_key"
    );
}

#[test]
fn debug_never_shows_a_secret() {
    let key = PersonKey::from_seed(&[0xAB; 32]);
    let shown = format!("{key:?}");
    assert!(
        !shown.contains("171") && !shown.to_lowercase().contains("abab"),
        "{shown}"
    );
    assert!(!shown.contains(&STANDARD.encode([0xAB; 32])));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "(ed25519:|x25519:)?[A-Za-z0-9+/=]{0,60}") {
        let _ = text.parse::<InstitutionPublicKey>();
        let _ = text.parse::<NoisePublicKey>();
        let _ = text.parse::<Signature>();
    }
}
