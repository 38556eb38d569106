//! The calls: each parses its message, asks `decide` through the ledger, and turns the answer into a reply.

pub(crate) mod agreements;
pub(crate) mod canaries;
pub(crate) mod directory;
pub(crate) mod enrolment;
pub(crate) mod fetch;
pub(crate) mod flows;
pub(crate) mod log;
pub(crate) mod operator;
pub(crate) mod relay;
pub(crate) mod request;
pub(crate) mod submit;
pub(crate) mod traces;

use counterfoil_audit::entry::{Digest, FlowId, OrgName};
use counterfoil_proto::{WireError, fixed};
use tonic::Status;

use crate::error::Error;
use crate::refusal::Refusal;

/// Pieces of a stream that wait for a slow reader: with the one in hand and the one being written, three a stream.
pub(crate) const STREAM_CHUNKS: usize = 1;

/// Runs what changes something to its end, even if its caller leaves: tonic drops a call's future with its client, and
/// nobody may stop between an entry and its effects (a revocation and the cut that follows it).
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_| Err(failed("a call's task ended early")))
}

/// Runs what reads or writes files, or computes for long, apart from the threads that move messages.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(internal),
        Err(_) => Err(failed("a call's thread ended early")),
    }
}

pub(crate) fn flow_id(bytes: &[u8]) -> Result<FlowId, Status> {
    fixed("flow", bytes).map(FlowId::from_bytes).map_err(wire)
}

pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    fixed("digest", bytes).map(Digest::from_bytes).map_err(wire)
}

pub(crate) fn org(name: &str) -> Result<OrgName, Status> {
    OrgName::new(name).map_err(|_| {
        Status::invalid_argument(
            "an institution's name is 2 to 63 of a-z, 0-9 and `-`, such as `north-bank`",
        )
    })
}

/// A message that its sender should not have sent.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn wire(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Something failed here. What it was stands in the broker's own log; a caller learns that and no more.
pub(crate) fn internal(error: Error) -> Status {
    failed(error)
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "a call failed");
    Status::internal(
        "the broker could not do this: its operator finds the reason in the broker's output",
    )
}

/// A refusal that is not recorded.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn refused(refusal: Refusal) -> Status {
    let code = match refusal.code {
        "log_down" => tonic::Code::Unavailable,
        "invite_unknown" => tonic::Code::NotFound,
        _ => tonic::Code::FailedPrecondition,
    };
    refusal.status(code)
}
