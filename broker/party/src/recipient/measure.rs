//! Measuring: the same match as an exchange, of which the recipient gets noised figures and never a row.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, FlowKind, IdentifierType};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::measure::{
    Answers, Asked, Cost, Delta, Forecast, Noisy, Plan, Query, answers, forecast,
};
use counterfoil_policy::text::{AgreementId, FlowId, SegmentName, TagName, UserId};
use counterfoil_proto::v1::BudgetRequest;
use counterfoil_psi::{Normaliser, Region};
use serde::Serialize;

use crate::data::{ReadReport, Row, Source};
use crate::error::{Error, Result};
use crate::flow::shard::Shard;
use crate::flow::{self, is_passing};
use crate::home::Home;
use crate::transport::{Broker, call};

use super::complete::{acknowledge, verified};
use super::own;
use super::prepare::{self, From};
use super::record::{FlowRecord, NewRecord, forget, forget_rows};
use super::run::{
    Asking, Resumed, carry_out, check_recipient, in_force, millis, request_size, settled, sign,
};
use super::{Counts, Durations, OnProgress, Progress};

/// What to measure, with which file.
#[derive(Debug, Clone)]
pub struct MeasureOptions {
    /// The agreement; its active version is used.
    pub agreement: AgreementId,
    /// Who asks, as an opaque id that enters the log.
    pub user: UserId,
    /// One of the agreement's segments; without one, the whole dataset.
    pub segment: Option<SegmentName>,
    /// What to match by; may be left out where the agreement has only one.
    pub identifier: Option<IdentifierType>,
    /// The queries, all answered from one match.
    pub queries: Vec<Query>,
    /// For all Gaussian noise together.
    pub delta: Option<Delta>,
    /// Own customers.
    pub source: Source,
    /// The column that holds their identifiers.
    pub column: String,
    /// The region of telephone numbers without a country code; without one, the agreement's.
    pub region: Option<Region>,
    /// Which own column is which own tag of the agreement; a tag that is not listed is read from the column of its name.
    pub columns: Vec<(TagName, String)>,
    /// Add readable figures beside the noised ones.
    pub readable: bool,
}

impl MeasureOptions {
    fn asked(&self) -> Asked {
        Asked {
            queries: self.queries.clone(),
            delta: self.delta,
        }
    }
}

/// A finished measure flow.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The flow's id.
    pub flow: String,
    /// The agreement's id.
    pub agreement: String,
    /// Its version.
    pub version: u32,
    /// The other institution.
    pub owner: String,
    /// The segment, if one was asked for.
    pub segment: Option<String>,
    /// What became of the own rows.
    pub counts: Counts,
    /// The answers.
    #[serde(flatten)]
    pub answers: Answers,
    /// What renewal of the budget means.
    pub renewal: String,
    /// Index of the log entry that records the release.
    pub entry: u64,
    /// The receipt that is kept.
    pub receipt: PathBuf,
    /// The answers as they are kept.
    pub kept: PathBuf,
    /// Whether the broker took the acknowledgement.
    pub acknowledged: bool,
    /// How long each phase took.
    pub durations: Durations,
}

/// What a flow would spend, and what would be left.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// Cost and expected error.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// What can be spent now, by the broker's word.
    pub left: Cost,
    /// What could be spent after the flow.
    pub left_after: Cost,
    /// Whether the cost fits what is left.
    pub fits: bool,
}

/// Says what queries would cost. Asks the broker what is left, and spends nothing.
///
/// # Errors
/// [`Error::Input`] for queries outside the agreement; the broker is gone.
pub async fn preview(home: &Home, id: &AgreementId, asked: &Asked) -> Result<Preview> {
    let agreement = in_force(home, id).await?;
    check_recipient(home, &agreement, "measure")?;
    let plan = planned(&agreement, asked)?;
    let broker = Broker::connect(home).await?;
    let request = BudgetRequest {
        agreement: agreement.digest().as_bytes().to_vec(),
    };
    let left = call(broker.flows().budget(request)).await?;
    let decimal = |text: &str| {
        text.parse()
            .map_err(|_| Error::Unexpected("the broker told a budget that is no decimal".into()))
    };
    let left = Cost {
        epsilon: decimal(&left.epsilon)?,
        delta: decimal(&left.delta)?,
    };
    let forecast = forecast(&agreement, &plan);
    Ok(Preview {
        left,
        left_after: forecast.cost.left_of(left),
        fits: forecast.cost.fits(left),
        forecast,
    })
}

/// Runs a measure flow from the file that is read to the answers.
///
/// # Errors
/// As [`exchange`](super::exchange).
pub async fn measure(
    home: &Home,
    options: &MeasureOptions,
    progress: &OnProgress,
) -> Result<Measured> {
    let mut durations = Durations::default();
    let agreement = in_force(home, &options.agreement).await?;
    check_recipient(home, &agreement, "measure")?;
    let asked = options.asked();
    let plan = planned(&agreement, &asked)?;
    let (identifier, normaliser) =
        prepare::identified(options.identifier, options.region, &agreement)?;
    let columns = own_columns(options, &plan)?;
    let started = Instant::now();
    let reading = Reading {
        options,
        plan: &plan,
        columns,
        normaliser,
    };
    let (read, report) = reading.read(home, &agreement, progress).await?;
    durations.read_ms = millis(started);
    let counts = prepare::counts(&report);
    progress(Progress::Read { report });
    let size = request_size(&read, &agreement)?;
    let asking = Asking {
        kind: FlowKind::Measure,
        segment: options.segment.clone(),
        identifier,
        tags: plan.owner_tags().to_vec(),
        measure: Some(asked),
        user: options.user.clone(),
    };
    let (request, secret) = sign(home, asking, &agreement, size)?;
    let new = NewRecord {
        request,
        output: PathBuf::new(),
        overwrite: false,
        columns: Vec::new(),
        counts,
    };
    let record = FlowRecord::new(new, &secret);
    let (broker, record, _lock) = carry_out(
        home,
        &agreement,
        (record, read),
        None,
        progress,
        &mut durations,
    )
    .await?;
    let done = Done {
        home,
        broker: &broker,
        agreement: &agreement,
        readable: options.readable,
    };
    done.complete(record, progress, durations).await
}

/// Goes on with a measure flow that was interrupted.
///
/// # Errors
/// As [`resume`](super::resume).
pub async fn resume_measure(
    home: &Home,
    flow: FlowId,
    readable: bool,
    progress: &OnProgress,
) -> Result<Measured> {
    let Resumed {
        broker,
        agreement,
        record,
        durations,
        lock: _lock,
    } = settled(home, flow, FlowKind::Measure, Shard::WHOLE, progress).await?;
    let done = Done {
        home,
        broker: &broker,
        agreement: &agreement,
        readable,
    };
    done.complete(record, progress, durations).await
}

/// A mistake of ours costs nothing if it is found here. What stands outside the agreement is refused here with the same words as at
/// the broker.
fn planned(agreement: &Agreement, asked: &Asked) -> Result<Plan> {
    Plan::new(agreement, asked).map_err(|error| Error::Input(error.to_string()))
}

/// The column of each own tag that the queries use, in the plan's order.
fn own_columns(options: &MeasureOptions, plan: &Plan) -> Result<Vec<String>> {
    let unused = options
        .columns
        .iter()
        .find(|(tag, _)| !plan.recipient_tags().contains(tag));
    if let Some((tag, _)) = unused {
        return Err(Error::Input(format!(
            "no query uses `{tag}` as a tag of your own: leave it out of --tag"
        )));
    }
    let tags = plan.recipient_tags().iter();
    Ok(tags
        .map(|tag| {
            let named = options.columns.iter().find(|(name, _)| name == tag);
            named.map_or_else(|| tag.to_string(), |(_, column)| column.clone())
        })
        .collect())
}

/// What is read, and how.
struct Reading<'r> {
    options: &'r MeasureOptions,
    plan: &'r Plan,
    /// Of the own tags, in the plan's order.
    columns: Vec<String>,
    normaliser: Normaliser,
}

impl Reading<'_> {
    /// Reads identifiers and own tags. A value outside a tag's list counts nowhere at the broker; here it can be said in which line it
    /// stands.
    async fn read(
        self,
        home: &Home,
        agreement: &Agreement,
        progress: &OnProgress,
    ) -> Result<(own::Read, ReadReport)> {
        let source = self.options.source.clone();
        let column = self.options.column.clone();
        let (columns, normaliser) = (self.columns, self.normaliser);
        let tags = self.plan.recipient_tags().iter().filter_map(|name| {
            let tag = agreement.measure()?.recipient_tag(name)?;
            Some((name.clone(), tag.values().to_vec()))
        });
        let tags: Vec<(TagName, Vec<Box<str>>)> = tags.collect();
        let (progress, directory) = (Arc::clone(progress), home.path().join("flows"));
        flow::off_thread(move || {
            let others: Vec<&str> = columns.iter().map(String::as_str).collect();
            let from = From {
                source: &source,
                column: &column,
                others: &others,
                normaliser,
            };
            let outside = |row: &Row<'_>| {
                let mut pairs = tags.iter().zip(&others);
                let fault = pairs.find(|((_, values), column)| {
                    let cell = row.get(column).unwrap_or_default();
                    !values.iter().any(|value| **value == *cell)
                });
                fault
                    .map(|((tag, _), _)| format!("its value is none of the agreed ones of `{tag}`"))
            };
            prepare::read_rows(&from, outside, &directory, &progress)
        })
        .await?
    }
}

/// What completing a released flow takes.
struct Done<'d> {
    home: &'d Home,
    broker: &'d Broker,
    agreement: &'d Agreement,
    readable: bool,
}

impl Done<'_> {
    /// Fetches, verifies, opens, keeps, acknowledges, forgets: in this order.
    async fn complete(
        self,
        record: FlowRecord,
        progress: &OnProgress,
        durations: Durations,
    ) -> Result<Measured> {
        let flow = record.flow;
        self.deliver(record, progress, durations)
            .await
            .map_err(|error| {
                let mendable =
                    is_passing(&error) || matches!(error, Error::Io { .. } | Error::Busy(_));
                if !mendable {
                    return error;
                }
                Error::Unavailable(format!(
                    "{error}; flow `{flow}` was released and paid for: `counterfoil measure --resume {flow}` fetches its answers"
                ))
            })
    }

    async fn deliver(
        &self,
        record: FlowRecord,
        progress: &OnProgress,
        mut durations: Durations,
    ) -> Result<Measured> {
        let (home, agreement) = (self.home, self.agreement);
        let started = Instant::now();
        let request = record
            .request
            .verify(&agreement.recipient().signing_key)
            .map_err(|e| Error::Unexpected(format!("the record of flow `{}`: {e}", record.flow)))?;
        let release = verified(home, self.broker, agreement, &record, &request, progress).await?;
        let body = request.body();
        let asked = body
            .measure
            .as_ref()
            .ok_or_else(|| Error::Unexpected("the flow measures nothing".to_owned()))?;
        let plan = planned(agreement, asked)?;
        let json = release.open_answers(&record.secret(home)?)?;
        let noisy = checked(&json, &record, &plan, release.rows())?;
        let receipt = release.store(home)?;
        let mut measured = Measured {
            flow: record.flow.to_string(),
            agreement: agreement.id().to_string(),
            version: agreement.version(),
            owner: agreement.owner().name.to_string(),
            segment: body.segment.as_ref().map(ToString::to_string),
            counts: record.counts,
            answers: answers(&plan, &noisy, self.readable),
            renewal: forecast(agreement, &plan).renewal,
            entry: receipt.entry,
            receipt: receipt.path,
            kept: home.path().join(kept(record.flow)),
            acknowledged: false,
            durations,
        };
        let kept_json =
            serde_json::to_vec_pretty(&measured).map_err(|e| Error::Unexpected(e.to_string()))?;
        // Before the broker hears that they arrived: what was paid for is not lost to a crash.
        home.make_dir(ANSWERS)?;
        home.write(kept(record.flow), &kept_json)?;
        forget_rows(home, record.flow)?;
        measured.acknowledged = acknowledge(self.broker, record.flow, release.sha256()).await;
        forget(home, record.flow)?;
        durations.deliver_ms = millis(started);
        measured.durations = durations;
        Ok(measured)
    }
}

/// The directory of kept answers, within the home.
const ANSWERS: &str = "answers";

fn kept(flow: FlowId) -> String {
    format!("{ANSWERS}/{flow}.json")
}

/// The answers fit the queries, and the log tells the bucket of the very count with which the minimum was decided.
fn checked(json: &[u8], record: &FlowRecord, plan: &Plan, rows: &str) -> Result<Noisy> {
    let unverified = |why: String| Error::Unverified(format!("the delivery: {why}"));
    let noisy = Noisy::read(json, record.flow, plan).map_err(|e| unverified(e.to_string()))?;
    let counted = noisy.minimum.numbers.first().copied().unwrap_or(0);
    if CoarseCount::of(counted.unsigned_abs()).to_string() == rows {
        return Ok(noisy);
    }
    Err(unverified(
        "the log tells another count of common customers than the answers".to_owned(),
    ))
}
