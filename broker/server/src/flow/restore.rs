//! Taking a flow up again after a restart.

use std::sync::Arc;

use counterfoil_audit::entry::{Digest, FlowId};
use counterfoil_policy::request::SignedRequest;
use counterfoil_proto::v1::{Offer, RowsHeader};
use counterfoil_psi::SessionId;

use super::buckets::{Buckets, Declared, Said};
use super::canaries::{Canaries, Codes, Committed};
use super::registry::Running;
use super::running_files::layout;
use crate::api::submit;
use crate::broker::Broker;
use crate::state::agreements::Status;

/// Enters a flow that the log says is running. False if that cannot be: its request is not on disk, or its agreement does not
/// stand.
pub(crate) fn flow(broker: &Broker, flow: FlowId) -> bool {
    let known = broker.ledger.read(|state| {
        let record = state.flow(flow)?;
        let (grant, committed) = (record.grant.clone()?, record.canaries);
        let record = state.agreements.get(&grant.agreement.sha256)?;
        (record.status == Status::Active).then(|| (grant, record.agreement.clone(), committed))
    });
    let Some((grant, agreement, committed)) = known else {
        return false;
    };
    let Some(signed_request) = broker.running.request(*flow.as_bytes()) else {
        return false;
    };
    let verified = SignedRequest::from_json(&signed_request)
        .ok()
        .and_then(|signed| signed.verify(&agreement.recipient().signing_key).ok());
    // What lies on disk is believed no more than what came over the wire: it must be the request that was granted.
    let granted = verified
        .filter(|request| grant.request_sha256 == Digest::from_bytes(*request.digest().as_bytes()));
    let Some(request) = granted else {
        return false;
    };
    let canaries = committed.map(|committed| canaries(broker, flow, committed));
    if matches!(canaries, Some(None)) {
        return false;
    }
    let flows = &broker.flows;
    flows.start(grant, agreement, request, Offer { signed_request });
    flows.admit(flow);
    if let Some(running) = flows.get(flow) {
        running.buckets(Buckets::restored);
        if let Some(canaries) = canaries.flatten() {
            let _ = running.canaries.set(canaries);
        }
        for header in broker.running.headers(*flow.as_bytes()) {
            rows(broker, &running, &header);
        }
    }
    true
}

/// What is stored of canaries, if it is what was committed to.
fn canaries(broker: &Broker, flow: FlowId, committed: Committed) -> Option<Canaries> {
    let stored = broker.running.canaries(*flow.as_bytes())?;
    Canaries::new(committed, &Codes::read(&stored, committed.rate)?)
}

/// Enters what is stored of a bucket. What does not fit is matched again.
fn rows(broker: &Broker, running: &Arc<Running>, header: &RowsHeader) {
    let session = <[u8; 32]>::try_from(header.session.as_slice());
    let (Some(layout), Ok(session)) = (layout(header), session) else {
        return;
    };
    let withheld = header
        .consent
        .as_ref()
        .map(|consent| consent.withheld.parse());
    let Ok(withheld) = withheld.transpose() else {
        return;
    };
    let said = Said {
        withheld,
        tag_key: submit::tag_key(header),
    };
    let declared = Declared {
        bucket: header.bucket,
        buckets: header.buckets,
        count: header.count,
    };
    let need = submit::need(running, declared, &layout);
    // The operator may have set less since: the rows lie there, and are matched again once there is room.
    if running.make_room(&broker.flows.budget, need).is_err() {
        return;
    }
    running.buckets(|all| {
        if all.declare_rows(declared, &layout, said).is_ok() {
            all.received(header.bucket, Some(SessionId::from_bytes(session)));
        }
    });
}
