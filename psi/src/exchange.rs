//! The two protocols behind one interface: messages in, messages out.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand_core::CryptoRng;

use crate::dh::{self, Evaluate, Query};
use crate::identifier::IdentifierSet;
use crate::session::{Role, SessionId};
use crate::token::Token;
use crate::vole;

/// Messages that one side has under way before it waits for the other: the line between them must
/// hold twice as many in each direction.
pub const WINDOW: usize = vole::WINDOW;

/// Which protocol makes the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// [`dh`]: Diffie-Hellman. For small sets, with the fewest assumptions.
    Dh,
    /// [`vole`]: vector oblivious linear evaluation. For large sets.
    Vole,
}

impl Protocol {
    /// Its name in agreements and log entries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dh => "dh",
            Self::Vole => "vole",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a matching protocol is `dh` or `vole`")]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        [Self::Dh, Self::Vole]
            .into_iter()
            .find(|protocol| protocol.as_str() == name)
            .ok_or(UnknownProtocol)
    }
}

/// What one side sends the other. At most 64,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `dh`: own blinded points.
    Blinded(Vec<u8>),
    /// `dh`: the answer to a chunk of the peer's points.
    Evaluated(Vec<u8>),
    /// `vole`: the next piece.
    Piece(Vec<u8>),
}

impl Message {
    /// A number for the kind, and the bytes.
    #[must_use]
    pub fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Blinded(bytes) => (0, bytes),
            Self::Evaluated(bytes) => (1, bytes),
            Self::Piece(bytes) => (2, bytes),
        }
    }

    /// The message that [`Self::parts`] took apart; none for an unknown kind.
    #[must_use]
    pub fn from_parts(kind: u8, bytes: Vec<u8>) -> Option<Self> {
        match kind {
            0 => Some(Self::Blinded(bytes)),
            1 => Some(Self::Evaluated(bytes)),
            2 => Some(Self::Piece(bytes)),
            _ => None,
        }
    }
}

/// Why an exchange ended. It is over then, and the bucket is repeated under a new session id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// In `dh`.
    #[error(transparent)]
    Dh(#[from] dh::Error),
    /// In `vole`.
    #[error(transparent)]
    Vole(#[from] vole::Error),
    /// The peer's message belongs to another protocol.
    #[error(
        "the peer broke the matching protocol: it sent a message of another protocol than `{0}`"
    )]
    OtherProtocol(Protocol),
}

impl ExchangeError {
    /// What the peer did, if it was the peer.
    #[must_use]
    pub fn peer_fault(&self) -> Option<String> {
        match self {
            Self::Dh(dh::Error::Peer(fault)) => Some(fault.to_string()),
            Self::Vole(vole::Error::Peer(fault)) => Some(fault.to_string()),
            Self::OtherProtocol(_) => Some(self.to_string()),
            Self::Dh(dh::Error::Misuse(_))
            | Self::Vole(vole::Error::Misuse(_) | vole::Error::Unsolvable) => None,
        }
    }

    /// Whether it was nobody's fault, and another session with the same sets will do.
    #[must_use]
    pub const fn is_chance(&self) -> bool {
        matches!(self, Self::Vole(vole::Error::Unsolvable))
    }
}

/// How far one side has come, in parts of the protocol's own (points, bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeProgress {
    /// Of the own items' tokens.
    pub own: dh::Progress,
    /// Of the peer's.
    pub peer: dh::Progress,
}

/// One side of a session, in either protocol.
///
/// Send what [`Self::next_message`] gives until it gives nothing, then take one message of the
/// peer with [`Self::receive`]; repeat until [`Self::is_complete`], then [`Self::finish`]. All of
/// them may compute for long, on all cores: keep them off an async executor's threads.
#[derive(Debug)]
pub struct TokenExchange(Inner);

#[derive(Debug)]
enum Inner {
    Dh(Box<DhSide>),
    Vole(Box<vole::Session>),
}

impl TokenExchange {
    /// Begins a session: draws all its secrets. `peer_items` is what the peer announced.
    ///
    /// # Errors
    /// A set over [`dh::ITEMS_MAX`], the peer's or the own.
    pub fn begin<R: CryptoRng + ?Sized>(
        protocol: Protocol,
        session: SessionId,
        role: Role,
        items: Arc<IdentifierSet>,
        peer_items: u32,
        rng: &mut R,
    ) -> Result<Self, ExchangeError> {
        Ok(Self(match protocol {
            Protocol::Dh => {
                let (query, evaluate) = dh::begin(session, items, peer_items, rng)?;
                Inner::Dh(Box::new(DhSide {
                    query,
                    evaluate,
                    unanswered: 0,
                    reply: None,
                }))
            }
            Protocol::Vole => Inner::Vole(Box::new(vole::Session::begin(
                session, role, items, peer_items, rng,
            )?)),
        }))
    }

    /// The next message to send, if one may be sent now.
    ///
    /// # Errors
    /// Misuse, after any error.
    pub fn next_message(&mut self) -> Result<Option<Message>, ExchangeError> {
        Ok(match &mut self.0 {
            Inner::Dh(side) => side.next_message()?,
            Inner::Vole(session) => session.next_piece()?.map(Message::Piece),
        })
    }

    /// Takes the peer's next message.
    ///
    /// # Errors
    /// What the peer did wrong; misuse, after any error.
    pub fn receive(&mut self, message: Message) -> Result<(), ExchangeError> {
        match (&mut self.0, message) {
            (Inner::Dh(side), Message::Blinded(chunk)) => {
                side.reply = Some(side.evaluate.reply(&chunk)?);
            }
            (Inner::Dh(side), Message::Evaluated(chunk)) => {
                side.query.accept_reply(&chunk)?;
                side.unanswered = side.unanswered.saturating_sub(1);
            }
            (Inner::Vole(session), Message::Piece(piece)) => session.receive(&piece)?,
            (Inner::Dh(_), Message::Piece(_)) => {
                return Err(ExchangeError::OtherProtocol(Protocol::Dh));
            }
            (Inner::Vole(_), Message::Blinded(_) | Message::Evaluated(_)) => {
                return Err(ExchangeError::OtherProtocol(Protocol::Vole));
            }
        }
        Ok(())
    }

    /// Whether everything was sent and received.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.0 {
            Inner::Dh(side) => side.is_complete(),
            Inner::Vole(session) => session.is_complete(),
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> ExchangeProgress {
        match &self.0 {
            Inner::Dh(side) => ExchangeProgress {
                own: side.query.progress(),
                peer: side.evaluate.progress(),
            },
            Inner::Vole(session) => session.progress(),
        }
    }

    /// Ends the session, wipes its secrets, and gives the token of each item, in the order of the
    /// set's indices.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(self) -> Result<Vec<Token>, ExchangeError> {
        Ok(match self.0 {
            Inner::Dh(side) => side.query.finish(side.evaluate.finish()?)?,
            Inner::Vole(session) => session.finish()?,
        })
    }
}

/// Both halves of a `dh` side, in the order that blocks neither.
#[derive(Debug)]
struct DhSide {
    query: Query,
    evaluate: Evaluate,
    unanswered: usize,
    /// The answer to the peer's chunk that was received last. One at a time: it is sent before
    /// another chunk is received.
    reply: Option<Vec<u8>>,
}

impl DhSide {
    fn next_message(&mut self) -> Result<Option<Message>, dh::Error> {
        if let Some(reply) = self.reply.take() {
            return Ok(Some(Message::Evaluated(reply)));
        }
        if self.unanswered >= WINDOW {
            return Ok(None);
        }
        let chunk = self.query.next_chunk()?;
        self.unanswered += usize::from(chunk.is_some());
        Ok(chunk.map(Message::Blinded))
    }

    fn is_complete(&self) -> bool {
        let (own, peer) = (self.query.progress(), self.evaluate.progress());
        own.done == own.total && peer.done == peer.total && self.reply.is_none()
    }
}

#[cfg(test)]
mod tests;
