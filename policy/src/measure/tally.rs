//! Exact counts of common customers, before noise. They never leave the broker.

use super::plan::{Cell, Plan, Shape, middle};
use crate::decimal::Decimal;

/// Counters of all queries of a flow. Holds no row.
///
/// Exact figures: `Debug` shows none of them, and only [`Tally::exact`] gives them out, to whoever adds noise.
pub struct Tally {
    plan: Plan,
    matched: i64,
    /// For each query, for each of its parts, its numbers.
    counts: Vec<Vec<Vec<i64>>>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tally(redacted)")
    }
}

/// Exact figures on their way to the noise.
pub struct Exact<'t> {
    /// Common customers.
    pub matched: i64,
    /// For each query, for each of its parts, its numbers.
    pub counts: &'t [Vec<Vec<i64>>],
}

impl Tally {
    /// Counters at 0, of every cell of the domain.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let counts = plan.queries().iter().map(|planned| {
            let zeros = planned.parts().iter().map(|part| vec![0; part.cells]);
            zeros.collect()
        });
        Self {
            counts: counts.collect(),
            matched: 0,
            plan,
        }
    }

    /// What is counted.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Counts one common customer with the values of either side, in the order of the plan's tags.
    ///
    /// `None` if a value is none of its tag's: such a row counts nowhere, as if it had not matched. A customer adds 1 to one cell
    /// of a table, and to a sum no more than its bounds: whatever a row says, the plan's sensitivities hold.
    pub fn add(&mut self, owner: &[&str], recipient: &[&str]) -> Option<()> {
        let value = |cell: Cell| match cell {
            Cell::Owner(index) => owner.get(index).copied(),
            Cell::Recipient(index) => recipient.get(index).copied(),
        };
        // All first: a row counts in every query or in none.
        let mut steps = Vec::with_capacity(self.counts.len());
        for planned in self.plan.queries() {
            steps.push(match &planned.shape {
                Shape::Count => Step::At(0),
                Shape::Cells(axes) => {
                    let place = axes.iter().try_fold(0, |place, axis| {
                        let index = axis.index(value(axis.cell)?)?;
                        Some(place * axis.labels.len() + index)
                    });
                    Step::At(place?)
                }
                Shape::Total(bounded, index) => {
                    Step::Add(bounded.clamp(number(owner.get(*index)?)?))
                }
                Shape::Mean(bounded, index) => {
                    let clamped = bounded.clamp(number(owner.get(*index)?)?);
                    Step::AddAndCount(clamped - middle(bounded))
                }
            });
        }
        self.matched += 1;
        for (parts, step) in self.counts.iter_mut().zip(steps) {
            step.apply(parts);
        }
        Some(())
    }

    /// The exact figures.
    #[must_use]
    pub fn exact(&self) -> Exact<'_> {
        Exact {
            matched: self.matched,
            counts: &self.counts,
        }
    }
}

fn number(text: &str) -> Option<Decimal> {
    text.parse().ok()
}

/// What one customer adds to a query.
enum Step {
    At(usize),
    Add(i64),
    AddAndCount(i64),
}

impl Step {
    fn apply(self, parts: &mut [Vec<i64>]) {
        let mut add = |part: usize, cell: usize, amount: i64| {
            let cells = parts.get_mut(part);
            if let Some(number) = cells.and_then(|cells| cells.get_mut(cell)) {
                // Within 2^62: at most 10^7 rows of at most 2^38 steps each.
                *number += amount;
            }
        };
        match self {
            Self::At(cell) => add(0, cell, 1),
            Self::Add(amount) => add(0, 0, amount),
            Self::AddAndCount(amount) => {
                add(0, 0, amount);
                add(1, 0, 1);
            }
        }
    }
}
