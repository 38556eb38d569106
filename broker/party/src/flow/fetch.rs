//! Fetching a release.

use counterfoil_audit::receipt::RECEIPT_BYTES_MAX;
use counterfoil_policy::text::FlowId;
use counterfoil_proto::WireError;
use counterfoil_proto::limits::VALUE_BYTES_MAX;
use counterfoil_proto::v1::delivery_chunk::Part;

use crate::error::Result;
use crate::receipts::Fetched;
use crate::transport::{Broker, call};

use super::flow_ref;

/// The largest table that a side can be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Its own set size.
    pub(crate) rows: u64,
    /// The tags that it asked for.
    pub(crate) columns: u64,
}

impl Table {
    /// Most bytes of the sealed table: a match id and all values of each row, then at most doubled by padding.
    fn sealed_bytes_max(self) -> u64 {
        let row = self
            .columns
            .saturating_mul(1 + VALUE_BYTES_MAX as u64)
            .saturating_add(16);
        self.rows
            .saturating_mul(row)
            .saturating_mul(2)
            .saturating_add(1 << 20)
    }
}

/// Fetches receipt and sealed delivery, which is at most `most`; an owner gets no delivery. `progress` is told the bytes
/// so far.
///
/// # Errors
/// The broker refuses, is gone, or sends something else or more than it may.
pub(crate) async fn fetch(
    broker: &Broker,
    flow: FlowId,
    most: Option<Table>,
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
    let bytes_max = most.map_or(0, Table::sealed_bytes_max);
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

#[cfg(test)]
mod tests {
    use counterfoil_proto::delivery::{DeliveredRows, Delivery, DeliveryContext, DeliverySecret};

    use super::*;

    #[test]
    fn the_bound_holds_the_largest_table_and_not_much_more() {
        let secret = DeliverySecret::generate(&mut rand::rng());
        let context = DeliveryContext {
            flow: [1; 16],
            agreement: [2; 32],
        };
        for (rows, columns) in [(0_u16, 1), (1, 64), (40_000, 2)] {
            let value = "x".repeat(VALUE_BYTES_MAX);
            let mut delivered = DeliveredRows::new(columns);
            for row in 0..rows {
                let mut match_id = [7; 16];
                match_id[14..].copy_from_slice(&row.to_be_bytes());
                let values = std::iter::repeat_n(value.as_str(), columns);
                delivered.push(&match_id, values).unwrap();
            }
            let delivery = Delivery {
                columns: (0..columns).map(|n| format!("{n:0>64}")).collect(),
                rows: delivered,
                generalised: String::new(),
                suppressed: String::new(),
                reference_key: None,
            };
            let sealed = delivery.seal(&secret.public_bytes(), &context, &mut rand::rng());
            let len = sealed.unwrap().len() as u64;
            let most = Table {
                rows: rows.into(),
                columns: columns as u64,
            };
            let bound = most.sealed_bytes_max();
            assert!(
                (len..=2 * len + (1 << 20)).contains(&bound),
                "{rows} {columns}: {len} {bound}"
            );
        }
        let endless = Table {
            rows: u64::MAX,
            columns: u64::MAX,
        };
        assert_eq!(endless.sealed_bytes_max(), u64::MAX);
    }
}
