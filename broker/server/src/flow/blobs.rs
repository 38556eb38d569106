//! Sealed deliveries on disk, one file a flow. They are sealed to the recipient: the broker cannot open them again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;

use crate::error::Error;
use crate::files::write_durably;
use crate::log::RecordedRelease;

/// Where sealed deliveries lie.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    dir: PathBuf,
}

impl Deliveries {
    /// In this directory, which exists.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Stores a flow's sealed bytes. Durable on return. A crash before the flow's entry leaves a file that nothing
    /// names: it cannot be fetched, because a fetch starts from the log.
    pub(super) fn store(&self, flow: [u8; 16], sealed: &[u8]) -> Result<(), Error> {
        write_durably(&self.path(flow), sealed)
    }

    /// Opens a recorded release's sealed bytes for reading.
    pub(super) fn open(&self, recorded: &RecordedRelease) -> Result<File, Error> {
        let path = self.path(*recorded.intent().flow.as_bytes());
        File::open(&path).map_err(Error::file("read", &path))
    }

    /// Removes what was stored for a flow that ended without a release. Only to be called once that end is certain.
    pub(crate) fn discard(&self, flow: [u8; 16]) {
        let path = self.path(flow);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a delivery that is not released could not be removed");
            }
            _ => {}
        }
    }

    /// Removes, at a start, everything but the deliveries of these flows: what a crash left of a flow that was not
    /// released, whole or half written, can never be fetched and would lie here for ever.
    pub(crate) fn keep_only(&self, released: impl Iterator<Item = [u8; 16]>) -> Result<(), Error> {
        let kept: HashSet<PathBuf> = released.map(|flow| self.path(flow)).collect();
        for entry in fs::read_dir(&self.dir).map_err(Error::file("read", &self.dir))? {
            let path = entry.map_err(Error::file("read", &self.dir))?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }

    fn path(&self, flow: [u8; 16]) -> PathBuf {
        let name = flow.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.dir.join(name + ".sealed")
    }
}
