//! Listening for flows, over lost connections, and running them side by side.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use counterfoil_policy::request::{REQUEST_BYTES_MAX, SignedRequest};
use counterfoil_policy::text::FlowId;
use counterfoil_proto::v1::{ListenRequest, Offer};
use futures_util::FutureExt as _;
use rand::RngExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use crate::agreements;
use crate::error::{Error, Result};
use crate::flow::shard::Shard;
use crate::flow::{Backoff, is_passing};
use crate::home::Home;
use crate::transport::{Broker, call};

use super::attempts;
use super::flow::{self, OwnerFlow};
use super::serve_lock::ServeLock;
use super::{FlowEvent, OnEvent, ServeEvent, ServeOptions};

/// Longest wait between two tries to connect.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A connection that lasted this long was a good one: the next wait begins small again.
const GOOD: Duration = Duration::from_secs(60);

/// Offers that wait for a free place; the broker could otherwise fill the memory with them.
const WAITING_MAX: usize = 64;

/// Serves flows until `shutdown` resolves; running flows then have [`ServeOptions::grace`] to finish. A lost
/// connection is made again for ever.
///
/// # Errors
/// [`Error::Busy`] if this home is served already; [`Error::NotJoined`] and what else this machine lacks;
/// [`Error::Revoked`], [`Error::NotTheBroker`] and other answers that trying again does not change.
pub async fn serve(
    home: Arc<Home>,
    options: ServeOptions,
    events: OnEvent,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let _lock = ServeLock::take(&home, options.shard)?;
    attempts::forget_old(&home)?;
    tell_unfit(&home, &events);
    let mut service = Service {
        places: Arc::new(Semaphore::new(options.flows_max.max(1))),
        flows: JoinSet::new(),
        taken: Arc::default(),
        shard: options.shard,
        home,
        events,
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let served = service.listen_for_ever(shutdown.as_mut()).await;
    service.stop(options.grace).await;
    served
}

/// What would be found out by the first flow, told before. A flow reads the datasets anew, so they can be corrected while
/// this runs.
fn tell_unfit(home: &Home, events: &OnEvent) {
    match agreements::unfit(home) {
        Ok(all) => {
            for unfit in all {
                events(ServeEvent::Unfit {
                    agreement: Some(unfit.id.to_string()),
                    why: unfit.why.to_string(),
                });
            }
        }
        Err(error) => events(ServeEvent::Unfit {
            agreement: None,
            why: error.to_string(),
        }),
    }
}

struct Service {
    home: Arc<Home>,
    events: OnEvent,
    places: Arc<Semaphore>,
    flows: JoinSet<()>,
    /// Those that run or wait here: a broker offers them again to an agent that comes back.
    taken: Arc<Mutex<HashSet<FlowId>>>,
    shard: Shard,
}

/// One of [`Service::taken`], until dropped.
struct Taken {
    flow: FlowId,
    of: Arc<Mutex<HashSet<FlowId>>>,
}

impl Taken {
    /// Nothing for a flow that is taken already.
    fn new(flow: FlowId, of: &Arc<Mutex<HashSet<FlowId>>>) -> Option<Self> {
        let new = lock(of).insert(flow);
        new.then(|| Self {
            flow,
            of: Arc::clone(of),
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.of).remove(&self.flow);
    }
}

fn lock(flows: &Mutex<HashSet<FlowId>>) -> MutexGuard<'_, HashSet<FlowId>> {
    // A set is whole whenever its lock is let go.
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    async fn listen_for_ever(
        &mut self,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<()> {
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            let began = Instant::now();
            let error = tokio::select! {
                () = &mut shutdown => return Ok(()),
                error = self.listen() => error,
            };
            if !is_passing(&error) && !matches!(error, Error::Unexpected(_)) {
                return Err(error);
            }
            if began.elapsed() >= GOOD {
                backoff = Backoff::new(RETRY_MAX);
            }
            // Up to a quarter more, so that the agents of a restarted broker do not come all at once.
            let wait = backoff
                .step()
                .mul_f64(1.0 + rand::rng().random_range(0.0..0.25));
            let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            (self.events)(ServeEvent::Lost {
                why: error.to_string(),
                retry_in_ms,
            });
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }

    /// Listens on one connection; ends with what ended it.
    async fn listen(&mut self) -> Error {
        let (broker, mut offers) = match self.connect().await {
            Ok(connected) => connected,
            Err(error) => return error,
        };
        loop {
            tokio::select! {
                offer = offers.message() => match offer {
                    Ok(Some(offer)) => self.take(&broker, offer).await,
                    Ok(None) => return Error::ConnectionLost("the broker ended the connection".to_owned()),
                    Err(status) => return status.into(),
                },
                Some(_) = self.flows.join_next(), if !self.flows.is_empty() => {}
            }
        }
    }

    async fn connect(&self) -> Result<(Broker, Streaming<Offer>)> {
        let broker = Broker::connect(&self.home).await?;
        let request = ListenRequest {
            shard: self.shard.index(),
            shards: self.shard.count(),
        };
        let offers = call(broker.flows().listen(request)).await?;
        (self.events)(ServeEvent::Connected {
            address: broker.address().to_owned(),
        });
        Ok((broker, offers))
    }

    async fn take(&mut self, broker: &Broker, offer: Offer) {
        let request = match read_offer(&offer) {
            Ok(request) => request,
            Err(why) => return (self.events)(ServeEvent::Unreadable { why }),
        };
        let Some(taken) = Taken::new(request.unverified().flow, &self.taken) else {
            return;
        };
        let flow = OwnerFlow::new(
            Arc::clone(&self.home),
            broker.clone(),
            Arc::clone(&self.events),
            request,
            self.shard,
        );
        if self.flows.len() >= WAITING_MAX {
            return flow.decline_busy().await;
        }
        let places = Arc::clone(&self.places);
        self.flows.spawn(async move {
            let _taken = taken;
            let Ok(_place) = places.acquire().await else {
                return;
            };
            run(flow).await;
        });
    }

    async fn stop(&mut self, grace: Duration) {
        while self.flows.try_join_next().is_some() {}
        (self.events)(ServeEvent::Stopping {
            running: self.flows.len(),
        });
        // What has not ended then is cut, and goes on when this home is served again.
        drop(
            timeout(grace, async {
                while self.flows.join_next().await.is_some() {}
            })
            .await,
        );
        self.flows.shutdown().await;
    }
}

fn read_offer(offer: &Offer) -> std::result::Result<SignedRequest, String> {
    if offer.signed_request.len() > REQUEST_BYTES_MAX {
        return Err(format!("a request of {} bytes", offer.signed_request.len()));
    }
    SignedRequest::from_json(&offer.signed_request).map_err(|error| error.to_string())
}

/// A panic of one flow is that flow's end and nothing else's: it shares no state that it could leave half changed
/// but files, which are replaced whole.
async fn run(flow: OwnerFlow) {
    let tell = flow.teller();
    let ended = match AssertUnwindSafe(flow::run(flow)).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => FlowEvent::Ended {
            code: error.code().to_owned(),
            message: error.to_string(),
        },
        Err(_) => FlowEvent::Ended {
            code: "panic".to_owned(),
            message: "this program failed in this flow; the service goes on".to_owned(),
        },
    };
    tell(ended);
}

#[cfg(test)]
mod tests;
