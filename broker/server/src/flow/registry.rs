//! Flows that run just now, and agents that listen. In memory only: after a restart the log says what has to be closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use counterfoil_audit::entry::FlowGranted;
use counterfoil_audit::entry::{Digest, FlowId, OrgName};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::request::VerifiedRequest;
use counterfoil_proto::v1::Offer;
use counterfoil_proto::v1::flow_status::Stage;
use counterfoil_psi::Role;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::budget::Budget;
use super::relay::{Relay, RelayEnd};
use super::submission::Submission;

/// Offers that wait for one agent.
const OFFERS_MAX: usize = 16;
/// Both agents may still be reading their files.
const IDLE_BEFORE_RELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// Both agents have begun; then something happens all the time.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// The largest flow (ten million identifiers on each side) takes some hours on one core; an agent that sends a frame now
/// and then holds its flow no longer.
const LIFE_MAX: Duration = Duration::from_secs(12 * 3600);
/// Joins at one time: each keeps a core busy, and some tens of bytes a row beside the submissions.
const JOINS_MAX: usize = 2;

/// Running flows and listening agents.
pub(crate) struct Registry {
    /// Memory for submissions.
    pub(crate) budget: Arc<Budget>,
    /// Turns for joining.
    pub(crate) joins: Semaphore,
    running: Mutex<HashMap<FlowId, Arc<Running>>>,
    listeners: Mutex<HashMap<OrgName, Offers>>,
}

/// Where an agent's offers go. Closed once the agent has left.
type Offers = mpsc::Sender<Result<Offer, Status>>;

/// One running flow.
pub(crate) struct Running {
    pub(crate) grant: FlowGranted,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) request: VerifiedRequest,
    stage: watch::Sender<Stage>,
    ended: CancellationToken,
    inner: Mutex<Inner>,
}

struct Inner {
    relay: Relay,
    relays_open: u8,
    /// Where it was offered, until the owner's agent has come to the relay.
    offered: Option<mpsc::WeakSender<Result<Offer, Status>>>,
    rows: Slot,
    keys: Slot,
    /// Its grant is durable: only then does anybody get at the flow.
    admitted: bool,
    began: Instant,
    active: Instant,
}

/// One side's submission.
enum Slot {
    Empty,
    /// Somebody is sending it: a second sender is refused.
    Taken,
    Full(Submission),
    /// Handed to the join.
    Used,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            budget: Arc::default(),
            joins: Semaphore::new(JOINS_MAX),
            running: Mutex::default(),
            listeners: Mutex::default(),
        }
    }
}

impl Registry {
    /// Enters a flow whose grant is being recorded: it is counted, and a revocation finds it, but nobody gets at it
    /// before [`Registry::admit`].
    pub(crate) fn start(
        &self,
        grant: FlowGranted,
        agreement: Arc<Agreement>,
        request: VerifiedRequest,
    ) {
        let rows_max = u64::from(agreement.caps().rows_per_flow);
        let flow = grant.flow;
        let now = Instant::now();
        let running = Arc::new(Running {
            grant,
            agreement,
            request,
            stage: watch::Sender::new(Stage::Granted),
            ended: CancellationToken::new(),
            inner: Mutex::new(Inner {
                relay: Relay::new(rows_max),
                relays_open: 0,
                offered: None,
                rows: Slot::Empty,
                keys: Slot::Empty,
                admitted: false,
                began: now,
                active: now,
            }),
        });
        lock(&self.running).insert(flow, running);
    }

    /// The flow's grant is durable; false if the flow has ended already.
    pub(crate) fn admit(&self, flow: FlowId) -> bool {
        let running = lock(&self.running).get(&flow).cloned();
        running.is_some_and(|running| {
            let mut inner = running.inner();
            inner.admitted = true;
            inner.active = Instant::now();
            true
        })
    }

    /// A running flow.
    pub(crate) fn get(&self, flow: FlowId) -> Option<Arc<Running>> {
        let running = lock(&self.running).get(&flow).cloned()?;
        let admitted = running.inner().admitted;
        admitted.then_some(running)
    }

    /// Forgets a flow whose end is durable, which cuts its streams and wakes its watchers; they find its end in the log.
    pub(crate) fn end(&self, flow: FlowId) {
        let running = lock(&self.running).remove(&flow);
        if let Some(running) = running {
            running.close();
        }
    }

    /// How many flows run that an institution is part of.
    pub(crate) fn count(&self, org: &OrgName) -> usize {
        lock(&self.running)
            .values()
            .filter(|flow| flow.grant.source.org == *org || flow.grant.recipient.org == *org)
            .count()
    }

    /// Flows in which nothing has happened for too long.
    pub(crate) fn idle(&self) -> Vec<FlowId> {
        lock(&self.running)
            .iter()
            .filter(|(_, flow)| flow.is_idle())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Flows whose owner's agent took the offer and left before it came to the relay. What it read is gone with it, and the
    /// recipient would wait for nobody.
    pub(crate) fn deserted(&self) -> Vec<FlowId> {
        lock(&self.running)
            .iter()
            .filter(|(_, flow)| flow.is_deserted())
            .map(|(id, _)| *id)
            .collect()
    }

    /// The running flows, each with its agreement's digest.
    pub(crate) fn agreements(&self) -> Vec<(FlowId, Digest)> {
        lock(&self.running)
            .iter()
            .map(|(id, flow)| (*id, flow.grant.agreement.sha256))
            .collect()
    }

    /// The running flows of which this holds.
    pub(crate) fn matching(&self, is: impl Fn(&FlowGranted) -> bool) -> Vec<FlowId> {
        lock(&self.running)
            .iter()
            .filter(|(_, flow)| is(&flow.grant))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Registers an agent that waits for offers. A newer one takes the place of an older, which may hang on a dead
    /// connection.
    pub(crate) fn listen(&self, org: OrgName) -> mpsc::Receiver<Result<Offer, Status>> {
        let (sender, receiver) = mpsc::channel(OFFERS_MAX);
        lock(&self.listeners).insert(org, sender);
        receiver
    }

    /// The institution's agent waits for offers.
    pub(crate) fn is_listening(&self, org: &OrgName) -> bool {
        lock(&self.listeners)
            .get(org)
            .is_some_and(|sender| !sender.is_closed())
    }

    /// Hands the offer of a flow to an agent; false if none takes it.
    pub(crate) fn offer(&self, flow: FlowId, org: &OrgName, offer: Offer) -> bool {
        let running = lock(&self.running).get(&flow).cloned();
        let listeners = lock(&self.listeners);
        let Some(sender) = listeners.get(org) else {
            return false;
        };
        if let Some(running) = running {
            running.inner().offered = Some(sender.downgrade());
        }
        sender.try_send(Ok(offer)).is_ok()
    }

    /// Ends the listening of a revoked institution.
    pub(crate) fn stop_listening(&self, org: &OrgName) {
        lock(&self.listeners).remove(org);
    }
}

impl Running {
    /// The side on which an institution stands.
    pub(crate) fn role(&self, org: &OrgName) -> Option<Role> {
        if self.grant.source.org == *org {
            Some(Role::Owner)
        } else if self.grant.recipient.org == *org {
            Some(Role::Recipient)
        } else {
            None
        }
    }

    /// Takes one side's end of the relay, once.
    pub(crate) fn open_relay(&self, role: Role) -> Option<RelayEnd> {
        let mut inner = self.inner();
        let end = inner.relay.take(role)?;
        inner.relays_open += 1;
        if role == Role::Owner {
            inner.offered = None;
        }
        if inner.relays_open == 2 {
            self.advance(Stage::Matching);
        }
        Some(end)
    }

    /// Reserves a side's submission; false if it was made or is being made.
    pub(crate) fn reserve(&self, role: Role) -> bool {
        let mut inner = self.inner();
        let slot = inner.slot(role);
        let free = matches!(slot, Slot::Empty);
        if free {
            *slot = Slot::Taken;
        }
        free
    }

    /// Stores a side's submission. With the second one both are returned, the owner's first, and once only.
    pub(crate) fn submit(
        &self,
        role: Role,
        submission: Submission,
    ) -> Option<(Submission, Submission)> {
        let mut inner = self.inner();
        if self.ended.is_cancelled() {
            return None;
        }
        *inner.slot(role) = Slot::Full(submission);
        let both = inner.take_both();
        self.advance(if both.is_some() {
            Stage::Joining
        } else {
            Stage::Submitting
        });
        both
    }

    /// This side has nothing more to do but wait.
    pub(crate) fn has_submitted(&self, role: Role) -> bool {
        matches!(self.inner().slot(role), Slot::Full(_) | Slot::Used)
    }

    /// Cancelled once the flow has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Something happened.
    pub(crate) fn touch(&self) {
        self.inner().active = Instant::now();
    }

    /// Tells the watchers.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Follows the stage; ends when the flow does.
    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    fn is_idle(&self) -> bool {
        let inner = self.inner();
        let joining = matches!(inner.rows, Slot::Used);
        let max = if inner.relays_open < 2 {
            IDLE_BEFORE_RELAY_MAX
        } else {
            IDLE_MAX
        };
        !joining && (inner.active.elapsed() > max || inner.began.elapsed() > LIFE_MAX)
    }

    fn is_deserted(&self) -> bool {
        let inner = self.inner();
        let offers = inner.offered.as_ref().map(mpsc::WeakSender::upgrade);
        offers.is_some_and(|left| left.is_none_or(|offers| offers.is_closed()))
    }

    /// Ends every stream of the flow and lets go of what was submitted.
    fn close(&self) {
        let mut inner = self.inner();
        self.ended.cancel();
        inner.rows = Slot::Used;
        inner.keys = Slot::Used;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn slot(&mut self, role: Role) -> &mut Slot {
        match role {
            Role::Owner => &mut self.rows,
            Role::Recipient => &mut self.keys,
        }
    }

    fn take_both(&mut self) -> Option<(Submission, Submission)> {
        if !matches!((&self.rows, &self.keys), (Slot::Full(_), Slot::Full(_))) {
            return None;
        }
        let rows = std::mem::replace(&mut self.rows, Slot::Used);
        let keys = std::mem::replace(&mut self.keys, Slot::Used);
        match (rows, keys) {
            (Slot::Full(rows), Slot::Full(keys)) => Some((rows, keys)),
            _ => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves the value whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
