//! What this institution can check of the broker's log, and does.
//!
//! The newest verified checkpoint is kept in the home. Every other that is seen, the broker's or a partner's, must be
//! of the same growing log; if one is not, both signed notes are kept under `evidence/`, where together they prove what
//! the broker did to anybody who has its public key.

use counterfoil_audit::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use counterfoil_audit::note::VerifierKey;
use counterfoil_audit::tree::{ConsistencyProof, Hash};
use counterfoil_proto::v1::{CheckpointRequest, ConsistencyRequest};
use tonic::Code;

use crate::error::{Error, Result, shown};
use crate::home::Home;
use crate::transport::{Broker, call};

mod export;
mod own;

pub use export::{Exported, OfflineReport, export, verify_file};
pub use own::{AuditReport, verify};

const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_BYTES_MAX: u64 = counterfoil_audit::note::NOTE_BYTES_MAX as u64;
const EVIDENCE: &str = "evidence";

/// The newest checkpoint that this home has verified; `None` before the first.
///
/// # Errors
/// [`Error::NotJoined`]; [`Error::Damaged`] if the stored note is not signed by the log.
pub fn latest(home: &Home) -> Result<Option<VerifiedCheckpoint>> {
    let Some(bytes) = home.read(CHECKPOINT, CHECKPOINT_BYTES_MAX)? else {
        return Ok(None);
    };
    let key = log_key(home)?;
    std::str::from_utf8(&bytes)
        .map_err(|e| e.to_string())
        .and_then(|text| checkpoint(text, &key).map_err(|e| e.to_string()))
        .map(Some)
        .map_err(|why| home.damaged(CHECKPOINT, why))
}

/// Checks that a verified checkpoint is of the log that this home knows, and keeps it if it is newer.
///
/// # Errors
/// [`Error::Fork`] if it is not; or the broker cannot be asked for the proof.
pub async fn confirm(home: &Home, broker: &Broker, seen: &VerifiedCheckpoint) -> Result<()> {
    while !confirm_with(home, seen, async |old, new| fetch(broker, old, new).await).await? {}
    Ok(())
}

/// As [`confirm`] for the text of a partner's latest checkpoint.
///
/// # Errors
/// [`Error::Unverified`] if the log's key did not sign it; else as [`confirm`].
pub async fn compare(home: &Home, broker: &Broker, note: &str) -> Result<()> {
    let seen = checkpoint(note, &log_key(home)?).map_err(|e| {
        Error::Unverified(format!(
            "the partner's checkpoint: {}",
            shown(&e.to_string())
        ))
    })?;
    confirm(home, broker, &seen).await
}

/// The broker's latest checkpoint, verified, confirmed and kept.
///
/// # Errors
/// [`Error::Unverified`] for a bad signature; else as [`confirm`].
pub async fn refresh(home: &Home, broker: &Broker) -> Result<VerifiedCheckpoint> {
    let reply = call(broker.log().checkpoint(CheckpointRequest {})).await?;
    let seen = checkpoint(&reply.note, &log_key(home)?).map_err(|e| {
        Error::Unverified(format!(
            "the broker's checkpoint: {}",
            shown(&e.to_string())
        ))
    })?;
    confirm(home, broker, &seen).await?;
    Ok(seen)
}

pub(crate) fn log_key(home: &Home) -> Result<VerifierKey> {
    VerifierKey::parse(&home.broker()?.log_key)
        .map_err(|e| home.damaged("party.toml", format!("its log key: {e}")))
}

fn checkpoint(
    text: &str,
    key: &VerifierKey,
) -> std::result::Result<VerifiedCheckpoint, counterfoil_audit::checkpoint::CheckpointError> {
    SignedCheckpoint::parse(text)?.verify(key)
}

/// The broker's proof that its log of `new` entries begins with that of `old`; `None` if it has none to give.
async fn fetch(broker: &Broker, old: u64, new: u64) -> Result<Option<Vec<Vec<u8>>>> {
    let request = ConsistencyRequest {
        old_size: old,
        new_size: new,
    };
    match broker.log().consistency(request).await {
        Ok(reply) => Ok(Some(reply.into_inner().hashes)),
        // Its log is shorter than what it signed.
        Err(status)
            if status.code() == Code::OutOfRange
                && std::error::Error::source(&status).is_none() =>
        {
            Ok(None)
        }
        Err(status) => Err(status.into()),
    }
}

/// `false` if another flow or process stored a newer checkpoint while the proof was under way. That both grew from the
/// one known before does not make them one log, so the caller compares once more.
async fn confirm_with(
    home: &Home,
    seen: &VerifiedCheckpoint,
    fetch: impl AsyncFnOnce(u64, u64) -> Result<Option<Vec<Vec<u8>>>>,
) -> Result<bool> {
    let known = latest(home)?;
    if let Some(known) = &known {
        same_log(home, known, seen, fetch).await?;
        if known.size() >= seen.size() {
            return Ok(true);
        }
    }
    let _lock = home.lock()?;
    if latest(home)? != known {
        return Ok(false);
    }
    home.write(CHECKPOINT, seen.signed().as_str().as_bytes())?;
    Ok(true)
}

/// Checks that one of two verified checkpoints only appended to the other.
async fn same_log(
    home: &Home,
    known: &VerifiedCheckpoint,
    seen: &VerifiedCheckpoint,
    fetch: impl AsyncFnOnce(u64, u64) -> Result<Option<Vec<Vec<u8>>>>,
) -> Result<()> {
    let (older, newer) = if known.size() <= seen.size() {
        (known, seen)
    } else {
        (seen, known)
    };
    let proof = if older.size() == newer.size() || older.size() == 0 {
        Some(Vec::new())
    } else {
        fetch(older.size(), newer.size()).await?
    };
    let why = match proof.map(hashes) {
        None => format!(
            "it signed {} entries and can no longer show them",
            newer.size()
        ),
        Some(None) => "its proof of consistency is malformed".to_owned(),
        Some(Some(proof)) => match older.check_newer(newer, &proof) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
    };
    keep_evidence(home, known, seen)?;
    Err(Error::Fork {
        why,
        evidence: home.path().join(EVIDENCE),
    })
}

fn hashes(wire: Vec<Vec<u8>>) -> Option<ConsistencyProof> {
    let hashes = wire
        .iter()
        .map(|bytes| {
            <[u8; 32]>::try_from(bytes.as_slice())
                .ok()
                .map(Hash::from_bytes)
        })
        .collect::<Option<Vec<_>>>()?;
    ConsistencyProof::from_hashes(hashes).ok()
}

/// Both notes, named by size and root, so that the same evidence is kept once.
fn keep_evidence(home: &Home, known: &VerifiedCheckpoint, seen: &VerifiedCheckpoint) -> Result<()> {
    for note in [known, seen] {
        let root = hex::encode(note.root().as_bytes().get(..8).unwrap_or_default());
        let name = format!("{EVIDENCE}/checkpoint-{}-{root}", note.size());
        home.write(name, note.signed().as_str().as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
