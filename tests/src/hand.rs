//! Requests that the command would not make, by an agent of ours that is dishonest or mistaken.

use std::path::Path;

use counterfoil_party::agreements;
use counterfoil_party::clock::Clock;
use counterfoil_party::home::Home;
use counterfoil_party::transport::{Broker, call};
use counterfoil_policy::agreement::FlowKind;
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest};
use counterfoil_policy::text::FlowId;
use counterfoil_proto::delivery::{DeliverySecret, SUITE};
use counterfoil_proto::v1::flow_reply::Result as Reply;
use counterfoil_proto::v1::{Denial, FlowRequest};
use rand::Rng as _;

use crate::world::AGREEMENT;

/// A request for everything that the agreement allows, as `home` sees it, signed with its key after `change`.
pub fn request(home: &Path, change: impl FnOnce(&mut RequestBody)) -> SignedRequest {
    let home = Home::open(home, Clock::system()).unwrap();
    let agreement = agreements::active(&home, &AGREEMENT.parse().unwrap()).unwrap();
    let mut flow = [0; 16];
    rand::rng().fill_bytes(&mut flow);
    let secret = DeliverySecret::generate(&mut rand::rng());
    let now = home.clock().now();
    let tags = agreement.tags().iter().map(|tag| tag.name().clone());
    let mut body = RequestBody {
        format: 1,
        flow: FlowId::from_bytes(flow),
        recipient: home.org().clone(),
        agreement: agreement.id().clone(),
        agreement_version: agreement.version(),
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: agreement.purpose(),
        segment: None,
        identifier: agreement.identifiers()[0].identifier(),
        tags: tags.collect(),
        measure: None,
        set_size: 10,
        delivery_suite: SUITE.parse().unwrap(),
        delivery_key: DeliveryKey::from_bytes(secret.public_bytes()).unwrap(),
        issued_at: now,
        expires_at: now.saturating_add_seconds(600),
        user: "chen".parse().unwrap(),
    };
    change(&mut body);
    SignedRequest::sign(&home.institution_key().unwrap(), body).unwrap()
}

/// Sends a request with the certificate of `home`: the entry of its grant, or its denial.
pub fn send(home: &Path, request: &SignedRequest) -> Result<u64, Denial> {
    let home = Home::open(home, Clock::system()).unwrap();
    let signed_request = request.to_json().unwrap();
    let reply = block_on(async {
        let broker = Broker::connect(&home).await.unwrap();
        call(broker.flows().request(FlowRequest { signed_request })).await
    });
    match reply.unwrap().result.unwrap() {
        Reply::Granted(grant) => Ok(grant.entry),
        Reply::Denied(denial) => Err(denial),
    }
}

/// Runs something of the agent's library in this process.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}
