//! Sealed rows, made one after the other while they are sent.

use counterfoil_psi::{Role, RowContext, Token};
use rand::seq::SliceRandom as _;

use crate::error::{Error, Result};
use crate::flow::Records;

use super::dataset::Prepared;

/// Match id and sealed row for each token, in a random order: the order of the dataset is nobody's business.
pub(super) struct SealedRows {
    prepared: Prepared,
    context: RowContext,
    /// Taken one by one: a token seals once.
    tokens: Vec<Option<Token>>,
    order: std::vec::IntoIter<u32>,
}

impl SealedRows {
    pub(super) fn shuffled(prepared: Prepared, context: RowContext, tokens: Vec<Token>) -> Self {
        let mut order: Vec<u32> = (0..).take(tokens.len()).collect();
        order.shuffle(&mut rand::rng());
        let tokens = tokens.into_iter().map(Some).collect();
        Self {
            prepared,
            context,
            tokens,
            order: order.into_iter(),
        }
    }
}

impl Records for SealedRows {
    fn record_bytes(&self) -> usize {
        self.prepared.record_bytes()
    }

    fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        let Some(index) = self.order.next() else {
            return Ok(false);
        };
        let token = usize::try_from(index)
            .ok()
            .and_then(|index| self.tokens.get_mut(index)?.take());
        let token = token.ok_or_else(|| Error::Unexpected("a token is missing".to_owned()))?;
        let payload = zeroize::Zeroizing::new(self.prepared.payload(index)?);
        piece.extend_from_slice(token.match_id().as_bytes());
        let sealed = self
            .context
            .seal(token.into_seal_key(Role::Owner), &payload)
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        piece.extend_from_slice(&sealed);
        Ok(true)
    }
}
