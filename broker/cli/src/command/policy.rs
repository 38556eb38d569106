//! `counterfoil policy ...`

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use counterfoil_party::agreements;
use counterfoil_party::clock::Clock;
use counterfoil_party::taxonomies;
use counterfoil_policy::agreement::{Agreement, BuiltInPack, FlowKind};
use counterfoil_policy::decision::{
    AgreementStatus, Explained, Explanation, Imagined, PackSource, Rules, foresee, schema_text,
};
use counterfoil_policy::measure::{Asked, Query};
use counterfoil_policy::moment::Timestamp;
use counterfoil_server::backtest::{self, Backtest, BacktestError, Setting};
use counterfoil_server::home::{Home, read_pack};
use serde::Serialize;
use serde_json::json;

use super::{open, parse};
use crate::args::{ExplainArgs, PolicyCommand};
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) fn run(home: &Path, command: PolicyCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        PolicyCommand::Explain(args) => match (&args.flow, &args.log) {
            (Some(flow), Some(log)) => {
                let key = log_key(home, args.key.clone())?;
                let setting = setting(home, &[])?;
                let explanation = backtest::explain_flow(read(log)?, &key, &setting, flow)?;
                ui.result(&explanation, || told(&explanation))
            }
            _ => {
                let explanation = explain_request(home, &args)?;
                let foreseen = Foreseen {
                    explanation: &explanation,
                    unknown: UNKNOWN_HERE,
                };
                ui.result(&foreseen, || {
                    format!("{}\n\nNot known here: {UNKNOWN_HERE}", told(&explanation))
                })
            }
        },
        PolicyCommand::Backtest {
            new,
            log,
            since,
            key,
        } => {
            let setting = setting(home, &packs_of(&new)?)?;
            let since = since.as_deref().map(start_of).transpose()?;
            let key = log_key(home, key)?;
            let outcome = backtest::run(read(&log)?, &key, &setting, since.as_deref())?;
            ui.result(&outcome, || differences(&outcome))
        }
        PolicyCommand::Schema => ui.result(&json!({ "schema": schema_text() }), || {
            schema_text().to_owned()
        }),
    }
}

/// What only the broker knows of a request that is made up at a party.
const UNKNOWN_HERE: &str = "standing, certifications and region as the broker's officers assessed them, how much of the \
     caps is used, the owner's own caps, and rules of the broker's own. It may deny what passes here.";

/// An explanation by a party, and what it cannot take into account.
#[derive(Serialize)]
struct Foreseen<'a> {
    #[serde(flatten)]
    explanation: &'a Explanation,
    unknown: &'static str,
}

impl From<BacktestError> for Failure {
    fn from(error: BacktestError) -> Self {
        let (code, exit) = match &error {
            BacktestError::Unverified(_) | BacktestError::Inconsistent { .. } => ("unverified", 6),
            BacktestError::Key(_) | BacktestError::NoSuchFlow(_) => ("input", 3),
        };
        Self::new(code, exit, error.to_string())
    }
}

/// The rules of the broker whose directory this is; else the house rules with all packs. `new` packs replace those of
/// their names, or are added.
fn setting(home: &Path, new: &[PackSource]) -> Result<Setting, Failure> {
    let broker = is_broker(home).then(|| Home::open(home)).transpose()?;
    let config = broker.as_ref().map(Home::config);
    let mut in_force = Vec::new();
    let mut own = new.to_vec();
    for name in config.map_or_else(counterfoil_server::home::built_in_packs, |c| {
        c.packs.clone()
    }) {
        in_force.extend(name.parse::<BuiltInPack>().ok());
        let file = home.join("packs").join(format!("{name}.cedar"));
        if broker.is_some() && file.exists() && new.iter().all(|pack| pack.name != name) {
            own.push(read_pack(&name, &file)?);
        }
    }
    in_force.extend(
        new.iter()
            .filter_map(|pack| pack.name.parse::<BuiltInPack>().ok()),
    );
    let rules = Rules::load(&in_force, &own).map_err(Failure::input)?;
    Ok(Setting::new(
        rules,
        config.is_some_and(|config| config.assessed_only),
    ))
}

fn is_broker(home: &Path) -> bool {
    home.join("broker.toml").exists()
}

/// The packs of a file, or of every `.cedar` file of a directory.
fn packs_of(path: &Path) -> Result<Vec<PackSource>, Failure> {
    let unreadable = |error: &std::io::Error| Failure::file("read", path, error);
    let files = if path.is_dir() {
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| unreadable(&e))? {
            let file = entry.map_err(|e| unreadable(&e))?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "cedar")
            {
                files.push(file);
            }
        }
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    if files.is_empty() {
        let message = format!(
            "no rules are in `{}`: give a directory with files that end in .cedar",
            path.display()
        );
        return Err(Failure::input(message));
    }
    let packs = files.iter().map(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        read_pack(&name, file).map_err(|e| Failure::new("file", 3, e.to_string()))
    });
    packs.collect()
}

fn log_key(home: &Path, given: Option<String>) -> Result<String, Failure> {
    match given {
        Some(key) => Ok(key),
        None if is_broker(home) => Ok(Home::open(home)?.log_key()?.verifier().to_string()),
        None => Ok(open(home)?.broker()?.log_key.clone()),
    }
}

fn read(log: &Path) -> Result<BufReader<File>, Failure> {
    File::open(log)
        .map(BufReader::new)
        .map_err(|e| Failure::file("read", log, &e))
}

/// A day as the entries of the log write its first moment.
fn start_of(day: &str) -> Result<String, Failure> {
    let last: counterfoil_policy::decision::LastDay = parse(day)?;
    Ok(format!("{last}T00:00:00.000000Z"))
}

/// A request that nobody made, by what this party holds. The caps count as unused, and what the broker's officers know
/// stays unknown: the broker may deny what passes here.
fn explain_request(path: &Path, args: &ExplainArgs) -> Result<Explanation, Failure> {
    let named = args.agreement.as_deref().unwrap_or_default();
    let (agreement, status, now) = held(path, named)?;
    let measured = !args.queries.is_empty();
    let kind = match agreement.flows() {
        _ if measured => FlowKind::Measure,
        flows if flows.contains(&FlowKind::Exchange) => FlowKind::Exchange,
        _ => {
            return Err(Failure::input(format!(
                "agreement `{}` allows no exchange: give --query \"count epsilon 0.5\", or what else is to be measured",
                agreement.id()
            )));
        }
    };
    let queries = args.queries.iter().map(|text| parse::<Query>(text));
    let tags = args.tags.iter().map(|tag| parse(tag));
    let asked = Asked {
        queries: queries.collect::<Result<_, _>>()?,
        delta: args.delta.as_deref().map(parse).transpose()?,
    };
    let imagined = Imagined {
        kind,
        tags: tags.collect::<Result<_, _>>()?,
        measure: measured.then_some(asked),
        segment: args.segment.as_deref().map(parse).transpose()?,
        identifier: args.by.as_deref().map(parse).transpose()?,
        purpose: args.purpose.as_deref().map(parse).transpose()?,
        set_size: args.set_size,
    };
    let rules = Rules::built_in();
    Ok(foresee(rules, &agreement, status, now, &imagined))
}

/// An agreement of this party: in force, else the latest that is being signed; or the text of one, as a file, as if it were.
fn held(path: &Path, named: &str) -> Result<(Agreement, AgreementStatus, Timestamp), Failure> {
    let file = Path::new(named);
    if super::is_agreement_file(file) {
        let library = taxonomies::library(path)?;
        let agreement = super::agreement::parsed(file, &library)?;
        let now = Clock::system().now().max(agreement.begins());
        return Ok((agreement, AgreementStatus::Active, now));
    }
    let home = open(path)?;
    let id = parse(named)?;
    let held = match agreements::find(&home, &id, 0)? {
        Some(held) => held,
        None => {
            let (latest, _) = agreements::latest_agreement(&home, &id)?;
            let found = agreements::find(&home, &id, latest.version())?;
            found.ok_or_else(|| Failure::new("unexpected", 1, "the agreement is not here"))?
        }
    };
    Ok((held.agreement, held.status, home.clock().now()))
}

fn told(explanation: &Explanation) -> String {
    let row = |explained: &Explained| {
        let rule = &explained.rule;
        let found = match (explained.broken, explained.satisfied, rule.permits) {
            (true, _, _) => "BROKEN",
            (_, true, true) => "permits",
            (_, true, false) => "passes",
            (_, false, true) => "no permit",
            (_, false, false) => "DENIES",
        };
        let unverified = if rule.status == counterfoil_policy::decision::Verification::Unverified {
            " (unverified)"
        } else {
            ""
        };
        vec![
            found.to_owned(),
            rule.pack.clone(),
            rule.id.clone(),
            format!("{}{unverified}", rule.source),
            format!("{}{}", rule.says, super::agreement::named(&explained.tags)),
        ]
    };
    let rows: Vec<_> = explanation.rules.iter().map(row).collect();
    let end = match &explanation.denial {
        None => format!(
            "granted; obliges to: {}",
            explanation.obligations.join("; ")
        ),
        Some(denial) => format!("{denial}"),
    };
    format!("{}\n{end}", table(&rows))
}

fn differences(outcome: &Backtest) -> String {
    let rows: Vec<_> = outcome
        .differences
        .iter()
        .map(|d| {
            let would_pass = d.would_pass.clone().unwrap_or_default();
            vec![
                d.entry.to_string(),
                d.time.clone(),
                d.agreement.clone(),
                d.recipient.clone(),
                format!("{} -> {}", d.was, d.would_be),
                would_pass,
            ]
        })
        .collect();
    format!(
        "{}{} requests decided again, {} would differ, {} not recorded well enough to replay",
        table(&rows),
        outcome.replayed,
        outcome.differences.len(),
        outcome.not_replayed
    )
}
