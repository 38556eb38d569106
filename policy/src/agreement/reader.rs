//! Reading a document tree: every fault is noted and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use time::Date;

use super::node::{Node, NodeValue};
use crate::finding::Finding;
use crate::moment::{date_text, parse_date};
use crate::text::{Malformed, echo};

/// What was noted while reading: faults, and on which line each field stands.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) findings: RefCell<Vec<Finding>>,
    pub(super) lines: RefCell<BTreeMap<String, u32>>,
}

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Field<'a> {
    path: String,
    node: &'a Node,
    line: Option<u32>,
    notes: &'a Notes,
}

impl<'a> Field<'a> {
    pub(super) fn root(node: &'a Node, notes: &'a Notes) -> Self {
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
    pub(super) fn note(&self, problem: impl Into<String>, would_pass: impl Into<String>) {
        self.notes.findings.borrow_mut().push(Finding {
            line: self.line,
            path: self.path.clone(),
            problem: problem.into(),
            would_pass: would_pass.into(),
        });
    }

    fn expected<T>(&self, would_pass: &str) -> Option<T> {
        self.note(
            format!("this is {}", self.node.value.describe()),
            would_pass,
        );
        None
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            NodeValue::Text(text) => Some(text),
            _ => self.expected("text in quotes"),
        }
    }

    pub(super) fn parsed<T: FromStr<Err = Malformed>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let problem = format!("`{}` is not {}", echo(self.text()?), error.what());
                self.note(problem, error.would_pass());
                None
            }
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
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

    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            NodeValue::Boolean(value) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    pub(super) fn date(&self) -> Option<Date> {
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
    pub(super) fn point(&self) -> Option<String> {
        match &self.node.value {
            NodeValue::Text(text) | NodeValue::Number(text) => Some(text.clone()),
            NodeValue::Integer(integer) => Some(integer.to_string()),
            NodeValue::Date(text) => Some(parse_date(text).map_or_else(|| text.clone(), date_text)),
            _ => self.expected("a number or a date"),
        }
    }

    /// The elements of a list with `count` elements.
    pub(super) fn list(&self, count: RangeInclusive<usize>) -> Option<Vec<Field<'a>>> {
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
    pub(super) fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
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

    pub(super) fn table(&self) -> Option<Table<'a>> {
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
pub(super) struct Table<'a> {
    pub(super) field: Field<'a>,
    entries: &'a BTreeMap<String, Node>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        self.entries
            .get(key)
            .map(|node| self.field.child(self.path_of(key), node))
    }

    pub(super) fn required(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.optional(key);
        if field.is_none() {
            let path = self.path_of(key);
            let absent = Field {
                path,
                ..self.field.clone()
            };
            absent.note(
                "the field is missing",
                format!("give `{key}`; the template shows how"),
            );
        }
        field
    }

    pub(super) fn parsed<T: FromStr<Err = Malformed>>(&mut self, key: &'static str) -> Option<T> {
        self.required(key)?.parsed()
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.required(key)?.integer(range)
    }

    pub(super) fn finish(self) {
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
