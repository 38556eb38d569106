//! What both sides of a flow do with the broker: relay, watch, submit, fetch.
//!
//! For [`crate::owner`] and [`crate::recipient`]. A lost connection is told from a refusal everywhere: the first is
//! worth another try ([`is_passing`]), the second never.

mod fetch;
#[cfg(test)]
pub(crate) mod fixture;
mod follow;
pub(crate) mod plan;
mod relay;
pub(crate) mod session;
pub(crate) mod shard;
mod submit;

use std::time::Duration;

use counterfoil_policy::agreement::{Agreement, IdentifierRule, IdentifierType};
use counterfoil_policy::text::FlowId;
use counterfoil_proto::v1::FlowRef;
use counterfoil_psi::IdentifierKind;

use crate::error::{Error, Result};
use crate::matching::MatchError;

pub(crate) use fetch::{Table, fetch};
pub use follow::Stage;
pub(crate) use follow::{Ending, follow};
pub(crate) use relay::{Ended, Session, come, wait};
pub(crate) use submit::{Ordered, Records, RowsOf, Submission, submit_keys, submit_rows};

/// How long a lost connection is tried again before a flow is given up.
pub(crate) const RECONNECT: Duration = Duration::from_secs(30);

/// How long the broker may take to say why a flow ended whose relay broke off.
pub(crate) const REASON_WAIT: Duration = Duration::from_secs(5);

/// Attempts at one bucket, or at the meeting, before a flow is given up.
pub(crate) const ATTEMPTS_MAX: u32 = 8;

pub(crate) fn flow_ref(flow: FlowId) -> FlowRef {
    FlowRef {
        flow: flow.as_bytes().to_vec(),
    }
}

/// Whether the same call may succeed a little later: nobody refused, the connection or the broker was gone.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. }
            | Error::ConnectionLost(_)
            | Error::Unavailable(_)
            | Error::Timeout { .. }
    )
}

/// Waits between tries: doubled from a quarter of a second, up to `most`.
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn new(most: Duration) -> Self {
        Self {
            next: Duration::from_millis(250),
            most,
        }
    }

    pub(crate) fn step(&mut self) -> Duration {
        let now = self.next.min(self.most);
        self.next = now.saturating_mul(2);
        now
    }
}

/// The rule under which an agreement matches by `identifier`, if this program applies that version of it.
///
/// # Errors
/// A sentence that says what differs.
pub(crate) fn identifier_rule(
    agreement: &Agreement,
    identifier: IdentifierType,
) -> std::result::Result<(&IdentifierRule, IdentifierKind), String> {
    let rule = agreement
        .identifiers()
        .iter()
        .find(|rule| rule.identifier() == identifier)
        .ok_or_else(|| {
            let agreed: Vec<_> = agreement
                .identifiers()
                .iter()
                .map(|rule| rule.identifier().as_str())
                .collect();
            format!(
                "the agreement does not match by `{identifier}`: it matches by {}",
                agreed.join(" or ")
            )
        })?;
    let kind: IdentifierKind = identifier
        .as_str()
        .parse()
        .map_err(|_| format!("`{identifier}` cannot be matched by"))?;
    if applied_rules(kind) == Some(rule.rules()) {
        return Ok((rule, kind));
    }
    Err(format!(
        "the agreement has version {} of the rules for `{identifier}`, this program applies `{}`: both sides need the \
         same, or common customers are missed",
        rule.rules(),
        kind.rules_version()
    ))
}

/// The number in `phone/1+libphonenumber-9.0.33`.
fn applied_rules(kind: IdentifierKind) -> Option<u32> {
    let (_, version) = kind.rules_version().split_once('/')?;
    version.split('+').next()?.parse().ok()
}

/// Tries until it succeeds, is refused, or [`RECONNECT`] has passed.
pub(crate) async fn again<T, F: Future<Output = Result<T>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let started = tokio::time::Instant::now();
    let mut backoff = Backoff::new(Duration::from_secs(4));
    loop {
        match attempt().await {
            Err(error) if is_passing(&error) && started.elapsed() < RECONNECT => {
                tracing::debug!(%error, "a call broke off and is made again");
                tokio::time::sleep(backoff.step()).await;
            }
            result => return result,
        }
    }
}

/// Runs what blocks, or keeps a core busy, apart from the threads that move messages.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Unexpected("a worker thread failed".to_owned()))
}

/// Whether a failed session is worth another attempt: nobody broke a rule, the other side or the way to it was gone.
pub(crate) fn may_be_repeated(error: &Error) -> bool {
    is_passing(error) || matches!(error, Error::Aborted(_))
}

/// Why a matching failed: where only the connection ended, what the broker said of it.
pub(crate) async fn explain(error: MatchError, ended: Ended, peer: &str) -> Error {
    if matches!(error, MatchError::Disconnected { .. })
        && let Ok(Ok(why)) = tokio::time::timeout(Duration::from_secs(1), ended).await
    {
        return why;
    }
    matching_error(error, peer)
}

/// A failed matching as an error for a person, who knows the other side as `peer`.
fn matching_error(error: MatchError, peer: &str) -> Error {
    if error.is_chance() {
        return Error::Aborted(format!("the matching with the agent of `{peer}`: {error}"));
    }
    match error {
        MatchError::Misbehaved(why) => Error::PeerMisbehaved {
            org: peer.to_owned(),
            why,
        },
        MatchError::Unopened(why) => Error::Unverified(format!(
            "the channel to the agent of `{peer}`: {why}, by that agent or by the broker between; nothing was released"
        )),
        set_size @ MatchError::SetSize { .. } => Error::PeerMisbehaved {
            org: peer.to_owned(),
            why: set_size.to_string(),
        },
        MatchError::Aborted { code, message } => Error::Refused(format!(
            "the agent of `{peer}` stopped the matching: {message} (`{code}`); nothing was released"
        )),
        MatchError::Silent { seconds, .. } | MatchError::Slow { seconds } => Error::Timeout {
            who: format!("the agent of `{peer}`"),
            seconds,
        },
        MatchError::Disconnected { phase } => Error::Aborted(format!(
            "the agent of `{peer}` or the broker left during {phase}"
        )),
        MatchError::Chance(why) | MatchError::Internal(why) => Error::Unexpected(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_identifier_names_a_version_of_its_rules() {
        for kind in [
            IdentifierKind::Phone,
            IdentifierKind::ResidentId,
            IdentifierKind::Email,
        ] {
            assert_eq!(applied_rules(kind), Some(1), "{kind}");
        }
    }

    #[test]
    fn waits_double_up_to_the_most() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let waits: Vec<_> = (0..4).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 1000]);
    }

    #[test]
    fn what_the_relay_may_have_altered_is_not_blamed_on_the_partner_alone() {
        let error = matching_error(crate::noise::NoiseError::Message.into(), "north-bank");
        assert_eq!((error.code(), error.exit_code()), ("unverified", 6));
        assert!(error.to_string().contains("or by the broker"), "{error}");
        let error = matching_error(MatchError::Misbehaved("x".to_owned()), "north-bank");
        assert_eq!(error.code(), "peer_misbehaved");
    }

    /// A store that was not found, once in 2^40 sessions, is nobody's fault: both sides repeat the bucket.
    #[test]
    fn chance_is_repeated_by_the_side_that_met_it_and_by_the_other() {
        use counterfoil_psi::{ExchangeError, vole};
        let own = MatchError::from(ExchangeError::from(vole::Error::Unsolvable));
        let told = MatchError::Aborted {
            code: own.abort_code().unwrap().to_owned(),
            message: own.told(),
        };
        for error in [own, told] {
            let error = matching_error(error, "north-bank");
            assert_eq!(error.code(), "aborted");
            assert!(may_be_repeated(&error), "{error}");
        }
        let fault = MatchError::from(ExchangeError::from(vole::Error::from(
            vole::Misuse::AlreadyFailed,
        )));
        let told = MatchError::Aborted {
            code: fault.abort_code().unwrap().to_owned(),
            message: fault.told(),
        };
        for error in [fault, told] {
            assert!(!may_be_repeated(&matching_error(error, "north-bank")));
        }
    }
}
