//! What `counterfoil measure` takes.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::own::{OwnArgs, WITHOUT_OWN};

/// One query to a line, the same on the command line and in a file:
///
///   count epsilon 0.5
///   histogram TAG [bins 1000,5000] epsilon 0.5
///   crosstab TAG by TAG epsilon 1
///   scorecard TAG by TAG bad VALUE epsilon 1
///   sum TAG from 0 to 20000 [step 1] epsilon 0.5
///   mean TAG from 0 to 20000 [step 1] epsilon 0.5
///   quantile 0.5 TAG [bins 1000,2000] epsilon 0.5
///
/// Each may end with `noise gaussian`, for which --delta is spent.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, group = ArgGroup::new(WITHOUT_OWN).args(["resume", "dry_run"]))]
pub(crate) struct MeasureArgs {
    /// Queries, each quoted; all are answered from one match
    #[arg(value_name = "QUERY")]
    pub(crate) queries: Vec<String>,
    /// More queries, one to a line; `#` begins a comment
    #[arg(long = "queries", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// For all Gaussian noise of the flow together, such as 0.000001
    #[arg(long)]
    pub(crate) delta: Option<String>,
    /// Say what it would cost, how large the noise will be and what would be left; spend nothing
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,
    /// Fetch the answers of this flow, after an interruption
    #[arg(long, value_name = "FLOW", conflicts_with_all = ["agreement", "from", "column", "queries", "file"])]
    pub(crate) resume: Option<String>,
    /// Id of the agreement
    #[arg(long, value_name = "ID", required_unless_present = "resume")]
    pub(crate) agreement: Option<String>,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
    /// Own tags that queries use, each with its column; without one, the column of the tag's name
    #[arg(long = "tag", value_name = "TAG=COLUMN")]
    pub(crate) tags: Vec<String>,
    /// One of the agreement's segments
    #[arg(long)]
    pub(crate) segment: Option<String>,
    /// Add whole, non-negative figures with one total beside the noised ones
    #[arg(long)]
    pub(crate) readable: bool,
    /// Files to write, by their endings: .json, .csv, .svg
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Vec<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Who asks
    #[arg(long = "as", value_name = "USER", required_unless_present = WITHOUT_OWN)]
    pub(crate) user: Option<String>,
}
