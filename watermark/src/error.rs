//! What can be wrong with a mark's parameters. Never shows a cell.

/// A parameter or a definition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Not 12 to 32.
    #[error("a mark tag cannot have `{found}` bits; choose 12 to 32")]
    TagBits {
        /// What was asked for.
        found: u8,
    },
    /// Not above 0 and at most half of the cells.
    #[error("a change budget of `{ppm}` cells in a million cannot be kept; choose 1 to 500000")]
    Budget {
        /// Cells in a million.
        ppm: u32,
    },
    /// The lineage is too small for its budget: nothing would be selected.
    #[error(
        "a budget of `{ppm}` cells in a million leaves nothing to mark in `{rows_min}` rows; \
         raise the budget or the least number of rows"
    )]
    BudgetTooSmall {
        /// Cells in a million.
        ppm: u32,
        /// Fewest rows of a flow.
        rows_min: u64,
    },
    /// A name that is empty or too long.
    #[error("a name of `{bytes}` bytes cannot be used; choose 1 to 128")]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// The flow's share is above one half.
    #[error(
        "flows cannot have `{share}` of 32768 positions; at most 16384, recipients need the rest"
    )]
    FlowShare {
        /// The share, in 2^-15.
        share: u16,
    },
    /// A closed list with fewer than two values, a repeated one, or too many.
    #[error("a list of `{found}` values cannot carry marks; it takes 2 to 1024 different ones")]
    Values {
        /// Values in the list.
        found: usize,
    },
    /// Weights that do not go with the values.
    #[error("`{found}` weights for `{expected}` values; give one for each, not all 0")]
    Weights {
        /// Weights given.
        found: usize,
        /// Values of the list.
        expected: usize,
    },
    /// A swap names a value that is not in the list, or one value twice.
    #[error("swap `{index}` does not name two different values of the list")]
    Swap {
        /// Which swap, counted from 0.
        index: usize,
    },
    /// The swaps close a ring of odd length.
    #[error(
        "the swaps cannot be given two colours: swap `{index}` closes a ring of odd length; \
         take one swap of the ring away"
    )]
    OddRing {
        /// Which swap, counted from 0.
        index: usize,
    },
    /// A tolerance that moves nothing, or by too much.
    #[error(
        "the tolerance moves no cell, or by more than can be; choose 1 to 1000 units of its last digit"
    )]
    Tolerance,
    /// A domain whose lower end is above its upper end.
    #[error("the domain is empty: its lower end must lie below its upper end")]
    Domain,
    /// Two columns with one name and form.
    #[error("column `{index}` is there twice")]
    ColumnTwice {
        /// Which column, counted from 0.
        index: usize,
    },
    /// The file's columns could be the lineage's in too many ways.
    #[error("the file's columns can be read in more than `{limit}` ways; name some of them")]
    TooAmbiguous {
        /// Most ways that are scored.
        limit: usize,
    },
    /// A column of the file or of the lineage that is not there.
    #[error("there is no column `{index}`")]
    NoColumn {
        /// Which column, counted from 0.
        index: usize,
    },
    /// Columns of different length.
    #[error("column `{index}` has `{found}` cells for `{expected}` rows")]
    Ragged {
        /// Which column, counted from 0.
        index: usize,
        /// Its cells.
        found: usize,
        /// The file's rows.
        expected: usize,
    },
}
