//! Files that only this user can open, written so that a crash leaves the old content or the new, never a mixture.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;

use crate::error::{Error, Result};

/// Permission bits that nobody but the owner of a file may have.
const OTHERS: u32 = 0o077;
pub(super) const FILE_MODE: u32 = 0o600;
pub(super) const DIR_MODE: u32 = 0o700;

/// Replaces the file by `bytes`: on return they are durable under that name, and nobody ever sees a part of them.
///
/// # Errors
/// What the file system says; the old content is then still there, or the new one already.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = Temporary::write(path, bytes)?;
    // A crash before this line leaves the old file and a temporary one that nothing reads.
    fs::rename(&temporary.0, path).map_err(|e| Error::io("write", path, e))?;
    std::mem::forget(temporary);
    // A crash before the next line leaves either file: the rename is atomic, but not yet durable.
    sync_dir(parent(path))
}

/// As [`write`], but never over an existing file.
///
/// # Errors
/// An [`Error::Io`] of kind `AlreadyExists` if the file is there.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = Temporary::write(path, bytes)?;
    // Unlike rename, link fails when the name is taken.
    fs::hard_link(&temporary.0, path).map_err(|e| Error::io("create", path, e))?;
    drop(temporary);
    sync_dir(parent(path))
}

/// Reads a file of at most `bytes_max` bytes, or `None` if there is none.
///
/// # Errors
/// [`Error::UnsafeMode`] if others can open it, [`Error::Damaged`] if it is longer than anything written there.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    // The mode of the opened file, not of the name: nobody can swap it in between.
    let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
    check_mode(path, &metadata)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(bytes_max)).unwrap_or(0));
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::Damaged {
            path: path.to_owned(),
            why: format!("it is longer than {bytes_max} bytes"),
        });
    }
    Ok(Some(bytes))
}

/// Removes a file durably; it may be missing already.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// A new directory that only this user can enter.
pub(super) fn create_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(DIR_MODE)
        .create(path)
        .map_err(|e| Error::io("create", path, e))
}

/// Opens or creates a file to lock.
pub(super) fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|e| Error::io("open", path, e))
}

/// Refuses what anybody but its owner can open.
pub(super) fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(Error::UnsafeMode {
        path: path.to_owned(),
        mode,
        wanted: if metadata.is_dir() {
            DIR_MODE
        } else {
            FILE_MODE
        },
    })
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("write", path, e))
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// A name beside `path` that nobody uses.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.{suffix}", rand::rng().next_u64()));
    path.with_file_name(name)
}

/// A file that is removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: &Path, bytes: &[u8]) -> Result<Self> {
        let temporary = Self(beside(path, "tmp"));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary.0)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .map_err(|e| Error::io("write", path, e))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A leftover is harmless: nothing reads it.
        let _ = fs::remove_file(&self.0);
    }
}
