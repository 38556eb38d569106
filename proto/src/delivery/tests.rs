use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;

const CONTEXT: DeliveryContext = DeliveryContext {
    flow: [1; 16],
    agreement: [2; 32],
};

fn table(rows: usize) -> Delivery {
    Delivery {
        columns: vec!["age_band".into(), "housing".into()],
        rows: (0..rows)
            .map(|i| {
                let mut id = [0; 16];
                id[8..].copy_from_slice(&(rows - i).to_be_bytes());
                (id, vec![format!("[{},{})", i % 9, i % 9 + 1), "own".into()])
            })
            .collect(),
        generalised: "none".into(),
        suppressed: "under 20".into(),
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

#[test]
fn opens_with_its_key_and_is_sorted_by_match_id() {
    let secret = DeliverySecret::generate(&mut rng());
    let sealed = table(100)
        .seal(&secret.public_bytes(), &CONTEXT, &mut rng())
        .unwrap();
    let restored = DeliverySecret::from_bytes(&secret.to_bytes()).unwrap();
    let opened = Delivery::open(&sealed, &restored, &CONTEXT).unwrap();
    assert!(opened.rows.is_sorted_by_key(|(id, _)| *id));
    let mut expected = table(100);
    expected.rows.reverse();
    assert_eq!(opened, expected);
}

#[test]
fn another_key_flow_agreement_or_bit_does_not_open() {
    let secret = DeliverySecret::generate(&mut rng());
    let other = DeliverySecret::generate(&mut ChaCha20Rng::seed_from_u64(8));
    let sealed = table(3)
        .seal(&secret.public_bytes(), &CONTEXT, &mut rng())
        .unwrap();
    let refused = |sealed: &[u8], secret: &DeliverySecret, context: DeliveryContext| {
        assert_eq!(
            Delivery::open(sealed, secret, &context),
            Err(WireError::Unopenable)
        );
    };
    refused(&sealed, &other, CONTEXT);
    refused(
        &sealed,
        &secret,
        DeliveryContext {
            flow: [9; 16],
            ..CONTEXT
        },
    );
    refused(
        &sealed,
        &secret,
        DeliveryContext {
            agreement: [9; 32],
            ..CONTEXT
        },
    );
    for position in [0, sealed.len() / 2, sealed.len() - 1] {
        let mut altered = sealed.clone();
        altered[position] ^= 1;
        refused(&altered, &secret, CONTEXT);
    }
    refused(&sealed[..100], &secret, CONTEXT);
}

#[test]
fn sizes_tell_a_class_and_not_a_count() {
    let secret = DeliverySecret::generate(&mut rng());
    let len = |rows| {
        table(rows)
            .seal(&secret.public_bytes(), &CONTEXT, &mut rng())
            .unwrap()
            .len()
    };
    assert_eq!(len(0), len(50));
    assert_eq!(len(5_000), len(4_000));
}

#[test]
fn a_key_of_another_suite_is_refused() {
    assert_eq!(
        table(1).seal(&[5; 32], &CONTEXT, &mut rng()),
        Err(bad_key())
    );
}

proptest! {
    #[test]
    fn no_plaintext_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Delivery::decode(&bytes, &CONTEXT);
    }
}
