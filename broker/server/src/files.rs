//! Private and durable files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;

/// Makes a directory, and its missing parents, that only this user can enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("create", path))?;
    sync_parent(path)
}

/// Writes a file whole or not at all, readable by this user only, and durable on return: a crash at any moment leaves the
/// old file or the new one.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_parts_durably(path, std::iter::once(bytes))
}

/// As [`write_durably`], of a file that lies in memory in parts.
pub(crate) fn write_parts_durably<'p>(
    path: &Path,
    mut parts: impl Iterator<Item = &'p [u8]>,
) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(Error::file("create", &temporary))?;
    parts
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all())
        .map_err(Error::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(Error::file("write", path))?;
    sync_parent(path)
}

/// Makes the name of a new file durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::file("write", parent))
}

/// Reads a secret, and refuses one that others could read too.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    check_private(path)?;
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(Error::file("read", path))
}

/// Refuses a secret that others could read too.
pub(crate) fn check_private(path: &Path) -> Result<(), Error> {
    let mode = fs::metadata(path)
        .map_err(Error::file("read", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Error::Home(format!(
            "`{path}` can be read by other users (mode {mode:o}): run `chmod 600 {path}`, and if anybody else \
             has used this machine, replace the key",
            path = path.display(),
            mode = mode & 0o777,
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_command_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_durably(&path, b"x").unwrap();
        assert_eq!(read_private(&path).unwrap().as_slice(), b"x");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let message = read_private(&path).unwrap_err().to_string();
        assert!(
            message.contains("mode 640") && message.contains("chmod 600"),
            "{message}"
        );
    }
}
