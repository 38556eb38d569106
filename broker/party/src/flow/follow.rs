//! Following a flow to its end, over lost connections.

use std::fmt;
use std::time::Duration;

use counterfoil_policy::text::FlowId;
use counterfoil_proto::v1;
use counterfoil_proto::v1::flow_status::Stage as WireStage;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tonic::Streaming;

use crate::error::{Denial, Error, Result};
use crate::transport::{Broker, call};

use super::{Backoff, RECONNECT, flow_ref, is_passing};

/// Where a flow stands at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waiting for both agents.
    Granted,
    /// Both agents talk through the relay.
    Matching,
    /// One side's rows or keys are in.
    Submitting,
    /// Both are in.
    Joining,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "waiting for both agents",
            Self::Matching => "matching",
            Self::Submitting => "submitting",
            Self::Joining => "joining",
        })
    }
}

/// How a flow ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Recorded; the delivery can be fetched.
    Released,
    /// Nothing leaves, by a rule.
    Refused(Denial),
    /// Nothing leaves, by a fault.
    Aborted(Denial),
}

impl Ending {
    /// Nothing for a release, else what to tell the person.
    pub(crate) fn released(self) -> Result<()> {
        match self {
            Self::Released => Ok(()),
            Self::Refused(denial) => Err(denial.into()),
            Self::Aborted(denial) => match final_advice(&denial.code) {
                Some(advice) => Err(Denial {
                    message: format!("{}; nothing was released", denial.message),
                    would_pass: advice.to_owned(),
                    ..denial
                }
                .into()),
                None => Err(Error::Aborted(denial.message)),
            },
        }
    }
}

/// What to do about an end that running the command again would not change, by the stage that the broker names; nothing for the
/// others.
fn final_advice(stage: &str) -> Option<&'static str> {
    match stage {
        "revoked" => Some("an agreement in force between two institutions that are not revoked"),
        "review" => Some(
            "a flow after the broker's operator has looked at this one: wait for word from there",
        ),
        _ => None,
    }
}

enum Seen {
    Running(Stage),
    Over(Ending),
}

/// Follows a flow until it is over, calling `on_stage` at each change. A lost connection is made again for up to
/// [`RECONNECT`] from the last sign of life.
///
/// # Errors
/// The broker refuses, or stays away.
pub(crate) async fn follow(
    broker: &Broker,
    flow: FlowId,
    on_stage: &(dyn Fn(Stage) + Sync),
) -> Result<Ending> {
    let mut last_sign = Instant::now();
    let mut backoff = Backoff::new(Duration::from_secs(4));
    loop {
        let lost = match once(broker, flow, on_stage, &mut last_sign).await {
            Ok(ending) => return Ok(ending),
            Err(error) if is_passing(&error) => error,
            Err(error) => return Err(error),
        };
        let wait = backoff.step();
        if last_sign.elapsed() + wait > RECONNECT {
            return Err(lost);
        }
        tracing::debug!(error = %lost, "the watch of a flow broke off");
        sleep(wait).await;
    }
}

async fn once(
    broker: &Broker,
    flow: FlowId,
    on_stage: &(dyn Fn(Stage) + Sync),
    last_sign: &mut Instant,
) -> Result<Ending> {
    let mut stream: Streaming<v1::FlowStatus> = call(broker.flows().watch(flow_ref(flow))).await?;
    let mut last = None;
    while let Some(status) = stream.message().await? {
        *last_sign = Instant::now();
        match seen(status)? {
            Seen::Over(ending) => return Ok(ending),
            Seen::Running(stage) if last != Some(stage) => {
                last = Some(stage);
                on_stage(stage);
            }
            Seen::Running(_) => {}
        }
    }
    Err(Error::ConnectionLost(
        "the broker stopped telling how the flow stands".to_owned(),
    ))
}

fn seen(status: v1::FlowStatus) -> Result<Seen> {
    let denial = |denial: Option<v1::Denial>| {
        denial.map_or_else(
            || Denial::local("unknown", "flow", "the broker gives no reason", ""),
            Denial::from,
        )
    };
    let stage = WireStage::try_from(status.stage).unwrap_or(WireStage::Unspecified);
    Ok(match stage {
        WireStage::Granted => Seen::Running(Stage::Granted),
        WireStage::Matching => Seen::Running(Stage::Matching),
        WireStage::Submitting => Seen::Running(Stage::Submitting),
        WireStage::Joining => Seen::Running(Stage::Joining),
        WireStage::Released => Seen::Over(Ending::Released),
        WireStage::Refused => Seen::Over(Ending::Refused(denial(status.denial))),
        WireStage::Aborted => Seen::Over(Ending::Aborted(denial(status.denial))),
        WireStage::Unspecified => {
            return Err(Error::Unexpected(
                "the broker tells a stage of the flow that this program does not know".to_owned(),
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stage: i32) -> v1::FlowStatus {
        let denial = v1::Denial {
            code: "minimum_match".into(),
            message: "too few".into(),
            ..v1::Denial::default()
        };
        v1::FlowStatus {
            stage,
            denial: Some(denial),
        }
    }

    #[test]
    fn stages_are_read_and_unknown_ones_refused() {
        assert!(matches!(seen(status(1)), Ok(Seen::Running(Stage::Granted))));
        assert!(matches!(seen(status(5)), Ok(Seen::Over(Ending::Released))));
        assert!(seen(status(0)).is_err());
        assert!(seen(status(99)).is_err());
        assert!(seen(status(-1)).is_err());
    }

    #[test]
    fn a_refusal_keeps_its_code_and_an_abort_says_that_nothing_left() {
        let ending = |stage| match seen(status(stage)).unwrap() {
            Seen::Over(ending) => ending,
            Seen::Running(_) => panic!("not over"),
        };
        let refused = ending(6).released().unwrap_err();
        assert_eq!((refused.code(), refused.exit_code()), ("minimum_match", 4));
        let aborted = Ending::Aborted(Denial::local("idle", "flow", "nobody came", ""));
        let aborted = aborted.released().unwrap_err();
        assert_eq!(aborted.exit_code(), 5);
        assert!(
            aborted
                .to_string()
                .contains("nothing was released, run it again"),
            "{aborted}"
        );
        for stage in ["revoked", "review"] {
            let end = Ending::Aborted(Denial::local(stage, "flow", "it is over", ""));
            let end = end.released().unwrap_err();
            assert_eq!((end.code(), end.exit_code()), (stage, 4));
            let said = end.to_string();
            assert!(
                !said.contains("again") && said.contains("nothing was released"),
                "{said}"
            );
            assert!(end.denial().unwrap().would_pass.len() > 20, "{said}");
        }
    }
}
