//! The recipient's side of a flow: ask, match, submit keys, verify the receipt, open, write.
//!
//! What is read is checked before anything leaves: a bad file costs nothing. What is needed after a crash is written
//! before the step that needs it: the flow's record (with the delivery key) and the own rows before the request, the match map of
//! a bucket before its row keys. So [`resume`] goes on with the buckets that are missing, or fetches what was released, by the same
//! code as [`exchange`].

mod brought;
mod buckets;
mod carry;
mod complete;
mod files;
mod map;
mod measure;
mod own;
mod part;
mod prepare;
mod record;
mod run;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_audit::entry::RemovedOfTag;
use counterfoil_policy::agreement::IdentifierType;
use counterfoil_policy::text::{AgreementId, FlowId, SegmentName, TagName, UserId};
use counterfoil_psi::Region;
use serde::{Deserialize, Serialize};

use crate::data::{ReadReport, Source};
use crate::error::Result;
pub use crate::flow::Stage;
use crate::home::Home;
use crate::marks::DeliveryMarks;
use crate::matching::MatchProgress;

pub use crate::flow::shard::Shard;
pub use measure::{MeasureOptions, Measured, Preview, measure, preview, resume_measure};
pub use part::{JobName, Part, PartDone, exchange_part};
pub use run::{exchange, resume};

/// What to ask for, with which file, and where to write the answer.
#[derive(Debug, Clone)]
pub struct ExchangeOptions {
    /// The agreement; its active version is used.
    pub agreement: AgreementId,
    /// Who asks, as an opaque id that enters the log.
    pub user: UserId,
    /// One of the agreement's segments; without one, the whole dataset.
    pub segment: Option<SegmentName>,
    /// What to match by; may be left out where the agreement has only one.
    pub identifier: Option<IdentifierType>,
    /// Tags to ask for; empty for all of the agreement's.
    pub tags: Vec<TagName>,
    /// Own customers.
    pub source: Source,
    /// The column that holds their identifiers.
    pub column: String,
    /// The region of telephone numbers without a country code; without one, the agreement's.
    pub region: Option<Region>,
    /// Own columns that are copied to the output.
    pub carry: Vec<String>,
    /// The file to write: `.csv` or `.parquet`.
    pub output: PathBuf,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
}

/// What happens during an exchange, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// Rows of the own source read so far.
    Reading {
        /// How many.
        rows: u64,
    },
    /// The own source was read to its end.
    Read {
        /// What became of its rows.
        report: ReadReport,
    },
    /// The broker granted the request.
    Granted {
        /// The flow's id.
        flow: String,
        /// Index of the log entry.
        entry: u64,
    },
    /// The flow stands elsewhere at the broker.
    Stage {
        /// Where.
        stage: Stage,
    },
    /// Both agents have met: the sets are split.
    Met {
        /// Into so many buckets.
        buckets: u32,
    },
    /// A session was broken off, and is tried again.
    Interrupted {
        /// Why.
        why: String,
    },
    /// A bucket is joined.
    Joined {
        /// Which.
        bucket: u32,
    },
    /// Tokens of a bucket are made with the owner's agent.
    Matching(MatchProgress),
    /// Row keys of a bucket sent so far.
    Submitting {
        /// How many.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// The release stands in the log.
    Released,
    /// Bytes of the sealed delivery so far.
    Fetching {
        /// How many.
        bytes: u64,
    },
    /// The receipt was verified; only now is the delivery opened.
    ReceiptVerified {
        /// Index of the log entry that records the release.
        entry: u64,
    },
}

/// Where progress is told. Called from several threads.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What became of the own rows and of the owner's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Rows of the own source.
    pub rows: u64,
    /// Rows without an identifier.
    pub empty: u64,
    /// Rows that could not be used.
    pub invalid: u64,
    /// Rows whose identifier an earlier row has.
    pub duplicates: u64,
    /// Identifiers that were matched with.
    pub submitted: u64,
    /// The class of the owner's set: it matched with so many identifiers at most; 0 where it was not asked.
    pub owner_submitted: u64,
}

/// A finished exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exchanged {
    /// The flow's id.
    pub flow: String,
    /// The agreement's id.
    pub agreement: String,
    /// Its version.
    pub version: u32,
    /// The other institution.
    pub owner: String,
    /// The segment, if one was asked for.
    pub segment: Option<String>,
    /// The matching protocol that ran.
    pub protocol: String,
    /// Names of the delivered tags.
    pub tags: Vec<String>,
    /// What became of the own rows.
    pub counts: Counts,
    /// Rows that were delivered: common customers, less those that minimisation left out.
    pub delivered: u64,
    /// How many delivered rows were made coarser, in a bucket.
    pub generalised: String,
    /// How many common customers were left out, in a bucket.
    pub suppressed: String,
    /// How many of the owner's rows it left out before matching for want of a consent, in a bucket and by its own word;
    /// `None` if the agreement asks for no proofs.
    pub without_consent: Option<String>,
    /// The marks in it; `None` if the agreement has none.
    pub marks: Option<DeliveryMarks>,
    /// What each tag lost to minimisation.
    pub loss: Vec<TagLoss>,
    /// Index of the log entry that records the release.
    pub entry: u64,
    /// The receipt that is kept.
    pub receipt: PathBuf,
    /// The file that was written.
    pub output: PathBuf,
    /// Whether the broker took the acknowledgement; if not, `exchange --resume` gives it again.
    pub acknowledged: bool,
    /// How long each phase took.
    pub durations: Durations,
}

/// What one tag lost to minimisation, as the log's entry tells both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagLoss {
    /// The tag.
    pub tag: String,
    /// Delivered cells that are coarser than the owner submitted them, in a bucket.
    pub generalised: String,
    /// Share of the tag's information that this cost, in a bucket.
    pub loss: String,
}

impl TagLoss {
    fn of(removed: &RemovedOfTag) -> Self {
        Self {
            tag: removed.name.as_str().to_owned(),
            generalised: removed.generalised.as_str().to_owned(),
            loss: removed.loss.as_str().to_owned(),
        }
    }
}

/// Wall-clock milliseconds of the phases; 0 for those that did not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Durations {
    /// Reading the own source.
    pub read_ms: u64,
    /// From the request until both agents have met.
    pub meet_ms: u64,
    /// Making tokens.
    pub match_ms: u64,
    /// Writing the map and submitting keys.
    pub submit_ms: u64,
    /// Until the release stood in the log.
    pub release_ms: u64,
    /// Fetching, verifying, opening, writing.
    pub deliver_ms: u64,
}

/// The flows of this home that were interrupted, each of which [`resume`] can settle. Those that another process carries
/// out just now are not among them.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn unfinished(home: &Home) -> Result<Vec<FlowId>> {
    record::unfinished(home)
}
