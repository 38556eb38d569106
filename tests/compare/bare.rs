//! The token step alone: two processes with a line between them, no broker. From a file each to tokens in memory.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use counterfoil_party::data::{Source, Wanted, read_identifiers};
use counterfoil_psi::{
    IdentifierKind, IdentifierSet, Message, Normaliser, Protocol, Role, SessionId, TokenExchange,
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use crate::measure::{Cost, Span, part, watch};

/// What a run of it costs: reading both files into sets in memory; from there to tokens in memory; and all of it.
pub fn run(protocol: &str, owner: &Path, recipient: &Path) -> [Cost; 3] {
    let address = counterfoil_tests::world::free_address();
    let dir = tempfile::tempdir().unwrap();
    let side = |role: &str, file: &Path| {
        part([
            "tokens",
            protocol,
            role,
            file.to_str().unwrap(),
            address.as_str(),
            dir.path().join(role).to_str().unwrap(),
        ])
    };
    let listens = side("owner", owner);
    let connects = side("recipient", recipient);
    let whole = watch(&[], vec![listens, connects]);
    let spans = |end: &str| {
        let [owner, recipient] =
            ["owner", "recipient"].map(|role| dir.path().join(format!("{role}{end}")));
        Span::of_both([&owner, &recipient], whole)
    };
    let reading = Cost {
        bytes: 0,
        ..spans(READ)
    };
    [reading, spans(STEP), whole]
}

const READ: &str = ".read";
const STEP: &str = ".step";

/// The phones of a CSV file, as the agents read them: in E.164, each once.
pub fn phones(role: Role, file: &str) -> IdentifierSet {
    let mut rng = ChaCha20Rng::seed_from_u64(match role {
        Role::Owner => 1,
        Role::Recipient => 2,
    });
    let wanted = Wanted {
        column: "id",
        normaliser: Normaliser::new(IdentifierKind::Phone, None),
        others: &[],
        payload_bytes: 0,
        added: &[],
    };
    let source = Source::parse(file).unwrap();
    let loaded = read_identifiers(&source, &wanted, None, &mut |_| (), &mut rng).unwrap();
    loaded.set
}

/// The part `tokens PROTOCOL ROLE FILE ADDRESS REPORT`.
pub fn tokens(protocol: &str, role: &str, file: &str, address: &str, report: &str) {
    let protocol: Protocol = protocol.parse().unwrap();
    let role = match role {
        "owner" => Role::Owner,
        _ => Role::Recipient,
    };
    let mut reading = Span::begin();
    let set = phones(role, file);
    reading.end();
    reading.write(&format!("{report}{READ}"));
    let mut stream = match role {
        Role::Owner => TcpListener::bind(address).unwrap().accept().unwrap().0,
        Role::Recipient => connect(address),
    };
    stream.set_nodelay(true).unwrap();
    let mut rng = rand::rng();
    let own = u32::try_from(set.len()).unwrap();
    stream.write_all(&own.to_be_bytes()).unwrap();
    let mut peers = [0; 4];
    stream.read_exact(&mut peers).unwrap();
    let peers = u32::from_be_bytes(peers);
    let mut step = Span::begin();
    // The session is fixed: what it costs does not depend on it.
    let session = SessionId::from_bytes([1; 32]);
    let mut side =
        TokenExchange::begin(protocol, session, role, Arc::new(set), peers, &mut rng).unwrap();
    // Writing has a thread of its own, because both sides write at once.
    let (to_writer, outgoing) = mpsc::channel::<Message>();
    let mut out = BufWriter::new(stream.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        for message in outgoing {
            let (kind, bytes) = message.parts();
            let length = u32::try_from(bytes.len()).unwrap();
            out.write_all(&[kind]).unwrap();
            out.write_all(&length.to_be_bytes()).unwrap();
            out.write_all(bytes).unwrap();
            out.flush().unwrap();
        }
    });
    let mut input = BufReader::new(stream);
    loop {
        while let Some(message) = side.next_message().unwrap() {
            to_writer.send(message).unwrap();
        }
        if side.is_complete() {
            break;
        }
        side.receive(read(&mut input)).unwrap();
    }
    drop(to_writer);
    std::hint::black_box(side.finish().unwrap());
    writer.join().unwrap();
    step.end();
    step.write(&format!("{report}{STEP}"));
}

fn read(input: &mut impl Read) -> Message {
    let (mut kind, mut length) = ([0; 1], [0; 4]);
    input.read_exact(&mut kind).unwrap();
    input.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    input.read_exact(&mut bytes).unwrap();
    Message::from_parts(kind[0], bytes).unwrap()
}

/// Waits for the other process to listen.
pub fn connect(address: &str) -> TcpStream {
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
