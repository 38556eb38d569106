//! Sealed rows of a bucket, made one after the other while they are sent.

use std::sync::Arc;

use counterfoil_psi::{Role, RowContext, Token};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{Error, Result};
use crate::flow::{Ordered, Records};

use super::dataset::Prepared;

/// Match id and sealed row for each token.
pub(super) struct SealedRows {
    prepared: Arc<Prepared>,
    /// The row of the dataset that belongs to each token; the tokens after these are those of dummies.
    part: Vec<u32>,
    context: RowContext,
    tokens: Ordered,
    scratch: Zeroizing<Vec<u8>>,
    /// Whether each row is followed by the key of the recipient's row.
    keyed: bool,
}

/// Bytes of a row key.
const KEY_BYTES: usize = 32;

impl SealedRows {
    pub(super) fn new(
        prepared: Arc<Prepared>,
        part: Vec<u32>,
        context: RowContext,
        tokens: Vec<Token>,
        keyed: bool,
    ) -> Self {
        Self {
            scratch: prepared.scratch(),
            prepared,
            part,
            context,
            tokens: Ordered::new(tokens),
            keyed,
        }
    }

    /// Appends what is sealed for a token. A dummy's is never opened, because nobody has its key.
    fn write_payload(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        match self.part.get(index) {
            Some(row) => self.prepared.write_payload(*row, &mut self.scratch, out),
            None => {
                out.resize(out.len() + self.prepared.layout.payload_len(), 0);
                Ok(())
            }
        }
    }

    fn seal(&mut self, index: usize, token: Token, piece: &mut Vec<u8>) -> Result<()> {
        // Only together with the recipient's key, which opens the owner's row, is it of use to the broker.
        let their_key = self.keyed.then(|| token.row_key(Role::Recipient));
        let start = piece.len();
        let written = self.write_payload(index, piece).and_then(|()| {
            self.context
                .seal_tail(token.into_seal_key(Role::Owner), piece, start)
                .map_err(|error| Error::Unexpected(error.to_string()))
        });
        if written.is_err() {
            piece.get_mut(start..).unwrap_or_default().zeroize();
        }
        if let Some(key) = their_key {
            piece.extend_from_slice(key.expose());
        }
        written
    }
}

impl Records for SealedRows {
    fn record_bytes(&self) -> usize {
        self.prepared.record_bytes() + if self.keyed { KEY_BYTES } else { 0 }
    }

    fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        let Some((match_id, index, token)) = self.tokens.next() else {
            return Ok(false);
        };
        piece.extend_from_slice(match_id.as_bytes());
        self.seal(index, token, piece)?;
        Ok(true)
    }
}
