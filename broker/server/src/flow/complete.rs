//! From the submissions of all buckets to a recorded release, or to a recorded reason why there is none.

use std::mem;
use std::sync::{Arc, PoisonError};

use counterfoil_audit::entry::{
    CoarseCount as EntryCount, Digest, Integer, List, Timestamp, ValueError,
};
use counterfoil_audit::entry::{
    Column, FlowRefused, ReleaseIntent, ReleaseResult, ReleaseSource, Removed, RemovedOfTag,
    Retention, Transform,
};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::coarse::{CoarseCount, CoarseShare};
use counterfoil_policy::minimise::{Report, TagLoss};
use counterfoil_policy::tag::Tag;
use counterfoil_proto::delivery::DeliveryContext;
use counterfoil_proto::v1::flow_status::Stage;
use time::{Duration, OffsetDateTime};

use super::buckets::Buckets;
use super::canaries;
use super::join::{Common, Gathered, open_common};
use super::marks::{Head, Marked, Whose};
use super::measured;
use super::registry::Running;
use super::release::{NotRecorded, Stored};
use super::submission::Submission;
use crate::broker::{Broker, code_version};
use crate::decide::agreements::reference;
use crate::refusal::{Refusal, label};

/// Why a flow ends without a release.
pub(super) enum Ending {
    /// A rule says no.
    Refused(Refusal),
    /// A noised count is under the minimum, and what that cost.
    UnderMinimum(Box<FlowRefused>),
    /// More canaries were hit than chance explains.
    HeldBack,
    /// Somebody or something failed.
    Failed(String),
    /// It has ended already.
    Over,
}

/// Joins one bucket: the stored rows of its session with the recipient's keys, which are gone on return. Tells whether it was the
/// last one; nothing if the flow ended instead.
pub(crate) async fn join(
    broker: &Arc<Broker>,
    running: &Arc<Running>,
    bucket: u32,
    keys: Submission,
) -> Option<bool> {
    let _turn = broker.flows.joins.acquire().await.ok()?;
    let session = keys.session;
    let joined = {
        let (broker, running) = (broker.clone(), running.clone());
        tokio::task::spawn_blocking(move || join_now(&broker, &running, bucket, &keys)).await
    };
    let ending = match joined {
        Ok(Ok(())) => return Some(running.joined(bucket, session)),
        Ok(Err(ending)) => ending,
        Err(_) => Ending::Failed(PANICKED.into()),
    };
    ending.record(broker, running).await;
    None
}

const PANICKED: &str = "the broker failed while it joined; its operator finds the reason";

impl Ending {
    async fn record(self, broker: &Broker, running: &Running) {
        let flow = running.grant.flow;
        match self {
            Self::Over => {}
            Self::Refused(refusal) => {
                let refused = |spent| FlowRefused {
                    flow,
                    decision: refusal.decision("refused"),
                    spent,
                };
                broker.end(broker.actor(), flow, refused).await;
            }
            Self::UnderMinimum(refused) => {
                broker.end(broker.actor(), flow, |_| *refused).await;
            }
            // The incident is opened by whatever ends the flow.
            Self::HeldBack => broker.abort(flow, "review", HELD_BACK).await,
            Self::Failed(reason) => broker.abort(flow, "joining", &reason).await,
        }
    }
}

/// The sides are told that a flow is held back and not why: the owner hears of hits from people who have looked at them, and the
/// recipient from whoever asks it.
const HELD_BACK: &str =
    "the broker holds the flow back before its release; its operator looks at it and gets in touch";

/// Blocks.
fn join_now(
    broker: &Broker,
    running: &Running,
    bucket: u32,
    keys: &Submission,
) -> Result<(), Ending> {
    if running.ended().is_cancelled() {
        return Err(Ending::Over);
    }
    broker.may_continue(running).map_err(Ending::Refused)?;
    let rows = broker
        .running
        .rows(*running.grant.flow.as_bytes(), bucket)
        .map_err(|error| {
            tracing::error!(%error, "sealed rows could not be read");
            Ending::Failed(
                "the broker could not read the owner's rows; its operator finds the reason".into(),
            )
        })?;
    if !running.buckets(Buckets::open) {
        return Err(Ending::Over);
    }
    let mut common = running
        .common
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let now = OffsetDateTime::now_utc().into();
    let canaries = running.canaries.get();
    open_common(&running.agreement, &rows, keys, now, canaries, &mut *common)
        .map_err(|e| Ending::Failed(e.to_string()))
}

/// All buckets are joined: minimises, seals, stores and records; then the recipient can fetch.
pub(crate) async fn run(broker: Arc<Broker>, running: Arc<Running>) {
    let flow = running.grant.flow;
    let Ok(_turn) = broker.flows.joins.acquire().await else {
        return;
    };
    let prepared = {
        let (broker, running) = (broker.clone(), running.clone());
        tokio::task::spawn_blocking(move || prepare(&broker, &running)).await
    };
    let ending = match prepared {
        // Nothing is opened for a flow that ended while it waited.
        Ok(Err(Ending::Over)) => return,
        Ok(Ok(stored)) => match stored.record(&broker).await {
            Ok(recorded) => {
                tracing::info!(%flow, entry = recorded.index(), "release recorded");
                running.advance(Stage::Released);
                broker.close(flow);
                return;
            }
            Err(NotRecorded::LogDown) => return,
            Err(NotRecorded::Refused(refusal)) => match measured::found_out(&running) {
                // That a rule and not the minimum said no tells that the minimum was met.
                Some(spent) => Ending::UnderMinimum(Box::new(FlowRefused {
                    flow,
                    decision: refusal.decision("refused"),
                    spent: Some(spent),
                })),
                None => Ending::Refused(refusal),
            },
            Err(NotRecorded::EndedMeanwhile) => Ending::Failed(
                "the flow, its agreement or a party of it was ended before the release; ask again under an agreement that stands".into(),
            ),
        },
        Ok(Err(ending)) => ending,
        Err(_) => Ending::Failed(PANICKED.into()),
    };
    ending.record(&broker, &running).await;
}

/// All buckets are joined before a row is minimised, and all rows are minimised before anything is sealed. Blocks.
fn prepare(broker: &Broker, running: &Running) -> Result<Stored, Ending> {
    if running.ended().is_cancelled() {
        return Err(Ending::Over);
    }
    broker.may_continue(running).map_err(Ending::Refused)?;
    match canaries::stop(running) {
        Ok(false) => {}
        Ok(true) => return Err(Ending::HeldBack),
        Err(error) => {
            tracing::error!(%error, "canaries could not be counted");
            return Err(Ending::Failed(PANICKED.into()));
        }
    }
    let agreement = &*running.agreement;
    let asked = &running.request.body().tags;
    let tags: Vec<&Tag> = asked
        .iter()
        .filter_map(|name| agreement.tag(name))
        .collect();
    let gathered = mem::replace(
        &mut *running
            .common
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
        Gathered::Rows(Common::new(
            tags.iter().copied(),
            agreement.mark_bits(asked),
        )),
    );
    let common = match gathered {
        Gathered::Rows(common) => common,
        Gathered::Counts(tally) => return measured::prepare(broker, running, &tally),
    };
    let said = running.buckets(|all| all.said());
    let now = OffsetDateTime::now_utc();
    if common.len() < agreement.minimum_match() as usize {
        return Err(Ending::Refused(under_minimum(agreement)));
    }
    let failed = |e: ValueError| Ending::Failed(e.to_string());
    let whose = Whose {
        recipient: running.grant.recipient.org.as_str(),
        flow: &running.grant.flow.to_string(),
        tag_key: said.tag_key,
    };
    let marked = Marked::of(common, agreement, &tags, &whose, &broker.mark_key);
    let minimal = marked
        .and_then(|marked| marked.minimise(agreement.k()))
        .map_err(failed)?;
    let told = Told::of_report(minimal.report(), said.withheld);
    let head = Head {
        columns: tags.iter().map(|tag| tag.name().to_string()).collect(),
        generalised: told.generalised.to_string(),
        suppressed: told.suppressed.to_string(),
    };
    let context = DeliveryContext {
        flow: *running.grant.flow.as_bytes(),
        agreement: *agreement.digest().as_bytes(),
    };
    let public_key = running.request.body().delivery_key.as_bytes();
    let sealed = minimal
        .seal(head, &context, public_key)
        .map_err(|e| Ending::Failed(e.to_string()))?;
    let described = intent(running, &tags, &told, now).map_err(failed)?;
    Stored::store(&broker.deliveries, &sealed, |sha256, bytes| ReleaseIntent {
        result: ReleaseResult {
            sha256,
            bytes,
            ..described.result
        },
        ..described
    })
    .map_err(|error| {
        tracing::error!(%error, "a delivery could not be stored");
        Ending::Failed(
            "the broker could not store the delivery; its operator finds the reason".into(),
        )
    })
}

/// Everything that the entry says of a release, but for the sealed bytes' digest and size.
pub(super) fn intent(
    running: &Running,
    tags: &[&Tag],
    told: &Told,
    now: OffsetDateTime,
) -> Result<ReleaseIntent, ValueError> {
    let agreement = &*running.agreement;
    let grant = &running.grant;
    let columns = tags.iter().map(|tag| Column {
        name: label(tag.name().as_str()),
        class: label(tag.class().as_str()),
        form: label(tag.form().as_str()),
    });
    let retention = agreement.retention();
    let deletion_due = now + Duration::days(retention.deletion_days.into());
    // A year of an audit period has 366 days, so that it is never short.
    let until = now + Duration::days(366 * i64::from(retention.audit_years));
    Ok(ReleaseIntent {
        flow: grant.flow,
        agreement: reference(agreement),
        purpose: grant.purpose.clone(),
        legal_basis: grant.legal_basis.clone(),
        protocol: grant.protocol.clone(),
        source: ReleaseSource {
            org: grant.source.org.clone(),
            dataset: grant.source.dataset.clone(),
            segment: grant.segment.clone(),
            columns: List::new(columns.collect())?,
        },
        transform: Transform {
            kind: label("exchange"),
            code_version: code_version(),
            k: agreement.k(),
            removed: Removed {
                generalised: EntryCount::new(told.generalised.to_string())?,
                suppressed: EntryCount::new(told.suppressed.to_string())?,
                without_consent: told
                    .withheld
                    .map(|withheld| EntryCount::new(withheld.to_string()))
                    .transpose()?,
                tags: List::new(
                    told.tags
                        .iter()
                        .map(told_of_tag)
                        .collect::<Result<_, _>>()?,
                )?,
            },
        },
        result: ReleaseResult {
            rows: EntryCount::new(told.rows.to_string())?,
            bytes: Integer::new(0)?,
            sha256: Digest::from_bytes([0; 32]),
        },
        recipient: grant.recipient.clone(),
        retention: Retention {
            until: Timestamp::from_time(until)?,
            deletion_due: Timestamp::from_time(deletion_due)?,
        },
        // `Stored` puts in those of what was sealed.
        marks: None,
        spent: None,
    })
}

/// Counts as both sides and the log are told them.
pub(super) struct Told {
    rows: CoarseCount,
    generalised: CoarseCount,
    suppressed: CoarseCount,
    /// What the owner says it left out before it sealed anything.
    withheld: Option<CoarseCount>,
    tags: Vec<TagLoss>,
}

impl Told {
    /// Of rows that were counted and not delivered.
    pub(super) fn nothing_removed(rows: CoarseCount) -> Self {
        Self {
            rows,
            generalised: CoarseCount::of(0),
            suppressed: CoarseCount::of(0),
            withheld: None,
            tags: Vec::new(),
        }
    }

    fn of_report(report: &Report, withheld: Option<CoarseCount>) -> Self {
        Self {
            rows: CoarseCount::of(report.after),
            generalised: CoarseCount::of(report.generalised_rows),
            suppressed: CoarseCount::of(report.suppressed_rows),
            withheld,
            tags: report.tags.clone(),
        }
    }
}

fn told_of_tag(loss: &TagLoss) -> Result<RemovedOfTag, ValueError> {
    Ok(RemovedOfTag {
        name: label(loss.tag.as_str()),
        generalised: EntryCount::new(CoarseCount::of(loss.generalised_cells).to_string())?,
        loss: label(&CoarseShare::of(loss.added_loss_ppm, loss.generalised_cells).to_string()),
    })
}

pub(super) fn under_minimum(agreement: &Agreement) -> Refusal {
    Refusal {
        field: "minimum_match".into(),
        ..Refusal::new(
            "minimum_match",
            format!(
                "fewer common customers than the agreed minimum of {}: nothing is released, and how many it were is not told",
                agreement.minimum_match()
            ),
            "a larger set, or another segment; check that both sides use the same identifier type",
        )
    }
}

#[cfg(test)]
mod tests;
