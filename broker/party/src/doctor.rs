//! Finds the usual first mistakes: what is missing, unsafe, expired, unconfirmed or unmapped, each with what to do.

use std::path::Path;

use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::text::OrgName;
use counterfoil_proto::v1::StatusRequest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::agreements::{self, AgreementInfo, Status, Unfit};
use crate::clock::Clock;
use crate::data::{DATASETS, Dataset, DatasetFile, check_dataset};
use crate::error::Error;
use crate::flow::is_passing;
use crate::home::Home;
use crate::join::CertificateFacts;
use crate::limits::Limits;
use crate::partners::{self, Confirmation};
use crate::transport::{Broker, call};
use crate::{audit, error, recipient, taxonomies};

const DATASETS_BYTES_MAX: u64 = 4 * 1024 * 1024;
const DAY_SECONDS: i64 = 86_400;
/// A certificate that ends sooner is worth a warning.
const RENEW_DAYS: i64 = 30;
/// The decision refuses requests beyond it ([`counterfoil_policy::decision::CLOCK_SKEW_SECONDS_MAX`]).
const SKEW_SECONDS_MAX: i64 = counterfoil_policy::decision::CLOCK_SKEW_SECONDS_MAX;
const SKEW_SECONDS_WARN: i64 = 30;
/// A flow at the cap stages up to 4 GiB at the broker, but only a few hundred MiB of state at an agent.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// It works, and will not for ever or not for everything.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it went.
    pub health: Health,
    /// What was found.
    pub detail: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

impl Check {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Health::Ok, name, detail, "")
    }

    fn warning(
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Health::Warning, name, detail, advice)
    }

    fn failed(
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Health::Failed, name, detail, advice)
    }

    /// An error's own text says what to do: after a colon or a semicolon, by the rule of this crate's messages.
    fn error(name: impl Into<String>, error: &Error) -> Self {
        let text = error.to_string();
        let (detail, advice) = text
            .split_once("; ")
            .or_else(|| text.split_once(": "))
            .unwrap_or((&text, ""));
        Self::new(Health::Failed, name, detail, advice)
    }

    fn new(
        health: Health,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            health,
            detail: detail.into(),
            advice: advice.into(),
        }
    }
}

/// Looks at everything that can be looked at. Always returns; what cannot be checked is left out.
pub async fn run(path: &Path, clock: Clock) -> Vec<Check> {
    let home = match Home::open(path, clock) {
        Ok(home) => home,
        Err(Error::NoHome(_)) if path.join("broker.toml").exists() => {
            return vec![Check::failed(
                "home",
                format!("a broker lives in `{}`, and no institution", path.display()),
                "name an institution's directory with --home; a broker says at its start what is wrong with it",
            )];
        }
        Err(error) => return vec![Check::error("home", &error)],
    };
    let mut checks = vec![Check::ok(
        "home",
        format!(
            "`{}` of `{}`, open to nobody else",
            home.path().display(),
            home.org()
        ),
    )];
    checks.extend(newer_agreements(&home).await);
    checks.extend(local(&home));
    checks.extend(remote(&home).await);
    checks
}

/// The partner may have signed or ended an agreement since this home looked. That the broker cannot be asked is
/// told by [`remote`].
async fn newer_agreements(home: &Home) -> Option<Check> {
    let broker = Broker::connect(home).await.ok()?;
    match agreements::sync(home, &broker, None).await {
        Ok(_) => None,
        Err(error) if is_passing(&error) => None,
        Err(error) => Some(Check::error("agreements", &error)),
    }
}

/// What needs no broker.
fn local(home: &Home) -> Vec<Check> {
    let mut checks = vec![
        keys(home),
        space(home),
        people(home),
        certificate(home),
        limits(home),
        checkpoint(home),
    ];
    checks.extend(interrupted(home));
    let agreements = match agreements::list(home) {
        Ok(listing) => {
            let left_out = |skipped: &agreements::Skipped| {
                Check::error(
                    format!("agreement {} version {}", skipped.id, skipped.version),
                    &skipped.error,
                )
            };
            checks.extend(listing.skipped.iter().map(left_out));
            listing.agreements
        }
        Err(error) => {
            checks.push(Check::error("agreements", &error));
            Vec::new()
        }
    };
    checks.extend(agreements.iter().filter_map(|info| agreement(home, info)));
    checks.extend(datasets(home, &agreements));
    checks
}

fn keys(home: &Home) -> Check {
    let read = home.party_keys().and_then(|_| home.tls_key());
    match (read, home.fingerprint()) {
        (Ok(_), Ok(fingerprint)) => Check::ok("keys", format!("fingerprint {fingerprint}")),
        (Err(error), _) | (_, Err(error)) => Check::error("keys", &error),
    }
}

fn space(home: &Home) -> Check {
    match rustix::fs::statvfs(home.path()) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let mib = free >> 20;
            if free < FREE_BYTES_MIN {
                Check::warning(
                    "disk space",
                    format!("{mib} MiB are free where the home is"),
                    "make room before an exchange",
                )
            } else {
                Check::ok("disk space", format!("{mib} MiB are free"))
            }
        }
        Err(error) => Check::warning(
            "disk space",
            format!("it cannot be read: {error}"),
            "look at the disk",
        ),
    }
}

fn people(home: &Home) -> Check {
    match home.people() {
        Err(error) => Check::error("people", &error),
        Ok(people) if people.len() < 2 => Check::warning(
            "people",
            format!("{} of the two people that an agreement needs", people.len()),
            "run `counterfoil party add-user USER` for a maker and for a checker",
        ),
        Ok(people) => Check::ok("people", format!("{} can approve", people.len())),
    }
}

fn certificate(home: &Home) -> Check {
    const NAME: &str = "certificate";
    let pem = match home.certificates() {
        Ok((pem, _)) => pem,
        Err(error @ Error::NotJoined(_)) => return Check::error("joined", &error),
        Err(error) => return Check::error(NAME, &error),
    };
    let facts = CertificateDer::from_pem_slice(pem.as_bytes())
        .ok()
        .and_then(|der| CertificateFacts::read(&der));
    let again = "ask the operator for a new invite and run `counterfoil party join INVITE`";
    let Some(facts) = facts else {
        return Check::failed(NAME, "`tls/cert.pem` cannot be read", again);
    };
    let days =
        (facts.ends_unix_seconds - home.clock().now().unix_seconds()).div_euclid(DAY_SECONDS);
    if days < 0 {
        Check::failed(NAME, format!("it ended at {}", facts.ends), again)
    } else if days < RENEW_DAYS {
        Check::warning(
            NAME,
            format!("it ends in {days} days, at {}", facts.ends),
            again,
        )
    } else {
        Check::ok(NAME, format!("valid until {}", facts.ends))
    }
}

fn limits(home: &Home) -> Check {
    match Limits::load(home) {
        Ok(_) => Check::ok("limits", "the owner's caps can be read"),
        Err(error) => Check::error("limits", &error),
    }
}

fn checkpoint(home: &Home) -> Check {
    match audit::latest(home) {
        Ok(Some(checkpoint)) => Check::ok(
            "log",
            format!("verified up to {} entries", checkpoint.size()),
        ),
        Ok(None) | Err(Error::NotJoined(_)) => Check::ok("log", "nothing verified yet"),
        Err(error) => Check::error("log", &error),
    }
}

/// Flows that a crash cut off: their matched customers may wait at the broker. Nothing if there are none.
fn interrupted(home: &Home) -> Option<Check> {
    const NAME: &str = "interrupted flows";
    match recipient::unfinished(home) {
        Err(error) => Some(Check::error(NAME, &error)),
        Ok(flows) => {
            let first = flows.first()?;
            let detail = match flows.len() {
                1 => format!("flow `{first}` has not come to its end"),
                more => format!("{more} flows have not come to their end, such as `{first}`"),
            };
            Some(Check::warning(
                NAME,
                detail,
                format!(
                    "run `counterfoil exchange --resume {first}`: it fetches what was released"
                ),
            ))
        }
    }
}

/// A pending or ended agreement; nothing for one that was replaced.
fn agreement(home: &Home, info: &AgreementInfo) -> Option<Check> {
    let name = format!("agreement {} version {}", info.id, info.version);
    let today = day(home.clock().now());
    Some(match info.status {
        Status::Superseded => return None,
        Status::Revoked => Check::warning(
            name,
            "it was revoked",
            "propose a new version if flows should go on",
        ),
        Status::Active if today.as_str() > info.valid_until.as_str() => Check::failed(
            name,
            format!("it ended on {}", info.valid_until),
            "propose a new version",
        ),
        Status::Active if today.as_str() < info.valid_from.as_str() => Check::warning(
            name,
            format!("it begins on {}", info.valid_from),
            "wait until then",
        ),
        Status::Active => Check::ok(name, format!("active until {}", info.valid_until)),
        _ => Check::warning(
            name,
            "it is not active",
            format!(
                "it waits for {}",
                info.awaiting.as_deref().unwrap_or("nobody")
            ),
        ),
    })
}

/// The date of RFC 3339, whose order as text is that of time.
fn day(now: Timestamp) -> String {
    now.to_string().chars().take("2026-11-23".len()).collect()
}

fn datasets(home: &Home, all: &[AgreementInfo]) -> Vec<Check> {
    let owned: Vec<_> = all
        .iter()
        .filter(|info| {
            info.owner == *home.org()
                && !matches!(info.status, Status::Superseded | Status::Revoked)
        })
        .collect();
    let path = home.path().join(DATASETS);
    if !path.exists() {
        let missing = |info: &&AgreementInfo| {
            let detail = format!(
                "agreement `{}` gives dataset `{}`, and there is no `{}`",
                info.id,
                info.dataset,
                path.display()
            );
            Check::failed(
                "datasets",
                detail,
                "write it, so that `counterfoil party serve` finds the rows",
            )
        };
        return owned.first().map(missing).into_iter().collect();
    }
    let file = match home.read(DATASETS, DATASETS_BYTES_MAX).and_then(|_| {
        Ok(DatasetFile::read(
            &path,
            &taxonomies::library(home.path())?,
        )?)
    }) {
        Ok(file) => file,
        Err(error) => return vec![Check::failed("datasets", error.to_string(), "correct it")],
    };
    let mut checks: Vec<_> = file.datasets().iter().map(dataset).collect();
    match agreements::unfit(home) {
        Ok(all) => checks.extend(all.iter().map(unfit)),
        Err(error) => checks.push(Check::error("agreements", &error)),
    }
    checks
}

/// What an agreement promises and the datasets do not hold.
fn unfit(unfit: &Unfit) -> Check {
    let name = format!("agreement {} version {}", unfit.id, unfit.version);
    let text = unfit.why.to_string();
    let (detail, advice) = text.rsplit_once(": ").unwrap_or((&text, ""));
    Check::failed(name, detail, advice)
}

/// Opens all sources of a dataset, looks for the columns, and reads its canaries; no rows of customers.
fn dataset(dataset: &Dataset) -> Check {
    const ADVICE: &str = "correct it in datasets.toml, or put the file there";
    let name = format!("dataset {}", dataset.name());
    let report = match check_dataset(dataset, &[], 0) {
        Ok(report) => report,
        Err(error) => return Check::failed(name, error.to_string(), ADVICE),
    };
    match report.canaries.into_iter().find_map(|told| told.fault) {
        Some(fault) => Check::failed(name, fault, ADVICE),
        None => Check::ok(
            name,
            format!("`{}` opens and has the columns", dataset.source()),
        ),
    }
}

async fn remote(home: &Home) -> Vec<Check> {
    if home.broker().is_err() {
        return Vec::new();
    }
    let broker = match Broker::connect(home).await {
        Ok(broker) => broker,
        Err(error) => return vec![Check::error("broker", &error)],
    };
    let status = match call(broker.directory().status(StatusRequest {})).await {
        Ok(status) => status,
        Err(error) => return vec![Check::error("broker", &error)],
    };
    let detail = format!(
        "`{}` answers at {}, version {}",
        error::shown(&status.broker),
        broker.address(),
        error::shown(&status.version)
    );
    let mut checks = vec![
        Check::ok("broker", detail),
        skew(home.clock().now(), &status.time),
    ];
    match partners::list(home, &broker).await {
        Ok(all) => checks.extend(
            all.iter()
                .map(|info| partner(&info.org, info.confirmation, info.revoked)),
        ),
        Err(error) => checks.push(Check::error("partners", &error)),
    }
    checks
}

fn skew(now: Timestamp, broker: &str) -> Check {
    const NAME: &str = "clock";
    // The broker writes fractions of a second.
    let whole = broker
        .split_once('.')
        .map_or_else(|| broker.to_owned(), |(whole, _)| format!("{whole}Z"));
    let Ok(theirs) = whole.parse::<Timestamp>() else {
        return Check::warning(
            NAME,
            "the broker tells no time that can be read",
            "ask the operator",
        );
    };
    let off = now.unix_seconds() - theirs.unix_seconds();
    let detail = format!(
        "{} s {} the broker's",
        off.abs(),
        if off < 0 { "behind" } else { "ahead of" }
    );
    if off.abs() > SKEW_SECONDS_MAX {
        Check::failed(
            NAME,
            detail,
            "set the clock: requests are refused beyond 300 s",
        )
    } else if off.abs() > SKEW_SECONDS_WARN {
        Check::warning(NAME, detail, "set the clock, for example with NTP")
    } else {
        Check::ok(NAME, detail)
    }
}

fn partner(org: &OrgName, confirmation: Confirmation, revoked: bool) -> Check {
    let name = format!("partner {org}");
    match confirmation {
        _ if revoked => Check::warning(
            name,
            "the broker has revoked it",
            "nothing can flow with it",
        ),
        Confirmation::Confirmed => Check::ok(name, "its keys are confirmed"),
        Confirmation::NotConfirmed => Check::warning(
            name,
            "its keys are not confirmed",
            format!(
                "ask it by telephone for its fingerprint, then run `counterfoil party confirm-partner {org} FINGERPRINT`"
            ),
        ),
        Confirmation::Changed => Check::failed(
            name,
            "the broker shows other keys than those that were confirmed",
            format!(
                "exchange nothing with `{org}` before you have asked it by telephone whether it has new keys"
            ),
        ),
        Confirmation::Missing => Check::warning(
            name,
            "the broker does not show it any more",
            "ask the operator",
        ),
    }
}

#[cfg(test)]
mod tests;
