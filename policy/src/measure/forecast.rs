//! What to expect of a flow before anything is spent.

use serde::Serialize;

use super::budget::{Cost, Delta};
use super::interval::half_width;
use super::plan::{Part, Plan, middle};
use super::query::{Noise, Question};
use crate::agreement::Agreement;

/// Cost and expected error of a flow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// What it would spend.
    pub cost: Cost,
    /// Of this, what finding out whether there are enough customers takes, which is spent also if there are not.
    pub minimum: Cost,
    /// For each query.
    pub queries: Vec<Expected>,
    /// What renewal means, in a sentence.
    pub renewal: String,
}

/// What to expect of a query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// The query.
    pub query: String,
    /// How many figures it gives.
    pub cells: usize,
    /// Half the width of the 95% interval of each, in units of the figure; of a mean, as if a thousand customers were common.
    pub half_width: f64,
    /// Of which quantity.
    pub of: &'static str,
}

/// Forecasts a flow from its plan alone.
#[must_use]
pub fn forecast(agreement: &Agreement, plan: &Plan) -> Forecast {
    let queries = plan.queries().iter().map(|planned| {
        let widths = planned.parts().iter().map(|part| width(plan, part));
        let widths: Vec<f64> = widths.collect();
        let first = widths.first().copied().unwrap_or(0.0);
        let (half_width, of) = match planned.query().question() {
            Question::Sum(bounded) => (first * bounded.step().to_f64(), "the sum"),
            Question::Mean(bounded) => {
                // The worst case: a mean at one of the bounds.
                let (_, upper) = bounded.bounds();
                #[expect(clippy::cast_precision_loss, reason = "a forecast")]
                let distance = upper.abs_diff(middle(bounded)) as f64;
                let count = widths.get(1).copied().unwrap_or(0.0);
                let both = (first / 1000.0).hypot(count * distance / 1000.0);
                (
                    both * bounded.step().to_f64(),
                    "the mean of 1,000 customers",
                )
            }
            _ => (first, "each count"),
        };
        Expected {
            query: planned.query().to_string(),
            cells: planned.parts().first().map_or(0, |part| part.cells),
            half_width,
            of,
        }
    });
    Forecast {
        cost: plan.cost(),
        minimum: plan.minimum_cost(),
        queries: queries.collect(),
        renewal: renewal(agreement),
    }
}

fn renewal(agreement: &Agreement) -> String {
    let days = agreement.measure().map_or(0, |terms| terms.caps().days);
    format!(
        "what is spent can be spent again after {days} days; on the same customers that adds up: after n periods the guarantee is n times as weak"
    )
}

/// Half the width of the interval of a part's figures.
///
/// The scale is that of the definition, to which the broker's comes within rounding. For Gaussian noise it is an upper bound: rho =
/// (sqrt(ln(1/delta) + epsilon) - sqrt(ln(1/delta)))^2 implies (epsilon, delta) (Bun and Steinke 2016, proposition 1.3), and
/// OpenDP's conversion allows more.
fn width(plan: &Plan, part: &Part) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    let sensitivity = part.sensitivity as f64;
    let epsilon = part.epsilon.to_f64();
    let scale = match (part.noise, plan.delta()) {
        (Noise::Gaussian, Some(delta)) => {
            let all = plan.gaussian_epsilon().to_f64();
            let rho = rho(all, delta) * epsilon / all;
            sensitivity / (2.0 * rho).sqrt()
        }
        _ => sensitivity / epsilon,
    };
    half_width(part.noise, scale)
}

fn rho(epsilon: f64, delta: Delta) -> f64 {
    let log = -delta.decimal().to_f64().ln();
    ((log + epsilon).sqrt() - log.sqrt()).powi(2)
}
