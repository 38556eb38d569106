//! Sealed deliveries on disk, one file a flow. They are sealed to the recipient: the broker cannot open them again.

use std::fs::File;
use std::path::PathBuf;

use crate::error::Error;
use crate::files::write_durably;

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
    pub(crate) fn store(&self, flow: [u8; 16], sealed: &[u8]) -> Result<(), Error> {
        write_durably(&self.path(flow), sealed)
    }

    /// Opens a flow's sealed bytes for reading.
    pub(crate) fn open(&self, flow: [u8; 16]) -> Result<File, Error> {
        let path = self.path(flow);
        File::open(&path).map_err(Error::file("read", &path))
    }

    fn path(&self, flow: [u8; 16]) -> PathBuf {
        let name = flow.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.dir.join(name + ".sealed")
    }
}
