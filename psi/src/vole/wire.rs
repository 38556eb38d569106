//! Elements as bytes, and messages in pieces.

use super::PeerFault;

/// Bytes of a full piece: with its framing and tag it fits one Noise message of 65,535 bytes.
pub(super) const PIECE_BYTES: usize = 64_000;

/// Appends elements, 16 bytes each, lowest byte first.
pub(super) fn put(to: &mut Vec<u8>, elements: &[u128]) {
    to.reserve(16 * elements.len());
    for element in elements {
        to.extend_from_slice(&element.to_le_bytes());
    }
}

/// Reads elements; a remainder of less than one is left out, so lengths are checked before.
pub(super) fn take(from: &[u8]) -> Vec<u128> {
    let (elements, _) = from.as_chunks::<16>();
    elements.iter().map(|e| u128::from_le_bytes(*e)).collect()
}

/// A message of the peer whose length is known before it comes.
pub(super) struct Incoming {
    expected: usize,
    got: usize,
}

impl Incoming {
    pub(super) const fn new(expected: usize) -> Self {
        Self { expected, got: 0 }
    }

    /// Counts a piece, which must have exactly the length that its place asks for.
    pub(super) fn accept(&mut self, piece: &[u8], round: u8) -> Result<(), PeerFault> {
        let due = (self.expected - self.got).min(PIECE_BYTES);
        if piece.len() != due || due == 0 {
            return Err(PeerFault::PieceLength {
                round,
                got: piece.len(),
                expected: due,
            });
        }
        self.got += due;
        Ok(())
    }

    pub(super) const fn complete(&self) -> bool {
        self.got == self.expected
    }

    /// Pieces that have come.
    pub(super) const fn pieces(&self) -> usize {
        self.got.div_ceil(PIECE_BYTES)
    }
}
