//! The only judge: what a command means, given the state. Pure; every rule has its test here.

pub(crate) mod agreements;
pub(crate) mod assessments;
pub(crate) mod budgets;
pub(crate) mod flows;
pub(crate) mod partners;
pub(crate) mod tag_keys;
pub(crate) mod traces;

use counterfoil_policy::decision::Rules;

/// What a broker decides by beside its log: its configuration, loaded once when it starts.
#[derive(Debug)]
pub(crate) struct Regime {
    pub(crate) rules: Rules,
    /// Only institutions that were assessed may take part in flows.
    pub(crate) assessed_only: bool,
}
