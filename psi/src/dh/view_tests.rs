//! Takes each party's whole view and tries to make tokens of the other's items from it.
//!
//! The attacker knows what the party knows: its scalars, every point sent and received, the
//! session, and a dictionary that holds all identifiers of both sides (phones can be
//! enumerated). It raises every point, and every hashed identifier, to every product of its key
//! and one of its blinds and their inverses up to the second power, pairs each result with each
//! identifier, and looks whether the match id is one that the other side will submit.
//!
//! A second attacker does not follow the protocol: it answers as it likes.

use std::collections::BTreeSet;
use std::sync::Arc;

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};

use super::tests::{Run, SESSION, rng, run_with, set};
use super::{Blinds, Secrets, begin_with};
use crate::hash_to_group::{ITEM_DST, hash_to_ristretto255};
use crate::identifier::IdentifierSet;
use crate::token::{MatchId, Token};

/// Owner and recipient hold 8 items each, 2 of them in common: 6 and 7.
fn sets() -> [Arc<IdentifierSet>; 2] {
    [set(0..8), set(6..14)]
}

struct View<'a> {
    key: Scalar,
    blinds: Vec<Scalar>,
    points: Vec<RistrettoPoint>,
    dictionary: &'a IdentifierSet,
}

impl<'a> View<'a> {
    fn new(secrets: &Secrets, run: &Run, dictionary: &'a IdentifierSet) -> Self {
        let wire = [&run.owner_asks, &run.recipient_asks];
        let points = wire
            .into_iter()
            .flat_map(|t| t.questions.iter().chain(&t.replies))
            .flat_map(|chunk| decode(chunk))
            .collect();
        Self {
            key: *secrets.key,
            blinds: (0..8).map(|place| secrets.blinds.at(place)).collect(),
            points,
            dictionary,
        }
    }

    /// k^i * s^j for all i, j from -2 to 2 and every own blind s.
    fn exponents(&self) -> BTreeSet<[u8; 32]> {
        let powers = |e: Scalar| {
            let inverse = e.invert();
            [inverse * inverse, inverse, Scalar::ONE, e, e * e]
        };
        let key = powers(self.key);
        let blinds = self.blinds.iter().copied().flat_map(powers);
        blinds
            .flat_map(|s| key.iter().map(move |k| (k * s).to_bytes()))
            .collect()
    }

    /// Every match id that this view lets its owner compute.
    fn computable(&self) -> BTreeSet<MatchId> {
        let items: Vec<&[u8]> = (0..)
            .map_while(|index| self.dictionary.get(index))
            .collect();
        let hashed = items
            .iter()
            .map(|item| hash_to_ristretto255(item, ITEM_DST));
        let bases: Vec<RistrettoPoint> = self.points.iter().copied().chain(hashed).collect();
        let mut found = BTreeSet::new();
        for exponent in self.exponents() {
            let exponent = Scalar::from_canonical_bytes(exponent).unwrap();
            for base in &bases {
                let element = (base * exponent).compress();
                for item in &items {
                    found.insert(Token::derive(&SESSION, item, element.as_bytes()).match_id());
                }
            }
        }
        found
    }
}

fn decode(chunk: &[u8]) -> Vec<RistrettoPoint> {
    let points = chunk.as_chunks::<32>().0.iter();
    points
        .map(|point| CompressedRistretto(*point).decompress().unwrap())
        .collect()
}

fn encode(points: impl IntoIterator<Item = RistrettoPoint>) -> Vec<u8> {
    let encodings = points.into_iter().map(|point| point.compress().to_bytes());
    encodings.flatten().collect()
}

/// What one side must not be able to compute, and what it must.
struct Outcome {
    stolen: usize,
    others: usize,
    own_computed: bool,
}

fn attack(secrets: &Secrets, run: &Run, own: &[Token], others: &[Token]) -> Outcome {
    let dictionary = set(0..14);
    let computable = View::new(secrets, run, &dictionary).computable();
    let own: BTreeSet<MatchId> = own.iter().map(Token::match_id).collect();
    let others: BTreeSet<MatchId> = others
        .iter()
        .map(Token::match_id)
        .filter(|id| !own.contains(id))
        .collect();
    Outcome {
        stolen: others.intersection(&computable).count(),
        others: others.len(),
        own_computed: own.is_subset(&computable),
    }
}

fn attack_both_sides(secrets: [&Secrets; 2]) -> [Outcome; 2] {
    let [owner, recipient] = sets();
    let run = run_with(SESSION, [&owner, &recipient], secrets, 7);
    [
        attack(secrets[0], &run, &run.owner_tokens, &run.recipient_tokens),
        attack(secrets[1], &run, &run.recipient_tokens, &run.owner_tokens),
    ]
}

fn honest(seed: u64) -> Secrets {
    Secrets::draw(&mut rng(seed))
}

/// The bug that psi.md warns of: what is sent is H(x)^a, and the peer returns H(x)^(ab), of
/// which the token is made.
fn unblinded(seed: u64) -> Secrets {
    let honest = honest(seed);
    Secrets {
        blinds: Blinds::Shared(*honest.key),
        key: honest.key,
    }
}

#[test]
fn no_view_gives_a_token_of_the_others_items() {
    for outcome in attack_both_sides([&honest(1), &honest(2)]) {
        assert_eq!(outcome.others, 6);
        assert_eq!(
            outcome.stolen, 0,
            "a token of the other side's items came out of a view"
        );
        // The attacker is no straw man: what can be computed, it computes.
        assert!(outcome.own_computed);
    }
}

#[test]
fn the_attack_finds_every_token_of_an_unblinded_owner() {
    let [owner_view, recipient_view] = attack_both_sides([&unblinded(1), &honest(2)]);
    assert_eq!(recipient_view.stolen, 6);
    assert_eq!(owner_view.stolen, 0);
}

#[test]
fn the_attack_finds_every_token_of_an_unblinded_recipient() {
    let [owner_view, recipient_view] = attack_both_sides([&honest(1), &unblinded(2)]);
    assert_eq!(owner_view.stolen, 6);
    assert_eq!(recipient_view.stolen, 0);
}

/// Blinding with 1 gives the peer H(x) itself, and with its key H(x)^b, but not yet H(x)^(ab):
/// the attack must tell this leak (of who is in the set) from a stolen token.
#[test]
fn the_attack_does_not_cry_wolf() {
    let bare = Secrets {
        key: honest(1).key,
        blinds: Blinds::Shared(Scalar::ONE),
    };
    let [_, recipient_view] = attack_both_sides([&bare, &honest(2)]);
    assert_eq!(recipient_view.stolen, 0);
}

/// A recipient that colludes with the broker answers all of the owner's questions with powers of
/// one of them, the `target`-th, and gets H(y)^a for its own items as anybody does. Returns how
/// many of the 6 tokens of items that it never queried it can then compute.
fn steer(blinds: Blinds, target: usize) -> usize {
    let [owner, recipient] = sets();
    let secrets = Secrets {
        key: honest(1).key,
        blinds,
    };
    let (mut query, mut evaluate) = begin_with(SESSION, owner, 8, secrets, &mut rng(7)).unwrap();
    let items: Vec<&[u8]> = (0..).map_while(|index| recipient.get(index)).collect();
    let hashed = items
        .iter()
        .map(|item| hash_to_ristretto255(item, ITEM_DST));
    let raised = decode(&evaluate.reply(&encode(hashed)).unwrap());

    let powers = || (1_u64..=8).map(Scalar::from);
    let asked = decode(&query.next_chunk().unwrap().unwrap())[target];
    query
        .accept_reply(&encode(powers().map(|t| asked * t)))
        .unwrap();
    let tokens = query.finish(evaluate.finish().unwrap()).unwrap();
    let not_queried: BTreeSet<MatchId> = tokens[..6].iter().map(Token::match_id).collect();

    let dictionary = set(0..14);
    let mut found = BTreeSet::new();
    for element in raised.iter().flat_map(|h| powers().map(move |t| h * t)) {
        let element = element.compress();
        for item in (0..).map_while(|index| dictionary.get(index)) {
            found.insert(Token::derive(&SESSION, item, element.as_bytes()).match_id());
        }
    }
    not_queried.intersection(&found).count()
}

/// Two of the owner's items were queried: a blind that all items share gives everything away to
/// answers made of either, and nothing otherwise.
#[test]
fn answers_made_of_one_question_open_a_set_with_a_shared_blind() {
    let shared = *honest(9).key;
    let mut stolen: Vec<usize> = (0..8)
        .map(|target| steer(Blinds::Shared(shared), target))
        .collect();
    stolen.sort_unstable();
    assert_eq!(stolen, [0, 0, 0, 0, 0, 0, 6, 6]);
}

#[test]
fn answers_made_of_one_question_open_nothing() {
    for target in 0..8 {
        assert_eq!(steer(Blinds::draw(&mut rng(9)), target), 0);
    }
}
