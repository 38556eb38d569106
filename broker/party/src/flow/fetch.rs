//! Fetching a release.

use counterfoil_audit::receipt::RECEIPT_BYTES_MAX;
use counterfoil_policy::text::FlowId;
use counterfoil_proto::WireError;
use counterfoil_proto::limits::{COLUMNS_MAX, VALUE_BYTES_MAX};
use counterfoil_proto::v1::delivery_chunk::Part;

use crate::error::Result;
use crate::receipts::Fetched;
use crate::transport::{Broker, call};

use super::flow_ref;

/// Most bytes of a sealed delivery of `rows` rows: each a match id and all columns, then at most doubled by padding.
fn sealed_bytes_max(rows: u64) -> u64 {
    let row = 16 + (COLUMNS_MAX * (1 + VALUE_BYTES_MAX)) as u64;
    rows.saturating_mul(row)
        .saturating_mul(2)
        .saturating_add(1 << 20)
}

/// Fetches receipt and sealed delivery; an owner gets no delivery. `rows` is the most that this side can be sent, its
/// own set size (0 for an owner). `progress` is told the bytes so far.
///
/// # Errors
/// The broker refuses, is gone, or sends something else or more than it may.
pub(crate) async fn fetch(
    broker: &Broker,
    flow: FlowId,
    rows: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Fetched> {
    let mut stream = call(broker.flows().fetch(flow_ref(flow))).await?;
    let Some(Part::Receipt(receipt)) = stream.message().await?.and_then(|first| first.part) else {
        return Err(WireError::Malformed {
            field: "delivery",
            why: "it does not begin with a receipt",
        }
        .into());
    };
    if receipt.len() > RECEIPT_BYTES_MAX {
        return Err(WireError::TooLarge {
            field: "receipt",
            max: RECEIPT_BYTES_MAX as u64,
        }
        .into());
    }
    let bytes_max = if rows == 0 { 0 } else { sealed_bytes_max(rows) };
    let mut sealed = Vec::new();
    while let Some(chunk) = stream.message().await? {
        let Some(Part::Sealed(piece)) = chunk.part else {
            return Err(WireError::Malformed {
                field: "delivery",
                why: "it has a second receipt",
            }
            .into());
        };
        if sealed.len() as u64 + piece.len() as u64 > bytes_max {
            return Err(WireError::TooLarge {
                field: "delivery",
                max: bytes_max,
            }
            .into());
        }
        sealed.extend_from_slice(&piece);
        progress(sealed.len() as u64);
    }
    Ok(Fetched::new(receipt, sealed))
}
