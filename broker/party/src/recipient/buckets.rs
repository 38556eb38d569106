//! The sessions of one flow on the recipient's side: the meeting, then bucket after bucket, until the flow is over.
//!
//! What is to be done next is always asked of the broker, never remembered: a bucket that it joined is done; one of which it has
//! the owner's rows for the session of our map needs only our keys, which it may have lost; any other is matched, afresh. So a
//! broken connection, a killed agent on either side and a restarted broker are all the same case.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::request::VerifiedRequest;
use counterfoil_proto::limits::MEETING;
use counterfoil_proto::v1::BucketState;
use counterfoil_psi::{Protocol, Role};
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::flow::plan::{OWNER_SIZE_MAX, Plan};
use crate::flow::shard::Shard;
use crate::flow::{
    self, Backoff, Ended, Records, Session, Submission, again, come, flow_ref, may_be_repeated,
    session, submit_keys,
};
use crate::home::Home;
use crate::matching::{MatchError, Opening, Patience, PeerSize, Pipe, meet};
use crate::transport::{Broker, call};

use super::brought::Brought;
use super::map::BucketMap;
use super::own::Own;
use super::record::{FlowRecord, Step};
use super::run::millis;
use super::{Durations, OnProgress, Progress};

/// Between two questions how far the buckets are, when all of this process's are joined.
const POLL: Duration = Duration::from_millis(500);

/// Longest wait before a session is tried again.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// What the sessions of a flow need.
pub(super) struct Sessions<'f> {
    pub(super) home: &'f Home,
    pub(super) broker: &'f Broker,
    pub(super) agreement: &'f Agreement,
    pub(super) request: VerifiedRequest,
    pub(super) progress: &'f OnProgress,
    pub(super) keys: session::Keys,
    pub(super) protocol: Protocol,
    pub(super) shard: Shard,
    pub(super) asked: Instant,
    /// The own tags of a measure flow that counts them.
    pub(super) brought: Option<Brought>,
}

impl Sessions<'_> {
    /// Meets, matches and submits until every bucket of this shard is joined, and again if the broker loses one. It ends with an
    /// error that another attempt would not mend; the caller stops it when the flow is over.
    pub(super) async fn run(
        &self,
        record: &mut FlowRecord,
        own: &Own,
        durations: &mut Durations,
    ) -> Error {
        match self.try_run(record, own, durations).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn try_run(
        &self,
        record: &mut FlowRecord,
        own: &Own,
        durations: &mut Durations,
    ) -> Result<std::convert::Infallible> {
        let plan = self.plan(record, own).await?;
        durations.meet_ms = millis(self.asked);
        let set = Arc::clone(&own.set);
        let splitting = plan.clone();
        let parts = flow::off_thread(move || splitting.split(&set, Role::Recipient)).await??;
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            let states = self.states(record).await?;
            let left = |bucket: &u32| {
                self.shard.takes(*bucket) && !states.get(bucket).is_some_and(|state| state.joined)
            };
            let Some(bucket) = (0..plan.buckets()).find(left) else {
                sleep(POLL).await;
                continue;
            };
            let part = usize::try_from(bucket)
                .ok()
                .and_then(|bucket| parts.get(bucket));
            let part = part.map(Vec::as_slice).unwrap_or_default();
            let work = Bucket {
                number: bucket,
                plan: &plan,
                part,
                state: states.get(&bucket),
            };
            match self.bucket(record, own, work, durations).await {
                Ok(true) => {
                    (self.progress)(Progress::Joined { bucket });
                    backoff = Backoff::new(RETRY_MAX);
                }
                Ok(false) => self.interrupted(LOST, &mut backoff).await,
                Err(error) if may_be_repeated(&error) => {
                    self.interrupted(&error.to_string(), &mut backoff).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn interrupted(&self, why: &str, backoff: &mut Backoff) {
        (self.progress)(Progress::Interrupted {
            why: why.to_owned(),
        });
        sleep(backoff.step()).await;
    }

    async fn states(&self, record: &FlowRecord) -> Result<HashMap<u32, BucketState>> {
        let reply = again(|| {
            let mut client = self.broker.flows();
            async move { call(client.buckets(flow_ref(record.flow))).await }
        })
        .await?;
        let states = reply.states.into_iter();
        Ok(states.map(|state| (state.bucket, state)).collect())
    }

    /// The plan that was kept, or the one of a meeting.
    async fn plan(&self, record: &mut FlowRecord, own: &Own) -> Result<Plan> {
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            if let Some(plan) = &record.plan {
                return Ok(plan.clone());
            }
            let session = record.attempt(self.home, MEETING)?;
            match self.meeting(session, own).await {
                Ok(plan) => {
                    record.counts.owner_submitted = plan.size(Role::Owner).into();
                    record.plan = Some(plan);
                    // A crash before this line leaves the owner with a plan that it replaces at the next meeting.
                    record.store(self.home)?;
                }
                Err(error) if may_be_repeated(&error) => {
                    self.interrupted(&error.to_string(), &mut backoff).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn meeting(&self, session: Session, own: &Own) -> Result<Plan> {
        let (pipe, ended) = come(self.broker, self.request.body().flow, session).await?;
        let size = self.request.body().set_size;
        if own.set.len() as u64 > u64::from(size) {
            return Err(Error::Unexpected(
                "there are more own rows than the request says".to_owned(),
            ));
        }
        let checkpoint = session::own_checkpoint(self.home)?;
        let opening = Opening {
            checkpoint: checkpoint.as_deref(),
            peer: PeerSize::AtMost(OWNER_SIZE_MAX.into()),
            ..self.opening(session, None, size.into())
        };
        let met = match meet(opening, pipe).await {
            Ok(met) => session::compare_logs(self.home, self.broker, met).await?,
            Err(error) => return Err(self.broke_off(error, ended).await),
        };
        let owner_size = u32::try_from(met.peer_set_size()).unwrap_or(u32::MAX);
        let plan = Plan::new(&met.bucket_key(), owner_size, size, self.agreement);
        match met.peer_ready().await {
            Ok(()) => {}
            Err(error) => return Err(self.broke_off(error, ended).await),
        }
        (self.progress)(Progress::Met {
            buckets: plan.buckets(),
        });
        Ok(plan)
    }

    /// Gets one bucket joined; false if the owner's agent lost its rows.
    async fn bucket(
        &self,
        record: &mut FlowRecord,
        own: &Own,
        work: Bucket<'_>,
        durations: &mut Durations,
    ) -> Result<bool> {
        let map = match self.kept(record, &work).await? {
            Some(map) => map,
            None => self.match_bucket(record, own, &work, durations).await?,
        };
        let started = Instant::now();
        if record.step == Step::Requested {
            // From here on the flow may be released at any moment.
            record.advance(self.home, Step::Submitting)?;
        }
        let submission = Submission {
            flow: record.flow,
            session: map.session,
            count: map.len() as u64,
            bucket: work.number,
            buckets: work.plan.buckets(),
        };
        let (progress, total) = (Arc::clone(self.progress), submission.count);
        let tell = move |done| progress(Progress::Submitting { done, total });
        let joined = submit_keys(
            self.broker,
            &submission,
            self.brought.as_ref().map(Brought::layout),
            Keys { map, slot: 0 },
            tell,
        )
        .await;
        durations.submit_ms += millis(started);
        joined
    }

    /// The map of a bucket of which the broker has the owner's rows for the same session.
    async fn kept(&self, record: &FlowRecord, work: &Bucket<'_>) -> Result<Option<BucketMap>> {
        let Some(state) = work.state else {
            return Ok(None);
        };
        let (home, flow, number) = (self.home.path().to_owned(), record.flow, work.number);
        let map = flow::off_thread(move || BucketMap::load(&home, flow, number)).await??;
        Ok(map.filter(|map| state.session == map.session.as_bytes()))
    }

    async fn match_bucket(
        &self,
        record: &mut FlowRecord,
        own: &Own,
        work: &Bucket<'_>,
        durations: &mut Durations,
    ) -> Result<BucketMap> {
        let session = record.attempt(self.home, work.number)?;
        let (pipe, ended) = come(self.broker, record.flow, session).await?;
        let started = Instant::now();
        let matched = self.matched(session, own, work, pipe, ended).await?;
        durations.match_ms += millis(started);
        let started = Instant::now();
        let (home, flow, number) = (self.home.path().to_owned(), record.flow, work.number);
        let part = work.part.to_vec();
        // Before the first key leaves: a crash before this leaves a session of which nobody else has anything.
        let sealing = match &self.brought {
            None => None,
            Some(brought) => Some(brought.sealing(self.agreement, &part)?),
        };
        let map = flow::off_thread(move || {
            let map = match sealing {
                None => BucketMap::new(matched.session, &part, matched.tokens),
                Some(sealing) => sealing.map(matched.session, &part, matched.tokens)?,
            };
            map.write(&home, flow, number).map(|()| map)
        })
        .await??;
        durations.submit_ms += millis(started);
        Ok(map)
    }

    async fn matched(
        &self,
        session: Session,
        own: &Own,
        work: &Bucket<'_>,
        pipe: Pipe,
        ended: Ended,
    ) -> Result<crate::matching::Matched> {
        let slots = work.plan.slots(Role::Recipient);
        let items = {
            let (set, part) = (Arc::clone(&own.set), work.part.to_vec());
            let slots = usize::try_from(slots).unwrap_or(usize::MAX);
            flow::off_thread(move || set.part(&part, slots, &mut rand::rng())).await?
        };
        let items = Arc::new(items.map_err(|e| Error::Unexpected(e.to_string()))?);
        let opening = Opening {
            peer: PeerSize::Exactly(work.plan.slots(Role::Owner).into()),
            ..self.opening(session, Some(work.plan), slots.into())
        };
        let met = match meet(opening, pipe).await {
            Ok(met) => met,
            Err(error) => return Err(self.broke_off(error, ended).await),
        };
        let tell = |step| (self.progress)(Progress::Matching(step));
        match met.run(items, &tell).await {
            Ok(matched) => Ok(matched),
            Err(error) => Err(self.broke_off(error, ended).await),
        }
    }

    fn opening(&self, session: Session, plan: Option<&Plan>, set_size: u64) -> Opening<'_> {
        Opening {
            role: Role::Recipient,
            statics: self.keys.statics(),
            binding: session::binding(self.agreement, &self.request, plan, session),
            protocol: self.protocol,
            set_size,
            checkpoint: None,
            peer: PeerSize::Exactly(0),
            patience: Patience::WAITING,
        }
    }

    async fn broke_off(&self, error: MatchError, ended: Ended) -> Error {
        flow::explain(error, ended, self.agreement.owner().name.as_str()).await
    }
}

const LOST: &str = "the owner's agent was interrupted before its rows were in";

/// One bucket to get joined.
struct Bucket<'b> {
    number: u32,
    plan: &'b Plan,
    /// Own rows in it.
    part: &'b [u32],
    /// What the broker has of it.
    state: Option<&'b BucketState>,
}

/// Match id and the key of the owner's row for each slot.
struct Keys {
    map: BucketMap,
    slot: usize,
}

impl Records for Keys {
    fn record_bytes(&self) -> usize {
        self.map.record_bytes()
    }

    fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        let Some(record) = self.map.key_record(self.slot) else {
            return Ok(false);
        };
        piece.extend_from_slice(record);
        self.slot += 1;
        Ok(true)
    }
}
