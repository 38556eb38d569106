//! The sessions of one flow on the owner's side: whatever the recipient comes for, until the flow is over.

use std::sync::Arc;

use counterfoil_proto::limits::MEETING;
use counterfoil_psi::{PayloadLength, Role, RowContext};
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::flow::plan::{Plan, owner_size};
use crate::flow::shard::Shard;
use crate::flow::{
    Backoff, Ended, RowsOf, Session, Submission, explain, may_be_repeated, off_thread, session,
    submit_rows, wait,
};
use crate::matching::{Matched, Met, Opening, Patience, PeerSize, Pipe, meet};

use super::FlowEvent;
use super::attempts::{Attempts, NoAttempt};
use super::canaries::Committed;
use super::dataset::Prepared;
use super::flow::{Accepted, OwnerFlow};
use super::rows::SealedRows;

/// Longest wait before the relay is tried again.
const RETRY_MAX: std::time::Duration = std::time::Duration::from_secs(4);

/// What the sessions of a flow need.
pub(super) struct Sessions<'f> {
    flow: &'f OwnerFlow,
    accepted: &'f Accepted,
    prepared: Arc<Prepared>,
    shard: Shard,
    attempts: Attempts,
    /// Rows of each bucket, once there is a plan.
    parts: Vec<Vec<u32>>,
}

/// A session's way to the recipient.
struct Way {
    pipe: Pipe,
    ended: Ended,
}

impl<'f> Sessions<'f> {
    /// # Errors
    /// What is kept of the flow cannot be read, or is gone.
    pub(super) async fn new(
        flow: &'f OwnerFlow,
        accepted: &'f Accepted,
        prepared: Prepared,
        _committed: Committed,
        shard: Shard,
    ) -> Result<Self> {
        Ok(Self {
            flow,
            accepted,
            prepared: Arc::new(prepared),
            shard,
            attempts: kept(flow, accepted).await?,
            parts: Vec::new(),
        })
    }

    /// Reads again what is kept: another process of this home may have met the recipient, or counted attempts.
    async fn refresh(&mut self) -> Result<()> {
        let kept = kept(self.flow, self.accepted).await?;
        if kept.plan() != self.attempts.plan() {
            self.parts = Vec::new();
        }
        self.attempts = kept;
        Ok(())
    }

    /// Carries out one session after the other. It ends with an error that another attempt would not mend; the caller stops
    /// it when the flow is over.
    pub(super) async fn run(mut self) -> Error {
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            match wait(&self.flow.broker, self.flow.id(), self.shard).await {
                Ok((session, pipe, ended)) => {
                    backoff = Backoff::new(RETRY_MAX);
                    let way = Way { pipe, ended };
                    match self.carry_out(session, way).await {
                        Ok(()) => {}
                        Err(error) if may_be_repeated(&error) => {
                            self.flow.tell(FlowEvent::Interrupted {
                                why: error.to_string(),
                            });
                        }
                        Err(error) => return error,
                    }
                }
                Err(error) if may_be_repeated(&error) => sleep(backoff.step()).await,
                Err(error) => return error,
            }
        }
    }

    async fn carry_out(&mut self, session: Session, way: Way) -> Result<()> {
        if !self.shard.takes(session.bucket) {
            return Err(Error::Refused(
                "the broker brought a session that belongs to another process of this home"
                    .to_owned(),
            ));
        }
        if session.bucket == MEETING {
            return self.meeting(session, way).await;
        }
        let (matched, part) = self.match_bucket(session, way).await?;
        self.submit(session, matched, part).await
    }

    /// Tells sizes, makes the key of the split, and keeps the plan before the recipient hears that it is kept.
    async fn meeting(&mut self, session: Session, way: Way) -> Result<()> {
        self.refresh().await?;
        let (home, broker) = (&self.flow.home, &self.flow.broker);
        let size = owner_size(self.prepared.set.len() as u64).ok_or_else(|| {
            Error::Input("the dataset has more rows than one flow takes".to_owned())
        })?;
        let checkpoint = session::own_checkpoint(home)?;
        let opening = self.opening(session, None, size.into(), checkpoint.as_deref())?;
        let name = self.name();
        let met = match meet(opening, way.pipe).await {
            Ok(met) => session::compare_logs(home, broker, met).await?,
            Err(error) => return Err(explain(error, way.ended, name).await),
        };
        let agreement = &self.accepted.agreement;
        let recipient_size = self.accepted.grant.identifiers();
        let plan = Plan::new(&met.bucket_key(), size, recipient_size, agreement);
        let split = self.split(plan.clone()).await?;
        let (home, accepted) = (Arc::clone(home), self.accepted.clone());
        let kept = move || Attempts::keep(&home, &accepted, plan);
        match off_thread(kept).await?? {
            Ok(kept) => self.attempts = kept,
            Err(why) => return Err(refuse(met, why).await),
        }
        // A crash here leaves a plan that the recipient does not have: it meets again, and this one is replaced.
        if let Err(error) = met.ready().await {
            return Err(explain(error, way.ended, name).await);
        }
        self.flow.tell(FlowEvent::Met {
            buckets: u32::try_from(split.len()).unwrap_or(u32::MAX),
        });
        self.parts = split;
        Ok(())
    }

    async fn split(&self, plan: Plan) -> Result<Vec<Vec<u32>>> {
        let prepared = Arc::clone(&self.prepared);
        off_thread(move || plan.split(&prepared.set, Role::Owner)).await?
    }

    async fn match_bucket(&mut self, session: Session, way: Way) -> Result<(Matched, Vec<u32>)> {
        self.refresh().await?;
        if let Err(why) = self.attempts.check(session) {
            return Err(Error::Refused(why.to_string()));
        }
        let plan = self
            .attempts
            .plan()
            .cloned()
            .ok_or_else(|| Error::Unexpected("no plan".to_owned()))?;
        if self.parts.is_empty() {
            self.parts = self.split(plan.clone()).await?;
        }
        let part = usize::try_from(session.bucket)
            .ok()
            .and_then(|bucket| self.parts.get(bucket).cloned())
            .unwrap_or_default();
        let slots = plan.slots(Role::Owner);
        let items = {
            let (prepared, part) = (Arc::clone(&self.prepared), part.clone());
            let slots = usize::try_from(slots).unwrap_or(usize::MAX);
            off_thread(move || prepared.set.part(&part, slots, &mut rand::rng())).await?
        };
        let items = Arc::new(items.map_err(|e| Error::Unexpected(e.to_string()))?);
        let opening = self.opening(session, Some(&plan), slots.into(), None)?;
        let met = match meet(opening, way.pipe).await {
            Ok(met) => met,
            Err(error) => return Err(explain(error, way.ended, self.name()).await),
        };
        // From here on the recipient may learn something: the attempt counts, whatever becomes of it.
        let (home, accepted) = (Arc::clone(&self.flow.home), self.accepted.clone());
        let counted = move || Attempts::count(&home, &accepted, &plan, session);
        match off_thread(counted).await?? {
            Ok(kept) => self.attempts = kept,
            Err(why) => return Err(refuse(met, why).await),
        }
        let tell = |step| self.flow.tell(FlowEvent::Matching(step));
        match met.run(items, &tell).await {
            Ok(matched) => Ok((matched, part)),
            Err(error) => Err(explain(error, way.ended, self.name()).await),
        }
    }

    async fn submit(&self, session: Session, matched: Matched, part: Vec<u32>) -> Result<()> {
        let Some(plan) = self.attempts.plan() else {
            return Err(Error::Unexpected("no plan".to_owned()));
        };
        let (layout, consent) = (self.prepared.layout.clone(), self.prepared.consent.clone());
        let length = PayloadLength::new(layout.payload_len())
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let agreement = *self.accepted.agreement.digest().as_bytes();
        let context = RowContext::new(matched.session, agreement, length);
        let total = matched.tokens.len() as u64;
        let submission = Submission {
            flow: self.flow.id(),
            session: matched.session,
            count: total,
            bucket: session.bucket,
            buckets: plan.buckets(),
        };
        let prepared = Arc::clone(&self.prepared);
        let keyed = self.accepted.is_keyed();
        let rows =
            off_thread(move || SealedRows::new(prepared, part, context, matched.tokens, keyed))
                .await?;
        let tell = self.flow.teller();
        let broker = &self.flow.broker;
        let of = RowsOf {
            layout: &layout,
            consent,
            tag_key: self.prepared.tag_key,
            keyed,
        };
        submit_rows(broker, &submission, of, rows, move |done| {
            tell(FlowEvent::Submitting { done, total })
        })
        .await
    }

    fn opening<'o>(
        &'o self,
        session: Session,
        plan: Option<&Plan>,
        set_size: u64,
        checkpoint: Option<&'o str>,
    ) -> Result<Opening<'o>> {
        Ok(Opening {
            role: Role::Owner,
            statics: self.accepted.keys.statics(),
            binding: session::binding(
                &self.accepted.agreement,
                self.accepted.grant.request(),
                plan,
                session,
            ),
            protocol: session::protocol(&self.accepted.agreement, self.accepted.grant.request())?,
            set_size,
            checkpoint,
            // What was charged to the caps, to the identifier.
            peer: PeerSize::Exactly(plan.map_or_else(
                || self.accepted.grant.identifiers().into(),
                |plan| plan.slots(Role::Recipient).into(),
            )),
            patience: Patience::COMING,
        })
    }

    fn name(&self) -> &'f str {
        self.accepted.agreement.recipient().name.as_str()
    }
}

/// Tells the recipient why a session is not carried out.
async fn refuse(met: Met, why: NoAttempt) -> Error {
    met.abort(why.code(), &why.to_string()).await;
    Error::Refused(why.to_string())
}

async fn kept(flow: &OwnerFlow, accepted: &Accepted) -> Result<Attempts> {
    let (home, accepted) = (Arc::clone(&flow.home), accepted.clone());
    off_thread(move || Attempts::kept(&home, &accepted)).await?
}
