//! The exchange of what tokens are made of.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_proto::peer::PeerMessage;
use counterfoil_psi::dh::{CHUNK_POINTS, Progress};
use counterfoil_psi::{
    ExchangeError, IdentifierSet, Message, Protocol, SessionId, Token, TokenExchange,
};
use tokio::time::Instant;

use super::link::{Link, Patience, before};
use super::{Begin, MatchError, MatchProgress, Matched, Met, Phase, leave};

/// Called whenever a message was taken.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(MatchProgress) + Send + Sync);

impl Met {
    /// Runs the protocol that was agreed and gives the token of each item of `items`, in its order.
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
            begin,
            own_set_size,
            peer,
            ..
        } = self;
        let allowed = allowed(link.patience, begin.protocol, own_set_size, peer.set_size);
        let work = async {
            if items.len() as u64 != own_set_size {
                return Err(MatchError::Internal(
                    "the set has another size than was announced".to_owned(),
                ));
            }
            let sizes = [own_set_size, peer.set_size];
            let side = start(session, begin, items, peer.set_size).await?;
            exchange(&mut link, side, sizes, progress).await
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
fn allowed(patience: Patience, protocol: Protocol, own: u64, peer: u64) -> Duration {
    // Beside a chunk for 2,000 items, which `vole` needs fewer of: what it sends whatever the sizes, 2 MB.
    let besides = match protocol {
        Protocol::Dh => 1,
        Protocol::Vole => 64,
    };
    let chunks = (own.saturating_add(peer))
        .div_ceil(CHUNK_POINTS as u64)
        .saturating_add(besides);
    let chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
    patience
        .message
        .saturating_add(patience.chunk.saturating_mul(chunks))
}

async fn start(
    session: SessionId,
    begin: Begin,
    items: Arc<IdentifierSet>,
    peer_items: u64,
) -> Result<TokenExchange, MatchError> {
    // A size that does not fit is over the session's bound too, which the peer is blamed for.
    let peer_items = u32::try_from(peer_items).unwrap_or(u32::MAX);
    let Begin { protocol, role } = begin;
    off_thread(move || {
        let rng = &mut rand::rng();
        Ok(TokenExchange::begin(
            protocol, session, role, items, peer_items, rng,
        )?)
    })
    .await?
}

/// Sends whatever may be sent; then takes one message of the peer. The relay holds two windows in each direction,
/// so that a send blocks only on a peer that does not read.
async fn exchange(
    link: &mut Link,
    mut side: TokenExchange,
    sizes: [u64; 2],
    progress: OnProgress<'_>,
) -> Result<Vec<Token>, MatchError> {
    progress(items_done(&side, sizes));
    loop {
        side = send_all(link, side).await?;
        if side.is_complete() {
            break;
        }
        let message = link.receive(Phase::Points).await?;
        side = take(side, message).await?;
        progress(items_done(&side, sizes));
    }
    off_thread(move || Ok(side.finish()?)).await?
}

async fn send_all(link: &mut Link, mut side: TokenExchange) -> Result<TokenExchange, MatchError> {
    loop {
        let (back, message) = off_thread(move || {
            let message = side.next_message();
            (side, message)
        })
        .await?;
        side = back;
        let Some(message) = message? else {
            return Ok(side);
        };
        let message = match message {
            Message::Blinded(points) => PeerMessage::Blinded(points),
            Message::Evaluated(points) => PeerMessage::Evaluated(points),
            Message::Piece(piece) => PeerMessage::Piece(piece),
        };
        link.send(&message, Phase::Points).await?;
    }
}

async fn take(mut side: TokenExchange, message: PeerMessage) -> Result<TokenExchange, MatchError> {
    let message = match message {
        PeerMessage::Blinded(points) => Message::Blinded(points),
        PeerMessage::Evaluated(points) => Message::Evaluated(points),
        PeerMessage::Piece(piece) => Message::Piece(piece),
        PeerMessage::Hello(_) | PeerMessage::Ready | PeerMessage::Abort(_) => {
            return Err(MatchError::Misbehaved("it greets a second time".to_owned()));
        }
    };
    off_thread(move || {
        side.receive(message)?;
        Ok(side)
    })
    .await?
}

/// Progress in identifiers, of which the protocol's own parts are equal shares.
fn items_done(side: &TokenExchange, [own_total, peer_total]: [u64; 2]) -> MatchProgress {
    let share = |items: u64, Progress { done, total }: Progress| {
        let items_done = u128::from(items) * done as u128 / (total.max(1) as u128);
        u64::try_from(items_done).unwrap_or(items)
    };
    let progress = side.progress();
    MatchProgress {
        own: share(own_total, progress.own),
        own_total,
        peer: share(peer_total, progress.peer),
        peer_total,
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

impl From<ExchangeError> for MatchError {
    fn from(error: ExchangeError) -> Self {
        match error.peer_fault() {
            Some(fault) => Self::Misbehaved(fault),
            None if error.is_chance() => Self::Chance(error.to_string()),
            None => Self::Internal(error.to_string()),
        }
    }
}
