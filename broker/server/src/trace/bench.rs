//! Scoring as the broker does it, for `benches/trace.rs`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_audit::entry::{
    AgreementRef, Digest, FlowId, Integer, Label, List, OrgName, ReleaseMarks, Timestamp,
};
use counterfoil_policy::approval::ScoringRequest;
use counterfoil_policy::text::{ContentDigest, ScoringId};
use counterfoil_proto::leak::LeakContent;
use counterfoil_watermark::{
    Budget, Column, Commitment, Embedder, Form, Lineage, MarkTag, MasterKey, TagBits, TraceKey,
};

use super::{Candidates, Scoring};
use crate::log::Recorded;
use crate::state::marks::{Release, ScoringEntry};

/// Whatever went wrong.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

const LINEAGE: &str = "bank/customers/1/16/2065";
const ROWS: u32 = 10_000;

/// What a scoring took.
#[derive(Debug)]
pub struct Took {
    recipients: usize,
    flows: usize,
    /// Taking the releases out of the state, for which the ledger is locked.
    gathered: Duration,
    /// Decoding the content, deriving keys, opening commitments, scoring.
    scored: Duration,
    named: Vec<String>,
    /// Peak of the process before the scoring, and after it, in KiB.
    peak: [u64; 2],
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} flows of {} recipients against {ROWS} rows of 2 ordinals, a score and an amount: gathered in {:.2} s, scored in {:.2} s (goal: 10 s); named: {}; peak {} MiB before, {} MiB after",
            self.flows,
            self.recipients,
            self.gathered.as_secs_f64(),
            self.scored.as_secs_f64(),
            self.named.join(", "),
            self.peak[0] / 1024,
            self.peak[1] / 1024
        )
    }
}

/// Scores a leak of one of so many flows, which so many recipients share alike.
///
/// # Errors
/// Nothing that depends on the numbers.
pub fn score(recipients: usize, flows: usize) -> Result<Took, Fault> {
    let master = MasterKey::from_bytes([1; 32]);
    let lineage = lineage()?;
    let releases = (0..flows).map(|flow| Ok(Arc::new(release(&master, flow, recipients)?)));
    let releases: Vec<Arc<Release>> = releases.collect::<Result<_, Fault>>()?;
    let leaked = releases.get(flows / 2).ok_or("there are no flows")?;
    let content = leak(&master, &lineage, leaked)?.encode()?;
    let recorded = recorded()?;
    let before = peak();
    let start = Instant::now();
    let marks = Candidates::over(lineage, Label::new(LINEAGE)?, &releases);
    let scoring = Scoring {
        marks: Some(marks),
        coded: Vec::new(),
    };
    let gathered = start.elapsed();
    let start = Instant::now();
    let content = LeakContent::decode(&content)?;
    let scored = scoring.score(&recorded, &content, &master, |_| ())?;
    Ok(Took {
        recipients,
        flows,
        gathered,
        scored: start.elapsed(),
        named: scored.named().map(ToOwned::to_owned).collect(),
        peak: [before, peak()],
    })
}

/// The largest size of this process so far, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or(0)
}

fn lineage() -> Result<Lineage, Fault> {
    let bits = TagBits::new(16)?;
    let budget = Budget::new(20_000, 10_000)?;
    let tier = || Form::ordinal(&["1", "2", "3", "4", "5"], None);
    let score = Form::score("3".parse()?, Some(("0".parse()?, "1000".parse()?)))?;
    let columns = [
        ("tier", tier()?),
        ("risk", tier()?),
        ("score", score),
        ("amount", Form::amount("1000000".parse()?)?),
    ];
    let columns = columns.map(|(name, form)| Column::new(name, form, budget, bits));
    Ok(Lineage::new(
        columns.into_iter().collect::<Result<_, _>>()?,
        bits,
    )?)
}

fn release(master: &MasterKey, number: usize, recipients: usize) -> Result<Release, Fault> {
    let recipient = format!("recipient-{}", number % recipients.max(1));
    let flow = FlowId::from_bytes((number as u128 + (1 << 100)).to_be_bytes());
    let name = flow.to_string();
    let digest = |commitment: Commitment| Digest::from_bytes(*commitment.as_bytes());
    let of_recipient = master.recipient(LINEAGE, &recipient);
    let columns = ["tier", "risk", "score", "amount"].map(Label::new);
    Ok(Release {
        flow,
        agreement: AgreementRef {
            id: Label::new("tags")?,
            version: 1,
            sha256: Digest::from_bytes([0; 32]),
        },
        entry: number as u64,
        time: Timestamp::from_unix_micros(1_800_000_000_000_000)?,
        marks: ReleaseMarks {
            lineage: Label::new(LINEAGE)?,
            columns: List::new(columns.into_iter().collect::<Result<_, _>>()?)?,
            dataset_key: digest(Commitment::to_dataset(&master.dataset(LINEAGE), LINEAGE)),
            recipient_key: digest(Commitment::to_recipient(&of_recipient, LINEAGE, &recipient)),
            flow_key: digest(Commitment::to_flow(
                &master.flow(LINEAGE, &name),
                LINEAGE,
                &name,
            )),
            rows_needed: Some(Integer::new(100)?),
            colluders_max: 3,
            tag_key: None,
            reference_key: None,
            changed_ppm_max: Some(20_000),
        },
        recipient: OrgName::new(recipient)?,
    })
}

/// Rows as they were delivered in a flow.
fn leak(master: &MasterKey, lineage: &Lineage, of: &Release) -> Result<LeakContent, Fault> {
    let owner = TraceKey::from_bytes([2; 32]);
    let tag = |customer: u32| owner.tag(LINEAGE, &customer.to_be_bytes(), lineage.bits());
    let tags: Vec<MarkTag> = (0..ROWS).map(tag).collect();
    let cell = |column: usize, row: u32| -> Box<str> {
        let random = row.wrapping_mul(2_654_435_761) >> 7;
        match column {
            0 => (random % 5 + 1).to_string().into(),
            1 => (random / 5 % 5 + 1).to_string().into(),
            2 => (random % 1001).to_string().into(),
            _ => (random % 9_000_000 + 1000).to_string().into(),
        }
    };
    let dataset = master.dataset(LINEAGE);
    let recipient = master.recipient(LINEAGE, of.recipient.as_str());
    let flow = master.flow(LINEAGE, &of.flow.to_string());
    let embedder = Embedder::new(lineage, &dataset, &recipient, &flow);
    let mut columns = Vec::new();
    for (place, column) in lineage.columns().iter().enumerate() {
        let mut cells: Vec<Box<str>> = (0..ROWS).map(|row| cell(place, row)).collect();
        let changes = embedder.mark(column, &tags, cells.iter().map(AsRef::as_ref));
        for (row, marked) in changes.iter() {
            if let Some(cell) = cells.get_mut(row) {
                *cell = marked.into();
            }
        }
        columns.push(cells);
    }
    Ok(LeakContent {
        known: ["tier", "risk", "score", "amount"]
            .map(|name| Some(name.to_owned()))
            .into(),
        mark_tags: tags.iter().map(|tag| tag.get()).collect(),
        columns,
    })
}

fn recorded() -> Result<Recorded<ScoringEntry>, Fault> {
    let request = ScoringRequest {
        id: ScoringId::from_bytes([7; 8]),
        org: "bank".parse()?,
        lineage: LINEAGE.into(),
        file_sha256: ContentDigest::from_bytes([1; 32]),
        content_sha256: ContentDigest::from_bytes([2; 32]),
        rows: ROWS.into(),
        rows_used: ROWS.into(),
        tag_key: None,
        at: "2026-01-01T00:00:00Z".parse()?,
    };
    let lineage = Label::new(LINEAGE)?;
    Ok(Recorded::of_test(ScoringEntry { request, lineage }))
}
