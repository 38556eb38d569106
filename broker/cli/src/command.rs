//! The commands, one file each.

pub(crate) mod agreement;
pub(crate) mod audit;
pub(crate) mod broker;
pub(crate) mod dataset;
pub(crate) mod doctor;
pub(crate) mod exchange;
pub(crate) mod measure;
pub(crate) mod partner;
pub(crate) mod party;
pub(crate) mod policy;
pub(crate) mod taxonomy;
pub(crate) mod trace;

use std::path::Path;
use std::str::FromStr;

use counterfoil_party::clock::Clock;
use counterfoil_party::home::Home;

use crate::failure::Failure;

/// Opens the party's home.
pub(crate) fn open(home: &Path) -> Result<Home, Failure> {
    Ok(Home::open(home, Clock::system())?)
}

/// Whether what names an agreement is a file with its text: an id has no dot.
pub(crate) fn is_agreement_file(named: &Path) -> bool {
    named.extension().is_some()
}

/// Parses an argument; what is wrong with it is the user's to mend.
pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|e: T::Err| Failure::input(e))
}

/// Ends when the process is asked to stop: Ctrl-C, or a service manager's SIGTERM.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = interrupt.await;
        }
    }
}
