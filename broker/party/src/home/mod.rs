//! The directory in which one institution's agent keeps everything: keys, certificate, people, confirmed partners,
//! agreements, counters, flows, receipts.
//!
//! ```text
//! party.toml                 name, and the broker once joined
//! keys/                      institution.key noise.key tls.key
//! tls/                       cert.pem ca.pem
//! people/USER.key            a person's approval key with the institution's endorsement
//! partners.toml              partners whose keys were compared out of band
//! agreements/ID-vN.json      document, approvals, signatures; verified again at every load
//! datasets.toml limits.toml  written by hand, see their samples
//! counters.json              attempts under each agreement
//! flows/ receipts/ evidence/ checkpoint
//! ```
//!
//! Files are 0600 and directories 0700; anything laxer is refused with the `chmod` to run. Every write is atomic and
//! durable. Two processes may use one home: whoever changes what it has read takes [`Home::lock`] first.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use counterfoil_policy::fingerprint::{Fingerprint, fingerprint};
use counterfoil_policy::keys::{InstitutionKey, PartyKeys};
use counterfoil_policy::text::OrgName;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, Result};

mod files;
mod keys;
mod people;
mod tracing;

pub use keys::{NoiseSecret, TlsKey};
pub use people::{Person, PersonInfo};

const PARTY: &str = "party.toml";
const PARTY_BYTES_MAX: u64 = 16 * 1024;
const DIRS: [&str; 7] = [
    "keys",
    "tls",
    "people",
    "agreements",
    "flows",
    "receipts",
    "evidence",
];
const CERTIFICATE: &str = "tls/cert.pem";
const CA: &str = "tls/ca.pem";
/// Longest PEM file that is read, in bytes: a P-256 certificate has about 800.
const PEM_BYTES_MAX: u64 = 64 * 1024;

/// How long a command waits for another one that is writing in the same home.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// An institution's directory, opened and checked.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    clock: Clock,
    party: PartyFile,
}

/// The broker that a party has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerRecord {
    /// `host:port`.
    pub address: String,
    /// Verifier key of the broker's log, in signed-note form.
    pub log_key: String,
}

/// What may be told of a party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartyInfo {
    /// The institution.
    pub org: OrgName,
    /// The directory.
    pub home: String,
    /// `ed25519:` and base64.
    pub signing_key: String,
    /// `x25519:` and base64.
    pub noise_key: String,
    /// What a partner compares out of band.
    pub fingerprint: Fingerprint,
    /// The broker, once joined.
    pub broker: Option<BrokerRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyFile {
    org: OrgName,
    broker: Option<BrokerRecord>,
}

/// Held while a process reads, decides and writes; released when dropped, also by a kill.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

impl Home {
    /// Makes a home with fresh keys for the institution `org`.
    ///
    /// It is built beside `path` and moved there whole, so that a crash leaves no half of one.
    ///
    /// # Errors
    /// [`Error::HomeExists`] if a party lives there; keys are never overwritten. Or what the file system says.
    pub fn create(path: &Path, org: OrgName, clock: Clock) -> Result<Self> {
        refuse_existing(path)?;
        let parent = files::parent(path);
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
        let building = files::beside(path, "init");
        files::create_dir(&building)?;
        let built = populate(&building, org).and_then(|()| {
            // Over an empty directory this succeeds, over one with content it fails.
            fs::rename(&building, path).map_err(|e| Error::io("create", path, e))?;
            files::sync_dir(parent)
        });
        if let Err(error) = built {
            let _ = fs::remove_dir_all(&building);
            return Err(error);
        }
        Self::open(path, clock)
    }

    /// Opens a home and checks that nobody else can.
    ///
    /// # Errors
    /// [`Error::NoHome`], [`Error::UnsafeMode`], [`Error::Damaged`].
    pub fn open(path: &Path, clock: Clock) -> Result<Self> {
        // An absolute path keeps messages and later writes right if the process changes its directory.
        let path = std::path::absolute(path).map_err(|e| Error::io("open", path, e))?;
        let file = path.join(PARTY);
        match fs::metadata(&file) {
            Ok(_) => check_modes(&path)?,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Error::io("open", &file, e));
            }
            Err(_) => return Err(Error::NoHome(path)),
        }
        let party =
            files::read(&file, PARTY_BYTES_MAX)?.ok_or_else(|| Error::NoHome(path.clone()))?;
        let party = std::str::from_utf8(&party)
            .map_err(|e| e.to_string())
            .and_then(|text| toml::from_str(text).map_err(|e| e.to_string()))
            .map_err(|why| Error::Damaged { path: file, why })?;
        Ok(Self { path, clock, party })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The institution that lives here.
    #[must_use]
    pub fn org(&self) -> &OrgName {
        &self.party.org
    }

    /// The time source that it was opened with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The broker it has joined.
    ///
    /// # Errors
    /// [`Error::NotJoined`].
    pub fn broker(&self) -> Result<&BrokerRecord> {
        self.party
            .broker
            .as_ref()
            .ok_or_else(|| Error::NotJoined(self.party.org.to_string()))
    }

    /// Name and public keys, as they stand in agreements.
    ///
    /// # Errors
    /// A key file is missing or damaged.
    pub fn party_keys(&self) -> Result<PartyKeys> {
        Ok(PartyKeys {
            name: self.party.org.clone(),
            signing_key: self.institution_key()?.public(),
            noise_key: self.noise_key()?.public()?,
        })
    }

    /// What a partner compares out of band.
    ///
    /// # Errors
    /// A key file is missing or damaged.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let keys = self.party_keys()?;
        Ok(fingerprint(&keys.signing_key, &keys.noise_key))
    }

    /// What may be told of this party.
    ///
    /// # Errors
    /// A key file is missing or damaged.
    pub fn info(&self) -> Result<PartyInfo> {
        let keys = self.party_keys()?;
        Ok(PartyInfo {
            org: self.party.org.clone(),
            home: self.path.display().to_string(),
            signing_key: keys.signing_key.to_string(),
            noise_key: keys.noise_key.to_string(),
            fingerprint: self.fingerprint()?,
            broker: self.party.broker.clone(),
        })
    }

    /// The client certificate and the broker's CA certificate, each in PEM.
    ///
    /// # Errors
    /// [`Error::NotJoined`], or a file is missing or damaged.
    pub fn certificates(&self) -> Result<(String, String)> {
        self.broker()?;
        let text = |name| {
            self.read(name, PEM_BYTES_MAX)?
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    self.damaged(
                        name,
                        "it is missing or no PEM; ask the operator for a new invite and join again",
                    )
                })
        };
        Ok((text(CERTIFICATE)?, text(CA)?))
    }

    /// Stores what joining brought. The last write makes it count: a crash before it leaves the home as it was.
    pub(crate) fn store_join(
        &mut self,
        certificate: &str,
        ca: &str,
        broker: BrokerRecord,
    ) -> Result<()> {
        let _lock = self.lock()?;
        self.write(CERTIFICATE, certificate.as_bytes())?;
        self.write(CA, ca.as_bytes())?;
        let party = PartyFile {
            org: self.party.org.clone(),
            broker: Some(broker),
        };
        self.write(PARTY, party_text(&party)?.as_bytes())?;
        self.party = party;
        Ok(())
    }

    /// Reads a file of the home of at most `bytes_max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::UnsafeMode`], [`Error::Damaged`] if longer, [`Error::Io`].
    pub fn read(&self, relative: impl AsRef<Path>, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        files::read(&self.path.join(relative), bytes_max)
    }

    /// Writes a file of the home: atomic, 0600, durable on return.
    ///
    /// # Errors
    /// [`Error::Io`]; the old content is then still there, or the new one already.
    pub fn write(&self, relative: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        files::write(&self.path.join(relative), bytes)
    }

    /// As [`Home::write`], but fails if the file is there.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `AlreadyExists` if the name is taken.
    pub fn write_new(&self, relative: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        files::write_new(&self.path.join(relative), bytes)
    }

    /// Removes a file of the home durably; it may be missing already.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, relative: impl AsRef<Path>) -> Result<()> {
        files::remove(&self.path.join(relative))
    }

    /// Makes a directory of the home if it is not there: homes of an earlier version lack some.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn make_dir(&self, directory: &str) -> Result<()> {
        match files::create_dir(&self.path.join(directory)) {
            Err(Error::Io { error, .. }) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Names of the files in a directory of the home, sorted, without temporary ones.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self, directory: &str) -> Result<Vec<String>> {
        let mut names = self.names(directory)?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    /// Names of the temporary files in a directory of the home, sorted: of writes under way, or that a crash cut off.
    pub(crate) fn list_temporary(&self, directory: &str) -> Result<Vec<String>> {
        let mut names = self.names(directory)?;
        names.retain(|name| name.starts_with('.'));
        Ok(names)
    }

    fn names(&self, directory: &str) -> Result<Vec<String>> {
        let path = self.path.join(directory);
        let failed = |e| Error::io("read", &path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str() {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Keeps other processes from changing this home until the guard is dropped. Waits up to 10 s.
    ///
    /// Not re-entrant: a holder that asks again waits for itself and fails.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn lock(&self) -> Result<HomeLock> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            if let Some(lock) = self.try_lock(".lock")? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Error::Busy(format!(
                    "another counterfoil command has been writing in `{}` for {} s: wait for it, or end it",
                    self.path.display(),
                    LOCK_WAIT.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes this the one process that carries out what `name` stands for; `None` if another one does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<HomeLock>> {
        let path = self.path.join(name);
        let file = files::open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(HomeLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
        }
    }

    /// As [`Home::try_lock`], together with others that ask for it in this way; `None` if one holds it alone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn try_share(&self, name: &str) -> Result<Option<HomeLock>> {
        let path = self.path.join(name);
        let file = files::open_lock(&path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(HomeLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
        }
    }

    /// An error about a file of this home.
    pub(crate) fn damaged(&self, relative: impl AsRef<Path>, why: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.join(relative),
            why: why.into(),
        }
    }
}

fn refuse_existing(path: &Path) -> Result<()> {
    if let Ok(home) = Home::open(path, Clock::system()) {
        return Err(Error::HomeExists {
            path: home.path,
            org: home.party.org.to_string(),
        });
    }
    let occupied = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Error::io("create", path, e)),
    };
    if occupied {
        return Err(Error::Local(format!(
            "`{}` is not empty: give --home a directory that does not exist yet",
            path.display()
        )));
    }
    Ok(())
}

fn populate(path: &Path, org: OrgName) -> Result<()> {
    for name in DIRS {
        files::create_dir(&path.join(name))?;
    }
    let institution = InstitutionKey::generate(&mut rand::rng());
    let put = |name: &str, text: &str| files::write_new(&path.join(name), text.as_bytes());
    put(keys::INSTITUTION, &keys::institution_text(&institution))?;
    put(keys::NOISE, &keys::noise_text(&NoiseSecret::generate()))?;
    put(keys::TLS, &TlsKey::generate()?.pem())?;
    put(PARTY, &party_text(&PartyFile { org, broker: None })?)
}

fn party_text(party: &PartyFile) -> Result<String> {
    toml::to_string(party).map_err(|e| Error::Unexpected(format!("cannot write {PARTY}: {e}")))
}

/// The home itself and everything two levels down, which is all there is.
fn check_modes(path: &Path) -> Result<()> {
    let check = |path: &Path| {
        match fs::metadata(path) {
            Ok(metadata) => files::check_mode(path, &metadata).map(|()| metadata.is_dir()),
            // Another process removed it between listing and looking.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("read", path, e)),
        }
    };
    let entries = |path: &Path| -> Result<Vec<PathBuf>> {
        let failed = |e| Error::io("read", path, e);
        fs::read_dir(path)
            .map_err(failed)?
            .map(|entry| entry.map(|e| e.path()).map_err(failed))
            .collect()
    };
    check(path)?;
    for entry in entries(path)? {
        if check(&entry)? {
            for inner in entries(&entry)? {
                check(&inner)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
