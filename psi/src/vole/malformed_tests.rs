//! Every message of the peer, changed, cut and lengthened: an error that blames the peer, in the
//! round where it can be seen, and nothing after it.

use proptest::prelude::*;

use super::tests::{begin, rng, run, set};
use super::wire::PIECE_BYTES;
use super::*;

const ROUNDS: usize = 5;

/// A side that is lied to, and what its peer sends in an honest run, by message. Both sides' randomness is fixed, so that the same
/// pieces are right in every test.
struct Victim {
    role: Role,
    honest: [Vec<Vec<u8>>; ROUNDS],
}

impl Victim {
    fn new(role: Role) -> Self {
        let [owner, recipient] = run(&mut sides(role));
        let mut pieces = match role {
            Role::Owner => recipient,
            Role::Recipient => owner,
        };
        // The last piece of a message is shorter than a full one.
        let honest = [(); ROUNDS].map(|()| {
            let last = pieces.iter().position(|piece| piece.len() < PIECE_BYTES);
            let rest = pieces.split_off(last.unwrap() + 1);
            std::mem::replace(&mut pieces, rest)
        });
        assert!(pieces.is_empty());
        Self { role, honest }
    }

    fn both() -> [Self; 2] {
        [Role::Owner, Role::Recipient].map(Self::new)
    }

    /// The victim after the honest messages before `round` (from 1).
    fn before(&self, round: usize) -> Session {
        let [owner, recipient] = sides(self.role);
        let mut side = match self.role {
            Role::Owner => owner,
            Role::Recipient => recipient,
        };
        for piece in self.honest[..round - 1].iter().flatten() {
            side.receive(piece).unwrap();
            drain(&mut side);
        }
        drain(&mut side);
        side
    }

    /// What becomes of the victim in the end if `pieces` come from `round` on.
    fn outcome(&self, round: usize, pieces: &[Vec<u8>]) -> Result<Session, Error> {
        let mut side = self.before(round);
        let result = pieces.iter().try_for_each(|piece| {
            drain(&mut side);
            side.receive(piece)
        });
        let Err(error) = result else {
            drain(&mut side);
            return Ok(side);
        };
        // Over for good, whatever comes.
        let again = side.receive(&self.honest[round - 1][0]);
        assert_eq!(again, Err(Misuse::AlreadyFailed.into()));
        assert_eq!(side.next_piece(), Err(Misuse::AlreadyFailed.into()));
        assert_eq!(side.finish().err(), Some(Misuse::AlreadyFailed.into()));
        Err(error)
    }

    /// The same for an error that must come.
    fn fault(&self, round: usize, pieces: &[Vec<u8>]) -> Error {
        self.outcome(round, pieces).unwrap_err()
    }

    /// A changed message of `round`, and the honest ones after it.
    fn with_rest(&self, round: usize, message: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let rest = self.honest[round..].iter().flatten().cloned();
        message.into_iter().chain(rest).collect()
    }
}

/// Owner and recipient, of whom the victim has the smaller set: the peer's message 4 is longer than a piece.
fn sides(victim: Role) -> [Session; 2] {
    let (few, many) = (set(0..10), set(5..3_205));
    match victim {
        Role::Owner => begin([&few, &many], 11),
        Role::Recipient => begin([&many, &few], 11),
    }
}

fn drain(side: &mut Session) {
    while side.next_piece().unwrap().is_some() {}
}

fn length(message: &[Vec<u8>]) -> usize {
    message.iter().map(Vec::len).sum()
}

fn changed(pieces: &[Vec<u8>], at: usize) -> Vec<Vec<u8>> {
    let mut pieces = pieces.to_vec();
    pieces[at / PIECE_BYTES][at % PIECE_BYTES] ^= 1;
    pieces
}

fn ids(side: Session) -> Vec<crate::token::MatchId> {
    side.finish().unwrap().iter().map(Token::match_id).collect()
}

#[test]
fn the_honest_messages_pass() {
    for victim in Victim::both() {
        let lengths: Vec<usize> = victim.honest.iter().map(Vec::len).collect();
        assert!(lengths[1] > WINDOW && lengths[3] > 1, "{lengths:?}");
        for round in 1..=ROUNDS {
            assert!(victim.outcome(round, &victim.honest[round - 1]).is_ok());
        }
    }
}

#[test]
fn a_piece_of_another_length_is_refused_in_every_round() {
    for victim in Victim::both() {
        for (round, message) in (1..).zip(&victim.honest) {
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
                    assert_eq!(victim.fault(round, &pieces), fault.into());
                }
            }
        }
    }
}

#[test]
fn what_comes_after_the_end_is_refused() {
    for victim in Victim::both() {
        let pieces = [victim.honest[4].clone(), vec![vec![0]]].concat();
        assert_eq!(victim.fault(5, &pieces), PeerFault::Excess.into());
    }
}

#[test]
fn an_end_before_the_last_message_is_the_peers() {
    for victim in Victim::both() {
        for round in 1..=ROUNDS {
            let fault = PeerFault::Incomplete {
                round: u8::try_from(round).unwrap(),
            };
            assert_eq!(victim.before(round).finish().unwrap_err(), fault.into());
        }
    }
}

/// The choices of the base transfers are points.
#[test]
fn points_that_are_none_are_refused_at_once() {
    for victim in Victim::both() {
        for transfer in [0, 77, 127] {
            let mut pieces = victim.honest[0].clone();
            pieces[0][transfer * 64..][..32].fill(0xff);
            let fault = PeerFault::BasePoint { transfer };
            assert_eq!(victim.fault(1, &pieces), fault.into());
            let mut pieces = victim.honest[1].clone();
            pieces[0][transfer * 32..][..32].fill(0);
            let fault = PeerFault::BasePoint { transfer };
            assert_eq!(victim.fault(2, &pieces), fault.into());
        }
    }
}

/// A commitment that was changed shows when the coin is opened, as does another coin.
#[test]
fn another_coin_than_the_committed_one_is_refused() {
    for victim in Victim::both() {
        let commitment = changed(&victim.honest[0], length(&victim.honest[0]) - 1);
        let fault = victim.fault(1, &victim.with_rest(1, commitment));
        assert_eq!(fault, PeerFault::Coin.into());
        let coin = changed(&victim.honest[4], 32 + 7);
        assert_eq!(victim.fault(5, &coin), PeerFault::Coin.into());
    }
}

#[test]
fn oblivious_transfers_that_are_not_consistent_are_refused() {
    for victim in Victim::both() {
        let length = length(&victim.honest[1]);
        // Within the columns, the hash of the choices, and the hashes of the columns.
        for at in [
            4_096,
            length / 2,
            length - 129 * 16,
            length - 128 * 16,
            length - 1,
        ] {
            let fault = victim.fault(2, &changed(&victim.honest[1], at));
            assert_eq!(fault, PeerFault::ExtensionCheck.into(), "{at}");
        }
    }
}

/// A tree whose message was changed on the side that the victim did not ask for is as good; on the
/// other side, or in the correction, the check at the end finds it.
#[test]
fn trees_that_are_not_consistent_are_refused_at_the_end() {
    for victim in Victim::both() {
        let (mut caught, trials) = (0, 24);
        let per_tree = length(&victim.honest[2]) / shape::NOISE;
        for trial in 0..trials {
            let at = trial * 35 * per_tree + trial % 2 * 16;
            let trees = victim.with_rest(3, changed(&victim.honest[2], at));
            if let Err(error) = victim.outcome(3, &trees) {
                assert_eq!(error, PeerFault::TreeCheck.into());
                caught += 1;
            }
        }
        assert!(caught > 4 && caught < trials - 4, "{caught} of {trials}");

        let correction = victim.with_rest(3, changed(&victim.honest[2], per_tree - 1));
        assert_eq!(victim.fault(3, &correction), PeerFault::TreeCheck.into());
        let answer = changed(&victim.honest[4], 3);
        assert_eq!(victim.fault(5, &answer), PeerFault::TreeCheck.into());
    }
}

/// A peer that changes its own store gets other tokens, and makes the victim nothing but those: there is nothing to be found.
#[test]
fn another_store_only_costs_the_peer_its_own_tokens() {
    for victim in Victim::both() {
        let tokens = |store| ids(victim.outcome(4, &victim.with_rest(4, store)).unwrap());
        let honest = tokens(victim.honest[3].clone());
        let other = tokens(changed(&victim.honest[3], 80));
        let same = honest.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(
            same >= honest.len() - 1,
            "one place is read by few of ten items"
        );
    }
}

/// Random bytes in the place of a message, or of all of it from some byte on.
fn random_from(message: &[Vec<u8>], start: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut bytes = message.concat();
    rng(seed).fill_bytes(&mut bytes[start..]);
    bytes.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    /// Of the right length, and of no sense: the peer is blamed, or, for a masked store, which looks random by its nature, the
    /// victim has tokens that match nothing.
    #[test]
    fn random_bytes_are_the_peers_fault_or_match_nothing(
        owner: bool,
        round in 1..=ROUNDS,
        seed: u64,
        start in prop_oneof![Just(0.0), 0.0..1.0],
    ) {
        let victim = Victim::new(if owner { Role::Owner } else { Role::Recipient });
        let message = &victim.honest[round - 1];
        // At least the last element is changed, which every message needs.
        let start = ((length(message) - 16) as f64 * start) as usize;
        let pieces = victim.with_rest(round, random_from(message, start, seed));
        match (round, victim.outcome(round, &pieces)) {
            (4, Ok(side)) => {
                let honest = ids(victim.outcome(4, &victim.with_rest(4, message.clone())).unwrap());
                let tokens = ids(side);
                prop_assert_eq!(tokens.len(), honest.len());
                // With the coin and the seed of the rows, every token changes.
                if start <= 3 * 16 {
                    prop_assert!(tokens.iter().all(|token| !honest.contains(token)));
                }
            }
            (4, Err(error)) => prop_assert!(false, "a store cannot be wrong: {error}"),
            (_, Ok(_)) => prop_assert!(false, "random bytes passed in round {round}"),
            (_, Err(error)) => prop_assert!(matches!(error, Error::Peer(_)), "{error}"),
        }
    }
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
