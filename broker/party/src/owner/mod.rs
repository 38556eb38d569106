//! The owner's side: listens for flows, judges each by itself, matches, submits sealed rows, keeps receipts.
//!
//! The broker's word counts for nothing here that can be checked: the recipient's signature is verified against the
//! agreement that this home stored and countersigned, the request is judged again with the owner's own counters and
//! caps, and an attempt is counted durably before the recipient can learn anything from it. One flow that fails,
//! or panics, ends nothing but itself.

mod attempts;
mod canaries;
mod dataset;
mod flow;
mod marks;
mod rows;
mod serve;
mod serve_lock;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::data::{ReadReport, UnmappedCells};
use crate::error::Denial;
pub use crate::flow::Stage;
pub use crate::flow::shard::Shard;
use crate::marks::DeliveryMarks;
use crate::matching::MatchProgress;

pub use serve::serve;

/// How an owner's agent serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeOptions {
    /// Flows that run at the same time; more wait.
    pub flows_max: usize,
    /// How long running flows may go on after the service was told to stop.
    pub grace: Duration,
    /// The buckets of each flow that this process carries out.
    pub shard: Shard,
}

impl Default for ServeOptions {
    /// 4 flows, 30 s, all buckets.
    fn default() -> Self {
        Self {
            flows_max: 4,
            grace: Duration::from_secs(30),
            shard: Shard::WHOLE,
        }
    }
}

/// What happens while an owner's agent serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServeEvent {
    /// Flows under this agreement will be declined as the datasets are.
    Unfit {
        /// The agreement's id; `None` if no flow at all can be served.
        agreement: Option<String>,
        /// What is missing or differs, where, and what to do.
        why: String,
    },
    /// Listening at the broker.
    Connected {
        /// `host:port`.
        address: String,
    },
    /// The connection broke off, or was not made.
    Lost {
        /// Why.
        why: String,
        /// When it is tried again, in milliseconds from now.
        retry_in_ms: u64,
    },
    /// An offer that could not be read; it names no flow that could be declined.
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
    /// Something about one flow.
    Flow {
        /// The flow's id.
        flow: String,
        /// What.
        #[serde(flatten)]
        what: FlowEvent,
    },
    /// No further flows are taken.
    Stopping {
        /// Flows that still run.
        running: usize,
    },
}

/// What happens to one flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowEvent {
    /// The agreement, the signature, the caps allow it.
    Accepted {
        /// The agreement's id.
        agreement: String,
        /// Who asks.
        recipient: String,
        /// The segment, if one was asked for.
        segment: Option<String>,
        /// The tags asked for.
        tags: Vec<String>,
        /// The class of the recipient's set: it brings so many identifiers at most.
        set_size: u32,
    },
    /// It was declined, and the broker told so.
    Declined {
        /// Why, and what would pass.
        denial: Denial,
    },
    /// Rows of the dataset read so far.
    Reading {
        /// How many.
        rows: u64,
    },
    /// The dataset was read.
    Read {
        /// What became of its rows.
        report: Box<ReadReport>,
        /// Cells without a value, by tag.
        unmapped: Vec<UnmappedCells>,
    },
    /// It stands elsewhere at the broker.
    Stage {
        /// Where.
        stage: Stage,
    },
    /// The broker has recorded the canaries that are mixed in.
    Committed {
        /// How many.
        canaries: u32,
        /// From so many hits on the broker stops the flow, give or take the noise on their number.
        stops_at: u32,
        /// Index of the entry.
        entry: u64,
    },
    /// Both agents have met: the sets are split.
    Met {
        /// Into so many buckets.
        buckets: u32,
    },
    /// Tokens of a bucket are made with the recipient's agent.
    Matching(MatchProgress),
    /// A session was broken off, and the recipient may come again.
    Interrupted {
        /// Why.
        why: String,
    },
    /// Sealed rows of a bucket sent so far.
    Submitting {
        /// How many.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// It was released, the receipt verified and kept.
    Released {
        /// Index of the log entry.
        entry: u64,
        /// How many rows left, in a bucket.
        rows: String,
        /// The marks in them; `None` if the agreement has none.
        marks: Option<DeliveryMarks>,
        /// The receipt that is kept.
        receipt: PathBuf,
    },
    /// It ended otherwise.
    Ended {
        /// A stable word.
        code: String,
        /// Why.
        message: String,
    },
}

/// Where events are told. Called from several threads.
pub type OnEvent = Arc<dyn Fn(ServeEvent) + Send + Sync>;
