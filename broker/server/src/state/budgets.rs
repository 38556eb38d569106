//! Privacy budgets: what was charged to each population, as the sum of the log's entries.
//!
//! A grant sets the flow's whole cost aside, so that no two flows spend the same. The entry that ends the flow says what of it stays
//! charged, from then on. All of it once rows of the flow may have been opened, even if nothing was released: a recipient sees how
//! long that takes, and may end the flow itself, or make the owner do it. Nothing if no row was opened. What finding out cost if the
//! flow ended under its minimum. A broker that was restarted does not know how far the flow was: a crash between counts as spent.

use std::collections::HashMap;

use counterfoil_audit::entry::{Event, FlowGranted, FlowId, OrgName, Spent, Timestamp};
use counterfoil_policy::measure::Cost;

use super::Inconsistent;

/// One flow's charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) recipient: OrgName,
    pub(crate) at: Timestamp,
    pub(crate) cost: Cost,
}

/// The people behind datasets of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Population {
    pub(crate) owner: OrgName,
    pub(crate) name: String,
}

/// What is charged to all populations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Budgets {
    charges: HashMap<Population, HashMap<FlowId, Charged>>,
    /// Of which population each flow that may still give something back is.
    open: HashMap<FlowId, Population>,
}

impl Budgets {
    /// What is charged to a population.
    pub(crate) fn of(&self, population: &Population) -> impl Iterator<Item = &Charged> {
        let charges = self.charges.get(population).into_iter();
        charges.flat_map(HashMap::values)
    }

    /// Folds an event of a flow.
    pub(super) fn apply(&mut self, time: Timestamp, event: &Event) -> Result<(), Inconsistent> {
        match event {
            Event::FlowGranted(e) => self.reserve(time, e),
            Event::FlowDeclined(e) => self.settle(time, e.flow, e.spent.as_ref()),
            Event::FlowAborted(e) => self.settle(time, e.flow, e.spent.as_ref()),
            Event::FlowRefused(e) => self.settle(time, e.flow, e.spent.as_ref()),
            Event::ReleaseIntent(e) => self.settle(time, e.flow, e.spent.as_ref()),
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, at: Timestamp, grant: &FlowGranted) -> Result<(), Inconsistent> {
        let Some(reserved) = &grant.reserved else {
            return Ok(());
        };
        let population = Population {
            owner: grant.source.org.clone(),
            name: reserved.population.to_string(),
        };
        let charged = Charged {
            recipient: grant.recipient.org.clone(),
            at,
            cost: cost(reserved)?,
        };
        self.open.insert(grant.flow, population.clone());
        let charges = self.charges.entry(population).or_default();
        charges.insert(grant.flow, charged);
        Ok(())
    }

    /// The flow is over: it keeps this cost, spent at this time and not when it was granted.
    fn settle(
        &mut self,
        time: Timestamp,
        flow: FlowId,
        spent: Option<&Spent>,
    ) -> Result<(), Inconsistent> {
        let spent = spent.map(cost).transpose()?.unwrap_or(Cost::NONE);
        let Some(population) = self.open.remove(&flow) else {
            return Ok(());
        };
        let Some(charges) = self.charges.get_mut(&population) else {
            return Ok(());
        };
        if spent == Cost::NONE {
            charges.remove(&flow);
        } else if let Some(charged) = charges.get_mut(&flow) {
            charged.at = time;
            charged.cost = spent;
        }
        Ok(())
    }
}

fn cost(spent: &Spent) -> Result<Cost, Inconsistent> {
    let decimal = |text: &str| {
        text.parse()
            .map_err(|_| Inconsistent("an amount of a privacy budget is no decimal"))
    };
    Ok(Cost {
        epsilon: decimal(spent.epsilon.as_str())?,
        delta: decimal(spent.delta.as_str())?,
    })
}
