//! Commitments to canaries.

use std::sync::Arc;

use counterfoil_audit::entry::{CanariesCommitted, Integer};
use counterfoil_proto::v1::{CanaryCommitment, CanaryReply};
use counterfoil_psi::Role;
use tonic::{Request, Response, Status};

use super::submit::{over, running};
use super::{failed, off_thread, refused, to_its_end};
use crate::broker::{Broker, Partner};
use crate::flow::canaries::{Canaries, Codes, Committed};
use crate::flow::registry::Running;
use crate::log::{Decided, Recorded};
use crate::refusal::{Refusal, label};
use crate::state::flows::Stage;

/// Records what an owner mixes in, before anything of the flow is matched: what it calls a canary afterwards is none.
pub(crate) async fn commit(
    broker: &Arc<Broker>,
    request: Request<CanaryCommitment>,
) -> Result<Response<CanaryReply>, Status> {
    let partner = broker.recorded_partner(&request)?;
    let request = request.into_inner();
    let running = running(broker, &partner, &request.flow, Role::Owner)?;
    let rate = request.expected_rate.parse().ok();
    let read = rate.and_then(|rate| Some((Codes::read(&request.codes, rate)?, rate)));
    let (codes, rate) = read.ok_or_else(|| {
        Status::invalid_argument(
            "canaries are codes of 16 bytes in rising order, as many as could stop a flow, at a rate of at most 0.1",
        )
    })?;
    let broker = broker.clone();
    to_its_end(async move {
        let _present = running.attend(Role::Owner);
        let _turn = running.storing.lock().await;
        if let Some(canaries) = running.canaries.get() {
            let committed = canaries.committed;
            return if committed.codes_sha256 == codes.digest() && committed.rate == rate {
                Ok(reply(committed.entry))
            } else {
                Err(Status::failed_precondition(
                    "other canaries were committed for this flow",
                ))
            };
        }
        if running.has_met() {
            return Err(Status::failed_precondition(
                "canaries are committed before anything of a flow is matched",
            ));
        }
        let event = CanariesCommitted {
            flow: running.grant.flow,
            count: Integer::new(codes.len() as u64).map_err(failed)?,
            expected_rate: label(&rate.to_string()),
            codes_sha256: codes.digest(),
        };
        // First: a commitment whose codes are gone would end the flow at the next start.
        let (files, stored, flow) = (broker.running.clone(), codes.clone(), running.grant.flow);
        off_thread(move || files.store_canaries(*flow.as_bytes(), stored.bytes())).await?;
        let entry = match record(&broker, &partner, &running, event).await {
            Ok(entry) => entry,
            Err(status) => {
                if running.ended().is_cancelled() {
                    broker.running.discard(*flow.as_bytes());
                }
                return Err(status);
            }
        };
        let committed = Committed {
            entry,
            codes_sha256: codes.digest(),
            rate,
        };
        let canaries = Canaries::new(committed, &codes).ok_or_else(|| failed("other codes"))?;
        // Nobody else sets them: the turn is held.
        let _ = running.canaries.set(canaries);
        Ok(reply(entry))
    })
    .await
}

fn reply(entry: Integer) -> Response<CanaryReply> {
    let entry = entry.value();
    Response::new(CanaryReply { entry })
}

async fn record(
    broker: &Broker,
    partner: &Partner,
    running: &Running,
    event: CanariesCommitted,
) -> Result<Integer, Status> {
    let flow = running.grant.flow;
    let recorded: Result<Recorded<()>, Refusal> = broker
        .ledger
        .commit(&partner.actor(), |state, _| {
            let runs = state.flow(flow).is_some_and(|f| f.stage == Stage::Running);
            // Looked at here again: the agents do not wait for this call.
            if !runs || running.has_met() {
                return Err(Refusal::new("flow_ended", "the flow has ended", "-"));
            }
            Ok(Decided {
                events: vec![event.into()],
                value: (),
            })
        })
        .await;
    match recorded {
        Ok(recorded) => Integer::new(recorded.index()).map_err(failed),
        Err(refusal) if refusal.code == "flow_ended" => Err(over()),
        Err(refusal) => Err(refused(refusal)),
    }
}
