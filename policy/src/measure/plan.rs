//! Queries against an agreement: what has to be counted, and what each answer costs.
//!
//! **Neighbours.** Two datasets of the owner that differ in one person, who is in one of them and not in the other; the recipient's
//! set and its tags are the same in both, and may be anything. A person has one row in a flow (the owner's agent keeps
//! the first of each customer key), so
//! one person changes one cell of a table of counts by one, whatever number of cells it has: sensitivity 1 in L1 and in L2, under
//! add/remove neighbours (Dwork and Roth 2014, section 3.3). A bounded sum changes by the larger bound.
//!
//! | query | what is noised | sensitivity | epsilon |
//! |---|---|---|---|
//! | count | the count | 1 | all |
//! | histogram, crosstab, scorecard, quantile | the count of every cell of the domain, empty or not | 1 | all |
//! | sum | the sum of values held within bounds, in steps | the larger bound in steps | all |
//! | mean | the sum of distances from the middle of the bounds; the count | half the range in steps; 1 | half each |
//!
//! All else (shares, weights of evidence, intervals, quantiles) is computed from these, which costs nothing (post-processing, Dwork
//! and Roth 2014, proposition 2.1).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::budget::{Cost, Delta, Epsilon};
use super::query::{Axis, Bounded, Fault, Noise, Query, QueryError, Question};
use super::terms::MeasureTerms;
use crate::agreement::Agreement;
use crate::decimal::Decimal;
use crate::tag::{Form, Tag};
use crate::text::TagName;

/// Most queries of a flow.
pub const QUERIES_MAX: usize = 16;
/// Most noised numbers of a flow: a delivery, which has one size, must hold them (`counterfoil_proto::answers`).
pub const CELLS_MAX: usize = 4096;

/// What a measure flow asks, as it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// 1 to [`QUERIES_MAX`] queries, answered from one match.
    pub queries: Vec<Query>,
    /// For all Gaussian noise of the flow together; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
}

/// Which side's row holds a value, and at which place among the tags that the side submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Owner(usize),
    Recipient(usize),
}

/// The groups of one tag, from its definition in the agreement and never from data.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    pub(super) cell: Cell,
    pub(super) labels: Vec<Box<str>>,
    by: By,
}

#[derive(Clone, Debug)]
enum By {
    Label(HashMap<Box<str>, usize>),
    Edges(Vec<Decimal>),
}

impl Groups {
    fn of_labels(cell: Cell, labels: Vec<Box<str>>) -> Self {
        let by = labels.iter().cloned().zip(0..).collect();
        Self {
            cell,
            labels,
            by: By::Label(by),
        }
    }

    fn of_edges(cell: Cell, edges: &[Decimal]) -> Self {
        let first = edges.first().map(|edge| format!("<{edge}").into());
        let between = edges.windows(2).filter_map(|pair| match pair {
            [lower, upper] => Some(format!("[{lower},{upper})").into()),
            _ => None,
        });
        let last = edges.last().map(|edge| format!(">={edge}").into());
        Self {
            cell,
            labels: first.into_iter().chain(between).chain(last).collect(),
            by: By::Edges(edges.to_vec()),
        }
    }

    /// The group of a value; `None` for one that is none of the tag's.
    pub(super) fn index(&self, value: &str) -> Option<usize> {
        match &self.by {
            By::Label(labels) => labels.get(value).copied(),
            By::Edges(edges) => {
                let value: Decimal = value.parse().ok()?;
                Some(edges.partition_point(|edge| *edge <= value))
            }
        }
    }
}

/// What is counted for a query.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Count,
    Cells(Vec<Groups>),
    Total(Bounded, usize),
    Mean(Bounded, usize),
}

/// Whole numbers that get noise of one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many numbers.
    pub cells: usize,
    /// By how much one person changes them, in L1 and in L2 alike.
    pub sensitivity: u64,
    /// The share of the query's epsilon.
    pub epsilon: Decimal,
    /// The distribution.
    pub noise: Noise,
}

/// A query with what it needs.
#[derive(Clone, Debug)]
pub struct Planned {
    pub(super) query: Query,
    pub(super) shape: Shape,
    parts: Vec<Part>,
}

impl Planned {
    /// The query.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// What has to be noised.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// All queries of a flow, checked against the agreement.
#[derive(Clone, Debug)]
pub struct Plan {
    queries: Vec<Planned>,
    owner_tags: Vec<TagName>,
    recipient_tags: Vec<TagName>,
    minimum_epsilon: Epsilon,
    delta: Option<Delta>,
    cost: Cost,
}

impl Plan {
    /// Checks what is asked.
    ///
    /// # Errors
    /// [`QueryError`]: a kind or a tag outside the agreement, bins or bounds that do not fit a tag, more than one flow may ask or spend.
    pub fn new(agreement: &Agreement, asked: &Asked) -> Result<Self, QueryError> {
        let whole = |fault: Fault| QueryError {
            what: "the queries together".to_owned(),
            problem: fault.problem,
            would_pass: fault.would_pass,
        };
        let terms = agreement.measure().ok_or_else(|| {
            whole(Fault::new(
                "the agreement has no section [measure]",
                "an agreement with one",
            ))
        })?;
        if asked.queries.is_empty() || asked.queries.len() > QUERIES_MAX {
            let problem = format!("{} queries in one flow", asked.queries.len());
            return Err(whole(Fault::new(problem, "1 to 16")));
        }
        let context = Context::of(agreement, terms, asked);
        let mut queries = Vec::new();
        for query in &asked.queries {
            let text = query.to_string();
            let planned = context.planned(query);
            queries.push(planned.map_err(|fault| QueryError::new(&text, fault))?);
        }
        let cells = parts(&queries).map(|part| part.cells).sum::<usize>();
        if cells > CELLS_MAX {
            let problem = format!("the queries have {cells} cells together");
            return Err(whole(Fault::new(
                problem,
                "at most 4096: fewer or coarser groups",
            )));
        }
        let delta = delta(&queries, asked.delta).map_err(whole)?;
        let cost = cost(terms, asked, delta).map_err(whole)?;
        Ok(Self {
            queries,
            owner_tags: context.owner_tags,
            recipient_tags: context.recipient_tags,
            minimum_epsilon: terms.minimum_epsilon(),
            delta,
            cost,
        })
    }

    /// The queries in the order in which they were asked.
    #[must_use]
    pub fn queries(&self) -> &[Planned] {
        &self.queries
    }

    /// The owner's tags that are counted, in the agreement's order; none for a plain count.
    #[must_use]
    pub fn owner_tags(&self) -> &[TagName] {
        &self.owner_tags
    }

    /// The recipient's tags that are counted, in the agreement's order.
    #[must_use]
    pub fn recipient_tags(&self) -> &[TagName] {
        &self.recipient_tags
    }

    /// What finding out whether there are enough customers spends, answer or not.
    #[must_use]
    pub fn minimum_cost(&self) -> Cost {
        Cost {
            epsilon: self.minimum_epsilon.decimal(),
            delta: Decimal::ZERO,
        }
    }

    /// What the whole flow spends, the minimum included.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// For all Gaussian noise of the flow together.
    #[must_use]
    pub fn delta(&self) -> Option<Delta> {
        self.delta
    }

    /// Sum of the epsilons of all Gaussian parts, which are composed as zCDP.
    #[must_use]
    pub fn gaussian_epsilon(&self) -> Decimal {
        let gaussian = parts(&self.queries).filter(|part| part.noise == Noise::Gaussian);
        gaussian.fold(Decimal::ZERO, |sum, part| {
            // Below the cost, which was added up without overflow.
            sum.checked_add(part.epsilon).unwrap_or(sum)
        })
    }
}

fn parts(queries: &[Planned]) -> impl Iterator<Item = &Part> {
    queries.iter().flat_map(|planned| &planned.parts)
}

/// A delta stands there if and only if some noise needs it.
fn delta(queries: &[Planned], asked: Option<Delta>) -> Result<Option<Delta>, Fault> {
    let gaussian = parts(queries).any(|part| part.noise == Noise::Gaussian);
    match (gaussian, asked) {
        (true, None) => Err(Fault::new(
            "Gaussian noise needs a delta",
            "a delta such as 0.000001, or `noise laplace`",
        )),
        (false, Some(delta)) => Err(Fault::new(
            format!("no query has a use for delta {delta}"),
            "no delta, or `noise gaussian`",
        )),
        _ => Ok(asked),
    }
}

fn cost(terms: &MeasureTerms, asked: &Asked, delta: Option<Delta>) -> Result<Cost, Fault> {
    let mut epsilons = asked.queries.iter().map(|query| query.epsilon().decimal());
    let minimum = terms.minimum_epsilon().decimal();
    let sum = epsilons.try_fold(minimum, Decimal::checked_add);
    let too_much = |spent: &str, problem: &str| {
        Fault::new(
            format!("it would spend {spent}, {problem}"),
            format!(
                "at most {} in one flow, of which finding out whether there are enough customers takes {}",
                terms.per_flow(),
                terms.minimum_epsilon()
            ),
        )
    };
    let epsilon = sum.ok_or_else(|| too_much("too much", "more than any agreement allows"))?;
    let cost = Cost {
        epsilon,
        delta: delta.map_or(Decimal::ZERO, Delta::decimal),
    };
    if cost.fits(terms.per_flow()) {
        Ok(cost)
    } else {
        let spent = cost.to_string();
        Err(too_much(
            &spent,
            "more than the agreement allows for one flow",
        ))
    }
}

/// What queries are looked up in.
struct Context<'a> {
    agreement: &'a Agreement,
    terms: &'a MeasureTerms,
    owner_tags: Vec<TagName>,
    recipient_tags: Vec<TagName>,
}

impl<'a> Context<'a> {
    fn of(agreement: &'a Agreement, terms: &'a MeasureTerms, asked: &Asked) -> Self {
        let named: Vec<&TagName> = asked
            .queries
            .iter()
            .flat_map(|query| query.question().tags())
            .collect();
        let owned = agreement.tags().iter().map(Tag::name);
        let brought = terms.recipient_tags().iter().map(|tag| tag.name());
        Self {
            agreement,
            terms,
            owner_tags: owned
                .filter(|name| named.contains(name) && terms.tags().contains(name))
                .cloned()
                .collect(),
            recipient_tags: brought
                .filter(|name| named.contains(name))
                .cloned()
                .collect(),
        }
    }

    fn planned(&self, query: &Query) -> Result<Planned, Fault> {
        let kind = query.question().kind();
        if !self.terms.queries().contains(&kind) {
            let allowed: Vec<&str> = self
                .terms
                .queries()
                .iter()
                .map(|kind| kind.as_str())
                .collect();
            return Err(Fault::new(
                format!("the agreement does not allow a {kind}"),
                allowed.join(", "),
            ));
        }
        let shape = self.shape(query.question())?;
        let epsilon = query.epsilon().decimal();
        let part = |cells, sensitivity, epsilon| Part {
            cells,
            sensitivity,
            epsilon,
            noise: query.noise(),
        };
        let parts = match &shape {
            Shape::Count => vec![part(1, 1, epsilon)],
            Shape::Cells(axes) => {
                let cells = axes.iter().map(|axis| axis.labels.len()).product();
                vec![part(cells, 1, epsilon)]
            }
            Shape::Total(bounded, _) => {
                let (lower, upper) = bounded.bounds();
                let most = lower.unsigned_abs().max(upper.unsigned_abs());
                vec![part(1, most, epsilon)]
            }
            Shape::Mean(bounded, _) => {
                let (lower, upper) = bounded.bounds();
                let middle = middle(bounded);
                let most = lower.abs_diff(middle).max(upper.abs_diff(middle));
                vec![part(1, most, epsilon.half()), part(1, 1, epsilon.half())]
            }
        };
        Ok(Planned {
            query: query.clone(),
            shape,
            parts,
        })
    }

    fn shape(&self, question: &Question) -> Result<Shape, Fault> {
        Ok(match question {
            Question::Count => Shape::Count,
            Question::Histogram(axis) | Question::Quantile { axis, .. } => {
                if let Question::Quantile { .. } = question {
                    self.check_ordered(axis)?;
                }
                Shape::Cells(vec![self.groups(axis)?])
            }
            Question::Crosstab(rows, columns) => {
                if rows.tag == columns.tag {
                    let problem = format!("`{}` stands on both sides", rows.tag);
                    return Err(Fault::new(problem, "two different tags"));
                }
                Shape::Cells(vec![self.groups(rows)?, self.groups(columns)?])
            }
            Question::Scorecard { bins, outcome, bad } => self.scorecard(bins, outcome, bad)?,
            Question::Sum(bounded) => Shape::Total(bounded.clone(), self.number(bounded.tag())?),
            Question::Mean(bounded) => Shape::Mean(bounded.clone(), self.number(bounded.tag())?),
        })
    }

    fn scorecard(&self, bins: &Axis, outcome: &TagName, bad: &str) -> Result<Shape, Fault> {
        let rows = self.groups(bins)?;
        let columns = self.groups(&Axis {
            tag: outcome.clone(),
            bins: None,
        })?;
        if bins.tag == *outcome {
            let problem = format!("`{outcome}` stands on both sides");
            return Err(Fault::new(
                problem,
                "a tag that predicts and another that is the outcome",
            ));
        }
        let values = columns.labels.join(", ");
        if columns.labels.len() != 2 {
            return Err(Fault::new(
                format!(
                    "the outcome `{outcome}` has {} values",
                    columns.labels.len()
                ),
                "a tag with two, one of which is bad",
            ));
        }
        if !columns.labels.iter().any(|label| **label == *bad) {
            return Err(Fault::new(
                format!("`{bad}` is no value of `{outcome}`"),
                format!("one of {values}"),
            ));
        }
        Ok(Shape::Cells(vec![rows, columns]))
    }

    /// An order of values is what a quantile goes by.
    fn check_ordered(&self, axis: &Axis) -> Result<(), Fault> {
        let unordered = self
            .agreement
            .tag(&axis.tag)
            .is_none_or(|tag| tag.kind() == crate::tag::TagKind::Categorical);
        if unordered {
            return Err(Fault::new(
                format!("the values of `{}` have no order", axis.tag),
                "an ordinal tag, a number or a date of the owner's",
            ));
        }
        Ok(())
    }

    fn groups(&self, axis: &Axis) -> Result<Groups, Fault> {
        let name = &axis.tag;
        let place = |tags: &[TagName]| tags.iter().position(|tag| tag == name);
        if let (Some(tag), Some(index)) =
            (self.terms.recipient_tag(name), place(&self.recipient_tags))
        {
            if axis.bins.is_some() {
                return Err(Fault::new(
                    format!("`{name}` has a list of values"),
                    "no bins for it",
                ));
            }
            return Ok(Groups::of_labels(
                Cell::Recipient(index),
                tag.values().to_vec(),
            ));
        }
        let (tag, index) = self.owned(name)?;
        let cell = Cell::Owner(index);
        let labels = tag
            .delivered_labels()
            .map(|labels| labels.into_iter().map(Into::into).collect());
        match (&axis.bins, labels) {
            (None, Some(labels)) => Ok(Groups::of_labels(cell, labels)),
            (None, None) => Err(Fault::new(
                format!("`{name}` is agreed as it is and has no end of values"),
                format!("bins, such as `{name} bins 1000,5000`"),
            )),
            (Some(_), Some(_)) => Err(Fault::new(
                format!("`{name}` comes in the groups of the agreement, which bins would overlap"),
                "no bins for it, or an agreement in which it is exact",
            )),
            (Some(bins), None) if is_number(tag) => Ok(Groups::of_edges(cell, bins.edges())),
            (Some(_), None) => Err(Fault::new(
                format!("`{name}` is no number"),
                "bins for numbers alone; dates come in the bands of the agreement",
            )),
        }
    }

    /// A tag of the owner's that queries may use, and its place.
    fn owned(&self, name: &TagName) -> Result<(&'a Tag, usize), Fault> {
        let found = self.owner_tags.iter().position(|tag| tag == name);
        if let (Some(index), Some(tag)) = (found, self.agreement.tag(name)) {
            return Ok((tag, index));
        }
        let brought = self.terms.recipient_tags().iter().map(|tag| tag.name());
        let allowed: Vec<&str> = self
            .terms
            .tags()
            .iter()
            .chain(brought)
            .map(TagName::as_str)
            .collect();
        Err(Fault::new(
            format!("the tag `{name}` is outside the agreement's section [measure]"),
            format!("one of {}", allowed.join(", ")),
        ))
    }

    /// The place of a tag whose exact numbers the owner seals.
    fn number(&self, name: &TagName) -> Result<usize, Fault> {
        let (tag, index) = self.owned(name)?;
        if tag.form() == Form::Exact && is_number(tag) {
            return Ok(index);
        }
        Err(Fault::new(
            format!("`{name}` is agreed as {} and not as a number", tag.form()),
            "a number that the agreement has as exact: its values stay sealed from the recipient all the same",
        ))
    }
}

fn is_number(tag: &Tag) -> bool {
    use crate::tag::TagKind;
    matches!(
        tag.kind(),
        TagKind::Score | TagKind::Amount | TagKind::Number
    )
}

/// The step nearest to the middle of the bounds: distances from it are half as large as from a bound.
pub(super) fn middle(bounded: &Bounded) -> i64 {
    let (lower, upper) = bounded.bounds();
    lower.midpoint(upper)
}

impl Question {
    /// The tags that it names.
    #[must_use]
    pub fn tags(&self) -> Vec<&TagName> {
        match self {
            Self::Count => Vec::new(),
            Self::Histogram(axis) | Self::Quantile { axis, .. } => vec![&axis.tag],
            Self::Crosstab(rows, columns) => vec![&rows.tag, &columns.tag],
            Self::Scorecard { bins, outcome, .. } => vec![&bins.tag, outcome],
            Self::Sum(bounded) | Self::Mean(bounded) => vec![bounded.tag()],
        }
    }
}
