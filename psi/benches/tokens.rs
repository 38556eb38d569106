//! What the token step costs: both directions, each side a process of its own, identifiers in
//! memory at the start and tokens in memory at the end. The sides hold as many phones, half of
//! them in common, and talk through pipes.
//!
//! `cargo bench -p counterfoil-psi --bench tokens` runs `vole` at 2^16 and 2^20 and `dh` at 2^16;
//! `CASES="vole:24 dh:12"` runs others. On Linux only: CPU time and memory come from `/proc`.

use std::env;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use counterfoil_psi::{
    IdentifierKind, IdentifierSet, Message, Normaliser, Protocol, Role, SessionId, TokenExchange,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Set in the processes that are the sides.
const SIDE: &str = "COUNTERFOIL_BENCH_SIDE";
/// `/proc/self/stat` counts in hundredths of a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> ExitCode {
    let result = match env::var(SIDE) {
        Ok(side) => run_side(&side),
        Err(_) => run_cases(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_cases() -> Fallible<()> {
    let cases = env::var("CASES").unwrap_or_else(|_| "vole:16 vole:20 dh:16".to_owned());
    println!(
        "{:8} {:>10} {:>9} {:>12} {:>14} {:>14} {:>10}",
        "protocol", "items", "wall s", "CPU s, both", "us CPU an item", "MB both ways", "peak MiB"
    );
    for case in cases.split_whitespace() {
        let (protocol, log) = case.split_once(':').ok_or("a case is PROTOCOL:LOG2")?;
        let items = 1_u32 << log.parse::<u32>()?;
        let start = Instant::now();
        let [owner, recipient] = both_sides(protocol, items)?;
        let wall = owner.wall.max(recipient.wall);
        let cpu = owner.cpu + recipient.cpu;
        println!(
            "{protocol:8} {items:>10} {wall:>9.2} {cpu:>12.2} {:>14.2} {:>14.1} {:>10.0}",
            cpu * 1e6 / f64::from(items),
            (owner.bytes + recipient.bytes) / 1e6,
            owner.peak_mib.max(recipient.peak_mib),
        );
        let _ = start;
    }
    Ok(())
}

/// What a side says about itself.
struct Report {
    wall: f64,
    cpu: f64,
    bytes: f64,
    peak_mib: f64,
}

fn both_sides(protocol: &str, items: u32) -> Fallible<[Report; 2]> {
    let (owner_reads, recipient_writes) = io::pipe()?;
    let (recipient_reads, owner_writes) = io::pipe()?;
    let spawn = |side: &str, reads: io::PipeReader, writes: io::PipeWriter| {
        Command::new(env::current_exe()?)
            .env(SIDE, format!("{side} {protocol} {items}"))
            .stdin(reads)
            .stdout(writes)
            .stderr(Stdio::piped())
            .spawn()
    };
    let owner = spawn("owner", owner_reads, owner_writes)?;
    let recipient = spawn("recipient", recipient_reads, recipient_writes)?;
    Ok([report(owner)?, report(recipient)?])
}

fn report(side: Child) -> Fallible<Report> {
    let output = side.wait_with_output()?;
    let text = String::from_utf8(output.stderr)?;
    let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
    match numbers.as_deref() {
        Ok([wall, cpu, bytes, peak_mib]) => Ok(Report {
            wall: *wall,
            cpu: *cpu,
            bytes: *bytes,
            peak_mib: *peak_mib,
        }),
        _ => Err(format!("a side failed: {text}").into()),
    }
}

fn run_side(arguments: &str) -> Fallible<()> {
    let mut arguments = arguments.split(' ');
    let mut next = || arguments.next().ok_or("side, protocol, items");
    let role = match next()? {
        "owner" => Role::Owner,
        _ => Role::Recipient,
    };
    let protocol: Protocol = next()?.parse()?;
    let items: u32 = next()?.parse()?;
    let set = phones(role, items)?;
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let bytes = exchange(protocol, role, set, items)?;
    eprintln!(
        "{} {} {bytes} {}",
        start.elapsed().as_secs_f64(),
        cpu_seconds()? - cpu,
        peak_mib()?
    );
    Ok(())
}

/// The recipient's phones begin in the middle of the owner's.
fn phones(role: Role, items: u32) -> Fallible<Arc<IdentifierSet>> {
    let first = match role {
        Role::Owner => 0,
        Role::Recipient => items / 2,
    };
    let normaliser = Normaliser::new(IdentifierKind::Phone, Some("CN".parse()?));
    let mut set = IdentifierSet::new(IdentifierKind::Phone, &mut ChaCha20Rng::seed_from_u64(1));
    for number in first..first + items {
        set.insert(&normaliser.normalise(&format!("138{number:08}"))?)?;
    }
    Ok(Arc::new(set))
}

/// Runs this side over standard input and output; gives the bytes that it sent.
fn exchange(
    protocol: Protocol,
    role: Role,
    set: Arc<IdentifierSet>,
    peer_items: u32,
) -> Fallible<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    rand_seed(&mut rng, role);
    let session = SessionId::from_bytes([1; 32]);
    let mut side = TokenExchange::begin(protocol, session, role, set, peer_items, &mut rng)?;
    // Writing has a thread of its own: a pipe holds one piece, and both sides write at once.
    let (to_writer, outgoing) = mpsc::channel::<Message>();
    let writer = thread::spawn(move || -> io::Result<u64> {
        let mut out = io::stdout().lock();
        let mut sent = 0;
        for message in outgoing {
            let (kind, bytes) = message.parts();
            out.write_all(&[kind])?;
            out.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes())?;
            out.write_all(bytes)?;
            out.flush()?;
            sent += 5 + bytes.len() as u64;
        }
        Ok(sent)
    });
    let mut input = io::stdin().lock();
    while !side.is_complete() {
        while let Some(message) = side.next_message()? {
            to_writer.send(message)?;
        }
        if side.is_complete() {
            break;
        }
        side.receive(read(&mut input)?)?;
    }
    drop(to_writer);
    let tokens = side.finish()?;
    std::hint::black_box(&tokens);
    Ok(writer.join().map_err(|_| "the writer failed")??)
}

/// The two sides must not draw the same secrets.
fn rand_seed(rng: &mut ChaCha20Rng, role: Role) {
    rng.set_stream(match role {
        Role::Owner => 1,
        Role::Recipient => 2,
    });
}

fn read(input: &mut impl Read) -> Fallible<Message> {
    let (mut kind, mut length) = ([0; 1], [0; 4]);
    input.read_exact(&mut kind)?;
    input.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    input.read_exact(&mut bytes)?;
    let [kind] = kind;
    Ok(Message::from_parts(kind, bytes).ok_or("an unknown kind of message")?)
}

fn cpu_seconds() -> Fallible<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    // User and system time are the 12th and 13th after the name (proc(5)).
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<f64>, _> = ticks.map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn peak_mib() -> Fallible<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
