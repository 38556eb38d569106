use rand_core::Rng as _;

use super::super::shape::Shape;
use super::super::tests::{SESSION, rng};
use super::*;
use crate::session::Role;

#[test]
fn transposing_moves_each_bit() {
    let mut rng = rng(1);
    let original: [u128; 128] =
        std::array::from_fn(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
    let mut square = original;
    transpose(&mut square);
    for (i, row) in square.iter().enumerate() {
        for (j, column) in original.iter().enumerate() {
            assert_eq!(row >> j & 1, column >> i & 1);
        }
    }
}

struct Run {
    direction: Direction,
    keys: Vec<[u128; 2]>,
    delta: u128,
    choices: Vec<u128>,
    message: Vec<u8>,
    t: Zeroizing<Vec<u128>>,
}

fn run() -> Run {
    let direction = Direction::new(SESSION, Role::Owner, 1);
    let mut rng = rng(2);
    let mut draw = || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let keys: Vec<[u128; 2]> = (0..128).map(|_| [draw(), draw()]).collect();
    let delta = draw();
    let choices: Vec<u128> = (0..direction.shape.blocks()).map(|_| draw()).collect();
    let mut message = Vec::new();
    let t = choose(&direction, &keys, &choices, &[b"before"], &mut message);
    Run {
        direction,
        keys,
        delta,
        choices,
        message,
        t,
    }
}

impl Run {
    fn answer(&self, message: &[u8]) -> Result<Zeroizing<Vec<u128>>, PeerFault> {
        let chosen: Vec<u128> = (0..)
            .zip(&self.keys)
            .map(|(j, keys)| keys[usize::from(self.delta >> j & 1 == 1)])
            .collect();
        correlate(&self.direction, &chosen, self.delta, &[b"before"], message)
    }
}

#[test]
fn rows_differ_by_delta_where_the_bit_is_set() {
    let run = run();
    assert_eq!(
        run.message.len(),
        message_bytes(run.direction.shape.blocks())
    );
    let q = run.answer(&run.message).unwrap();
    assert_eq!(q.len(), 128 * run.choices.len());
    for (place, (q, t)) in q.iter().zip(run.t.iter()).enumerate() {
        let bit = run.choices[place / 128] >> (place % 128) & 1;
        assert_eq!(*q, t ^ (bit * run.delta));
    }
}

#[test]
fn a_changed_bit_anywhere_is_found_where_delta_has_a_one() {
    let run = run();
    let column = 16 * run.direction.shape.blocks();
    for j in 0..128 {
        let mut message = run.message.clone();
        message[j * column + 5] ^= 1;
        // The challenge is a hash of the columns, so it changes with them, and the sender's
        // hashes no longer fit: caught in any column.
        assert_eq!(run.answer(&message).unwrap_err(), PeerFault::ExtensionCheck);
    }
    let proof = 128 * column;
    for at in [proof, proof + 16, proof + 16 * 128] {
        let mut message = run.message.clone();
        message[at] ^= 1;
        let caught = run.answer(&message).is_err();
        // The hash of the bits counts only where delta has ones, which it does.
        assert!(caught, "{at}");
    }
    assert!(run.answer(&run.message[..proof]).is_err());
}

/// A sender that uses other choices in one column, and computes the proof with them honestly,
/// passes only if delta is zero there.
#[test]
fn other_choices_in_one_column_pass_only_on_a_guess_of_delta() {
    let honest = run();
    let column = 16 * honest.direction.shape.blocks();
    let mut caught = 0;
    for j in 0..128 {
        let mut message = honest.message[..128 * column].to_vec();
        message[j * column] ^= 1;
        let challenge = challenge(&honest.direction, &[b"before"], &message);
        put(&mut message, &[column_hash(challenge, &honest.choices)]);
        for [zero, _] in &honest.keys {
            let mut own = vec![0; honest.choices.len()];
            Stream::new(*zero, 0).fill(&mut own);
            put(&mut message, &[column_hash(challenge, &own)]);
        }
        let result = honest.answer(&message);
        assert_eq!(result.is_err(), honest.delta >> j & 1 == 1, "{j}");
        caught += usize::from(result.is_err());
    }
    assert!(caught > 30);
}

#[test]
fn sizes_are_consistent() {
    let shape = Shape::new(1 << 20);
    assert_eq!(shape.noisy() / (2 << 20), 1);
    assert!(shape.path_transfers() <= 128 * shape.path_blocks());
    assert_eq!(shape.blocks() - shape.path_blocks(), 845);
}
