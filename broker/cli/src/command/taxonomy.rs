//! `counterfoil taxonomy ...`

use std::path::Path;

use counterfoil_party::taxonomies;
use counterfoil_policy::taxonomy::{Definition, Library, Taxonomy};
use counterfoil_policy::text::TaxonomyName;
use serde_json::{Value, json};

use super::{agreement, parse};
use crate::args::TaxonomyCommand;
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) fn run(home: &Path, command: TaxonomyCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        TaxonomyCommand::List => list(&taxonomies::library(home)?, ui),
        TaxonomyCommand::Show { text: true, .. } => {
            let text = Library::built_in_text();
            ui.result(&json!({ "text": text }), || text.to_owned())
        }
        TaxonomyCommand::Show { name, version, .. } => {
            let name: TaxonomyName = parse(&name)?;
            let library = taxonomies::library(home)?;
            let found = match version {
                Some(version) => library.find(&name, version),
                None => library.latest(&name),
            };
            let missing = || {
                Failure::input(format!(
                    "this home has not {}: put its file into the folder `{}`",
                    library.missing(&name, version.unwrap_or(1)),
                    taxonomies::FOLDER
                ))
            };
            show(found.ok_or_else(missing)?, ui)
        }
        TaxonomyCommand::Check { file } => check(home, &file, ui),
    }
}

fn list(library: &Library, ui: Ui) -> Result<(), Failure> {
    let listed: Vec<_> = library.iter().map(summary).collect();
    ui.result(&json!({ "taxonomies": listed }), || {
        let rows = library.iter().map(|taxonomy| {
            vec![
                taxonomy.reference().to_string(),
                format!("{} tags", taxonomy.definitions().count()),
                taxonomy.reference().digest.to_string(),
            ]
        });
        table(&rows.collect::<Vec<_>>())
    })
}

fn summary(taxonomy: &Taxonomy) -> Value {
    json!({ "taxonomy": taxonomy.reference(), "tags": taxonomy.definitions().count() })
}

fn show(taxonomy: &Taxonomy, ui: Ui) -> Result<(), Failure> {
    let tags: Vec<_> = taxonomy.definitions().map(tag).collect();
    ui.result(
        &json!({ "taxonomy": taxonomy.reference(), "tags": tags }),
        || {
            let rows = taxonomy.definitions().map(row);
            format!(
                "{}\ndigest {}\n\n{}",
                taxonomy.reference(),
                taxonomy.reference().digest,
                table(&rows.collect::<Vec<_>>())
            )
        },
    )
}

fn tag(definition: &Definition) -> Value {
    let exact = definition.exact();
    json!({
        "name": definition.name(),
        "meaning": definition.meaning(),
        "subject": definition.subject(),
        "class": definition.class(),
        "security_level": definition.security_level(),
        "kind": exact.map(|tag| tag.kind()),
        "values": exact.map(|tag| tag.values()),
        "levels": exact.map(|tag| tag.level_count()),
        "tolerance": exact.map(|tag| tag.tolerance()),
    })
}

fn row(definition: &Definition) -> Vec<String> {
    let form = definition.exact().map_or_else(
        || "never leaves".to_owned(),
        |tag| {
            let counts = (0..=tag.level_count()).map(|level| {
                let values = tag.distinct_values_at(level);
                values.map_or("any".to_owned(), |values| values.to_string())
            });
            let counts: Vec<_> = counts.collect();
            format!("{}, values by level {}", tag.kind(), counts.join(" > "))
        },
    );
    vec![
        definition.name().to_string(),
        format!(
            "{} level {}",
            definition.class(),
            definition.security_level().number()
        ),
        form,
        definition.meaning().to_owned(),
    ]
}

fn check(home: &Path, file: &Path, ui: Ui) -> Result<(), Failure> {
    let text = agreement::read(file)?;
    let taxonomy = taxonomies::with(home, file, &text)?;
    ui.result(&summary(&taxonomy), || {
        format!(
            "{} is valid: {} tags",
            taxonomy.reference(),
            taxonomy.definitions().count()
        )
    })
}
