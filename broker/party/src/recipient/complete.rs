//! From the release to the file that is written; the same after a crash.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::request::VerifiedRequest;
use counterfoil_policy::text::{FlowId, TagName};
use counterfoil_proto::delivery::Delivery;
use counterfoil_proto::v1::AcknowledgeRequest;
use counterfoil_watermark::ReferenceKey;

use crate::audit;
use crate::audit::log_key;
use crate::data::{Existing, OutputFile};
use crate::error::{Error, Result};
use crate::flow::plan::Plan;
use crate::flow::{self, Table, again, is_passing};
use crate::home::Home;
use crate::receipts::{Known, StoredReceipt, VerifiedRelease};
use crate::transport::{Broker, call};

use super::map;
use super::own::OwnReader;
use super::record::{FlowRecord, Step, forget, forget_rows};
use super::run::millis;
use super::{Durations, Exchanged, OnProgress, Progress, TagLoss, prepare};

/// Fetches, verifies, opens, writes, acknowledges, forgets: in this order.
///
/// What goes wrong with the connection or the disk can be mended, and the flow resumed; what does not verify cannot.
pub(super) async fn complete(
    home: &Home,
    broker: &Broker,
    agreement: &Agreement,
    record: FlowRecord,
    progress: &OnProgress,
    durations: Durations,
) -> Result<Exchanged> {
    let flow = record.flow;
    deliver(home, broker, agreement, record, progress, durations)
        .await
        .map_err(|error| {
            let mendable = is_passing(&error)
                || matches!(error, Error::Output(_) | Error::Io { .. } | Error::Busy(_));
            if mendable {
                Error::Undelivered {
                    flow: flow.to_string(),
                    error: Box::new(error),
                }
            } else {
                error
            }
        })
}

async fn deliver(
    home: &Home,
    broker: &Broker,
    agreement: &Agreement,
    mut record: FlowRecord,
    progress: &OnProgress,
    mut durations: Durations,
) -> Result<Exchanged> {
    let started = Instant::now();
    let request = record
        .request
        .verify(&agreement.recipient().signing_key)
        .map_err(|e| Error::Unexpected(format!("the record of flow `{}`: {e}", record.flow)))?;
    let release = verified(home, broker, agreement, &record, &request, progress).await?;
    let sha256 = release.sha256();
    let secret = record.secret(home)?;
    let mut release = release;
    let (release, delivery) = flow::off_thread(move || {
        let delivery = release.open(&secret);
        (release, delivery)
    })
    .await?;
    let delivery = checked(delivery?, agreement, &request)?;
    let receipt = release.store(home)?;
    let facts = Facts {
        delivered: delivery.rows.len() as u64,
        generalised: delivery.generalised.clone(),
        suppressed: delivery.suppressed.clone(),
        without_consent: release
            .removed()
            .without_consent
            .as_ref()
            .map(|count| count.as_str().to_owned()),
        loss: release
            .removed()
            .tags
            .as_slice()
            .iter()
            .map(TagLoss::of)
            .collect(),
    };
    if record.step != Step::Written {
        write_output(home, &mut record, delivery, &request.body().tags).await?;
    }
    // A crash here leaves the whole file and a record that `resume` finishes from.
    forget_rows(home, record.flow)?;
    let acknowledged = acknowledge(broker, record.flow, sha256).await;
    if acknowledged {
        forget(home, record.flow)?;
    }
    durations.deliver_ms = millis(started);
    Ok(exchanged(
        record,
        &request,
        agreement,
        facts,
        receipt,
        acknowledged,
        durations,
    ))
}

/// Fetches a release and verifies its receipt, before anything of it is opened.
///
/// # Errors
/// The broker refuses or is gone; [`Error::Unverified`].
pub(super) async fn verified(
    home: &Home,
    broker: &Broker,
    agreement: &Agreement,
    record: &FlowRecord,
    request: &VerifiedRequest,
    progress: &OnProgress,
) -> Result<VerifiedRelease> {
    let fetched = fetched(broker, record, progress).await?;
    let intent = fetched.verify(&log_key(home)?, &Known { agreement, request })?;
    audit::confirm(home, broker, intent.receipt().checkpoint()).await?;
    progress(Progress::ReceiptVerified {
        entry: intent.receipt().index(),
    });
    intent.admit()
}

async fn fetched(
    broker: &Broker,
    record: &FlowRecord,
    progress: &OnProgress,
) -> Result<crate::receipts::Fetched> {
    let tell = |bytes| progress(Progress::Fetching { bytes });
    // A measure flow has no rows; its one size is below what an empty table may take.
    let rows = match record.kind() {
        FlowKind::Exchange => record.counts.submitted,
        FlowKind::Measure => 0,
    };
    let most = Table {
        rows,
        columns: record.request.unverified().tags.len() as u64,
    };
    again(|| flow::fetch(broker, record.flow, Some(most), &tell)).await
}

/// Columns and values as agreed: the recipient does not take more than it may have, either.
pub(super) fn checked(
    delivery: Delivery,
    agreement: &Agreement,
    request: &VerifiedRequest,
) -> Result<Delivery> {
    let unverified =
        |what: String| Error::Unverified(format!("the delivery {what}: nothing of it was written"));
    // They are printed, so nothing but a bucket may stand there.
    for count in [&delivery.generalised, &delivery.suppressed] {
        count
            .parse::<CoarseCount>()
            .map_err(|_| unverified("tells a count that is none".to_owned()))?;
    }
    let asked = &request.body().tags;
    if !delivery
        .columns
        .iter()
        .map(String::as_str)
        .eq(asked.iter().map(TagName::as_str))
    {
        return Err(unverified(
            "has other columns than were asked for".to_owned(),
        ));
    }
    for (index, name) in asked.iter().enumerate() {
        let tag = agreement
            .tag(name)
            .ok_or_else(|| unverified(format!("has `{name}`, which is not agreed")))?;
        // Most tags have few values: those that were looked at last need no second look.
        let mut known: VecDeque<&str> = VecDeque::with_capacity(KNOWN_VALUES);
        let mut values = delivery.rows.iter().map(|(_, mut row)| row.nth(index));
        let admitted = values.all(|value| {
            value.is_some_and(|value| {
                known.contains(&value) || {
                    known.truncate(KNOWN_VALUES - 1);
                    known.push_front(value);
                    tag.accepts(value)
                }
            })
        });
        if !admitted {
            return Err(unverified(format!(
                "has a value of `{name}` that is finer than agreed or none of its values"
            )));
        }
    }
    Ok(delivery)
}

/// Values of a tag that are kept at hand.
const KNOWN_VALUES: usize = 8;

async fn write_output(
    home: &Home,
    record: &mut FlowRecord,
    delivery: Delivery,
    tags: &[TagName],
) -> Result<()> {
    // A process that was killed after this step may have put this very file there.
    let existing = match (record.overwrite, record.step) {
        (true, _) => Existing::Replace,
        (false, Step::Writing) => Existing::Same,
        (false, _) => Existing::Refuse,
    };
    let job = Output {
        home: home.path().to_owned(),
        flow: record.flow,
        path: record.output.clone(),
        columns: record.columns.clone(),
        tags: tags.to_vec(),
        existing,
        buckets: record.plan.as_ref().map_or(0, Plan::buckets),
    };
    record.advance(home, Step::Writing)?;
    let written = flow::off_thread(move || job.write(delivery)).await?;
    written?;
    record.advance(home, Step::Written)
}

/// What writing takes to its own thread.
pub(super) struct Output {
    pub(super) home: PathBuf,
    pub(super) flow: FlowId,
    pub(super) path: PathBuf,
    pub(super) columns: Vec<String>,
    pub(super) tags: Vec<TagName>,
    pub(super) existing: Existing,
    pub(super) buckets: u32,
}

impl Output {
    /// Joins the delivery with the own rows by the maps, in the order of the own file.
    pub(super) fn write(self, delivery: Delivery) -> Result<()> {
        let rows = &delivery.rows;
        let placed = map::place(&self.home, self.flow, self.buckets, rows)?;
        // No match id is delivered twice, and no own row has two.
        let strangers = rows.len() - placed.count().min(rows.len());
        if strangers > 0 {
            return Err(Error::Unverified(format!(
                "the broker delivered {strangers} rows of customers that are not in the own file: nothing was written"
            )));
        }
        let codes = delivery.reference_key.as_ref();
        let codes = codes.map(|key| ReferenceKey::from_bytes(key.0));
        let names = prepare::output_columns(&self.columns, &self.tags, codes.is_some());
        let mut output = OutputFile::create(&self.path, &names, self.existing)?;
        let mut all = OwnReader::open(&self.home, self.flow)?;
        let mut written = 0;
        for row in 0.. {
            let Some(own) = all.next_row()? else { break };
            let number = placed.of(row);
            if let Some((_, values)) = number.and_then(|number| rows.get(number)) {
                let code = codes.as_ref().zip(number);
                let code = code.and_then(|(key, number)| {
                    Some(key.code(u32::try_from(number).ok()?).to_string())
                });
                let code = code.iter().map(String::as_str);
                output.write_row(own.iter().map(String::as_str).chain(values).chain(code))?;
                written += 1;
            }
        }
        if written != rows.len() {
            return Err(Error::Unexpected(
                "the own rows and the maps of a flow do not fit".to_owned(),
            ));
        }
        output.finish()?;
        Ok(())
    }
}

/// Tells the broker which bytes were opened. Not worth failing for: what was delivered is safe on disk.
pub(super) async fn acknowledge(broker: &Broker, flow: FlowId, sha256: [u8; 32]) -> bool {
    let request = AcknowledgeRequest {
        flow: flow.as_bytes().to_vec(),
        sha256: sha256.to_vec(),
    };
    let taken = again(|| {
        let (mut client, request) = (broker.flows(), request.clone());
        async move { call(client.acknowledge(request)).await }
    })
    .await;
    if let Err(error) = &taken {
        tracing::warn!(%error, "the broker did not take the acknowledgement");
    }
    taken.is_ok()
}

struct Facts {
    delivered: u64,
    generalised: String,
    suppressed: String,
    without_consent: Option<String>,
    loss: Vec<TagLoss>,
}

fn exchanged(
    record: FlowRecord,
    request: &VerifiedRequest,
    agreement: &Agreement,
    facts: Facts,
    receipt: StoredReceipt,
    acknowledged: bool,
    durations: Durations,
) -> Exchanged {
    Exchanged {
        flow: record.flow.to_string(),
        agreement: agreement.id().to_string(),
        version: agreement.version(),
        owner: agreement.owner().name.to_string(),
        segment: request.body().segment.as_ref().map(ToString::to_string),
        protocol: agreement
            .protocol()
            .for_request(request.body().set_size)
            .to_string(),
        tags: request
            .body()
            .tags
            .iter()
            .map(ToString::to_string)
            .collect(),
        counts: record.counts,
        delivered: facts.delivered,
        generalised: facts.generalised,
        suppressed: facts.suppressed,
        without_consent: facts.without_consent,
        marks: receipt.marks,
        loss: facts.loss,
        entry: receipt.entry,
        receipt: receipt.path,
        output: record.output,
        acknowledged,
        durations,
    }
}
