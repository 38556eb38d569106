//! From items to what the store holds, and from two evaluations to tokens.

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::okvs::Hashed;
use crate::identifier::IdentifierSet;
use crate::prefixed::Prefixed;
use crate::session::SessionId;
use crate::token::{Deriver, Token};

/// Items that a core takes at a time.
const BATCH: usize = 1_024;

/// 32 bytes, so that with the session they fill a block of SHA-256, which is then hashed once for
/// all items.
const ITEM_PREFIX: [u8; 32] = *b"counterfoil/vole/item/v1\0\0\0\0\0\0\0\0";

/// H(z): the value of each item in the store, and the seed of its row.
pub(super) fn hash_items(session: &SessionId, items: &IdentifierSet) -> Zeroizing<Vec<Hashed>> {
    let hash = Prefixed::new([&ITEM_PREFIX, session.as_bytes()]);
    let mut hashed = Zeroizing::new(vec![Hashed::default(); items.len()]);
    let batches = hashed.par_chunks_mut(BATCH).enumerate();
    batches.for_each(|(number, batch)| {
        for (to, index) in batch.iter_mut().zip(first_index(number)..) {
            let digest = hash.digest(&[items.item(index)]);
            let (halves, _) = digest.as_chunks::<16>();
            let mut halves = halves.iter().map(|half| u128::from_le_bytes(*half));
            *to = Hashed {
                value: halves.next().unwrap_or_default(),
                seed: halves.next().unwrap_or_default(),
            };
        }
    });
    hashed
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a set has at most 2^24 items"
)]
const fn first_index(batch: usize) -> u32 {
    (batch * BATCH) as u32
}

/// T(z) for each item, from what the owner's key and the recipient's key give for it: `places` tells where in both.
pub(super) fn tokens(
    session: &SessionId,
    items: &IdentifierSet,
    [owner, recipient]: [&[u128]; 2],
    places: &[u32],
) -> Vec<Token> {
    let deriver = Deriver::new(session);
    let mut tokens: Vec<Token> = (0..items.len()).map(|_| Token::pending()).collect();
    tokens
        .par_chunks_mut(BATCH)
        .zip(places.par_chunks(BATCH))
        .enumerate()
        .for_each(|(number, (tokens, places))| {
            for ((token, place), index) in tokens.iter_mut().zip(places).zip(first_index(number)..)
            {
                let values = [owner, recipient]
                    .map(|values| values.get(*place as usize).copied().unwrap_or_default());
                *token = deriver.pair(values, items.item(index));
            }
        });
    tokens
}
