//! Names of sources.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::csv::CsvReader;
use super::decode::open_text;
use super::error::SourceError;
use super::parquet::ParquetReader;
use super::postgres::Database;
use super::redact::redact;
use super::rows::Rows;

/// The byte that separates the columns of a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiter(u8);

impl Delimiter {
    pub(super) const COMMA: Self = Self(b',');
    /// The ones that are told apart by themselves, likeliest first.
    pub(super) const USUAL: [Self; 4] = [Self::COMMA, Self(b';'), Self(b'\t'), Self(b'|')];

    pub(super) fn byte(self) -> u8 {
        self.0
    }
}

impl FromStr for Delimiter {
    type Err = SourceError;

    /// A punctuation mark, a tab, or one of the words `comma`, `semicolon`, `tab`, `pipe`.
    fn from_str(given: &str) -> Result<Self, Self::Err> {
        match given {
            "comma" => return Ok(Self(b',')),
            "semicolon" => return Ok(Self(b';')),
            "pipe" => return Ok(Self(b'|')),
            "tab" | "\\t" | "\t" => return Ok(Self(b'\t')),
            _ => {}
        }
        match given.as_bytes() {
            [byte] if byte.is_ascii_punctuation() && *byte != b'"' => Ok(Self(*byte)),
            _ => Err(SourceError::Delimiter {
                given: given.escape_default().to_string(),
            }),
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\t' => f.write_str("tab"),
            byte => write!(f, "{}", char::from(byte)),
        }
    }
}

/// Where rows come from: a text or Parquet file, or a query to PostgreSQL.
///
/// `Display` and `Debug` show the path or the place of the database, never a password.
///
/// ```
/// use counterfoil_party::data::Source;
///
/// assert_eq!(Source::parse("customers.csv")?.to_string(), "customers.csv");
/// let source = Source::parse("postgres://agent:hush@localhost/bank")?.with_sql("SELECT phone FROM customers")?;
/// assert_eq!(source.to_string(), "postgres://localhost:5432/bank");
/// # Ok::<(), counterfoil_party::data::SourceError>(())
/// ```
#[derive(Clone)]
pub struct Source(Place);

#[derive(Clone)]
enum Place {
    Text {
        path: PathBuf,
        delimiter: Option<Delimiter>,
    },
    Parquet(PathBuf),
    Postgres {
        database: Box<Database>,
        sql: Option<String>,
    },
}

impl Source {
    /// Reads a specification: a path that ends in `.csv`, `.tsv`, `.txt` or `.parquet`, or a `postgres://` URL.
    ///
    /// # Errors
    /// [`SourceError::Spec`] for anything else, [`SourceError::Url`] for a URL that is malformed or would send
    /// a password in the clear. Nothing is opened yet.
    pub fn parse(spec: &str) -> Result<Self, SourceError> {
        if spec.starts_with("postgres://") || spec.starts_with("postgresql://") {
            let database = Box::new(Database::parse(spec)?);
            return Ok(Self(Place::Postgres {
                database,
                sql: None,
            }));
        }
        let extension = Path::new(spec)
            .extension()
            .and_then(|text| text.to_str())
            .map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("csv" | "tsv" | "txt") => Ok(Self(Place::Text {
                path: spec.into(),
                delimiter: None,
            })),
            Some("parquet") => Ok(Self(Place::Parquet(spec.into()))),
            _ => Err(SourceError::Spec { spec: redact(spec) }),
        }
    }

    /// A relative path is taken from `folder` instead of the current directory.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        Self(match self.0 {
            Place::Text { path, delimiter } => Place::Text {
                path: folder.join(path),
                delimiter,
            },
            Place::Parquet(path) => Place::Parquet(folder.join(path)),
            postgres @ Place::Postgres { .. } => postgres,
        })
    }

    /// The query that a database is asked.
    ///
    /// # Errors
    /// [`SourceError::Option`] for a file, and for a query without text.
    pub fn with_sql(mut self, sql: &str) -> Result<Self, SourceError> {
        let wrong = |source: &Self, advice| SourceError::Option {
            source_name: source.to_string(),
            option: "such query",
            advice,
        };
        let text = sql.trim().trim_end_matches(';').trim_end();
        if text.is_empty() {
            return Err(wrong(&self, "give one SELECT statement"));
        }
        match &mut self.0 {
            Place::Postgres { sql, .. } => *sql = Some(text.to_owned()),
            _ => return Err(wrong(&self, "a query needs a postgres:// URL")),
        }
        Ok(self)
    }

    /// Whether the source cannot be opened before [`with_sql`](Self::with_sql).
    #[must_use]
    pub fn needs_sql(&self) -> bool {
        matches!(self.0, Place::Postgres { sql: None, .. })
    }

    /// The delimiter of a text file, instead of the one that its header line shows.
    ///
    /// # Errors
    /// [`SourceError::Option`] for Parquet and databases.
    pub fn with_delimiter(mut self, given: Delimiter) -> Result<Self, SourceError> {
        match &mut self.0 {
            Place::Text { delimiter, .. } => *delimiter = Some(given),
            _ => {
                return Err(SourceError::Option {
                    source_name: self.to_string(),
                    option: "delimiter",
                    advice: "only text files have one, leave it out",
                });
            }
        }
        Ok(self)
    }

    /// Opens the source and reads its column names.
    ///
    /// # Errors
    /// Everything that can be seen without reading on: no such file, another kind of file, no header, two
    /// columns of one name, a database that refuses.
    pub fn open(&self) -> Result<Rows, SourceError> {
        let name = self.to_string();
        match &self.0 {
            Place::Text { path, delimiter } => {
                Rows::from_csv(CsvReader::open(open_text(path)?, *delimiter, name)?)
            }
            Place::Parquet(path) => Rows::from_parquet(ParquetReader::open(path)?),
            Place::Postgres { database, sql } => {
                let sql = sql.as_deref().ok_or_else(|| SourceError::Option {
                    source_name: name.clone(),
                    option: "place without a query",
                    advice: "add the SQL that selects the rows",
                })?;
                let text = Box::new(database.copy_csv(sql)?);
                Rows::from_csv(CsvReader::open(text, Some(Delimiter::COMMA), name)?.without_lines())
            }
        }
    }
}

/// Rows of a text that is in memory, decoded already: a leaked file's, whose name says nothing.
pub(crate) fn leaked_text(text: Vec<u8>, name: String) -> Result<Rows, SourceError> {
    let mut rows = Rows::from_csv(CsvReader::open(Box::new(Cursor::new(text)), None, name)?)?;
    select_all(&mut rows)?;
    Ok(rows)
}

/// Rows of a Parquet file, whatever its name is.
pub(crate) fn leaked_parquet(path: &Path) -> Result<Rows, SourceError> {
    let mut rows = Rows::from_parquet(ParquetReader::open(path)?)?;
    select_all(&mut rows)?;
    Ok(rows)
}

fn select_all(rows: &mut Rows) -> Result<(), SourceError> {
    let columns = rows.columns().to_vec();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    rows.select(&columns)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Text { path, .. } | Place::Parquet(path) => path.display().fmt(f),
            Place::Postgres { database, .. } => database.fmt(f),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}
