//! `counterfoil party ...`

use std::path::Path;
use std::sync::Arc;

use counterfoil_party::clock::Clock;
use counterfoil_party::home::Home;
use counterfoil_party::join::{join, read_invite};
use counterfoil_party::owner::{FlowEvent, OnEvent, ServeEvent, ServeOptions, serve};
use counterfoil_party::partners::{self, Confirmation};
use counterfoil_party::transport::Broker;
use serde_json::json;

use super::{open, parse, stopped};
use crate::args::PartyCommand;
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) async fn run(home: &Path, command: PartyCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        PartyCommand::Init { name } => init(home, &name, ui),
        PartyCommand::Join { invite } => {
            let joined = join(&mut open(home)?, &read_invite(&invite)?).await?;
            ui.result(&joined, || {
                format!(
                    "`{}` has joined the broker at {}\n\n  log key      {}\n  fingerprint  {}\n\nCompare the log key with the one that the operator tells you by another way.\nTell partners the fingerprint, by telephone or in person; they confirm it with\n  counterfoil party confirm-partner {0} FINGERPRINT",
                    joined.org, joined.address, joined.log_key, joined.fingerprint
                )
            })
        }
        PartyCommand::Show { fingerprint: true } => {
            let fingerprint = open(home)?.fingerprint()?;
            ui.result(&json!({ "fingerprint": fingerprint }), || {
                fingerprint.to_string()
            })
        }
        PartyCommand::Show { fingerprint: false } => show(home, ui),
        PartyCommand::AddUser { user } => {
            let person = open(home)?.add_person(&parse(&user)?)?;
            ui.result(&person, || {
                format!("`{user}` may now propose, sign and ask")
            })
        }
        PartyCommand::Partners => list(home, ui).await,
        PartyCommand::ConfirmPartner { name, fingerprint } => {
            let home = open(home)?;
            let broker = Broker::connect(&home).await?;
            let partner =
                partners::confirm(&home, &broker, &parse(&name)?, &parse(&fingerprint)?).await?;
            ui.result(&partner, || format!("the keys of `{name}` are confirmed"))
        }
        PartyCommand::Serve { shard } => {
            let home = Arc::new(open(home)?);
            let on_event: OnEvent = Arc::new(move |event| ui.event(&event, || describe(&event)));
            let options = ServeOptions {
                shard,
                ..ServeOptions::default()
            };
            Ok(serve(home, options, on_event, stopped()).await?)
        }
    }
}

fn init(path: &Path, name: &str, ui: Ui) -> Result<(), Failure> {
    let home = Home::create(path, parse(name)?, Clock::system())?;
    let fingerprint = home.fingerprint()?;
    ui.result(&json!({ "home": path, "org": name, "fingerprint": fingerprint }), || {
        format!(
            "keys of `{name}` made in {}\n\n  fingerprint  {fingerprint}\n\nNext: get an invite from the broker's operator, then\n  counterfoil --home {0} party join INVITE",
            path.display()
        )
    })
}

fn show(path: &Path, ui: Ui) -> Result<(), Failure> {
    let home = open(path)?;
    let (keys, fingerprint) = (home.party_keys()?, home.fingerprint()?);
    let people = home.people()?;
    let broker = home.broker().ok();
    let document = json!({
        "org": keys.name,
        "signing_key": keys.signing_key,
        "noise_key": keys.noise_key,
        "fingerprint": fingerprint,
        "broker": broker.map(|b| &b.address),
        "log_key": broker.map(|b| &b.log_key),
        "people": people,
    });
    ui.result(&document, || {
        let users: Vec<String> = people.iter().map(|p| p.user.to_string()).collect();
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        table(&[
            row("name", keys.name.to_string()),
            row("signing_key", keys.signing_key.to_string()),
            row("noise_key", keys.noise_key.to_string()),
            row("fingerprint", fingerprint.to_string()),
            row(
                "broker",
                broker.map_or("not joined".into(), |b| b.address.clone()),
            ),
            row(
                "people",
                if users.is_empty() {
                    "none: counterfoil party add-user USER".into()
                } else {
                    users.join(", ")
                },
            ),
        ])
    })
}

async fn list(path: &Path, ui: Ui) -> Result<(), Failure> {
    let home = open(path)?;
    let broker = Broker::connect(&home).await?;
    let partners = partners::list(&home, &broker).await?;
    ui.result(&partners, || {
        if partners.is_empty() {
            return "nobody else has joined this broker yet".into();
        }
        let rows = partners.iter().map(|p| {
            let confirmation = match p.confirmation {
                Confirmation::Confirmed => "confirmed",
                Confirmation::NotConfirmed => "NOT confirmed",
                Confirmation::Changed => "KEYS CHANGED since they were confirmed",
                Confirmation::Missing => "no longer at the broker",
            };
            let state = if p.revoked {
                "revoked"
            } else if p.serving {
                "serving"
            } else {
                ""
            };
            vec![p.org.to_string(), confirmation.into(), state.into()]
        });
        table(&rows.collect::<Vec<_>>())
    })
}

/// One line for what a person wants to know; the rest is for `--json`.
fn describe(event: &ServeEvent) -> Option<String> {
    match event {
        ServeEvent::Unfit { agreement, why } => Some(match agreement {
            Some(id) => format!("flows under `{id}` will be declined: {why}"),
            None => format!("no flow can be served: {why}"),
        }),
        ServeEvent::Connected { address } => {
            Some(format!("listening for flows at the broker {address}"))
        }
        ServeEvent::Lost { why, retry_in_ms } => Some(format!(
            "{why}; trying again in {} s",
            retry_in_ms.div_ceil(1000)
        )),
        ServeEvent::Unreadable { why } => Some(format!("an offer could not be read: {why}")),
        ServeEvent::Flow { flow, what } => {
            describe_flow(what).map(|text| format!("flow {flow}: {text}"))
        }
        ServeEvent::Stopping { running } => Some(format!("stopping, {running} flows still run")),
        _ => None,
    }
}

fn describe_flow(event: &FlowEvent) -> Option<String> {
    match event {
        FlowEvent::Accepted {
            agreement,
            recipient,
            segment,
            tags,
            set_size,
        } => Some(format!(
            "accepted from `{recipient}` under `{agreement}`{}: {} for up to {set_size} identifiers",
            segment
                .as_ref()
                .map(|s| format!(", segment `{s}`"))
                .unwrap_or_default(),
            tags.join(", "),
        )),
        FlowEvent::Declined { denial } => Some(format!("declined: {denial}")),
        FlowEvent::Read { report, unmapped } => {
            let rows = report
                .table()
                .into_iter()
                .map(|row| vec![format!("  {}", row.what), row.rows.to_string(), row.lines]);
            let unmapped: String = unmapped
                .iter()
                .map(|cells| format!("\n  {cells}"))
                .collect();
            Some(format!(
                "read {}\n{}{unmapped}",
                report.source,
                table(&rows.collect::<Vec<_>>()).trim_end()
            ))
        }
        FlowEvent::Committed {
            canaries,
            stops_at,
            entry,
        } => Some(format!(
            "{canaries} canaries mixed in, entry {entry}: the broker stops the flow from about {stops_at} hits on"
        )),
        FlowEvent::Met { buckets } if *buckets > 1 => {
            Some(format!("the sets are matched in {buckets} buckets"))
        }
        FlowEvent::Interrupted { why } => Some(format!(
            "interrupted: {why}; waiting for the recipient to come again"
        )),
        FlowEvent::Released {
            entry, rows, marks, ..
        } => {
            let marks = marks.as_ref().map(|marks| format!(", {marks}"));
            Some(format!(
                "released {rows} rows, entry {entry}{}, receipt verified and kept",
                marks.unwrap_or_default()
            ))
        }
        FlowEvent::Ended { message, .. } => Some(format!("ended: {message}")),
        _ => None,
    }
}
