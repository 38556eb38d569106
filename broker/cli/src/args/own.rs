//! The own customers that go into a flow: the same options for each command that asks for one.

use clap::Args;
use counterfoil_party::data::Source;
use counterfoil_party::error::Error;

use crate::command::parse;
use crate::failure::Failure;

/// Own customers and how they are matched. A command names in its group [`WITHOUT_OWN`] what it can do without them.
#[derive(Debug, Args)]
pub(crate) struct OwnArgs {
    /// Own customers: a .csv, .tsv, .txt or .parquet file, or a postgres:// URL
    #[arg(long, value_name = "SOURCE", required_unless_present = WITHOUT_OWN)]
    from: Option<String>,
    /// Query of the database, with a postgres:// URL
    #[arg(long)]
    sql: Option<String>,
    /// Delimiter of a text file, if it is not found by itself
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<String>,
    /// Column with the identifiers
    #[arg(long, required_unless_present = WITHOUT_OWN)]
    column: Option<String>,
    /// What to match by: phone, resident_id or email; needed if the agreement has several
    #[arg(long, value_name = "TYPE")]
    pub(crate) by: Option<String>,
    /// Region of telephone numbers without a country code, such as CN; else the agreement's
    #[arg(long)]
    pub(crate) region: Option<String>,
}

/// The group of a command's options that need no own customers.
pub(crate) const WITHOUT_OWN: &str = "without_own";

impl OwnArgs {
    /// Where the customers are, not opened yet.
    pub(crate) fn source(&self) -> Result<Source, Failure> {
        let mut source =
            Source::parse(&needed(self.from.as_ref(), "from")?).map_err(Error::from)?;
        if let Some(sql) = &self.sql {
            source = source.with_sql(sql).map_err(Error::from)?;
        }
        if let Some(delimiter) = &self.delimiter {
            source = source
                .with_delimiter(parse(delimiter)?)
                .map_err(Error::from)?;
        }
        Ok(source)
    }

    /// The column with the identifiers.
    pub(crate) fn column(&self) -> Result<String, Failure> {
        needed(self.column.as_ref(), "column")
    }
}

/// An option that the parser leaves out only where nothing is asked for.
pub(crate) fn needed(value: Option<&String>, name: &str) -> Result<String, Failure> {
    value
        .cloned()
        .ok_or_else(|| Failure::input(format!("--{name} is missing")))
}
