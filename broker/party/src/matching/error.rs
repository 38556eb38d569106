//! Why two agents did not get through a matching, and whose fault it was.

use std::fmt;

use counterfoil_proto::WireError;

use crate::noise::NoiseError;

/// Where in the matching something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The Noise handshake.
    Handshake,
    /// The first messages of both sides.
    Hello,
    /// The exchange of points.
    Points,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the handshake",
            Self::Hello => "the greeting",
            Self::Points => "the matching",
        })
    }
}

/// Why there are no tokens. What was exchanged until then tells either side the size of the other's set at most.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// The peer sent what no honest peer sends.
    #[error("{0}")]
    Misbehaved(String),
    /// What came does not open: the peer sent it so, or the relay between the two altered it.
    #[error("{0}")]
    Unopened(NoiseError),
    /// The peer said that it stops.
    #[error("the other agent stopped: {message} (`{code}`)")]
    Aborted {
        /// Its word for the reason.
        code: String,
        /// Its words.
        message: String,
    },
    /// Nothing came from the peer.
    #[error("the other agent sent nothing for {seconds} s during {phase}")]
    Silent {
        /// Where.
        phase: Phase,
        /// How long.
        seconds: u64,
    },
    /// The peer answers, but so slowly that it would take longer than sets of this size may.
    #[error("the other agent was too slow: the matching did not end within {seconds} s")]
    Slow {
        /// The whole time that was allowed.
        seconds: u64,
    },
    /// The connection ended.
    #[error("the connection to the other agent ended during {phase}")]
    Disconnected {
        /// Where.
        phase: Phase,
    },
    /// The peer's set has a size that the agreement or the request does not allow.
    #[error("the other agent brought {announced} identifiers where {allowed}")]
    SetSize {
        /// What it announced.
        announced: u64,
        /// What would have passed.
        allowed: String,
    },
    /// No side broke a rule, and another session with the same sets will do: once in 2^40 sessions of `vole`.
    #[error("the matching found no way, by chance: {0}")]
    Chance(String),
    /// This program failed.
    #[error("the matching failed here: {0}")]
    Internal(String),
}

/// The word for [`MatchError::Chance`].
const CHANCE: &str = "chance";

impl MatchError {
    /// Whether the bucket is to be repeated under a new session: chance was against this side, or against the peer as it says. A
    /// peer that says so untruly gains what one gains that hangs up.
    #[must_use]
    pub fn is_chance(&self) -> bool {
        match self {
            Self::Chance(_) => true,
            Self::Aborted { code, .. } => code == CHANCE,
            _ => false,
        }
    }

    /// A word for the peer and for the log, where this side stops for this reason; none where the peer is gone or
    /// has stopped first.
    #[must_use]
    pub fn abort_code(&self) -> Option<&'static str> {
        match self {
            Self::Misbehaved(_) | Self::Unopened(_) => Some("protocol"),
            Self::Silent { .. } | Self::Slow { .. } => Some("timeout"),
            Self::SetSize { .. } => Some("set_size"),
            Self::Chance(_) => Some(CHANCE),
            Self::Internal(_) => Some("internal"),
            Self::Aborted { .. } | Self::Disconnected { .. } => None,
        }
    }

    /// What the peer is told. A fault of this program stays here.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Misbehaved(why) => format!("what came here breaks the protocol: {why}"),
            Self::Unopened(why) => why.to_string(),
            Self::SetSize { announced, allowed } => {
                format!("{announced} identifiers were announced where {allowed}")
            }
            Self::Silent { phase, seconds } => {
                format!("nothing came here for {seconds} s during {phase}")
            }
            Self::Slow { seconds } => format!("the matching did not end within {seconds} s"),
            Self::Chance(_) => "chance was against it; the bucket is to be repeated".to_owned(),
            Self::Internal(_) => "this agent has a fault of its own".to_owned(),
            Self::Aborted { .. } | Self::Disconnected { .. } => String::new(),
        }
    }
}

impl From<NoiseError> for MatchError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Handshake | NoiseError::Message => Self::Unopened(error),
            NoiseError::TooLong(_) | NoiseError::Dead | NoiseError::Setup(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<WireError> for MatchError {
    fn from(error: WireError) -> Self {
        Self::Misbehaved(error.to_string())
    }
}

/// A text of a peer as it may be shown: without characters that a terminal would obey, and not longer
/// than `chars_max`.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    text.chars()
        .take(chars_max)
        .map(|c| {
            if crate::error::is_unseen(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
