//! From the request to the release.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest};
use counterfoil_policy::text::{AgreementId, FlowId};
use counterfoil_proto::delivery::{DeliverySecret, SUITE};
use counterfoil_proto::limits::ROWS_MAX;
use counterfoil_proto::v1::{FlowRequest, flow_reply};
use counterfoil_psi::{Role, Token};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use tokio::time::timeout;

use crate::agreements;
use crate::error::{Error, Result};
use crate::flow::{
    self, Ending, REASON_WAIT, Records, Submission, follow, is_passing, open_relay, session,
    submit_keys,
};
use crate::home::Home;
use crate::matching::{MatchError, Matched, Met, Opening, Patience, PeerSize, meet};
use crate::transport::{Broker, call};

use super::complete::complete;
use super::map::{self, Own};
use super::prepare::{self, Plan};
use super::record::{self, FlowRecord, NewRecord, Step, forget};
use super::{Durations, ExchangeOptions, Exchanged, OnProgress, Progress};

/// How long a request may wait for its flow, in seconds.
const REQUEST_SECONDS: i64 = 3600;

/// Bytes of a submitted key: match id and row key.
const KEY_RECORD_BYTES: usize = 16 + 32;

/// Runs an exchange from the file that is read to the file that is written.
///
/// # Errors
/// Any of [`Error`]. Until the broker has recorded the release nothing has left, and everything that was kept of
/// the flow is removed; if it is not known whether it was released, the error says how to find out.
pub async fn exchange(
    home: &Home,
    options: &ExchangeOptions,
    progress: &OnProgress,
) -> Result<Exchanged> {
    let mut durations = Durations::default();
    let agreement = in_force(home, &options.agreement).await?;
    if agreement.recipient().name != *home.org() {
        return Err(Error::Input(format!(
            "`{}` gives under agreement `{}` and does not receive: `counterfoil exchange` is for `{}`",
            home.org(),
            agreement.id(),
            agreement.recipient().name
        )));
    }
    let plan = prepare::plan(options, &agreement)?;
    let started = Instant::now();
    let (plan, own, report) = read(options, plan, progress).await?;
    durations.read_ms = millis(started);
    let counts = prepare::counts(&report);
    progress(Progress::Read { report });

    let (request, secret) = sign(home, options, &plan, &agreement, own.set.len())?;
    let new = NewRecord {
        request,
        output: plan.output.clone(),
        overwrite: options.overwrite,
        columns: plan.columns.clone(),
        counts,
    };
    let mut record = FlowRecord::new(new, &secret);
    let broker = Broker::connect(home).await?;
    let _lock = record::lock(home, record.flow)?;
    // A crash from here on leaves a record, which `resume` settles.
    record.store(home)?;
    let flow = Flow {
        home,
        broker: &broker,
        agreement: &agreement,
        progress,
    };
    match flow.until_released(&mut record, own, &mut durations).await {
        Ok(()) => complete(home, &broker, &agreement, record, progress, durations).await,
        Err(failed) => Err(flow.give_up(record.flow, failed)),
    }
}

async fn in_force(home: &Home, id: &AgreementId) -> Result<Agreement> {
    match agreements::active(home, id) {
        // The partner may have countersigned since we looked.
        Err(Error::NotActive(_) | Error::UnknownAgreement(_)) => {
            agreements::sync(home, &Broker::connect(home).await?, Some(id)).await?;
            agreements::active(home, id)
        }
        result => result,
    }
}

async fn read(
    options: &ExchangeOptions,
    plan: Plan,
    progress: &OnProgress,
) -> Result<(Plan, Own, crate::data::ReadReport)> {
    let (options, progress) = (options.clone(), Arc::clone(progress));
    let (plan, read) = flow::off_thread(move || {
        let read = prepare::read(&options, &plan, &progress);
        (plan, read)
    })
    .await?;
    let (own, report) = read?;
    if own.set.len() as u64 > ROWS_MAX {
        return Err(Error::Input(format!(
            "one flow takes at most {ROWS_MAX} identifiers: split the file"
        )));
    }
    Ok((plan, own, report))
}

fn sign(
    home: &Home,
    options: &ExchangeOptions,
    plan: &Plan,
    agreement: &Agreement,
    set_size: usize,
) -> Result<(SignedRequest, DeliverySecret)> {
    let mut rng = rand::rng();
    let secret = DeliverySecret::generate(&mut rng);
    let mut flow = [0; 16];
    rng.fill_bytes(&mut flow);
    let unexpected = |what: &str| Error::Unexpected(format!("the request has no {what}"));
    let issued_at = home.clock().now();
    let body = RequestBody {
        format: 1,
        flow: FlowId::from_bytes(flow),
        recipient: home.org().clone(),
        agreement: agreement.id().clone(),
        agreement_version: agreement.version(),
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: agreement.purpose(),
        segment: options.segment.clone(),
        identifier: plan.identifier,
        tags: plan.tags.clone(),
        set_size: u32::try_from(set_size).map_err(|_| unexpected("size that fits"))?,
        delivery_suite: SUITE.parse().map_err(|_| unexpected("suite"))?,
        delivery_key: DeliveryKey::from_bytes(secret.public_bytes())
            .ok_or_else(|| unexpected("delivery key"))?,
        issued_at,
        expires_at: issued_at.saturating_add_seconds(REQUEST_SECONDS),
        user: options.user.clone(),
    };
    let request = SignedRequest::sign(&home.institution_key()?, body)
        .map_err(|e| Error::Input(e.to_string()))?;
    Ok((request, secret))
}

/// What all steps of a flow need.
struct Flow<'f> {
    home: &'f Home,
    broker: &'f Broker,
    agreement: &'f Agreement,
    progress: &'f OnProgress,
}

impl Flow<'_> {
    async fn until_released(
        &self,
        record: &mut FlowRecord,
        own: Own,
        durations: &mut Durations,
    ) -> std::result::Result<(), Failed> {
        let asked = Instant::now();
        self.request(record).await.map_err(Failed::Over)?;
        let on_stage = |stage| (self.progress)(Progress::Stage { stage });
        let mut ending = pin!(follow(self.broker, record.flow, &on_stage));
        let matched = tokio::select! {
            matched = self.match_tokens(record, &own, asked, durations) => matched,
            // It has told all it knows and must not be asked again.
            ending = &mut ending => return Err(Failed::Over(too_early(ending))),
        };
        let matched = match matched {
            Ok(matched) => matched,
            // The broker knows better why a relay broke off, such as that the owner declined.
            Err(error) if is_passing(&error) || matches!(error, Error::Aborted(_)) => {
                let reason = timeout(REASON_WAIT, ending.as_mut()).await;
                return Err(Failed::Over(reason.map_or(error, too_early)));
            }
            Err(error) => return Err(Failed::Over(error)),
        };
        let started = Instant::now();
        let (submission, tokens) = self
            .make_ready(record, own, matched)
            .await
            .map_err(Failed::Over)?;
        let submitted = tokio::select! {
            submitted = self.submit(&submission, tokens) => submitted,
            ending = &mut ending => return self.settle(ending, durations, started),
        };
        durations.submit_ms = millis(started);
        let waiting = Instant::now();
        match submitted {
            // Refused, or a fault of our own: the broker may have more to say.
            Err(error) if !is_passing(&error) => match timeout(REASON_WAIT, ending).await {
                Ok(ending) => self.settle(ending, durations, waiting),
                Err(_) => Err(Failed::Undecided(error)),
            },
            // In, or the connection broke off: whether the keys arrived whole is for the broker to say.
            _ => self.settle(ending.await, durations, waiting),
        }
    }

    /// Everything that must be on disk before the first key leaves.
    async fn make_ready(
        &self,
        record: &mut FlowRecord,
        own: Own,
        matched: Matched,
    ) -> Result<(Submission, Vec<Token>)> {
        let Matched {
            session,
            tokens,
            peer_set_size,
        } = matched;
        let submission = Submission {
            flow: record.flow,
            session,
            count: tokens.len() as u64,
        };
        let (home, flow) = (self.home.path().to_owned(), record.flow);
        let tokens =
            flow::off_thread(move || map::write(&home, flow, &own, &tokens).map(|()| tokens))
                .await??;
        record.counts.owner_submitted = peer_set_size;
        // A crash before this line leaves a map and a record that says that no key has left: nothing was released.
        record.advance(self.home, Step::Submitting)?;
        // From here on the flow may be released at any moment.
        Ok((submission, tokens))
    }

    fn settle(
        &self,
        ending: Result<Ending>,
        durations: &mut Durations,
        waiting: Instant,
    ) -> std::result::Result<(), Failed> {
        ending
            .map_err(Failed::Undecided)?
            .released()
            .map_err(Failed::Over)?;
        durations.release_ms = millis(waiting);
        (self.progress)(Progress::Released);
        Ok(())
    }

    async fn request(&self, record: &FlowRecord) -> Result<()> {
        let signed_request = record
            .request
            .to_json()
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let reply = call(self.broker.flows().request(FlowRequest { signed_request })).await?;
        match reply.result {
            Some(flow_reply::Result::Granted(grant)) => {
                (self.progress)(Progress::Granted {
                    flow: record.flow.to_string(),
                    entry: grant.entry,
                });
                Ok(())
            }
            Some(flow_reply::Result::Denied(denial)) => Err(denial.into()),
            None => Err(Error::Unexpected(
                "the broker answered a request with nothing".to_owned(),
            )),
        }
    }

    async fn match_tokens(
        &self,
        record: &FlowRecord,
        own: &Own,
        asked: Instant,
        durations: &mut Durations,
    ) -> Result<Matched> {
        let (pipe, ended) = open_relay(self.broker, record.flow).await?;
        let keys = session::Keys::of(self.home, &self.agreement.owner().noise_key)?;
        let checkpoint = session::own_checkpoint(self.home)?;
        let request = record
            .request
            .verify(&self.agreement.recipient().signing_key)
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let opening = Opening {
            role: Role::Recipient,
            statics: keys.statics(),
            binding: session::binding(self.agreement, &request),
            protocol: session::protocol(self.agreement, &request)?,
            set_size: own.set.len() as u64,
            checkpoint: checkpoint.as_deref(),
            peer: PeerSize::AtMost(ROWS_MAX),
            patience: Patience::WAITING,
        };
        let met: std::result::Result<Met, MatchError> = meet(opening, pipe).await;
        let met = match met {
            Ok(met) => session::compare_logs(self.home, self.broker, met).await?,
            Err(error) => return Err(self.broke_off(error, ended).await),
        };
        durations.meet_ms = millis(asked);
        let started = Instant::now();
        let tell = |step| (self.progress)(Progress::Matching(step));
        match met.run(Arc::clone(&own.set), &tell).await {
            Ok(matched) => {
                durations.match_ms = millis(started);
                Ok(matched)
            }
            Err(error) => Err(self.broke_off(error, ended).await),
        }
    }

    async fn broke_off(&self, error: MatchError, ended: flow::Ended) -> Error {
        flow::explain(error, ended, self.agreement.owner().name.as_str()).await
    }

    async fn submit(&self, submission: &Submission, tokens: Vec<Token>) -> Result<()> {
        let (progress, total) = (Arc::clone(self.progress), submission.count);
        let tell = move |done| progress(Progress::Submitting { done, total });
        submit_keys(self.broker, submission, Keys::shuffled(tokens), tell).await
    }

    /// Removes what is kept of a flow that is over; of an undecided one, says how to go on.
    fn give_up(&self, flow: FlowId, failed: Failed) -> Error {
        match failed {
            Failed::Undecided(error) => undecided(flow, &error),
            Failed::Over(error) => {
                if let Err(left) = forget(self.home, flow) {
                    tracing::warn!(error = %left, "what was kept of a failed flow could not be removed");
                }
                error
            }
        }
    }
}

/// Why there is no release.
enum Failed {
    /// There will be none: no key has left, or the broker says so.
    Over(Error),
    /// There may be one, as far as this side knows.
    Undecided(Error),
}

pub(super) fn undecided(flow: FlowId, error: &Error) -> Error {
    Error::Unavailable(format!(
        "{error}; whether flow `{flow}` was released is not known: `counterfoil exchange --resume {flow}` finds out, \
         and fetches what was"
    ))
}

/// The flow ended before this side had submitted.
fn too_early(ending: Result<Ending>) -> Error {
    match ending.and_then(Ending::released) {
        Ok(()) => Error::Unverified(
            "the broker says that a flow was released before any key was submitted".to_owned(),
        ),
        Err(error) => error,
    }
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Match id and the key of the owner's row for each token, in a random order: the order of the file is nobody's
/// business. The tokens are wiped when this is dropped.
struct Keys {
    tokens: Vec<Token>,
    order: std::vec::IntoIter<u32>,
}

impl Keys {
    fn shuffled(tokens: Vec<Token>) -> Self {
        let mut order: Vec<u32> = (0..).take(tokens.len()).collect();
        order.shuffle(&mut rand::rng());
        Self {
            tokens,
            order: order.into_iter(),
        }
    }
}

impl Records for Keys {
    fn record_bytes(&self) -> usize {
        KEY_RECORD_BYTES
    }

    fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        let Some(index) = self.order.next() else {
            return Ok(false);
        };
        let token = usize::try_from(index)
            .ok()
            .and_then(|index| self.tokens.get(index));
        let token = token.ok_or_else(|| Error::Unexpected("a token is missing".to_owned()))?;
        piece.extend_from_slice(token.match_id().as_bytes());
        piece.extend_from_slice(token.row_key(Role::Owner).expose());
        Ok(true)
    }
}
