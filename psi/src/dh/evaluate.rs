//! The half of a party that raises the peer's points to its key.

use std::fmt;

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

use super::group::{Halves, due, raise_to_chunk, read_chunk};
use super::seen::SeenPoints;
use super::{Error, Misuse, PeerFault, Progress};
use crate::session::SessionId;

/// Answers the peer's chunks: each point to the power of this party's key.
pub struct Evaluate {
    session: SessionId,
    /// Half the key. Dropped, and so wiped, at the first error.
    half: Option<Zeroizing<Scalar>>,
    seen: SeenPoints,
    announced: usize,
    done: usize,
}

/// Proof that the peer's whole announced set was answered; [`Query::finish`](super::Query::finish)
/// takes it, so that nobody gets tokens out of half a session.
#[derive(Debug)]
pub struct Evaluated {
    pub(super) session: SessionId,
}

impl Evaluate {
    pub(super) fn new(
        session: SessionId,
        key: &Scalar,
        seen: SeenPoints,
        announced: usize,
    ) -> Self {
        Self {
            session,
            half: Some(Zeroizing::new(key.div_by_2())),
            seen,
            announced,
            done: 0,
        }
    }

    /// Turns the next chunk of the peer's points into the reply to send.
    ///
    /// The reply holds the raised points in the order in which they came.
    ///
    /// # Errors
    /// [`Error::Peer`] for a malformed chunk or more points than announced;
    /// [`Misuse::AlreadyFailed`] after any error.
    pub fn reply(&mut self, chunk: &[u8]) -> Result<Vec<u8>, Error> {
        let half = self.half.take().ok_or(Misuse::AlreadyFailed)?;
        let expected = due(self.announced, self.done);
        if expected == 0 {
            return Err(PeerFault::TooManyPoints {
                announced: self.announced,
            }
            .into());
        }
        let points = read_chunk(chunk, expected, self.done, &mut self.seen)?;
        let reply = raise_to_chunk(&points, Halves::One(&half));
        self.done += points.len();
        self.half = Some(half);
        Ok(reply)
    }

    /// Points answered and announced.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        Progress {
            done: self.done,
            total: self.announced,
        }
    }

    /// Ends this half and wipes its key.
    ///
    /// # Errors
    /// [`PeerFault::Incomplete`] if the peer sent fewer points than it announced;
    /// [`Misuse::AlreadyFailed`] after any error.
    pub fn finish(self) -> Result<Evaluated, Error> {
        if self.half.is_none() {
            return Err(Misuse::AlreadyFailed.into());
        }
        if self.done < self.announced {
            return Err(PeerFault::Incomplete {
                got: self.done,
                expected: self.announced,
            }
            .into());
        }
        Ok(Evaluated {
            session: self.session,
        })
    }
}

impl fmt::Debug for Evaluate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluate")
            .field("session", &self.session)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
