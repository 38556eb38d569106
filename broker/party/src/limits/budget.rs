//! The owner's own count of its privacy budgets: a broker that forgets what was spent cannot let a recipient spend it again.
//!
//! An attempt counts with all that it may cost, also when the flow ends without an answer: of that the owner has only the broker's
//! word. It counts with nothing if this home declined it before any bucket was matched, which costs nothing at the broker either. So
//! this count is never below the broker's, and may decline a flow that the broker would let pass.

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::decision::{Denial, Grant};
use counterfoil_policy::measure::{Charge, Cost, Plan, PopulationName};
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::text::OrgName;
use serde::{Deserialize, Serialize};

/// What one attempt may spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spent {
    population: PopulationName,
    recipient: OrgName,
    cost: Cost,
}

/// What a granted flow is charged with, under the strictest caps of the agreements in force; nothing for one that measures nothing.
///
/// # Errors
/// [`Denial`]: not so much is left by this owner's own count.
pub(super) fn charge<'a>(
    agreement: &Agreement,
    grant: &Grant,
    attempts: impl Iterator<Item = (Timestamp, Option<&'a Spent>)>,
    in_force: &[Agreement],
    now: Timestamp,
) -> Result<Option<Spent>, Denial> {
    let asked = grant.request().body().measure.as_ref();
    let (Some(asked), Some(terms)) = (asked, agreement.measure()) else {
        return Ok(None);
    };
    let cost = Plan::new(agreement, asked)
        .map_err(|error| Denial::over_budget(error.to_string(), error.would_pass))?
        .cost();
    let recipient = &agreement.recipient().name;
    let charges = attempts.filter_map(|(at, spent)| {
        let spent = spent.filter(|spent| spent.population == *terms.population())?;
        Some(Charge {
            at,
            cost: spent.cost,
            own: spent.recipient == *recipient,
        })
    });
    let charges: Vec<Charge> = charges.collect();
    let owner = &agreement.owner().name;
    let others = in_force.iter().filter(|other| other.owner().name == *owner);
    let caps = terms.strictest(recipient, others);
    let left = caps.left(&charges, now).usable();
    if cost.fits(left) {
        return Ok(Some(Spent {
            population: terms.population().clone(),
            recipient: recipient.clone(),
            cost,
        }));
    }
    let renewal = caps.fits_from(&charges, cost, now).map_or_else(
        || "queries that cost less".to_owned(),
        |moment| format!("a request from {moment} on, when the budget renews"),
    );
    let message =
        format!("the flow would spend {cost}, of which {left} is left by the owner's own count");
    Err(Denial::over_budget(message, renewal))
}
