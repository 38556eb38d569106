//! The demo as a page that a person reads.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::story::Told;
use crate::failure::Failure;
use crate::ui::{Ui, table};

/// Rows of the delivery that are shown.
const ROWS_SHOWN: usize = 5;
const LINE_WIDTH: usize = 100;

/// Tells the story line by line, or nothing if JSON was asked for.
pub(super) struct Page {
    silent: bool,
    coloured: bool,
}

impl Page {
    pub(super) fn new(ui: Ui) -> Self {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let page = Self {
            silent: ui.json(),
            coloured,
        };
        page.print("Counterfoil matches customers of two institutions without showing either side's list to anybody,");
        page.print("and keeps the stub of every exchange. This is one exchange, on this machine, from keys to audit.");
        page
    }

    pub(super) fn chapter(&self, title: &str) {
        self.print("");
        self.print(&self.paint("1", title));
    }

    pub(super) fn note(&self, text: &str) {
        self.wrapped("·", text);
    }

    pub(super) fn good(&self, text: &str) {
        self.wrapped(&self.paint("32", "✓"), text);
    }

    pub(super) fn bad(&self, text: &str) {
        self.wrapped(&self.paint("31", "✗"), text);
    }

    pub(super) fn party(&self, name: &str, customers: usize, what: &str, fingerprint: &str) {
        self.note(&format!("`{name}` joined: {customers} {what}"));
        self.print(&format!("      fingerprint {fingerprint}"));
    }

    /// The first rows of what was delivered: identifiers are the demo's own inventions.
    pub(super) fn rows(&self, file: &Path) -> Result<(), Failure> {
        let mut reader = csv::Reader::from_path(file).map_err(Failure::input)?;
        let header = reader.headers().map_err(Failure::input)?.clone();
        let mut rows = vec![header.iter().map(str::to_owned).collect::<Vec<_>>()];
        for record in reader.records().take(ROWS_SHOWN) {
            rows.push(
                record
                    .map_err(Failure::input)?
                    .iter()
                    .map(str::to_owned)
                    .collect(),
            );
        }
        for line in table(&rows).lines() {
            self.print(&format!("      {line}"));
        }
        Ok(())
    }

    fn wrapped(&self, mark: &str, text: &str) {
        let mut line = String::new();
        let mut first = true;
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE_WIDTH {
                self.line(mark, &line, first);
                first = false;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(mark, &line, first);
    }

    fn line(&self, mark: &str, line: &str, first: bool) {
        let lead = if first { mark } else { " " };
        self.print(&format!("  {lead} {line}"));
    }

    fn print(&self, line: &str) {
        if !self.silent {
            // A reader that left early is no reason to fail.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The last lines.
pub(super) fn closing(told: &Told, kept: Option<&Path>) -> String {
    let seconds = told.milliseconds() as f64 / 1000.0;
    let kept = kept.map_or_else(
        || {
            "Nothing is left on this machine; `--keep DIR` leaves everything in DIR to look at."
                .to_owned()
        },
        |path| {
            format!(
                "Everything is in {}: homes, files, delivery, log, receipts.",
                path.display()
            )
        },
    );
    format!(
        "\nDone in {seconds:.1} s. {kept}\nThe README shows the same by hand, each side in a terminal of its own."
    )
}
