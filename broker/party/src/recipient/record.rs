//! What is kept of a flow until it is over, so that a crash loses nothing that was released.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_policy::agreement::FlowKind;
use counterfoil_policy::request::SignedRequest;
use counterfoil_policy::text::{AgreementId, FlowId};
use counterfoil_proto::delivery::DeliverySecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::flow::plan::Plan;
use crate::flow::{ATTEMPTS_MAX, Session};
use crate::home::{Home, HomeLock};

use super::Counts;

const RECORD_BYTES_MAX: u64 = 1024 * 1024;
const FORMAT: u32 = 2;

/// How far a flow is, as far as a crash would matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// It was asked for, and buckets are matched. No row key has left, so nothing can have been released.
    Requested,
    /// Row keys may have left: it may be released at any moment.
    Submitting,
    /// The output file was begun: if it is there, it may be this flow's own.
    Writing,
    /// The output file is whole; the broker has not been told yet.
    Written,
}

/// The record of one flow: `flows/FLOW.json`, 0600, holds the flow's delivery key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowRecord {
    format: u32,
    pub(super) flow: FlowId,
    pub(super) agreement: AgreementId,
    pub(super) version: u32,
    pub(super) request: SignedRequest,
    #[serde(with = "secret_text")]
    delivery_secret: Zeroizing<String>,
    pub(super) output: PathBuf,
    pub(super) overwrite: bool,
    /// Names of the identifier column and the carried ones.
    pub(super) columns: Vec<String>,
    pub(super) counts: Counts,
    pub(super) step: Step,
    /// How the sets are split, once both agents have met.
    pub(super) plan: Option<Plan>,
    /// The last attempt at each bucket, and at the meeting.
    pub(super) attempts: BTreeMap<u32, u32>,
    /// Of a process that is not the flow's first one: it notes its own progress in a copy.
    #[serde(skip)]
    part: Option<u32>,
}

/// What a record is made of.
pub(super) struct NewRecord {
    pub(super) request: SignedRequest,
    pub(super) output: PathBuf,
    pub(super) overwrite: bool,
    pub(super) columns: Vec<String>,
    pub(super) counts: Counts,
}

impl FlowRecord {
    pub(super) fn new(new: NewRecord, secret: &DeliverySecret) -> Self {
        let body = new.request.unverified();
        Self {
            format: FORMAT,
            flow: body.flow,
            agreement: body.agreement.clone(),
            version: body.agreement_version,
            delivery_secret: Zeroizing::new(STANDARD.encode(&*secret.to_bytes())),
            request: new.request,
            output: new.output,
            overwrite: new.overwrite,
            columns: new.columns,
            counts: new.counts,
            step: Step::Requested,
            plan: None,
            attempts: BTreeMap::new(),
            part: None,
        }
    }

    /// What kind of flow it is.
    pub(super) fn kind(&self) -> FlowKind {
        self.request.unverified().kind
    }

    /// Reads the record of a flow.
    ///
    /// # Errors
    /// [`crate::Error::Local`] if there is none, [`crate::Error::Damaged`].
    pub(super) fn load(home: &Home, flow: FlowId) -> Result<Self> {
        Self::read(home, flow, None)?.ok_or_else(|| {
            Error::Local(format!(
                "no flow `{flow}` is unfinished here: `counterfoil exchange --resume` without an id lists those that are"
            ))
        })
    }

    /// Reads the copy of the process that carries out another part of a flow than the first, or makes it of the first one's record.
    /// `None` if the flow has no record any more.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub(super) fn of_part(home: &Home, flow: FlowId, part: u32) -> Result<Option<Self>> {
        if let Some(own) = Self::read(home, flow, Some(part))? {
            return Ok(Some(own));
        }
        Ok(Self::read(home, flow, None)?.map(|record| Self {
            part: Some(part),
            attempts: BTreeMap::new(),
            ..record
        }))
    }

    fn read(home: &Home, flow: FlowId, part: Option<u32>) -> Result<Option<Self>> {
        let name = relative(flow, part);
        let Some(bytes) = home.read(&name, RECORD_BYTES_MAX)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| home.damaged(&name, error.to_string()))?;
        if record.format != FORMAT || record.flow != flow {
            return Err(home.damaged(&name, "it is of another version or flow"));
        }
        Ok(Some(Self { part, ..record }))
    }

    /// Writes the record; durable on return.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn store(&self, home: &Home) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map(Zeroizing::new)
            .map_err(|error| Error::Unexpected(format!("cannot write a flow's record: {error}")))?;
        home.write(relative(self.flow, self.part), &bytes)
    }

    /// Notes how far the flow is; durable on return.
    ///
    /// # Errors
    /// As [`FlowRecord::store`].
    pub(super) fn advance(&mut self, home: &Home, step: Step) -> Result<()> {
        self.step = step;
        self.store(home)
    }

    /// The next attempt at a bucket or at the meeting, which counts as made on return.
    ///
    /// # Errors
    /// [`Error::Refused`] if there were too many, which no other attempt mends; [`Error::Io`].
    pub(super) fn attempt(&mut self, home: &Home, bucket: u32) -> Result<Session> {
        let last = self.attempts.entry(bucket).or_default();
        *last += 1;
        let attempt = *last;
        if attempt > ATTEMPTS_MAX {
            return Err(Error::Refused(format!(
                "the connection broke off {ATTEMPTS_MAX} times in one part of the flow"
            )));
        }
        self.store(home)?;
        Ok(Session { bucket, attempt })
    }

    /// The key that the delivery is sealed to.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub(super) fn secret(&self, home: &Home) -> Result<DeliverySecret> {
        STANDARD
            .decode(self.delivery_secret.as_str())
            .ok()
            .map(Zeroizing::new)
            .and_then(|bytes| DeliverySecret::from_bytes(&bytes).ok())
            .ok_or_else(|| {
                home.damaged(
                    relative(self.flow, self.part),
                    "its delivery key is not one",
                )
            })
    }
}

/// Removes everything that is kept of a flow, also what a crash left half written: the record last, so that nothing
/// stays without a record that names it.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) fn forget(home: &Home, flow: FlowId) -> Result<()> {
    forget_rows(home, flow)?;
    home.remove(relative(flow, None))?;
    home.remove(lock_name(flow, None))
}

/// Removes what the process of another part than the first keeps of a flow.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) fn forget_part(home: &Home, flow: FlowId, part: u32) -> Result<()> {
    home.remove(relative(flow, Some(part)))?;
    home.remove(lock_name(flow, Some(part)))
}

/// Removes the own rows and the maps of a flow, also what a crash left half written.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) fn forget_rows(home: &Home, flow: FlowId) -> Result<()> {
    let id = flow.to_string();
    let mut names = home.list_temporary("flows")?;
    names.retain(|name| name.contains(&id));
    names.extend(home.list("flows")?.into_iter().filter(|name| {
        name.starts_with(&id)
            && [".map", ".own", ".part"]
                .iter()
                .any(|end| name.ends_with(end))
    }));
    for name in names {
        home.remove(format!("flows/{name}"))?;
    }
    Ok(())
}

/// Makes this the one process that carries out a flow: two would take its files away from each other.
///
/// # Errors
/// [`Error::Busy`] if another one does.
pub(super) fn lock(home: &Home, flow: FlowId) -> Result<HomeLock> {
    lock_part(home, flow, None)
}

/// As [`lock`], for a part of a flow; without one, for the first.
///
/// # Errors
/// As [`lock`].
pub(super) fn lock_part(home: &Home, flow: FlowId, part: Option<u32>) -> Result<HomeLock> {
    home.try_lock(&lock_name(flow, part))?.ok_or_else(|| {
        Error::Busy(format!(
            "flow `{flow}` is being carried out by another command just now: wait until it has ended"
        ))
    })
}

/// The flows that have a record and that no process carries out.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) fn unfinished(home: &Home) -> Result<Vec<FlowId>> {
    let mut left = Vec::new();
    for name in home.list("flows")? {
        let Some(flow) = name.strip_suffix(".json").and_then(|id| id.parse().ok()) else {
            continue;
        };
        if home.try_lock(&lock_name(flow, None))?.is_some() {
            left.push(flow);
        }
    }
    Ok(left)
}

/// A secret as text that is wiped when dropped.
mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        secret: &Zeroizing<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

fn relative(flow: FlowId, part: Option<u32>) -> String {
    match part {
        None => format!("flows/{flow}.json"),
        Some(part) => format!("flows/{flow}.{part}.part"),
    }
}

fn lock_name(flow: FlowId, part: Option<u32>) -> String {
    match part {
        None => format!("flows/{flow}.lock"),
        Some(part) => format!("flows/{flow}.{part}.lock"),
    }
}
