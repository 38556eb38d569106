//! From a column of the owner's to a tag of its taxonomy.
//!
//! ```toml
//! [dataset.tags]
//! housing = "home"                                   # cells are the tag's values
//! risk_appetite = { column = "risk", values = { "1" = "conservative", "5" = "aggressive" } }
//! wealth_tier = { column = "aum", bands = [{ below = 500000, value = "mass" }, { value = "affluent" }] }
//! customer_since = { column = "opened", date = "dd/mm/yyyy" }
//! life_event = { column = "event", null = ["N/A"], empty = "none" }
//! ```
//!
//! A cell that is blank, or one of `null`, has no value: its row is left out, unless `empty`
//! gives one, `*` to tell nothing. A cell that the mapping has no value for leaves its row out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use counterfoil_policy::decimal::Decimal;
use counterfoil_policy::tag::{SUPPRESSED, Tag, Unmapped};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::dataset::{DatasetError, DatasetFault, LineIndex};

/// How a column's cells become values of a tag.
#[derive(Clone, Debug)]
pub struct Mapping {
    column: String,
    tag: Tag,
    rule: Rule,
    null: BTreeSet<String>,
    empty: Option<String>,
}

#[derive(Clone, Debug)]
enum Rule {
    AsIs,
    Dictionary(BTreeMap<String, String>),
    Bands(Bands),
    Date(DatePattern),
}

/// Values by ascending upper edges, exclusive, and the value from the last edge on.
#[derive(Clone, Debug)]
struct Bands {
    below: Vec<(Decimal, String)>,
    rest: Option<String>,
}

impl Mapping {
    /// The column of the source.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The tag, told exactly.
    #[must_use]
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The form in which the column's dates are written, if the mapping names one.
    pub(super) fn date_form(&self) -> Option<&'static str> {
        match &self.rule {
            Rule::Date(pattern) => Some(pattern.0),
            _ => None,
        }
    }

    /// The cell as a value of the tag, not generalised; `None` if nothing is to be told.
    ///
    /// # Errors
    /// [`Unmapped`]: the row has no value in this tag.
    pub fn value<'a>(&'a self, cell: &'a str) -> Result<Option<Cow<'a, str>>, Unmapped> {
        let cell = cell.trim();
        if cell.is_empty() || self.null.contains(cell) {
            return match self.empty.as_deref() {
                None => Err(Unmapped::Empty),
                Some(SUPPRESSED) => Ok(None),
                Some(value) => Ok(Some(value.into())),
            };
        }
        let value = match &self.rule {
            Rule::AsIs => Cow::Borrowed(cell),
            Rule::Dictionary(values) => values
                .get(cell)
                .map(|value| value.as_str().into())
                .ok_or(Unmapped::OutsideDomain)?,
            Rule::Bands(bands) => bands.value(cell)?.into(),
            Rule::Date(pattern) => pattern.read(cell).ok_or(Unmapped::NotADate)?.into(),
        };
        Ok(Some(value))
    }
}

impl Bands {
    fn value(&self, cell: &str) -> Result<&str, Unmapped> {
        let number: Decimal = cell.parse().map_err(|_| Unmapped::NotANumber)?;
        let above = self.below.partition_point(|(edge, _)| *edge <= number);
        match self.below.get(above) {
            Some((_, value)) => Ok(value),
            None => self.rest.as_deref().ok_or(Unmapped::OutsideDomain),
        }
    }
}

/// The places of year, month and day in dates of one form, like `dd.mm.yyyy`. Between marks a month or a day may have one
/// digit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DatePattern(&'static str);

impl DatePattern {
    const KNOWN: [&'static str; 8] = [
        "yyyy-mm-dd",
        "yyyy/mm/dd",
        "yyyy.mm.dd",
        "yyyymmdd",
        "dd/mm/yyyy",
        "dd.mm.yyyy",
        "mm/dd/yyyy",
        "yyyy年mm月dd日",
    ];

    /// The date as the tag reads it; `None` if the cell has another form. Whether there is
    /// such a day, the tag says.
    fn read(&self, cell: &str) -> Option<String> {
        let is_packed = self.0 == "yyyymmdd";
        let (mut year, mut month, mut day) = (String::new(), String::new(), String::new());
        let mut cell = cell.chars().peekable();
        let mut places = self.0.chars().peekable();
        while let Some(place) = places.next() {
            let (field, least, most) = match place {
                'y' => (&mut year, 4, 4),
                'm' => (&mut month, if is_packed { 2 } else { 1 }, 2),
                'd' => (&mut day, if is_packed { 2 } else { 1 }, 2),
                mark => {
                    cell.next_if_eq(&mark)?;
                    continue;
                }
            };
            while places.next_if_eq(&place).is_some() {}
            while field.len() < most
                && let Some(digit) = cell.next_if(char::is_ascii_digit)
            {
                field.push(digit);
            }
            if field.len() < least {
                return None;
            }
        }
        let is_over = cell.next().is_none();
        is_over.then(|| format!("{year}-{month:0>2}-{day:0>2}"))
    }
}

/// A mapping as written: a column's name, or a table.
pub(super) enum RawMapping {
    Column(String),
    Table(Box<RawTable>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTable {
    column: Spanned<String>,
    values: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    bands: Option<Spanned<Vec<RawBand>>>,
    date: Option<Spanned<String>>,
    #[serde(default)]
    null: Vec<String>,
    empty: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBand {
    below: Option<Spanned<toml::Value>>,
    value: Spanned<String>,
}

impl<'de> Deserialize<'de> for RawMapping {
    /// By hand: an untagged enum would lose the places that errors name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnOrTable;
        impl<'de> Visitor<'de> for ColumnOrTable {
            type Value = RawMapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a column's name, or a table like { column = \"risk\", values = { .. } }",
                )
            }

            fn visit_str<E>(self, column: &str) -> Result<RawMapping, E> {
                Ok(RawMapping::Column(column.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMapping, A::Error> {
                let table = RawTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawMapping::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(ColumnOrTable)
    }
}

impl RawMapping {
    /// Checks the mapping against the tag that it is for.
    pub(super) fn check(
        self,
        place: &Spanned<String>,
        tag: Tag,
        lines: &LineIndex<'_>,
    ) -> Result<Mapping, DatasetError> {
        let table = match self {
            Self::Column(column) => {
                if column.trim().is_empty() {
                    return Err(lines.error(place, DatasetFault::Empty("column")));
                }
                return Ok(Mapping {
                    column,
                    tag,
                    rule: Rule::AsIs,
                    null: BTreeSet::new(),
                    empty: None,
                });
            }
            Self::Table(table) => *table,
        };
        if table.column.get_ref().trim().is_empty() {
            return Err(lines.error(&table.column, DatasetFault::Empty("column")));
        }
        let empty = match table.empty {
            Some(value) if value.get_ref() == SUPPRESSED => Some(SUPPRESSED.to_owned()),
            Some(value) => Some(of_tag(&tag, value, lines)?),
            None => None,
        };
        let rule = match (table.values, table.bands, table.date) {
            (None, None, None) => Rule::AsIs,
            (Some(values), None, None) => dictionary(&tag, values, lines)?,
            (None, Some(bands), None) => bands_of(&tag, bands, lines)?,
            (None, None, Some(date)) => date_of(&tag, &date, lines)?,
            _ => return Err(lines.error(place, DatasetFault::TwoRules)),
        };
        Ok(Mapping {
            column: table.column.into_inner(),
            tag,
            rule,
            null: table
                .null
                .into_iter()
                .map(|text| text.trim().to_owned())
                .collect(),
            empty,
        })
    }
}

/// A value that the mapping gives must be one of the tag's.
fn of_tag(
    tag: &Tag,
    value: Spanned<String>,
    lines: &LineIndex<'_>,
) -> Result<String, DatasetError> {
    if tag.generalise(value.get_ref()).is_err() {
        let fault = DatasetFault::NotAValue {
            value: value.get_ref().escape_debug().to_string(),
            tag: tag.name().to_string(),
            would_pass: values_of(tag),
        };
        return Err(lines.error(&value, fault));
    }
    Ok(value.into_inner())
}

/// The values of a tag, for a message.
pub(super) fn values_of(tag: &Tag) -> String {
    if tag.values().is_empty() {
        return format!("a value of kind {}", tag.kind());
    }
    let shown: Vec<_> = tag
        .values()
        .iter()
        .take(12)
        .map(|value| format!("`{value}`"))
        .collect();
    let more = if tag.values().len() > 12 { ", .." } else { "" };
    format!("one of {}{more}", shown.join(", "))
}

fn dictionary(
    tag: &Tag,
    values: BTreeMap<Spanned<String>, Spanned<String>>,
    lines: &LineIndex<'_>,
) -> Result<Rule, DatasetError> {
    let mut checked = BTreeMap::new();
    for (cell, value) in values {
        checked.insert(
            cell.into_inner().trim().to_owned(),
            of_tag(tag, value, lines)?,
        );
    }
    Ok(Rule::Dictionary(checked))
}

fn bands_of(
    tag: &Tag,
    bands: Spanned<Vec<RawBand>>,
    lines: &LineIndex<'_>,
) -> Result<Rule, DatasetError> {
    if bands.get_ref().is_empty() {
        return Err(lines.error(&bands, DatasetFault::Empty("bands")));
    }
    let mut checked = Bands {
        below: Vec::new(),
        rest: None,
    };
    for band in bands.into_inner() {
        let Some(edge) = band.below else {
            if checked.rest.is_some() {
                return Err(lines.error(&band.value, DatasetFault::BandsOverlap));
            }
            checked.rest = Some(of_tag(tag, band.value, lines)?);
            continue;
        };
        let below: Decimal = match edge.get_ref() {
            toml::Value::Integer(number) => Ok(Decimal::from(*number)),
            toml::Value::Float(number) => number.to_string().parse(),
            toml::Value::String(text) => text.parse(),
            _ => "".parse(),
        }
        .map_err(|_| lines.error(&edge, DatasetFault::NotAnEdge))?;
        let ascends = checked.below.last().is_none_or(|(last, _)| *last < below);
        if !ascends || checked.rest.is_some() {
            return Err(lines.error(&edge, DatasetFault::BandsOverlap));
        }
        checked.below.push((below, of_tag(tag, band.value, lines)?));
    }
    Ok(Rule::Bands(checked))
}

fn date_of(
    tag: &Tag,
    pattern: &Spanned<String>,
    lines: &LineIndex<'_>,
) -> Result<Rule, DatasetError> {
    let known = DatePattern::KNOWN
        .into_iter()
        .find(|known| known == pattern.get_ref());
    match known {
        Some(known) if tag.kind() == counterfoil_policy::tag::TagKind::Date => {
            Ok(Rule::Date(DatePattern(known)))
        }
        _ => Err(lines.error(
            pattern,
            DatasetFault::NotADatePattern(DatePattern::KNOWN.join(", ")),
        )),
    }
}
