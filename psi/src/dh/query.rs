//! The half of a party that sends its own items blinded and makes tokens of the answers.

use std::sync::Arc;
use std::{fmt, mem};

use curve25519_dalek::Scalar;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::blinds::Blinds;
use super::group::{Halves, due, raise, raise_to_chunk, read_chunk};
use super::seen::SeenPoints;
use super::{Error, Evaluated, Misuse, PeerFault, Progress};
use crate::hash_to_group::{ITEM_DST, hash_to_ristretto255};
use crate::identifier::IdentifierSet;
use crate::session::SessionId;
use crate::token::Token;

/// Sends this party's items, blinded and shuffled, and turns the replies into tokens.
pub struct Query {
    session: SessionId,
    items: Arc<IdentifierSet>,
    /// `order[k]` is the index of the item sent as point k.
    order: Vec<u32>,
    /// Dropped, and so wiped, at the first error.
    secrets: Option<Secrets>,
    seen: SeenPoints,
    sent: usize,
    answered: usize,
    /// `tokens[k]` belongs to point k.
    tokens: Vec<Token>,
}

/// The scalars of one party in one session. [`Evaluate`](super::Evaluate) has a copy of the key.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Secrets {
    /// a or b.
    pub(super) key: Zeroizing<Scalar>,
    /// s_k or r_k for the item sent as point k.
    pub(super) blinds: Blinds,
}

impl Query {
    /// `order` must be a permutation of the set's indices.
    pub(super) fn new(
        session: SessionId,
        items: Arc<IdentifierSet>,
        order: Vec<u32>,
        secrets: Secrets,
        seen: SeenPoints,
    ) -> Self {
        let tokens = order.iter().map(|_| Token::pending()).collect();
        let secrets = Some(secrets);
        Self {
            session,
            items,
            order,
            secrets,
            seen,
            sent: 0,
            answered: 0,
            tokens,
        }
    }

    /// The next chunk to send, or `None` when all have been made.
    ///
    /// # Errors
    /// [`Misuse::AlreadyFailed`] after any error.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let secrets = self.secrets.as_ref().ok_or(Misuse::AlreadyFailed)?;
        let count = due(self.order.len(), self.sent);
        if count == 0 {
            return Ok(None);
        }
        let chosen = self
            .order
            .get(self.sent..self.sent + count)
            .unwrap_or_default();
        let items = &self.items;
        let mut points: Vec<_> = chosen
            .par_iter()
            .map(|&index| hash_to_ristretto255(items.item(index), ITEM_DST))
            .collect();
        let halves = secrets.blinds.question_halves(self.sent..self.sent + count);
        let chunk = raise_to_chunk(&points, Halves::Each(&halves));
        points.zeroize();
        self.sent += count;
        Ok(Some(chunk))
    }

    /// Takes the reply to the oldest chunk that has none yet.
    ///
    /// # Errors
    /// [`Error::Peer`] for a malformed reply or one to a chunk that was not sent;
    /// [`Misuse::AlreadyFailed`] after any error.
    pub fn accept_reply(&mut self, reply: &[u8]) -> Result<(), Error> {
        let secrets = self.secrets.take().ok_or(Misuse::AlreadyFailed)?;
        let expected = due(self.sent, self.answered);
        if expected == 0 {
            return Err(PeerFault::UnrequestedReply.into());
        }
        let points = read_chunk(reply, expected, self.answered, &mut self.seen)?;
        let range = self.answered..self.answered + points.len();
        let halves = secrets.blinds.reply_halves(range.clone(), &secrets.key);
        let order = self.order.get(range.clone()).unwrap_or_default();
        let tokens = self.tokens.get_mut(range).unwrap_or_default();
        let (session, items) = (&self.session, &self.items);
        raise(
            &points,
            Halves::Each(&halves),
            tokens,
            |token, place, element| {
                let item = order.get(place).map_or(&[][..], |&index| items.item(index));
                *token = Token::derive(session, item, element);
            },
        );
        self.answered += points.len();
        self.secrets = Some(secrets);
        Ok(())
    }

    /// Own points answered, of all own points.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.answered,
            total: self.order.len(),
        }
    }

    /// Ends the session, wipes its secrets, and gives the token of each item, in the order
    /// of the set's indices.
    ///
    /// # Errors
    /// [`PeerFault::Incomplete`] if replies are missing; [`Misuse`] if own chunks were not
    /// sent, `evaluated` is of another session, or the session had failed.
    pub fn finish(mut self, evaluated: Evaluated) -> Result<Vec<Token>, Error> {
        if self.secrets.is_none() {
            return Err(Misuse::AlreadyFailed.into());
        }
        if evaluated.session != self.session {
            return Err(Misuse::MixedSessions.into());
        }
        let total = self.order.len();
        if self.sent < total {
            return Err(Misuse::Unsent {
                sent: self.sent,
                total,
            }
            .into());
        }
        if self.answered < total {
            return Err(PeerFault::Incomplete {
                got: self.answered,
                expected: total,
            }
            .into());
        }
        let mut sorted: Vec<Token> = self.order.iter().map(|_| Token::pending()).collect();
        for (&index, token) in self.order.iter().zip(&mut self.tokens) {
            if let Some(to) = sorted.get_mut(index as usize) {
                mem::swap(to, token);
            }
        }
        Ok(sorted)
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("session", &self.session)
            .field("items", &self.items)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
