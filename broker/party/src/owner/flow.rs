//! One flow on the owner's side.

use std::pin::pin;
use std::sync::Arc;

use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::consent::{ReferenceKey, Scope};
use counterfoil_policy::decision::{self as policy, AgreementStatus, Decision, Facts, Grant};
use counterfoil_policy::measure::Plan;
use counterfoil_policy::request::{RequestBody, SignedRequest};
use counterfoil_policy::text::FlowId;
use counterfoil_proto::v1::DeclineRequest;
use counterfoil_watermark::Commitment;
use tokio::time::{sleep, timeout};

use crate::audit::log_key;
use crate::data::Asked;
use crate::error::{Denial, Error, Result};
use crate::flow::shard::Shard;
use crate::flow::{self, REASON_WAIT, follow, may_be_repeated, off_thread, session};
use crate::home::Home;
use crate::limits::{self, Asking};
use crate::receipts::Known;
use crate::transport::{Broker, call};
use crate::{agreements, audit};

use super::attempts::{self, Attempts, forget};
use super::canaries;
use super::dataset::{self, Keys, Prepared, Unfit};
use super::sessions::Sessions;
use super::{FlowEvent, OnEvent, ServeEvent};

/// Between two looks whether the first process of this home has accepted a flow.
const FIRST_POLL: std::time::Duration = std::time::Duration::from_millis(200);

/// A flow that was offered to this owner.
pub(super) struct OwnerFlow {
    pub(super) home: Arc<Home>,
    pub(super) broker: Broker,
    events: OnEvent,
    request: SignedRequest,
    shard: Shard,
}

/// A flow that this owner takes part in.
#[derive(Clone)]
pub(super) struct Accepted {
    pub(super) agreement: Arc<Agreement>,
    pub(super) grant: Grant,
    pub(super) keys: Arc<session::Keys>,
}

impl Accepted {
    fn body(&self) -> &RequestBody {
        self.grant.request().body()
    }

    /// The recipient brings tags of its own, which open only with a key of this side.
    pub(super) fn is_keyed(&self) -> bool {
        let measured = self.body().measure.as_ref();
        let plan = measured.and_then(|asked| Plan::new(&self.agreement, asked).ok());
        plan.is_some_and(|plan| !plan.recipient_tags().is_empty())
    }
}

/// Runs a flow to its end. A flow that is declined ends well.
///
/// # Errors
/// Whatever ended it otherwise; nothing was released then, unless the error says so.
pub(super) async fn run(flow: OwnerFlow) -> Result<()> {
    if !flow.shard.is_first() && !flow.first_takes_part().await? {
        return Ok(());
    }
    let accepted = match flow.judge().await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(denial)) => return flow.decline(denial).await,
        Err(error) => {
            // Without a word the recipient would wait for half an hour. The own error is the one to tell here.
            let told = Denial::local(
                "owner_state",
                "agreement",
                "the owner's agent cannot decide on the request just now",
                "ask the owner",
            );
            if let Err(unheard) = flow.decline(told).await {
                tracing::debug!(error = %unheard, "the broker was not told that a flow could not be decided on");
            }
            return Err(error);
        }
    };
    let body = accepted.body();
    flow.tell(FlowEvent::Accepted {
        agreement: accepted.agreement.id().to_string(),
        recipient: body.recipient.to_string(),
        segment: body.segment.as_ref().map(ToString::to_string),
        tags: body.tags.iter().map(ToString::to_string).collect(),
        set_size: body.set_size,
    });
    let prepared = match flow.prepare(&accepted).await {
        Ok(prepared) => prepared,
        Err(Unfit::Declined(denial)) => return flow.decline_unspent(&accepted, denial).await,
        Err(Unfit::Own(error)) => {
            // What is wrong with the owner's files is the owner's business.
            let told = Denial::local(
                "owner_data",
                "dataset",
                "the owner's agent cannot read its data just now",
                "ask the owner",
            );
            flow.decline_unspent(&accepted, told).await?;
            return Err(error);
        }
    };
    flow.carry_out(&accepted, prepared).await
}

impl OwnerFlow {
    pub(super) fn new(
        home: Arc<Home>,
        broker: Broker,
        events: OnEvent,
        request: SignedRequest,
        shard: Shard,
    ) -> Self {
        Self {
            home,
            broker,
            events,
            request,
            shard,
        }
    }

    pub(super) fn id(&self) -> FlowId {
        self.request.unverified().flow
    }

    /// Tells events of this flow, also after it has been consumed.
    pub(super) fn teller(&self) -> impl Fn(FlowEvent) + Send + Sync + Clone + 'static {
        let (events, flow) = (Arc::clone(&self.events), self.id().to_string());
        move |what| {
            events(ServeEvent::Flow {
                flow: flow.clone(),
                what,
            })
        }
    }

    pub(super) fn tell(&self, what: FlowEvent) {
        (self.events)(ServeEvent::Flow {
            flow: self.id().to_string(),
            what,
        });
    }

    /// Waits until the first process of this home has accepted the flow: one of them counts it, and the others take part in what
    /// is counted. False if it is over before that.
    async fn first_takes_part(&self) -> Result<bool> {
        let accepted = async {
            loop {
                let (home, flow) = (Arc::clone(&self.home), self.id());
                if off_thread(move || attempts::is_kept(&home, flow)).await? {
                    return Ok(true);
                }
                sleep(FIRST_POLL).await;
            }
        };
        tokio::select! {
            accepted = accepted => accepted,
            ended = follow(&self.broker, self.id(), &|_| ()) => ended.map(|_| false),
        }
    }

    /// Judges the request by what this home holds, and counts the attempt. The count is durable on return: a
    /// recipient cannot get a second flow out of a crash.
    async fn judge(&self) -> Result<std::result::Result<Accepted, Denial>> {
        let claimed = self.request.unverified();
        let held = agreements::find(&self.home, &claimed.agreement, claimed.agreement_version)?;
        if held.is_none_or(|held| held.status == AgreementStatus::Proposed) {
            // The partner may have countersigned since we looked; what the broker shows is verified as ever.
            agreements::sync(&self.home, &self.broker, Some(&claimed.agreement)).await?;
        }
        let (home, request) = (Arc::clone(&self.home), self.request.clone());
        off_thread(move || judge(&home, &request)).await?
    }

    async fn prepare(&self, accepted: &Accepted) -> std::result::Result<Prepared, Unfit> {
        let (home, agreement) = (Arc::clone(&self.home), Arc::clone(&accepted.agreement));
        let (body, tell) = (accepted.body().clone(), self.teller());
        let prepared = off_thread(move || {
            let asked = asked(&home, &agreement, &body)?;
            // A measure flow delivers no row, so no row has a mark tag in it: the broker gets no lasting pseudonym for nothing.
            let trace_keys = match body.kind {
                FlowKind::Exchange => Some(&*home),
                FlowKind::Measure => None,
            };
            let plan = dataset::plan(
                home.path(),
                &agreement,
                &body,
                asked,
                Keys {
                    trace: trace_keys,
                    canaries: &|| home.canary_secret(),
                },
            )?;
            dataset::load(&plan, &mut |rows| tell(FlowEvent::Reading { rows }))
        })
        .await??;
        self.tell(FlowEvent::Read {
            report: Box::new(prepared.report.clone()),
            unmapped: prepared.unmapped.clone(),
        });
        Ok(prepared)
    }

    /// Declines a flow whose rows could not be prepared. If none of it was matched before, by this process or another, it costs no
    /// privacy budget by this owner's count either.
    async fn decline_unspent(&self, accepted: &Accepted, denial: Denial) -> Result<()> {
        let kept = Attempts::load(&self.home, accepted.grant.request())?;
        let unspent = self.shard == Shard::WHOLE && kept.is_some_and(|kept| kept.none_made());
        self.decline(denial).await?;
        if !unspent {
            return Ok(());
        }
        let (home, flow) = (Arc::clone(&self.home), self.id());
        off_thread(move || limits::spent_nothing(&home, flow)).await?
    }

    /// Tells the broker, and through it the recipient, why this owner does not take part.
    async fn decline(&self, denial: Denial) -> Result<()> {
        let request = DeclineRequest {
            flow: self.id().as_bytes().to_vec(),
            code: denial.code.clone(),
            field: denial.field.clone(),
            message: denial.message.clone(),
            would_pass: denial.would_pass.clone(),
        };
        let heard = call(self.broker.flows().decline(request)).await;
        // Not before: without an answer the flow may go on, and other processes of this home take part in it. One that the broker
        // will not have declined is over.
        if matches!(heard, Ok(_) | Err(Error::Refused(_))) {
            forget(&self.home, self.id())?;
        }
        heard?;
        self.tell(FlowEvent::Declined { denial });
        Ok(())
    }

    pub(super) async fn decline_busy(&self) {
        let busy = Denial::local(
            "busy",
            "flow",
            "the owner's agent has more flows waiting than it takes",
            "ask again later",
        );
        if let Err(error) = self.decline(busy).await {
            self.tell(FlowEvent::Ended {
                code: error.code().to_owned(),
                message: error.to_string(),
            });
        }
    }

    async fn carry_out(&self, accepted: &Accepted, prepared: Prepared) -> Result<()> {
        let on_stage = |stage| self.tell(FlowEvent::Stage { stage });
        let tell = |event| self.tell(event);
        let committed = canaries::commit(
            &self.home,
            &self.broker,
            self.id(),
            prepared.canaries.as_ref(),
            tell,
        );
        let committed = match committed.await {
            Ok(committed) => committed,
            Err(error) if may_be_repeated(&error) => return Err(error),
            Err(error) => return Err(self.stop(error).await),
        };
        let tag_key = prepared.tag_key;
        let sessions = Sessions::new(self, accepted, prepared, committed, self.shard).await?;
        let mut ending = pin!(follow(&self.broker, self.id(), &on_stage));
        let ended = tokio::select! {
            error = sessions.run() => match timeout(REASON_WAIT, ending.as_mut()).await {
                // The broker knows better why a relay is refused.
                Ok(ended) => ended,
                Err(_) => return Err(self.stop(error).await),
            },
            ended = &mut ending => ended,
        };
        // Gone without an end, it goes on when the broker offers it again.
        let ended = ended?;
        forget(&self.home, self.id())?;
        ended.released()?;
        if !self.shard.is_first() {
            return Ok(());
        }
        self.keep_receipt(accepted, tag_key).await
    }

    /// Ends a flow that this side cannot go on with, so that the recipient does not wait for it.
    async fn stop(&self, error: Error) -> Error {
        let told = Denial::local(
            error.code(),
            "flow",
            "the owner's agent cannot go on with the flow",
            "ask the owner, then ask for the flow again",
        );
        if let Err(unheard) = self.decline(told).await {
            tracing::debug!(error = %unheard, "the broker was not told that a flow cannot go on");
        }
        if let Err(left) = forget(&self.home, self.id()) {
            tracing::warn!(error = %left, "what was kept of a flow could not be removed");
        }
        error
    }

    async fn keep_receipt(&self, accepted: &Accepted, tag_key: Option<Commitment>) -> Result<()> {
        let fetched = flow::again(|| flow::fetch(&self.broker, self.id(), None, &|_| ())).await?;
        let known = Known {
            agreement: &accepted.agreement,
            request: accepted.grant.request(),
        };
        let intent = fetched.verify(&log_key(&self.home)?, &known)?;
        intent.check_tag_key(tag_key)?;
        audit::confirm(&self.home, &self.broker, intent.receipt().checkpoint()).await?;
        let stored = intent.store(&self.home)?;
        self.tell(FlowEvent::Released {
            entry: stored.entry,
            rows: stored.rows,
            marks: stored.marks,
            receipt: stored.path,
        });
        Ok(())
    }
}

/// What each row's consent is compared with, if the agreement asks for proofs. Blocks.
fn asked(home: &Home, agreement: &Agreement, body: &RequestBody) -> Result<Option<Asked>> {
    let Some(scope) = Scope::of(agreement, &body.tags, body.segment.as_ref()) else {
        return Ok(None);
    };
    let secret = home.consent_secret()?;
    Ok(Some(Asked {
        scope,
        key: ReferenceKey::of_flow(&secret, body.flow),
        now: home.clock().now(),
    }))
}

/// Judges by the own copy of the agreement. Blocks.
fn judge(home: &Home, signed: &SignedRequest) -> Result<std::result::Result<Accepted, Denial>> {
    let claimed = signed.unverified();
    match agreements::find(home, &claimed.agreement, claimed.agreement_version)? {
        Some(held) => judge_under(home, held.agreement, held.status, signed),
        None => Ok(Err(denied(policy::Denial::unknown_agreement(
            &claimed.agreement,
        )))),
    }
}

/// Verifies the signature with the key that the agreement pins, decides, and counts. Blocks.
pub(super) fn judge_under(
    home: &Home,
    agreement: Agreement,
    status: AgreementStatus,
    signed: &SignedRequest,
) -> Result<std::result::Result<Accepted, Denial>> {
    let claimed = signed.unverified();
    if agreement.owner().name != *home.org() {
        return Ok(Err(denied(policy::Denial::unknown_agreement(
            &claimed.agreement,
        ))));
    }
    let request = match signed.verify(&agreement.recipient().signing_key) {
        Ok(request) => request,
        Err(error) => return Ok(Err(denied((&error).into()))),
    };
    let keys = session::Keys::of(home, &agreement.recipient().noise_key)?;
    // A flow that this home accepted goes on; what it was counted by then, it is not counted by again.
    let asked = match Attempts::load(home, &request)? {
        Some(_) => Asking::Again(claimed.flow),
        None => Asking::Anew(claimed.flow),
    };
    let mut begun = Ok(());
    let decision = limits::authorise(home, &agreement, asked, |usage, owner_limits, now| {
        let rules = policy::Rules::built_in();
        let mut facts = Facts {
            status,
            agreement: &agreement,
            // Only the recipient's own key makes a request of this agreement.
            caller: &request.body().recipient,
            usage,
            owner_limits,
            // Only the broker assesses.
            assessments: policy::Assessments::default(),
            now,
        };
        let decision = policy::decide(rules, &facts, &request);
        if matches!(decision, Decision::Denied(_)) {
            return decision;
        }
        if asked == Asking::Anew(claimed.flow) {
            // Before the count: a crash between the two leaves a flow that goes on and is counted then.
            begun = Attempts::begin(home, &request);
            return decision;
        }
        // Asked in time by the clock of then; but the agreement may have ended since.
        facts.now = home.clock().now();
        match policy::may_continue(rules, &facts, &request) {
            Ok(()) => decision,
            Err(denial) => Decision::Denied(denial),
        }
    })?;
    begun?;
    Ok(match decision {
        Decision::Granted(grant) => Ok(Accepted {
            agreement: Arc::new(agreement),
            grant,
            keys: Arc::new(keys),
        }),
        Decision::Denied(denial) => Err(denied(denial)),
    })
}

fn denied(denial: policy::Denial) -> Denial {
    Denial::local(
        denial.code.as_str(),
        denial.field,
        denial.message,
        denial.would_pass,
    )
}

#[cfg(test)]
mod tests;
