//! Marks that tell whose delivery a leaked file is, and the tracing that reads them.
//!
//! For the broker, which marks deliveries and scores candidates, and for the owner's agent, which
//! turns customers into mark tags. Each recipient of a lineage gets cells that differ a little from
//! the others', within a declared tolerance; from a part of a leaked file, altered and put together
//! with other deliveries as may be, [`Trace`] names recipients with a bound on naming anybody
//! innocent. No copy of the data is needed for it. `MARKS.md` beside the manifest has the mathematics.
//!
//! # Threat model
//!
//! - *Proved (MARKS.md):* whoever made the file without a candidate's key, and however, the chance
//!   that any such candidate is named is at most what [`Standard`] says, with AES-128 taken for a
//!   random function. That holds for recipients and, separately, for flows.
//! - *Measured (`benches/attacks.rs`), not proved:* how many rows it takes to name a leaker.
//! - *Assumed:* keys stay secret. Whoever holds the broker's key and the owner's can make a file
//!   that accuses anybody: commitments ([`Commitment`]) in the log fix the keys early, nothing more.
//! - *An oracle:* who may see scores for files of their own making learns symbols. Limits on that
//!   belong to the caller.
//!
//! It holds no socket, disk, clock or randomness.
//!
//! # Example
//!
//! ```
//! use counterfoil_watermark::{
//!     Budget, Column, Embedder, Form, Leak, Lineage, MasterKey, Standard, Suspect, TagBits, Trace,
//!     TraceKey, assignments,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 1. A lineage: scores that may move by 3.
//! let bits = TagBits::for_rows(300);
//! let score = Form::score("3".parse()?, Some(("0".parse()?, "1000".parse()?)))?;
//! let column = Column::new("credit_score", score, Budget::new(20_000, 10_000)?, bits)?;
//! let lineage = Lineage::new(vec![column], bits)?;
//!
//! // 2. The owner makes mark tags of its customers, the broker marks the delivery with them.
//! let owner = TraceKey::from_bytes([1; 32]);
//! let broker = MasterKey::from_bytes([2; 32]);
//! let dataset = broker.dataset("bank/customers");
//! let tags: Vec<_> = (0..300_u32)
//!     .map(|customer| owner.tag("bank/customers", &customer.to_be_bytes(), bits))
//!     .collect();
//! let mut cells: Vec<Box<str>> = (0..300).map(|row| (400 + row).to_string().into()).collect();
//! let recipient = broker.recipient("bank/customers", "insurer");
//! let flow = broker.flow("bank/customers", "flow-1");
//! let embedder = Embedder::new(&lineage, &dataset, &recipient, &flow);
//! let column = &lineage.columns()[0];
//! for (row, cell) in embedder.mark(column, &tags, cells.iter().map(AsRef::as_ref)).iter() {
//!     cells[row] = cell.into();
//! }
//!
//! // 3. The file turns up. The owner makes tags of its customers again, the broker scores.
//! let leak = Leak::new(tags, vec![cells])?;
//! let readings = assignments(&lineage, &leak, &[])?;
//! let trace = Trace::new(&lineage, &dataset, &leak, &readings);
//! let suspects: Vec<_> = ["other", "insurer"]
//!     .map(|name| Suspect {
//!         recipient: broker.recipient("bank/customers", name),
//!         flows: Vec::new(),
//!     })
//!     .into();
//! let verdict = trace.accuse(Standard::BILLION, &suspects, |_scored| {});
//! assert_eq!(verdict.accused.len(), 1);
//! assert_eq!(verdict.accused[0].suspect, 1);
//! # Ok(())
//! # }
//! ```

mod error;
mod keys;
mod tag;

mod form;
mod lineage;
mod position;

mod embed;

mod leak;
mod likelihood;
mod null;
mod sheet;
mod trace;

mod reach;
mod reference;

pub use embed::{Changes, Embedder};
pub use error::MarkError;
pub use form::{DateStyle, Form, Number, Reading};
pub use keys::{Commitment, DatasetKey, MasterKey, ReferenceKey, SymbolKey, TraceKey};
pub use leak::{ASSIGNMENTS_MAX, Assignment, Leak, Match, assignments};
pub use likelihood::{Counts, THETAS};
pub use lineage::{Budget, Column, Lineage};
pub use position::BIASES;
pub use reach::{Attack, CANDIDATES_STATED, COLLUDERS_MAX, Reach, Traceability};
pub use reference::{NotACode, ReferenceCode};
pub use tag::{MarkTag, TagBits};
pub use trace::{
    Accused, Evidence, Histogram, Level, Shortfall, Standard, Suspect, Trace, Verdict,
};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
