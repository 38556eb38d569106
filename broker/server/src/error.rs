//! Why the broker could not do something, and whose fault that is.

use std::path::{Path, PathBuf};

/// An error of the broker itself. What a caller did wrong is a `Refusal` instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something about the broker's own directory, with what to do.
    #[error("{0}")]
    Home(String),
    /// Reading or writing a file failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried: read, write, open.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log cannot be trusted or written: the broker must not go on.
    #[error("the log cannot be used: {0}")]
    Log(String),
    /// A certificate or TLS configuration could not be made or read.
    #[error("TLS: {0}")]
    Tls(String),
    /// The address is not free, or the listener failed.
    #[error("cannot listen on `{address}`: {source}; choose another with `listen` in broker.toml")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err` on a file operation.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Tls(error.to_string())
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error.to_string())
    }
}
