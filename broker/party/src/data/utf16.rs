//! UTF-16 to UTF-8 as a stream.

use std::io::{self, Read};

const CHUNK_BYTES: usize = 16 * 1024;

/// The order of the two bytes of a UTF-16 unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// Reads UTF-16 from `inner` and gives UTF-8. A lone surrogate becomes U+FFFD, as the Unicode standard advises.
pub(super) struct Utf16Reader<R> {
    inner: R,
    order: ByteOrder,
    /// A byte whose other half has not been read.
    odd: Option<u8>,
    /// A high surrogate whose low one has not been read.
    high: Option<u16>,
    text: Vec<u8>,
    given: usize,
}

impl<R: Read> Utf16Reader<R> {
    /// `inner` stands behind the byte order mark.
    pub(super) fn new(inner: R, order: ByteOrder) -> Self {
        Self {
            inner,
            order,
            odd: None,
            high: None,
            text: Vec::new(),
            given: 0,
        }
    }

    /// Decodes one more chunk; `false` at the end of the input.
    fn refill(&mut self) -> io::Result<bool> {
        let mut chunk = [0_u8; CHUNK_BYTES];
        let read = self.inner.read(&mut chunk)?;
        self.text.clear();
        self.given = 0;
        if read == 0 {
            let left = self.high.take().is_some() | self.odd.take().is_some();
            if left {
                self.push(char::REPLACEMENT_CHARACTER);
            }
            return Ok(left);
        }
        for byte in chunk.iter().copied().take(read) {
            match self.odd.take() {
                None => self.odd = Some(byte),
                Some(first) => {
                    let pair = [first, byte];
                    self.unit(match self.order {
                        ByteOrder::Little => u16::from_le_bytes(pair),
                        ByteOrder::Big => u16::from_be_bytes(pair),
                    });
                }
            }
        }
        Ok(true)
    }

    fn unit(&mut self, unit: u16) {
        let high = self.high.take();
        let is_high = (0xD800..0xDC00).contains(&unit);
        let units = high.into_iter().chain((!is_high).then_some(unit));
        if let (Some(_), true) = (high, is_high) {
            self.push(char::REPLACEMENT_CHARACTER);
        } else if !is_high {
            for decoded in char::decode_utf16(units) {
                self.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        if is_high {
            self.high = Some(unit);
        }
    }

    fn push(&mut self, character: char) {
        let mut bytes = [0; 4];
        self.text
            .extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let ready = self.text.get(self.given..).unwrap_or_default();
        let count = ready.len().min(out.len());
        for (to, from) in out.iter_mut().zip(ready) {
            *to = *from;
        }
        self.given += count;
        Ok(count)
    }
}
