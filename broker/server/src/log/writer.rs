//! The one thread that writes the log, so that concurrent appends share one fdatasync.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};

use counterfoil_audit::entry::EntryBytes;
use counterfoil_audit::frame::{FRAME_START_LEN, encode_batch};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Appends that share one fdatasync at the most: 64 batches of at most 3 entries of 64 KiB stay under the 16 MiB that one
/// frame may have.
const GROUP_MAX: usize = 64;

/// What the log is written to. A file; in tests, a file whose disk fails.
pub(crate) trait Storage: Send + 'static {
    /// Appends all bytes.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything that was appended survives a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

impl Storage for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The log could not be written, and the broker must end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the log cannot be written: nothing is released until the broker is restarted on a disk that works"
)]
pub(crate) struct LogDown;

/// Entries that are queued together become durable together.
struct Batch {
    first_index: u64,
    entries: Vec<EntryBytes>,
    done: oneshot::Sender<()>,
}

/// Where a durable entry's bytes stand in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Of its first byte.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) len: u16,
}

impl Place {
    /// For an entry whose two length bytes stand at `start`.
    pub(crate) fn new(start: u64, entry: &EntryBytes) -> Self {
        Self {
            offset: start + 2,
            // EntryBytes has at most 65,535.
            len: u16::try_from(entry.as_bytes().len()).unwrap_or(u16::MAX),
        }
    }

    /// First byte behind the entry.
    pub(crate) fn end(self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// Places of all durable entries: their number is the durable size.
type Places = Arc<RwLock<Vec<Place>>>;

/// Handle of the writing thread.
#[derive(Clone)]
pub(crate) struct Writer {
    batches: Sender<Batch>,
    places: Places,
    down: CancellationToken,
}

impl Writer {
    /// Starts the thread on storage of `bytes` bytes that holds the durable entries at `places`.
    pub(crate) fn start(storage: impl Storage, bytes: u64, places: Vec<Place>) -> io::Result<Self> {
        let (batches, receiver) = channel();
        let writer = Self {
            batches,
            places: Arc::new(RwLock::new(places)),
            down: CancellationToken::new(),
        };
        let (places, down) = (writer.places.clone(), writer.down.clone());
        std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || {
                // An fsync error is never retried: the kernel may have dropped the pages and report success the
                // next time. Whoever waits gets LogDown because its channel is dropped; the broker ends.
                if let Err(error) = run(storage, bytes, &receiver, &places) {
                    tracing::error!(%error, "writing the log failed");
                    down.cancel();
                }
            })?;
        Ok(writer)
    }

    /// Queues one atomic batch. Batches become durable in the order of these calls.
    pub(crate) fn queue(&self, first_index: u64, entries: Vec<EntryBytes>) -> Pending {
        let (done, wait) = oneshot::channel();
        let batch = Batch {
            first_index,
            entries,
            done,
        };
        // If the thread has ended the batch is dropped, and with it `done`: the waiter is told.
        let _ = self.batches.send(batch);
        Pending(wait)
    }

    /// Number of entries that survive a power cut.
    pub(crate) fn durable(&self) -> u64 {
        self.places
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    /// Where a durable entry stands.
    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(usize::try_from(index).ok()?).copied()
    }

    /// Cancelled once the log has failed.
    pub(crate) fn down(&self) -> &CancellationToken {
        &self.down
    }
}

/// A batch that was queued and is perhaps not durable yet.
#[must_use]
pub(crate) struct Pending(oneshot::Receiver<()>);

impl Pending {
    /// Returns when the batch survives a power cut.
    pub(crate) async fn durable(self) -> Result<(), LogDown> {
        self.0.await.map_err(|_| LogDown)
    }
}

fn run(
    mut storage: impl Storage,
    mut offset: u64,
    batches: &Receiver<Batch>,
    places: &Places,
) -> io::Result<()> {
    while let Ok(first) = batches.recv() {
        // A group is written as one frame, so that a power cut can tear the last frame only: of two frames under one
        // fdatasync the disk might keep the second and lose the first.
        let first_index = first.first_index;
        let mut entries = first.entries;
        let mut waiting = vec![first.done];
        for batch in batches.try_iter().take(GROUP_MAX - 1) {
            entries.extend(batch.entries);
            waiting.push(batch.done);
        }
        let frame = encode_batch(first_index, &entries).map_err(io::Error::other)?;
        storage.append(&frame)?;
        storage.sync()?;
        let mut next = offset + FRAME_START_LEN as u64;
        let mut places = places.write().unwrap_or_else(PoisonError::into_inner);
        for entry in &entries {
            let place = Place::new(next, entry);
            next = place.end();
            places.push(place);
        }
        drop(places);
        offset += frame.len() as u64;
        for done in waiting {
            // Nobody may be waiting any more, if its call was cancelled; the entry stands all the same.
            let _ = done.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing {
        append_ok: usize,
        sync_ok: usize,
        kind: io::ErrorKind,
    }

    impl Storage for Failing {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            take(&mut self.append_ok, self.kind)
        }

        fn sync(&mut self) -> io::Result<()> {
            take(&mut self.sync_ok, self.kind)
        }
    }

    fn take(left: &mut usize, kind: io::ErrorKind) -> io::Result<()> {
        *left = left.checked_sub(1).ok_or(io::Error::from(kind))?;
        Ok(())
    }

    #[tokio::test]
    async fn after_a_disk_error_nothing_is_ever_durable_again() {
        for (append_ok, sync_ok, kind) in [
            (1, 9, io::ErrorKind::StorageFull),
            (9, 1, io::ErrorKind::StorageFull),
            (1, 9, io::ErrorKind::Other),
            (9, 1, io::ErrorKind::Other),
        ] {
            let storage = Failing {
                append_ok,
                sync_ok,
                kind,
            };
            let writer = Writer::start(storage, 0, vec![]).unwrap();
            let entry = || vec![EntryBytes::new(*b"{}").unwrap()];
            assert!(writer.queue(0, entry()).durable().await.is_ok());
            assert!(writer.queue(1, entry()).durable().await.is_err());
            assert!(writer.queue(2, entry()).durable().await.is_err());
            assert_eq!(writer.durable(), 1);
            writer.down().cancelled().await;
        }
    }
}
