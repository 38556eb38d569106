//! Figures for readers: whole, not negative, and with one total in all tables of a flow.
//!
//! Post-processing of what was released, so it costs no privacy; it is biased near 0, so the noised figures stay beside it.

use super::answer::{Answer, Figure};
use super::interval::variance;
use super::noisy::Noisy;
use super::plan::{Plan, Shape};
use super::query::{Noise, Question};

/// Adds readable figures to all counts.
pub(super) fn add(answers: &mut [Answer], plan: &Plan, noisy: &Noisy) {
    let total = total(plan, noisy);
    for (answer, planned) in answers.iter_mut().zip(plan.queries()) {
        match (&planned.shape, planned.query().question()) {
            (Shape::Count, _) => {
                for row in &mut answer.rows {
                    row.readable = Some(total);
                }
            }
            (Shape::Cells(_), Question::Quantile { .. }) => {}
            (Shape::Cells(_), _) => {
                let raw: Vec<f64> = answer
                    .rows
                    .iter()
                    .filter_map(|row| row.value.number())
                    .collect();
                for (row, cell) in answer.rows.iter_mut().zip(consistent(&raw, total)) {
                    debug_assert!(matches!(row.value, Figure::Whole(_)));
                    row.readable = Some(cell);
                }
            }
            (Shape::Total(..) | Shape::Mean(..), _) => {}
        }
    }
}

/// The number of common customers by all that was released of it, each weighed by its precision.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are below 2^53, and the float is rounded and not negative"
)]
fn total(plan: &Plan, noisy: &Noisy) -> u64 {
    let minimum = (
        noisy.minimum.numbers.iter().sum::<i64>() as f64,
        variance(Noise::Laplace, noisy.minimum.scale),
    );
    let mut seen = vec![minimum];
    for (planned, parts) in plan.queries().iter().zip(&noisy.parts) {
        // A mean's last part is a count.
        let counted = match planned.shape {
            Shape::Count | Shape::Cells(_) | Shape::Mean(..) => parts.last(),
            Shape::Total(..) => None,
        };
        if let Some(part) = counted {
            let sum = part.numbers.iter().map(|n| *n as f64).sum();
            let of_one = variance(planned.query().noise(), part.scale);
            seen.push((sum, of_one * part.numbers.len() as f64));
        }
    }
    let precision: f64 = seen.iter().map(|(_, variance)| 1.0 / variance).sum();
    let weighted: f64 = seen.iter().map(|(value, variance)| value / variance).sum();
    (weighted / precision).round().max(0.0) as u64
}

/// The nearest cells (least squares) that are not negative and add up to the total, rounded so that they still do.
///
/// The projection onto the simplex of Duchi et al., "Efficient projections onto the l1-ball" (ICML 2008, figure 1); remainders go
/// to the cells with the largest ones.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are below 2^53, and the floats are not negative"
)]
fn consistent(raw: &[f64], total: u64) -> Vec<u64> {
    let mut sorted = raw.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    let mut shift = 0.0;
    for (index, value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - total as f64) / (index + 1) as f64;
        if value - candidate > 0.0 {
            shift = candidate;
        }
    }
    let real: Vec<f64> = raw.iter().map(|value| (value - shift).max(0.0)).collect();
    let mut whole: Vec<u64> = real.iter().map(|value| value.floor() as u64).collect();
    let missing = total.saturating_sub(whole.iter().sum());
    let mut order: Vec<usize> = (0..real.len()).collect();
    let rest = |index: &usize| real.get(*index).map_or(0.0, |value| value.fract());
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
    // Rounding down loses less than 1 a cell, so one more for some of them makes up for it.
    for index in order
        .into_iter()
        .take(usize::try_from(missing).unwrap_or(0))
    {
        if let Some(cell) = whole.get_mut(index) {
            *cell += 1;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn negative_cells_are_paid_for_by_the_others() {
        assert_eq!(consistent(&[10.0, -4.0, 6.0], 12), [8, 0, 4]);
        assert_eq!(consistent(&[-1.0, -2.0], 0), [0, 0]);
        assert_eq!(consistent(&[5.0, 5.0, 5.0], 16).iter().sum::<u64>(), 16);
    }

    proptest! {
        #[test]
        fn cells_add_up(raw in prop::collection::vec(-50_i32..500, 1..40), total in 0_u64..5000) {
            let raw: Vec<f64> = raw.into_iter().map(f64::from).collect();
            prop_assert_eq!(consistent(&raw, total).iter().sum::<u64>(), total);
        }
    }
}
