//! The report of a trace, as the broker signs it and the owner's agent reads it.
//!
//! Text: a first line of its own, then JSON. The log's key signs it as a note; no checkpoint begins with that line.

use serde::{Deserialize, Serialize};

use crate::WireError;

/// The first line: what is signed with the log's key under it is a report and nothing else.
const FIRST_LINE: &str = "counterfoil trace report v1\n";
/// Longest report, in bytes.
const REPORT_BYTES_MAX: usize = 1024 * 1024;

/// Whom a leaked file names, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceReport {
    /// The broker.
    pub broker: String,
    /// When it was scored, RFC 3339.
    pub time: String,
    /// The incident that it belongs to.
    pub incident: String,
    /// Index of the log entry by which two people had it scored.
    pub scoring: u64,
    /// The owner that asked.
    pub org: String,
    /// The lineage, `OWNER/DATASET/EPOCH/BITS/SELECTED`; `OWNER/*` where codes alone were looked for.
    pub lineage: String,
    /// Digest of the leaked file.
    pub file_sha256: String,
    /// Rows of it.
    pub rows: u64,
    /// Rows whose customers the owner knows, which were scored.
    pub rows_used: u64,
    /// The commitment to the owner's key of mark tags, in the entries of the lineage's releases, which two people of the owner
    /// signed for with the request. That the tags were made with it is their word until they open the key.
    pub tag_key: Option<String>,
    /// What marks say; none where only codes were looked for, or found.
    pub marks: Option<MarksRead>,
    /// Flows whose reference codes are in the file, most rows first. No evidence of who leaked: a code is copied with its row by
    /// whoever has it, and the delivery's recipient, the broker and who saw a copy could have.
    pub coded: Vec<CodedFlow>,
    /// Keys of codes that the broker compared with their commitments in its log: of all deliveries of the owner with codes, if
    /// the file has any.
    pub code_keys_compared: u64,
}

/// What the marks in a leaked file say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarksRead {
    /// Ways in which the columns could be read; E is the mean over them.
    pub readings: u64,
    /// The columns of the first way: tag, and how it is written.
    pub columns: Vec<ColumnRead>,
    /// Cells that say something of a recipient, and of a flow.
    pub reads: [u64; 2],
    /// Recipients and flows that were scored: each could have been named.
    pub candidates: u64,
    /// Anybody innocent is named at all in one of so many traces, or fewer.
    pub false_naming_one_in: u64,
    /// log10 of the least E that names anybody.
    pub log10_threshold: f64,
    /// Who is named, most evidence first.
    pub accused: Vec<AccusedRecipient>,
    /// All other recipients by log10 E: under -1, from -1 to 0, .. from 17 to 18, and above. In one bin where they are so few that
    /// a histogram would tell the score of each.
    pub others: Vec<u64>,
    /// Keys that the broker compared with their commitments in its log before it scored: those of all candidates, and the
    /// lineage's. Its word, over its signature.
    pub keys_compared: u64,
    /// What is missing if nobody is named.
    pub shortfall: Option<Shortfall>,
}

/// A column of the file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRead {
    /// Its place among the columns that were sent, from 0.
    pub column: u64,
    /// The tag.
    pub tag: String,
    /// How its cells are written.
    pub reading: String,
}

/// A recipient that is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccusedRecipient {
    /// The institution.
    pub recipient: String,
    /// Why.
    pub evidence: Evidence,
    /// Commitment to its key, in the entry of each of its flows.
    pub key_commitment: String,
    /// The flows that are named with it; or, if none can be told, all of its flows, without evidence.
    pub flows: Vec<AccusedFlow>,
    /// How many more of its flows there are that are not listed.
    #[serde(default)]
    pub flows_left_off: u64,
}

/// A flow of a recipient that is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccusedFlow {
    /// The flow.
    pub flow: String,
    /// The agreement's id.
    pub agreement: String,
    /// Its version.
    pub version: u32,
    /// Index of its `release.intent`.
    pub entry: u64,
    /// When it was released, RFC 3339.
    pub time: String,
    /// Commitment to its key, in that entry.
    pub key_commitment: String,
    /// Why it is named; none if which flow it was cannot be told.
    pub evidence: Option<Evidence>,
}

/// A flow whose reference codes are in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodedFlow {
    /// The institution to which it was delivered.
    pub recipient: String,
    /// The lineage of the delivery.
    pub lineage: String,
    /// Rows with a code of it.
    pub rows: u64,
    /// The flow, without evidence; its commitment is that to the key of its codes.
    pub flow: AccusedFlow,
}

/// How much the file speaks against one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// log10 of E.
    pub log10_e: f64,
    /// The exact p-value, for this one candidate.
    pub p: f64,
}

/// What is missing for a naming, rounded up to 1, 2 or 5 times a power of ten: it would tell the best score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shortfall {
    /// Rows more, if they are of one delivery and unaltered; none if these columns cannot name anybody.
    pub rows_more_unaltered: Option<u64>,
    /// Rows more, if the rest is like this part and the likeliest leaked it.
    pub rows_more_at_this_rate: Option<u64>,
}

impl TraceReport {
    /// The text that is signed.
    ///
    /// # Errors
    /// It is too long.
    pub fn to_text(&self) -> Result<String, WireError> {
        let json = serde_json::to_string_pretty(self).map_err(|_| malformed("it has no text"))?;
        let text = format!("{FIRST_LINE}{json}\n");
        if text.len() > REPORT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        Ok(text)
    }

    /// Reads a signed text whose signature was verified.
    ///
    /// # Errors
    /// It is no report.
    pub fn from_text(text: &str) -> Result<Self, WireError> {
        if text.len() > REPORT_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let json = text
            .strip_prefix(FIRST_LINE)
            .ok_or_else(|| malformed("its first line is another"))?;
        serde_json::from_str(json).map_err(|_| malformed("it is not the JSON of a report"))
    }
}

fn malformed(why: &'static str) -> WireError {
    WireError::Malformed {
        field: "report",
        why,
    }
}
