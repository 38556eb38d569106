//! From a file to UTF-8 text: what the first bytes say, byte order marks, the delimiter.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use super::error::SourceError;
use super::source::Delimiter;
use super::utf16::{ByteOrder, Utf16Reader};

/// How much of a file is looked at to tell its kind.
const SNIFF_BYTES: u64 = 4 * 1024;

/// A stream of bytes that may be sent to another thread.
pub(super) type ByteStream = Box<dyn Read + Send>;

/// Opens a file of any kind, with an error that says what is at that path instead.
pub(super) fn open_file(path: &Path) -> Result<File, SourceError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::Missing {
            path: path.to_owned(),
        },
        _ => SourceError::Unreadable {
            source_name: path.display().to_string(),
            error,
        },
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(SourceError::Directory {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

/// Opens a text file and decodes it to UTF-8: UTF-8 with or without a byte order mark, UTF-16 with one.
pub(super) fn open_text(path: &Path) -> Result<ByteStream, SourceError> {
    let source_name = path.display().to_string();
    decode(open_file(path)?, &source_name)
}

fn decode(
    mut input: impl Read + Send + 'static,
    source_name: &str,
) -> Result<ByteStream, SourceError> {
    let mut head = Vec::new();
    Read::by_ref(&mut input)
        .take(SNIFF_BYTES)
        .read_to_end(&mut head)
        .map_err(|error| SourceError::Unreadable {
            source_name: source_name.to_owned(),
            error,
        })?;
    let encoding = sniff(&head).map_err(|foreign| match foreign {
        Foreign::Empty => SourceError::Empty {
            source_name: source_name.to_owned(),
        },
        Foreign::Kind { looks, advice } => SourceError::WrongKind {
            source_name: source_name.to_owned(),
            looks,
            expected: "CSV text",
            advice,
        },
    })?;
    let skip = encoding.mark_bytes();
    let head = head.split_off(skip.min(head.len()));
    let input = Cursor::new(head).chain(input);
    Ok(match encoding {
        Encoding::Utf8 { .. } => Box::new(input),
        Encoding::Utf16(order) => Box::new(Utf16Reader::new(input, order)),
    })
}

/// An encoding that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8 { mark: bool },
    Utf16(ByteOrder),
}

impl Encoding {
    fn mark_bytes(self) -> usize {
        match self {
            Self::Utf8 { mark: false } => 0,
            Self::Utf8 { mark: true } => 3,
            Self::Utf16(_) => 2,
        }
    }
}

/// What cannot be read as a table of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Foreign {
    Empty,
    Kind {
        looks: &'static str,
        advice: &'static str,
    },
}

/// First bytes of files that people mistake for CSV. The values are those of the formats' own definitions.
const MAGIC: [(&[u8], &str, &str); 11] = [
    (
        b"PK\x03\x04",
        "an Excel workbook or a zip archive",
        "save the sheet as CSV UTF-8, or unpack it first",
    ),
    (
        b"\xD0\xCF\x11\xE0",
        "an old Excel workbook",
        "save the sheet as CSV UTF-8",
    ),
    (b"\x1F\x8B", "a gzip file", "unpack it first with `gunzip`"),
    (
        b"\x28\xB5\x2F\xFD",
        "a zstd file",
        "unpack it first with `unzstd`",
    ),
    (b"\xFD7zXZ\x00", "an xz file", "unpack it first with `unxz`"),
    (b"BZh", "a bzip2 file", "unpack it first with `bunzip2`"),
    (
        b"PAR1",
        "a Parquet file",
        "give its name the ending .parquet",
    ),
    (b"%PDF", "a PDF document", "export the table as CSV UTF-8"),
    (
        b"SQLite format 3\x00",
        "an SQLite database",
        "export the table as CSV UTF-8",
    ),
    (
        b"\xFF\xFE\x00\x00",
        "UTF-32 text",
        "convert it with `iconv -f UTF-32 -t UTF-8`",
    ),
    (
        b"\x00\x00\xFE\xFF",
        "UTF-32 text",
        "convert it with `iconv -f UTF-32 -t UTF-8`",
    ),
];

fn sniff(head: &[u8]) -> Result<Encoding, Foreign> {
    if head.is_empty() {
        return Err(Foreign::Empty);
    }
    if let Some((_, looks, advice)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(Foreign::Kind { looks, advice });
    }
    let (encoding, text) = if let Some(text) = head.strip_prefix(b"\xEF\xBB\xBF") {
        (Encoding::Utf8 { mark: true }, text)
    } else if let Some(text) = head.strip_prefix(b"\xFF\xFE") {
        (Encoding::Utf16(ByteOrder::Little), text)
    } else if let Some(text) = head.strip_prefix(b"\xFE\xFF") {
        (Encoding::Utf16(ByteOrder::Big), text)
    } else {
        (Encoding::Utf8 { mark: false }, head)
    };
    if text.is_empty() {
        return Err(Foreign::Empty);
    }
    match encoding {
        Encoding::Utf8 { .. } if text.contains(&0) => Err(with_nul(text)),
        Encoding::Utf8 { .. } if looks_like_html(text) => Err(Foreign::Kind {
            looks: "a web page",
            advice: "it is probably an error page of the site it was fetched from; fetch it again",
        }),
        _ => Ok(encoding),
    }
}

/// NUL does not occur in text; in nearly every other byte it is UTF-16 whose mark is missing.
fn with_nul(text: &[u8]) -> Foreign {
    let nul_at = |parity: usize| {
        text.iter()
            .skip(parity)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd) = (nul_at(0), nul_at(1));
    let most = text.len() / 2 * 3 / 4;
    if even.max(odd) >= most.max(1) && even.min(odd) == 0 {
        let (looks, advice) = if even > odd {
            (
                "UTF-16 text without a byte order mark",
                "convert it with `iconv -f UTF-16BE -t UTF-8`",
            )
        } else {
            (
                "UTF-16 text without a byte order mark",
                "convert it with `iconv -f UTF-16LE -t UTF-8`",
            )
        };
        return Foreign::Kind { looks, advice };
    }
    Foreign::Kind {
        looks: "binary data",
        advice: "export the table as CSV UTF-8 or Parquet",
    }
}

fn looks_like_html(text: &[u8]) -> bool {
    let start: Vec<u8> = text
        .trim_ascii_start()
        .iter()
        .take(14)
        .map(u8::to_ascii_lowercase)
        .collect();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

/// The delimiter that the header line uses most, outside quotes; a comma where it uses none.
pub(super) fn detect_delimiter(text: &[u8]) -> Delimiter {
    let mut quoted = false;
    let mut counts = [0_usize; Delimiter::USUAL.len()];
    for byte in text {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            byte => {
                for (count, delimiter) in counts.iter_mut().zip(Delimiter::USUAL) {
                    *count += usize::from(delimiter.byte() == *byte);
                }
            }
        }
    }
    let mut best = (0, Delimiter::COMMA);
    for (count, delimiter) in counts.into_iter().zip(Delimiter::USUAL) {
        if count > best.0 {
            best = (count, delimiter);
        }
    }
    best.1
}
