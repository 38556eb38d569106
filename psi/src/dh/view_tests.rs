//! Takes each party's whole view and tries to make tokens of the other's items from it.
//!
//! The attacker knows what the party knows: its scalars, every point sent and received, the
//! session, and a dictionary that holds all identifiers of both sides (phones can be
//! enumerated). It raises every point, and every hashed identifier, to every product of the
//! scalars and their inverses up to the second power, pairs each result with each identifier,
//! and looks whether the match id is one that the other side will submit.

use std::collections::BTreeSet;
use std::sync::Arc;

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};

use super::Secrets;
use super::tests::{Run, SESSION, rng, run_with, set};
use crate::hash_to_group::{ITEM_DST, hash_to_ristretto255};
use crate::identifier::IdentifierSet;
use crate::token::{MatchId, Token};

/// Owner and recipient hold 8 items each, 2 of them in common: 6 and 7.
fn sets() -> [Arc<IdentifierSet>; 2] {
    [set(0..8), set(6..14)]
}

struct View<'a> {
    scalars: [Scalar; 2],
    points: Vec<RistrettoPoint>,
    dictionary: &'a IdentifierSet,
}

impl<'a> View<'a> {
    fn new(secrets: &Secrets, run: &Run, dictionary: &'a IdentifierSet) -> Self {
        let wire = [&run.owner_asks, &run.recipient_asks];
        let points = wire
            .into_iter()
            .flat_map(|t| t.questions.iter().chain(&t.replies))
            .flat_map(|chunk| chunk.as_chunks::<32>().0)
            .map(|point| CompressedRistretto(*point).decompress().unwrap())
            .collect();
        Self {
            scalars: [*secrets.key, *secrets.blind],
            points,
            dictionary,
        }
    }

    /// k^i * s^j for all i, j from -2 to 2.
    fn exponents(&self) -> Vec<Scalar> {
        let powers = |e: Scalar| {
            let inverse = e.invert();
            [inverse * inverse, inverse, Scalar::ONE, e, e * e]
        };
        let [key, blind] = self.scalars.map(powers);
        key.iter()
            .flat_map(|k| blind.iter().map(move |s| k * s))
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
        blind: honest.key.clone(),
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
        blind: zeroize::Zeroizing::new(Scalar::ONE),
    };
    let [_, recipient_view] = attack_both_sides([&bare, &honest(2)]);
    assert_eq!(recipient_view.stolen, 0);
}
