//! Five messages in each direction, in step: each side sends its first at once, and every other
//! one when it has the peer's one before.
//!
//! | | from the side whose key it is | from the side that asks |
//! |---|---|---|
//! | 1 | choices of the base transfers, commitment to a coin | |
//! | 2 | | offer of the base transfers, correlated transfers and their check |
//! | 3 | trees | |
//! | 4 | | challenge of the trees' check, coin, masked store |
//! | 5 | answer to the check, coin opened | |
//!
//! Each side is both, so each sends all five.

use std::collections::VecDeque;
use std::mem;

use super::okvs::Hashed;
use super::shape::Shape;
use super::wire::{Incoming, PIECE_BYTES, put};
use super::{Error, Misuse, PeerFault, WINDOW, asking, base_ot, cot, keyed};
use crate::dh::Progress;
use crate::exchange::ExchangeProgress;

/// Where a side stands, by the peer's message that it waits for.
pub(super) enum Stage {
    Opening(keyed::Begun, asking::Begun),
    Extension(keyed::Begun, asking::Extended),
    Trees(keyed::Grown, asking::Extended),
    Header(keyed::Grown, asking::Submitted),
    Store(keyed::Key, asking::Submitted),
    Closing(keyed::Key, asking::Submitted),
    Done(keyed::Key, asking::Answers),
}

/// Message 4 is answered while it comes, the others when they are whole.
const STORE_ROUND: u8 = 4;
const ROUNDS: u8 = 5;

/// One side's messages, sent and received.
pub(super) struct Rounds {
    stage: Stage,
    /// The peer's message that is coming, 1 to 5; 6 after the last.
    round: u8,
    incoming: Incoming,
    buffer: Vec<u8>,
    lengths: [usize; ROUNDS as usize],
    received: usize,
    sent: usize,
    to_send: usize,
    outgoing: VecDeque<Outbox>,
}

impl Rounds {
    pub(super) fn new(keyed: keyed::Begun, asking: asking::Begun) -> Self {
        let (own, peers) = (keyed.direction().shape, asking.direction().shape);
        // What a side sends depends on both shapes: it has the key in one and asks in the other.
        let expected = lengths(&peers, &own);
        let opening = Outbox::new(1, keyed.opening(), Vec::new());
        Self {
            stage: Stage::Opening(keyed, asking),
            round: 1,
            incoming: Incoming::new(keyed::OPENING_BYTES),
            buffer: Vec::new(),
            lengths: expected,
            received: 0,
            sent: 0,
            to_send: lengths(&own, &peers).iter().sum(),
            outgoing: VecDeque::from([opening]),
        }
    }

    pub(super) fn next_piece(&mut self) -> Option<Vec<u8>> {
        let outbox = self.outgoing.front_mut()?;
        if outbox.round >= self.round && outbox.sent_pieces() >= self.incoming.pieces() + WINDOW {
            return None;
        }
        let piece = outbox.next_piece();
        self.sent += piece.len();
        if outbox.is_empty() {
            self.outgoing.pop_front();
        }
        Some(piece)
    }

    /// Takes a piece. On an error the session's secrets are gone with it.
    pub(super) fn receive(mut self, piece: &[u8], items: &[Hashed]) -> Result<Self, Error> {
        if self.round > ROUNDS {
            return Err(PeerFault::Excess.into());
        }
        self.incoming.accept(piece, self.round)?;
        self.received += piece.len();
        if self.round == STORE_ROUND {
            self.stage = self.stage.absorb(piece);
        } else {
            self.buffer.extend_from_slice(piece);
        }
        if self.incoming.complete() {
            return self.advance(items);
        }
        Ok(self)
    }

    /// The peer's message is whole: take it, and queue the own one that follows.
    fn advance(mut self, items: &[Hashed]) -> Result<Self, Error> {
        let message = mem::take(&mut self.buffer);
        let (stage, own) = self.stage.advance(&message, items)?;
        self.stage = stage;
        self.round += 1;
        let expected = self.lengths.get(usize::from(self.round) - 1);
        self.incoming = Incoming::new(expected.copied().unwrap_or_default());
        if let Some((bytes, elements)) = own {
            let outbox = Outbox::new(self.round, bytes, elements);
            self.outgoing.push_back(outbox);
        }
        Ok(self)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.round > ROUNDS && self.outgoing.is_empty()
    }

    /// Bytes sent and received.
    pub(super) fn progress(&self) -> ExchangeProgress {
        ExchangeProgress {
            own: Progress {
                done: self.sent,
                total: self.to_send,
            },
            peer: Progress {
                done: self.received,
                total: self.lengths.iter().sum(),
            },
        }
    }

    pub(super) fn finish(self) -> Result<(keyed::Key, asking::Answers), Error> {
        match self.stage {
            Stage::Done(key, answers) if self.outgoing.is_empty() => Ok((key, answers)),
            Stage::Done(..) => Err(Misuse::Unsent.into()),
            _ => Err(PeerFault::Incomplete { round: self.round }.into()),
        }
    }
}

#[cfg(test)]
impl Rounds {
    /// The asking side, before anything came from the peer.
    pub(super) fn asking(&mut self) -> &mut asking::Begun {
        match &mut self.stage {
            Stage::Opening(_, asking) => asking,
            _ => panic!("the session is under way"),
        }
    }
}

/// The lengths of the five messages of a side that has the key in an evaluation of shape `keyed`
/// and asks in one of shape `asking`.
const fn lengths(keyed: &Shape, asking: &Shape) -> [usize; ROUNDS as usize] {
    [
        keyed::OPENING_BYTES,
        base_ot::OFFER_BYTES + cot::message_bytes(asking.blocks()),
        keyed::trees_bytes(keyed),
        keyed::HEADER_BYTES + 16 * asking.length,
        keyed::CLOSING_BYTES,
    ]
}

/// An own message: bytes, then elements.
type Message = (Vec<u8>, Vec<u128>);

impl Stage {
    /// Takes a piece of the message with the store.
    fn absorb(self, piece: &[u8]) -> Self {
        match self {
            Self::Header(keyed, asking) => {
                let header_and_rest = piece.split_at_checked(keyed::HEADER_BYTES);
                let (header, rest) = header_and_rest.unwrap_or_default();
                let mut key = keyed.compress(header);
                key.absorb(rest);
                Self::Store(key, asking)
            }
            Self::Store(mut key, asking) => {
                key.absorb(piece);
                Self::Store(key, asking)
            }
            other => other,
        }
    }

    fn advance(self, message: &[u8], items: &[Hashed]) -> Result<(Self, Option<Message>), Error> {
        Ok(match self {
            Self::Opening(keyed, asking) => {
                let (asking, own) = asking.extend(message)?;
                (Self::Extension(keyed, asking), Some((own, Vec::new())))
            }
            Self::Extension(keyed, asking) => {
                let (keyed, own) = keyed.grow(message)?;
                (Self::Trees(keyed, asking), Some((own, Vec::new())))
            }
            Self::Trees(keyed, asking) => {
                let (asking, masked) = asking.submit(message, items)?;
                (
                    Self::Header(keyed, asking),
                    Some((masked.header, masked.store)),
                )
            }
            Self::Store(key, asking) => {
                let own = key.closing();
                (Self::Closing(key, asking), Some((own, Vec::new())))
            }
            Self::Closing(key, asking) => (Self::Done(key, asking.close(message)?), None),
            stage @ (Self::Header(..) | Self::Done(..)) => (stage, None),
        })
    }
}

/// An own message on its way out.
struct Outbox {
    round: u8,
    bytes: Vec<u8>,
    elements: Vec<u128>,
    sent: usize,
}

impl Outbox {
    fn new(round: u8, bytes: Vec<u8>, elements: Vec<u128>) -> Self {
        Self {
            round,
            bytes,
            elements,
            sent: 0,
        }
    }

    const fn length(&self) -> usize {
        self.bytes.len() + 16 * self.elements.len()
    }

    const fn sent_pieces(&self) -> usize {
        self.sent.div_ceil(PIECE_BYTES)
    }

    const fn is_empty(&self) -> bool {
        self.sent == self.length()
    }

    /// Bytes first, then elements; both begin at multiples of 16 where both are present.
    fn next_piece(&mut self) -> Vec<u8> {
        let end = self.length().min(self.sent + PIECE_BYTES);
        let head = self.bytes.len();
        let bytes = self.bytes.get(self.sent.min(head)..end.min(head));
        let mut piece = bytes.unwrap_or_default().to_vec();
        let element = |place: usize| place.saturating_sub(head) / 16;
        let elements = self.elements.get(element(self.sent)..element(end));
        put(&mut piece, elements.unwrap_or_default());
        self.sent = end;
        piece
    }
}
