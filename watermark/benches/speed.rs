//! What embedding and scoring cost, beside the AES they cannot do without. One core.
//!
//! `cargo bench -p counterfoil-watermark --bench speed`; `CANDIDATES` sets another number than a million.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes128Enc, Block};
use counterfoil_watermark::{
    Budget, Column, Commitment, Embedder, Form, Leak, Level, Lineage, MarkTag, MasterKey, Standard,
    Suspect, TagBits, Trace, assignments,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LINEAGE: &str = "bank/customers";
const LEAKED_ROWS: usize = 10_000;
const MARKED_ROWS: usize = 1 << 20;
/// The best of so many counts: what else the machine does makes it slower, and nothing makes it faster.
const EMBEDDINGS: usize = 5;

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let candidates = match std::env::var("CANDIDATES") {
        Ok(number) => number.parse()?,
        Err(_) => 1_000_000,
    };
    let raw = raw_aes(10_000, 2_000);
    println!(
        "raw AES-128, 10,000 blocks a key: {:8.1} M blocks/s",
        1e-6 / raw
    );
    embedding()?;
    keys(candidates);
    for (name, columns) in [
        ("1 ordinal, q = 2%", 1),
        ("4 ordinals, q = 2%", 4),
        ("2 ordinals, score, amount", 0),
    ] {
        scoring(name, columns, candidates, raw)?;
    }
    Ok(())
}

/// Seconds a block, for `keys` keys.
fn raw_aes(blocks: usize, keys: u32) -> f64 {
    let input = vec![Block::default(); blocks];
    let mut output = vec![Block::default(); 64];
    let start = on_core();
    for key in 0..keys {
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().zip(key.to_le_bytes()) {
            *place = byte;
        }
        let cipher = Aes128Enc::new(&bytes.into());
        for blocks in input.chunks(64) {
            let output = output.get_mut(..blocks.len()).unwrap_or_default();
            let _ = cipher.encrypt_blocks_b2b(blocks, output);
            black_box(&output);
        }
    }
    spent(start) / (f64::from(keys) * blocks as f64)
}

fn lineage(ordinals: usize, bits: TagBits) -> Result<Lineage, Fault> {
    let budget = Budget::new(20_000, u64::MAX)?;
    let values = ["1", "2", "3", "4", "5"];
    let column = |name: &str, form| Column::new(name, form, budget, bits);
    let mut columns = Vec::new();
    for index in 0..if ordinals == 0 { 2 } else { ordinals } {
        columns.push(column(
            &format!("tier{index}"),
            Form::ordinal(&values, None)?,
        )?);
    }
    if ordinals == 0 {
        let domain = Some(("0".parse()?, "1000".parse()?));
        columns.push(column("score", Form::score("3".parse()?, domain)?)?);
        columns.push(column("aum", Form::amount("1000000".parse()?)?)?);
    }
    Ok(Lineage::new(columns, bits)?)
}

/// A column's cells: values that its form takes, as text.
fn cells(lineage: &Lineage, rows: usize, rng: &mut ChaCha20Rng) -> Vec<Vec<Box<str>>> {
    let mut column = |name: &str| {
        let mut cell = || -> Box<str> {
            match name {
                "score" => (rng.next_u32() % 1001).to_string().into(),
                "aum" => format!(
                    "{}.{:02}",
                    rng.next_u32() % 9_000_000 + 1000,
                    rng.next_u32() % 9 * 11 + 1
                )
                .into(),
                _ => (rng.next_u32() % 5 + 1).to_string().into(),
            }
        };
        (0..rows).map(|_| cell()).collect()
    };
    lineage
        .columns()
        .iter()
        .map(|own| column(own.name()))
        .collect()
}

fn tags(rows: usize, bits: TagBits, rng: &mut ChaCha20Rng) -> Vec<MarkTag> {
    let random = |_| MarkTag::new(rng.next_u32() >> (32 - u32::from(bits.get())), bits);
    (0..rows).filter_map(random).collect()
}

/// How long this thread was on a core so far, where Linux says so: on a machine with other work the time of day says less.
fn on_core() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(
        || BEGIN.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
}

/// Seconds on a core since then.
fn spent(start: Duration) -> f64 {
    on_core().saturating_sub(start).as_secs_f64()
}

/// What scoring needs before it begins: the keys of each recipient and of a flow of its own, and their commitments.
fn keys(candidates: usize) {
    let master = MasterKey::from_bytes([1; 32]);
    let start = on_core();
    for index in 0..candidates {
        let name = index.to_string();
        let recipient = master.recipient(LINEAGE, &name);
        black_box(Commitment::to_recipient(&recipient, LINEAGE, &name));
        let flow = master.flow(LINEAGE, &name);
        black_box(Commitment::to_flow(&flow, LINEAGE, &name));
    }
    println!(
        "keys of {candidates} recipients with a flow each, and their commitments: {:.2} s",
        spent(start)
    );
}

fn embedding() -> Result<(), Fault> {
    let bits = TagBits::for_rows(MARKED_ROWS as u64);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    // Two of the four columns twice: eight columns, of which four carry a mark in every cell.
    let lineage = lineage(0, bits)?;
    let cells = cells(&lineage, MARKED_ROWS, &mut rng);
    let tags = tags(MARKED_ROWS, bits, &mut rng);
    let master = MasterKey::from_bytes([1; 32]);
    let dataset = master.dataset(LINEAGE);
    let recipient = master.recipient(LINEAGE, "r");
    let embedder = Embedder::new(&lineage, &dataset, &recipient, &master.flow(LINEAGE, "f"));
    let mut changed = 0;
    let mut best = Duration::MAX;
    for _ in 0..EMBEDDINGS {
        let start = on_core();
        changed = 0;
        for _ in 0..2 {
            for (column, cells) in lineage.columns().iter().zip(&cells) {
                let cells = cells.iter().map(AsRef::as_ref);
                changed += black_box(embedder.mark(column, &tags, cells)).len();
            }
        }
        best = best.min(on_core().saturating_sub(start));
    }
    println!(
        "embedding 2^20 rows x 8 columns (4 ordinals, 2 scores, 2 amounts): {:.2} s on a core, {changed} cells changed, best of {EMBEDDINGS}   goal 0.5 s",
        best.as_secs_f64()
    );
    Ok(())
}

fn scoring(name: &str, ordinals: usize, candidates: usize, raw: f64) -> Result<(), Fault> {
    let bits = TagBits::new(16)?;
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let lineage = lineage(ordinals, bits)?;
    let master = MasterKey::from_bytes([1; 32]);
    let dataset = master.dataset(LINEAGE);
    let tags = tags(LEAKED_ROWS, bits, &mut rng);
    let leak = Leak::new(tags, cells(&lineage, LEAKED_ROWS, &mut rng))?;
    let known: Vec<_> = (0..leak.width()).map(Some).collect();
    let readings: Vec<_> = assignments(&lineage, &leak, &known)?
        .into_iter()
        .take(1)
        .collect();
    let trace = Trace::new(&lineage, &dataset, &leak, &readings);
    // Each flow is another recipient's: the most that recipients-first can be asked to do.
    let suspects: Vec<_> = (0..candidates)
        .map(|index| Suspect {
            recipient: master.recipient(LINEAGE, &index.to_string()),
            flows: Vec::new(),
        })
        .collect();
    let start = on_core();
    let some = suspects.iter().take(candidates / 100);
    let sum: f64 = some
        .map(|suspect| trace.ln_e(Level::Recipient, &suspect.recipient))
        .sum();
    black_box(sum);
    let each = spent(start) / (candidates / 100) as f64;
    let blocks = trace.blocks(Level::Recipient);
    let start = on_core();
    let verdict = trace.accuse(Standard::BILLION, &suspects, |_| {});
    let time = spent(start);
    if !verdict.accused.is_empty() {
        return Err("an unmarked file names somebody".into());
    }
    let ratio = each / (raw * blocks as f64);
    println!("{name}: {candidates} recipients against {LEAKED_ROWS} rows, {blocks} blocks each");
    println!(
        "    one full score {:9.2} us, {ratio:.2} of raw AES    goal 2",
        each * 1e6
    );
    println!("    all of them    {time:9.2} s     goal 10, sparse 2");
    Ok(())
}
