//! What happens in the demo, in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use counterfoil_party::agreements;
use counterfoil_party::audit;
use counterfoil_party::data::Source;
use counterfoil_party::owner::{FlowEvent, OnEvent, ServeEvent, ServeOptions, serve};
use counterfoil_party::recipient::{ExchangeOptions, OnProgress, Progress, exchange};
use counterfoil_policy::agreement::fill;
use counterfoil_policy::text::AgreementId;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::cast::{Institution, OWNER, RECIPIENT, RunningBroker};
use super::customers;
use super::leak::{self, Leak};
use super::page::Page;
use crate::command::parse;
use crate::failure::Failure;
use crate::ui::Ui;

const AGREEMENT: &str = include_str!("agreement.toml");
const DATASETS: &str = include_str!("datasets.toml");
/// Nothing in the demo takes a second; a minute means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened, for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    seed: u64,
    broker: String,
    log_key: String,
    owner: Side,
    recipient: Side,
    agreement: String,
    /// Customers that both sides have, as the demo made them.
    common: usize,
    same_person_refused: String,
    denied: Refusal,
    granted_entry: u64,
    delivered: u64,
    generalised: String,
    suppressed: String,
    release_entry: u64,
    receipt_verified: bool,
    owner_has_receipt: bool,
    leak: Leak,
    log_entries: u64,
    log_verified: bool,
    tampering_caught: bool,
    tampering_message: String,
    milliseconds: u128,
}

#[derive(Debug, Serialize)]
struct Side {
    name: &'static str,
    fingerprint: String,
    customers: usize,
}

#[derive(Debug, Serialize)]
struct Refusal {
    message: String,
    entry: Option<u64>,
}

impl Told {
    pub(super) fn milliseconds(&self) -> u128 {
        self.milliseconds
    }
}

/// Plays it in `dir`, telling each step on standard output unless JSON was asked for.
pub(super) async fn tell(dir: &Path, seed: u64, started: Instant, ui: Ui) -> Result<Told, Failure> {
    let page = Page::new(ui);
    let bank_dir = dir.join(OWNER);
    let insurer_dir = dir.join(RECIPIENT);

    page.chapter("Trust");
    let broker = RunningBroker::start(&dir.join("broker")).await?;
    let operator = broker.operator().await?;
    page.note(&format!(
        "broker `demo.broker` serves on {}, TLS 1.3, certificates from its own CA",
        broker.address
    ));
    let bank = Institution::join(&bank_dir, OWNER, ["ana", "bo"], &operator).await?;
    let insurer = Institution::join(&insurer_dir, RECIPIENT, ["chen", "dee"], &operator).await?;
    let written = customers::write(
        seed,
        time::OffsetDateTime::now_utc().date(),
        &bank_dir.join("customers.csv"),
        &insurer_dir.join("policies.csv"),
    )?;
    page.party(
        OWNER,
        written.owner,
        "customers with credit attributes",
        &bank.fingerprint,
    );
    page.party(
        RECIPIENT,
        written.recipient,
        "customers, some of them the same people",
        &insurer.fingerprint,
    );
    bank.confirm(&insurer).await?;
    insurer.confirm(&bank).await?;
    page.note("each confirmed the other's keys by fingerprint: the broker runs the CA, so its word is not enough");

    page.chapter("Agreement");
    let (id, same_person_refused) = agree(&bank, &insurer, &page).await?;

    page.chapter("Asking");
    let mut owner = Owner::start(&bank).await?;
    let denied = ask_too_much(&insurer, &id, &page).await?;

    page.chapter("Exchange");
    let ask = options(&insurer, &id, &["age_band", "credit_amount", "housing"])?;
    let (granted, progress) = watch_grant();
    let done = exchange(&insurer.home, &ask, &progress).await?;
    page.good(&format!("granted and recorded; `{OWNER}` left out {} of its customers, who did not consent to this, or no longer", written.owner - written.consented));
    page.good(&format!("{} and {} identifiers were matched as tokens that neither side nor the broker can make alone", written.consented, done.counts.submitted));
    page.note(&format!("of {} rows, {} were no telephone numbers and {} a duplicate: left out, shown by line, never by value", done.counts.rows, done.counts.invalid, done.counts.duplicates));
    page.good(&format!(
        "matched {} of the {} and {}; both sides and the log are told that {} customers had no consent, and not who",
        done.delivered,
        written.consented,
        done.counts.submitted,
        done.without_consent.as_deref().unwrap_or("no")
    ));
    page.good(&format!("minimised: {} rows made coarser and {} left out, so that no combination of tags has under 10 rows", done.generalised, done.suppressed));
    page.good(&format!(
        "entry {} recorded: then, and only then, the delivery was released",
        done.entry
    ));
    page.good("receipt verified: the entry is in the signed log, and names these sealed bytes");
    page.good(&format!("delivery opened: {} rows", done.delivered));
    page.rows(&done.output)?;
    let owner_has_receipt = owner.released(&done.flow).await?;
    page.good(&format!("`{OWNER}` holds the same entry with its proof"));

    page.chapter("Leak");
    let leak = leak::traced(&bank, &done.output).await?;
    page.bad(&format!(
        "{} of these rows turned up on a website, without telephone numbers",
        leak.rows
    ));
    page.good(&format!(
        "`{}` and `{}` of {OWNER} had them looked at: their codes are of the delivery to `{}` in entry {}; what was asked and told is recorded",
        bank.maker, bank.checker, leak.recipient, leak.entry
    ));

    page.chapter("Audit");
    let seen = audit::verify(&insurer.home, &insurer.broker).await?;
    page.good(&format!("`{RECIPIENT}` checked the log: {} entries, its own {} among them, consistent with all it saw before", seen.size, seen.entries.values().sum::<u64>()));
    let export = dir.join("log.jsonl");
    let file =
        std::fs::File::create_new(&export).map_err(|e| Failure::file("create", &export, &e))?;
    operator.export(file).await?;
    let whole = audit::verify_file(&export, &broker.log_key)?;
    if let Some(finding) = whole.findings.first() {
        return Err(Failure::new(
            "demo",
            6,
            format!("the log does not hold: {finding}"),
        ));
    }
    page.good(&format!(
        "an auditor checked an export of all {} entries, offline, with the log's public key alone",
        whole.entries
    ));
    let tampering_message = tamper(&export, &dir.join("log-tampered.jsonl"), &broker.log_key)?;
    page.bad(&format!(
        "a copy in which somebody lowered k from 10 to 1: caught: {tampering_message}"
    ));

    owner.stop().await?;
    let told = Told {
        seed,
        broker: broker.address.clone(),
        log_key: broker.log_key.clone(),
        owner: Side {
            name: OWNER,
            fingerprint: bank.fingerprint.clone(),
            customers: written.owner,
        },
        recipient: Side {
            name: RECIPIENT,
            fingerprint: insurer.fingerprint.clone(),
            customers: written.recipient,
        },
        agreement: id.to_string(),
        common: written.common,
        same_person_refused,
        denied,
        granted_entry: granted.load(Ordering::Relaxed),
        delivered: done.delivered,
        generalised: done.generalised,
        suppressed: done.suppressed,
        release_entry: done.entry,
        receipt_verified: true,
        owner_has_receipt,
        leak,
        log_entries: whole.entries,
        log_verified: whole.findings.is_empty(),
        tampering_caught: true,
        tampering_message,
        milliseconds: started.elapsed().as_millis(),
    };
    broker.stop().await?;
    Ok(told)
}

/// Four people sign: a maker and a checker on each side.
async fn agree(
    bank: &Institution,
    insurer: &Institution,
    page: &Page,
) -> Result<(AgreementId, String), Failure> {
    let text = agreement_text(bank, insurer)?;
    let proposed = agreements::propose(&bank.home, &text, &bank.maker)?;
    let id = proposed.id.clone();
    page.note(&format!(
        "`{}` of {OWNER} proposed `{id}`: age band, credit amount and housing, k = 10, and a code on each row, by which a leak can be traced",
        bank.maker
    ));
    let refused = agreements::sign(&bank.home, &bank.broker, &id, &bank.maker).await;
    let Err(refused) = refused else {
        return Err(Failure::new(
            "demo",
            1,
            "maker and checker were the same person, and nobody minded",
        ));
    };
    if refused.exit_code() != 4 && !refused.to_string().contains("second person") {
        return Err(refused.into());
    }
    page.bad(&format!(
        "`{}` tried to check it too: {refused}",
        bank.maker
    ));
    agreements::sign(&bank.home, &bank.broker, &id, &bank.checker).await?;
    // The insurer's people read it before they sign: what only a signature would fetch is refused as unread.
    agreements::sync(&insurer.home, &insurer.broker, Some(&id)).await?;
    agreements::sign(&insurer.home, &insurer.broker, &id, &insurer.maker).await?;
    let signed = agreements::sign(&insurer.home, &insurer.broker, &id, &insurer.checker).await?;
    page.good(&format!(
        "`{}` checked it; `{}` and `{}` of {RECIPIENT} signed: in force until {}",
        bank.checker, insurer.maker, insurer.checker, signed.agreement.valid_until
    ));
    // The owner's agent judges requests by its own copy.
    agreements::sync(&bank.home, &bank.broker, Some(&id)).await?;
    Ok((id, refused.to_string()))
}

fn agreement_text(bank: &Institution, insurer: &Institution) -> Result<String, Failure> {
    let (owner, recipient) = (bank.home.party_keys()?, insurer.home.party_keys()?);
    let today = OffsetDateTime::now_utc().date();
    Ok(fill(AGREEMENT, &owner, &recipient, today))
}

/// The owner's agent, serving in the background.
struct Owner {
    events: mpsc::UnboundedReceiver<ServeEvent>,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<counterfoil_party::error::Result<()>>,
}

impl Owner {
    async fn start(bank: &Institution) -> Result<Self, Failure> {
        bank.home.write("datasets.toml", DATASETS.as_bytes())?;
        let (sender, mut events) = mpsc::unbounded_channel();
        let on_event: OnEvent = Arc::new(move |event| {
            let _ = sender.send(event);
        });
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(
            bank.home.clone(),
            ServeOptions::default(),
            on_event,
            async {
                let _ = stopped.await;
            },
        ));
        wait(&mut events, |event| {
            matches!(event, ServeEvent::Connected { .. })
        })
        .await?;
        Ok(Self {
            events,
            stop,
            serving,
        })
    }

    /// Waits until the owner has its receipt of a flow.
    async fn released(&mut self, released: &str) -> Result<bool, Failure> {
        wait(&mut self.events, |event| {
            matches!(event, ServeEvent::Flow { flow, what: FlowEvent::Released { .. } } if flow == released)
        })
        .await?;
        Ok(true)
    }

    async fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(());
        let ended = self.serving.await;
        Ok(ended.map_err(|e| Failure::new("party", 1, e.to_string()))??)
    }
}

async fn wait(
    events: &mut mpsc::UnboundedReceiver<ServeEvent>,
    is: impl Fn(&ServeEvent) -> bool,
) -> Result<(), Failure> {
    let found = async {
        while let Some(event) = events.recv().await {
            if is(&event) {
                return Ok(());
            }
        }
        Err(Failure::new("demo", 1, "the owner's agent ended early"))
    };
    timeout(PATIENCE, found).await.map_err(|_| {
        Failure::new(
            "demo",
            5,
            "the owner's agent did not get there within a minute",
        )
    })?
}

/// A tag that the agreement does not have.
async fn ask_too_much(
    insurer: &Institution,
    id: &AgreementId,
    page: &Page,
) -> Result<Refusal, Failure> {
    let ask = options(insurer, id, &["age_band", "foreign_worker"])?;
    match exchange(&insurer.home, &ask, &silent()).await {
        Ok(_) => Err(Failure::new(
            "demo",
            1,
            "a tag outside the agreement was delivered",
        )),
        Err(error) => {
            let denial = error
                .denial()
                .cloned()
                .ok_or_else(|| Failure::from(error))?;
            let entry = denial
                .entry
                .map_or_else(String::new, |entry| format!("; recorded as entry {entry}"));
            page.bad(&format!(
                "asked for the tag `foreign_worker` too: {denial}{entry}"
            ));
            Ok(Refusal {
                message: denial.to_string(),
                entry: denial.entry,
            })
        }
    }
}

fn options(
    insurer: &Institution,
    id: &AgreementId,
    tags: &[&str],
) -> Result<ExchangeOptions, Failure> {
    let policies = insurer.path.join("policies.csv");
    Ok(ExchangeOptions {
        agreement: id.clone(),
        user: insurer.maker.clone(),
        segment: None,
        identifier: None,
        tags: tags
            .iter()
            .map(|tag| parse(tag))
            .collect::<Result<_, _>>()?,
        source: Source::parse(&policies.to_string_lossy())
            .map_err(counterfoil_party::error::Error::from)?,
        column: "phone".into(),
        region: None,
        carry: vec!["policy".into()],
        output: insurer.path.join("matched.csv"),
        overwrite: false,
    })
}

fn silent() -> OnProgress {
    Arc::new(|_| {})
}

/// Remembers which entry granted the request.
fn watch_grant() -> (Arc<AtomicU64>, OnProgress) {
    let entry = Arc::new(AtomicU64::new(0));
    let seen = entry.clone();
    let progress: OnProgress = Arc::new(move |event| {
        if let Progress::Granted { entry, .. } = event {
            seen.store(entry, Ordering::Relaxed);
        }
    });
    (entry, progress)
}

/// Alters one figure in a copy of the log, and returns how that was noticed.
fn tamper(export: &Path, copy: &Path, log_key: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(export).map_err(|e| Failure::file("read", export, &e))?;
    let altered = text.replacen(r#"\"k\":10"#, r#"\"k\":1"#, 1);
    if altered == text {
        return Err(Failure::new(
            "demo",
            1,
            "the log names no k that could be altered",
        ));
    }
    std::fs::write(copy, altered).map_err(|e| Failure::file("write", copy, &e))?;
    match audit::verify_file(copy, log_key) {
        Ok(_) => Err(Failure::new("demo", 6, "an altered log was not noticed")),
        // Whatever else may go wrong with the copy is no proof that the change was seen.
        Err(error) if error.exit_code() == 6 => Ok(error.to_string()),
        Err(error) => Err(error.into()),
    }
}
