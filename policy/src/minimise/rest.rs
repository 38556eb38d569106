//! The last few rows, that no cluster of their own is left for.

use std::cmp::Ordering;

use super::cluster::{Cluster, Record};
use super::column::Column;

/// Where a combination of the rest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With a combination that was large enough at first, by its number.
    Large(u32),
    /// In a cluster, which becomes coarser for it.
    Cluster(usize),
}

/// The place where a combination costs least, itself and the others there; `None` if there is
/// none, and it can only be suppressed.
///
/// A combination that was large enough at first does not change for others, so it must be told
/// coarser already. Equal costs fall to what comes first by its texts.
pub(super) fn cheapest<'k>(
    columns: &[Column],
    record: Record<'_>,
    large: impl Iterator<Item = (u32, &'k [u32])>,
    clusters: &[Cluster],
) -> Option<Place> {
    let own = record.codes();
    let rows = u64::from(record.rows());
    let large = large.filter_map(|(number, told)| {
        let cost = rows * added(columns, own, told);
        is_above(columns, told, own).then_some((cost, told, Place::Large(number)))
    });
    let clusters = clusters.iter().enumerate().map(|(index, cluster)| {
        let joint = |(column, (own, told)): (&Column, (&u32, &u32))| {
            let joint = u64::from(column.loss(column.common(*own, *told)));
            rows * joint.saturating_sub(column.loss(*own).into())
                + cluster.rows * joint.saturating_sub(column.loss(*told).into())
        };
        let cost = columns.iter().zip(own.iter().zip(&cluster.told)).map(joint);
        (cost.sum(), cluster.told.as_slice(), Place::Cluster(index))
    });
    let cheaper = |a: &(u64, &[u32], Place), b: &(u64, &[u32], Place)| {
        a.0.cmp(&b.0)
            .then_with(|| compare(columns, a.1, b.1))
            .then_with(|| matches!(a.2, Place::Cluster(_)).cmp(&matches!(b.2, Place::Cluster(_))))
    };
    large
        .chain(clusters)
        .min_by(cheaper)
        .map(|(_, _, place)| place)
}

/// Order of two combinations by their texts.
pub(super) fn compare(columns: &[Column], a: &[u32], b: &[u32]) -> Ordering {
    let orders = columns.iter().zip(a.iter().zip(b));
    orders
        .map(|(column, (a, b))| column.compare(*a, *b))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Makes a cluster as coarse as it must be to take a combination in.
pub(super) fn take_in(columns: &[Column], cluster: &mut Cluster, record: Record<'_>) {
    let cells = cluster.told.iter_mut().zip(record.codes());
    for (column, (told, own)) in columns.iter().zip(cells) {
        *told = column.common(*told, *own);
    }
    cluster.rows += u64::from(record.rows());
}

fn is_above(columns: &[Column], told: &[u32], own: &[u32]) -> bool {
    let mut cells = columns.iter().zip(told.iter().zip(own));
    cells.all(|(column, (told, own))| column.common(*told, *own) == *told)
}

fn added(columns: &[Column], own: &[u32], told: &[u32]) -> u64 {
    let added = |(column, (own, told)): (&Column, (&u32, &u32))| {
        u64::from(column.loss(*told).saturating_sub(column.loss(*own)))
    };
    columns.iter().zip(own.iter().zip(told)).map(added).sum()
}
