//! Reference codes in a leaked file, which name a flow without marks, identifiers or many rows.

use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_watermark::ReferenceCode;

use super::Resolved;
use super::file::LeakedFile;
use super::sent::Sent;

/// The columns in which there are codes, by their places in the file.
pub(super) fn columns(file: &LeakedFile) -> Vec<usize> {
    let coded = |cells: &Vec<Box<str>>| cells.iter().any(|cell| is_code(cell));
    let columns = file.cells.iter().enumerate();
    columns
        .filter(|(_, cells)| coded(cells))
        .map(|(place, _)| place)
        .collect()
}

fn is_code(cell: &str) -> bool {
    cell.parse::<ReferenceCode>().is_ok()
}

/// The cell if it is a code: of others nothing is sent.
pub(super) fn shown(cell: &str) -> Box<str> {
    if is_code(cell) {
        cell.trim().into()
    } else {
        Box::default()
    }
}

/// The codes of a file, and nothing else of it: no mark tag, for nothing is scored. `why` is why not.
pub(super) fn alone(file: &LeakedFile, codes: &[usize], why: String) -> (Sent, Resolved) {
    let cells = |place: &usize| file.cells.get(*place).map_or(&[][..], Vec::as_slice);
    let coded = |row: &usize| {
        let mut columns = codes.iter().filter_map(|place| cells(place).get(*row));
        columns.any(|cell| is_code(cell))
    };
    let rows: Vec<usize> = (0..file.taken()).filter(coded).collect();
    let column = |place: &usize| {
        let cell = |row: &usize| {
            cells(place)
                .get(*row)
                .map_or_else(Box::default, |c| shown(c))
        };
        rows.iter().map(cell).collect()
    };
    let sent = Sent {
        content: LeakContent {
            known: vec![Some(CODES.to_owned()); codes.len()],
            mark_tags: vec![0; rows.len()],
            columns: codes.iter().map(column).collect(),
        },
        names: names(file, codes),
    };
    let resolved = Resolved {
        rows: file.rows,
        used: rows.len() as u64,
        bad: file.bad,
        codes_only: Some(why),
        ..Resolved::default()
    };
    (sent, resolved)
}

/// Names of the columns as people may be shown them.
pub(super) fn names(file: &LeakedFile, columns: &[usize]) -> Vec<String> {
    let name = |place: &usize| {
        let name = file.columns.get(*place).map_or("", String::as_str);
        name.escape_debug().to_string()
    };
    columns.iter().map(name).collect()
}
