//! The end of a measure flow: the minimum, the noise, and the sealed answers.
//!
//! INVARIANT (noised): of the exact counts nothing leaves this module but through [`Noises`]: not into an entry, an error, a log line
//! or the choice between a release and a refusal, which is made on a noised count that is charged and recorded either way.

use counterfoil_audit::entry::{FlowRefused, ReleaseIntent, ReleaseResult, Spent, ValueError};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::measure::{Noisy, Tally};
use counterfoil_policy::moment::Timestamp;
use counterfoil_proto::answers;
use counterfoil_proto::delivery::DeliveryContext;
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use time::OffsetDateTime;

use super::complete::{Ending, Told, intent, under_minimum};
use super::marks::Sealed;
use super::registry::Running;
use super::release::Stored;
use crate::broker::Broker;
use crate::decide::budgets;
use crate::measure::noise::Noises;
use crate::refusal::label;

/// What it costs that the minimum was met or not, of a flow that measures.
pub(super) fn found_out(running: &Running) -> Option<Spent> {
    let (terms, plan) = (running.agreement.measure()?, running.plan.as_ref()?);
    Some(budgets::spent(terms, plan.minimum_cost()))
}

/// Noises, seals and stores the answers of a flow, or ends it under its minimum. Blocks.
pub(super) fn prepare(broker: &Broker, running: &Running, tally: &Tally) -> Result<Stored, Ending> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "answers could not be made");
        Ending::Failed(
            "the broker could not make the answers; its operator finds the reason".into(),
        )
    };
    let agreement = &*running.agreement;
    let Some(terms) = agreement.measure() else {
        return Err(failed(&"the agreement measures nothing"));
    };
    let plan = tally.plan();
    let noises = Noises::of(plan).map_err(|e| failed(&e))?;
    let minimum = noises.minimum(tally).map_err(|e| failed(&e))?;
    let counted = minimum.numbers.first().copied().unwrap_or(0);
    if counted < i64::from(agreement.minimum_match()) {
        let flow = running.grant.flow;
        return Err(Ending::UnderMinimum(Box::new(FlowRefused {
            flow,
            decision: under_minimum(agreement).decision("refused"),
            spent: Some(budgets::spent(terms, plan.minimum_cost())),
        })));
    }
    let now = OffsetDateTime::now_utc();
    let moment = Timestamp::from_unix_seconds(now.unix_timestamp());
    // What this flow set aside is charged already.
    let left = broker
        .ledger
        .read(|state| moment.map(|moment| budgets::left(state, agreement, moment)));
    let noised = noises.add(tally, minimum).map_err(|e| failed(&e))?;
    let noisy = Noisy {
        format: 1,
        flow: running.request.body().flow,
        minimum: noised.minimum,
        parts: noised.parts,
        left: left.ok_or_else(|| failed(&"the clock cannot be told"))?,
    };
    let json = serde_json::to_vec(&noisy).map_err(|e| failed(&e))?;
    let context = DeliveryContext {
        flow: *running.grant.flow.as_bytes(),
        agreement: *agreement.digest().as_bytes(),
    };
    let key = running.request.body().delivery_key.as_bytes();
    let sealed =
        answers::seal(&json, key, &context, &mut UnwrapErr(SysRng)).map_err(|e| failed(&e))?;
    let described = described(running, counted, now).map_err(|e| failed(&e))?;
    let sealed = Sealed::without_rows(sealed);
    Stored::store(&broker.deliveries, &sealed, |sha256, bytes| ReleaseIntent {
        spent: Some(budgets::spent(terms, plan.cost())),
        result: ReleaseResult {
            sha256,
            bytes,
            ..described.result
        },
        ..described
    })
    .map_err(|e| failed(&e))
}

/// Everything that the entry says but for the sealed bytes: of customers, only a bucket of the noised count.
fn described(
    running: &Running,
    counted: i64,
    now: OffsetDateTime,
) -> Result<ReleaseIntent, ValueError> {
    let agreement = &*running.agreement;
    let asked = &running.request.body().tags;
    let tags: Vec<_> = asked
        .iter()
        .filter_map(|name| agreement.tag(name))
        .collect();
    let told = Told::nothing_removed(CoarseCount::of(counted.unsigned_abs()));
    let mut described = intent(running, &tags, &told, now)?;
    described.transform.kind = label("measure");
    Ok(described)
}

#[cfg(test)]
mod tests;
