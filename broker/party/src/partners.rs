//! Partners, and which of their keys a person has compared out of band.
//!
//! The broker runs the certificate authority and the directory, so it could show each institution keys of its own in
//! place of the partner's. Nothing is agreed with a partner before two people have compared fingerprints by a way
//! that the broker does not carry; from then on the confirmed keys count and not what the broker shows.

use counterfoil_policy::fingerprint::{Fingerprint, fingerprint};
use counterfoil_policy::keys::PartyKeys;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::text::OrgName;
use counterfoil_proto::v1::{Partner as WirePartner, PartnersRequest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, shown};
use crate::home::Home;
use crate::transport::{Broker, call};

const FILE: &str = "partners.toml";
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whether a partner's keys were compared out of band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// They were, and the broker shows the same.
    Confirmed,
    /// They were not.
    NotConfirmed,
    /// They were, and the broker now shows others: an attack, or the partner has new keys.
    Changed,
    /// They were, and the broker no longer shows this partner.
    Missing,
}

/// A partner as the broker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartnerInfo {
    /// The institution.
    pub org: OrgName,
    /// Whether its keys were compared out of band.
    pub confirmation: Confirmation,
    /// The fingerprint of the keys that the broker shows. Only for a confirmed partner is it the partner's.
    pub shown_fingerprint: Option<Fingerprint>,
    /// The fingerprint that was confirmed.
    pub confirmed_fingerprint: Option<Fingerprint>,
    /// The broker has revoked it.
    pub revoked: bool,
    /// Its agent listens for flows just now.
    pub serving: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartnersFile {
    #[serde(default)]
    partner: Vec<Confirmed>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    fingerprint: Fingerprint,
    confirmed_at: Timestamp,
    keys: PartyKeys,
}

/// All partners that the broker shows, and those confirmed earlier, by name; without this institution itself.
///
/// # Errors
/// The broker cannot be asked, or shows keys that are none.
pub async fn list(home: &Home, broker: &Broker) -> Result<Vec<PartnerInfo>> {
    let shown = fetch(home, broker).await?;
    Ok(compare(&load(home)?.partner, shown))
}

/// Confirms a partner whose fingerprint a person got from the partner itself.
///
/// Confirming again with another fingerprint replaces the keys: a partner that lost its home has new ones.
///
/// # Errors
/// [`Error::KeysChanged`] if the keys that the broker shows do not have this fingerprint.
pub async fn confirm(
    home: &Home,
    broker: &Broker,
    org: &OrgName,
    given: &Fingerprint,
) -> Result<PartnerInfo> {
    let partner = fetch(home, broker)
        .await?
        .into_iter()
        .find(|partner| partner.keys.name == *org)
        .ok_or_else(|| Error::Input(format!("the broker knows no partner `{org}`: `counterfoil party partners` shows those it knows")))?;
    confirm_keys(home, &partner.keys, given)?;
    compare(&load(home)?.partner, vec![partner])
        .into_iter()
        .find(|info| info.org == *org)
        .ok_or_else(|| Error::Unexpected("the confirmed partner is not there".to_owned()))
}

/// The confirmed keys of a partner.
///
/// # Errors
/// [`Error::NotConfirmed`], [`Error::Damaged`].
pub fn confirmed(home: &Home, org: &OrgName) -> Result<PartyKeys> {
    load(home)?
        .partner
        .into_iter()
        .find(|partner| partner.keys.name == *org)
        .map(|partner| partner.keys)
        .ok_or_else(|| Error::NotConfirmed(org.to_string()))
}

struct Shown {
    keys: PartyKeys,
    revoked: bool,
    serving: bool,
}

async fn fetch(home: &Home, broker: &Broker) -> Result<Vec<Shown>> {
    let reply = call(broker.directory().partners(PartnersRequest {})).await?;
    let partners = reply
        .partners
        .iter()
        .map(parse)
        .collect::<Result<Vec<_>>>()?;
    Ok(partners
        .into_iter()
        .filter(|partner| partner.keys.name != *home.org())
        .collect())
}

fn parse(wire: &WirePartner) -> Result<Shown> {
    let bad = |what: &str| {
        Error::Unverified(format!(
            "the broker shows a partner `{}` whose {what} is none",
            shown(&wire.org)
        ))
    };
    Ok(Shown {
        keys: PartyKeys {
            name: wire.org.parse().map_err(|_| bad("name"))?,
            signing_key: wire.signing_key.parse().map_err(|_| bad("signing key"))?,
            noise_key: wire.noise_key.parse().map_err(|_| bad("noise key"))?,
        },
        revoked: wire.revoked,
        serving: wire.serving,
    })
}

fn confirm_keys(home: &Home, keys: &PartyKeys, given: &Fingerprint) -> Result<()> {
    // Equality of fingerprints takes constant time.
    let seen = fingerprint(&keys.signing_key, &keys.noise_key);
    if seen != *given {
        return Err(Error::KeysChanged(format!(
            "the keys that the broker shows for `{0}` have another fingerprint than the one given, and nothing was \
             confirmed: read it once more with `{0}` over the telephone; if it stays different, the broker may be \
             showing false keys, so agree nothing with `{0}` and tell its security team",
            keys.name
        )));
    }
    let _lock = home.lock()?;
    let mut file = load(home)?;
    file.partner
        .retain(|partner| partner.keys.name != keys.name);
    file.partner.push(Confirmed {
        fingerprint: seen,
        confirmed_at: home.clock().now(),
        keys: keys.clone(),
    });
    file.partner.sort_by(|a, b| a.keys.name.cmp(&b.keys.name));
    let text = toml::to_string(&file)
        .map_err(|e| Error::Unexpected(format!("cannot write {FILE}: {e}")))?;
    home.write(FILE, text.as_bytes())
}

fn compare(confirmed: &[Confirmed], shown: Vec<Shown>) -> Vec<PartnerInfo> {
    let find = |org: &OrgName| confirmed.iter().find(|partner| partner.keys.name == *org);
    let missing = confirmed
        .iter()
        .filter(|known| {
            !shown
                .iter()
                .any(|partner| partner.keys.name == known.keys.name)
        })
        .map(|known| PartnerInfo {
            org: known.keys.name.clone(),
            confirmation: Confirmation::Missing,
            shown_fingerprint: None,
            confirmed_fingerprint: Some(known.fingerprint),
            revoked: false,
            serving: false,
        })
        .collect::<Vec<_>>();
    let mut all: Vec<_> = shown
        .into_iter()
        .map(|partner| {
            let known = find(&partner.keys.name);
            PartnerInfo {
                confirmation: match known {
                    None => Confirmation::NotConfirmed,
                    Some(known) if known.keys == partner.keys => Confirmation::Confirmed,
                    Some(_) => Confirmation::Changed,
                },
                shown_fingerprint: Some(fingerprint(
                    &partner.keys.signing_key,
                    &partner.keys.noise_key,
                )),
                confirmed_fingerprint: known.map(|known| known.fingerprint),
                org: partner.keys.name,
                revoked: partner.revoked,
                serving: partner.serving,
            }
        })
        .chain(missing)
        .collect();
    all.sort_by(|a, b| a.org.cmp(&b.org));
    all
}

fn load(home: &Home) -> Result<PartnersFile> {
    let Some(bytes) = home.read(FILE, FILE_BYTES_MAX)? else {
        return Ok(PartnersFile::default());
    };
    let file: PartnersFile = std::str::from_utf8(&bytes)
        .map_err(|e| e.to_string())
        .and_then(|text| toml::from_str(text).map_err(|e| e.to_string()))
        .map_err(|why| home.damaged(FILE, why))?;
    for partner in &file.partner {
        // A key that was edited without its fingerprint is found here; whoever edits both is this user.
        if fingerprint(&partner.keys.signing_key, &partner.keys.noise_key) != partner.fingerprint {
            let why = format!(
                "the keys of `{}` do not have the fingerprint beside them; confirm it again",
                partner.keys.name
            );
            return Err(home.damaged(FILE, why));
        }
    }
    Ok(file)
}

/// For the tests of other modules: as if people had compared.
#[cfg(test)]
pub(crate) fn confirm_for_test(home: &Home, keys: &PartyKeys) {
    confirm_keys(home, keys, &fingerprint(&keys.signing_key, &keys.noise_key)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::testkit::{home, home_of};

    fn shown_of(keys: PartyKeys) -> Shown {
        Shown {
            keys,
            revoked: false,
            serving: true,
        }
    }

    #[test]
    fn the_right_fingerprint_confirms_and_a_wrong_one_does_not() {
        let (_a, home) = home(Clock::system());
        let (_b, partner) = home_of("east-life", Clock::system());
        let (_c, false_one) = home_of("east-life", Clock::system());
        let keys = partner.party_keys().unwrap();

        assert_eq!(
            confirmed(&home, &keys.name).unwrap_err().code(),
            "partner_not_confirmed"
        );
        let error = confirm_keys(
            &home,
            &false_one.party_keys().unwrap(),
            &partner.fingerprint().unwrap(),
        )
        .unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("keys_changed", 6));
        assert!(error.to_string().contains("may be showing false keys"));
        assert!(confirmed(&home, &keys.name).is_err());

        confirm_keys(&home, &keys, &partner.fingerprint().unwrap()).unwrap();
        assert_eq!(confirmed(&home, &keys.name).unwrap(), keys);
    }

    #[test]
    fn other_keys_later_are_an_alarm() {
        let (_a, home) = home(Clock::system());
        let (_b, partner) = home_of("east-life", Clock::system());
        let (_c, false_one) = home_of("east-life", Clock::system());
        let (_d, third) = home_of("south-fund", Clock::system());
        confirm_for_test(&home, &partner.party_keys().unwrap());
        let state = |shown: Vec<Shown>| -> Vec<_> {
            let list = compare(&load(&home).unwrap().partner, shown);
            list.into_iter()
                .map(|info| (info.org.to_string(), info.confirmation))
                .collect()
        };
        let east = |confirmation| ("east-life".to_owned(), confirmation);
        assert_eq!(
            state(vec![shown_of(partner.party_keys().unwrap())]),
            [east(Confirmation::Confirmed)]
        );
        assert_eq!(
            state(vec![shown_of(false_one.party_keys().unwrap())]),
            [east(Confirmation::Changed)]
        );
        assert_eq!(
            state(vec![shown_of(third.party_keys().unwrap())]),
            [
                east(Confirmation::Missing),
                ("south-fund".to_owned(), Confirmation::NotConfirmed)
            ]
        );
        // What the broker shows does not replace what was confirmed.
        assert_eq!(
            confirmed(&home, partner.org()).unwrap(),
            partner.party_keys().unwrap()
        );
    }

    #[test]
    fn an_edited_key_is_found() {
        let (_a, home) = home(Clock::system());
        let (_b, partner) = home_of("east-life", Clock::system());
        let (_c, other) = home_of("east-life", Clock::system());
        let keys = partner.party_keys().unwrap();
        confirm_for_test(&home, &keys);
        let text = String::from_utf8(home.read(FILE, FILE_BYTES_MAX).unwrap().unwrap()).unwrap();
        let swapped = text.replace(
            &keys.signing_key.to_string(),
            &other.party_keys().unwrap().signing_key.to_string(),
        );
        assert_ne!(swapped, text);
        home.write(FILE, swapped.as_bytes()).unwrap();
        assert_eq!(confirmed(&home, &keys.name).unwrap_err().code(), "damaged");
    }

    #[test]
    fn a_directory_entry_that_is_none_blames_the_broker() {
        let (_b, partner) = home_of("east-life", Clock::system());
        let keys = partner.party_keys().unwrap();
        let good = WirePartner {
            org: "east-life".into(),
            signing_key: keys.signing_key.to_string(),
            noise_key: keys.noise_key.to_string(),
            revoked: false,
            serving: false,
        };
        assert_eq!(parse(&good).unwrap().keys, keys);
        let bad = WirePartner {
            noise_key: "x25519:AAAA".into(),
            ..good
        };
        assert_eq!(parse(&bad).err().unwrap().exit_code(), 6);
    }
}
