//! The token step alone: two processes with a line between them, no broker. From a file each to tokens in memory.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use counterfoil_psi::{
    IdentifierKind, IdentifierSet, Message, Normaliser, Protocol, Role, SessionId, TokenExchange,
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use crate::measure::{Cost, part, watch};
use crate::naive::each_line;

pub fn run(protocol: &str, owner: &Path, recipient: &Path) -> Cost {
    let address = counterfoil_tests::world::free_address();
    let side = |role: &str, file: &Path| {
        part([
            "tokens",
            protocol,
            role,
            file.to_str().unwrap(),
            address.as_str(),
        ])
    };
    let listens = side("owner", owner);
    let connects = side("recipient", recipient);
    watch(&[], vec![listens, connects])
}

/// The part `tokens PROTOCOL ROLE FILE ADDRESS`.
pub fn tokens(protocol: &str, role: &str, file: &str, address: &str) {
    let protocol: Protocol = protocol.parse().unwrap();
    let (role, mut stream, seed) = if role == "owner" {
        let listener = TcpListener::bind(address).unwrap();
        (Role::Owner, listener.accept().unwrap().0, 1)
    } else {
        (Role::Recipient, connect(address), 2)
    };
    stream.set_nodelay(true).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let phones = Normaliser::new(IdentifierKind::Phone, None);
    let mut set = IdentifierSet::new(IdentifierKind::Phone, &mut rng);
    each_line(file, |line| {
        let phone = std::str::from_utf8(line).unwrap();
        set.insert(&phones.normalise(phone).unwrap()).unwrap();
    });
    let own = u32::try_from(set.len()).unwrap();
    stream.write_all(&own.to_be_bytes()).unwrap();
    let mut peers = [0; 4];
    stream.read_exact(&mut peers).unwrap();
    let peers = u32::from_be_bytes(peers);
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
