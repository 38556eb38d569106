//! Flows that run just now, and agents that listen. In memory; what a restart needs of them is on disk ([`super::running_files`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use counterfoil_audit::entry::FlowGranted;
use counterfoil_audit::entry::{Digest, FlowId, OrgName};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::measure::{Plan, Tally};
use counterfoil_policy::request::VerifiedRequest;
use counterfoil_proto::v1::Offer;
use counterfoil_proto::v1::flow_status::Stage;
use counterfoil_psi::{Role, SessionId};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::buckets::Buckets;
use super::budget::{Budget, FlowShare, Need, NoRoom, Room};
use super::canaries::Canaries;
use super::join::{Common, Gathered};
use super::rendezvous::{End, NoSession, Rendezvous, Session, Shard};

/// Offers that wait for one agent.
const OFFERS_MAX: usize = 16;
/// The owner's agent may still be reading its files; so it may after it was restarted.
const IDLE_BEFORE_MATCHING_MAX: Duration = Duration::from_secs(15 * 60);
/// Both agents are at it; then something happens all the time.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// An agent of which nothing is open has left. Before the two agents have met there is nothing to come back for.
const ABSENT_MAX: Duration = Duration::from_secs(60);
/// It may come back, and go on with the buckets that are missing.
const RESUME_MAX: Duration = Duration::from_secs(15 * 60);
/// The largest flow (2^24 identifiers on each side) takes some hours on one core; an agent that sends a frame now
/// and then holds its flow no longer.
const LIFE_MAX: Duration = Duration::from_secs(12 * 3600);
/// Between two offers of a flow to an agent that takes no part in it.
const OFFER_AGAIN: Duration = Duration::from_secs(2);
/// How long keys wait for rows of an owner's agent that has left: it may have been cut off and come back with them.
const ROWS_WAIT: Duration = Duration::from_secs(5);
/// Joins at one time: each keeps a core busy, and some tens of bytes a row beside the submissions.
const JOINS_MAX: usize = 2;

/// Running flows and listening agents.
pub(crate) struct Registry {
    /// Room for what flows bring.
    pub(crate) budget: Arc<Budget>,
    /// Turns for joining.
    pub(crate) joins: Semaphore,
    running: Mutex<HashMap<FlowId, Arc<Running>>>,
    /// The processes of each institution's agent.
    listeners: Mutex<HashMap<OrgName, Vec<(Shard, Offers)>>>,
}

/// Where an agent's offers go. Closed once the agent has left.
type Offers = mpsc::Sender<Result<Offer, Status>>;

/// One running flow.
pub(crate) struct Running {
    pub(crate) grant: FlowGranted,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) request: VerifiedRequest,
    /// What a measure flow counts.
    pub(crate) plan: Option<Plan>,
    /// What the owner committed to, before anything was matched.
    pub(crate) canaries: OnceLock<Canaries>,
    /// The opened rows of the buckets that are joined, or their counts. A lock of its own, which a join holds for long.
    pub(crate) common: Mutex<Gathered>,
    /// Held while a bucket's rows are written.
    pub(crate) storing: tokio::sync::Mutex<()>,
    /// What is set aside for it, once it is known how many rows the owner brings.
    share: Mutex<Option<FlowShare>>,
    offer: Offer,
    stage: watch::Sender<Stage>,
    ended: CancellationToken,
    /// Rows came, or an owner's agent that might have sent some.
    changed: Notify,
    inner: Mutex<Inner>,
}

struct Inner {
    rendezvous: Rendezvous,
    buckets: Buckets,
    /// Both agents have met for a session.
    matching: bool,
    /// All buckets are joined: what remains is the broker's own work.
    completing: bool,
    owner: Attendance,
    recipient: Attendance,
    /// Its grant is durable: only then does anybody get at the flow.
    admitted: bool,
    began: Instant,
    active: Instant,
    /// When it was last offered again.
    offered: Instant,
}

/// Streams of a flow that an agent has open.
struct Attendance {
    open: usize,
    /// Since when there is none.
    left: Instant,
}

/// One open stream; counted until dropped.
pub(crate) struct Present {
    running: Arc<Running>,
    role: Role,
}

impl Registry {
    /// No flows; they may take so much of this machine.
    pub(crate) fn new(room: Room) -> Self {
        Self {
            budget: Arc::new(Budget::new(room)),
            joins: Semaphore::new(JOINS_MAX),
            running: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    /// Enters a flow whose grant is being recorded: it is counted, and a revocation finds it, but nobody gets at it
    /// before [`Registry::admit`].
    pub(crate) fn start(
        &self,
        grant: FlowGranted,
        agreement: Arc<Agreement>,
        request: VerifiedRequest,
        offer: Offer,
    ) {
        let rows_max = u64::from(agreement.caps().rows_per_flow);
        let size = request.body().set_size;
        let bucket_rows = agreement.caps().bucket_rows;
        let plan = plan_of(&agreement, &request);
        let common = match &plan {
            Some(plan) => Gathered::Counts(Tally::new(plan.clone())),
            None => {
                let tags = request.body().tags.iter();
                let mark_bits = agreement.mark_bits(&request.body().tags);
                let tags = tags.filter_map(|name| agreement.tag(name));
                Gathered::Rows(Common::new(tags, mark_bits))
            }
        };
        let flow = grant.flow;
        let now = Instant::now();
        let attendance = || Attendance { open: 0, left: now };
        let running = Arc::new(Running {
            grant,
            agreement,
            request,
            plan,
            canaries: OnceLock::new(),
            common: Mutex::new(common),
            storing: tokio::sync::Mutex::default(),
            share: Mutex::default(),
            offer,
            stage: watch::Sender::new(Stage::Granted),
            ended: CancellationToken::new(),
            changed: Notify::new(),
            inner: Mutex::new(Inner {
                rendezvous: Rendezvous::new(rows_max),
                buckets: Buckets::new(size, bucket_rows),
                matching: false,
                completing: false,
                owner: attendance(),
                recipient: attendance(),
                admitted: false,
                began: now,
                active: now,
                offered: now,
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

    /// A running flow whose end is being recorded, admitted or not.
    pub(crate) fn ending(&self, flow: FlowId) -> Option<Arc<Running>> {
        lock(&self.running).get(&flow).cloned()
    }

    /// Forgets a flow whose end is durable, which cuts its streams and wakes its watchers; they find its end in the log.
    pub(crate) fn end(&self, flow: FlowId) {
        let running = lock(&self.running).remove(&flow);
        if let Some(running) = running {
            running.close();
        }
    }

    /// How many flows run that an institution is part of, and whose recipient is there or was a moment ago: one that was
    /// killed does not keep the others from being asked for.
    pub(crate) fn count(&self, org: &OrgName) -> usize {
        lock(&self.running)
            .values()
            .filter(|flow| flow.grant.source.org == *org || flow.grant.recipient.org == *org)
            .filter(|flow| !flow.inner().recipient.is_away_for(ABSENT_MAX))
            .count()
    }

    /// Flows that go on no more, each with the reason.
    pub(crate) fn stale(&self) -> Vec<(FlowId, &'static str)> {
        let listening = |org: &OrgName| self.is_listening(org);
        let stale = |flow: &Arc<Running>| flow.why_stale(listening(&flow.grant.source.org));
        let flows: Vec<_> = lock(&self.running).values().cloned().collect();
        flows
            .iter()
            .filter_map(|flow| Some((flow.grant.flow, stale(flow)?)))
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

    /// Registers a process of an agent that waits for offers, and offers it the flows again that run: it may have been
    /// restarted, and one that takes part in a flow already lets its offer be. A newer process takes the place of an older one of
    /// the same shard, which may hang on a dead connection.
    pub(crate) fn listen(
        &self,
        org: OrgName,
        shard: Shard,
    ) -> mpsc::Receiver<Result<Offer, Status>> {
        let (sender, receiver) = mpsc::channel(OFFERS_MAX);
        let running: Vec<_> = lock(&self.running).values().cloned().collect();
        let mut listeners = lock(&self.listeners);
        for flow in running.iter().filter(|flow| flow.grant.source.org == org) {
            // One that does not fit any more is offered at the next reconnection, or is over by then.
            if flow.inner().admitted {
                let _ = sender.try_send(Ok(flow.offer.clone()));
            }
        }
        let processes = listeners.entry(org).or_default();
        processes.retain(|(other, sender)| *other != shard && !sender.is_closed());
        processes.push((shard, sender));
        receiver
    }

    /// The institution's agent waits for offers.
    pub(crate) fn is_listening(&self, org: &OrgName) -> bool {
        let listeners = lock(&self.listeners);
        let mut processes = listeners.get(org).into_iter().flatten();
        processes.any(|(_, sender)| !sender.is_closed())
    }

    /// Offers flows again whose owner's agent takes no part in them: it may have come back before it was seen to leave. An agent
    /// that is still reading its files has them already, and lets the offer be.
    pub(crate) fn offer_again(&self) {
        let flows: Vec<_> = lock(&self.running).values().cloned().collect();
        for flow in flows.iter().filter(|flow| flow.awaits_owner()) {
            self.offer(flow.grant.flow);
        }
    }

    /// Hands the offer of a flow to all processes of its owner's agent; false if none takes it.
    pub(crate) fn offer(&self, flow: FlowId) -> bool {
        let Some(running) = lock(&self.running).get(&flow).cloned() else {
            return false;
        };
        let listeners = lock(&self.listeners);
        let processes = listeners.get(&running.grant.source.org);
        let taken = processes.into_iter().flatten().filter(|(_, sender)| {
            let offer = running.offer.clone();
            sender.try_send(Ok(offer)).is_ok()
        });
        taken.count() > 0
    }

    /// Ends the listening of a revoked institution.
    pub(crate) fn stop_listening(&self, org: &OrgName) {
        lock(&self.listeners).remove(org);
    }
}

/// What a measure flow counts. The request was decided on, so it fits its agreement.
fn plan_of(agreement: &Agreement, request: &VerifiedRequest) -> Option<Plan> {
    Plan::new(agreement, request.body().measure.as_ref()?).ok()
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

    /// Notes that an agent has a stream of the flow open.
    pub(crate) fn attend(self: &Arc<Self>, role: Role) -> Present {
        self.inner().attendance(role).open += 1;
        Present {
            running: self.clone(),
            role,
        }
    }

    /// The recipient comes for a session. Nobody comes for a bucket that is joined.
    pub(crate) fn come(&self, session: Session) -> Result<End, NoSession> {
        let mut inner = self.inner();
        if inner.buckets.is_taken(session.bucket) {
            return Err(NoSession::Repeated);
        }
        let (end, met) = inner.rendezvous.come(session)?;
        inner.buckets.supersede(session.bucket);
        inner.active = Instant::now();
        if met {
            self.met(&mut inner);
        }
        Ok(end)
    }

    /// The owner waits for a session of its shard.
    pub(crate) fn wait(&self, shard: Shard) -> oneshot::Receiver<End> {
        let mut inner = self.inner();
        inner.active = Instant::now();
        let (end, met) = inner.rendezvous.wait(shard);
        if met {
            self.met(&mut inner);
        }
        // Keys that wait for rows of this process wait in vain.
        self.changed.notify_waiters();
        end
    }

    /// Sets aside what the flow needs, once.
    pub(crate) fn make_room(&self, budget: &Arc<Budget>, need: Need) -> Result<(), NoRoom> {
        let mut share = lock(&self.share);
        if share.is_none() {
            *share = Some(budget.take_for_flow(&self.grant.source.org, need)?);
        }
        Ok(())
    }

    fn met(&self, inner: &mut Inner) {
        if !inner.matching {
            inner.matching = true;
            self.advance(Stage::Matching);
        }
    }

    /// Looks at the buckets, or changes them.
    pub(crate) fn buckets<T>(&self, with: impl FnOnce(&mut Buckets) -> T) -> T {
        with(&mut self.inner().buckets)
    }

    /// The rows of a bucket are on disk, or will not come.
    pub(crate) fn received(&self, bucket: u32, session: Option<SessionId>) {
        self.inner().buckets.received(bucket, session);
        if session.is_some() {
            self.advance(Stage::Submitting);
        }
        self.changed.notify_waiters();
    }

    /// A bucket was joined; true with the last one, and once only.
    pub(crate) fn joined(&self, bucket: u32, session: SessionId) -> bool {
        let mut inner = self.inner();
        let last = inner.buckets.joined(bucket, session) && !inner.completing;
        if last {
            inner.completing = true;
            self.advance(Stage::Joining);
        }
        self.changed.notify_waiters();
        last
    }

    /// Whether rows of a session may still come: they are on their way, or the owner's agent is there and not free for
    /// another session of the bucket.
    pub(crate) fn rows_may_come(&self, bucket: u32, session: SessionId) -> bool {
        let inner = self.inner();
        inner.buckets.has_rows(bucket, session)
            || inner.buckets.is_taken(bucket)
            || !(inner.rendezvous.owner_is_free_for(bucket) || inner.owner.is_away_for(ROWS_WAIT))
    }

    /// Resolves when something has changed of what [`Running::rows_may_come`] looks at, or a while has passed.
    pub(crate) async fn change(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(500), self.changed.notified()).await;
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

    /// Whether the agents have met, or something of a bucket is here; also if that cannot be known after a restart.
    pub(crate) fn has_met(&self) -> bool {
        let inner = self.inner();
        inner.matching || inner.buckets.has_begun() || inner.buckets.opened()
    }

    /// Follows the stage; ends when the flow does.
    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Whether it is time to offer the flow again.
    fn awaits_owner(&self) -> bool {
        let mut inner = self.inner();
        let due = inner.admitted
            && inner.owner.is_away_for(OFFER_AGAIN)
            && inner.offered.elapsed() > OFFER_AGAIN;
        if due {
            inner.offered = Instant::now();
        }
        due
    }

    fn why_stale(&self, owner_listens: bool) -> Option<&'static str> {
        let inner = self.inner();
        if inner.completing || !inner.admitted {
            return None;
        }
        // From their first session on a recipient that was killed has something to resume.
        let patience = if inner.matching || inner.buckets.has_begun() || inner.buckets.opened() {
            RESUME_MAX
        } else {
            ABSENT_MAX
        };
        let idle_max = if inner.rendezvous.awaits_owner() || !inner.matching {
            IDLE_BEFORE_MATCHING_MAX
        } else if inner.buckets.has_begun() || inner.recipient.open == 0 {
            IDLE_MAX.max(patience)
        } else {
            IDLE_MAX
        };
        if inner.began.elapsed() > LIFE_MAX || inner.active.elapsed() > idle_max {
            Some("nothing came from an agent for too long")
        } else if inner.recipient.is_away_for(patience) {
            Some("the connection to the recipient's agent was lost, and it did not come back")
        } else if !owner_listens && inner.owner.is_away_for(patience) {
            Some("the connection to the owner's agent was lost, and it did not come back")
        } else {
            None
        }
    }

    /// Ends every stream of the flow.
    fn close(&self) {
        self.ended.cancel();
        self.changed.notify_waiters();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn attendance(&mut self, role: Role) -> &mut Attendance {
        match role {
            Role::Owner => &mut self.owner,
            Role::Recipient => &mut self.recipient,
        }
    }
}

impl Attendance {
    fn is_away_for(&self, long: Duration) -> bool {
        self.open == 0 && self.left.elapsed() > long
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut inner = self.running.inner();
        let attendance = inner.attendance(self.role);
        attendance.open = attendance.open.saturating_sub(1);
        attendance.left = Instant::now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves the value whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
