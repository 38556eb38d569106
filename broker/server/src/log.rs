//! The ledger: the log on disk, the Merkle tree over it and the state folded from it, behind one door.
//!
//! Nothing changes but by [`Ledger::commit`]: it decides against the state, appends what was decided and folds it into the
//! state. It returns a [`Recorded`] only when the entries survive a power cut, and everything that leaves the broker
//! asks for one. So an effect without a durable entry cannot be written down in this crate.

mod open;
mod writer;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use counterfoil_audit::checkpoint::{Checkpoint, VerifiedCheckpoint};
use counterfoil_audit::entry::{Actor, Entry, EntryBytes, EntryRandom, Event, ReleaseIntent};
use counterfoil_audit::entry::{FlowId, Integer, Label, Timestamp};
use counterfoil_audit::export::WholeWriter;
use counterfoil_audit::note::SignerKey;
use counterfoil_audit::receipt::Receipt;
use counterfoil_audit::tree::{ConsistencyProof, Tree};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::files::write_durably;
use crate::state::State;

pub(crate) use writer::LogDown;
use writer::Writer;

/// The log, its tree and its state.
pub(crate) struct Ledger {
    core: Mutex<Core>,
    writer: Writer,
    reader: File,
    signer: SignerKey,
    broker: Label,
    checkpoint_file: PathBuf,
    checkpoint: Mutex<Option<VerifiedCheckpoint>>,
    /// Held as long as the log is open: one broker at a time.
    _lock: File,
}

struct Core {
    state: State,
    tree: Tree,
    /// Time of the last entry: entries never go back, even if the clock does.
    last: Timestamp,
}

/// What a command decided: the entries that say so, and what the caller wants to know.
pub(crate) struct Decided<T> {
    /// At least one.
    pub(crate) events: Vec<Event>,
    /// For the caller, once the entries are durable.
    pub(crate) value: T,
}

/// Proof that something stands in the log and survives a power cut.
///
/// INVARIANT (recorded): only [`Ledger`] makes one, and only after fdatasync returned for its entry.
#[derive(Debug)]
pub(crate) struct Recorded<T> {
    index: u64,
    value: T,
}

impl<T> Recorded<T> {
    /// Index of the entry in the log.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// As if it had been recorded.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn of_test(value: T) -> Self {
        Self { index: 0, value }
    }

    /// As recorded, or what was refused and the index of the entry that says so.
    pub(crate) fn split<V, R>(self) -> Result<Recorded<V>, (R, u64)>
    where
        T: Into<Result<V, R>>,
    {
        let Self { index, value } = self;
        match value.into() {
            Ok(value) => Ok(Recorded { index, value }),
            Err(refused) => Err((refused, index)),
        }
    }

    /// What was recorded.
    pub(crate) fn value(&self) -> &T {
        &self.value
    }

    /// What was recorded.
    pub(crate) fn into_value(self) -> T {
        self.value
    }
}

/// A `release.intent` that stands in the log and survives a power cut: what a delivery needs to leave.
///
/// A type apart from [`Recorded`], whose value is whatever a command returned.
/// INVARIANT (recorded-release): only [`Ledger::release`] makes one, by reading the durable entry back.
#[derive(Debug)]
pub(crate) struct RecordedRelease {
    index: Integer,
    intent: ReleaseIntent,
}

impl RecordedRelease {
    /// Index of the entry in the log.
    pub(crate) fn index(&self) -> Integer {
        self.index
    }

    /// What was recorded.
    pub(crate) fn intent(&self) -> &ReleaseIntent {
        &self.intent
    }
}

impl Ledger {
    /// Decides, appends, folds; returns when the entries are durable.
    ///
    /// `decide` sees the state as of all entries that were appended before, durable or not: should those be lost, the
    /// broker ends before anything built on them is. It runs under a lock, so it must not block.
    ///
    /// # Errors
    /// What `decide` refused without an entry; or [`LogDown`]: the entries may or may not be on disk, nothing may leave.
    pub(crate) async fn commit<T, R: From<LogDown>>(
        &self,
        actor: &Actor,
        decide: impl FnOnce(&State, Timestamp) -> Result<Decided<T>, R>,
    ) -> Result<Recorded<T>, R> {
        let (index, value, pending) = {
            let mut core = self.core();
            // After a failure state and log may differ: nothing is decided any more.
            if self.down().is_cancelled() {
                return Err(LogDown.into());
            }
            let now = core.last.max(now()?);
            let decided = decide(&core.state, now)?;
            let index = core.tree.size();
            let mut batch = Vec::with_capacity(decided.events.len());
            for event in decided.events {
                let random = EntryRandom::draw(&mut UnwrapErr(SysRng));
                let entry = Entry::new(now, &random, self.broker.clone(), actor.clone(), event);
                batch.push(core.append(&entry).map_err(|error| self.fail(&error))?);
            }
            core.last = now;
            (index, decided.value, self.writer.queue(index, batch))
        };
        pending.durable().await?;
        Ok(Recorded { index, value })
    }

    /// Reads the state. Cheap work only: appends wait meanwhile.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.core().state)
    }

    /// The recorded release of a flow, if there is one: the same after a restart as right after the append, so that a
    /// first fetch and a repeated one take the same way. Nothing once the log has failed.
    pub(crate) fn release(&self, flow: FlowId) -> Option<RecordedRelease> {
        if self.down().is_cancelled() {
            return None;
        }
        let index = self.read(|state| state.flow(flow).and_then(|flow| flow.intent_index()))?;
        let entry = self.entry(index).ok()?.parse().ok()?;
        match entry.event() {
            Event::ReleaseIntent(intent) => Some(RecordedRelease {
                index: Integer::new(index).ok()?,
                intent: (**intent).clone(),
            }),
            _ => None,
        }
    }

    /// Number of entries that survive a power cut.
    pub(crate) fn durable(&self) -> u64 {
        self.writer.durable()
    }

    /// Cancelled once the log has failed and the broker must end.
    pub(crate) fn down(&self) -> &CancellationToken {
        self.writer.down()
    }

    /// Signs the log as far as it is durable. The checkpoint is on disk before anybody gets it: a log that is shorter
    /// than a checkpoint which somebody holds would be a rollback, and is refused at start.
    ///
    /// Blocks for two flushes of the disk if the log has grown.
    ///
    /// # Errors
    /// Writing the checkpoint failed. As with the log itself it is not known then what reached the disk: the broker ends.
    pub(crate) fn checkpoint(&self) -> Result<VerifiedCheckpoint, Error> {
        let mut latest = self
            .checkpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let size = self.durable();
        if let Some(checkpoint) = latest.as_ref().filter(|c| c.size() == size) {
            return Ok(checkpoint.clone());
        }
        let root = self.core().tree.root_at(size).map_err(log_error)?;
        let origin = self.signer.verifier().name().clone();
        let checkpoint = Checkpoint { origin, size, root }
            .sign(&self.signer)
            .map_err(log_error)?;
        write_durably(
            &self.checkpoint_file,
            checkpoint.signed().as_str().as_bytes(),
        )
        .inspect_err(|error| {
            self.fail(error);
        })?;
        *latest = Some(checkpoint.clone());
        Ok(checkpoint)
    }

    /// An entry with its proof of inclusion in a checkpoint of this log.
    ///
    /// # Errors
    /// The checkpoint does not reach the entry, or reading failed.
    pub(crate) fn receipt(
        &self,
        index: u64,
        checkpoint: &VerifiedCheckpoint,
    ) -> Result<Receipt, Error> {
        let entry = self.entry(index)?;
        Receipt::new(entry, index, &self.core().tree, checkpoint).map_err(log_error)
    }

    /// Proof that the log of `new` entries begins with the log of `old` entries. Nothing if there are not so many, or
    /// `old` is over `new`.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Option<ConsistencyProof> {
        if new > self.durable() {
            return None;
        }
        self.core().tree.consistency(old, new).ok()
    }

    /// The exact bytes of a durable entry.
    ///
    /// # Errors
    /// There is no such entry, or reading failed.
    pub(crate) fn entry(&self, index: u64) -> Result<EntryBytes, Error> {
        let place = self
            .writer
            .place(index)
            .ok_or_else(|| Error::Log(format!("entry `{index}` is not durable")))?;
        let mut bytes = vec![0; usize::from(place.len)];
        self.reader
            .read_exact_at(&mut bytes, place.offset)
            .map_err(|e| Error::Log(format!("reading entry `{index}`: {e}")))?;
        EntryBytes::new(bytes).map_err(log_error)
    }

    /// Writes the whole log, as far as it is durable now, for an auditor.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub(crate) fn export(&self, out: impl Write) -> Result<(), Error> {
        let checkpoint = self.checkpoint()?;
        let mut export =
            WholeWriter::new(out, &checkpoint, self.signer.verifier()).map_err(log_error)?;
        for index in 0..checkpoint.size() {
            export.entry(&self.entry(index)?).map_err(log_error)?;
        }
        export.finish().map_err(log_error)?;
        Ok(())
    }

    /// The key that signs the log's checkpoints, and reports.
    pub(crate) fn signer(&self) -> &SignerKey {
        &self.signer
    }

    /// The log's public key.
    pub(crate) fn verifier(&self) -> String {
        self.signer.verifier().to_string()
    }

    fn core(&self) -> std::sync::MutexGuard<'_, Core> {
        // A panic while the lock was held may have left tree and state apart: nothing is appended after it.
        self.core.lock().unwrap_or_else(|poisoned| {
            self.writer.down().cancel();
            poisoned.into_inner()
        })
    }

    fn fail(&self, error: &Error) -> LogDown {
        tracing::error!(%error, "the log cannot go on");
        self.writer.down().cancel();
        LogDown
    }
}

impl Core {
    fn append(&mut self, entry: &Entry) -> Result<EntryBytes, Error> {
        let bytes = entry.encode().map_err(log_error)?;
        self.fold(entry, &bytes)?;
        Ok(bytes)
    }

    /// Folds an entry, given with its bytes, into state and tree.
    fn fold(&mut self, entry: &Entry, bytes: &EntryBytes) -> Result<(), Error> {
        self.state
            .apply(self.tree.size(), entry)
            .map_err(log_error)?;
        self.tree.push(bytes.leaf_hash());
        Ok(())
    }
}

fn now() -> Result<Timestamp, LogDown> {
    Timestamp::from_time(OffsetDateTime::now_utc()).map_err(|_| LogDown)
}

fn log_error(error: impl std::fmt::Display) -> Error {
    Error::Log(error.to_string())
}

#[cfg(test)]
mod tests;
