use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::limits::VALUE_BYTES_MAX;

const CONTEXT: DeliveryContext = DeliveryContext {
    flow: [1; 16],
    agreement: [2; 32],
};

fn table(rows: usize) -> Delivery {
    let mut delivered = DeliveredRows::new(2);
    for i in 0..rows {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&i.to_be_bytes());
        let age = format!("[{},{})", i % 9, i % 9 + 1);
        delivered.push(&id, [age.as_str(), "own"]).unwrap();
    }
    Delivery {
        columns: vec!["age_band".into(), "housing".into()],
        rows: delivered,
        generalised: "none".into(),
        suppressed: "under 20".into(),
        reference_key: None,
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

#[test]
fn opens_with_its_key() {
    let secret = DeliverySecret::generate(&mut rng());
    let sealed = table(100)
        .seal(&secret.public_bytes(), &CONTEXT, &mut rng())
        .unwrap();
    let restored = DeliverySecret::from_bytes(&secret.to_bytes()).unwrap();
    let opened = Delivery::open(sealed, &restored, &CONTEXT).unwrap();
    assert_eq!(opened, table(100));
    assert_ne!(opened.rows, table(99).rows);
    let (id, values) = opened.rows.get(99).unwrap();
    assert_eq!(
        (id[15], values.collect::<Vec<_>>()),
        (99, vec!["[0,1)", "own"])
    );
    assert!(opened.rows.get(100).is_none());
}

#[test]
fn rows_rise_and_fit_their_columns_or_are_left_out() {
    let mut rows = DeliveredRows::new(2);
    let mut push = |id: u8, values: &[&str]| rows.push(&[id; 16], values.iter().copied()).is_ok();
    let (long, longest) = ("x".repeat(VALUE_BYTES_MAX + 1), "x".repeat(VALUE_BYTES_MAX));
    assert!(push(5, &["a", "b"]));
    for (id, values) in [
        (5, &["a", "b"][..]),
        (4, &["a", "b"]),
        (6, &["a"]),
        (6, &["a", "b", "c"]),
        (6, &["a", &long]),
    ] {
        assert!(!push(id, values), "{id} {values:?}");
    }
    assert!(push(6, &["", &longest]));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows.iter().map(|(id, _)| id[0]).collect::<Vec<_>>(), [5, 6]);
    let mut wide = table(1);
    wide.columns.push("region".into());
    let secret = DeliverySecret::generate(&mut rng());
    assert!(
        wide.seal(&secret.public_bytes(), &CONTEXT, &mut rng())
            .is_err()
    );
}

#[test]
fn a_plaintext_whose_match_ids_do_not_rise_is_refused() {
    let mut plaintext = table(3).encode(&CONTEXT).unwrap();
    let start = Encapped::size();
    let decode = |bytes: &[u8]| Delivery::decode(Zeroizing::new(bytes.to_vec()), start, &CONTEXT);
    assert_eq!(decode(&plaintext), Ok(table(3)));
    let last = plaintext
        .windows(8)
        .rposition(|window| window == 2_u64.to_be_bytes())
        .unwrap();
    plaintext[last + 7] = 1;
    assert_eq!(
        decode(&plaintext),
        Err(malformed("its match ids do not rise"))
    );
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
            Delivery::open(sealed.to_vec(), secret, &context),
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
        let _ = Delivery::decode(Zeroizing::new(bytes), 0, &CONTEXT);
    }
}
