//! What of a privacy budget a flow may set aside.

use counterfoil_audit::entry::{OrgName, Spent};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::decision::DenialCode;
use counterfoil_policy::measure::{Caps, Charge, Cost, Left, MeasureTerms, Plan};
use counterfoil_policy::moment::Timestamp as Moment;
use counterfoil_policy::request::RequestBody;

use super::flows::moment;
use crate::refusal::{Refusal, label};
use crate::state::State;
use crate::state::agreements::Status;
use crate::state::budgets::Population;

/// Sets the cost of a request aside; nothing for one that measures nothing.
///
/// Runs within the append that grants the flow, on the state of all entries before it: of two requests, the second sees the first.
pub(crate) fn reserve(
    state: &State,
    agreement: &Agreement,
    request: &RequestBody,
    now: Moment,
) -> Result<Option<Spent>, Refusal> {
    let (Some(asked), Some(terms)) = (&request.measure, agreement.measure()) else {
        return Ok(None);
    };
    let plan = Plan::new(agreement, asked).map_err(|error| Refusal {
        field: "measure.queries".into(),
        ..Refusal::new(
            DenialCode::QueryOutside.as_str(),
            error.to_string(),
            error.would_pass,
        )
    })?;
    one_name(state, agreement, terms)?;
    let account = Account::of(state, agreement, terms)?;
    let cost = plan.cost();
    if cost.fits(account.left(now).usable()) {
        return Ok(Some(spent(terms, cost)));
    }
    Err(account.exhausted(cost, now))
}

/// What the recipient of an agreement can still spend; nothing is left where nothing may be measured.
pub(crate) fn left(state: &State, agreement: &Agreement, now: Moment) -> Cost {
    let terms = agreement.measure();
    let account = terms.and_then(|terms| Account::of(state, agreement, terms).ok());
    account.map_or(Cost::NONE, |account| account.left(now).usable())
}

/// For an entry.
pub(crate) fn spent(terms: &MeasureTerms, cost: Cost) -> Spent {
    Spent {
        population: label(terms.population().as_str()),
        epsilon: label(&cost.epsilon.to_string()),
        delta: label(&cost.delta.to_string()),
    }
}

/// A population as one recipient sees it.
struct Account {
    population: String,
    caps: Caps,
    charges: Vec<Charge>,
}

impl Account {
    fn of(state: &State, agreement: &Agreement, terms: &MeasureTerms) -> Result<Self, Refusal> {
        let name = |name: &str| {
            OrgName::new(name)
                .map_err(|e| Refusal::new("wrong_party", e.to_string(), "join under a valid name"))
        };
        let population = Population {
            owner: name(agreement.owner().name.as_str())?,
            name: terms.population().to_string(),
        };
        let recipient = name(agreement.recipient().name.as_str())?;
        let charges = state.budgets.of(&population).map(|charged| Charge {
            at: moment(charged.at),
            cost: charged.cost,
            own: charged.recipient == recipient,
        });
        Ok(Self {
            charges: charges.collect(),
            caps: strictest(state, agreement, terms),
            population: population.name,
        })
    }

    fn left(&self, now: Moment) -> Left {
        self.caps.left(&self.charges, now)
    }

    fn exhausted(&self, cost: Cost, now: Moment) -> Refusal {
        let left = self.left(now).usable();
        let renewal = match self.caps.fits_from(&self.charges, cost, now) {
            Some(moment) => format!(
                "a request from {moment} on, when what was spent {} days before renews",
                self.caps.days
            ),
            None => "queries that cost less: no renewal makes room for so much".to_owned(),
        };
        Refusal {
            field: "agreement.measure".into(),
            ..Refusal::new(
                DenialCode::OverBudget.as_str(),
                format!(
                    "the flow would spend {cost}, of which {left} is left for population `{}`",
                    self.population
                ),
                if left.epsilon.is_positive() {
                    format!("at most {left} now, or {renewal}")
                } else {
                    renewal
                },
            )
        }
    }
}

/// The agreements in force by which this owner's datasets are measured.
fn measured<'s>(
    state: &'s State,
    agreement: &'s Agreement,
) -> impl Iterator<Item = (&'s Agreement, &'s MeasureTerms)> {
    let owner = &agreement.owner().name;
    let active = state.agreements.iter();
    let active = active.filter(|(_, record)| record.status == Status::Active);
    let others = active.map(|(_, record)| &*record.agreement);
    let others = others.filter(move |other| other.owner().name == *owner);
    others.filter_map(|other| Some((other, other.measure()?)))
}

fn strictest(state: &State, agreement: &Agreement, terms: &MeasureTerms) -> Caps {
    let others = measured(state, agreement).map(|(other, _)| other);
    terms.strictest(&agreement.recipient().name, others)
}

/// A second name for the people of one dataset would begin their budgets anew.
fn one_name(state: &State, agreement: &Agreement, terms: &MeasureTerms) -> Result<(), Refusal> {
    let renamed = measured(state, agreement).find(|(other, measured)| {
        other.dataset() == agreement.dataset() && measured.population() != terms.population()
    });
    match renamed {
        None => Ok(()),
        Some((_, measured)) => Err(Refusal {
            field: "agreement.measure.population".into(),
            ..Refusal::new(
                "population_renamed",
                format!(
                    "the people of this dataset are population `{}` in another agreement in force",
                    measured.population()
                ),
                "one name for them in all agreements",
            )
        }),
    }
}

#[cfg(test)]
mod tests;
