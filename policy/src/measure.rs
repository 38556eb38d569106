//! Measuring common customers under differential privacy: what may be asked, what it costs, how it is counted, and what a
//! noised answer says.
//!
//! This crate draws no noise and knows no sampler: the broker adds noise with [OpenDP](https://opendp.org), to the exact figures
//! of a [`Tally`], as the [`Plan`]'s parts say. What is defined here is used on all three sides: the recipient writes a [`Query`] and
//! reads [`Answers`], the broker plans, charges and counts, and the owner's agent charges by its own copy of the [budget](Caps).
//!
//! The guarantee and its neighbours stand at [`plan`]; how budgets add up and renew at [`budget`].
//!
//! ```
//! use counterfoil_policy::measure::Query;
//!
//! let query: Query = "histogram age_band epsilon 0.5".parse()?;
//! assert_eq!(query.to_string(), "histogram age_band epsilon 0.5");
//! assert!("count epsilon 0".parse::<Query>().is_err());
//! # Ok::<(), counterfoil_policy::measure::QueryError>(())
//! ```

pub mod budget;
pub mod interval;
pub mod plan;

mod answer;
mod forecast;
mod noisy;
mod query;
mod readable;
mod scorecard;
mod tally;
mod terms;

pub use answer::{Answer, Answers, Figure, Row, answers};
pub use budget::{Caps, Charge, Cost, Delta, Epsilon, Left};
pub use forecast::{Expected, Forecast, forecast};
pub use noisy::{Misfit, Noisy, NoisyPart};
pub use plan::{Asked, Part, Plan, Planned};
pub use query::{Axis, Bins, Bounded, Noise, QUERY_BYTES_MAX, Query, QueryError, Question, Share};
pub use scorecard::{Bin, Scorecard};
pub use tally::{Exact, Tally};
pub use terms::{MeasureTerms, PopulationName, QueryKind, RecipientTag};

pub(crate) use terms::read as read_terms;

#[cfg(test)]
mod tests;
