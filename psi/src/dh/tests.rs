use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::identifier::{Identifier, IdentifierKind, Normaliser};
use crate::token::{MatchId, Token};

pub(super) const SESSION: SessionId = SessionId::from_bytes([1; 32]);

pub(super) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(super) fn identifier(number: u32) -> Identifier {
    Normaliser::new(IdentifierKind::Email, None)
        .normalise(&format!("{number}@example.com"))
        .unwrap()
}

pub(super) fn set(numbers: impl IntoIterator<Item = u32>) -> Arc<IdentifierSet> {
    let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rng(0));
    for number in numbers {
        set.insert(&identifier(number)).unwrap();
    }
    Arc::new(set)
}

/// All that went over the wire in one direction of questions and answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    pub(super) questions: Vec<Vec<u8>>,
    pub(super) replies: Vec<Vec<u8>>,
}

pub(super) struct Run {
    pub(super) owner_tokens: Vec<Token>,
    pub(super) recipient_tokens: Vec<Token>,
    pub(super) owner_asks: Transcript,
    pub(super) recipient_asks: Transcript,
}

fn ask(query: &mut Query, evaluate: &mut Evaluate) -> Transcript {
    let mut transcript = Transcript::default();
    while let Some(chunk) = query.next_chunk().unwrap() {
        let reply = evaluate.reply(&chunk).unwrap();
        query.accept_reply(&reply).unwrap();
        transcript.questions.push(chunk);
        transcript.replies.push(reply);
    }
    transcript
}

pub(super) fn run_with(
    session: SessionId,
    sets: [&Arc<IdentifierSet>; 2],
    secrets: [&Secrets; 2],
    seed: u64,
) -> Run {
    let sizes = sets.map(|set| u32::try_from(set.len()).unwrap());
    let (mut oq, mut oe) = begin_with(
        session,
        sets[0].clone(),
        sizes[1],
        secrets[0].clone(),
        &mut rng(seed),
    )
    .unwrap();
    let (mut rq, mut re) = begin_with(
        session,
        sets[1].clone(),
        sizes[0],
        secrets[1].clone(),
        &mut rng(seed + 1),
    )
    .unwrap();
    let owner_asks = ask(&mut oq, &mut re);
    let recipient_asks = ask(&mut rq, &mut oe);
    Run {
        owner_tokens: oq.finish(oe.finish().unwrap()).unwrap(),
        recipient_tokens: rq.finish(re.finish().unwrap()).unwrap(),
        owner_asks,
        recipient_asks,
    }
}

fn run(session: SessionId, sets: [&Arc<IdentifierSet>; 2], seed: u64) -> Run {
    let secrets = [
        Secrets::draw(&mut rng(seed + 2)),
        Secrets::draw(&mut rng(seed + 3)),
    ];
    run_with(session, sets, [&secrets[0], &secrets[1]], seed)
}

fn ids(tokens: &[Token]) -> Vec<MatchId> {
    tokens.iter().map(Token::match_id).collect()
}

/// Items of `set` whose match id is among `others`, by index.
fn matched(set: &IdentifierSet, own: &[Token], others: &[Token]) -> BTreeSet<String> {
    let others: BTreeSet<MatchId> = ids(others).into_iter().collect();
    (0..)
        .zip(ids(own))
        .filter(|(_, id)| others.contains(id))
        .map(|(index, _)| set.expose_value(index).unwrap().to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tokens_agree_exactly_on_the_intersection(
        x in prop::collection::btree_set(0u32..60, 0..40),
        y in prop::collection::btree_set(0u32..60, 0..40),
        seed in any::<u64>(),
    ) {
        let seed = seed / 2;
        let (owner, recipient) = (set(x.iter().copied()), set(y.iter().copied()));
        let run = run(SESSION, [&owner, &recipient], seed);
        let plain: BTreeSet<String> =
            x.intersection(&y).map(|&n| identifier(n).expose_value().to_owned()).collect();
        prop_assert_eq!(run.owner_tokens.len(), x.len());
        prop_assert_eq!(run.recipient_tokens.len(), y.len());
        prop_assert_eq!(matched(&owner, &run.owner_tokens, &run.recipient_tokens), plain.clone());
        prop_assert_eq!(matched(&recipient, &run.recipient_tokens, &run.owner_tokens), plain);
    }
}

#[test]
fn chunk_boundaries_lose_nothing() {
    let full = u32::try_from(CHUNK_POINTS).unwrap();
    for (n, m) in [(full, 1), (full + 1, full - 1), (2 * full, 0), (0, 0)] {
        let (owner, recipient) = (set(0..n), set(0..m));
        let run = run(SESSION, [&owner, &recipient], 5);
        let common = n.min(m) as usize;
        assert_eq!(
            matched(&owner, &run.owner_tokens, &run.recipient_tokens).len(),
            common
        );
        let sizes: Vec<usize> = run.owner_asks.questions.iter().map(Vec::len).collect();
        let full_chunks = n as usize / CHUNK_POINTS;
        assert_eq!(sizes.len(), (n as usize).div_ceil(CHUNK_POINTS));
        assert!(sizes[..full_chunks].iter().all(|&bytes| bytes == 64_000));
        assert_eq!(sizes.iter().sum::<usize>(), 32 * n as usize);
    }
}

#[test]
fn halves_may_run_ahead_of_each_other() {
    let full = u32::try_from(CHUNK_POINTS).unwrap();
    let (owner, recipient) = (set(0..3 * full), set(5..6));
    let (mut oq, mut oe) = begin(SESSION, owner.clone(), 1, &mut rng(1)).unwrap();
    let (mut rq, mut re) = begin(SESSION, recipient, 3 * full, &mut rng(2)).unwrap();
    // All questions before any answer.
    let chunks: Vec<_> = std::iter::from_fn(|| oq.next_chunk().unwrap()).collect();
    let replies: Vec<_> = chunks
        .iter()
        .map(|chunk| re.reply(chunk).unwrap())
        .collect();
    assert_eq!(
        oq.progress(),
        Progress {
            done: 0,
            total: 6_000
        }
    );
    assert_eq!(
        re.progress(),
        Progress {
            done: 6_000,
            total: 6_000
        }
    );
    for reply in &replies {
        oq.accept_reply(reply).unwrap();
    }
    ask(&mut rq, &mut oe);
    let owner_tokens = oq.finish(oe.finish().unwrap()).unwrap();
    let recipient_tokens = rq.finish(re.finish().unwrap()).unwrap();
    assert_eq!(owner_tokens[5], recipient_tokens[0]);
}

#[test]
fn two_sessions_over_the_same_rows_share_nothing() {
    let (owner, recipient) = (set(0..50), set(25..75));
    let everything = |run: &Run| {
        let mut ids = ids(&run.owner_tokens);
        ids.extend(self::ids(&run.recipient_tokens));
        let wire = [&run.owner_asks, &run.recipient_asks];
        let chunks = wire
            .into_iter()
            .flat_map(|t| t.questions.iter().chain(&t.replies));
        let points: BTreeSet<[u8; 32]> = chunks
            .flat_map(|chunk| chunk.as_chunks::<32>().0.iter().copied())
            .collect();
        (ids.into_iter().collect::<BTreeSet<_>>(), points)
    };
    let first = everything(&run(SESSION, [&owner, &recipient], 10));
    let fresh_scalars = everything(&run(SESSION, [&owner, &recipient], 20));
    // The same scalars again: the session id alone must part the tokens.
    let fresh_session = everything(&run(
        SessionId::from_bytes([2; 32]),
        [&owner, &recipient],
        10,
    ));
    assert_eq!(first.0.len(), 75);
    assert!(first.0.is_disjoint(&fresh_scalars.0));
    assert!(first.1.is_disjoint(&fresh_scalars.1));
    assert!(first.0.is_disjoint(&fresh_session.0));
}

/// The points sent, each mapped back to the item it is made of.
fn sending_order(seed: u64) -> Vec<u32> {
    let secrets = Secrets::draw(&mut rng(99));
    let items = set(0..100);
    let mut rng = rng(seed);
    let (mut query, _) = begin_with(SESSION, items.clone(), 0, secrets.clone(), &mut rng).unwrap();
    let chunk = query.next_chunk().unwrap().unwrap();
    let blinded = |index, place| {
        let point = crate::hash_to_group::hash_to_ristretto255(
            items.item(index),
            crate::hash_to_group::ITEM_DST,
        );
        (point * secrets.blinds.at(place)).compress().to_bytes()
    };
    let find = |place, sent| (0..100).find(|&index| blinded(index, place) == sent);
    let sent = chunk.as_chunks::<32>().0.iter().enumerate();
    sent.map(|(place, point)| find(place, *point).unwrap())
        .collect()
}

#[test]
fn items_are_sent_shuffled_and_complete() {
    let (one, other) = (sending_order(1), sending_order(2));
    assert_ne!(one, other);
    for order in [one, other] {
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(
            order.into_iter().collect::<BTreeSet<_>>(),
            (0..100).collect()
        );
    }
}

#[test]
fn tokens_are_the_formula_of_the_design() {
    let secrets = [Secrets::draw(&mut rng(1)), Secrets::draw(&mut rng(2))];
    let items = set(0..3);
    let run = run_with(SESSION, [&items, &items], [&secrets[0], &secrets[1]], 3);
    for index in 0..3 {
        let item = items.item(index);
        let hashed =
            crate::hash_to_group::hash_to_ristretto255(item, crate::hash_to_group::ITEM_DST);
        let shared = hashed * *secrets[0].key * *secrets[1].key;
        let expected = Token::derive(&SESSION, item, shared.compress().as_bytes());
        assert_eq!(run.owner_tokens[index as usize], expected);
        assert_eq!(run.recipient_tokens[index as usize], expected);
    }
}

#[test]
fn every_place_has_a_blind_of_its_own() {
    let (one, other) = (Blinds::draw(&mut rng(1)), Blinds::draw(&mut rng(2)));
    let blinds: BTreeSet<[u8; 32]> = (0..500)
        .flat_map(|place| [one.at(place), other.at(place)])
        .map(|blind| blind.to_bytes())
        .collect();
    assert_eq!(blinds.len(), 1000);
    assert_eq!(one.at(3), one.at(3));
}

#[test]
fn halves_are_those_of_the_formula() {
    let secrets = Secrets::draw(&mut rng(1));
    // More than two batches, and not from the first place.
    let (from, to) = (7, 7 + 300);
    let questions = secrets.blinds.question_halves(from..to);
    let replies = secrets.blinds.reply_halves(from..to, &secrets.key);
    assert_eq!((questions.len(), replies.len()), (300, 300));
    for (place, (question, reply)) in (from..to).zip(questions.iter().zip(replies.iter())) {
        let blind = secrets.blinds.at(place);
        assert_eq!(question + question, blind);
        assert_eq!((reply + reply) * blind, *secrets.key);
    }
}
