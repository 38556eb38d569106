//! Takes a party's whole view and tries to make tokens of the other's items from it, or to find the items.
//!
//! In the first attack the attacker is the recipient. It has its own secrets, every message, and a dictionary that
//! holds all identifiers of both sides. It knows the recipient's function everywhere, because that
//! is its key. For the owner's function it has, besides the answers to its own items, the vector C
//! that the silent VOLE gave it, its own noise A, the store P, the masked store that it sent and
//! the coin: it reads each of them, and each sum of two, at each identifier of the dictionary, and
//! looks whether a token comes out that the owner will submit for an item that was not asked for.
//!
//! In the second the attacker holds the key, and wants to know what it was asked for: H(x) of each of the peer's items stands in
//! the store that was sent masked, and everybody can compute H.

use std::collections::BTreeSet;

use super::tests::{SESSION, rng, run, set};
use super::*;
use crate::token::MatchId;

struct Outcome {
    stolen: usize,
    others: usize,
    own_computed: bool,
}

/// The owner holds 0 to 7, the attacker asks for 6 to 13.
fn attack(delta: u128) -> Outcome {
    let sets = [set(0..8), set(6..14)];
    let owner = Session::begin_with(SESSION, Role::Owner, sets[0].clone(), 8, delta, &mut rng(1));
    let recipient = Session::begin(SESSION, Role::Recipient, sets[1].clone(), 8, &mut rng(2));
    let mut sides = [owner.unwrap(), recipient.unwrap()];
    let [_, sent] = run(&mut sides);
    let [owner, recipient] = sides;
    let ids =
        |tokens: &[Token]| -> BTreeSet<MatchId> { tokens.iter().map(Token::match_id).collect() };
    let owners = ids(&owner.finish().unwrap());

    let hashed = tokens::hash_items(&SESSION, &sets[1]);
    let (key, answers) = recipient.rounds.unwrap().finish().unwrap();
    let dictionary = set(0..14);
    let guessed = tokens::hash_items(&SESSION, &dictionary);
    let (layout, seed) = answers.rows();
    let rows = okvs::Rows::new(layout, seed, &guessed);
    let store = okvs::Rows::new(layout, seed, &hashed).solve().unwrap();
    let masked = masked_store(&sent, store.len());
    let noise: Vec<u128> = store.iter().zip(&masked).map(|(p, m)| p ^ m).collect();
    let coin = answers.evaluate(&hashed)[0]
        ^ okvs::Rows::new(layout, seed, &hashed).decode(answers.vector())[0];

    let mut readings = vec![vec![0; guessed.len()], vec![coin; guessed.len()]];
    for vector in [answers.vector(), &store, &masked, &noise] {
        readings.push(rows.decode(vector).to_vec());
    }
    readings.push(guessed.iter().map(|item| item.value).collect());
    let own_function = key.evaluate(&guessed);
    // One bin, so that the order of the dictionary is that of the store.
    let places: Vec<u32> = (0..14).collect();
    let mut computable = BTreeSet::new();
    for a in &readings {
        for b in &readings {
            for c in &readings {
                let sum: Vec<u128> = a
                    .iter()
                    .zip(b)
                    .zip(c)
                    .map(|((a, b), c)| a ^ b ^ c)
                    .collect();
                let found = tokens::tokens(
                    &SESSION,
                    &dictionary,
                    [&sum[..], &own_function[..]],
                    &places,
                );
                computable.extend(ids(&found));
            }
        }
    }
    let own = tokens::tokens(
        &SESSION,
        &sets[1],
        [&answers.evaluate(&hashed)[..], &key.evaluate(&hashed)[..]],
        &places,
    );
    let own = ids(&own);
    let others: BTreeSet<MatchId> = owners.difference(&own).copied().collect();
    Outcome {
        stolen: others.intersection(&computable).count(),
        others: others.len(),
        own_computed: own.is_subset(&computable),
    }
}

/// The elements after the header in what the recipient sent as its fourth message.
fn masked_store(sent: &[Vec<u8>], length: usize) -> Vec<u128> {
    let closing = sent.len() - 1;
    assert_eq!(sent[closing].len(), keyed::CLOSING_BYTES);
    let message = &sent[closing - 1];
    assert_eq!(message.len(), keyed::HEADER_BYTES + 16 * length);
    wire::take(&message[keyed::HEADER_BYTES..])
}

#[test]
fn no_view_gives_a_token_of_the_others_items() {
    let outcome = attack(prg::draw(&mut rng(3)));
    assert_eq!(outcome.others, 6);
    assert_eq!(outcome.stolen, 0);
    // The attacker is no straw man: what can be computed, it computes.
    assert!(outcome.own_computed);
}

/// With a difference of zero, what the recipient has from the VOLE is the owner's key itself: the
/// attack must find every token then.
#[test]
fn the_attack_finds_every_token_of_an_owner_without_a_key() {
    let outcome = attack(0);
    assert_eq!((outcome.others, outcome.stolen), (6, 6));
}

/// With one side's function only, as in a protocol with one evaluation, its key holder can try
/// every identifier; with both, each key holder lacks the other's.
#[test]
fn each_side_knows_its_own_function_everywhere_and_needs_the_other() {
    let sets = [set(0..4), set(3..6)];
    let mut sides = super::tests::begin([&sets[0], &sets[1]], 9);
    run(&mut sides);
    let [owner, recipient] = sides;
    let (owner_key, owner_answers) = owner.rounds.unwrap().finish().unwrap();
    let (recipient_key, recipient_answers) = recipient.rounds.unwrap().finish().unwrap();
    let everything = tokens::hash_items(&SESSION, &set(0..6));
    let (held, asked) = (&everything[..4], &everything[3..]);
    assert!(owner_key.evaluate(asked) == recipient_answers.evaluate(asked));
    assert!(recipient_key.evaluate(held) == owner_answers.evaluate(held));
    let elsewhere = owner_key.evaluate(&everything[..3]);
    let guessed = recipient_answers.evaluate(&everything[..3]);
    assert!(elsewhere.iter().zip(guessed.iter()).all(|(a, b)| a != b));
    assert_ne!(owner_key.coin(), recipient_key.coin());
}

/// The owner holds 100 to 107 and the recipient 6 to 13, so that nothing is common. Which identifiers of a dictionary the owner finds
/// in the store that it was sent: for each it reads the masked store, and sums of it with what its own key consists of, and
/// compares with H.
fn found_in_the_store(noise: bool) -> Vec<u32> {
    let sets = [set(100..108), set(6..14)];
    let mut sides = super::tests::begin([&sets[0], &sets[1]], 5);
    if !noise {
        sides[1].rounds.as_mut().unwrap().asking().without_noise();
    }
    let [_, sent] = run(&mut sides);
    let [owner, _] = sides;
    let (key, _) = owner.rounds.unwrap().finish().unwrap();
    let (vector, delta) = key.parts();
    let masked = masked_store(&sent, vector.len());
    // B, which the owner had before the store came: K = B + delta * (P + A).
    let before: Vec<u128> = vector
        .iter()
        .zip(&masked)
        .map(|(k, m)| k ^ delta.mul(*m))
        .collect();

    let dictionary = tokens::hash_items(&SESSION, &set(0..1_000));
    let (layout, seed) = key.rows();
    let mut by_bin: Vec<(u32, okvs::Hashed)> = (0..).zip(dictionary.iter().copied()).collect();
    by_bin.sort_by_key(|(_, item)| item.seed);
    let items: Vec<okvs::Hashed> = by_bin.iter().map(|(_, item)| *item).collect();
    let rows = okvs::Rows::new(layout, seed, &items);
    let mut found = BTreeSet::new();
    for other in [&vec![0; masked.len()], &before, &vector.to_vec()] {
        let sum: Vec<u128> = masked.iter().zip(other).map(|(a, b)| a ^ b).collect();
        let read = rows.decode(&sum);
        let hits = by_bin.iter().zip(read.iter());
        found.extend(
            hits.filter(|((_, item), read)| item.value == **read)
                .map(|((number, _), _)| *number),
        );
    }
    found.into_iter().collect()
}

#[test]
fn the_key_holder_finds_none_of_the_items_in_the_masked_store() {
    assert_eq!(found_in_the_store(true), []);
}

/// The vector A that masks the store is made of the noise alone.
#[test]
fn the_key_holder_finds_every_item_in_a_store_without_noise() {
    assert!(found_in_the_store(false).into_iter().eq(6..14));
}
