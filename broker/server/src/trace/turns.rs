//! Whose leaked file is received, and whose turn it is to be scored.
//!
//! A file is received before it waits for the one turn there is, on a seat of its sender's own: who sends slowly holds up nobody
//! else. An institution has one seat, and seats are few, because on each lies a file.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use counterfoil_audit::entry::OrgName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files that are received or wait for their turn; each takes up to
/// [`LEAK_BYTES_MAX`](counterfoil_proto::limits::LEAK_BYTES_MAX).
const SEATS: usize = 4;

/// Seats, and the one turn.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    seats: Arc<Semaphore>,
    seated: Arc<Mutex<HashSet<OrgName>>>,
    /// Files are scored one after the other: each takes memory and a core.
    turn: Arc<Semaphore>,
}

/// Why a file is not received now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// The institution has a seat.
    #[error("a file of your institution is being scored: ask again when it is done")]
    Seated,
    /// All seats are taken.
    #[error("files of other institutions are being scored: ask again in a minute")]
    NoSeat,
}

/// An institution's seat, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    turns: Turns,
    org: OrgName,
    _seat: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            seated: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Turns {
    /// Takes the institution's seat.
    pub(crate) fn sit(&self, org: &OrgName) -> Result<Seat, Full> {
        let mut seated = self.seated.lock().unwrap_or_else(PoisonError::into_inner);
        if seated.contains(org) {
            return Err(Full::Seated);
        }
        let seat = self.seats.clone().try_acquire_owned();
        let seat = seat.map_err(|_| Full::NoSeat)?;
        seated.insert(org.clone());
        Ok(Seat {
            turns: self.clone(),
            org: org.clone(),
            _seat: seat,
        })
    }
}

impl Seat {
    /// Waits for the turn, first come first served; `None` if there will be none.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.turn.clone().acquire_owned().await.ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = (self.turns.seated.lock()).unwrap_or_else(PoisonError::into_inner);
        seated.remove(&self.org);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgName {
        OrgName::new(name).unwrap()
    }

    #[tokio::test]
    async fn who_sits_and_sends_slowly_keeps_nobody_else_from_the_turn() {
        let turns = Turns::default();
        let slow = turns.sit(&org("slow")).unwrap();
        assert_eq!(turns.sit(&org("slow")).unwrap_err(), Full::Seated);
        let quick = turns.sit(&org("quick")).unwrap();
        let turn = quick.turn().await.unwrap();
        // Whoever has sent by then waits until it is over.
        assert!(turns.turn.clone().try_acquire_owned().is_err());
        drop(turn);
        assert!(slow.turn().await.is_some());
        drop(slow);
        assert!(turns.sit(&org("slow")).is_ok(), "a seat is given back");
    }

    #[test]
    fn seats_are_few() {
        let turns = Turns::default();
        let names = (0..SEATS).map(|name| org(&format!("owner-{name}")));
        let seated: Vec<_> = names.map(|org| turns.sit(&org).unwrap()).collect();
        assert_eq!(turns.sit(&org("late")).unwrap_err(), Full::NoSeat);
        drop(seated);
        assert!(turns.sit(&org("late")).is_ok());
    }
}
