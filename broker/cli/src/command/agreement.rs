//! `counterfoil agreement ...`

use std::path::Path;

use counterfoil_party::agreements::{self, AgreementInfo, Skipped, Take};
use counterfoil_party::clock::Clock;
use counterfoil_party::taxonomies;
use counterfoil_party::transport::Broker;
use counterfoil_policy::agreement::{Agreement, Fit, MarkReach, Minimisation, Purpose};
use counterfoil_policy::taxonomy::Library;
use counterfoil_policy::text::{AgreementId, UserId};
use serde_json::json;

use super::{open, parse};
use crate::args::{AgreementCommand, Side};
use crate::failure::Failure;
use crate::ui::{Ui, table};

/// Longest agreement that is read, in bytes: the policy crate's own bound is lower.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

pub(crate) async fn run(home: &Path, command: AgreementCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        AgreementCommand::Draft { with, side } => {
            let take = match side {
                Side::Owner => Take::Owner,
                Side::Recipient => Take::Recipient,
            };
            let text = agreements::template(&open(home)?, &parse(&with)?, take)?;
            ui.result(&json!({ "draft": text }), || text.clone())
        }
        AgreementCommand::Purposes => purposes(ui),
        AgreementCommand::Lint { file } => lint(home, &file, ui),
        AgreementCommand::Propose { file, user } => {
            let info = agreements::propose(&open(home)?, &read(&file)?, &parse(&user)?)?;
            ui.result(&info, || describe(&info))
        }
        AgreementCommand::Sign { id, user } => {
            let home = open(home)?;
            let broker = Broker::connect(&home).await?;
            let (id, user): (AgreementId, UserId) = (parse(&id)?, parse(&user)?);
            let signed = agreements::sign(&home, &broker, &id, &user).await?;
            ui.result(&signed, || {
                let part = signed
                    .role
                    .map(|role| format!("`{user}` signed as {role}\n"));
                part.unwrap_or_default() + &describe(&signed.agreement)
            })
        }
        AgreementCommand::Show { id, version } => show(home, &parse(&id)?, version, ui).await,
        AgreementCommand::List => list(home, ui).await,
        AgreementCommand::Revoke { id, user, reason } => {
            let home = open(home)?;
            let broker = Broker::connect(&home).await?;
            let info =
                agreements::revoke(&home, &broker, &parse(&id)?, &parse(&user)?, &reason).await?;
            ui.result(&info, || describe(&info))
        }
    }
}

fn purposes(ui: Ui) -> Result<(), Failure> {
    let listed: Vec<_> = Purpose::ALL
        .iter()
        .map(|purpose| {
            json!({
                "purpose": purpose,
                "definition": purpose.definition(),
                "denied_by_default": purpose.is_denied_by_default(),
            })
        })
        .collect();
    ui.result(&json!({ "purposes": listed }), || {
        let rows = Purpose::ALL
            .iter()
            .map(|purpose| vec![purpose.to_string(), purpose.definition().to_owned()]);
        table(&rows.collect::<Vec<_>>())
    })
}

/// Lines of the table that compares each tag's form with what the purpose needs.
fn describe_minimisation(file: &Path, told: &Minimisation) -> String {
    let place = told
        .line
        .map_or_else(String::new, |line| format!(":{line}"));
    let level = |level: usize, values: Option<usize>| {
        let values = values.map_or("any number of".to_owned(), |values| values.to_string());
        format!("level {level} ({values} values)")
    };
    let agreed = match told.agreed_level {
        Some(agreed) => level(agreed, told.agreed_values),
        None => "chooses segments, not delivered".to_owned(),
    };
    let verdict = match (told.fit, told.adequate_level) {
        (Fit::Adequate, _) => "coarse enough".to_owned(),
        (Fit::Finer, Some(adequate)) => {
            format!("{} is adequate", level(adequate, told.adequate_values))
        }
        (Fit::NotNeeded, _) => "not needed".to_owned(),
        _ => "no advice".to_owned(),
    };
    format!(
        "{}{place}: tag `{}`: {}: {verdict}: {}\n",
        file.display(),
        told.tag,
        agreed,
        told.advice
    )
}

/// What the marks can do, at one false naming in a billion over a million candidates.
fn describe_marks(reach: &MarkReach) -> String {
    let together = |(more, rows): (usize, &u64)| match more {
        0 => format!("{rows} rows name a recipient that leaks alone"),
        _ => format!("{rows} rows one of {} together", more + 1),
    };
    let rows: Vec<String> = reach
        .rows_by_colluders
        .iter()
        .enumerate()
        .map(together)
        .collect();
    let rows = if rows.is_empty() {
        "they can name nobody, however many rows leak: mark more tags, or give a larger budget or tag_bits".to_owned()
    } else {
        format!(
            "{}; more together than {} are out of reach",
            rows.join(", "),
            rows.len()
        )
    };
    let flow = reach.rows_for_flow.map_or_else(
        || "which flow it was cannot be told".to_owned(),
        |rows| format!("{rows} rows tell which flow of one recipient it was"),
    );
    let codes = if reach.reference_codes {
        "  each delivered row has a reference code: seen, and easily taken away\n"
    } else {
        ""
    };
    if reach.tags.is_empty() {
        return format!(
            "no tag carries marks in lineage `{}`\n{codes}",
            reach.lineage
        );
    }
    let weights = if reach.unweighted.is_empty() {
        String::new()
    } else {
        format!(
            "  without `weights`, so marks may move to rare values: {}\n",
            reach.unweighted.join(", ")
        )
    };
    format!(
        "marks of lineage `{}` in {}: {rows}; {flow}\n  the largest flow: {}\n{weights}{codes}  agree on budget, rows_min and tag_bits with every recipient of the dataset: marks withstand together only those of one lineage\n",
        reach.lineage,
        reach.tags.join(", "),
        reach.largest_flow
    )
}

fn lint(home: &Path, file: &Path, ui: Ui) -> Result<(), Failure> {
    // Without a home there is nothing to compare with.
    let beside = open(home).ok().map(|home| agreements::in_force(&home));
    let beside = beside.transpose()?.unwrap_or_default();
    let now = Clock::system().now();
    let report = agreements::lint(&read(file)?, &taxonomies::library(home)?, &beside, now);
    let place = |line: Option<u32>| line.map_or_else(String::new, |line| format!(":{line}"));
    ui.result(&report, || {
        let mut text = String::new();
        for finding in &report.findings {
            text += &format!(
                "{}{}: wrong: {}: {}; {}\n",
                file.display(),
                place(finding.line),
                finding.path,
                finding.problem,
                finding.would_pass
            );
        }
        for obstacle in &report.obstacles {
            text += &format!(
                "{}{}: denied: {}: rule `{}` ({}): {}{}; would pass: {}\n",
                file.display(),
                place(obstacle.line),
                obstacle.path,
                obstacle.rule,
                obstacle.source,
                obstacle.says,
                named(&obstacle.tags),
                obstacle.would_pass
            );
        }
        for advice in &report.advice {
            text += &format!(
                "{}{}: advice: {}: {}\n",
                file.display(),
                place(advice.line),
                advice.path,
                advice.advice
            );
        }
        for told in &report.minimisation {
            text += &describe_minimisation(file, told);
        }
        if let Some(marks) = &report.marks {
            text += &describe_marks(marks);
        }
        if report.valid {
            text += "the agreement is valid\n";
        }
        if !report.obstacles.is_empty() {
            text += "but a broker with all packs would deny every request for all its tags, as said above\n";
        }
        text
    })?;
    if report.valid {
        return Ok(());
    }
    Err(Failure::new(
        "agreement_invalid",
        3,
        format!(
            "`{}` is not a valid agreement: {} findings",
            file.display(),
            report.findings.len()
        ),
    )
    .after_result())
}

async fn show(path: &Path, id: &AgreementId, version: Option<u32>, ui: Ui) -> Result<(), Failure> {
    let home = open(path)?;
    refresh(&home, Some(id)).await;
    let (info, document) = agreements::show(&home, id, version)?;
    ui.result(&json!({ "agreement": info, "document": document }), || {
        let document = serde_json::to_string_pretty(&document).unwrap_or_default();
        format!("{}\n{document}", describe(&info))
    })
}

async fn list(path: &Path, ui: Ui) -> Result<(), Failure> {
    let home = open(path)?;
    refresh(&home, None).await;
    let listing = agreements::list(&home)?;
    note_skipped(&listing.skipped);
    ui.result(&listing, || {
        if listing.agreements.is_empty() {
            return "no agreements yet: counterfoil agreement draft --with PARTNER --side owner"
                .into();
        }
        let rows = listing.agreements.iter().map(|info| {
            vec![
                format!("{} v{}", info.id, info.version),
                format!("{} -> {}", info.owner, info.recipient),
                status(info),
                info.awaiting.clone().unwrap_or_default(),
            ]
        });
        table(&rows.collect::<Vec<_>>())
    })
}

/// What the broker has may be newer; what is here is shown all the same when it cannot be asked.
async fn refresh(home: &counterfoil_party::home::Home, id: Option<&AgreementId>) {
    let synced = async {
        let broker = Broker::connect(home).await?;
        agreements::sync(home, &broker, id).await
    };
    match synced.await {
        Ok(synced) => note_skipped(&synced.skipped),
        Err(error) => eprintln!("note: {error}; shown is what this home holds"),
    }
}

fn note_skipped(skipped: &[Skipped]) {
    for skipped in skipped {
        eprintln!(
            "note: `{}` v{} was left out: {}",
            skipped.id, skipped.version, skipped.error
        );
    }
}

fn status(info: &AgreementInfo) -> String {
    json!(info.status)
        .as_str()
        .unwrap_or_default()
        .replace('_', " ")
}

fn describe(info: &AgreementInfo) -> String {
    let next = info.awaiting.as_ref().map(|next| format!("\nnext: {next}"));
    format!(
        "agreement `{}` version {}: {}\n  {} gives {} the tags {} of `{}`, {} to {}{}",
        info.id,
        info.version,
        status(info),
        info.owner,
        info.recipient,
        info.tags
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        info.dataset,
        info.valid_from,
        info.valid_until,
        next.unwrap_or_default()
    )
}

/// Tags, after what a rule says of them.
pub(super) fn named(tags: &[String]) -> String {
    let list = |(index, tag): (usize, &String)| {
        let before = if index == 0 { ": " } else { ", " };
        format!("{before}`{tag}`")
    };
    tags.iter().enumerate().map(list).collect()
}

/// The agreement that a file has the text of; what is wrong with it names file and line.
pub(super) fn parsed(file: &Path, library: &Library) -> Result<Agreement, Failure> {
    Agreement::parse_with(&read(file)?, library).map_err(|findings| {
        let named = |fault| format!("`{}`: {fault}", file.display());
        let lines = findings.iter().map(named).collect::<Vec<_>>();
        Failure::input(lines.join("\n"))
    })
}

pub(super) fn read(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text))
        .map_err(|e| Failure::file("read", file, &e))?;
    Ok(text)
}
