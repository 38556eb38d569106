//! The form of a query: one line, the same on the command line, in a file and on the wire.
//!
//! ```text
//! count                                          epsilon 0.5
//! histogram TAG [bins 1000,5000]                 epsilon 0.5
//! crosstab TAG [bins ..] by TAG [bins ..]        epsilon 1
//! scorecard TAG [bins ..] by TAG bad VALUE       epsilon 1
//! sum TAG from 0 to 20000 [step 1]               epsilon 0.5
//! mean TAG from 0 to 20000 [step 1]              epsilon 0.5
//! quantile 0.5 TAG [bins 1000,2000,5000]         epsilon 0.5
//! ```
//!
//! Each may end with `noise gaussian`; without it the noise is discrete Laplace. Words are parted by blanks; bins are cut at the
//! edges that are listed, without blanks. [`Query`]'s `Display` writes the one spelling that is signed.

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use super::budget::Epsilon;
use crate::decimal::Decimal;
use crate::text::{Malformed, TagName, closed_list, echo, serde_as_text};

/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1024;
/// Most edges of bins.
const EDGES_MAX: usize = 64;
/// Largest number of steps that a bounded value may be away from 0: with 10^7 rows (below 2^24) a sum stays below 2^62.
const STEPS_MAX: u64 = 1 << 38;

closed_list!(
    /// From which distribution the noise is drawn.
    Noise, "a kind of noise", "one of laplace, gaussian",
    {
        Laplace = "laplace": "Discrete Laplace: pure differential privacy, no delta.",
        Gaussian = "gaussian": "Discrete Gaussian: lighter tails, for which a delta is spent.",
    }
);

/// One question with its share of the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    question: Question,
    epsilon: Epsilon,
    noise: Noise,
}

/// What is asked of the common customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How many there are.
    Count,
    /// How many in each group of a tag.
    Histogram(Axis),
    /// How many in each pair of groups of two tags, of either side.
    Crosstab(Axis, Axis),
    /// Weight of evidence and information value of a tag's groups for an outcome.
    Scorecard {
        /// What predicts.
        bins: Axis,
        /// A tag with two values.
        outcome: TagName,
        /// The one of both that counts as bad.
        bad: Box<str>,
    },
    /// The sum of a number, each customer's held within bounds.
    Sum(Bounded),
    /// Its mean.
    Mean(Bounded),
    /// The value below which a share of the customers lies, to the width of the bins.
    Quantile {
        /// The share, above 0 and below 1.
        share: Share,
        /// The tag and its bins.
        axis: Axis,
    },
}

/// A tag and how it is cut into groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The tag.
    pub tag: TagName,
    /// Edges; without them the groups are those of the agreement's form of the tag.
    pub bins: Option<Bins>,
}

/// Edges of bins, strictly ascending: below the first, between each two, and from the last on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bins(Vec<Decimal>);

impl Bins {
    /// The edges.
    #[must_use]
    pub fn edges(&self) -> &[Decimal] {
        &self.0
    }
}

/// Above 0 and below 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(Decimal);

impl Share {
    /// As a float.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0.to_f64()
    }
}

/// A number with the bounds within which each customer's is held before it is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded {
    tag: TagName,
    lower: Decimal,
    upper: Decimal,
    step: Decimal,
}

impl Bounded {
    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &TagName {
        &self.tag
    }

    /// The unit in which it is counted; finer digits are rounded away.
    #[must_use]
    pub fn step(&self) -> Decimal {
        self.step
    }

    /// Lower and upper bound in steps.
    #[must_use]
    pub fn bounds(&self) -> (i64, i64) {
        // INVARIANT (bounded steps): both bounds are at most `STEPS_MAX` steps from 0; `Reader::bounded` refuses others.
        let steps = |value: Decimal| value.steps(self.step).unwrap_or(0);
        (steps(self.lower), steps(self.upper))
    }

    /// A customer's number in steps, held within the bounds.
    #[must_use]
    pub fn clamp(&self, value: Decimal) -> i64 {
        let (lower, upper) = self.bounds();
        value
            .clamp(self.lower, self.upper)
            .steps(self.step)
            .map_or(lower, |steps| steps.clamp(lower, upper))
    }
}

/// A query that cannot be used, and what would pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}; give {would_pass}")]
pub struct QueryError {
    /// The query, at most 80 characters of it, or that it is all of them.
    pub what: String,
    /// What is wrong.
    pub problem: String,
    /// What would be read.
    pub would_pass: String,
}

impl QueryError {
    pub(super) fn new(query: &str, fault: Fault) -> Self {
        Self {
            what: format!("the query `{}`", echo(query)),
            problem: fault.problem,
            would_pass: fault.would_pass,
        }
    }
}

/// What is wrong with a query, before the query is named.
pub(super) struct Fault {
    pub(super) problem: String,
    pub(super) would_pass: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, would_pass: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            would_pass: would_pass.into(),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        // `to_string` is "`x` is not w; give y", of which the last part stands apart here.
        let text = error.to_string();
        let problem = text.split_once("; give ").map_or(&*text, |(left, _)| left);
        Self::new(problem, error.would_pass())
    }
}

const FORMS: &str = "count, histogram, crosstab, scorecard, sum, mean or quantile first, `epsilon` and a number last";

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if text.len() > QUERY_BYTES_MAX {
            let fault = Fault::new("it is too long", "at most 1024 bytes");
            return Err(QueryError::new(text, fault));
        }
        Reader::of(text)
            .query()
            .map_err(|fault| QueryError::new(text, fault))
    }
}

struct Reader<'t> {
    words: std::iter::Peekable<SplitWhitespace<'t>>,
}

impl<'t> Reader<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            words: text.split_whitespace().peekable(),
        }
    }

    fn query(mut self) -> Result<Query, Fault> {
        let question = self.question()?;
        self.keyword("epsilon")?;
        let epsilon = self.word("a number after `epsilon`")?.parse::<Epsilon>()?;
        let noise = if self.takes("noise") {
            self.word("laplace or gaussian after `noise`")?.parse()?
        } else {
            Noise::Laplace
        };
        match self.words.next() {
            None => Ok(Query {
                question,
                epsilon,
                noise,
            }),
            Some(word) => Err(Fault::new(
                format!("`{}` follows its end", echo(word)),
                "one query in a line, ended by its epsilon and, if wanted, `noise gaussian`",
            )),
        }
    }

    fn question(&mut self) -> Result<Question, Fault> {
        let word = self.word(FORMS)?;
        Ok(match word {
            "count" => Question::Count,
            "histogram" => Question::Histogram(self.axis()?),
            "crosstab" => {
                let rows = self.axis()?;
                self.keyword("by")?;
                Question::Crosstab(rows, self.axis()?)
            }
            "scorecard" => {
                let bins = self.axis()?;
                self.keyword("by")?;
                let outcome = self.tag()?;
                self.keyword("bad")?;
                Question::Scorecard {
                    bins,
                    outcome,
                    bad: self.word("the value that counts as bad")?.into(),
                }
            }
            "sum" => Question::Sum(self.bounded()?),
            "mean" => Question::Mean(self.bounded()?),
            "quantile" => Question::Quantile {
                share: self.share()?,
                axis: self.axis()?,
            },
            other => {
                return Err(Fault::new(
                    format!("`{}` is no kind of query", echo(other)),
                    FORMS,
                ));
            }
        })
    }

    fn axis(&mut self) -> Result<Axis, Fault> {
        let tag = self.tag()?;
        let bins = if self.takes("bins") {
            Some(bins(self.word("edges such as 1000,5000 after `bins`")?)?)
        } else {
            None
        };
        Ok(Axis { tag, bins })
    }

    fn bounded(&mut self) -> Result<Bounded, Fault> {
        let tag = self.tag()?;
        if !self.takes("from") {
            return Err(Fault::new(
                "it has no bounds, without which one customer could add any amount",
                format!("`from` and `to` after the tag, such as `{tag} from 0 to 20000`"),
            ));
        }
        let lower = self.number("from")?;
        self.keyword("to")?;
        let upper = self.number("to")?;
        let step = if self.takes("step") {
            self.number("step")?
        } else {
            Decimal::from(1)
        };
        if lower >= upper {
            return Err(Fault::new(
                format!("the bound `{lower}` is not below `{upper}`"),
                "a lower and a higher bound",
            ));
        }
        let in_steps = |value: Decimal| value.steps(step).filter(|s| s.unsigned_abs() <= STEPS_MAX);
        match (in_steps(lower), in_steps(upper)) {
            (Some(low), Some(high)) if low < high => Ok(Bounded {
                tag,
                lower,
                upper,
                step,
            }),
            _ => Err(Fault::new(
                format!("the step `{step}` does not fit the bounds"),
                "a step above 0, of which 1 to 2^38 make each bound",
            )),
        }
    }

    fn share(&mut self) -> Result<Share, Fault> {
        let share = self.number("quantile")?;
        if share.is_positive() && share < Decimal::from(1) {
            return Ok(Share(share));
        }
        Err(Fault::new(
            format!("`{share}` is not a share of the customers"),
            "a number above 0 and below 1, such as 0.5",
        ))
    }

    fn number(&mut self, after: &str) -> Result<Decimal, Fault> {
        let wanted = format!("a decimal after `{after}`");
        let word = self.word(&wanted)?;
        word.parse()
            .map_err(|_| Fault::new(format!("`{}` is not a decimal", echo(word)), wanted))
    }

    fn tag(&mut self) -> Result<TagName, Fault> {
        Ok(self.word("the name of a tag")?.parse::<TagName>()?)
    }

    fn word(&mut self, wanted: &str) -> Result<&'t str, Fault> {
        self.words
            .next()
            .ok_or_else(|| Fault::new("it ends early", wanted))
    }

    /// Whether the next word is this one, which is then passed.
    fn takes(&mut self, keyword: &str) -> bool {
        self.words.next_if(|word| *word == keyword).is_some()
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Fault> {
        if self.takes(keyword) {
            return Ok(());
        }
        let found = self
            .words
            .peek()
            .map_or("its end".to_owned(), |word| format!("`{}`", echo(word)));
        Err(Fault::new(
            format!("{found} stands where `{keyword}` is expected"),
            format!("`{keyword}` there"),
        ))
    }
}

fn bins(text: &str) -> Result<Bins, Fault> {
    let wanted = "1 to 64 ascending numbers without blanks, such as 1000,5000";
    let mut edges: Vec<Decimal> = Vec::new();
    for word in text.split(',') {
        let edge = word
            .parse()
            .map_err(|_| Fault::new(format!("`{}` is no edge of bins", echo(word)), wanted))?;
        if let Some(last) = edges.last().filter(|last| **last >= edge) {
            return Err(Fault::new(
                format!("the bins overlap: `{edge}` follows `{last}`"),
                "each edge once, in ascending order",
            ));
        }
        edges.push(edge);
    }
    if edges.len() > EDGES_MAX {
        let problem = format!("it has {} edges", edges.len());
        return Err(Fault::new(problem, wanted));
    }
    Ok(Bins(edges))
}

impl Query {
    /// What is asked.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Its share of the budget.
    #[must_use]
    pub fn epsilon(&self) -> Epsilon {
        self.epsilon
    }

    /// The distribution of its noise.
    #[must_use]
    pub fn noise(&self) -> Noise {
        self.noise
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} epsilon {}", self.question, self.epsilon)?;
        match self.noise {
            Noise::Laplace => Ok(()),
            Noise::Gaussian => f.write_str(" noise gaussian"),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Histogram(axis) => write!(f, "histogram {axis}"),
            Self::Crosstab(rows, columns) => write!(f, "crosstab {rows} by {columns}"),
            Self::Scorecard { bins, outcome, bad } => {
                write!(f, "scorecard {bins} by {outcome} bad {bad}")
            }
            Self::Sum(bounded) => write!(f, "sum {bounded}"),
            Self::Mean(bounded) => write!(f, "mean {bounded}"),
            Self::Quantile { share, axis } => write!(f, "quantile {} {axis}", share.0),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tag)?;
        let Some(bins) = &self.bins else {
            return Ok(());
        };
        let edges: Vec<String> = bins.0.iter().map(ToString::to_string).collect();
        write!(f, " bins {}", edges.join(","))
    }
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.tag, self.lower, self.upper)?;
        if self.step == Decimal::from(1) {
            Ok(())
        } else {
            write!(f, " step {}", self.step)
        }
    }
}

serde_as_text!(Query);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_has_one_spelling() {
        for (read, written) in [
            ("count epsilon 0.50", "count epsilon 0.5"),
            (
                "  histogram  age_band epsilon 1 noise laplace",
                "histogram age_band epsilon 1",
            ),
            (
                "histogram credit_amount bins 1000.0,5000 epsilon 0.1",
                "histogram credit_amount bins 1000,5000 epsilon 0.1",
            ),
            (
                "crosstab housing by claims bins 1,2 epsilon 1 noise gaussian",
                "crosstab housing by claims bins 1,2 epsilon 1 noise gaussian",
            ),
            (
                "scorecard risk_appetite by outcome bad yes epsilon 4",
                "scorecard risk_appetite by outcome bad yes epsilon 4",
            ),
            (
                "sum credit_amount from 0 to 20000 step 1 epsilon 1",
                "sum credit_amount from 0 to 20000 epsilon 1",
            ),
            (
                "mean x from -1 to 1 step 0.01 epsilon 1",
                "mean x from -1 to 1 step 0.01 epsilon 1",
            ),
            (
                "quantile 0.50 age bins 30,60 epsilon 1",
                "quantile 0.5 age bins 30,60 epsilon 1",
            ),
        ] {
            let query: Query = read.parse().unwrap();
            assert_eq!(query.to_string(), written);
            assert_eq!(written.parse::<Query>().unwrap(), query);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, problem, would_pass) in [
            ("", "it ends early", "count, histogram"),
            ("median age epsilon 1", "`median` is no kind", "quantile"),
            ("count", "its end stands where `epsilon`", "`epsilon` there"),
            ("count epsilon 0", "`0` is not an epsilon", "from 0.0001"),
            ("count epsilon -1", "`-1` is not an epsilon", "from 0.0001"),
            ("count epsilon NaN", "`NaN` is not an epsilon", "to 100"),
            ("count epsilon inf", "`inf` is not an epsilon", "to 100"),
            ("count epsilon 1e3", "`1e3` is not an epsilon", "to 100"),
            ("count epsilon 101", "`101` is not an epsilon", "to 100"),
            (
                "count epsilon 1 twice",
                "`twice` follows its end",
                "one query",
            ),
            (
                "count epsilon 1 noise pink",
                "`pink` is not a kind",
                "gaussian",
            ),
            ("sum age epsilon 1", "no bounds", "from 0 to 20000"),
            ("mean age from 5 to 5 epsilon 1", "not below", "a lower"),
            (
                "sum age from 0 to 9 step 0 epsilon 1",
                "the step `0`",
                "above 0",
            ),
            (
                "sum age from 0 to 9 step 0.000000000001 epsilon 1",
                "does not fit",
                "2^38",
            ),
            (
                "histogram age bins 10,5 epsilon 1",
                "the bins overlap: `5` follows `10`",
                "ascending",
            ),
            (
                "histogram age bins 5,5 epsilon 1",
                "the bins overlap",
                "each edge once",
            ),
            (
                "histogram age bins a epsilon 1",
                "`a` is no edge",
                "ascending",
            ),
            ("quantile 1 age epsilon 1", "`1` is not a share", "below 1"),
            (
                "crosstab age epsilon 1",
                "where `by` is expected",
                "`by` there",
            ),
        ] {
            let error = query.parse::<Query>().unwrap_err();
            assert!(error.problem.contains(problem), "{query}: {error}");
            assert!(error.would_pass.contains(would_pass), "{query}: {error}");
        }
        let long = format!("histogram age bins 1{} epsilon 1", ",2".repeat(600));
        assert!(long.parse::<Query>().unwrap_err().problem.contains("long"));
    }

    #[test]
    fn a_value_is_held_within_its_bounds() {
        let query: Query = "sum x from -2 to 10 step 0.5 epsilon 1".parse().unwrap();
        let Question::Sum(bounded) = query.question() else {
            panic!("a sum");
        };
        let clamp = |text: &str| bounded.clamp(text.parse().unwrap());
        assert_eq!(bounded.bounds(), (-4, 20));
        for (value, steps) in [("3", 6), ("3.3", 7), ("-99", -4), ("10.6", 20), ("0", 0)] {
            assert_eq!(clamp(value), steps, "{value}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_what_is_read_is_written_back(text in "[a-z_0-9., -]{0,120}") {
            if let Ok(query) = text.parse::<Query>() {
                prop_assert_eq!(query.to_string().parse::<Query>().unwrap(), query);
            }
        }
    }
}
