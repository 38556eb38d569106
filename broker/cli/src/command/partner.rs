//! `counterfoil broker add-officer`, `counterfoil broker partner ...`

use std::path::Path;

use counterfoil_policy::approval::Assessment;
use counterfoil_policy::decision::PartnerFacts;
use counterfoil_policy::moment::Timestamp;
use counterfoil_server::home::Home;
use counterfoil_server::operator::Operator;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::parse;
use crate::args::PartnerCommand;
use crate::failure::Failure;
use crate::ui::Ui;

pub(crate) async fn add_officer(path: &Path, user: &str, ui: Ui) -> Result<(), Failure> {
    let home = Home::open(path)?;
    let operator = Operator::connect(&home).await?;
    let entry = operator.add_officer(&home, &parse(user)?).await?;
    ui.result(&json!({ "user": user, "entry": entry }), || {
        format!("officer `{user}` has a key, entry {entry}; two officers assess an institution")
    })
}

pub(crate) async fn run(path: &Path, command: PartnerCommand, ui: Ui) -> Result<(), Failure> {
    let home = Home::open(path)?;
    let operator = Operator::connect(&home).await?;
    match command {
        PartnerCommand::Assess {
            name,
            standing,
            region,
            certifications,
            user,
        } => {
            let assessment = Assessment {
                org: parse(&name)?,
                facts: facts(standing, region, &certifications)?,
                at: Timestamp::from(OffsetDateTime::now_utc()),
            };
            let entry = operator.propose(&home, &parse(&user)?, &assessment).await?;
            ui.result(&json!({ "proposed": assessment, "by": user, "entry": entry }), || {
                format!(
                    "proposed by `{user}`, entry {entry}; nothing changes before a second officer approves:\n  counterfoil broker partner approve {name} --as OFFICER"
                )
            })
        }
        PartnerCommand::Approve { name, user } => {
            let (assessment, entry) = operator.approve(&home, &parse(&user)?, &name).await?;
            ui.result(
                &json!({ "approved": assessment, "by": user, "entry": entry }),
                || {
                    format!(
                        "approved by `{user}`, entry {entry}: {}",
                        shown(&assessment.facts)
                    )
                },
            )
        }
        PartnerCommand::Show { name } => {
            let assessed = operator.assessments(&name).await?;
            let proposed = assessed.proposed.as_ref();
            let json = json!({
                "org": name,
                "in_force": assessed.in_force,
                "proposed": proposed.map(|(assessment, by)| json!({ "assessment": assessment, "by": by })),
            });
            ui.result(&json, || {
                let in_force = assessed
                    .in_force
                    .as_ref()
                    .map_or("not assessed yet".to_owned(), shown);
                let waiting = proposed.map_or(String::new(), |(assessment, by)| {
                    format!(
                        "\nproposed by `{by}`, waits for a second officer: {}",
                        shown(&assessment.facts)
                    )
                });
                format!("{name}: {in_force}{waiting}")
            })
        }
    }
}

/// Through the form that is signed, so that everything is checked in one place.
fn facts(
    standing: u8,
    region: Option<String>,
    certifications: &[String],
) -> Result<PartnerFacts, Failure> {
    let mut listed = Map::new();
    for certification in certifications {
        let (name, day) = certification
            .split_once('=')
            .ok_or_else(|| Failure::input(format!("`{certification}` is not a certification with its last day; give one like mlps-3=2027-05-01")))?;
        listed.insert(name.to_owned(), Value::from(day));
    }
    let mut facts = Map::new();
    facts.insert("standing".to_owned(), standing.into());
    facts.insert("certifications".to_owned(), listed.into());
    if let Some(region) = region {
        facts.insert("region".to_owned(), region.into());
    }
    serde_json::from_value(facts.into()).map_err(Failure::input)
}

fn shown(facts: &PartnerFacts) -> String {
    let certifications = facts.certifications.iter();
    let certifications: Vec<_> = certifications
        .map(|(name, last)| format!(", {name} until {last}"))
        .collect();
    let region = facts
        .region
        .map_or(String::new(), |region| format!(", in {region}"));
    format!(
        "standing {}{region}{}",
        facts.standing.score(),
        certifications.concat()
    )
}
