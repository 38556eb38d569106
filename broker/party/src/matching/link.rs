//! Messages over the channel, with a bound on every wait.

use std::time::Duration;

use counterfoil_proto::peer::PeerMessage;
use counterfoil_proto::v1::PeerAbort;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::noise::Channel;

use super::error::{MatchError, Phase, shown};

/// Frames to and from the peer, each one Noise message. Closed by dropping it: the peer then sees the end after
/// everything that was sent before.
#[derive(Debug)]
pub struct Pipe {
    /// Towards the peer.
    pub outgoing: mpsc::Sender<Vec<u8>>,
    /// From the peer.
    pub incoming: mpsc::Receiver<Vec<u8>>,
}

/// Longest waits. A peer that is slower than this has failed, whatever it says later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the peer to come to the relay and finish the handshake. The recipient's is long: the owner reads its
    /// dataset before it comes.
    pub meeting: Duration,
    /// For each message after that, and for room to send one.
    pub message: Duration,
    /// For each chunk of points on average, beside one [`Patience::message`]: bounds a peer that answers each
    /// message just in time.
    pub chunk: Duration,
}

impl Patience {
    /// For the side that waits for the other to come.
    pub const WAITING: Self = Self {
        meeting: Duration::from_secs(30 * 60),
        ..Self::COMING
    };
    /// For the side that comes to one that waits already.
    pub const COMING: Self = Self {
        meeting: Duration::from_secs(60),
        message: Duration::from_secs(60),
        chunk: Duration::from_secs(2),
    };
}

/// How long a last word to the peer may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Most characters of a text of the peer that are kept.
const PEER_TEXT_CHARS_MAX: usize = 300;

impl Pipe {
    pub(super) async fn send(
        &self,
        frame: Vec<u8>,
        phase: Phase,
        wait: Duration,
    ) -> Result<(), MatchError> {
        match timeout(wait, self.outgoing.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(MatchError::Disconnected { phase }),
            Err(_) => Err(MatchError::Silent {
                phase,
                seconds: wait.as_secs(),
            }),
        }
    }

    pub(super) async fn receive(
        &mut self,
        phase: Phase,
        wait: Duration,
    ) -> Result<Vec<u8>, MatchError> {
        match timeout(wait, self.incoming.recv()).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(MatchError::Disconnected { phase }),
            Err(_) => Err(MatchError::Silent {
                phase,
                seconds: wait.as_secs(),
            }),
        }
    }
}

/// An open channel over a pipe.
pub(super) struct Link {
    pub(super) channel: Channel,
    pub(super) pipe: Pipe,
    pub(super) patience: Patience,
}

impl Link {
    pub(super) async fn send(
        &mut self,
        message: &PeerMessage,
        phase: Phase,
    ) -> Result<(), MatchError> {
        let frame = self.channel.seal(&message.encode())?;
        match self.pipe.send(frame, phase, self.patience.message).await {
            Err(gone @ MatchError::Disconnected { .. }) => {
                Err(self.last_words(phase).await.unwrap_or(gone))
            }
            result => result,
        }
    }

    /// Why a peer left that no longer listens, if it said so: its abort may still wait behind other messages.
    async fn last_words(&mut self, phase: Phase) -> Option<MatchError> {
        let listen = async {
            loop {
                match self.receive(phase).await {
                    Ok(_) => {}
                    Err(aborted @ MatchError::Aborted { .. }) => return Some(aborted),
                    Err(_) => return None,
                }
            }
        };
        timeout(FAREWELL, listen).await.unwrap_or(None)
    }

    /// The peer's next message; an abort comes as [`MatchError::Aborted`].
    pub(super) async fn receive(&mut self, phase: Phase) -> Result<PeerMessage, MatchError> {
        let frame = self.pipe.receive(phase, self.patience.message).await?;
        match PeerMessage::decode(&self.channel.open(&frame)?)? {
            PeerMessage::Abort(PeerAbort { code, message }) => Err(MatchError::Aborted {
                code: shown(&code, PEER_TEXT_CHARS_MAX),
                message: shown(&message, PEER_TEXT_CHARS_MAX),
            }),
            message => Ok(message),
        }
    }

    /// Tells the peer why this side stops, if the peer still listens, and leaves.
    pub(super) async fn abort(mut self, code: &str, message: &str) {
        let abort = PeerMessage::Abort(PeerAbort {
            code: code.to_owned(),
            message: shown(message, PEER_TEXT_CHARS_MAX),
        });
        if let Ok(frame) = self.channel.seal(&abort.encode()) {
            drop(timeout(FAREWELL, self.pipe.outgoing.send(frame)).await);
        }
    }
}

/// Ends `work` with an error at `deadline`, however busy it is.
pub(super) async fn before<T>(
    deadline: Instant,
    allowed: Duration,
    work: impl Future<Output = Result<T, MatchError>>,
) -> Result<T, MatchError> {
    timeout_at(deadline, work)
        .await
        .unwrap_or(Err(MatchError::Slow {
            seconds: allowed.as_secs(),
        }))
}
