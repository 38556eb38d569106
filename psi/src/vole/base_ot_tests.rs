use super::super::tests::{SESSION, rng};
use super::*;
use crate::session::{Role, SessionId};

const CHOICES: u128 = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;

fn direction(session: u8) -> Direction {
    Direction::new(SessionId::from_bytes([session; 32]), Role::Owner, 1)
}

fn sides() -> (Chooser, Offerer) {
    let direction = Direction::new(SESSION, Role::Owner, 1);
    (
        Chooser::begin(&direction, CHOICES, &mut rng(1)),
        Offerer::begin(&mut rng(2)),
    )
}

#[test]
fn the_chooser_gets_the_chosen_key_of_each_transfer() {
    let (chooser, offerer) = sides();
    let (choices, offer) = (chooser.message().to_vec(), offerer.message().to_vec());
    assert_eq!((choices.len(), offer.len()), (CHOICE_BYTES, OFFER_BYTES));
    let both = offerer.finish(&direction(1), &choices).unwrap();
    let chosen = chooser.finish(&direction(1), &offer).unwrap();
    for (transfer, (both, chosen)) in both.iter().zip(chosen.iter()).enumerate() {
        let choice = usize::from(CHOICES >> transfer & 1 == 1);
        assert_eq!(both[choice], *chosen);
        assert_ne!(both[1 - choice], *chosen);
    }
    let mut all: Vec<u128> = both.iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 2 * TRANSFERS);
}

/// The definition, from the chooser's exponents: r_c = g^a - H_c(r_(1-c)), key = H(.., g^(ab)).
#[test]
fn keys_are_made_as_the_paper_says() {
    let (chooser, offerer) = sides();
    let (direction, b) = (direction(1), offerer.exponents[5]);
    let pair = &chooser.message[5 * 64..6 * 64];
    let c = usize::from(CHOICES >> 5 & 1 == 1);
    let point = |side: usize| pair[side * 32..][..32].to_vec();
    let r_c = CompressedRistretto::from_slice(&point(c))
        .unwrap()
        .decompress()
        .unwrap();
    let hash = hashed(&direction, 5, c as u8, &point(1 - c));
    assert_eq!(r_c + hash, BASE * &chooser.exponents[5]);
    let shared = (r_c + hash) * b;
    let offer = offerer.message[5 * 32..][..32].to_vec();
    let key = derive(&direction, 5, c as u8, pair, &offer, &shared);
    let message = offerer.message().to_vec();
    assert_eq!(chooser.finish(&direction, &message).unwrap()[5], key);
}

/// From Python, apart from this code: the points by big integers after RFC 9496, the hash to them after RFC 9380, ChaCha20 of
/// `cryptography` for the exponents.
#[test]
fn messages_and_keys_are_pinned() {
    use sha2::{Digest, Sha256};
    let (chooser, offerer) = sides();
    let choices = chooser.message().to_vec();
    assert_eq!(
        hex::encode(Sha256::digest(&choices)),
        "61b03d38c8f113ad9ebff1c3f26054187a0aa13e00acb359b13158c7a1517cf5"
    );
    assert_eq!(
        hex::encode(Sha256::digest(offerer.message())),
        "856e2414e8eacef63b356de16f5388adaf12857aed2d979a385ff482e9ca68e7"
    );
    let keys = offerer.finish(&direction(1), &choices).unwrap();
    assert_eq!(
        keys[5],
        [
            0x4bfc_6e0f_6652_5c34_cb8c_c5b1_59f6_dfb9,
            0x7bd3_0a9b_d6f6_87a4_da45_ebdb_2d8d_6078,
        ]
    );
    let all: Vec<u8> = keys
        .iter()
        .flatten()
        .flat_map(|key| key.to_le_bytes())
        .collect();
    assert_eq!(
        hex::encode(Sha256::digest(all)),
        "5e3a658651f1ae97023bfd03ceac35faf4a8c0295c8c5bc988c33598b40ca2cc"
    );
}

#[test]
fn another_session_gives_other_keys() {
    let (chooser, offerer) = sides();
    let (choices, offer) = (chooser.message().to_vec(), offerer.message().to_vec());
    let both = offerer.finish(&direction(9), &choices).unwrap();
    let chosen = chooser.finish(&direction(1), &offer).unwrap();
    assert!(
        both.iter()
            .zip(chosen.iter())
            .all(|(both, chosen)| !both.contains(chosen))
    );
}

#[test]
fn points_that_are_none_are_refused() {
    for bad in [[0xff; 32], [0; 32]] {
        for transfer in [0, 127] {
            let (chooser, offerer) = sides();
            let mut choices = chooser.message().to_vec();
            choices[transfer * 64 + 32..][..32].copy_from_slice(&bad);
            let mut offer = offerer.message().to_vec();
            offer[transfer * 32..][..32].copy_from_slice(&bad);
            let fault = PeerFault::BasePoint { transfer };
            assert_eq!(offerer.finish(&direction(1), &choices).unwrap_err(), fault);
            assert_eq!(chooser.finish(&direction(1), &offer).unwrap_err(), fault);
        }
    }
}
