//! Reference codes: a label on each row of a delivery, which names its flow if it is still there in a leaked file.
//!
//! No mark: it is seen, it can be taken away, and whoever has the delivery can copy it. It is for what marks cannot do, files of a
//! few rows or without an identifier.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::keys::{ReferenceKey, mac};

const ROW: &[u8] = b"wm/reference-row/v1";
const PAD: &[u8] = b"wm/reference-pad/v1";
const CHECK: &[u8] = b"wm/reference-check/v1";

/// Crockford's alphabet of 32 characters, without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code: 20 bytes, five bits to a character.
const CHARACTERS: usize = 32;
const CHECK_BYTES: usize = 5;

/// The code of one row: handle of the flow (4 bytes), hidden number of the row (3 bytes) and a MAC of it (8 bytes); as text with a
/// check of 5 bytes, which needs no key. The number is hidden under a pad from the MAC: the highest of them would tell how large
/// the delivery is. The handle is not, since a flow is found by it among a million.
///
/// 32 characters of Crockford's base 32. One that was made without the flow's key is right with a chance of 2^-64. What is no code,
/// such as an account's number, is taken for one with a chance of 2^-40: whoever looks for codes in a file shows nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReferenceCode([u8; 15]);

/// What stands in a cell is no reference code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reference code of 32 letters and digits")]
pub struct NotACode;

impl ReferenceKey {
    /// The code of a row. Rows are numbered from 0, and one of 2^24 has the code of the first.
    #[must_use]
    pub fn code(&self, row: u32) -> ReferenceCode {
        let [_, row @ ..] = row.to_be_bytes();
        let mut code = [0; 15];
        let [a, b, c, d, e, f, g, h, ..] = mac(self.expose(), &[ROW, &row]);
        let tag = [a, b, c, d, e, f, g, h];
        let handle = self.handle().to_be_bytes();
        let hidden = self.padded(row, &tag);
        let bytes = handle.iter().chain(&hidden).chain(&tag);
        for (place, byte) in code.iter_mut().zip(bytes) {
            *place = *byte;
        }
        ReferenceCode(code)
    }

    /// Whether a code is of this flow.
    #[must_use]
    pub fn made(&self, code: &ReferenceCode) -> bool {
        let (hidden, tag) = code.row_and_tag();
        let [a, b, c] = self.padded(hidden, &tag);
        self.code(u32::from_be_bytes([0, a, b, c])) == *code
    }

    /// Hides the number of a row, or shows a hidden one.
    fn padded(&self, row: [u8; 3], tag: &[u8; 8]) -> [u8; 3] {
        let [a, b, c, ..] = mac(self.expose(), &[PAD, tag]);
        let [x, y, z] = row;
        [x ^ a, y ^ b, z ^ c]
    }
}

impl ReferenceCode {
    /// The flow's handle.
    #[must_use]
    pub fn handle(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Its bytes and their check.
    fn checked(self) -> [u8; 15 + CHECK_BYTES] {
        let check = Sha256::new()
            .chain_update(CHECK)
            .chain_update(self.0)
            .finalize();
        let mut checked = [0; 15 + CHECK_BYTES];
        for (place, byte) in checked.iter_mut().zip(self.0.iter().chain(&check)) {
            *place = *byte;
        }
        checked
    }

    fn row_and_tag(self) -> ([u8; 3], [u8; 8]) {
        let [_, _, _, _, a, b, c, tag @ ..] = self.0;
        ([a, b, c], tag)
    }
}

impl fmt::Display for ReferenceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(CHARACTERS);
        for five in self.checked().chunks(5) {
            let bits = five
                .iter()
                .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for place in (0..8).rev() {
                // Below 32, so it is there.
                let index = (bits >> (5 * place) & 31) as usize;
                text.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
            }
        }
        f.write_str(&text)
    }
}

impl FromStr for ReferenceCode {
    type Err = NotACode;

    /// Letters of either case, blanks around it ignored.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let text = text.trim().as_bytes();
        if text.len() != CHARACTERS {
            return Err(NotACode);
        }
        let mut checked = [0; 15 + CHECK_BYTES];
        for (place, letters) in checked.chunks_mut(5).zip(text.chunks(8)) {
            let mut bits = 0_u64;
            for letter in letters {
                let letter = letter.to_ascii_uppercase();
                let index = ALPHABET.iter().position(|known| *known == letter);
                bits = bits << 5 | index.ok_or(NotACode)? as u64;
            }
            let [_, _, _, bytes @ ..] = bits.to_be_bytes();
            place.copy_from_slice(&bytes);
        }
        let code = checked.first_chunk().copied().map(Self).ok_or(NotACode)?;
        if code.checked() == checked {
            Ok(code)
        } else {
            Err(NotACode)
        }
    }
}

/// A code in a log would be one to copy.
impl fmt::Debug for ReferenceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReferenceCode(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    fn key(flow: &str) -> ReferenceKey {
        MasterKey::from_bytes([1; 32]).reference("bank/customers", flow)
    }

    #[test]
    fn a_code_is_of_its_flow_alone() {
        let (one, two) = (key("f1"), key("f2"));
        for row in [0, 1, 70_000, (1 << 24) - 1] {
            let code: ReferenceCode = one.code(row).to_string().parse().unwrap();
            assert_eq!(code, one.code(row));
            assert_eq!(code.handle(), one.handle());
            assert!(one.made(&code) && !two.made(&code));
        }
        assert_ne!(one.code(1), one.code(2));
        // Of a hundred rows in their order, neither the first byte of the number nor its last is in order.
        let numbers = (0..100).map(|row| one.code(row).row_and_tag().0);
        let numbers: std::collections::BTreeSet<_> = numbers.collect();
        assert!(numbers.iter().any(|number| number[0] != 0));
        assert!(numbers.len() > 90);
        assert_ne!(one.handle(), two.handle());
    }

    #[test]
    fn a_code_with_one_character_altered_is_none_of_the_flow() {
        let key = key("f1");
        let text = key.code(5).to_string();
        assert_eq!(text.len(), CHARACTERS);
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] = if altered[place] == b'7' { b'8' } else { b'7' };
            let altered = String::from_utf8(altered).unwrap().parse::<ReferenceCode>();
            assert_eq!(altered, Err(NotACode), "{place}");
        }
        // Nor is one that somebody made up without the key.
        let mut made_up = key.code(5);
        made_up.0[14] ^= 1;
        assert_eq!(made_up.to_string().parse(), Ok(made_up));
        assert!(!key.made(&made_up));
    }

    #[test]
    fn codes_are_read_as_people_write_them_and_nothing_else_is_one() {
        let code = key("f1").code(9);
        let text = code.to_string();
        assert_eq!(format!(" {} ", text.to_lowercase()).parse(), Ok(code));
        let (short, no_letter) = ("7".repeat(31), "U".repeat(32));
        // Among them what else has so many letters and digits: a UUID without dashes, and account numbers.
        let others = [
            "",
            "own",
            "13800000001",
            "507f1f77bcf86cd799439011507f1f77",
            "ES9121000418450200051332",
            "MT84MAYT01100001234512345TCAST00",
            "00000000000000000000000000000000",
            &short,
            &no_letter,
        ];
        for other in others {
            assert_eq!(other.parse::<ReferenceCode>(), Err(NotACode), "{other}");
        }
        assert!(!format!("{code:?}").contains(&text));
    }
}
