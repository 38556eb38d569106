//! Every message of the peer, changed, cut and lengthened: an error that blames the peer, in the
//! round where it can be seen, and nothing after it.

use super::tests::{begin, run, set};
use super::wire::PIECE_BYTES;
use super::*;

const ROUNDS: usize = 5;

fn sides() -> [Session; 2] {
    // The recipient's set makes its message 4 longer than a piece.
    let sets = [set(0..10), set(5..3_205)];
    begin([&sets[0], &sets[1]], 11)
}

/// What the recipient sends in an honest run, by message. Both sides' randomness is fixed, so that
/// the same pieces are right in every test.
fn honest() -> [Vec<Vec<u8>>; ROUNDS] {
    let [_, mut pieces] = run(&mut sides());
    // The last piece of a message is shorter than a full one.
    let messages = [(); ROUNDS].map(|()| {
        let last = pieces.iter().position(|piece| piece.len() < PIECE_BYTES);
        let rest = pieces.split_off(last.unwrap() + 1);
        std::mem::replace(&mut pieces, rest)
    });
    assert!(pieces.is_empty());
    messages
}

/// Gives an owner the honest messages before `round` (from 1), and then `pieces`; what becomes of
/// it at the end.
fn outcome(honest: &[Vec<Vec<u8>>], round: usize, pieces: &[Vec<u8>]) -> Result<(), Error> {
    let [mut owner, _] = sides();
    for piece in honest[..round - 1].iter().flatten() {
        owner.receive(piece).unwrap();
        drain(&mut owner);
    }
    let result = pieces.iter().try_for_each(|piece| {
        drain(&mut owner);
        owner.receive(piece)
    });
    if result.is_err() {
        // Over for good, whatever comes.
        let again = owner.receive(&honest[round - 1][0]);
        assert_eq!(again, Err(Misuse::AlreadyFailed.into()));
        assert_eq!(owner.next_piece(), Err(Misuse::AlreadyFailed.into()));
        assert_eq!(owner.finish().err(), Some(Misuse::AlreadyFailed.into()));
    }
    result
}

fn drain(side: &mut Session) {
    while side.next_piece().unwrap().is_some() {}
}

fn changed(pieces: &[Vec<u8>], at: usize) -> Vec<Vec<u8>> {
    let mut pieces = pieces.to_vec();
    pieces[at / PIECE_BYTES][at % PIECE_BYTES] ^= 1;
    pieces
}

#[test]
fn the_honest_messages_pass() {
    let honest = honest();
    let lengths: Vec<usize> = honest.iter().map(Vec::len).collect();
    assert!(lengths[1] > WINDOW && lengths[3] > 1, "{lengths:?}");
    for round in 1..=ROUNDS {
        assert_eq!(outcome(&honest, round, &honest[round - 1]), Ok(()));
    }
}

#[test]
fn a_piece_of_another_length_is_refused_in_every_round() {
    let honest = honest();
    for (round, message) in (1..).zip(&honest) {
        for place in [0, message.len() - 1] {
            let right = message[place].len();
            for length in [0, 1, right - 16, right - 1, right + 1, right + 16, 1 << 20] {
                let mut pieces = message.clone();
                pieces[place].resize(length, 0);
                let fault = PeerFault::PieceLength {
                    round: u8::try_from(round).unwrap(),
                    got: length,
                    expected: right,
                };
                assert_eq!(outcome(&honest, round, &pieces), Err(fault.into()));
            }
        }
    }
}

#[test]
fn what_comes_after_the_end_is_refused() {
    let honest = honest();
    let pieces = [honest[4].clone(), vec![vec![0]]].concat();
    assert_eq!(outcome(&honest, 5, &pieces), Err(PeerFault::Excess.into()));
}

#[test]
fn an_end_before_the_last_message_is_the_peers() {
    let honest = honest();
    for round in 1..=ROUNDS {
        let [mut owner, _] = sides();
        for piece in honest[..round - 1].iter().flatten() {
            owner.receive(piece).unwrap();
            drain(&mut owner);
        }
        drain(&mut owner);
        let fault = PeerFault::Incomplete {
            round: u8::try_from(round).unwrap(),
        };
        assert_eq!(owner.finish().unwrap_err(), fault.into());
    }
}

/// The choices of the base transfers are points.
#[test]
fn points_that_are_none_are_refused_at_once() {
    let honest = honest();
    for transfer in [0, 77, 127] {
        let mut pieces = honest[0].clone();
        pieces[0][transfer * 64..][..32].fill(0xff);
        let fault = PeerFault::BasePoint { transfer };
        assert_eq!(outcome(&honest, 1, &pieces), Err(fault.into()));
        let mut pieces = honest[1].clone();
        pieces[0][transfer * 32..][..32].fill(0);
        let fault = PeerFault::BasePoint { transfer };
        assert_eq!(outcome(&honest, 2, &pieces), Err(fault.into()));
    }
}

/// A commitment that was changed shows when the coin is opened, as does another coin.
#[test]
fn another_coin_than_the_committed_one_is_refused() {
    let honest = honest();
    let opening = honest[0][0].len();
    let commitment = changed(&honest[0], opening - 1);
    let rest: Vec<Vec<u8>> = honest[1..].concat();
    let result = outcome(&honest, 1, &[commitment, rest].concat());
    assert_eq!(result, Err(PeerFault::Coin.into()));
    let coin = changed(&honest[4], 32 + 7);
    assert_eq!(outcome(&honest, 5, &coin), Err(PeerFault::Coin.into()));
}

#[test]
fn oblivious_transfers_that_are_not_consistent_are_refused() {
    let honest = honest();
    let length: usize = honest[1].iter().map(Vec::len).sum();
    // Within the columns, the hash of the choices, and the hashes of the columns.
    for at in [
        4_096,
        length / 2,
        length - 129 * 16,
        length - 128 * 16,
        length - 1,
    ] {
        let result = outcome(&honest, 2, &changed(&honest[1], at));
        assert_eq!(result, Err(PeerFault::ExtensionCheck.into()), "{at}");
    }
}

/// A tree whose message was changed on the side that the owner did not ask for is as good; on the
/// other side, or in the correction, the check at the end finds it.
#[test]
fn trees_that_are_not_consistent_are_refused_at_the_end() {
    let honest = honest();
    let (mut caught, trials) = (0, 24);
    let length: usize = honest[2].iter().map(Vec::len).sum();
    let per_tree = length / shape::NOISE;
    for trial in 0..trials {
        let tree = trial * 35;
        let at = tree * per_tree + trial % 2 * 16;
        let rest = honest[3..].concat();
        let result = outcome(&honest, 3, &[changed(&honest[2], at), rest].concat());
        match result {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, PeerFault::TreeCheck.into());
                caught += 1;
            }
        }
    }
    assert!(caught > 4 && caught < trials - 4, "{caught} of {trials}");

    let correction = changed(&honest[2], per_tree - 1);
    let rest = honest[3..].concat();
    let result = outcome(&honest, 3, &[correction, rest].concat());
    assert_eq!(result, Err(PeerFault::TreeCheck.into()));
    let answer = changed(&honest[4], 3);
    assert_eq!(
        outcome(&honest, 5, &answer),
        Err(PeerFault::TreeCheck.into())
    );
}

/// A peer that changes its own store or the challenge gets other tokens, and makes the owner
/// nothing but those: there is nothing to be found.
#[test]
fn another_store_only_costs_the_peer_its_own_tokens() {
    let honest = honest();
    let tokens = |owner: Session| -> Vec<_> {
        owner
            .finish()
            .unwrap()
            .iter()
            .map(Token::match_id)
            .collect()
    };
    let mut all = Vec::new();
    for store in [honest[3].clone(), changed(&honest[3], 80)] {
        let [mut owner, _] = sides();
        let before = honest[..3].iter().flatten();
        for piece in before.chain(&store).chain(&honest[4]) {
            owner.receive(piece).unwrap();
            drain(&mut owner);
        }
        all.push(tokens(owner));
    }
    let same = all[0].iter().zip(&all[1]).filter(|(a, b)| a == b).count();
    assert!(
        same >= all[0].len() - 1,
        "one place is read by few of ten items"
    );
}

/// A peer that sends back what it receives: every hash names whose key it is, so what a side sent
/// as key holder is no message of its peer's.
#[test]
fn a_mirror_is_refused_at_the_first_check() {
    let items = set(0..10);
    let [mut owner, _] = begin([&items, &items], 12);
    let mut result = Ok(());
    while result.is_ok() && !owner.is_complete() {
        let piece = owner.next_piece().unwrap().unwrap();
        result = owner.receive(&piece);
    }
    assert_eq!(result, Err(PeerFault::ExtensionCheck.into()));
}
