//! From the request to the release.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, FlowKind, IdentifierType};
use counterfoil_policy::measure::Asked;
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest, VerifiedRequest};
use counterfoil_policy::text::{AgreementId, FlowId, SegmentName, TagName, UserId};
use counterfoil_proto::delivery::{DeliverySecret, SUITE};
use counterfoil_proto::limits::ROWS_MAX;
use counterfoil_proto::v1::{DeclineRequest, FlowRequest, flow_reply};
use counterfoil_psi::IdentifierKind;
use rand::Rng as _;
use tokio::time::timeout;

use crate::agreements;
use crate::error::{Error, Result};
use crate::flow::plan::recipient_size;
use crate::flow::shard::Shard;
use crate::flow::{self, Ending, REASON_WAIT, follow, is_passing, session};
use crate::home::{Home, HomeLock};
use crate::transport::{Broker, call};

use super::brought::Brought;
use super::buckets::Sessions;
use super::complete::complete;
use super::own::{self, Own};
use super::part::{self, Part};
use super::prepare::{self, Plan};
use super::record::{self, FlowRecord, NewRecord, Step, forget};
use super::{Durations, ExchangeOptions, Exchanged, OnProgress, Progress};

/// How long a request may wait for its flow, in seconds.
const REQUEST_SECONDS: i64 = 3600;

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
    exchange_as(home, options, None, progress).await
}

/// As [`exchange`], with the buckets of a part of a job.
pub(super) async fn exchange_as(
    home: &Home,
    options: &ExchangeOptions,
    part: Option<&Part>,
    progress: &OnProgress,
) -> Result<Exchanged> {
    let mut durations = Durations::default();
    let agreement = in_force(home, &options.agreement).await?;
    check_recipient(home, &agreement, "exchange")?;
    let plan = prepare::plan(options, &agreement)?;
    let started = Instant::now();
    let (plan, read, report) = read(home, options, plan, progress).await?;
    durations.read_ms = millis(started);
    let counts = prepare::counts(&report);
    progress(Progress::Read { report });

    let size = request_size(&read, &agreement)?;
    let asking = Asking {
        kind: FlowKind::Exchange,
        segment: options.segment.clone(),
        identifier: plan.identifier,
        tags: plan.tags.clone(),
        measure: None,
        user: options.user.clone(),
    };
    let (request, secret) = sign(home, asking, &agreement, size)?;
    let new = NewRecord {
        request,
        output: plan.output.clone(),
        overwrite: options.overwrite,
        columns: plan.columns.clone(),
        counts,
    };
    let record = FlowRecord::new(new, &secret);
    let begun = (record, read);
    let (broker, record, _lock) =
        carry_out(home, &agreement, begun, part, progress, &mut durations).await?;
    complete(home, &broker, &agreement, record, progress, durations).await
}

/// Whether this home's institution receives under an agreement, as a command of the recipient's needs.
///
/// # Errors
/// [`Error::Input`] if it gives.
pub(super) fn check_recipient(home: &Home, agreement: &Agreement, command: &str) -> Result<()> {
    if agreement.recipient().name == *home.org() {
        return Ok(());
    }
    Err(Error::Input(format!(
        "`{}` gives under agreement `{}` and does not receive: `counterfoil {command}` is for `{}`",
        home.org(),
        agreement.id(),
        agreement.recipient().name
    )))
}

/// The size under which the flow of what was read is asked for.
///
/// # Errors
/// [`Error::Input`] if one flow does not take so many identifiers.
pub(super) fn request_size(read: &own::Read, agreement: &Agreement) -> Result<u32> {
    recipient_size(read.own.set.len() as u64, agreement).ok_or_else(|| {
        Error::Input(format!(
            "one flow takes at most {ROWS_MAX} identifiers: split the file"
        ))
    })
}

/// Asks for a flow and carries it out until it is released. The lock is held as long as it lives.
///
/// # Errors
/// As [`exchange`].
pub(super) async fn carry_out(
    home: &Home,
    agreement: &Agreement,
    (mut record, read): (FlowRecord, own::Read),
    part: Option<&Part>,
    progress: &OnProgress,
    durations: &mut Durations,
) -> Result<(Broker, FlowRecord, HomeLock)> {
    let broker = Broker::connect(home).await?;
    let lock = record::lock(home, record.flow)?;
    // A crash from here on leaves a record, which `resume` settles; without the own rows nothing was asked for.
    record.store(home)?;
    let flow = Flow {
        home,
        broker: &broker,
        agreement,
        progress,
        shard: part.map_or(Shard::WHOLE, |part| part.shard),
        kind: record.kind(),
    };
    let own = flow.keep(record.flow, read).await?;
    // Before it is asked for: a process that takes the place of one that was killed must find what may have been granted.
    if let Some(part) = part {
        part::begin(home, part, record.flow)?;
    }
    if let Err(error) = flow.request(&record).await {
        if let Some(part) = part {
            part::undo(home, part)?;
        }
        return Err(flow.give_up(record.flow, Failed::Over(error)));
    }
    let released = flow.until_released(&mut record, Some(own), durations).await;
    match released {
        Ok(()) => Ok((broker, record, lock)),
        Err(failed) => Err(flow.give_up(record.flow, failed)),
    }
}

/// Goes on with a flow that was interrupted: matches the buckets that are missing, fetches what was released, or says that nothing
/// was and forgets the flow.
///
/// # Errors
/// [`Error::Local`] for a flow that this home does not know; [`Error::Busy`] for one that another process carries out;
/// [`Error::Aborted`], [`Error::NotGranted`] or [`Error::Denied`] if nothing was released; else as [`exchange`].
pub async fn resume(home: &Home, flow: FlowId, progress: &OnProgress) -> Result<Exchanged> {
    resume_as(home, flow, Shard::WHOLE, progress).await
}

/// As [`resume`], with the buckets of one shard.
pub(super) async fn resume_as(
    home: &Home,
    flow: FlowId,
    shard: Shard,
    progress: &OnProgress,
) -> Result<Exchanged> {
    let Resumed {
        broker,
        agreement,
        record,
        durations,
        lock: _lock,
    } = settled(home, flow, FlowKind::Exchange, shard, progress).await?;
    complete(home, &broker, &agreement, record, progress, durations).await
}

/// A flow that was interrupted, and was released.
pub(super) struct Resumed {
    pub(super) broker: Broker,
    pub(super) agreement: Agreement,
    pub(super) record: FlowRecord,
    pub(super) durations: Durations,
    /// Held as long as the flow is worked on.
    pub(super) lock: HomeLock,
}

/// Carries an interrupted flow on until it is released.
///
/// # Errors
/// As [`resume`]; [`Error::Input`] for a flow of another kind.
pub(super) async fn settled(
    home: &Home,
    flow: FlowId,
    kind: FlowKind,
    shard: Shard,
    progress: &OnProgress,
) -> Result<Resumed> {
    let known = FlowRecord::load(home, flow)?;
    if known.kind() != kind {
        return Err(Error::Input(format!(
            "flow `{flow}` is of another kind: `counterfoil {} --resume {flow}` goes on with it",
            known.kind()
        )));
    }
    let lock = record::lock(home, flow)?;
    // Again, as whoever held the lock has left it.
    let mut record = FlowRecord::load(home, flow)?;
    if record.step == Step::Requested && !own::is_kept(home.path(), flow) {
        forget(home, flow)?;
        return Err(Error::NotGranted(flow.to_string()));
    }
    let broker = Broker::connect(home).await?;
    let agreement = agreements::load(home, &record.agreement, record.version)?;
    let of = Flow {
        home,
        broker: &broker,
        agreement: &agreement,
        progress,
        shard,
        kind,
    };
    let mut durations = Durations::default();
    match of.until_released(&mut record, None, &mut durations).await {
        Ok(()) => Ok(Resumed {
            broker,
            agreement,
            record,
            durations,
            lock,
        }),
        Err(Failed::Undecided(error)) => Err(undecided(flow, kind, &error)),
        Err(failed) => Err(of.give_up(flow, failed)),
    }
}

async fn load_own(home: &Home, flow: FlowId, request: &VerifiedRequest) -> Result<Own> {
    let kind: IdentifierKind = request
        .body()
        .identifier
        .as_str()
        .parse()
        .map_err(|_| Error::Unexpected("the request names no identifier".to_owned()))?;
    let home = home.path().to_owned();
    flow::off_thread(move || own::load(&home, flow, kind))
        .await??
        .ok_or_else(|| Error::Local(format!("the own rows of flow `{flow}` are gone")))
}

pub(super) async fn in_force(home: &Home, id: &AgreementId) -> Result<Agreement> {
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
    home: &Home,
    options: &ExchangeOptions,
    plan: Plan,
    progress: &OnProgress,
) -> Result<(Plan, own::Read, crate::data::ReadReport)> {
    let (options, progress) = (options.clone(), Arc::clone(progress));
    let directory = home.path().join("flows");
    let (plan, read) = flow::off_thread(move || {
        let read = prepare::read(&options, &plan, &directory, &progress);
        (plan, read)
    })
    .await?;
    let (read, report) = read?;
    Ok((plan, read, report))
}

/// What is asked for.
pub(super) struct Asking {
    pub(super) kind: FlowKind,
    pub(super) segment: Option<SegmentName>,
    pub(super) identifier: IdentifierType,
    pub(super) tags: Vec<TagName>,
    pub(super) measure: Option<Asked>,
    pub(super) user: UserId,
}

/// Makes and signs the request, with a delivery key of its own.
///
/// # Errors
/// [`Error::Input`] for what no request may say.
pub(super) fn sign(
    home: &Home,
    asking: Asking,
    agreement: &Agreement,
    set_size: u32,
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
        kind: asking.kind,
        purpose: agreement.purpose(),
        segment: asking.segment,
        identifier: asking.identifier,
        tags: asking.tags,
        measure: asking.measure,
        set_size,
        delivery_suite: SUITE.parse().map_err(|_| unexpected("suite"))?,
        delivery_key: DeliveryKey::from_bytes(secret.public_bytes())
            .ok_or_else(|| unexpected("delivery key"))?,
        issued_at,
        expires_at: issued_at.saturating_add_seconds(REQUEST_SECONDS),
        user: asking.user,
    };
    let request = SignedRequest::sign(&home.institution_key()?, body)
        .map_err(|e| Error::Input(e.to_string()))?;
    Ok((request, secret))
}

/// What all steps of a flow need.
pub(super) struct Flow<'f> {
    pub(super) home: &'f Home,
    pub(super) broker: &'f Broker,
    pub(super) agreement: &'f Agreement,
    pub(super) progress: &'f OnProgress,
    pub(super) shard: Shard,
    pub(super) kind: FlowKind,
}

impl Flow<'_> {
    /// Carries out what is left of a granted flow until it is released. Own rows are read from what was kept if they are not
    /// given.
    pub(super) async fn until_released(
        &self,
        record: &mut FlowRecord,
        own: Option<Own>,
        durations: &mut Durations,
    ) -> std::result::Result<(), Failed> {
        let flow = record.flow;
        let on_stage = |stage| (self.progress)(Progress::Stage { stage });
        let mut ending = pin!(follow(self.broker, flow, &on_stage));
        let waiting = Instant::now();
        let error = tokio::select! {
            error = self.sessions(record, own, durations) => error,
            ending = &mut ending => return self.settle(record, ending, durations, waiting),
        };
        // The broker knows better why a call was refused, such as that the owner declined.
        if let Ok(ending) = timeout(REASON_WAIT, ending).await {
            return self.settle(record, ending, durations, waiting);
        }
        // Whatever left is of no use once the flow is ended, and nobody waits for this side.
        match self.withdraw(flow, &error).await {
            Err(_) if record.step > Step::Requested => Err(Failed::Undecided(error)),
            _ => Err(Failed::Over(error)),
        }
    }

    async fn sessions(
        &self,
        record: &mut FlowRecord,
        own: Option<Own>,
        durations: &mut Durations,
    ) -> Error {
        let ready = self.ready(record, own).await;
        match ready {
            Ok((sessions, own)) => sessions.run(record, &own, durations).await,
            Err(error) => error,
        }
    }

    async fn ready(&self, record: &FlowRecord, own: Option<Own>) -> Result<(Sessions<'_>, Own)> {
        let request = record
            .request
            .verify(&self.agreement.recipient().signing_key)
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let own = match own {
            Some(own) => own,
            None => load_own(self.home, record.flow, &request).await?,
        };
        let protocol = session::protocol(self.agreement, &request)?;
        let brought = {
            let home = self.home.path().to_owned();
            let (agreement, body) = (self.agreement.clone(), request.body().clone());
            flow::off_thread(move || Brought::of(&home, &agreement, &body)).await??
        };
        let sessions = Sessions {
            brought,
            protocol,
            home: self.home,
            broker: self.broker,
            agreement: self.agreement,
            request,
            progress: self.progress,
            keys: session::Keys::of(self.home, &self.agreement.owner().noise_key)?,
            shard: self.shard,
            asked: Instant::now(),
        };
        Ok((sessions, own))
    }

    /// Keeps the own rows on disk, before anything is asked for.
    async fn keep(&self, flow: FlowId, read: own::Read) -> Result<Own> {
        let home = self.home.path().to_owned();
        let kept = flow::off_thread(move || own::write(&home, flow, read)).await?;
        kept.map_err(|error| self.give_up(flow, Failed::Over(error)))
    }

    fn settle(
        &self,
        record: &FlowRecord,
        ending: Result<Ending>,
        durations: &mut Durations,
        waiting: Instant,
    ) -> std::result::Result<(), Failed> {
        // Before a key has left, nothing can have been released; and of a flow that was never granted the broker tells nothing.
        let undecided = |error: Error| match (record.step, error) {
            (Step::Requested, Error::Refused(_)) => {
                Failed::Over(Error::NotGranted(record.flow.to_string()))
            }
            (Step::Requested, error) if !is_passing(&error) => Failed::Over(error),
            (_, error) => Failed::Undecided(error),
        };
        ending
            .map_err(undecided)?
            .released()
            .map_err(Failed::Over)?;
        let matched = durations.meet_ms + durations.match_ms + durations.submit_ms;
        durations.release_ms = millis(waiting).saturating_sub(matched);
        (self.progress)(Progress::Released);
        Ok(())
    }

    /// Ends the flow, so that the owner's agent does not wait for this one.
    async fn withdraw(&self, flow: FlowId, why: &Error) -> Result<()> {
        let request = DeclineRequest {
            flow: flow.as_bytes().to_vec(),
            code: why.code().to_owned(),
            field: "flow".to_owned(),
            message: "the recipient's agent cannot go on with the flow".to_owned(),
            would_pass: "ask for the flow again".to_owned(),
        };
        call(self.broker.flows().decline(request)).await?;
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

    /// Removes what is kept of a flow that is over; of an undecided one, says how to go on.
    fn give_up(&self, flow: FlowId, failed: Failed) -> Error {
        match failed {
            Failed::Undecided(error) => undecided(flow, self.kind, &error),
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
pub(super) enum Failed {
    /// There will be none: no key has left, or the broker says so.
    Over(Error),
    /// There may be one, as far as this side knows.
    Undecided(Error),
}

pub(super) fn undecided(flow: FlowId, kind: FlowKind, error: &Error) -> Error {
    Error::Unavailable(format!(
        "{error}; whether flow `{flow}` was released is not known: `counterfoil {kind} --resume {flow}` finds out, \
         and fetches what was"
    ))
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
