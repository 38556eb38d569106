//! Whose fault it was.

use crate::dh::ITEMS_MAX;

/// Why a session ended. After any error it is over: it refuses all further work, and the bucket is
/// repeated under a new session id.
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
    /// No key-value store was found for the own items: one session in 2^40, and nobody's fault.
    #[error(
        "no store was found for the items, by chance; repeat the bucket under a new session id"
    )]
    Unsolvable,
}

/// What the peer did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// The set size that the peer announced is over [`ITEMS_MAX`].
    #[error("it announced `{announced}` items where a session takes at most {ITEMS_MAX}")]
    TooManyItems {
        /// Items announced.
        announced: u32,
    },
    /// A piece has another length than its place in the protocol asks for.
    #[error("it sent a piece of `{got}` bytes in round {round} where {expected} were due")]
    PieceLength {
        /// Which of the five messages.
        round: u8,
        /// Bytes of the piece.
        got: usize,
        /// Bytes due: a full piece, or the rest of the message.
        expected: usize,
    },
    /// A piece came after the last one.
    #[error("it went on after its last message")]
    Excess,
    /// A point of the base transfers is not the canonical encoding of a ristretto255 element, or
    /// is the identity.
    #[error(
        "the point of base transfer `{transfer}` is no canonical ristretto255 encoding, or the identity"
    )]
    BasePoint {
        /// Which transfer.
        transfer: usize,
    },
    /// The correlated transfers do not agree with one choice in all columns.
    #[error("its oblivious transfers are not consistent")]
    ExtensionCheck,
    /// The trees do not agree with one difference in all leaves.
    #[error("its trees of keys are not consistent")]
    TreeCheck,
    /// The coin that it opened is not the one it committed to.
    #[error("it opened another coin than it had committed to")]
    Coin,
    /// The peer's side ended before all messages had come.
    #[error("it ended in round {round} of 5")]
    Incomplete {
        /// The message that is missing.
        round: u8,
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
    /// Not all own messages were sent.
    #[error("own messages are still to be sent; send every one before finishing")]
    Unsent,
}
