#![doc = include_str!("../../VOLE.md")]

mod asking;
mod base_ot;
mod check;
mod code;
mod cot;
mod direction;
mod error;
mod field;
mod ggm;
mod keyed;
mod okvs;
mod prg;
mod rounds;
mod shape;
mod tokens;
mod transfers;
mod wire;

use std::fmt;
use std::sync::Arc;

use rand_core::CryptoRng;

pub use error::{Error, Misuse, PeerFault};

use crate::dh::{ITEMS_MAX, Progress};
use crate::exchange::ExchangeProgress;
use crate::identifier::IdentifierSet;
use crate::session::{Role, SessionId};
use crate::token::Token;
use direction::Direction;
use okvs::Items;
use rounds::Rounds;

/// One side of a session.
///
/// Send what [`Session::next_piece`] gives until it gives nothing, then take one piece of the peer
/// with [`Session::receive`]; repeat until [`Session::is_complete`], then [`Session::finish`].
/// Neither side can block the other that way, if the line between them holds [`WINDOW`] pieces in
/// each direction.
pub struct Session {
    id: SessionId,
    role: Role,
    items: Arc<IdentifierSet>,
    hashed: Items,
    /// Dropped, and so wiped, at the first error.
    rounds: Option<Rounds>,
}

/// Pieces of a message that one side sends ahead of the other's.
pub const WINDOW: usize = 8;

impl Session {
    /// Begins a session: draws all its secrets and hashes the items.
    ///
    /// `peer_items` is the set size that the peer announced; memory of about 45 bytes for each of
    /// them is taken when the peer has sent what only a peer that computes can send, and none before.
    ///
    /// # Errors
    /// [`PeerFault::TooManyItems`] and [`Misuse::TooManyItems`] above [`ITEMS_MAX`].
    pub fn begin<R: CryptoRng + ?Sized>(
        id: SessionId,
        role: Role,
        items: Arc<IdentifierSet>,
        peer_items: u32,
        rng: &mut R,
    ) -> Result<Self, Error> {
        let delta = prg::draw(rng);
        Self::begin_with(id, role, items, peer_items, delta, rng)
    }

    fn begin_with<R: CryptoRng + ?Sized>(
        id: SessionId,
        role: Role,
        items: Arc<IdentifierSet>,
        peer_items: u32,
        delta: u128,
        rng: &mut R,
    ) -> Result<Self, Error> {
        if peer_items > ITEMS_MAX {
            return Err(PeerFault::TooManyItems {
                announced: peer_items,
            }
            .into());
        }
        if items.len() > ITEMS_MAX as usize {
            return Err(Misuse::TooManyItems { got: items.len() }.into());
        }
        let keyed = Direction::new(id, role, peer_items as usize);
        let asking = Direction::new(id, role.peer(), items.len());
        let layouts = [keyed.layout, asking.layout];
        let keyed = keyed::Begun::new(keyed, delta, rng);
        let asking = asking::Begun::new(asking, rng);
        Ok(Self {
            id,
            role,
            hashed: Items::new(&tokens::hash_items(&id, &items), layouts),
            items,
            rounds: Some(Rounds::new(keyed, asking)),
        })
    }

    /// The next piece to send, if one may be sent now. At most 64,000 bytes.
    ///
    /// # Errors
    /// [`Misuse::AlreadyFailed`] after any error.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let rounds = self.rounds.as_mut().ok_or(Misuse::AlreadyFailed)?;
        Ok(rounds.next_piece())
    }

    /// Takes the peer's next piece. The last one of a message starts the work on all cores that
    /// the message allows.
    ///
    /// # Errors
    /// [`Error::Peer`] for what no honest peer sends; [`Error::Unsolvable`] once in 2^40
    /// sessions; [`Misuse::AlreadyFailed`] after any error.
    pub fn receive(&mut self, piece: &[u8]) -> Result<(), Error> {
        let rounds = self.rounds.take().ok_or(Misuse::AlreadyFailed)?;
        self.rounds = Some(rounds.receive(piece, self.hashed.sorted())?);
        Ok(())
    }

    /// Whether everything was sent and received.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rounds.as_ref().is_some_and(Rounds::is_complete)
    }

    /// Bytes sent and received, of all; nothing of nothing after an error.
    #[must_use]
    pub fn progress(&self) -> ExchangeProgress {
        let nothing = Progress { done: 0, total: 0 };
        self.rounds.as_ref().map_or(
            ExchangeProgress {
                own: nothing,
                peer: nothing,
            },
            Rounds::progress,
        )
    }

    /// Ends the session, wipes its secrets, and gives the token of each item, in the order of the
    /// set's indices. Computes on all cores.
    ///
    /// # Errors
    /// [`PeerFault::Incomplete`] if messages are missing; [`Misuse`] if own ones were not sent, or
    /// the session had failed.
    pub fn finish(self) -> Result<Vec<Token>, Error> {
        let rounds = self.rounds.ok_or(Misuse::AlreadyFailed)?;
        let (key, answers) = rounds.finish()?;
        let own = key.evaluate(self.hashed.sorted());
        drop(key);
        let peers = answers.evaluate(self.hashed.sorted());
        drop(answers);
        let values = match self.role {
            Role::Owner => [own.as_slice(), peers.as_slice()],
            Role::Recipient => [peers.as_slice(), own.as_slice()],
        };
        let places = self.hashed.places();
        Ok(tokens::tokens(&self.id, &self.items, values, places))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod malformed_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
