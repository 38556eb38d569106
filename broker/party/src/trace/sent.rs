//! What of a leaked file is sent to the broker: cells that could carry marks, and nothing else.

use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_watermark::{Assignment, Leak, Lineage, MarkError, MarkTag, assignments};

use super::file::LeakedFile;
use super::resolve::Tagged;
use super::{TraceOptions, codes};
use crate::error::{Error, Result};

/// What is sent, and of which columns.
pub(super) struct Sent {
    pub(super) content: LeakContent,
    pub(super) names: Vec<String>,
}

impl Sent {
    /// Columns that could carry marks, and of these the cells that could: nothing else of the file.
    pub(super) fn of(
        file: &LeakedFile,
        tagged: &Tagged,
        lineage: &Lineage,
        options: &TraceOptions,
    ) -> Result<Self> {
        let open: Vec<usize> = (0..file.columns.len())
            .filter(|index| !tagged.identifiers.contains(index))
            .collect();
        let cells = |column: &usize| -> Vec<Box<str>> {
            let column = file.cells.get(*column);
            let rows = tagged.tags.iter();
            rows.map(|(row, _)| {
                column
                    .and_then(|column| column.get(*row))
                    .cloned()
                    .unwrap_or_default()
            })
            .collect()
        };
        let tags: Vec<MarkTag> = tagged.tags.iter().map(|(_, tag)| *tag).collect();
        let columns: Vec<Vec<Box<str>>> = open.iter().map(cells).collect();
        let leak = Leak::new(tags.clone(), columns.clone()).map_err(told)?;
        let (known, readings) = readings(file, &open, lineage, &leak, options)?;
        let mut sent = Self {
            content: LeakContent {
                known: Vec::new(),
                mark_tags: tags.iter().map(|tag| tag.get()).collect(),
                columns: Vec::new(),
            },
            names: Vec::new(),
        };
        for (place, (index, cells)) in open.iter().zip(columns).enumerate() {
            let matches = readings.iter().flatten().filter(|m| m.found == place);
            let matches: Vec<_> = matches
                .filter_map(|m| Some((lineage.columns().get(m.column)?, m.reading)))
                .collect();
            if matches.is_empty() {
                continue;
            }
            let fits = |cell: &str| matches.iter().any(|(column, how)| column.fits(cell, *how));
            let shown = |cell: Box<str>| if fits(&cell) { cell } else { Box::default() };
            sent.content
                .columns
                .push(cells.into_iter().map(shown).collect());
            let tag = known.get(place).copied().flatten();
            let tag = tag.and_then(|tag| lineage.columns().get(tag));
            sent.content
                .known
                .push(tag.map(|column| column.name().to_owned()));
            let name = file.columns.get(*index).map_or("", String::as_str);
            sent.names.push(name.escape_debug().to_string());
        }
        if sent.names.is_empty() {
            return Err(Error::Input(
                "no column of the file could be a tag that carries marks: name one with --is COLUMN=TAG".to_owned(),
            ));
        }
        Ok(sent)
    }

    /// The codes of the rows that are sent.
    pub(super) fn add_codes(&mut self, file: &LeakedFile, tagged: &Tagged, codes: &[usize]) {
        for place in codes {
            let cells = file.cells.get(*place);
            let cell = |(row, _): &(usize, MarkTag)| {
                let cell = cells.and_then(|cells| cells.get(*row));
                cell.map_or_else(Box::default, |cell| codes::shown(cell))
            };
            let column = tagged.tags.iter().map(cell).collect();
            self.content.columns.push(column);
            self.content.known.push(Some(CODES.to_owned()));
        }
        self.names.extend(codes::names(file, codes));
    }
}

type Known = Vec<Option<usize>>;

/// The ways to read the file. By the cells alone, as long as these do: whoever leaked it may have exchanged the names.
fn readings(
    file: &LeakedFile,
    open: &[usize],
    lineage: &Lineage,
    leak: &Leak,
    options: &TraceOptions,
) -> Result<(Known, Vec<Assignment>)> {
    let place = |tag: &str| {
        lineage
            .columns()
            .iter()
            .position(|column| column.name() == tag)
    };
    let mut said: Known = vec![None; open.len()];
    for (name, tag) in &options.known {
        let found = open
            .iter()
            .position(|index| file.columns.get(*index) == Some(name));
        let column = place(tag.as_str()).ok_or_else(|| {
            Error::Input(format!(
                "--is {name}={tag}: tag `{tag}` carries no marks in this lineage"
            ))
        })?;
        let slot = found.and_then(|found| said.get_mut(found)).ok_or_else(|| {
            Error::Input(format!(
                "--is {name}={tag}: the file has no such column, or it holds identifiers"
            ))
        })?;
        *slot = Some(column);
    }
    match assignments(lineage, leak, &said) {
        Ok(readings) => Ok((said, readings)),
        Err(MarkError::TooAmbiguous { .. }) => {
            let named = open
                .iter()
                .zip(&said)
                .map(|(index, said)| said.or_else(|| place(file.columns.get(*index)?)));
            let named: Known = named.collect();
            let readings = assignments(lineage, leak, &named).map_err(told)?;
            Ok((named, readings))
        }
        Err(fault) => Err(told(fault)),
    }
}

fn told(fault: MarkError) -> Error {
    Error::Input(format!(
        "the file cannot be read as this lineage: {fault}; name columns with --is COLUMN=TAG"
    ))
}
