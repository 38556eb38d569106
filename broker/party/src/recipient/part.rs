//! An exchange that several processes carry out: each the buckets of its shard, on one machine or on many that share a home.
//!
//! They find each other by the name of their job. The first one (shard 0) reads the source, asks, meets the owner, and delivers; the
//! others wait until it has met, read the rows that it kept, and stay until the flow is over, because a broker that was restarted
//! needs the keys of all buckets again. Any of them may be killed and started again by the same command. Which one joins the last
//! bucket does not matter: the broker releases when all are joined, once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use counterfoil_policy::text::FlowId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::agreements;
use crate::error::{Error, Result};
use crate::flow::shard::Shard;
use crate::home::{Home, HomeLock};
use crate::transport::Broker;

use super::record::{self, FlowRecord, forget_part};
use super::run::{self, Failed, Flow};
use super::{Durations, ExchangeOptions, Exchanged, OnProgress};

/// Between two looks how far the first process is.
const POLL: Duration = Duration::from_millis(300);

/// How long the first process may take until it has met the owner: a batch engine may start it last, and it reads the source.
const FIRST_WAIT: Duration = Duration::from_secs(3600);

const FORMAT: u32 = 1;
const JOB_BYTES_MAX: u64 = 64 * 1024;

/// Characters of a job's name, most: those of a name in Kubernetes.
const NAME_MAX: usize = 63;

/// By which the processes of one exchange find each other: 1 to 63 of `a`-`z`, `0`-`9`, `-` and inner `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName(String);

impl FromStr for JobName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let edge = text.starts_with('.') || text.ends_with('.');
        if text.is_empty() || text.len() > NAME_MAX || edge || !text.bytes().all(known) {
            return Err(Error::Input(format!(
                "`{text}` is no name of a job: use 1 to {NAME_MAX} of a-z, 0-9, `-` and inner `.`"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which part of which job a process carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The job.
    pub job: JobName,
    /// Its buckets.
    pub shard: Shard,
}

/// How a part of an exchange ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartDone {
    /// The first one wrote the file.
    Delivered(Box<Exchanged>),
    /// Another one: all buckets are joined and the flow is released.
    Joined {
        /// The flow's id.
        flow: FlowId,
    },
}

/// `flows/NAME.job`, 0600: stays, so that a process that is started again after the end sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    format: u32,
    flow: FlowId,
    shards: u32,
    ended: Option<JobEnd>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobEnd {
    Released,
    /// Nothing was released, for this reason.
    Failed(String),
}

impl Job {
    fn load(home: &Home, name: &JobName) -> Result<Option<Self>> {
        let relative = relative(name);
        let Some(bytes) = home.read(&relative, JOB_BYTES_MAX)? else {
            return Ok(None);
        };
        let job: Self = serde_json::from_slice(&bytes)
            .map_err(|error| home.damaged(&relative, error.to_string()))?;
        if job.format != FORMAT {
            return Err(home.damaged(&relative, "it is of another version"));
        }
        Ok(Some(job))
    }

    fn store(&self, home: &Home, name: &JobName) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::Unexpected(format!("cannot write a job: {error}")))?;
        home.write(relative(name), &bytes)
    }

    fn check(&self, part: &Part) -> Result<()> {
        if self.shards == part.shard.count() {
            return Ok(());
        }
        Err(Error::Input(format!(
            "job `{}` was begun in {} shards: give the same number to each process",
            part.job, self.shards
        )))
    }
}

fn relative(name: &JobName) -> String {
    format!("flows/{name}.job")
}

/// Tells the other processes of a job which flow is being asked for; durable on return.
pub(super) fn begin(home: &Home, part: &Part, flow: FlowId) -> Result<()> {
    let job = Job {
        format: FORMAT,
        flow,
        shards: part.shard.count(),
        ended: None,
    };
    job.store(home, &part.job)
}

/// Takes back what [`begin`] told: the flow was not granted, and the same command may be given again.
pub(super) fn undo(home: &Home, part: &Part) -> Result<()> {
    home.remove(relative(&part.job))
}

/// Carries out one part of an exchange, from wherever an earlier process of the same part left it.
///
/// # Errors
/// As [`super::exchange`]; [`Error::Busy`] while another process carries out the same part; [`Error::Input`] for a job that is over,
/// or that was begun in another number of shards. The same command may be given again after any error that is worth another try.
pub async fn exchange_part(
    home: &Home,
    options: &ExchangeOptions,
    part: &Part,
    progress: &OnProgress,
) -> Result<PartDone> {
    if part.shard.is_first() {
        return first(home, options, part, progress).await;
    }
    other(home, part, progress).await
}

async fn first(
    home: &Home,
    options: &ExchangeOptions,
    part: &Part,
    progress: &OnProgress,
) -> Result<PartDone> {
    let lock = format!("flows/{}.job-lock", part.job);
    let _lock = home.try_lock(&lock)?.ok_or_else(|| busy(part))?;
    let done = match Job::load(home, &part.job)? {
        None => run::exchange_as(home, options, Some(part), progress).await,
        Some(job) => {
            job.check(part)?;
            if job.ended.is_some() {
                return Err(Error::Input(format!(
                    "job `{}` is over (flow `{}`): give the next one another name",
                    part.job, job.flow
                )));
            }
            match run::resume_as(home, job.flow, part.shard, progress).await {
                Err(Error::NotGranted(_)) => {
                    undo(home, part)?;
                    run::exchange_as(home, options, Some(part), progress).await
                }
                done => done,
            }
        }
    };
    // The job's file is there only if the flow was, or may have been, granted.
    if let Some(job) = Job::load(home, &part.job)? {
        let ended = match &done {
            Ok(_) => Some(JobEnd::Released),
            Err(error) => {
                // What is kept of a flow goes when it is certain that it is over.
                let over = matches!(FlowRecord::load(home, job.flow), Err(Error::Local(_)));
                over.then(|| JobEnd::Failed(error.to_string()))
            }
        };
        Job { ended, ..job }.store(home, &part.job)?;
    }
    Ok(PartDone::Delivered(Box::new(done?)))
}

async fn other(home: &Home, part: &Part, progress: &OnProgress) -> Result<PartDone> {
    let index = part.shard.index();
    let (flow, record, _lock) = match met(home, part).await? {
        Met::Running(running) => *running,
        Met::Over(flow) => return Ok(PartDone::Joined { flow }),
    };
    let mut record = record;
    let broker = Broker::connect(home).await?;
    let agreement = agreements::load(home, &record.agreement, record.version)?;
    let of = Flow {
        home,
        broker: &broker,
        agreement: &agreement,
        progress,
        shard: part.shard,
        kind: record.kind(),
    };
    let released = of
        .until_released(&mut record, None, &mut Durations::default())
        .await;
    if let Err(Failed::Undecided(error)) = released {
        return Err(Error::Unavailable(format!(
            "{error}; whether flow `{flow}` was released is not known: give the same command again"
        )));
    }
    if let Err(left) = forget_part(home, flow, index) {
        tracing::warn!(error = %left, "what was kept of a part of a flow could not be removed");
    }
    match released {
        Ok(()) => Ok(PartDone::Joined { flow }),
        Err(Failed::Over(error) | Failed::Undecided(error)) => Err(error),
    }
}

/// Where a process finds a flow that its job's first one has begun.
enum Met {
    Running(Box<(FlowId, FlowRecord, HomeLock)>),
    /// Released already.
    Over(FlowId),
}

/// Waits until the first process has met the owner.
async fn met(home: &Home, part: &Part) -> Result<Met> {
    let started = Instant::now();
    let index = part.shard.index();
    let mut held: Option<(FlowId, HomeLock)> = None;
    while started.elapsed() < FIRST_WAIT {
        let job = Job::load(home, &part.job)?;
        // A flow that was not granted has made room for another one, or will.
        if let Some((flow, lock)) = held.take() {
            if job.as_ref().is_some_and(|job| job.flow == flow) {
                held = Some((flow, lock));
            } else {
                forget_part(home, flow, index)?;
            }
        }
        if let Some(job) = job {
            job.check(part)?;
            if job.ended.is_some() {
                // An earlier process of this part may have been killed while it left.
                forget_part(home, job.flow, index)?;
            }
            match job.ended {
                Some(JobEnd::Released) => return Ok(Met::Over(job.flow)),
                Some(JobEnd::Failed(why)) => {
                    return Err(Error::Aborted(format!("job `{}` failed: {why}", part.job)));
                }
                None => {}
            }
            let (flow, lock) = match held.take() {
                Some(held) => held,
                None => (job.flow, home_lock(home, job.flow, index, part)?),
            };
            let record = FlowRecord::of_part(home, flow, index)?;
            if let Some(record) = record.filter(|record| record.plan.is_some()) {
                return Ok(Met::Running(Box::new((flow, record, lock))));
            }
            held = Some((flow, lock));
        }
        sleep(POLL).await;
    }
    Err(Error::Timeout {
        who: format!("the first process of job `{}`", part.job),
        seconds: FIRST_WAIT.as_secs(),
    })
}

fn home_lock(home: &Home, flow: FlowId, index: u32, part: &Part) -> Result<HomeLock> {
    record::lock_part(home, flow, Some(index)).map_err(|error| match error {
        Error::Busy(_) => busy(part),
        other => other,
    })
}

fn busy(part: &Part) -> Error {
    Error::Busy(format!(
        "shard `{}` of job `{}` is being carried out by another process just now",
        part.shard, part.job
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::flow::fixture::RECIPIENT;
    use crate::testkit::home_of;

    fn part(shard: &str) -> Part {
        Part {
            job: "night-1".parse().unwrap(),
            shard: shard.parse().unwrap(),
        }
    }

    #[test]
    fn names_of_jobs_are_names_of_files_too() {
        for good in ["a", "counterfoil-exchange-29", "a.b"] {
            assert_eq!(good.parse::<JobName>().unwrap().to_string(), good);
        }
        let long = "a".repeat(64);
        for wrong in ["", ".", "..", "../a", "a/b", "A", "a b", ".a", "a.", &long] {
            assert!(wrong.parse::<JobName>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_part_learns_how_its_job_ended_and_takes_the_same_number_of_shards() {
        let (_dir, home) = home_of(RECIPIENT, Clock::system());
        let silent = Arc::new(|_| ()) as OnProgress;
        let flow = FlowId::from_bytes([7; 16]);
        begin(&home, &part("0/3"), flow).unwrap();
        let wrong = other(&home, &part("1/2"), &silent).await.unwrap_err();
        assert_eq!(wrong.exit_code(), 3, "{wrong}");
        let end = |ended| {
            let job = Job::load(&home, &part("0/3").job).unwrap().unwrap();
            let job = Job {
                ended: Some(ended),
                ..job
            };
            job.store(&home, &part("0/3").job).unwrap();
        };
        end(JobEnd::Failed("too few".to_owned()));
        let failed = other(&home, &part("1/3"), &silent).await.unwrap_err();
        assert!(failed.to_string().contains("too few"), "{failed}");
        end(JobEnd::Released);
        let done = other(&home, &part("1/3"), &silent).await.unwrap();
        assert_eq!(done, PartDone::Joined { flow });
    }
}
