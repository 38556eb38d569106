//! What may leave, to whom, in which form: agreements, requests, decisions, minimisation.
//!
//! **For whom.** The broker and each institution's agent link this crate and apply the same
//! rules, so a decision of one can be checked by the other. It is pure: no disk, socket,
//! clock or ambient randomness decides anything; time and generators are passed in.
//!
//! **Threat model.** Every document may come from an adversary: each is bounded, parsed
//! strictly and verified before it has a type that other code accepts. A single person at an
//! institution cannot sign an agreement (maker and checker differ in id and key). A broker
//! that swaps keys is caught by [`fingerprint`](fingerprint::fingerprint)s compared out of
//! band. A recipient that asks for more than the agreement gives is refused with the field
//! and what would pass, and learns nothing of the other side's data from it. Minimisation
//! limits what a leaked delivery shows; it does not hide people from a recipient who knows
//! its own customers, and what two parties tell each other outside is beyond it.
//!
//! ```
//! use counterfoil_policy::agreement::{Agreement, template};
//! use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let party = |name: &str, seed: u8| -> Result<PartyKeys, Box<dyn std::error::Error>> {
//!     Ok(PartyKeys {
//!         name: name.parse()?,
//!         signing_key: InstitutionKey::from_seed(&[seed; 32]).public(),
//!         noise_key: NoisePublicKey::from_bytes([seed; 32]).ok_or("zero key")?,
//!     })
//! };
//! let (bank, insurer) = (party("north-bank", 1)?, party("east-life", 2)?);
//! let first_day = time::Date::from_calendar_date(2026, time::Month::January, 1)?;
//!
//! let agreement = Agreement::parse(&template(&bank, &insurer, first_day))?;
//! let received = Agreement::from_canonical(agreement.canonical_bytes())?;
//! assert_eq!(received.digest(), agreement.digest());
//!
//! let told = agreement.tags()[0].generalise("cautious")?;
//! assert_eq!(told.as_str(), "low");
//! # Ok(())
//! # }
//! ```

pub mod text;

pub mod decimal;
mod document;
pub mod finding;
pub mod moment;

pub mod keys;

pub mod fingerprint;

pub mod purpose;
pub mod tag;
pub mod taxonomy;

pub mod segment;

pub mod measure;

pub mod agreement;
pub mod approval;

pub mod request;

pub mod consent;

pub mod decision;

pub mod minimise;

pub mod canaries;
pub mod coarse;
