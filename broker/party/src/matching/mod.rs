//! Two agents turn their identifiers into tokens: `counterfoil_psi`'s protocols over the Noise channel.
//!
//! For [`crate::owner`] and [`crate::recipient`], which bring a [`Pipe`] (the broker's relay, or two channels in memory)
//! and take [`Matched`] away. In order: [`meet`] shakes hands, greets and checks the peer's set size; the caller
//! compares [`Met::peer_checkpoint`] with its own log, and may [`Met::abort`]; [`Met::run`] runs the protocol.
//!
//! The peer is the threat here: everything it sends is bounded in length (one Noise message), in number (its
//! protocol's messages, of which its announced set size decides how many; the size is checked against what the agreement
//! and the request allow) and in time
//! ([`Patience`]). At most [`POINTS_WINDOW`](counterfoil_proto::limits::POINTS_WINDOW) own messages are under way, and the
//! peer's are taken one after the other, so that memory does not grow with what the peer sends. Every failure says whose fault it was, and the peer is
//! told.

mod error;
mod link;
mod meeting;
mod run;

#[cfg(test)]
mod tests;

use counterfoil_proto::peer::{Hello, PeerMessage};
use counterfoil_psi::{BucketKey, Protocol, Role, SessionId, SessionInputs, SessionNonce, Token};

use crate::noise::{Binding, Channel, Initiator, Responder, Statics};

pub use error::{MatchError, Phase};
use link::Link;
pub use link::{Patience, Pipe};

/// What this side brings to a matching.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Which side this is.
    pub role: Role,
    /// The keys that the agreement pins.
    pub statics: Statics<'a>,
    /// What the channel is for.
    pub binding: Binding,
    /// What makes the tokens. Both sides take it from the agreement and the request.
    pub protocol: Protocol,
    /// Own identifiers; at least 1.
    pub set_size: u64,
    /// The latest checkpoint of the log that this side has verified.
    pub checkpoint: Option<&'a str>,
    /// What the peer may bring.
    pub peer: PeerSize,
    /// How long the peer may take.
    pub patience: Patience,
}

/// What size the peer's set may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSize {
    /// From 1 up to a cap.
    AtMost(u64),
    /// What the signed request says.
    Exactly(u64),
}

impl PeerSize {
    fn check(self, announced: u64) -> Result<(), MatchError> {
        let (passes, allowed) = match self {
            Self::AtMost(cap) => (
                (1..=cap).contains(&announced),
                format!("1 to {cap} are allowed"),
            ),
            Self::Exactly(size) => (announced == size, format!("its request says {size}")),
        };
        if passes {
            Ok(())
        } else {
            Err(MatchError::SetSize { announced, allowed })
        }
    }
}

/// How far a matching is, in identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MatchProgress {
    /// Own identifiers that have their token.
    pub own: u64,
    /// Own identifiers in all.
    pub own_total: u64,
    /// The peer's identifiers that were answered.
    pub peer: u64,
    /// The peer's identifiers in all.
    pub peer_total: u64,
}

/// Both sides have met: the channel stands, and of the sets only their sizes have been told.
pub struct Met {
    link: Link,
    session: SessionId,
    begin: Begin,
    bucket_key: BucketKey,
    own_set_size: u64,
    peer: Hello,
}

/// How this side begins the protocol.
#[derive(Clone, Copy)]
struct Begin {
    protocol: Protocol,
    role: Role,
}

// POINTS_WINDOW is what the relay's room is made for, and what the protocols keep to.
const _: () = assert!(counterfoil_psi::WINDOW == counterfoil_proto::limits::POINTS_WINDOW);

/// What a matching gives.
#[derive(Debug)]
pub struct Matched {
    /// Names this matching; both sides and the broker hold it.
    pub session: SessionId,
    /// The token of each own identifier, in the order of the set.
    pub tokens: Vec<Token>,
    /// Identifiers that the peer brought.
    pub peer_set_size: u64,
}

/// Shakes hands and greets.
///
/// # Errors
/// [`MatchError`]; the peer has then been told why, if it is still there and was heard at all.
pub async fn meet(opening: Opening<'_>, mut pipe: Pipe) -> Result<Met, MatchError> {
    let channel = shake_hands(&opening, &mut pipe).await?;
    let mut link = Link {
        channel,
        pipe,
        patience: opening.patience,
    };
    match greet(&opening, &mut link).await {
        Ok((session, bucket_key, peer)) => Ok(Met {
            link,
            session,
            begin: Begin {
                protocol: opening.protocol,
                role: opening.role,
            },
            bucket_key,
            own_set_size: opening.set_size,
            peer,
        }),
        Err(error) => Err(leave(link, error).await),
    }
}

async fn shake_hands(opening: &Opening<'_>, pipe: &mut Pipe) -> Result<Channel, MatchError> {
    let Patience {
        meeting, message, ..
    } = opening.patience;
    let phase = Phase::Handshake;
    match opening.role {
        Role::Recipient => {
            let (initiator, first) = Initiator::start(opening.statics, &opening.binding)?;
            pipe.send(first, phase, message).await?;
            let answer = pipe.receive(phase, meeting).await?;
            Ok(initiator.finish(&answer)?)
        }
        Role::Owner => {
            let first = pipe.receive(phase, meeting).await?;
            let (channel, answer) = Responder::answer(opening.statics, &opening.binding, &first)?;
            pipe.send(answer, phase, message).await?;
            Ok(channel)
        }
    }
}

async fn greet(
    opening: &Opening<'_>,
    link: &mut Link,
) -> Result<(SessionId, BucketKey, Hello), MatchError> {
    let nonce = SessionNonce::generate(&mut rand::rng());
    let hello = Hello {
        nonce: *nonce.as_bytes(),
        set_size: opening.set_size,
        checkpoint: opening.checkpoint.map(str::to_owned),
    };
    link.send(&PeerMessage::Hello(hello), Phase::Hello).await?;
    let PeerMessage::Hello(peer) = link.receive(Phase::Hello).await? else {
        return Err(MatchError::Misbehaved(
            "its first message is no greeting".to_owned(),
        ));
    };
    opening.peer.check(peer.set_size)?;
    let peer_nonce = SessionNonce::from_bytes(peer.nonce);
    if peer_nonce == nonce {
        return Err(MatchError::Misbehaved(
            "it repeats this side's nonce".to_owned(),
        ));
    }
    let (owner_nonce, recipient_nonce) = match opening.role {
        Role::Owner => (nonce, peer_nonce),
        Role::Recipient => (peer_nonce, nonce),
    };
    let inputs = SessionInputs {
        flow: &opening.binding.flow,
        bucket: opening.binding.bucket,
        attempt: opening.binding.attempt,
        owner_nonce,
        recipient_nonce,
        agreement_digest: &opening.binding.agreement,
    };
    Ok((SessionId::derive(&inputs), BucketKey::derive(&inputs), peer))
}

/// Tells the peer of `error`, if it is this side that stops for it.
async fn leave(link: Link, error: MatchError) -> MatchError {
    if let Some(code) = error.abort_code() {
        link.abort(code, &error.told()).await;
    }
    error
}

impl Met {
    /// The latest checkpoint that the peer says it holds. Not verified.
    #[must_use]
    pub fn peer_checkpoint(&self) -> Option<&str> {
        self.peer.checkpoint.as_deref()
    }

    /// Identifiers that the peer brings; checked against what it may.
    #[must_use]
    pub fn peer_set_size(&self) -> u64 {
        self.peer.set_size
    }

    /// Stops here, and tells the peer why: a word and a sentence, neither of which may be about a person.
    pub async fn abort(self, code: &str, message: &str) {
        self.link.abort(code, message).await;
    }
}

impl std::fmt::Debug for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Met")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
