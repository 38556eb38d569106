//! What the broker is sent of a leaked file: mark tags and the cells that may carry marks. Never an identifier.
//!
//! Format: rows (4 bytes, big-endian), columns (1 byte); for each column the length (1 byte) and name of the tag that it is
//! known to be, empty if that is not known; for each row its mark tag (4 bytes, big-endian) and for each column the length
//! (1 byte) and text of its cell. A column that is known to be [`CODES`] has reference codes.

use crate::WireError;
use crate::limits::{
    LEAK_BYTES_MAX, LEAK_CELLS_MAX, LEAK_COLUMNS_MAX, LEAK_ROWS_MAX, VALUE_BYTES_MAX,
};

/// In place of a tag's name: the column has reference codes. No tag has an `@` in its name.
pub const CODES: &str = "@reference_code";

/// The content of a scoring. Holds what people wrote, so `Debug` shows sizes alone.
#[derive(Clone, PartialEq, Eq)]
pub struct LeakContent {
    /// The tag that each column is known to be.
    pub known: Vec<Option<String>>,
    /// The mark tag of each row.
    pub mark_tags: Vec<u32>,
    /// Cells, column by column, each with one cell for each row.
    pub columns: Vec<Vec<Box<str>>>,
}

impl std::fmt::Debug for LeakContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, columns) = (self.mark_tags.len(), self.columns.len());
        write!(f, "LeakContent({rows} rows of {columns} columns, redacted)")
    }
}

impl LeakContent {
    /// The bytes that are signed for and sent.
    ///
    /// # Errors
    /// Over a bound of [`crate::limits`], or columns of different length.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let rows = self.mark_tags.len();
        if rows > LEAK_ROWS_MAX {
            return Err(too_large("rows", LEAK_ROWS_MAX));
        }
        let columns = self.columns.len();
        if columns > LEAK_COLUMNS_MAX || self.known.len() != columns {
            return Err(too_large("columns", LEAK_COLUMNS_MAX));
        }
        if rows * columns > LEAK_CELLS_MAX {
            return Err(too_large("cells", LEAK_CELLS_MAX));
        }
        let rows = u32::try_from(rows).map_err(|_| too_large("rows", LEAK_ROWS_MAX))?;
        let columns = u8::try_from(columns).map_err(|_| too_large("columns", LEAK_COLUMNS_MAX))?;
        let mut bytes = rows.to_be_bytes().to_vec();
        bytes.push(columns);
        for name in &self.known {
            push(&mut bytes, name.as_deref().unwrap_or_default())?;
        }
        let mut cells: Vec<_> = self.columns.iter().map(|column| column.iter()).collect();
        for tag in &self.mark_tags {
            bytes.extend_from_slice(&tag.to_be_bytes());
            for column in &mut cells {
                let cell = column.next().ok_or(malformed("a column is too short"))?;
                push(&mut bytes, cell)?;
            }
            if bytes.len() > LEAK_BYTES_MAX {
                return Err(too_large("content", LEAK_BYTES_MAX));
            }
        }
        Ok(bytes)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > LEAK_BYTES_MAX {
            return Err(too_large("content", LEAK_BYTES_MAX));
        }
        let (rows, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let (columns, mut rest) = rest.split_first().ok_or_else(cut)?;
        let rows = usize::try_from(u32::from_be_bytes(*rows)).unwrap_or(usize::MAX);
        let columns = usize::from(*columns);
        if rows > LEAK_ROWS_MAX {
            return Err(too_large("rows", LEAK_ROWS_MAX));
        }
        if columns > LEAK_COLUMNS_MAX {
            return Err(too_large("columns", LEAK_COLUMNS_MAX));
        }
        if rows * columns > LEAK_CELLS_MAX {
            return Err(too_large("cells", LEAK_CELLS_MAX));
        }
        // Each row takes 4 bytes and one for each cell: what is reserved is what has come.
        if rest.len() < columns + rows * (4 + columns) {
            return Err(cut());
        }
        let mut known = Vec::with_capacity(columns);
        for _ in 0..columns {
            let name = text(&mut rest)?;
            known.push((!name.is_empty()).then(|| name.to_owned()));
        }
        let mut content = Self {
            known,
            mark_tags: Vec::with_capacity(rows),
            columns: vec![Vec::with_capacity(rows); columns],
        };
        for _ in 0..rows {
            let (tag, tail) = rest.split_first_chunk().ok_or_else(cut)?;
            rest = tail;
            content.mark_tags.push(u32::from_be_bytes(*tag));
            for column in &mut content.columns {
                column.push(text(&mut rest)?.into());
            }
        }
        if rest.is_empty() {
            Ok(content)
        } else {
            Err(malformed("something follows the last row"))
        }
    }
}

fn push(bytes: &mut Vec<u8>, text: &str) -> Result<(), WireError> {
    let length = u8::try_from(text.len())
        .ok()
        .filter(|length| usize::from(*length) <= VALUE_BYTES_MAX)
        .ok_or_else(|| too_large("cell", VALUE_BYTES_MAX))?;
    bytes.push(length);
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn text<'b>(rest: &mut &'b [u8]) -> Result<&'b str, WireError> {
    let (length, tail) = rest.split_first().ok_or_else(cut)?;
    if usize::from(*length) > VALUE_BYTES_MAX {
        return Err(too_large("cell", VALUE_BYTES_MAX));
    }
    let (text, tail) = tail
        .split_at_checked(usize::from(*length))
        .ok_or_else(cut)?;
    *rest = tail;
    std::str::from_utf8(text).map_err(|_| malformed("a cell is not UTF-8"))
}

fn cut() -> WireError {
    malformed("it ends too early")
}

fn malformed(why: &'static str) -> WireError {
    WireError::Malformed {
        field: "content",
        why,
    }
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

    fn content() -> LeakContent {
        LeakContent {
            known: vec![Some("housing".into()), None],
            mark_tags: vec![1, 70_000],
            columns: vec![
                vec!["own".into(), "".into()],
                vec!["low".into(), "h\u{f6}h".into()],
            ],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = content().encode().unwrap();
        assert_eq!(LeakContent::decode(&bytes).unwrap(), content());
        for cut in 0..bytes.len() {
            assert!(LeakContent::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(LeakContent::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn bounds() {
        let mut long = content();
        long.columns[0][0] = "x".repeat(VALUE_BYTES_MAX + 1).into();
        assert!(long.encode().is_err());
        let mut ragged = content();
        ragged.columns[1].pop();
        assert!(ragged.encode().is_err());
        let mut wide = content();
        wide.columns = vec![Vec::new(); LEAK_COLUMNS_MAX + 1];
        assert!(wide.encode().is_err());
        // A head that promises more rows than there are bytes reserves nothing.
        assert!(LeakContent::decode(&[0, 1, 0, 0, 2, 0, 0]).is_err());
        assert!(!format!("{:?}", content()).contains("own"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_content_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(content) = LeakContent::decode(&bytes) {
                prop_assert_eq!(content.encode().unwrap(), bytes);
            }
        }
    }
}
