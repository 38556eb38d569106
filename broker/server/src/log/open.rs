//! Opening the log: from the bytes on disk back to tree and state.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use counterfoil_audit::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use counterfoil_audit::entry::{Label, Timestamp};
use counterfoil_audit::frame::{Batch, End, FRAME_START_LEN, Recovery, Scan, Step};
use counterfoil_audit::frame::{encode_file_header, plan_recovery};
use counterfoil_audit::note::SignerKey;
use counterfoil_audit::tree::Tree;

use super::writer::{Place, Storage, Writer};
use super::{Core, Ledger, log_error};
use crate::error::Error;
use crate::files::write_durably;
use crate::state::State;

/// A clock that is being corrected may step back by this much without a word.
const AHEAD_MICROS_MAX: u64 = 2_000_000;

impl Ledger {
    /// Opens the log in `dir`, which it creates on first use, and folds it.
    ///
    /// An incomplete last batch, which nobody was told of, is cut. Anything else that is wrong is refused: a person
    /// decides then, with a copy at hand.
    ///
    /// # Errors
    /// Another broker has it open; it is damaged, rolled back or forked; or a file cannot be read or written.
    pub(crate) fn open(dir: &Path, signer: SignerKey) -> Result<Self, Error> {
        Self::open_on(dir, signer, |file| file)
    }

    /// As [`Ledger::open`], writing to what `storage` makes of the file.
    pub(super) fn open_on<S: Storage>(
        dir: &Path,
        signer: SignerKey,
        storage: impl FnOnce(File) -> S,
    ) -> Result<Self, Error> {
        // Before anything is read: what another broker is writing just now cannot be judged. A file of its own, because
        // on first use two brokers might each make the log and lock their own.
        let lock = lock(dir)?;
        let path = dir.join("entries");
        let checkpoint_file = dir.join("checkpoint");
        let signed = read_checkpoint(&checkpoint_file, &signer)?;
        if !path.exists() {
            if signed.is_some() {
                return Err(Error::Log(format!(
                    "`{}` is missing but a checkpoint of it exists: restore it from a copy",
                    path.display()
                )));
            }
            write_durably(&path, &encode_file_header(signer.verifier().name()))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let folded = Folded::read(&file, &signer)?;
        recover(&file, &folded.end, signed.as_ref())?;
        // A broker that was killed between its write and its flush leaves entries that are read back from memory here
        // and may not be on the disk. From now on they count as recorded, so they must be.
        file.sync_all().map_err(Error::file("write", &path))?;
        warn_of_clock(folded.core.last);
        if let Some(signed) = &signed {
            signed.check_log(&folded.core.tree).map_err(log_error)?;
        }
        let reader = file.try_clone().map_err(Error::file("open", &path))?;
        let broker = Label::new(signer.verifier().name().as_str()).map_err(log_error)?;
        let end = file.metadata().map_err(Error::file("read", &path))?.len();
        Ok(Self {
            core: Mutex::new(folded.core),
            writer: Writer::start(storage(file), end, folded.places)
                .map_err(Error::file("write", &path))?,
            reader,
            signer,
            broker,
            checkpoint_file,
            checkpoint: Mutex::new(signed),
            _lock: lock,
        })
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Home(format!(
            "another broker has `{}` open: stop it first",
            dir.display()
        ))),
        Err(TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
    }
}

/// Entries' times never go back, so a log that was written under a clock set too far ahead keeps its last time until the
/// clock has caught up; requests are refused for their times meanwhile, and the operator should know why.
fn warn_of_clock(last: Timestamp) {
    if super::now().is_ok_and(|now| last.unix_micros() > now.unix_micros() + AHEAD_MICROS_MAX) {
        tracing::warn!(
            %last,
            "the log's last entry is ahead of this machine's clock: check the clock; entries carry that time until it is reached"
        );
    }
}

struct Folded {
    core: Core,
    places: Vec<Place>,
    end: End,
}

impl Folded {
    fn read(file: &File, signer: &SignerKey) -> Result<Self, Error> {
        let mut scan = Scan::open(BufReader::with_capacity(1 << 20, file)).map_err(log_error)?;
        scan.expect_origin(signer.verifier().name())
            .map_err(log_error)?;
        let mut core = Core {
            state: State::default(),
            tree: Tree::new(),
            last: Timestamp::from_unix_micros(0).map_err(log_error)?,
        };
        let mut places = Vec::new();
        loop {
            match scan.step().map_err(log_error)? {
                Step::Batch(batch) => fold(&mut core, &mut places, &batch)?,
                Step::End(end) => return Ok(Self { core, places, end }),
            }
        }
    }
}

fn fold(core: &mut Core, places: &mut Vec<Place>, batch: &Batch) -> Result<(), Error> {
    let mut offset = batch.offset + FRAME_START_LEN as u64;
    for bytes in &batch.entries {
        let entry = bytes.parse().map_err(log_error)?;
        core.last = core.last.max(entry.time());
        core.fold(&entry, bytes)?;
        let place = Place::new(offset, bytes);
        offset = place.end();
        places.push(place);
    }
    Ok(())
}

fn recover(file: &File, end: &End, signed: Option<&VerifiedCheckpoint>) -> Result<(), Error> {
    match plan_recovery(end, signed).map_err(log_error)? {
        Recovery::Keep => Ok(()),
        Recovery::CutTo { offset } => {
            tracing::warn!(
                offset,
                "the log ended in an incomplete batch, which nobody was told of: cut"
            );
            file.set_len(offset)
                .and_then(|()| file.sync_all())
                .map_err(|e| Error::Log(format!("cutting an incomplete batch: {e}")))
        }
    }
}

fn read_checkpoint(path: &Path, signer: &SignerKey) -> Result<Option<VerifiedCheckpoint>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    SignedCheckpoint::parse(&text)
        .and_then(|signed| signed.verify(signer.verifier()))
        .map(Some)
        .map_err(|e| Error::Log(format!("`{}`: {e}", path.display())))
}
