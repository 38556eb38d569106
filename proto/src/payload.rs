//! The plaintext of one sealed row: the agreed tags of one customer, in a fixed number of bytes.
//!
//! Every row of a flow has the same length, so that the length of a sealed row says nothing about its customer. A
//! [`Layout`] is declared in the submission's header and checked against the agreement before anything is joined.
//!
//! Format: the consent proof, where the flow asks for proofs; the mark tag (4 bytes, big-endian), where it is marked;
//! the code of a canary (16 bytes; zeros in all other rows), where the owner mixes canaries in; for each column one length byte and its UTF-8 value; then
//! zeros up to the layout's length.

use crate::WireError;
use crate::limits::{CANARY_CODE_BYTES, COLUMNS_MAX, MARK_TAG_BYTES, PROOF_BYTES, VALUE_BYTES_MAX};
use crate::v1::Column;

/// Columns of a flow's rows, in order, with the greatest length of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    columns: Vec<(String, usize)>,
    /// Whether each row begins with a consent proof.
    proven: bool,
    /// Whether each row has a mark tag.
    marked: bool,
    /// Whether each row has room for a canary's code.
    watched: bool,
}

/// What a row has beside its values, as its layout says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RowHead<'p> {
    /// The consent proof.
    pub proof: Option<&'p Proof>,
    /// The mark tag: a lasting pseudonym, which is not kept anywhere.
    pub mark_tag: Option<u32>,
    /// The code of a canary; zeros in a row of somebody.
    pub canary: Option<&'p CanaryCode>,
}

/// Tells something of a person.
impl std::fmt::Debug for RowHead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowHead(redacted)")
    }
}

/// A row's consent proof, which the policy reads.
pub type Proof = [u8; PROOF_BYTES];

/// By which a canary is known, among those that its owner committed to.
pub type CanaryCode = [u8; CANARY_CODE_BYTES];

impl Layout {
    /// From tag names and the greatest length of each one's values, in bytes.
    ///
    /// # Errors
    /// No column, more than [`COLUMNS_MAX`], a width over [`VALUE_BYTES_MAX`], or a tag named twice.
    pub fn new(columns: Vec<(String, usize)>) -> Result<Self, WireError> {
        if columns.is_empty() {
            return Err(malformed("columns", "a flow has at least one column"));
        }
        if columns.len() > COLUMNS_MAX {
            return Err(too_large("columns", COLUMNS_MAX));
        }
        for (i, (tag, width)) in columns.iter().enumerate() {
            if *width > VALUE_BYTES_MAX {
                return Err(too_large("column width", VALUE_BYTES_MAX));
            }
            if tag.is_empty() || tag.len() > VALUE_BYTES_MAX {
                return Err(malformed("columns", "a tag's name is empty or too long"));
            }
            if columns.iter().take(i).any(|(other, _)| other == tag) {
                return Err(malformed("columns", "a tag is declared twice"));
            }
        }
        Ok(Self {
            columns,
            proven: false,
            marked: false,
            watched: false,
        })
    }

    /// No columns: a row tells no more than that it is there.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            columns: Vec::new(),
            proven: false,
            marked: false,
            watched: false,
        }
    }

    /// The same columns, each row beginning with a consent proof.
    #[must_use]
    pub fn proven(self) -> Self {
        Self {
            proven: true,
            ..self
        }
    }

    /// The same columns, each row with a mark tag.
    #[must_use]
    pub fn marked(self) -> Self {
        Self {
            marked: true,
            ..self
        }
    }

    /// The same columns, each row with room for a canary's code.
    #[must_use]
    pub fn watched(self) -> Self {
        Self {
            watched: true,
            ..self
        }
    }

    /// Whether each row has room for a canary's code.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Whether each row has a mark tag.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// From the columns in the header of a submission, which may be none.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn from_wire(columns: &[Column]) -> Result<Self, WireError> {
        if columns.is_empty() {
            return Ok(Self::bare());
        }
        let columns = columns
            .iter()
            .map(|c| {
                (
                    c.tag.clone(),
                    usize::try_from(c.width).unwrap_or(usize::MAX),
                )
            })
            .collect();
        Self::new(columns)
    }

    /// For the header of a submission.
    #[must_use]
    pub fn to_wire(&self) -> Vec<Column> {
        self.columns
            .iter()
            .map(|(tag, width)| Column {
                tag: tag.clone(),
                width: u32::try_from(*width).unwrap_or(u32::MAX),
            })
            .collect()
    }

    /// Names of the tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(tag, _)| tag.as_str())
    }

    /// Bytes of one row's plaintext.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        let values: usize = self.columns.iter().map(|(_, width)| 1 + width).sum();
        self.proof_len() + self.mark_tag_len() + self.canary_len() + values
    }

    fn proof_len(&self) -> usize {
        if self.proven { PROOF_BYTES } else { 0 }
    }

    fn mark_tag_len(&self) -> usize {
        if self.marked { MARK_TAG_BYTES } else { 0 }
    }

    fn canary_len(&self) -> usize {
        if self.watched { CANARY_CODE_BYTES } else { 0 }
    }

    /// Writes one row, with what stands before its values where the layout has it.
    ///
    /// # Errors
    /// Something of a head where the layout has none of it or none where it has, the number of values is not that of the columns, or
    /// a value is longer than its column's width.
    pub fn encode(
        &self,
        head: RowHead<'_>,
        values: &[impl AsRef<str>],
    ) -> Result<Vec<u8>, WireError> {
        let mut payload = Vec::with_capacity(self.payload_len());
        self.encode_into(head, values.iter().map(AsRef::as_ref), &mut payload)?;
        Ok(payload)
    }

    /// As [`encode`](Self::encode), appended to `out`; after an error a part of it may be there.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_into<'v>(
        &self,
        head: RowHead<'_>,
        values: impl ExactSizeIterator<Item = &'v str>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let proof = head.proof.map_or(&[][..], |proof| proof);
        let mark_tag = head.mark_tag.map(u32::to_be_bytes);
        let mark_tag = mark_tag.as_ref().map_or(&[][..], |tag| tag);
        let canary = head.canary.map_or(&[][..], |code| code);
        if canary.len() != self.canary_len() {
            return Err(WireError::Length {
                field: "canary code of a row",
                want: self.canary_len(),
                got: canary.len(),
            });
        }
        if mark_tag.len() != self.mark_tag_len() {
            return Err(WireError::Length {
                field: "mark tag of a row",
                want: self.mark_tag_len(),
                got: mark_tag.len(),
            });
        }
        if proof.len() != self.proof_len() {
            return Err(WireError::Length {
                field: "proof of a row",
                want: self.proof_len(),
                got: proof.len(),
            });
        }
        if values.len() != self.columns.len() {
            return Err(WireError::Length {
                field: "values of a row",
                want: self.columns.len(),
                got: values.len(),
            });
        }
        let end = out.len() + self.payload_len();
        out.extend_from_slice(proof);
        out.extend_from_slice(mark_tag);
        out.extend_from_slice(canary);
        for ((_, width), value) in self.columns.iter().zip(values) {
            let value = value.as_bytes();
            let len = u8::try_from(value.len())
                .ok()
                .filter(|_| value.len() <= *width)
                .ok_or_else(|| too_large("value of a row", *width))?;
            out.push(len);
            out.extend_from_slice(value);
        }
        out.resize(end, 0);
        Ok(())
    }

    /// Reads one row. Exactly one byte string encodes each row: padding that is not zero is refused, so that a
    /// payload cannot carry anything beside its columns.
    ///
    /// # Errors
    /// Anything that [`Layout::encode`] would not have written.
    pub fn decode<'p>(&self, payload: &'p [u8]) -> Result<(RowHead<'p>, Vec<&'p str>), WireError> {
        if payload.len() != self.payload_len() {
            return Err(WireError::Length {
                field: "payload",
                want: self.payload_len(),
                got: payload.len(),
            });
        }
        let (proof, mut rest) = match self.proven.then(|| payload.split_first_chunk()) {
            None => (None, payload),
            Some(Some((proof, rest))) => (Some(proof), rest),
            Some(None) => return Err(cut()),
        };
        let mark_tag = match self.marked.then(|| rest.split_first_chunk()) {
            None => None,
            Some(Some((tag, after))) => {
                rest = after;
                Some(u32::from_be_bytes(*tag))
            }
            Some(None) => return Err(cut()),
        };
        let canary = match self.watched.then(|| rest.split_first_chunk()) {
            None => None,
            Some(Some((code, after))) => {
                rest = after;
                Some(code)
            }
            Some(None) => return Err(cut()),
        };
        let mut values = Vec::with_capacity(self.columns.len());
        for (_, width) in &self.columns {
            let (len, tail) = rest.split_first().ok_or_else(cut)?;
            let len = usize::from(*len);
            if len > *width {
                return Err(too_large("value of a row", *width));
            }
            let (value, tail) = tail.split_at_checked(len).ok_or_else(cut)?;
            let value = std::str::from_utf8(value)
                .map_err(|_| malformed("payload", "a value is not UTF-8"))?;
            values.push(value);
            rest = tail;
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err(malformed("payload", "the padding is not zero"));
        }
        let head = RowHead {
            proof,
            mark_tag,
            canary,
        };
        Ok((head, values))
    }
}

fn cut() -> WireError {
    malformed("payload", "a value reaches past the end")
}

fn malformed(field: &'static str, why: &'static str) -> WireError {
    WireError::Malformed { field, why }
}

fn too_large(field: &'static str, max: usize) -> WireError {
    WireError::TooLarge {
        field,
        max: max as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTHING: RowHead<'_> = RowHead {
        proof: None,
        mark_tag: None,
        canary: None,
    };

    fn layout() -> Layout {
        Layout::new(vec![("age_band".into(), 8), ("housing".into(), 12)]).unwrap()
    }

    #[test]
    fn every_row_has_the_declared_length() {
        let layout = layout();
        for values in [["", ""], ["[18,30)", "own"], ["12345678", "123456789012"]] {
            let payload = layout.encode(NOTHING, &values).unwrap();
            assert_eq!(payload.len(), layout.payload_len());
            assert_eq!(layout.decode(&payload).unwrap(), (NOTHING, values.to_vec()));
        }
    }

    #[test]
    fn a_proof_stands_before_the_values_of_a_row_that_has_one() {
        let (layout, proof) = (layout().proven(), [7; PROOF_BYTES]);
        let head = RowHead {
            proof: Some(&proof),
            ..NOTHING
        };
        let payload = layout.encode(head, &["a", "b"]).unwrap();
        assert_eq!(payload.len(), layout.payload_len());
        let row = layout.decode(&payload).unwrap();
        assert_eq!(row, (head, vec!["a", "b"]));
        assert!(layout.encode(NOTHING, &["a", "b"]).is_err());
        assert!(super::tests::layout().encode(head, &["a", "b"]).is_err());
    }

    #[test]
    fn a_mark_tag_stands_between_the_proof_and_the_values() {
        let (plain, marked) = (layout(), layout().marked());
        let head = RowHead {
            mark_tag: Some(0x0102_0304),
            ..NOTHING
        };
        let payload = marked.encode(head, &["a", "b"]).unwrap();
        assert_eq!(payload.len(), plain.payload_len() + MARK_TAG_BYTES);
        assert!(payload.starts_with(&[1, 2, 3, 4, 1, b'a']));
        assert_eq!(marked.decode(&payload).unwrap(), (head, vec!["a", "b"]));
        assert!(marked.encode(NOTHING, &["a", "b"]).is_err());
        assert!(plain.encode(head, &["a", "b"]).is_err());
        let proof = [7; PROOF_BYTES];
        let both = RowHead {
            proof: Some(&proof),
            ..head
        };
        let payload = marked.proven().encode(both, &["a", "b"]).unwrap();
        let (start, rest) = payload.split_at(PROOF_BYTES);
        assert!(start == proof && rest.starts_with(&[1, 2, 3, 4, 1, b'a']));
    }

    #[test]
    fn a_canarys_code_stands_before_the_values() {
        let (plain, watched) = (layout(), layout().watched());
        let head = RowHead {
            canary: Some(&[9; CANARY_CODE_BYTES]),
            ..NOTHING
        };
        let payload = watched.encode(head, &["a", "b"]).unwrap();
        assert_eq!(payload.len(), plain.payload_len() + CANARY_CODE_BYTES);
        assert!(payload.starts_with(&[9; CANARY_CODE_BYTES]));
        assert_eq!(watched.decode(&payload).unwrap(), (head, vec!["a", "b"]));
        assert!(watched.encode(NOTHING, &["a", "b"]).is_err());
        assert!(plain.encode(head, &["a", "b"]).is_err());
    }

    #[test]
    fn a_bare_row_is_its_proof_or_nothing() {
        let none: [&str; 0] = [];
        let layout = Layout::from_wire(&[]).unwrap();
        assert_eq!(layout.encode(NOTHING, &none).unwrap(), Vec::<u8>::new());
        assert_eq!(layout.decode(&[]).unwrap(), (NOTHING, Vec::new()));
        assert!(layout.decode(&[0]).is_err());
        assert_eq!(layout.proven().payload_len(), PROOF_BYTES);
    }

    #[test]
    fn nothing_can_ride_along_in_the_padding() {
        let layout = layout();
        let mut payload = layout.encode(NOTHING, &["a", "b"]).unwrap();
        *payload.last_mut().unwrap() = 1;
        assert!(matches!(
            layout.decode(&payload),
            Err(WireError::Malformed {
                why: "the padding is not zero",
                ..
            })
        ));
    }

    #[test]
    fn header_refusals() {
        let name = |s: &str| (s.to_owned(), 4);
        assert!(Layout::new(vec![]).is_err());
        assert!(Layout::new(vec![name("a"), name("a")]).is_err());
        assert!(Layout::new(vec![("a".into(), VALUE_BYTES_MAX + 1)]).is_err());
        assert!(Layout::new((0..=COLUMNS_MAX).map(|i| name(&i.to_string())).collect()).is_err());
        assert!(Layout::new((0..COLUMNS_MAX).map(|i| name(&i.to_string())).collect()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_one_row_or_an_error(bytes in prop::collection::vec(any::<u8>(), 22)) {
            let layout = layout();
            if let Ok((_, values)) = layout.decode(&bytes) {
                prop_assert_eq!(layout.encode(NOTHING, &values).unwrap(), bytes);
            }
        }
    }
}
