//! Two institutions with an agreement in force, and what their agents do.

use counterfoil_audit::note::VerifierKey;
use counterfoil_audit::receipt::{Receipt, VerifiedReceipt};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::consent::Scope;
use counterfoil_policy::request::SignedRequest;
use counterfoil_proto::delivery::DeliverySecret;
use counterfoil_proto::v1::delivery_chunk::Part;
use counterfoil_proto::v1::flow_reply::Result as Answer;
use counterfoil_proto::v1::flow_status::Stage as WireStage;
use counterfoil_proto::v1::{
    Column, Consent, FlowRef, FlowRequest, FlowStatus, KeysChunk, KeysHeader, ListenRequest, Offer,
    ReceiptsRequest, RelayFrame, RowsChunk, RowsHeader, SessionRef, Waiting, keys_chunk,
    relay_frame, rows_chunk,
};
use tokio_stream::StreamExt as _;
use tonic::{Response, Status, Streaming};

use super::super::*;
use super::agent::{Agent, Serving};
use crate::flow::submission::Submission;
use crate::testing::{TAGS, agreement, agreement_with, bank, insurer, request_body, submissions};

/// Bank and insurer with an agreement in force, and the bank's agent listening.
pub(super) struct Scene {
    pub(super) serving: Serving,
    pub(super) agreement: Agreement,
    pub(super) owner: Agent,
    pub(super) recipient: Agent,
    pub(super) offers: Streaming<Offer>,
}

pub(super) const FLOW: [u8; 16] = [1; 16];

/// The size that the recipient asks under.
pub(super) const GRANTED: u32 = 100;

pub(super) fn flow() -> FlowRef {
    FlowRef {
        flow: FLOW.to_vec(),
    }
}

impl Scene {
    pub(super) async fn set() -> Self {
        let serving = Serving::start().await;
        let (owner, recipient) = (serving.agent(bank()).await, serving.agent(insurer()).await);
        let agreement = agreement_with(&[
            ("\nk = 10 ", "\nk = 5 "),
            ("minimum_match = 50", "minimum_match = 10"),
        ]);
        owner.propose(&agreement).await;
        recipient.countersign(&agreement).await;
        let offers = owner.flows().listen(ListenRequest::default()).await;
        Self {
            serving,
            agreement,
            owner,
            recipient,
            offers: offers.unwrap().into_inner(),
        }
    }

    /// Asks for the flow; the owner's agent gets the very request.
    pub(super) async fn granted(&mut self) -> DeliverySecret {
        let (mut body, secret) = request_body(&self.agreement, FLOW[0]);
        body.tags = TAGS.map(|tag| tag.parse().unwrap()).to_vec();
        let signed = SignedRequest::sign(&self.recipient.house.key, body).unwrap();
        let signed_request = signed.to_json().unwrap();
        let request = FlowRequest {
            signed_request: signed_request.clone(),
        };
        let reply = self.recipient.flows().request(request).await.unwrap();
        let result = reply.into_inner().result;
        assert!(matches!(result, Some(Answer::Granted(_))), "{result:?}");
        let offer = self.offers.message().await.unwrap().unwrap();
        assert_eq!(offer.signed_request, signed_request);
        secret
    }

    /// The first `customers` are common; the recipient has as many more as it was granted.
    pub(super) async fn submit(&self, customers: u32) {
        let all: Vec<_> = (0..customers).map(|c| (c, ["low", "own"])).collect();
        let recipient: Vec<_> = (0..GRANTED).collect();
        let (rows, keys) = submissions(&self.agreement, &all, &recipient);
        let rows = tokio_stream::iter(rows_of(&rows, &TAGS));
        self.owner.flows().submit_rows(rows).await.unwrap();
        let keys = tokio_stream::iter(keys_of(&keys));
        self.recipient.flows().submit_keys(keys).await.unwrap();
    }

    pub(super) async fn fetched(&self, agent: &Agent) -> Result<(String, Vec<u8>), Status> {
        let mut stream = agent.flows().fetch(flow()).await?.into_inner();
        let Some(Part::Receipt(receipt)) = stream.message().await?.unwrap().part else {
            panic!("no receipt");
        };
        let mut sealed = Vec::new();
        while let Some(chunk) = stream.message().await? {
            match chunk.part {
                Some(Part::Sealed(piece)) => sealed.extend(piece),
                other => panic!("{other:?}"),
            }
        }
        Ok((receipt, sealed))
    }

    pub(super) fn verified(&self, receipt: &str) -> VerifiedReceipt {
        let key = VerifierKey::parse(&self.serving.broker.ledger.verifier()).unwrap();
        Receipt::parse(receipt).unwrap().verify(&key).unwrap()
    }
}

pub(super) async fn watching(agent: &Agent) -> Streaming<FlowStatus> {
    agent.flows().watch(flow()).await.unwrap().into_inner()
}

/// The last thing that a watch tells before it ends, which it must do soon.
pub(super) async fn last(mut watch: Streaming<FlowStatus>) -> FlowStatus {
    let mut last = None;
    let end = async {
        while let Some(status) = watch.message().await.unwrap() {
            last = Some(status);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .unwrap();
    last.unwrap()
}

#[track_caller]
pub(super) fn assert_aborted(status: &FlowStatus, code: &str) {
    assert_eq!(status.stage(), WireStage::Aborted, "{status:?}");
    assert_eq!(status.denial.as_ref().unwrap().code, code, "{status:?}");
}

pub(super) fn records(of: &Submission) -> Vec<u8> {
    let records = of.records();
    records
        .flat_map(|(id, rest)| [&id[..], rest].concat())
        .collect()
}

/// What an honest owner declares for these tags.
pub(super) fn consent(tags: &[&str]) -> Consent {
    let agreement = agreement();
    let tags: Vec<_> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
    let scope = Scope::of(&agreement, &tags, None).unwrap();
    Consent {
        recipient: scope.recipient.to_string(),
        contact: scope.contact.to_string(),
        purpose: scope.purpose.to_string(),
        method: scope.method.to_string(),
        categories: scope.categories.iter().map(ToString::to_string).collect(),
        withheld: "fewer than 20".to_owned(),
    }
}

pub(super) fn rows_of(rows: &Submission, tags: &[&str]) -> Vec<RowsChunk> {
    let column = |tag: &&str| Column {
        tag: (*tag).to_owned(),
        width: 16,
    };
    let header = RowsHeader {
        keyed: false,
        watched: false,
        flow: FLOW.to_vec(),
        session: rows.session.as_bytes().to_vec(),
        count: rows.len() as u64,
        columns: tags.iter().map(column).collect(),
        marked: false,
        tag_key: Vec::new(),
        consent: Some(consent(tags)),
        bucket: 0,
        buckets: 1,
    };
    [
        rows_chunk::Part::Header(header),
        rows_chunk::Part::Rows(records(rows)),
    ]
    .map(|part| RowsChunk { part: Some(part) })
    .to_vec()
}

pub(super) fn keys_of(keys: &Submission) -> Vec<KeysChunk> {
    let header = KeysHeader {
        columns: Vec::new(),
        flow: FLOW.to_vec(),
        session: keys.session.as_bytes().to_vec(),
        count: keys.len() as u64,
        bucket: 0,
        buckets: 1,
    };
    [
        keys_chunk::Part::Header(header),
        keys_chunk::Part::Keys(records(keys)),
    ]
    .map(|part| KeysChunk { part: Some(part) })
    .to_vec()
}

/// One side's end of the relay: what it sends goes in, what it gets comes out.
pub(super) type End = (mpsc::Sender<RelayFrame>, Streaming<RelayFrame>);

/// The recipient comes for an attempt at the only bucket.
pub(super) async fn come(agent: &Agent, attempt: u32) -> Result<End, Status> {
    let open = SessionRef {
        flow: FLOW.to_vec(),
        bucket: 0,
        attempt,
    };
    relay(agent, relay_frame::Frame::Open(open)).await
}

/// The owner waits.
pub(super) async fn wait(agent: &Agent) -> Result<End, Status> {
    let wait = Waiting {
        flow: FLOW.to_vec(),
        shard: 0,
        shards: 1,
    };
    relay(agent, relay_frame::Frame::Wait(wait)).await
}

async fn relay(agent: &Agent, first: relay_frame::Frame) -> Result<End, Status> {
    let (sender, frames) = mpsc::channel(8);
    let frame = Some(first);
    sender.send(RelayFrame { frame }).await.unwrap();
    let inbound = agent.flows().relay(ReceiverStream::new(frames)).await;
    inbound.map(|inbound: Response<_>| (sender, inbound.into_inner()))
}

pub(super) fn noise(bytes: &[u8]) -> RelayFrame {
    let frame = relay_frame::Frame::Noise(bytes.to_vec());
    RelayFrame { frame: Some(frame) }
}

pub(super) async fn receipts(scene: &Scene, agent: &Agent, flow: Vec<u8>) -> Vec<&'static str> {
    let stream = agent.log().receipts(ReceiptsRequest { flow }).await;
    let texts: Vec<_> = stream.unwrap().into_inner().collect().await;
    let names = texts.into_iter().map(|text| {
        let verified = scene.verified(&text.unwrap().text);
        verified.entry().event().type_name()
    });
    names.collect()
}
