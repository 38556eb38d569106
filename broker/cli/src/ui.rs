//! What a command prints: text for people, or JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::failure::Failure;

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    json: bool,
}

impl Ui {
    /// Text, or JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// JSON was asked for.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// The one result of a command.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let document = serde_json::to_string_pretty(value).map_err(Failure::input)?;
            print(&document)
        } else {
            print(text().trim_end())
        }
    }

    /// One of many events while serving: a line either way.
    pub(crate) fn event(self, value: &impl Serialize, text: impl FnOnce() -> Option<String>) {
        let line = if self.json {
            serde_json::to_string(value).ok()
        } else {
            text()
        };
        if let Some(line) = line {
            // Whoever reads may have left; serving goes on.
            let _ = print(&line);
        }
    }

    /// The end of a command that failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            // One document each command: a result that shows what is wrong is not followed by a second.
            if !failure.has_result() {
                // On one line, as the events that a command that serves has printed before.
                let _ = print(&failure.to_json().to_string());
            }
        } else {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "{} {}", paint_error("error:"), failure.message);
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new("stdout", 1, format!("cannot print: {e}")))
}

fn paint_error(text: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[1;31m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// Columns with two spaces between them; the last is not padded. A Chinese character is as wide as two others.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            line.push_str("  ");
            line.extend(std::iter::repeat_n(
                ' ',
                width(column).saturating_sub(cell.width()),
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
