//! Whose fault it was.

use crate::dh::{CHUNK_POINTS, ITEMS_MAX};

/// Why a matching session ended. After any error the session is over: its halves refuse
/// all further work, and the bucket is repeated under a new session id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer sent what no honest peer sends.
    #[error(
        "the peer broke the matching protocol: {0}; stop this flow and ask the partner to check its agent"
    )]
    Peer(#[from] PeerFault),
    /// The calling code used the protocol in a way that it does not allow.
    #[error("the matching protocol was misused: {0}")]
    Misuse(#[from] Misuse),
}

/// What the peer did. Positions count the points of one direction from 0, across all chunks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// The set size that the peer announced is over [`ITEMS_MAX`].
    #[error("it announced `{announced}` items where a session takes at most {ITEMS_MAX}")]
    TooManyItems {
        /// Items announced.
        announced: u32,
    },
    /// A chunk holds more than [`CHUNK_POINTS`] points.
    #[error(
        "it sent a chunk of `{bytes}` bytes where a chunk holds at most {CHUNK_POINTS} points of 32 bytes"
    )]
    ChunkTooLong {
        /// Bytes of the chunk.
        bytes: usize,
    },
    /// A chunk is not a whole number of points.
    #[error("it sent a chunk of `{bytes}` bytes, which is no whole number of 32-byte points")]
    RaggedChunk {
        /// Bytes of the chunk.
        bytes: usize,
    },
    /// A chunk has another number of points than its place in the sequence asks for.
    #[error("it sent a chunk of `{got}` points where {expected} were due")]
    WrongCount {
        /// Points in the chunk.
        got: usize,
        /// Points due: a full chunk, or the rest of the announced set.
        expected: usize,
    },
    /// Points came after all that were announced had come.
    #[error("it sent more points than the `{announced}` it announced")]
    TooManyPoints {
        /// Points announced.
        announced: usize,
    },
    /// A reply came for which no chunk had been sent.
    #[error("it replied to a chunk that was not sent")]
    UnrequestedReply,
    /// A point is not the canonical encoding of a ristretto255 element (RFC 9496 section 4.3.1).
    #[error("point `{position}` is not a canonical ristretto255 encoding")]
    NotCanonical {
        /// Which point.
        position: usize,
    },
    /// A point is the identity, which stays itself under every exponent.
    #[error("point `{position}` is the identity")]
    Identity {
        /// Which point.
        position: usize,
    },
    /// A point came twice in one direction of one session.
    #[error("point `{position}` repeats an earlier one")]
    Repeated {
        /// Which point (the later of the two).
        position: usize,
    },
    /// The peer's side ended before all points had come.
    #[error("it sent `{got}` of {expected} points")]
    Incomplete {
        /// Points that came.
        got: usize,
        /// Points due.
        expected: usize,
    },
}

/// What the caller did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The own set is too large for one session.
    #[error(
        "a session takes at most {ITEMS_MAX} items and was given `{got}`; split the set into buckets"
    )]
    TooManyItems {
        /// Items given.
        got: usize,
    },
    /// The session had failed before this call.
    #[error("this session has failed already; repeat the bucket under a new session id")]
    AlreadyFailed,
    /// Not all own chunks were sent.
    #[error("only `{sent}` of {total} own points were sent; send every chunk before finishing")]
    Unsent {
        /// Points sent.
        sent: usize,
        /// Own points in all.
        total: usize,
    },
    /// The two halves given to `finish` come from different sessions.
    #[error("the two halves belong to different sessions; finish each with its own")]
    MixedSessions,
}
