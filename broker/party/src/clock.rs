//! The one source of time of an agent, also for its TLS.

use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_policy::moment::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use time::OffsetDateTime;

/// The system's clock, moved by a fixed number of seconds.
///
/// The shift exists so that a test can run an agent whose clock is wrong; commands use [`Clock::system`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    shift_seconds: i64,
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// The clock of this machine and `shift_seconds`, which may be negative.
    #[must_use]
    pub fn shifted(shift_seconds: i64) -> Self {
        Self { shift_seconds }
    }

    /// This second.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from(OffsetDateTime::UNIX_EPOCH).saturating_add_seconds(self.unix_seconds())
    }

    fn unix_seconds(&self) -> i64 {
        // A clock before 1970 reads as 1970: every certificate and agreement is then refused as not yet valid.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_secs())
            .unwrap_or(i64::MAX)
            .saturating_add(self.shift_seconds)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.unix_seconds()).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            seconds,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_moves_both_faces_of_the_clock() {
        const DAY: i64 = 86_400;
        let (now, ahead) = (Clock::system(), Clock::shifted(DAY));
        let moved = ahead.now().unix_seconds() - now.now().unix_seconds();
        assert!((DAY..DAY + 5).contains(&moved));
        let tls = |clock: Clock| clock.current_time().unwrap().as_secs();
        assert!((86_400..86_405).contains(&(tls(ahead) - tls(now))));
        assert_eq!(Clock::shifted(i64::MIN).now().unix_seconds(), 0);
    }
}
