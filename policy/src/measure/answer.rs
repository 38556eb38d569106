//! From noised numbers to answers with intervals. All of it is post-processing and needs no row.

use serde::Serialize;
use serde_json::Number;

use super::budget::{Cost, Delta};
use super::interval::{Weighted, combined_half_width, half_width};
use super::noisy::{Noisy, NoisyPart};
use super::plan::{Groups, Part, Plan, Planned, Shape, middle};
use super::query::{Bounded, Noise, Question, Share};
use super::readable;
use super::scorecard::{self, Scorecard};
use super::terms::QueryKind;

/// All answers of a flow.
#[derive(Clone, Debug, Serialize)]
pub struct Answers {
    /// One for each query, in their order.
    pub answers: Vec<Answer>,
    /// The count with which the minimum was decided; it was paid for, so it may be used.
    pub common_customers: Row,
    /// What the flow spent.
    pub spent: Cost,
    /// What this recipient can still spend.
    pub left: Cost,
}

/// One query answered.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The query as it was signed.
    pub query: String,
    /// Its kind.
    pub kind: QueryKind,
    /// The epsilon that it spent.
    pub epsilon: String,
    /// The delta of the flow, if its noise needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// Which noise was added to what.
    pub mechanism: String,
    /// Names of the columns of `groups`.
    pub axes: Vec<String>,
    /// Estimates.
    pub rows: Vec<Row>,
    /// Weights of evidence, for a scorecard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorecard: Option<Scorecard>,
}

/// One estimate with its 95% interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The group in each axis; none for a single figure.
    pub groups: Vec<Box<str>>,
    /// The estimate, as noised.
    pub value: Figure,
    /// Lower end of the interval.
    pub low: Figure,
    /// Upper end.
    pub high: Figure,
    /// The noise is more than half of the figure.
    pub weak: bool,
    /// For readers: not negative, and with one total in all tables of the flow. Post-processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable: Option<u64>,
}

/// A number, or the group that holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// A whole number.
    Whole(i64),
    /// Any other.
    Real(f64),
    /// A group of the tag.
    Group(Box<str>),
}

impl Figure {
    /// As a number, if it is one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "for a chart; counts are below 2^53"
    )]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(whole) => Some(*whole as f64),
            Self::Real(real) => Some(*real),
            Self::Group(_) => None,
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Real(real) => match Number::from_f64((real * 1e4).round() / 1e4) {
                Some(number) => number.fmt(f),
                None => f.write_str("-"),
            },
            Self::Group(group) => f.write_str(group),
        }
    }
}

/// Makes the answers; with `for_readers` they have readable figures beside the noised ones.
#[must_use]
pub fn answers(plan: &Plan, noisy: &Noisy, for_readers: bool) -> Answers {
    let all = plan.queries().iter().zip(&noisy.parts);
    let mut answers: Vec<Answer> = all
        .map(|(planned, parts)| answer(plan, planned, parts))
        .collect();
    if for_readers {
        readable::add(&mut answers, plan, noisy);
    }
    Answers {
        answers,
        common_customers: single(&noisy.minimum, Noise::Laplace),
        spent: plan.cost(),
        left: noisy.left,
    }
}

fn answer(plan: &Plan, planned: &Planned, parts: &[NoisyPart]) -> Answer {
    let query = planned.query();
    let (axes, rows, card) = match (&planned.shape, query.question()) {
        (Shape::Cells(axes), Question::Quantile { share, .. }) => (
            Vec::new(),
            rows_of(parts, |part| quantile(axes, *share, part, query.noise())),
            None,
        ),
        (Shape::Cells(axes), question) => {
            let rows = rows_of(parts, |part| cells(axes, part, query.noise()));
            let names = question.tags().iter().map(ToString::to_string).collect();
            let card = match (question, parts) {
                (Question::Scorecard { bad, .. }, [part]) => {
                    scorecard::of(axes, bad, part, query.noise())
                }
                _ => None,
            };
            (names, rows, card)
        }
        (Shape::Count, _) => (
            Vec::new(),
            rows_of(parts, |part| vec![single(part, query.noise())]),
            None,
        ),
        (Shape::Total(bounded, _), _) => (
            Vec::new(),
            rows_of(parts, |part| vec![total(bounded, part, query.noise())]),
            None,
        ),
        (Shape::Mean(bounded, _), _) => {
            let rows = match parts {
                [sum, count] => vec![mean(bounded, sum, count, query.noise())],
                _ => Vec::new(),
            };
            (Vec::new(), rows, None)
        }
    };
    Answer {
        query: query.to_string(),
        kind: query.question().kind(),
        epsilon: query.epsilon().to_string(),
        delta: plan.delta().filter(|_| query.noise() == Noise::Gaussian),
        mechanism: mechanism(planned.parts(), parts),
        axes,
        rows,
        scorecard: card,
    }
}

/// Shapes were compared with the plan when the delivery was read, so a table has exactly one part.
fn rows_of(parts: &[NoisyPart], rows: impl Fn(&NoisyPart) -> Vec<Row>) -> Vec<Row> {
    parts.first().map(rows).unwrap_or_default()
}

fn mechanism(planned: &[Part], parts: &[NoisyPart]) -> String {
    let each = planned.iter().zip(parts).map(|(planned, part)| {
        let name = match planned.noise {
            Noise::Laplace => "discrete Laplace",
            Noise::Gaussian => "discrete Gaussian",
        };
        format!(
            "{name}, scale {:.4}, on {} with sensitivity {}",
            part.scale,
            if planned.cells == 1 {
                "a number".to_owned()
            } else {
                format!("{} cells", planned.cells)
            },
            planned.sensitivity
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

fn single(part: &NoisyPart, noise: Noise) -> Row {
    let value = part.numbers.first().copied().unwrap_or(0);
    counted(Vec::new(), value, half_width(noise, part.scale))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float to i64 cast saturates; widths are far below"
)]
fn counted(groups: Vec<Box<str>>, value: i64, width: f64) -> Row {
    let width = width as i64;
    Row {
        groups,
        value: Figure::Whole(value),
        low: Figure::Whole(value.saturating_sub(width)),
        high: Figure::Whole(value.saturating_add(width)),
        weak: value < width.saturating_mul(2),
        readable: None,
    }
}

/// The labels of a cell, the last axis running fastest, as [`super::Tally`] counts.
fn labels(axes: &[Groups], cell: usize) -> Vec<Box<str>> {
    let mut rest = cell;
    let mut labels: Vec<Box<str>> = axes
        .iter()
        .rev()
        .filter_map(|axis| {
            let size = axis.labels.len().max(1);
            let label = axis.labels.get(rest.checked_rem(size)?).cloned();
            rest = rest.checked_div(size)?;
            label
        })
        .collect();
    labels.reverse();
    labels
}

fn cells(axes: &[Groups], part: &NoisyPart, noise: Noise) -> Vec<Row> {
    let width = half_width(noise, part.scale);
    let numbers = part.numbers.iter().enumerate();
    numbers
        .map(|(cell, value)| counted(labels(axes, cell), *value, width))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate; its interval is far wider"
)]
fn total(bounded: &Bounded, part: &NoisyPart, noise: Noise) -> Row {
    let step = bounded.step().to_f64();
    let value = part.numbers.first().copied().unwrap_or(0) as f64 * step;
    let width = half_width(noise, part.scale) * step;
    real(value, width, value.abs() < 2.0 * width)
}

fn real(value: f64, width: f64, weak: bool) -> Row {
    Row {
        groups: Vec::new(),
        value: Figure::Real(value),
        low: Figure::Real(value - width),
        high: Figure::Real(value + width),
        weak,
        readable: None,
    }
}

/// Middle + sum / count, held within the bounds, which are public.
///
/// The interval is that of the quotient's first-order error, (noise of the sum - m * noise of the count) / count, with the
/// estimated m: near enough where the count is much larger than its noise, and marked as weak where it is not.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate; its interval is far wider"
)]
fn mean(bounded: &Bounded, sum: &NoisyPart, count: &NoisyPart, noise: Noise) -> Row {
    let step = bounded.step().to_f64();
    let (lower, upper) = bounded.bounds();
    let number = |part: &NoisyPart| part.numbers.first().copied().unwrap_or(0) as f64;
    let customers = number(count).max(1.0);
    let distance = number(sum) / customers;
    let width = combined_half_width(&[
        Weighted {
            weight: 1.0 / customers,
            noise,
            scale: sum.scale,
        },
        Weighted {
            weight: distance / customers,
            noise,
            scale: count.scale,
        },
    ]);
    let hold = |value: f64| value.clamp(lower as f64, upper as f64) * step;
    let value = middle(bounded) as f64 + distance;
    let range = upper.abs_diff(lower) as f64;
    Row {
        groups: Vec::new(),
        value: Figure::Real(hold(value)),
        low: Figure::Real(hold(value - width)),
        high: Figure::Real(hold(value + width)),
        weak: width > range / 4.0 || number(count) < 4.0 * half_width(noise, count.scale),
        readable: None,
    }
}

/// The group that holds the quantile, from noised counts of all groups.
///
/// For each group j, D(j) = (1 - q) * (counts up to j) - q * (counts above j) is not negative from the quantile's group on. From the
/// noised D and its width w: the first j with D + w >= 0, and the one after the last j with D - w < 0. The quantile's group is
/// outside of them only if one of two single D is off by more than its width, so their coverage is 95% or more.
fn quantile(axes: &[Groups], share: Share, part: &NoisyPart, noise: Noise) -> Vec<Row> {
    let Some(axis) = axes.first() else {
        return Vec::new();
    };
    let (points, widths) = differences(part, share.to_f64(), noise);
    let last = points.len().saturating_sub(1);
    let first_where = |holds: &dyn Fn(f64, f64) -> bool| {
        let mut pairs = points.iter().zip(&widths);
        pairs.position(|(d, w)| holds(*d, *w)).unwrap_or(last)
    };
    let low = first_where(&|d, w| d + w >= 0.0);
    let high = points
        .iter()
        .zip(&widths)
        .rposition(|(d, w)| d - w < 0.0)
        .map_or(0, |below| (below + 1).min(last));
    let value = first_where(&|d, _| d >= 0.0).clamp(low.min(high), high.max(low));
    let group = |index: usize| Figure::Group(axis.labels.get(index).cloned().unwrap_or_default());
    vec![Row {
        groups: Vec::new(),
        value: group(value),
        low: group(low.min(high)),
        high: group(high.max(low)),
        weak: high.abs_diff(low) * 2 > last,
        readable: None,
    }]
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn differences(part: &NoisyPart, share: f64, noise: Noise) -> (Vec<f64>, Vec<f64>) {
    let numbers: Vec<f64> = part.numbers.iter().map(|n| *n as f64).collect();
    let all: f64 = numbers.iter().sum();
    let mut below = 0.0;
    let points = numbers.iter().map(|number| {
        below += number;
        below - share * all
    });
    let points = points.collect();
    let weighted = |weight| Weighted {
        weight,
        noise,
        scale: part.scale,
    };
    let widths = (1..=numbers.len()).map(|upto| {
        let terms: Vec<_> = (0..numbers.len())
            .map(|index| weighted(if index < upto { 1.0 - share } else { -share }))
            .collect();
        combined_half_width(&terms)
    });
    (points, widths.collect())
}
