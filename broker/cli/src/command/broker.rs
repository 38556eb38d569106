//! `counterfoil broker ...`

use std::path::Path;

use counterfoil_server::home::{Config, Home, Room, built_in_packs};
use counterfoil_server::operator::Operator;
use counterfoil_server::serve::Service;
use serde_json::json;
use time::OffsetDateTime;

use super::{partner, stopped};
use crate::args::BrokerCommand;
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) async fn run(home: &Path, command: BrokerCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        BrokerCommand::Init {
            name,
            listen,
            address,
        } => init(home, name, listen, address, ui),
        BrokerCommand::Serve => serve(home, ui).await,
        BrokerCommand::Invite { name, valid } => invite(home, &name, valid, ui).await,
        BrokerCommand::Partners => partners(home, ui).await,
        BrokerCommand::AddOfficer { user } => partner::add_officer(home, &user, ui).await,
        BrokerCommand::Partner(command) => partner::run(home, command, ui).await,
        BrokerCommand::Revoke { name, reason } => revoke(home, &name, &reason, ui).await,
        BrokerCommand::Export { out } => export(home, &out, ui).await,
    }
}

fn init(
    path: &Path,
    name: String,
    listen: String,
    address: Option<String>,
    ui: Ui,
) -> Result<(), Failure> {
    let address = address.unwrap_or_else(|| listen.clone());
    let config = Config {
        name,
        listen,
        address,
        packs: built_in_packs(),
        assessed_only: false,
        room: Room::default(),
    };
    let home = Home::create(path, config, OffsetDateTime::now_utc())?;
    let log_key = home.log_key()?.verifier().to_string();
    let config = home.config();
    ui.result(
        &json!({ "home": path, "name": config.name, "listen": config.listen, "address": config.address, "log_key": log_key }),
        || {
            format!(
                "broker `{}` made in {}\n\n  log key  {log_key}\n\nGive the log key to everybody who will check the log.\nNext: counterfoil --home {1} broker serve",
                config.name,
                path.display()
            )
        },
    )
}

async fn serve(path: &Path, ui: Ui) -> Result<(), Failure> {
    let service = Service::start(Home::open(path)?).await?;
    let (address, entries, log_key) = (service.address()?, service.entries(), service.log_key());
    ui.event(
        &json!({ "event": "listening", "address": address.to_string(), "entries": entries, "log_key": log_key }),
        || Some(format!("listening on {address}, {entries} entries in the log\nlog key  {log_key}")),
    );
    Ok(service.run(stopped()).await?)
}

async fn invite(path: &Path, name: &str, valid: u32, ui: Ui) -> Result<(), Failure> {
    let home = Home::open(path)?;
    let operator = Operator::connect(&home).await?;
    let (invite, expires) = operator.invite(name, valid).await?;
    let text = invite.to_string();
    ui.result(
        &json!({ "org": name, "invite": text, "expires": expires }),
        || text.clone(),
    )
}

async fn partners(path: &Path, ui: Ui) -> Result<(), Failure> {
    let operator = Operator::connect(&Home::open(path)?).await?;
    let partners = operator.partners().await?;
    let json: Vec<_> = partners
        .iter()
        .map(|p| json!({ "org": p.org, "revoked": p.revoked, "serving": p.serving, "signing_key": p.signing_key, "noise_key": p.noise_key }))
        .collect();
    ui.result(&json, || {
        if partners.is_empty() {
            return "nobody has joined yet: counterfoil broker invite NAME".into();
        }
        let rows = partners.iter().map(|p| {
            let state = if p.revoked { "revoked" } else { "joined" };
            let serving = if p.serving { "serving" } else { "" };
            vec![p.org.clone(), state.into(), serving.into()]
        });
        table(&rows.collect::<Vec<_>>())
    })
}

async fn revoke(path: &Path, name: &str, reason: &str, ui: Ui) -> Result<(), Failure> {
    let operator = Operator::connect(&Home::open(path)?).await?;
    let entry = operator.revoke_partner(name, reason).await?;
    ui.result(
        &json!({ "org": name, "revoked": true, "entry": entry }),
        || format!("`{name}` is revoked and its connections are cut (entry {entry})"),
    )
}

async fn export(path: &Path, out: &Path, ui: Ui) -> Result<(), Failure> {
    let operator = Operator::connect(&Home::open(path)?).await?;
    let failed = |doing: &str, error: &std::io::Error| Failure::file(doing, out, error);
    if out.exists() {
        return Err(failed("create", &std::io::ErrorKind::AlreadyExists.into()));
    }
    // Under its name only once it is whole: half an export would stand in the way of the next one.
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let part = tempfile::Builder::new()
        // As any file that the operator makes: the auditor may be another user.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|e| failed("create", &e))?;
    operator
        .export(std::io::BufWriter::new(part.as_file()))
        .await?;
    part.as_file().sync_all().map_err(|e| failed("write", &e))?;
    part.persist_noclobber(out)
        .map_err(|e| failed("create", &e.error))?;
    ui.result(&json!({ "export": out }), || {
        format!("log written to {0}; check it anywhere with\n  counterfoil audit verify --file {0} --key LOG-KEY", out.display())
    })
}
