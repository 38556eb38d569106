//! Files of a flow that are written whole or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file: on return it is durable and whole, or it is not there. Blocks.
///
/// # Errors
/// [`Error::Io`], such as a full disk.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    let failed = |error| Error::io("write", path, error);
    let name = path.file_name().and_then(|name| name.to_str());
    // Made with mode 0600; a crash leaves a file with another name, which goes with all else that is kept of the flow.
    let mut part = tempfile::Builder::new()
        .prefix(&part_prefix(name.unwrap_or_default()))
        .tempfile_in(directory)
        .map_err(failed)?;
    fill(part.as_file_mut()).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(path)
        .map_err(|refused| failed(refused.error))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)
}

/// How the names of files that are being written begin.
pub(super) fn part_prefix(name: &str) -> String {
    format!(".{name}.")
}

pub(super) fn damaged(path: &Path) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        why: "it is not whole; the delivery cannot be read, ask for the flow again".to_owned(),
    }
}
