//! Looking for values where they must not be: in a process, in files, in whatever spelling.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

const PIECE: usize = 1 << 20;

/// Finds values in bytes, however they are spelt.
pub struct Finder {
    values: Vec<String>,
    /// For each pattern the index of its value.
    owners: Vec<usize>,
    patterns: AhoCorasick,
    longest: usize,
}

impl Finder {
    /// For these values, each given as the shortest text that all its spellings hold, and with other bytes that stand for it.
    pub fn new(values: impl IntoIterator<Item = (String, Vec<Vec<u8>>)>) -> Self {
        let (mut names, mut owners, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        for (value, others) in values {
            for pattern in spellings(&value).into_iter().chain(others) {
                owners.push(names.len());
                patterns.push(pattern);
            }
            names.push(value);
        }
        Self {
            values: names,
            owners,
            longest: patterns.iter().map(Vec::len).max().unwrap(),
            patterns: AhoCorasick::new(patterns).unwrap(),
        }
    }

    /// All values.
    pub fn values(&self) -> BTreeSet<&str> {
        self.values.iter().map(String::as_str).collect()
    }

    /// The values that are in these bytes.
    pub fn in_bytes(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let found = self.patterns.find_overlapping_iter(bytes);
        found
            .map(|found| self.values[self.owners[found.pattern().as_usize()]].as_str())
            .collect()
    }

    /// The values that are in the memory of a process; an error if it may not be read.
    pub fn in_process(&self, id: u32) -> std::io::Result<BTreeSet<&str>> {
        let memory = File::open(format!("/proc/{id}/mem"))?;
        let maps = std::fs::read_to_string(format!("/proc/{id}/maps"))?;
        let mut found = BTreeSet::new();
        let mut piece = vec![0; PIECE + self.longest];
        for (mut at, end) in maps.lines().filter_map(region) {
            while at < end {
                let wanted = piece.len().min((end - at) as usize);
                // What was unmapped meanwhile, or belongs to the kernel, cannot be read.
                let Ok(read) = memory.read_at(&mut piece[..wanted], at) else {
                    break;
                };
                if read == 0 {
                    break;
                }
                found.extend(self.in_bytes(&piece[..read]));
                // Pieces overlap, so that nothing is cut in two.
                at += read.min(PIECE) as u64;
            }
        }
        Ok(found)
    }

    /// The values that are in the files of a directory, or in their names.
    pub fn in_files(&self, path: &Path) -> BTreeSet<&str> {
        let mut found = self.in_bytes(path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                found.extend(self.in_files(&entry.unwrap().path()));
            }
        } else {
            found.extend(self.in_bytes(&std::fs::read(path).unwrap()));
        }
        found
    }
}

/// Start and end of a readable region of `/proc/PID/maps`.
fn region(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with('r')
        .then_some((number(start)?, number(end)?))
}

/// Text, UTF-16, hex, and Base64 of any longer text that holds it: where it begins among the groups of three bytes is not known.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| value.encode_utf16().flat_map(bytes).collect();
    let mut all = vec![
        value.as_bytes().to_vec(),
        utf16(u16::to_le_bytes),
        utf16(u16::to_be_bytes),
        hex::encode(value).into_bytes(),
        hex::encode_upper(value).into_bytes(),
    ];
    for before in 0..3 {
        let padded = [&[0; 2][..before], value.as_bytes()].concat();
        // Characters that hold bits of a neighbour are left out.
        let (first, last) = ([0, 2, 3][before], padded.len() * 8 / 6);
        all.push(STANDARD.encode(&padded).as_bytes()[first..last].to_vec());
    }
    all
}

/// A plain hash of a text, which whoever has a list of candidates can invert: raw and in hex.
pub fn hashes(text: &[u8]) -> [Vec<u8>; 2] {
    let hash = Sha256::digest(text);
    [hash.to_vec(), hex::encode(hash).into_bytes()]
}

/// A number in binary.
pub fn binary(number: u64) -> [Vec<u8>; 2] {
    [number.to_le_bytes().to_vec(), number.to_be_bytes().to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_every_spelling_and_in_none_of_another() {
        let finder = Finder::new([("13800138000".to_owned(), hashes(b"x").to_vec())]);
        let text = "phone\0+8613800138000,";
        for start in 0..8 {
            let part = &text[start..];
            for spelt in [
                part.as_bytes().to_vec(),
                STANDARD.encode(part).into_bytes(),
                hex::encode(part).into_bytes(),
                part.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            ] {
                assert_eq!(finder.in_bytes(&spelt).len(), 1, "{start}");
            }
        }
        assert!(finder.in_bytes(b"+8613800138001").is_empty());
        assert!(
            finder
                .in_process(std::process::id())
                .is_ok_and(|found| found.len() == 1)
        );
    }
}
