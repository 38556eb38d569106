//! One document tree for TOML and JSON, so that one reader checks both.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::finding::{Finding, Findings};

/// A value with its line, if the document has lines.
pub(crate) struct Node {
    pub(crate) line: Option<u32>,
    pub(crate) value: NodeValue,
}

pub(crate) enum NodeValue {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    /// A number with a fraction or beyond `i64`, as written: never turned into a float.
    Number(String),
    Boolean(bool),
    /// A TOML date or time, as written.
    Date(String),
}

impl NodeValue {
    /// What the value is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Date(_) => "a date",
        }
    }
}

/// Reads TOML; every syntax error is a finding with its line.
pub(crate) fn from_toml(text: &str) -> Result<Node, Findings> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let table = table.into_inner();
        return Ok(Node {
            line: None,
            value: toml_table(table, &lines),
        });
    }
    let finding = |error: toml::de::Error| Finding {
        line: error.span().map(|span| lines.line(&span)),
        path: String::new(),
        problem: error.message().replace('\n', ", "),
        would_pass: toml_would_pass(error.message()).to_owned(),
    };
    Err(Findings::new(errors.into_iter().map(finding).collect()))
}

/// What to do about a syntax error, by its message. A value in another script than Latin is easily written as a key.
fn toml_would_pass(message: &str) -> &'static str {
    if message.contains("invalid unquoted key") {
        "the key in quotes, as in `\"三星\" = ..`"
    } else {
        "TOML 1.0, like the template shows"
    }
}

fn toml_table(table: DeTable<'_>, lines: &Lines) -> NodeValue {
    let entry = |(key, value): (toml::Spanned<_>, toml::Spanned<_>)| {
        // An array of tables has the span of its first header; the key's own line is nearer.
        let line = lines.line(&key.span());
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        let node = Node {
            line: Some(line),
            value: toml_value(value.into_inner(), lines),
        };
        (key.into_owned(), node)
    };
    NodeValue::Table(table.into_iter().map(entry).collect())
}

fn toml_value(value: DeValue<'_>, lines: &Lines) -> NodeValue {
    match value {
        DeValue::String(text) => NodeValue::Text(text.into_owned()),
        DeValue::Integer(integer) => {
            let digits = plain(integer.as_str());
            match i64::from_str_radix(&digits, integer.radix()) {
                Ok(integer) => NodeValue::Integer(integer),
                Err(_) => NodeValue::Number(digits),
            }
        }
        DeValue::Float(float) => NodeValue::Number(plain(float.as_str())),
        DeValue::Boolean(value) => NodeValue::Boolean(value),
        DeValue::Datetime(moment) => NodeValue::Date(moment.to_string()),
        DeValue::Array(items) => NodeValue::List(
            items
                .into_iter()
                .map(|item| Node {
                    line: Some(lines.line(&item.span())),
                    value: toml_value(item.into_inner(), lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => toml_table(table, lines),
    }
}

/// A TOML number without its `+` and its underscores.
fn plain(number: &str) -> String {
    number.trim_start_matches('+').replace('_', "")
}

/// Reads JSON. Duplicate keys and spellings are left to the comparison with the canonical form.
pub(crate) fn from_json(bytes: &[u8]) -> Result<Node, Findings> {
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| Findings::of_document(format!("not JSON: {error}"), "RFC 8785 JSON"))?;
    Ok(json_node(value))
}

fn json_node(value: serde_json::Value) -> Node {
    use serde_json::Value;
    let value = match value {
        Value::Null => NodeValue::Text(String::new()),
        Value::Bool(value) => NodeValue::Boolean(value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => NodeValue::Integer(integer),
            None => NodeValue::Number(number.to_string()),
        },
        Value::String(text) => NodeValue::Text(text),
        Value::Array(items) => NodeValue::List(items.into_iter().map(json_node).collect()),
        Value::Object(entries) => NodeValue::Table(
            entries
                .into_iter()
                .map(|(key, value)| (key, json_node(value)))
                .collect(),
        ),
    };
    Node { line: None, value }
}

/// Byte offsets at which lines end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(offset, _)| offset).collect())
    }

    fn line(&self, span: &Range<usize>) -> u32 {
        let before = self.0.partition_point(|end| *end < span.start);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }
}
