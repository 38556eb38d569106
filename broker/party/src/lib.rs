//! The agent of an institution: keys, data sources, the owner's and the recipient's side of a flow.
//!
//! For the `counterfoil` command and for whoever embeds an agent. An institution's agent holds its secrets and reads
//! its customers; the broker sees neither. Functions here return values and never print.
//!
//! Threat model: the broker is honest but curious about customers, and believed in nothing that can be checked. It runs
//! the certificate authority, so a partner's keys count only after people compared fingerprints ([`partners`]);
//! every agreement is verified again at each load ([`agreements`]), every log checkpoint against the last one
//! ([`audit`]). The partner's agent may be hostile: whatever it sends is bounded and checked, and the owner keeps its own
//! caps ([`limits`]). Whoever can read this user's files is this institution: files are 0600 or refused ([`home`]).
//!
//! Modules stand in the order in which an institution meets them.

pub mod error;
pub use error::{Denial, Error, Result};

pub mod clock;

pub mod home;

pub mod transport;

pub mod join;

pub mod partners;

pub mod taxonomies;

pub mod agreements;

pub mod limits;

pub mod data;

pub mod audit;

pub mod doctor;

pub mod noise;

pub mod matching;

pub mod marks;

pub mod receipts;

mod flow;

pub mod owner;

pub mod recipient;

pub mod trace;

#[cfg(test)]
mod testkit;
