//! The only judge: what a command means, given the state. Pure; every rule has its test here.

pub(crate) mod agreements;
pub(crate) mod flows;
pub(crate) mod partners;
