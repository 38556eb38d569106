//! Sealed rows of a bucket, made one after the other while they are sent.

use std::sync::Arc;

use counterfoil_psi::{Role, RowContext, Token};
use rand::seq::SliceRandom as _;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::flow::Records;

use super::dataset::Prepared;

/// Match id and sealed row for each token, in a random order: the order of the dataset is nobody's business, and neither is
/// which rows are dummies.
pub(super) struct SealedRows {
    prepared: Arc<Prepared>,
    /// The row of the dataset that belongs to each token; the tokens after these are those of dummies.
    part: Vec<u32>,
    context: RowContext,
    /// Taken one by one: a token seals once.
    tokens: Vec<Option<Token>>,
    order: std::vec::IntoIter<usize>,
}

impl SealedRows {
    pub(super) fn shuffled(
        prepared: Arc<Prepared>,
        part: Vec<u32>,
        context: RowContext,
        tokens: Vec<Token>,
    ) -> Self {
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.shuffle(&mut rand::rng());
        let tokens = tokens.into_iter().map(Some).collect();
        Self {
            prepared,
            part,
            context,
            tokens,
            order: order.into_iter(),
        }
    }

    /// What is sealed for a token. A dummy's is never opened, because nobody has its key.
    fn payload(&self, index: usize) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(match self.part.get(index) {
            Some(row) => self.prepared.payload(*row)?,
            None => vec![0; self.prepared.layout.payload_len()],
        }))
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
        let token = self.tokens.get_mut(index).and_then(Option::take);
        let token = token.ok_or_else(|| Error::Unexpected("a token is missing".to_owned()))?;
        let payload = self.payload(index)?;
        piece.extend_from_slice(token.match_id().as_bytes());
        let sealed = self
            .context
            .seal(token.into_seal_key(Role::Owner), &payload)
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        piece.extend_from_slice(&sealed);
        Ok(true)
    }
}
