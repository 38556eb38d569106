//! The owner's datasets: which rows, under which identifiers, and which columns are which tags.
//!
//! ```
//! use counterfoil_party::data::DatasetFile;
//!
//! # use counterfoil_policy::taxonomy::Library;
//! let file = DatasetFile::parse(r#"
//! [[dataset]]
//! name = "customers"
//! taxonomy = { name = "cn-finance", version = 1 } # where its tags are defined; this one if left out
//! source = "customers.csv"                 # .csv .tsv .txt .parquet, or postgres://agent@host/bank
//! ## sql = "SELECT …"                       # with postgres:// only; the password comes from PGPASSWORD
//! ## delimiter = ";"                        # with text only; found by itself otherwise
//! identifiers = [
//!     { type = "phone", column = "mobile", default_region = "CN" },
//!     { type = "email", column = "mail" },
//! ]
//!
//! customer = "customer_id"                 # the owner's own key of a customer, for marks; the first identifier if left out
//!
//! [dataset.tags]                           # tag = column of the source, or how its cells are read
//! risk_appetite = { column = "risk", values = { "1" = "conservative", "2" = "balanced" } }
//! housing = "home"
//!
//! [dataset.former]                         # identifiers that customers had before, to trace deliveries of then; needs `customer`
//! source = "former.csv"                    # columns of identifiers, and of customers, named as above
//!
//! [dataset.consent]                        # who consented to what; columns of the dataset if `source` is left out
//! source = "consents.csv"                  # or .parquet, or postgres:// with `sql`
//! key = "mobile"                           # whose consent it is: a column of both; `dataset_key` if it is named otherwise
//! recipients = ["lake-insurance"]          # all that may occur; any other stops the reading
//! utc_offset = "+08:00"                    # days in the records are days there; UTC if left out
//! columns = { given = "consented_on" }     # where a column is not named as its field; `withdrawn` need not be there
//!
//! [dataset.canaries]                       # identifiers of nobody that are mixed into each flow
//! source = "canaries.csv"                  # its columns of identifiers are named as the dataset's
//! expected_rate = "0.0001"                 # share of them that an honest recipient may hold all the same
//! "#, &Library::built_in())?;
//! assert_eq!(file.dataset("customers").map(|dataset| dataset.tags().len()), Some(2));
//! # Ok::<(), counterfoil_party::data::DatasetError>(())
//! ```

mod canaries;
mod consent;
mod fault;
mod identifier;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::taxonomy::{Library, Taxonomy};
use counterfoil_policy::text::{TagName, TaxonomyName};
use counterfoil_psi::IdentifierKind;
use serde::Deserialize;
use toml::Spanned;

use super::consent::ConsentRecords;
use super::customer::CustomerKey;
use super::mapping::{Mapping, RawMapping};
use super::redact::redact;
use super::source::{Delimiter, Source};

use canaries::RawCanaries;
use consent::RawConsent;
use identifier::{RawIdentifier, first_identifier};

pub use canaries::{CanaryError, CanaryRecords};
pub use fault::DatasetFault;
pub use identifier::IdentifierColumn;

/// The taxonomy of a dataset that names none. A fixed version: a later program must not
/// give a mapping another meaning.
const DEFAULT_TAXONOMY: (&str, u32) = ("cn-finance", 1);
/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// The file of a home that lists its datasets.
pub const DATASETS: &str = "datasets.toml";

/// What is wrong with a file of datasets, and on which line.
#[derive(Debug, thiserror::Error)]
#[error("{}{fault}", place(.file.as_deref(), *.line))]
pub struct DatasetError {
    /// The file; `None` for a text that is in none.
    pub file: Option<Box<Path>>,
    /// The line, from 1; 0 where the file itself could not be read.
    pub line: usize,
    /// What is wrong there.
    #[source]
    pub fault: DatasetFault,
}

/// Only the message: the whole error quotes the line, which may hold a password.
fn syntax_fault(message: &str) -> DatasetFault {
    // A cell in another script than Latin is easily written as a key.
    let advice = if message.contains("invalid unquoted key") {
        ": put it in quotes"
    } else {
        ""
    };
    DatasetFault::Syntax(redact(message) + advice)
}

fn place(file: Option<&Path>, line: usize) -> String {
    let file = file.map(|file| format!("`{}`: ", file.display()));
    let line = (line > 0).then(|| format!("line {line}: "));
    file.into_iter().chain(line).collect()
}

/// All datasets of an owner, checked.
#[derive(Clone, Debug, Default)]
pub struct DatasetFile {
    datasets: Vec<Dataset>,
}

/// One dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    taxonomy: Arc<Taxonomy>,
    taxonomy_line: usize,
    source: Source,
    identifiers: Vec<IdentifierColumn>,
    tags: BTreeMap<String, Mapping>,
    consent: Option<ConsentRecords>,
    customer: CustomerKey,
    canaries: Option<CanaryRecords>,
    former: Option<Source>,
}

impl DatasetFile {
    /// Reads and checks a file; relative paths in it start at its folder.
    ///
    /// # Errors
    /// [`DatasetError`], with file and line.
    pub fn read(path: &Path, library: &Library) -> Result<Self, DatasetError> {
        let in_file = |error: DatasetError| DatasetError {
            file: Some(path.into()),
            ..error
        };
        let text = fs::read_to_string(path).map_err(|error| {
            in_file(DatasetError {
                file: None,
                line: 0,
                fault: error.into(),
            })
        })?;
        let mut file = Self::parse(&text, library).map_err(in_file)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for dataset in &mut file.datasets {
            dataset.source = dataset.source.clone().relative_to(folder);
            let former = dataset.former.take();
            dataset.former = former.map(|former| former.relative_to(folder));
            if let Some(consent) = &mut dataset.consent {
                consent.relative_to(folder);
            }
            if let Some(canaries) = &mut dataset.canaries {
                canaries.relative_to(folder);
            }
        }
        Ok(file)
    }

    /// Checks the text of a file. Nothing that it names is opened.
    ///
    /// # Errors
    /// [`DatasetError`], with the line.
    pub fn parse(text: &str, library: &Library) -> Result<Self, DatasetError> {
        let lines = LineIndex(text);
        let raw: RawFile = toml::from_str(text).map_err(|error| DatasetError {
            file: None,
            line: error.span().map_or(1, |span| lines.at(&span)),
            fault: syntax_fault(error.message()),
        })?;
        let mut taken = Names::new("dataset");
        let mut datasets = Vec::with_capacity(raw.dataset.len());
        for dataset in raw.dataset {
            taken
                .add(&dataset.name)
                .map_err(|fault| lines.error(&dataset.name, fault))?;
            datasets.push(dataset.check(&lines, library)?);
        }
        Ok(Self { datasets })
    }

    /// The datasets in the order of the file.
    #[must_use]
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// The dataset of a name.
    #[must_use]
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }
}

impl Dataset {
    /// The name that agreements use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its rows are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its identifier columns, at most one of a type.
    #[must_use]
    pub fn identifiers(&self) -> &[IdentifierColumn] {
        &self.identifiers
    }

    /// The column that holds identifiers of a type.
    #[must_use]
    pub fn identifier(&self, kind: IdentifierKind) -> Option<&IdentifierColumn> {
        self.identifiers
            .iter()
            .find(|identifier| identifier.kind() == kind)
    }

    /// The taxonomy that its tags are mapped to.
    #[must_use]
    pub fn taxonomy(&self) -> &Taxonomy {
        &self.taxonomy
    }

    /// The line of the file that names the taxonomy, or the dataset if it names none.
    #[must_use]
    pub fn taxonomy_line(&self) -> usize {
        self.taxonomy_line
    }

    /// Whether the mapping means what an agreement means: its taxonomy is not older than the agreement's, and defines
    /// the agreement's tags alike.
    #[must_use]
    pub fn means_what(&self, agreement: &Agreement) -> bool {
        let (agreed, own) = (agreement.taxonomy(), self.taxonomy.reference());
        let older = own.name == agreed.name && own.version < agreed.version;
        let mut tags = agreement.tags().iter();
        let mut segment_tags = agreement.segment_tags().iter();
        !older
            && tags.all(|tag| self.taxonomy.defines(tag))
            && segment_tags.all(|tag| self.taxonomy.defines_segment_tag(tag))
    }

    /// How each tag is read, by the tag's name.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, Mapping> {
        &self.tags
    }

    /// Where identifiers stand that customers had before, if they are kept.
    #[must_use]
    pub fn former(&self) -> Option<&Source> {
        self.former.as_ref()
    }

    /// By what it knows a customer, whichever identifier is matched: mark tags are made from it.
    #[must_use]
    pub fn customer_key(&self) -> CustomerKey {
        self.customer.clone()
    }

    /// Where its consent records are, if it has any.
    #[must_use]
    pub fn consent(&self) -> Option<&ConsentRecords> {
        self.consent.as_ref()
    }

    /// Where its canaries are, if it has some.
    #[must_use]
    pub fn canaries(&self) -> Option<&CanaryRecords> {
        self.canaries.as_ref()
    }

    /// Whether a column holds identifiers.
    #[must_use]
    pub fn is_identifier(&self, column: &str) -> bool {
        self.identifiers
            .iter()
            .any(|identifier| identifier.column() == column)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    dataset: Vec<RawDataset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDataset {
    name: Spanned<String>,
    taxonomy: Option<Spanned<RawTaxonomy>>,
    source: Spanned<String>,
    sql: Option<Spanned<String>>,
    delimiter: Option<Spanned<String>>,
    identifiers: Spanned<Vec<RawIdentifier>>,
    #[serde(default)]
    tags: BTreeMap<Spanned<String>, RawMapping>,
    consent: Option<RawConsent>,
    customer: Option<Spanned<String>>,
    canaries: Option<RawCanaries>,
    former: Option<Spanned<RawFormer>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFormer {
    source: Spanned<String>,
    sql: Option<Spanned<String>>,
    delimiter: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTaxonomy {
    name: String,
    version: u32,
}

impl RawDataset {
    fn check(self, lines: &LineIndex<'_>, library: &Library) -> Result<Dataset, DatasetError> {
        let source = read_source(
            &self.source,
            self.sql.as_ref(),
            self.delimiter.as_ref(),
            lines,
        )?;
        if self.identifiers.get_ref().is_empty() {
            return Err(lines.error(&self.identifiers, DatasetFault::NoIdentifiers));
        }
        let mut identifiers: Vec<IdentifierColumn> = Vec::new();
        for raw in self.identifiers.get_ref() {
            let checked = raw.check(lines)?;
            if identifiers
                .iter()
                .any(|earlier| earlier.kind() == checked.kind())
            {
                let name = checked.kind().to_string();
                return Err(lines.error(
                    &raw.kind,
                    DatasetFault::Twice {
                        what: "identifier type",
                        name,
                    },
                ));
            }
            identifiers.push(checked);
        }
        let taxonomy = self.taxonomy(lines, library)?;
        let taxonomy_line = match &self.taxonomy {
            Some(taxonomy) => lines.at(&taxonomy.span()),
            None => lines.at(&self.name.span()),
        };
        let mut tags = BTreeMap::new();
        for (name, mapping) in self.tags {
            let definition = name
                .get_ref()
                .parse::<TagName>()
                .ok()
                .and_then(|name| taxonomy.definition(&name));
            let definition = definition.ok_or_else(|| {
                let fault = DatasetFault::UnknownTag {
                    tag: name.get_ref().escape_debug().to_string(),
                    taxonomy: taxonomy.reference().to_string(),
                };
                lines.error(&name, fault)
            })?;
            let exact = definition.exact().ok_or_else(|| {
                lines.error(&name, DatasetFault::NeverLeaves(name.get_ref().clone()))
            })?;
            let mapping = mapping.check(&name, exact.clone(), lines)?;
            tags.insert(name.into_inner(), mapping);
        }
        let consent = self.consent.map(|raw| raw.check(&identifiers, lines));
        let former = match &self.former {
            Some(former) if self.customer.is_none() => {
                return Err(lines.error(former, DatasetFault::FormerWithoutCustomer));
            }
            former => former.as_ref().map(|former| {
                let RawFormer {
                    source,
                    sql,
                    delimiter,
                } = former.get_ref();
                read_source(source, sql.as_ref(), delimiter.as_ref(), lines)
            }),
        };
        let customer = match self.customer {
            Some(column) => CustomerKey::of_column(&filled(column, "customer", lines)?),
            None => first_identifier(&identifiers),
        };
        let canaries = self.canaries.map(|raw| raw.check(lines)).transpose()?;
        Ok(Dataset {
            customer,
            canaries,
            former: former.transpose()?,
            name: self.name.into_inner(),
            taxonomy,
            taxonomy_line,
            source,
            identifiers,
            tags,
            consent: consent.transpose()?,
        })
    }

    fn taxonomy(
        &self,
        lines: &LineIndex<'_>,
        library: &Library,
    ) -> Result<Arc<Taxonomy>, DatasetError> {
        let (wanted, version) = match &self.taxonomy {
            Some(taxonomy) => (taxonomy.get_ref().name.as_str(), taxonomy.get_ref().version),
            None => DEFAULT_TAXONOMY,
        };
        let name = wanted.parse::<TaxonomyName>().ok();
        let found = name.as_ref().and_then(|name| library.find(name, version));
        found.map(Arc::clone).ok_or_else(|| {
            let fault = DatasetFault::NoTaxonomy {
                name: wanted.escape_debug().to_string(),
                version,
                would_pass: name.map_or_else(
                    || "a name of a-z, 0-9 and `-`".to_owned(),
                    |name| library.missing(&name, version),
                ),
            };
            match &self.taxonomy {
                Some(place) => lines.error(place, fault),
                None => lines.error(&self.name, fault),
            }
        })
    }
}

fn read_source(
    place: &Spanned<String>,
    sql: Option<&Spanned<String>>,
    delimiter: Option<&Spanned<String>>,
    lines: &LineIndex<'_>,
) -> Result<Source, DatasetError> {
    let mut source = Source::parse(place.get_ref()).map_err(|error| lines.error(place, error))?;
    if let Some(delimiter) = delimiter {
        let parsed = delimiter.get_ref().parse::<Delimiter>();
        source = parsed
            .and_then(|parsed| source.with_delimiter(parsed))
            .map_err(|error| lines.error(delimiter, error))?;
    }
    match sql {
        Some(sql) => source
            .with_sql(sql.get_ref())
            .map_err(|error| lines.error(sql, error)),
        None if source.needs_sql() => Err(lines.error(place, DatasetFault::NoSql)),
        None => Ok(source),
    }
}

fn filled(
    text: Spanned<String>,
    what: &'static str,
    lines: &LineIndex<'_>,
) -> Result<String, DatasetError> {
    if text.get_ref().trim().is_empty() {
        return Err(lines.error(&text, DatasetFault::Empty(what)));
    }
    Ok(text.into_inner())
}

fn check_name(name: &str) -> Result<(), DatasetFault> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let allowed = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if begins && allowed && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(DatasetFault::Name(name.escape_debug().to_string()))
}

/// Names that are checked and may occur once.
struct Names {
    what: &'static str,
    taken: BTreeSet<String>,
}

impl Names {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            taken: BTreeSet::new(),
        }
    }

    fn add(&mut self, name: &Spanned<String>) -> Result<(), DatasetFault> {
        let name = name.get_ref();
        check_name(name)?;
        if self.taken.insert(name.clone()) {
            return Ok(());
        }
        Err(DatasetFault::Twice {
            what: self.what,
            name: name.clone(),
        })
    }
}

/// From places in a text to its lines.
pub(super) struct LineIndex<'a>(&'a str);

impl LineIndex<'_> {
    fn at(&self, span: &Range<usize>) -> usize {
        1 + self
            .0
            .bytes()
            .take(span.start)
            .filter(|byte| *byte == b'\n')
            .count()
    }

    pub(super) fn error<T>(
        &self,
        place: &Spanned<T>,
        fault: impl Into<DatasetFault>,
    ) -> DatasetError {
        DatasetError {
            file: None,
            line: self.at(&place.span()),
            fault: fault.into(),
        }
    }
}
