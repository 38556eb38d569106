//! Files that answers are written to, by their endings.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use counterfoil_party::recipient::Measured;

use super::{svg, tables};
use crate::failure::Failure;

#[derive(Clone, Copy)]
enum Format {
    Json,
    Csv,
    Svg,
}

/// Where answers go.
pub(super) struct Files {
    files: Vec<(PathBuf, Format)>,
    overwrite: bool,
}

impl Files {
    /// Endings that are known, and names that are free.
    pub(super) fn check(paths: &[PathBuf], overwrite: bool) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in paths {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let format = match ending {
                Some("json") => Format::Json,
                Some("csv") => Format::Csv,
                Some("svg") => Format::Svg,
                _ => {
                    return Err(Failure::input(format!(
                        "`{}`: answers are written to files that end in .json, .csv or .svg",
                        path.display()
                    )));
                }
            };
            if !overwrite && path.exists() {
                return Err(Failure::input(format!(
                    "`{}` is there already: give another name, or --overwrite",
                    path.display()
                )));
            }
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            if directory.is_some_and(|directory| !directory.is_dir()) {
                return Err(Failure::input(format!(
                    "the directory of `{}` does not exist: make it first",
                    path.display()
                )));
            }
            files.push((path.clone(), format));
        }
        Ok(Self { files, overwrite })
    }

    /// Writes all of them. The answers are kept in the home too, so what fails here is not lost.
    pub(super) fn write(&self, measured: &Measured) -> Result<(), Failure> {
        for (path, format) in &self.files {
            let bytes = match format {
                Format::Json => serde_json::to_vec_pretty(measured).map_err(Failure::input)?,
                Format::Csv => tables::csv(&measured.answers).map_err(Failure::input)?,
                Format::Svg => svg::chart(&measured.answers).into_bytes(),
            };
            self.write_file(path, &bytes)
                .map_err(|error| Failure::file("write", path, &error))?;
        }
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if self.overwrite {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        options.open(path)?.write_all(bytes)
    }
}
