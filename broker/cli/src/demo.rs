//! `counterfoil demo`: a broker and two institutions on this machine, with made-up customers.
//!
//! Nothing is faked: the three talk over TLS on the loopback interface, with their own homes, keys and files, through
//! the same functions that the other commands call. Only the people are missing, whose parts the demo takes.

mod cast;
mod customers;
mod leak;
mod page;
mod story;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::ui::Ui;

pub(crate) async fn run(args: &DemoArgs, ui: Ui) -> Result<(), Failure> {
    let started = Instant::now();
    let stage = Stage::new(args.keep.as_deref())?;
    let told = story::tell(&stage.path, args.seed, started, ui).await?;
    ui.result(&told, || page::closing(&told, args.keep.as_deref()))
}

/// The directory in which everything happens.
struct Stage {
    path: PathBuf,
    /// Removed at the end unless it is to be kept.
    _temporary: Option<tempfile::TempDir>,
}

impl Stage {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = keep {
            std::fs::create_dir(path).map_err(|e| Failure::file("create", path, &e))?;
            let path = path
                .canonicalize()
                .map_err(|e| Failure::file("open", path, &e))?;
            return Ok(Self {
                path,
                _temporary: None,
            });
        }
        let temporary = tempfile::Builder::new()
            .prefix("counterfoil-demo-")
            .tempdir()
            .map_err(|e| Failure::file("create", &std::env::temp_dir(), &e))?;
        Ok(Self {
            path: temporary.path().to_owned(),
            _temporary: Some(temporary),
        })
    }
}
