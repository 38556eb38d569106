//! The broker's directory: keys, certificates, configuration, log and deliveries.
//!
//! ```text
//! broker.toml            what the operator may change
//! keys/  ca log marks server operator    one file each, 0600; officers/ one for each compliance officer
//! packs/                 rules of its own, one file a pack
//! tls/   ca.pem server.pem operator.pem
//! log/   entries  checkpoint  lock      the lock says that a broker is running
//! deliveries/            sealed deliveries, one file a flow
//! incidents/             which canaries were hit, one file an incident
//! flows/                 requests and sealed rows of flows that run, one directory a flow
//! ```

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use counterfoil_audit::note::{KeyName, SignerKey};
use counterfoil_policy::agreement::BuiltInPack;
use counterfoil_policy::decision::{PackSource, RULES_BYTES_MAX, Rules};
use counterfoil_policy::keys::PersonKey;
use counterfoil_policy::text::UserId;
use counterfoil_watermark::MasterKey;
use rand::TryRng as _;
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::ca::{CertificateAuthority, Identity};
use crate::error::Error;
use crate::files::{check_private, create_private_dir, read_private, write_durably};
pub use crate::flow::budget::Room;

/// What the operator may change, in `broker.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the broker: origin of its log, in every entry.
    pub name: String,
    /// `host:port` to listen on.
    pub listen: String,
    /// `host:port` under which agents reach it; goes into invites.
    pub address: String,
    /// The packs of rules that are always in force: built-in ones, and files `packs/NAME.cedar` of this directory.
    #[serde(default = "built_in_packs")]
    pub packs: Vec<String>,
    /// Only institutions that compliance officers have assessed may take part in flows.
    #[serde(default)]
    pub assessed_only: bool,
    /// What all flows that run may take of this machine together.
    #[serde(default)]
    pub room: Room,
}

/// All that this version has.
#[must_use]
pub fn built_in_packs() -> Vec<String> {
    BuiltInPack::ALL.iter().map(ToString::to_string).collect()
}

/// An opened broker directory.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
    config: Config,
}

impl Home {
    /// Makes a new broker: CA, server and operator certificates, log key, configuration.
    ///
    /// # Errors
    /// The directory holds a broker already, the name is no name, or writing failed.
    pub fn create(path: &Path, config: Config, now: OffsetDateTime) -> Result<Self, Error> {
        if path.join("broker.toml").exists() {
            return Err(Error::Home(format!(
                "`{}` holds a broker already: start it with `counterfoil --home {0} broker serve`, or choose another directory",
                path.display()
            )));
        }
        check_name(&config.name)?;
        for dir in ["keys", "tls", "log", "deliveries", "flows"] {
            create_private_dir(&path.join(dir))?;
        }
        let home = Self {
            path: path.to_owned(),
            config,
        };
        let ca = CertificateAuthority::generate(&home.config.name, now)?;
        home.store("ca", &ca)?;
        let authority = CertificateAuthority::open(&ca.certificate, &ca.key)?;
        home.store("server", &authority.issue_server(now)?)?;
        home.store("operator", &authority.issue_operator(now)?)?;
        home.store_secret("log")?;
        home.store_secret("marks")?;
        // Last, because its presence says that all the rest is there.
        let text = toml::to_string(&home.config).map_err(|e| Error::Home(e.to_string()))?;
        write_durably(&path.join("broker.toml"), text.as_bytes())?;
        Ok(home)
    }

    /// Opens a broker's directory.
    ///
    /// # Errors
    /// None is there, or its configuration is not valid.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join("broker.toml");
        if !file.exists() {
            return Err(Error::Home(format!(
                "no broker lives in `{}`: make one with `counterfoil --home {0} broker init`",
                path.display()
            )));
        }
        let text = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
        let config: Config = toml::from_str(&text)
            .map_err(|e| Error::Home(format!("`{}` is not valid: {e}", file.display())))?;
        check_name(&config.name)?;
        Ok(Self {
            path: path.to_owned(),
            config,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The log's signing key.
    ///
    /// # Errors
    /// The file is missing, damaged, or readable by others.
    pub fn log_key(&self) -> Result<SignerKey, Error> {
        let seed = self.secret("log")?;
        let name = KeyName::new(&self.config.name).map_err(|e| Error::Home(e.to_string()))?;
        Ok(SignerKey::from_seed(name, &seed))
    }

    /// The key of which all keys of marks are derived.
    ///
    /// # Errors
    /// The file is missing, damaged, or readable by others.
    pub fn mark_key(&self) -> Result<MasterKey, Error> {
        self.secret("marks").map(|key| MasterKey::from_bytes(*key))
    }

    /// Whether there is a key of marks: directories made before there were marks have none.
    #[must_use]
    pub fn has_mark_key(&self) -> bool {
        self.path.join("keys/marks.key").exists()
    }

    /// Makes the key of marks.
    ///
    /// # Errors
    /// Writing failed.
    pub fn make_mark_key(&self) -> Result<(), Error> {
        self.store_secret("marks")
    }

    fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
        let bytes = read_private(&self.path.join(format!("keys/{name}.key")))?;
        let secret = bytes.as_slice().try_into().map(Zeroizing::new);
        secret.map_err(|_| {
            Error::Home(format!(
                "`keys/{name}.key` is damaged: restore it from your backup"
            ))
        })
    }

    /// The certificate authority.
    ///
    /// # Errors
    /// As [`Home::identity`].
    pub fn authority(&self) -> Result<CertificateAuthority, Error> {
        let ca = self.identity("ca")?;
        CertificateAuthority::open(&ca.certificate, &ca.key)
    }

    /// Certificate and key of `ca`, `server` or `operator`.
    ///
    /// # Errors
    /// A file is missing, or readable by others.
    pub fn identity(&self, name: &str) -> Result<Identity, Error> {
        let key = read_private(&self.path.join(format!("keys/{name}.key")))?;
        let key = std::str::from_utf8(&key).map_err(|_| {
            Error::Home(format!(
                "`keys/{name}.key` is damaged: restore it from your backup"
            ))
        })?;
        Ok(Identity {
            certificate: self.certificate(name)?,
            key: Zeroizing::new(key.to_owned()),
        })
    }

    /// Certificate of `ca`, `server` or `operator`, PEM.
    ///
    /// # Errors
    /// The file is missing.
    pub fn certificate(&self, name: &str) -> Result<String, Error> {
        let path = self.path.join(format!("tls/{name}.pem"));
        fs::read_to_string(&path).map_err(Error::file("read", &path))
    }

    /// SHA-256 of a certificate's DER form.
    ///
    /// # Errors
    /// The file is missing or no certificate.
    pub fn certificate_sha256(&self, name: &str) -> Result<[u8; 32], Error> {
        let pem = self.certificate(name)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|_| Error::Home(format!("`tls/{name}.pem` is no certificate")))?;
        Ok(Sha256::digest(&pem.contents).into())
    }

    /// The rules that this broker decides by: the house rules and the packs of the configuration.
    ///
    /// # Errors
    /// A pack is not there, or its file is not valid: the message has file and line.
    pub fn rules(&self) -> Result<Rules, Error> {
        let mut in_force = Vec::new();
        let mut own = Vec::new();
        for name in &self.config.packs {
            let path = self.path.join("packs").join(format!("{name}.cedar"));
            let built_in = name.parse::<BuiltInPack>().ok();
            in_force.extend(built_in);
            if is_file_name(name) && path.exists() {
                own.push(read_pack(name, &path)?);
            } else if built_in.is_none() {
                return Err(Error::Home(format!(
                    "`{}`: no pack `{}` is known: name one of {}, or put its rules into `{}`",
                    self.path.join("broker.toml").display(),
                    name.escape_debug(),
                    built_in_packs().join(", "),
                    path.display()
                )));
            }
        }
        Rules::load(&in_force, &own).map_err(|e| Error::Home(e.to_string()))
    }

    /// Makes an officer's key. All of them lie in this directory, so whoever can read it can act as any: two keys keep two
    /// people honest who act through this program, they do not protect against the machine's administrator.
    ///
    /// # Errors
    /// The officer has a key already, which is never overwritten.
    pub fn make_officer_key(&self, user: &UserId) -> Result<PersonKey, Error> {
        let path = self.officer_file(user);
        if path.exists() {
            return Err(Error::Home(format!(
                "officer `{user}` has a key already, and keys are never overwritten: choose another user id"
            )));
        }
        create_private_dir(&self.path.join("keys/officers"))?;
        let key = PersonKey::generate(&mut UnwrapErr(SysRng));
        write_durably(&path, key.expose_seed().as_slice())?;
        Ok(key)
    }

    /// An officer's key.
    ///
    /// # Errors
    /// The file is missing, damaged, or readable by others.
    pub fn officer_key(&self, user: &UserId) -> Result<PersonKey, Error> {
        let path = self.officer_file(user);
        if !path.exists() {
            return Err(Error::Home(format!(
                "no key of an officer `{user}` is here: make one with `counterfoil broker add-officer {user}`"
            )));
        }
        let bytes = read_private(&path)?;
        let seed: Zeroizing<[u8; 32]> =
            bytes
                .as_slice()
                .try_into()
                .map(Zeroizing::new)
                .map_err(|_| {
                    Error::Home(format!(
                        "`{}` is damaged: restore it from your backup",
                        path.display()
                    ))
                })?;
        Ok(PersonKey::from_seed(&seed))
    }

    fn officer_file(&self, user: &UserId) -> PathBuf {
        self.path.join("keys/officers").join(format!("{user}.key"))
    }

    /// Refuses a home of which somebody else can read any secret, used or not.
    ///
    /// # Errors
    /// [`Error::Home`], with the command to run; a directory cannot be read.
    pub fn check_secrets(&self) -> Result<(), Error> {
        let keys = self.path.join("keys");
        for dir in [keys.join("officers"), keys] {
            if !dir.exists() {
                continue;
            }
            for entry in std::fs::read_dir(&dir).map_err(Error::file("read", &dir))? {
                let path = entry.map_err(Error::file("read", &dir))?.path();
                if path.extension().is_some_and(|end| end == "key") {
                    check_private(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Directory of the log.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Directory of what is kept of flows that run.
    #[must_use]
    pub fn flows_dir(&self) -> PathBuf {
        self.path.join("flows")
    }

    /// Directory of what people need who look at incidents.
    #[must_use]
    pub fn incidents_dir(&self) -> PathBuf {
        self.path.join("incidents")
    }

    /// Directory of the sealed deliveries.
    #[must_use]
    pub fn deliveries_dir(&self) -> PathBuf {
        self.path.join("deliveries")
    }

    fn store(&self, name: &str, identity: &Identity) -> Result<(), Error> {
        let key = self.path.join(format!("keys/{name}.key"));
        write_durably(&key, identity.key.as_bytes())?;
        let certificate = self.path.join(format!("tls/{name}.pem"));
        write_durably(&certificate, identity.certificate.as_bytes())
    }

    fn store_secret(&self, name: &str) -> Result<(), Error> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng
            .try_fill_bytes(seed.as_mut_slice())
            .map_err(|e| Error::Home(format!("the system gives no randomness: {e}")))?;
        write_durably(&self.path.join(format!("keys/{name}.key")), seed.as_slice())
    }
}

/// A pack's name is also a file's, and never a path.
fn is_file_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

/// Reads a file of rules.
///
/// # Errors
/// It cannot be read, or is larger than rules may be.
pub fn read_pack(name: &str, path: &Path) -> Result<PackSource, Error> {
    let mut text = String::new();
    File::open(path)
        // One byte more than rules may have, so that the loader says that there are too many.
        .and_then(|file| {
            file.take(RULES_BYTES_MAX as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(Error::file("read", path))?;
    Ok(PackSource {
        name: name.to_owned(),
        file: path.display().to_string(),
        text,
    })
}

/// A broker's name is the origin of its log: c2sp.org/tlog-checkpoint wants it without spaces and plus signs.
fn check_name(name: &str) -> Result<(), Error> {
    let valid = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-./".contains(&b));
    if valid {
        return Ok(());
    }
    Err(Error::Home(format!(
        "`{name}` cannot be a broker's name: use 1 to 64 of a-z, 0-9, `-`, `.` and `/`, such as `broker.example`"
    )))
}
