use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::identifier::{IdentifierKind, Normaliser};

pub(super) const SESSION: SessionId = SessionId::from_bytes([1; 32]);

pub(super) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(super) fn set(numbers: impl IntoIterator<Item = u32>) -> Arc<IdentifierSet> {
    let normaliser = Normaliser::new(IdentifierKind::Email, None);
    let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rng(0));
    for number in numbers {
        let identifier = normaliser
            .normalise(&format!("{number}@example.com"))
            .unwrap();
        set.insert(&identifier).unwrap();
    }
    Arc::new(set)
}

/// Both sides of a session: owner, recipient.
pub(super) fn begin(sets: [&Arc<IdentifierSet>; 2], seed: u64) -> [Session; 2] {
    let sizes = sets.map(|set| u32::try_from(set.len()).unwrap());
    let side = |role, own: usize, seed| {
        Session::begin(
            SESSION,
            role,
            sets[own].clone(),
            sizes[1 - own],
            &mut rng(seed),
        )
        .unwrap()
    };
    [
        side(Role::Owner, 0, seed),
        side(Role::Recipient, 1, seed + 1),
    ]
}

/// Runs both sides to the end, and gives what each sent.
pub(super) fn run(sides: &mut [Session; 2]) -> [Vec<Vec<u8>>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    let [owner, recipient] = sides;
    while !(owner.is_complete() && recipient.is_complete()) {
        let before = sent[0].len() + sent[1].len();
        while let Some(piece) = owner.next_piece().unwrap() {
            recipient.receive(&piece).unwrap();
            sent[0].push(piece);
        }
        while let Some(piece) = recipient.next_piece().unwrap() {
            owner.receive(&piece).unwrap();
            sent[1].push(piece);
        }
        assert!(sent[0].len() + sent[1].len() > before, "both sides wait");
    }
    sent
}

#[test]
fn both_holders_and_nobody_else_have_the_same_token() {
    for (owner, recipient, common) in [
        (0..40, 30..90, 10),
        (0..1, 0..1, 1),
        (0..3_000, 2_000..2_400, 400),
    ] {
        let sets = [set(owner), set(recipient)];
        let mut sides = begin([&sets[0], &sets[1]], 7);
        run(&mut sides);
        let [owner, recipient] = sides.map(|side| side.finish().unwrap());
        let ids: std::collections::BTreeSet<_> = owner.iter().map(Token::match_id).collect();
        assert_eq!(ids.len(), sets[0].len());
        for (index, token) in (0..).zip(&recipient) {
            let item = sets[1].get(index).unwrap();
            let held = (0..).map_while(|i| sets[0].get(i)).any(|own| own == item);
            assert_eq!(ids.contains(&token.match_id()), held);
        }
        let found = recipient
            .iter()
            .filter(|t| ids.contains(&t.match_id()))
            .count();
        assert_eq!(found, common);
    }
}

/// Sets whose stores have several bins, and not as many of them.
#[test]
fn tokens_come_in_the_order_of_the_items_whatever_the_bins() {
    let sets = [set(0..40_000), set(39_000..109_000)];
    let mut sides = begin([&sets[0], &sets[1]], 7);
    run(&mut sides);
    let [owner, recipient] = sides.map(|side| side.finish().unwrap());
    for (index, token) in recipient.iter().enumerate() {
        let held = owner.get(39_000 + index).is_some_and(|own| own == token);
        assert_eq!(held, index < 1_000, "{index}");
    }
}

/// K = C + delta * P for the store P, place by place, with the product of the field's definition
/// (`field_tests.rs` compares it): what the whole silent VOLE is for.
#[test]
fn key_and_answers_are_correlated_by_the_store() {
    let sets = [set(0..50), set(25..90)];
    let mut sides = begin([&sets[0], &sets[1]], 3);
    run(&mut sides);
    let [owner, recipient] = sides;
    let hashed = tokens::hash_items(&SESSION, &sets[1]);
    let (key, _) = owner.rounds.unwrap().finish().unwrap();
    let (_, answers) = recipient.rounds.unwrap().finish().unwrap();
    let (layout, seed) = answers.rows();
    let store = okvs::Rows::new(layout, seed, &hashed).solve().unwrap();
    let (k, delta) = key.parts();
    assert_eq!(
        (k.len(), answers.vector().len()),
        (store.len(), store.len())
    );
    let mut masked = 0;
    for ((k, c), p) in k.iter().zip(answers.vector()).zip(&store) {
        assert_eq!(*k, c ^ delta.mul(*p));
        masked += usize::from(*p == 0 && k == c);
    }
    assert!(masked < store.len(), "the store is not all zeros");
}

#[test]
fn a_session_begins_and_ends_in_order() {
    let sets = [set(0..3), set(1..4)];
    let [mut owner, mut recipient] = begin([&sets[0], &sets[1]], 1);
    assert!(!owner.is_complete());
    let unfinished = begin([&sets[0], &sets[1]], 1).map(|side| side.finish().unwrap_err());
    assert_eq!(unfinished[0], PeerFault::Incomplete { round: 1 }.into());

    let opening = owner.next_piece().unwrap().unwrap();
    assert_eq!(
        owner.next_piece(),
        Ok(None),
        "the second message waits for the peer's first"
    );
    recipient.receive(&opening).unwrap();
    // A repeated opening has the wrong length for a second message.
    let error = recipient.receive(&opening).unwrap_err();
    assert!(
        matches!(error, Error::Peer(PeerFault::PieceLength { round: 2, .. })),
        "{error}"
    );
    assert_eq!(recipient.next_piece(), Err(Misuse::AlreadyFailed.into()));
    assert_eq!(
        recipient.finish().unwrap_err(),
        Misuse::AlreadyFailed.into()
    );
}

#[test]
fn sets_over_the_bound_are_refused() {
    let announced = ITEMS_MAX + 1;
    let begun = Session::begin(SESSION, Role::Owner, set(0..1), announced, &mut rng(0));
    assert_eq!(
        begun.unwrap_err(),
        PeerFault::TooManyItems { announced }.into()
    );
}

#[test]
fn debug_shows_no_secret() {
    let sets = [set(0..3), set(1..4)];
    let [owner, _] = begin([&sets[0], &sets[1]], 1);
    assert_eq!(
        format!("{owner:?}"),
        format!(
            "Session {{ id: {SESSION:?}, role: Owner, items: IdentifierSet(3 x email, <redacted>), .. }}"
        )
    );
}

/// Fixed randomness gives fixed messages and tokens: those of the file, which another implementation gave as well.
#[test]
fn messages_and_tokens_are_those_of_an_independent_implementation() {
    use sha2::{Digest, Sha256};
    let sets = [set(0..6), set(4..9)];
    let mut sides = begin([&sets[0], &sets[1]], 42);
    let mut lines = sent_lines(&run(&mut sides));
    for (side, name) in sides.into_iter().zip(["owner", "recipient"]) {
        for (index, token) in side.finish().unwrap().iter().enumerate() {
            let id = hex::encode(token.match_id().as_bytes());
            let key = hex::encode(token.row_key(Role::Owner).expose());
            lines.push(format!("{name} token {index} {id} {key}"));
        }
    }
    // Trees of three levels with five leaves, and of one with two.
    let sets = [set(0..40), set(20..1_120)];
    let mut sides = begin([&sets[0], &sets[1]], 44);
    lines.extend(sent_lines(&run(&mut sides)));
    for (side, name) in sides.into_iter().zip(["owner", "recipient"]) {
        let tokens = side.finish().unwrap();
        let ids: Vec<u8> = tokens
            .iter()
            .flat_map(|token| *token.match_id().as_bytes())
            .collect();
        let digest = hex::encode(Sha256::digest(ids));
        lines.push(format!("{name} match ids {} {digest}", tokens.len()));
    }
    let pinned: Vec<&str> = include_str!("vectors.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(lines, pinned, "now:\n{}\n", lines.join("\n"));
}

fn sent_lines(sent: &[Vec<Vec<u8>>; 2]) -> Vec<String> {
    use sha2::{Digest, Sha256};
    let sides = ["owner", "recipient"].iter().zip(sent);
    sides
        .map(|(side, pieces)| {
            let bytes = pieces.concat();
            let digest = hex::encode(Sha256::digest(&bytes));
            format!("{side} sent {} {digest}", bytes.len())
        })
        .collect()
}

/// H(z), from Python's hashlib, apart from this code.
#[test]
fn the_hash_of_an_item_is_pinned() {
    let hashed = tokens::hash_items(&SESSION, &set(0..1));
    assert_eq!(hashed[0].value, 0xcd90_f0d0_8e72_302d_ad45_441c_f586_c1e1);
    assert_eq!(hashed[0].seed, 0xb45b_9857_596c_7e95_c5de_444e_2ffb_2df6);
}

/// The session's name is not all that is fresh: under the same name, other randomness gives other keys, and so other tokens.
#[test]
fn keys_are_drawn_for_each_session() {
    let sets = [set(0..6), set(0..6)];
    let mut ids = std::collections::BTreeSet::new();
    for seed in [60, 70] {
        let mut sides = begin([&sets[0], &sets[1]], seed);
        run(&mut sides);
        let [owner, recipient] = sides.map(|side| side.finish().unwrap());
        assert!(owner == recipient);
        ids.extend(owner.iter().map(Token::match_id));
    }
    assert_eq!(ids.len(), 12);
}

/// Items that have the same row and other values: no store has both. The session says so, blames nobody, and is over.
#[test]
fn items_without_a_store_end_the_session_by_chance() {
    let sets = [set(0..6), set(4..9)];
    let mut sides = begin([&sets[0], &sets[1]], 3);
    let mut hashed = tokens::hash_items(&SESSION, &sets[1]);
    hashed[1].seed = hashed[0].seed;
    let layouts = [okvs::Layout::new(6), okvs::Layout::new(5)];
    sides[1].hashed = Items::new(&hashed, layouts);
    let [owner, recipient] = &mut sides;
    let error = loop {
        while let Some(piece) = recipient.next_piece().unwrap() {
            owner.receive(&piece).unwrap();
        }
        let piece = owner.next_piece().unwrap().unwrap();
        if let Err(error) = recipient.receive(&piece) {
            break error;
        }
    };
    assert_eq!(error, Error::Unsolvable);
    assert_eq!(recipient.next_piece(), Err(Misuse::AlreadyFailed.into()));
    let error = crate::ExchangeError::from(error);
    assert!(error.is_chance() && error.peer_fault().is_none());
    let other = crate::ExchangeError::from(Error::from(Misuse::AlreadyFailed));
    assert!(!other.is_chance());
}
