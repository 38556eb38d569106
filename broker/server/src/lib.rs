//! The broker: it knows who may ask for what, passes two agents' ciphertext, opens only rows that both hold, minimises
//! them, and lets nothing leave that is not in its log.
//!
//! For whoever runs a broker. Institutions link [`counterfoil_party`] instead; neither crate knows the other.
//!
//! Threat model: callers are authenticated by TLS client certificates and still hostile; everything they send is bounded
//! ([`counterfoil_proto::limits`]) and parsed before it is used. The broker sees no identifier: it gets one-session match ids, and
//! the agreed tags of rows that both sides hold. It is trusted, beyond what anyone can verify, for completeness, minimisation and
//! correct delivery. What it let out is provable: every release stands in a signed, append-only log before a byte leaves.
//!
//! In data-flow order: [`home`] and [`ca`] make and open a broker's directory; `tls` says who calls; `api` parses calls;
//! `state` is the fold of the log and `decide` the only judge; `log` makes decisions durable; `flow` runs the
//! relay, the join and the release; [`serve`] ties them together.
//!
//! [`counterfoil_party`]: ../counterfoil_party/index.html

mod api;
pub mod backtest;
mod broker;
pub mod ca;
mod decide;
mod error;
mod files;
mod flow;
pub mod home;
mod limits;
mod log;
mod measure;
pub mod operator;
mod refusal;
pub mod serve;
mod state;
#[cfg(test)]
mod testing;
mod tls;
mod trace;

#[cfg(feature = "bench")]
pub use trace::bench;

pub use error::Error;
