//! Every message that no honest peer sends, by name, refused by both halves.

use curve25519_dalek::RistrettoPoint;

use super::tests::{SESSION, rng, set};
use super::*;

const POINT: usize = 32;

/// Encodings that RFC 9496 appendix A.2 lists as invalid.
const INVALID: [(&str, &str); 9] = [
    (
        "all_ones",
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ),
    (
        "field_not_reduced",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "field_p_plus_something",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "field_p",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "negative_one",
        "0100000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "negative_high_bit",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
    (
        "non_square",
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    ),
    (
        "negative_t",
        "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    ),
    (
        "zero_y",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ),
];

/// A chunk of distinct good points.
fn points(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = rng(seed);
    (0..count)
        .flat_map(|_| RistrettoPoint::random(&mut rng).compress().to_bytes())
        .collect()
}

fn with(chunk: &[u8], position: usize, point: &[u8]) -> Vec<u8> {
    let mut changed = chunk.to_vec();
    changed[position * POINT..][..POINT].copy_from_slice(point);
    changed
}

/// Chunks for a place where five points are due, and what each must be refused with.
fn malformed() -> Vec<(String, Vec<u8>, PeerFault)> {
    let good = points(5, 1);
    let first = good[..POINT].to_vec();
    let too_long = vec![7; (CHUNK_POINTS + 1) * POINT];
    let bytes = too_long.len();
    let mut cases = vec![
        (
            "empty".into(),
            vec![],
            PeerFault::WrongCount {
                got: 0,
                expected: 5,
            },
        ),
        (
            "one_missing".into(),
            points(4, 1),
            PeerFault::WrongCount {
                got: 4,
                expected: 5,
            },
        ),
        (
            "one_too_many".into(),
            points(6, 1),
            PeerFault::WrongCount {
                got: 6,
                expected: 5,
            },
        ),
        (
            "byte_missing".into(),
            good[..159].to_vec(),
            PeerFault::RaggedChunk { bytes: 159 },
        ),
        (
            "byte_too_many".into(),
            [&good[..], &[0]].concat(),
            PeerFault::RaggedChunk { bytes: 161 },
        ),
        (
            "chunk_too_long".into(),
            too_long,
            PeerFault::ChunkTooLong { bytes },
        ),
        (
            "identity".into(),
            with(&good, 3, &[0; 32]),
            PeerFault::Identity { position: 3 },
        ),
        (
            "repeated".into(),
            with(&good, 4, &first),
            PeerFault::Repeated { position: 4 },
        ),
    ];
    for (name, encoding) in INVALID {
        let chunk = with(&good, 2, &hex::decode(encoding).unwrap());
        cases.push((name.into(), chunk, PeerFault::NotCanonical { position: 2 }));
    }
    cases
}

fn halves(own: u32, peer: u32) -> (Query, Evaluate) {
    begin(SESSION, set(0..own), peer, &mut rng(3)).unwrap()
}

fn peer(fault: PeerFault) -> Error {
    Error::Peer(fault)
}

#[test]
fn malformed_questions_are_refused_and_end_the_half() {
    for (name, chunk, fault) in malformed() {
        let (_, mut evaluate) = halves(1, 5);
        assert_eq!(evaluate.reply(&chunk), Err(peer(fault)), "{name}");
        let again = evaluate.reply(&points(5, 1));
        assert_eq!(
            again,
            Err(Misuse::AlreadyFailed.into()),
            "{name}: after the failure"
        );
        assert_eq!(
            evaluate.finish().unwrap_err(),
            Misuse::AlreadyFailed.into(),
            "{name}"
        );
    }
    let (_, mut evaluate) = halves(1, 5);
    assert_eq!(
        evaluate.reply(&points(5, 1)).unwrap().len(),
        5 * POINT,
        "the good chunk passes"
    );
}

#[test]
fn malformed_replies_are_refused_and_end_the_half() {
    for (name, chunk, fault) in malformed() {
        let (mut query, evaluate) = halves(5, 0);
        query.next_chunk().unwrap().unwrap();
        assert_eq!(query.accept_reply(&chunk), Err(peer(fault)), "{name}");
        let again = query.accept_reply(&points(5, 1));
        assert_eq!(
            again,
            Err(Misuse::AlreadyFailed.into()),
            "{name}: after the failure"
        );
        assert_eq!(
            query.next_chunk(),
            Err(Misuse::AlreadyFailed.into()),
            "{name}"
        );
        let finished = query.finish(evaluate.finish().unwrap());
        assert_eq!(
            finished.unwrap_err(),
            Misuse::AlreadyFailed.into(),
            "{name}"
        );
    }
    let (mut query, _) = halves(5, 0);
    query.next_chunk().unwrap().unwrap();
    assert_eq!(
        query.accept_reply(&points(5, 1)),
        Ok(()),
        "the good chunk passes"
    );
}

#[test]
fn a_point_repeated_across_chunks_is_found() {
    let full = u32::try_from(CHUNK_POINTS).unwrap();
    let first = points(CHUNK_POINTS, 1);
    let second = with(&points(2, 2), 1, &first[POINT..2 * POINT]);
    let fault = peer(PeerFault::Repeated {
        position: CHUNK_POINTS + 1,
    });

    let (_, mut evaluate) = halves(1, full + 2);
    evaluate.reply(&first).unwrap();
    assert_eq!(evaluate.reply(&second), Err(fault.clone()));

    let (mut query, _) = halves(full + 2, 0);
    while query.next_chunk().unwrap().is_some() {}
    query.accept_reply(&first).unwrap();
    assert_eq!(query.accept_reply(&second), Err(fault));
}

#[test]
fn more_points_than_announced_are_refused() {
    let (_, mut evaluate) = halves(1, 5);
    evaluate.reply(&points(5, 1)).unwrap();
    let fault = peer(PeerFault::TooManyPoints { announced: 5 });
    assert_eq!(evaluate.reply(&points(1, 2)), Err(fault));

    let (_, mut none) = halves(1, 0);
    let fault = peer(PeerFault::TooManyPoints { announced: 0 });
    assert_eq!(
        none.reply(&[]),
        Err(fault),
        "also where none were announced"
    );
}

#[test]
fn a_short_chunk_where_a_full_one_is_due_is_refused() {
    let full = u32::try_from(CHUNK_POINTS).unwrap();
    let (_, mut evaluate) = halves(1, full + 5);
    let fault = PeerFault::WrongCount {
        got: 5,
        expected: CHUNK_POINTS,
    };
    assert_eq!(evaluate.reply(&points(5, 1)), Err(peer(fault)));
}

#[test]
fn unrequested_replies_are_refused() {
    let (mut query, _) = halves(5, 0);
    let fault = peer(PeerFault::UnrequestedReply);
    assert_eq!(
        query.accept_reply(&points(5, 1)),
        Err(fault.clone()),
        "before any question"
    );

    let (mut query, _) = halves(5, 0);
    query.next_chunk().unwrap().unwrap();
    query.accept_reply(&points(5, 1)).unwrap();
    assert_eq!(
        query.accept_reply(&points(5, 2)),
        Err(fault),
        "a second reply"
    );
}

#[test]
fn ending_early_is_refused() {
    let (_, evaluate) = halves(1, 5);
    let fault = peer(PeerFault::Incomplete {
        got: 0,
        expected: 5,
    });
    assert_eq!(evaluate.finish().unwrap_err(), fault);

    let (mut query, evaluate) = halves(5, 0);
    query.next_chunk().unwrap().unwrap();
    assert_eq!(query.finish(evaluate.finish().unwrap()).unwrap_err(), fault);
}

#[test]
fn misuse_blames_the_caller() {
    let (query, evaluate) = halves(5, 0);
    let misuse = Error::Misuse(Misuse::Unsent { sent: 0, total: 5 });
    assert_eq!(
        query.finish(evaluate.finish().unwrap()).unwrap_err(),
        misuse
    );

    let (query, _) = halves(0, 0);
    let elsewhere = SessionId::from_bytes([9; 32]);
    let (_, other) = begin(elsewhere, set(0..0), 0, &mut rng(4)).unwrap();
    let mixed = query.finish(other.finish().unwrap());
    assert_eq!(mixed.unwrap_err(), Misuse::MixedSessions.into());
}

#[test]
fn an_announcement_over_the_bound_is_refused() {
    let announced = ITEMS_MAX + 1;
    let got = begin(SESSION, set(0..1), announced, &mut rng(1)).unwrap_err();
    assert_eq!(got, peer(PeerFault::TooManyItems { announced }));
    assert!(begin(SESSION, set(0..1), ITEMS_MAX, &mut rng(1)).is_ok());
}

#[test]
fn errors_say_whose_fault_it_was() {
    let text = peer(PeerFault::Identity { position: 3 }).to_string();
    assert!(text.starts_with("the peer broke the matching protocol: point `3` is the identity"));
    let text = Error::from(Misuse::AlreadyFailed).to_string();
    assert!(text.starts_with("the matching protocol was misused"));
}
