//! The exchange of points.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_proto::limits::POINTS_WINDOW;
use counterfoil_proto::peer::PeerMessage;
use counterfoil_psi::dh::{self, CHUNK_POINTS, Evaluate, Query};
use counterfoil_psi::{IdentifierSet, SessionId, Token};
use tokio::time::Instant;

use super::link::{Link, Patience, before};
use super::{MatchError, MatchProgress, Matched, Met, Phase, leave};

/// Called whenever a chunk is done.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(MatchProgress) + Send + Sync);

impl Met {
    /// Exchanges the points and gives the token of each item of `items`, in its order.
    ///
    /// # Errors
    /// [`MatchError`]; the peer has then been told why, if it is still there.
    pub async fn run(
        self,
        items: Arc<IdentifierSet>,
        progress: OnProgress<'_>,
    ) -> Result<Matched, MatchError> {
        let Self {
            mut link,
            session,
            own_set_size,
            peer,
        } = self;
        let allowed = allowed(link.patience, own_set_size, peer.set_size);
        let work = async {
            if items.len() as u64 != own_set_size {
                return Err(MatchError::Internal(
                    "the set has another size than was announced".to_owned(),
                ));
            }
            let state = begin(session, items, peer.set_size).await?;
            exchange(&mut link, state, progress).await
        };
        match before(Instant::now() + allowed, allowed, work).await {
            Ok(tokens) => Ok(Matched {
                session,
                tokens,
                peer_set_size: peer.set_size,
            }),
            Err(error) => Err(leave(link, error).await),
        }
    }
}

/// The whole time for sets of these sizes.
fn allowed(patience: Patience, own: u64, peer: u64) -> Duration {
    let chunks = (own.saturating_add(peer))
        .div_ceil(CHUNK_POINTS as u64)
        .saturating_add(1);
    let chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
    patience
        .message
        .saturating_add(patience.chunk.saturating_mul(chunks))
}

/// Both halves of this side, and how many own chunks are unanswered.
struct State {
    query: Query,
    evaluate: Evaluate,
    unanswered: usize,
    all_sent: bool,
}

impl State {
    fn progress(&self) -> MatchProgress {
        let (own, peer) = (self.query.progress(), self.evaluate.progress());
        MatchProgress {
            own: own.done as u64,
            own_total: own.total as u64,
            peer: peer.done as u64,
            peer_total: peer.total as u64,
        }
    }

    fn complete(&self) -> bool {
        let (own, peer) = (self.query.progress(), self.evaluate.progress());
        own.done == own.total && peer.done == peer.total
    }

    fn may_send(&self) -> bool {
        !self.all_sent && self.unanswered < POINTS_WINDOW
    }
}

async fn begin(
    session: SessionId,
    items: Arc<IdentifierSet>,
    peer_items: u64,
) -> Result<State, MatchError> {
    // A size that does not fit is over the session's bound too, which `dh::begin` blames the peer for.
    let peer_items = u32::try_from(peer_items).unwrap_or(u32::MAX);
    let (query, evaluate) =
        off_thread(move || dh::begin(session, items, peer_items, &mut rand::rng())).await??;
    Ok(State {
        query,
        evaluate,
        unanswered: 0,
        all_sent: false,
    })
}

/// Own chunks go out as long as the window is open; then one message of the peer is taken. The relay holds two
/// windows in each direction, so that a send blocks only on a peer that does not read.
async fn exchange(
    link: &mut Link,
    mut state: State,
    progress: OnProgress<'_>,
) -> Result<Vec<Token>, MatchError> {
    progress(state.progress());
    while !state.complete() {
        while state.may_send() {
            state = send_chunk(link, state).await?;
        }
        let message = link.receive(Phase::Points).await?;
        state = take(link, state, message).await?;
        progress(state.progress());
    }
    let State {
        query, evaluate, ..
    } = state;
    Ok(off_thread(move || query.finish(evaluate.finish()?)).await??)
}

async fn send_chunk(link: &mut Link, mut state: State) -> Result<State, MatchError> {
    let (mut state, chunk) = off_thread(move || {
        let chunk = state.query.next_chunk();
        (state, chunk)
    })
    .await?;
    match chunk? {
        Some(points) => {
            link.send(&PeerMessage::Blinded(points), Phase::Points)
                .await?;
            state.unanswered += 1;
        }
        None => state.all_sent = true,
    }
    Ok(state)
}

async fn take(
    link: &mut Link,
    mut state: State,
    message: PeerMessage,
) -> Result<State, MatchError> {
    match message {
        PeerMessage::Blinded(points) => {
            let (state, reply) = off_thread(move || {
                let reply = state.evaluate.reply(&points);
                (state, reply)
            })
            .await?;
            link.send(&PeerMessage::Evaluated(reply?), Phase::Points)
                .await?;
            Ok(state)
        }
        PeerMessage::Evaluated(points) => {
            let (mut state, taken) = off_thread(move || {
                let taken = state.query.accept_reply(&points);
                (state, taken)
            })
            .await?;
            taken?;
            state.unanswered = state.unanswered.saturating_sub(1);
            Ok(state)
        }
        PeerMessage::Hello(_) | PeerMessage::Abort(_) => {
            Err(MatchError::Misbehaved("it greets a second time".to_owned()))
        }
    }
}

/// Runs what keeps all cores busy apart from the threads that move messages.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, MatchError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| MatchError::Internal("a worker thread failed".to_owned()))
}

impl From<dh::Error> for MatchError {
    fn from(error: dh::Error) -> Self {
        match error {
            dh::Error::Peer(fault) => Self::Misbehaved(fault.to_string()),
            dh::Error::Misuse(misuse) => Self::Internal(misuse.to_string()),
        }
    }
}
