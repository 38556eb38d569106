//! The physical limit: both read, hash, one sends its hashes in the clear, the other joins and writes. It protects nothing.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::bare::connect;
use crate::measure::{Cost, part, watch};

pub fn run(ours: &Path, theirs: &Path, out: &Path) -> Cost {
    let address = counterfoil_tests::world::free_address();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let join = part(["join", &text(ours), &address, &text(out)]);
    let send = part(["send", &text(theirs), &address]);
    watch(&[], vec![join, send])
}

/// The part `send FILE ADDRESS`.
pub fn send(file: &str, address: &str) {
    let mut hashes = Vec::new();
    each_line(file, |line| hashes.extend_from_slice(&hash(line)));
    let mut stream = connect(address);
    stream.write_all(&hashes).unwrap();
}

/// The part `join FILE ADDRESS OUT`.
pub fn join(file: &str, address: &str, out: &str) {
    let listener = TcpListener::bind(address).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let theirs: HashSet<&[u8]> = bytes.chunks_exact(16).collect();
    let mut out = BufWriter::new(std::fs::File::create(out).unwrap());
    out.write_all(b"id\n").unwrap();
    each_line(file, |line| {
        if theirs.contains(hash(line).as_slice()) {
            out.write_all(line).unwrap();
            out.write_all(b"\n").unwrap();
        }
    });
    out.flush().unwrap();
}

fn hash(line: &[u8]) -> [u8; 16] {
    Sha256::digest(line)[..16].try_into().unwrap()
}

fn each_line(file: &str, mut then: impl FnMut(&[u8])) {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(file).unwrap());
    let mut line = Vec::new();
    let mut header = true;
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        if !std::mem::take(&mut header) {
            then(line.trim_ascii_end());
        }
        line.clear();
    }
}
