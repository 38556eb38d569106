//! People who may approve agreements, each with a key of their own.
//!
//! The keys of all people lie in the same home, so whoever can read it can act as any of them: two keys keep two
//! people honest who act through this program, they do not protect against the machine's administrator.

use counterfoil_policy::approval::Endorsement;
use counterfoil_policy::keys::PersonKey;
use counterfoil_policy::text::UserId;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::Home;
use super::keys::{ED25519, read_secret32, write_secret32};
use crate::error::{Error, Result};

/// Longest person file, in bytes: secret and endorsement have about 500.
const PERSON_BYTES_MAX: u64 = 8 * 1024;

/// A person who can approve: key and the institution's endorsement of it, verified.
#[derive(Debug)]
pub struct Person {
    key: PersonKey,
    endorsement: Endorsement,
}

/// A person, for listings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonInfo {
    /// The opaque id that enters the log.
    pub user: UserId,
    /// The person's public key.
    pub key: String,
}

/// The secret is a line as in a key file; the rest is public.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonFile {
    secret: SecretLine,
    endorsement: Endorsement,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SecretLine(String);

impl Drop for SecretLine {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Person {
    /// Signs approvals.
    #[must_use]
    pub fn key(&self) -> &PersonKey {
        &self.key
    }

    /// The institution's word that the key is this person's.
    #[must_use]
    pub fn endorsement(&self) -> &Endorsement {
        &self.endorsement
    }

    /// The opaque id that enters the log.
    #[must_use]
    pub fn user(&self) -> &UserId {
        self.endorsement.user()
    }
}

impl Home {
    /// Makes a key for a person and endorses it with the institution's.
    ///
    /// # Errors
    /// The person has a key already, which is never overwritten; or the institution's key cannot be read.
    pub fn add_person(&self, user: &UserId) -> Result<PersonInfo> {
        let institution = self.institution_key()?;
        let key = PersonKey::generate(&mut rand::rng());
        let file = PersonFile {
            secret: SecretLine(
                write_secret32(ED25519, &key.expose_seed())
                    .trim_end()
                    .to_owned(),
            ),
            endorsement: Endorsement::issue(&institution, self.org(), user, key.public()),
        };
        let text = serde_json::to_vec(&file)
            .map(Zeroizing::new)
            .map_err(|e| Error::Unexpected(format!("cannot write a person's key: {e}")))?;
        match self.write_new(name(user), &text) {
            Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Local(format!(
                    "`{user}` has a key already, and keys are never overwritten: choose another user id"
                )))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(PersonInfo {
                user: user.clone(),
                key: key.public().to_string(),
            }),
        }
    }

    /// Loads a person's key and verifies that this institution endorsed it.
    ///
    /// # Errors
    /// [`Error::UnknownUser`]; [`Error::Damaged`] if the file is not what was written.
    pub fn person(&self, user: &UserId) -> Result<Person> {
        let bytes = self
            .read(name(user), PERSON_BYTES_MAX)?
            .map(Zeroizing::new)
            .ok_or_else(|| Error::UnknownUser(user.to_string()))?;
        let damaged = |why: &str| self.damaged(name(user), why);
        let file: PersonFile =
            serde_json::from_slice(&bytes).map_err(|_| damaged("it is not a person's key file"))?;
        let seed = read_secret32(&file.secret.0, ED25519)
            .ok_or_else(|| damaged("its secret is no key"))?;
        let key = PersonKey::from_seed(&seed);
        file.endorsement
            .verify(self.org(), &self.institution_key()?.public())
            .map_err(|e| damaged(&e.to_string()))?;
        if file.endorsement.user() != user || file.endorsement.user_key() != key.public() {
            return Err(damaged("it holds another person's key"));
        }
        Ok(Person {
            key,
            endorsement: file.endorsement,
        })
    }

    /// Everybody who can approve, by id.
    ///
    /// # Errors
    /// As [`Home::person`].
    pub fn people(&self) -> Result<Vec<PersonInfo>> {
        self.list("people")?
            .iter()
            .filter_map(|file| file.strip_suffix(".key")?.parse::<UserId>().ok())
            .map(|user| {
                let key = self.person(&user)?.key.public().to_string();
                Ok(PersonInfo { user, key })
            })
            .collect()
    }
}

fn name(user: &UserId) -> String {
    format!("people/{user}.key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testkit;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    #[test]
    fn people_have_different_keys_that_stay() {
        let (_dir, home) = testkit::home(Clock::system());
        let alice = home.add_person(&user("alice")).unwrap();
        let bob = home.add_person(&user("bob")).unwrap();
        assert_ne!(alice.key, bob.key);
        assert_eq!(home.people().unwrap(), [alice.clone(), bob]);
        let error = home.add_person(&user("alice")).unwrap_err();
        assert!(error.to_string().contains("has a key already"), "{error}");
        assert_eq!(
            home.person(&user("alice"))
                .unwrap()
                .key()
                .public()
                .to_string(),
            alice.key
        );
    }

    #[test]
    fn a_stranger_is_refused_with_the_command() {
        let (_dir, home) = testkit::home(Clock::system());
        let error = home.person(&user("eve")).unwrap_err();
        assert!(error.to_string().contains("counterfoil party add-user eve"));
        assert_eq!(error.exit_code(), 7);
    }

    #[test]
    fn a_copied_or_foreign_key_does_not_pass() {
        let (_dir, home) = testkit::home(Clock::system());
        home.add_person(&user("alice")).unwrap();
        let file = home
            .read(name(&user("alice")), PERSON_BYTES_MAX)
            .unwrap()
            .unwrap();
        home.write_new(name(&user("bob")), &file).unwrap();
        let error = home.person(&user("bob")).unwrap_err();
        assert!(
            error.to_string().contains("another person's key"),
            "{error}"
        );

        // The same institution name with another key: not our endorsement.
        let (_dir, other) = testkit::home(Clock::system());
        other.write_new(name(&user("alice")), &file).unwrap();
        let error = other.person(&user("alice")).unwrap_err();
        assert!(error.to_string().contains("did not endorse"), "{error}");
    }
}
