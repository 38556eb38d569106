//! Reading a document tree: every fault is noted and reading goes on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use time::Date;

use super::node::{Node, NodeValue};
use crate::finding::{Finding, Findings};
use crate::moment::{date_text, parse_date};
use crate::text::{Malformed, echo};

/// What was noted while reading: faults, and on which line each field stands.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) findings: RefCell<Vec<Finding>>,
    pub(crate) lines: RefCell<BTreeMap<String, u32>>,
}

impl Notes {
    /// Notes a fault at a line that was read before.
    pub(crate) fn at(
        &self,
        line: Option<u32>,
        path: &str,
        problem: impl Into<String>,
        would_pass: impl Into<String>,
    ) {
        self.findings.borrow_mut().push(Finding {
            line,
            path: path.to_owned(),
            problem: problem.into(),
            would_pass: would_pass.into(),
        });
    }

    /// All faults; `None` if there are none.
    pub(crate) fn into_findings(self) -> Option<Findings> {
        let findings = self.findings.into_inner();
        (!findings.is_empty()).then(|| Findings::new(findings))
    }
}

/// One value and where it stands.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    path: String,
    node: &'a Node,
    line: Option<u32>,
    notes: &'a Notes,
}

impl<'a> Field<'a> {
    pub(crate) fn root(node: &'a Node, notes: &'a Notes) -> Self {
        Self {
            path: String::new(),
            node,
            line: None,
            notes,
        }
    }

    fn child(&self, path: String, node: &'a Node) -> Self {
        let line = node.line.or(self.line);
        if let Some(line) = line {
            self.notes.lines.borrow_mut().insert(path.clone(), line);
        }
        Field {
            path,
            node,
            line,
            notes: self.notes,
        }
    }

    /// Notes a fault of this field.
    pub(crate) fn note(&self, problem: impl Into<String>, would_pass: impl Into<String>) {
        self.notes.findings.borrow_mut().push(Finding {
            line: self.line,
            path: self.path.clone(),
            problem: problem.into(),
            would_pass: would_pass.into(),
        });
    }

    /// The line in the text, if it has lines.
    pub(crate) fn line(&self) -> Option<u32> {
        self.line
    }

    fn expected<T>(&self, would_pass: &str) -> Option<T> {
        self.note(
            format!("this is {}", self.node.value.describe()),
            would_pass,
        );
        None
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            NodeValue::Text(text) => Some(text),
            _ => self.expected("text in quotes"),
        }
    }

    pub(crate) fn parsed<T: FromStr<Err = Malformed>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let problem = format!("`{}` is not {}", echo(self.text()?), error.what());
                self.note(problem, error.would_pass());
                None
            }
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let would_pass = format!("a whole number from {} to {}", range.start(), range.end());
        match &self.node.value {
            NodeValue::Integer(integer) => {
                let value = u64::try_from(*integer)
                    .ok()
                    .filter(|value| range.contains(value));
                if value.is_none() {
                    self.note(format!("`{integer}` is out of range"), would_pass);
                }
                value
            }
            _ => self.expected(&would_pass),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            NodeValue::Boolean(value) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    pub(crate) fn date(&self) -> Option<Date> {
        let would_pass = "a date like 2026-11-23";
        match &self.node.value {
            NodeValue::Text(text) | NodeValue::Date(text) => {
                let date = parse_date(text);
                if date.is_none() {
                    self.note(format!("`{}` is not a date", echo(text)), would_pass);
                }
                date
            }
            _ => self.expected(would_pass),
        }
    }

    /// A point on a tag's line: text, number or date, as text; the tag reads it by its kind.
    pub(crate) fn point(&self) -> Option<String> {
        match &self.node.value {
            NodeValue::Text(text) | NodeValue::Number(text) => Some(text.clone()),
            NodeValue::Integer(integer) => Some(integer.to_string()),
            NodeValue::Date(text) => Some(parse_date(text).map_or_else(|| text.clone(), date_text)),
            _ => self.expected("a number or a date"),
        }
    }

    /// The elements of a list with `count` elements.
    pub(crate) fn list(&self, count: RangeInclusive<usize>) -> Option<Vec<Field<'a>>> {
        let would_pass = format!("a list of {} to {} elements", count.start(), count.end());
        let NodeValue::List(items) = &self.node.value else {
            return self.expected(&would_pass);
        };
        if !count.contains(&items.len()) {
            self.note(format!("the list has {} elements", items.len()), would_pass);
            return None;
        }
        let element = |(index, node)| self.child(format!("{}[{index}]", self.path), node);
        Some(items.iter().enumerate().map(element).collect())
    }

    /// Every key with its value, for tables whose keys are data.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
        let NodeValue::Table(entries) = &self.node.value else {
            return self.expected("a table like { key = \"value\" }");
        };
        let entry = |(key, node): (&'a String, &'a Node)| {
            (
                key.as_str(),
                self.child(format!("{}.{}", self.path, echo(key)), node),
            )
        };
        Some(entries.iter().map(entry).collect())
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        match &self.node.value {
            NodeValue::Table(entries) => Some(Table {
                field: self.clone(),
                entries,
                known: Vec::new(),
            }),
            _ => self.expected("a table"),
        }
    }
}

/// A table whose keys are fields; [`finish`](Self::finish) notes the keys nobody asked for.
pub(crate) struct Table<'a> {
    pub(crate) field: Field<'a>,
    entries: &'a BTreeMap<String, Node>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        self.entries
            .get(key)
            .map(|node| self.field.child(self.path_of(key), node))
    }

    pub(crate) fn required(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.optional(key);
        if field.is_none() {
            let path = self.path_of(key);
            let absent = Field {
                path,
                ..self.field.clone()
            };
            absent.note("the field is missing", format!("give `{key}`"));
        }
        field
    }

    pub(crate) fn parsed<T: FromStr<Err = Malformed>>(&mut self, key: &'static str) -> Option<T> {
        self.required(key)?.parsed()
    }

    pub(crate) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key)?.integer(range)
    }

    pub(crate) fn finish(self) {
        for (key, node) in self.entries {
            if !self.known.contains(&key.as_str()) {
                let path = self.path_of(&echo(key));
                let stray = self.field.child(path, node);
                stray.note(
                    "the key is unknown",
                    format!("one of {}", self.known.join(", ")),
                );
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.field.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.field.path)
        }
    }
}

/// Reads every element, so that every fault is noted, then gives all or none.
pub(crate) fn each<'a, T>(
    fields: &[Field<'a>],
    read: impl Fn(&Field<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = fields.iter().map(read).collect();
    read.into_iter().collect()
}

pub(crate) fn optional_list<'a, T>(
    field: Option<&Field<'a>>,
    read: impl Fn(&Field<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    match field {
        Some(field) => each(&field.list(0..=1024)?, read),
        None => Some(Vec::new()),
    }
}

pub(crate) fn no_duplicates<T, K: Ord + std::fmt::Display>(
    fields: &[Field<'_>],
    items: &[T],
    key: impl Fn(&T) -> K,
) {
    let mut seen = BTreeSet::new();
    for (field, item) in fields.iter().zip(items) {
        let key = key(item);
        let problem = format!("`{key}` occurs twice");
        if !seen.insert(key) {
            field.note(problem, "each once");
        }
    }
}
