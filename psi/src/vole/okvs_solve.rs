//! Solving one bin: peeling, and elimination for the few rows that peeling leaves.

use zeroize::Zeroizing;

use super::{DENSE, Hashed, Row, Unsolvable, read};

const NO_ROW: u32 = u32::MAX;

/// A sparse place while rows are being peeled: how many rows still read it, and the exclusive or
/// of their numbers, which is the number when there is one.
#[derive(Clone, Copy, Default)]
struct Column {
    degree: u32,
    rows: u32,
}

/// Which row determines which place, in the order in which they were peeled, and the rows that
/// none does.
struct Triangle {
    pivots: Vec<(u32, u32)>,
    gap: Vec<u32>,
}

/// Fills a bin: sparse part, dense part.
pub(super) fn bin(
    rows: &[Row],
    items: &[Hashed],
    (sparse, dense): (&mut [u128], &mut [u128]),
) -> Result<(), Unsolvable> {
    let triangle = peel(rows, sparse.len())?;
    let mut masks = Zeroizing::default();
    if !triangle.gap.is_empty() {
        masks = substitute_masks(&triangle, rows, sparse.len());
    }
    substitute(&triangle, rows, items, sparse);
    if triangle.gap.is_empty() {
        return Ok(());
    }
    // Now the sparse part is right for a dense part of zeros, and `masks` says how each of its
    // places changes with the dense part. The gap's rows decide what that must be.
    let equations = triangle.gap.iter().filter_map(|&number| {
        let row = rows.get(number as usize)?;
        let value = items.get(number as usize)?.value;
        let mask = row.places.iter().fold(row.dense, |mask, &place| {
            mask ^ masks.get(place as usize).copied().unwrap_or_default()
        });
        Some((mask, value ^ read(sparse, row)))
    });
    eliminate(Zeroizing::new(equations.collect()), dense)?;
    for (place, mask) in sparse.iter_mut().zip(masks.iter()) {
        *place ^= masked_sum(*mask, dense);
    }
    Ok(())
}

fn peel(rows: &[Row], places: usize) -> Result<Triangle, Unsolvable> {
    let mut columns = vec![Column::default(); places];
    for (row, number) in rows.iter().zip(0_u32..) {
        for &place in &row.places {
            if let Some(column) = columns.get_mut(place as usize) {
                column.degree += 1;
                column.rows ^= number;
            }
        }
    }
    let mut pivots = Vec::with_capacity(rows.len());
    let mut gap = Vec::new();
    let mut ready: Vec<u32> = columns
        .iter()
        .zip(0_u32..)
        .filter_map(|(column, place)| (column.degree == 1).then_some(place))
        .collect();
    loop {
        while let Some(place) = ready.pop() {
            let Some(column) = columns.get(place as usize) else {
                continue;
            };
            if column.degree != 1 {
                continue;
            }
            let number = column.rows;
            pivots.push((number, place));
            remove(rows, number, &mut columns, &mut ready);
        }
        if pivots.len() + gap.len() == rows.len() {
            return Ok(Triangle { pivots, gap });
        }
        if gap.len() == DENSE {
            return Err(Unsolvable);
        }
        let number = stuck_row(rows, &columns, &gap).ok_or(Unsolvable)?;
        gap.push(number);
        remove(rows, number, &mut columns, &mut ready);
    }
}

fn remove(rows: &[Row], number: u32, columns: &mut [Column], ready: &mut Vec<u32>) {
    let Some(row) = rows.get(number as usize) else {
        return;
    };
    for &place in &row.places {
        if let Some(column) = columns.get_mut(place as usize) {
            column.degree = column.degree.wrapping_sub(1);
            column.rows ^= number;
            if column.degree == 1 {
                ready.push(place);
            }
        }
    }
}

/// A row that reads a place which only two rows read, so that taking it away frees the other.
/// Searched for anew each time: rows are left over in one bin of thousands.
fn stuck_row(rows: &[Row], columns: &[Column], gap: &[u32]) -> Option<u32> {
    let degree = |place: &u32| columns.get(*place as usize).map_or(0, |c| c.degree);
    let mut best = (u32::MAX, NO_ROW);
    for (row, number) in rows.iter().zip(0_u32..) {
        // A row that was peeled or put aside may still meet busy places, but was taken from them
        // all; one that was not is counted in each of its three.
        let lowest = row.places.iter().map(degree).min().unwrap_or_default();
        if lowest >= 2 && lowest < best.0 && !gap.contains(&number) {
            best = (lowest, number);
        }
    }
    (best.1 != NO_ROW).then_some(best.1)
}

/// Gives each pivot's place what its row still lacks, last peeled first.
fn substitute(triangle: &Triangle, rows: &[Row], items: &[Hashed], sparse: &mut [u128]) {
    for &(number, place) in triangle.pivots.iter().rev() {
        let Some(row) = rows.get(number as usize) else {
            continue;
        };
        let value = items.get(number as usize).map_or(0, |item| item.value);
        let lacking = value ^ read(sparse, row);
        if let Some(to) = sparse.get_mut(place as usize) {
            *to = lacking;
        }
    }
}

/// The same for the dense part: bit j of `masks[c]` says whether place c takes dense place j in.
fn substitute_masks(triangle: &Triangle, rows: &[Row], places: usize) -> Zeroizing<Vec<u64>> {
    let mut masks = Zeroizing::new(vec![0; places]);
    for &(number, place) in triangle.pivots.iter().rev() {
        let Some(row) = rows.get(number as usize) else {
            continue;
        };
        let mask = row.places.iter().fold(row.dense, |mask, &place| {
            mask ^ masks.get(place as usize).copied().unwrap_or_default()
        });
        if let Some(to) = masks.get_mut(place as usize) {
            *to = mask;
        }
    }
    masks
}

/// Gauss-Jordan over GF(2); places that stay free are zero.
fn eliminate(
    mut equations: Zeroizing<Vec<(u64, u128)>>,
    dense: &mut [u128],
) -> Result<(), Unsolvable> {
    // As many as there are, so that growing leaves no copy behind.
    let mut solved = Zeroizing::new(Vec::with_capacity(equations.len()));
    while let Some((mut mask, mut value)) = equations.pop() {
        for (other, known) in solved.iter() {
            if mask & lowest_bit(*other) != 0 {
                mask ^= other;
                value ^= known;
            }
        }
        if mask == 0 {
            if value == 0 {
                continue;
            }
            return Err(Unsolvable);
        }
        for (other, known) in solved.iter_mut() {
            if *other & lowest_bit(mask) != 0 {
                *other ^= mask;
                *known ^= value;
            }
        }
        solved.push((mask, value));
    }
    for &(mask, value) in solved.iter() {
        if let Some(place) = dense.get_mut(mask.trailing_zeros() as usize) {
            *place = value;
        }
    }
    Ok(())
}

const fn lowest_bit(mask: u64) -> u64 {
    mask & mask.wrapping_neg()
}

fn masked_sum(mask: u64, dense: &[u128]) -> u128 {
    dense
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .fold(0, |sum, (_, place)| sum ^ place)
}

/// Rows that peeling leaves to the dense part.
#[cfg(test)]
pub(super) fn gap(rows: &[Row], places: usize) -> usize {
    peel(rows, places).map_or(usize::MAX, |triangle| triangle.gap.len())
}

#[cfg(test)]
#[path = "okvs_solve_tests.rs"]
mod tests;
