//! The taxonomies of an agent: the built-in one, and those in its home's `taxonomies` folder.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use counterfoil_policy::taxonomy::{Library, TEXT_BYTES_MAX, Taxonomy};

use crate::error::{Error, Result};

/// Folder of the home with an institution's own taxonomies, one `.toml` file each.
pub const FOLDER: &str = "taxonomies";
/// Most files in the folder.
const FILES_MAX: usize = 64;

/// Reads the taxonomies beside a home's other files; without the folder, the built-in one.
///
/// # Errors
/// [`Error::Input`], with file and line: a file that cannot be read or is no taxonomy.
pub fn library(home: &Path) -> Result<Library> {
    load(&files(home)?)
}

/// Checks the text of one more taxonomy beside those of the home. It may be one of them.
///
/// # Errors
/// As [`library`].
pub fn with(home: &Path, file: &Path, text: &str) -> Result<Taxonomy> {
    let mut files = files(home)?;
    files.retain(|(path, _)| !is_same(path, file));
    let others = load(&files)?;
    files.push((file.to_owned(), text.to_owned()));
    let library = load(&files)?;
    let is_new = |taxonomy: &&Taxonomy| {
        let reference = taxonomy.reference();
        others.find(&reference.name, reference.version).is_none()
    };
    let added = library.iter().find(is_new).cloned();
    added.ok_or_else(|| Error::Unexpected("the taxonomy was read and is not there".to_owned()))
}

fn is_same(path: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| fs::canonicalize(path).ok();
    canonical(path).is_some_and(|path| canonical(other) == Some(path))
}

fn load(files: &[(PathBuf, String)]) -> Result<Library> {
    let texts: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.display().to_string(), text.as_str()))
        .collect();
    let texts: Vec<_> = texts
        .iter()
        .map(|(path, text)| (path.as_str(), *text))
        .collect();
    Library::load(&texts).map_err(|error| Error::Input(error.to_string()))
}

/// Paths and texts of a home's own taxonomies.
fn files(home: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = home.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(unreadable(
            &folder,
            format!("more than {FILES_MAX} taxonomies"),
        ));
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = read(&path)?;
            Ok((path, text))
        })
        .collect()
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    // One byte more than is read, so that the reader refuses what is too large.
    fs::File::open(path)
        .and_then(|file| {
            file.take(TEXT_BYTES_MAX as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| unreadable(path, error))?;
    Ok(text)
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Input(format!("cannot read `{}`: {why}", path.display()))
}
