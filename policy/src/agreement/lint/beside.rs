//! Advice about an agreement beside others that are in force.

use super::Advice;
use crate::agreement::{Agreement, FlowKind};

/// What to reconsider because of other agreements between the same owner and its recipients.
///
/// Differential privacy says nothing of people whose rows the same recipient gets by exchange; and a second name for the people of a
/// dataset is refused by the broker, because its budget would begin anew. Marks of different lineages, and cells without any, undo each other.
#[must_use]
pub fn lint_beside(agreement: &Agreement, others: &[Agreement]) -> Vec<Advice> {
    let others = others.iter().filter(|other| {
        other.digest() != agreement.digest()
            && other.owner().name == agreement.owner().name
            && same_people(agreement, other)
    });
    let mut advice = Vec::new();
    let mut add = |path: &str, text: String| {
        advice.push(Advice {
            line: agreement.lines.get(path).copied(),
            path: path.to_owned(),
            advice: text,
        });
    };
    for other in others {
        let id = other.id();
        if let Some(text) = marks_beside(agreement, other) {
            add("marks", text);
        }
        // A new version takes the place of the one in force.
        if id == agreement.id() {
            continue;
        }
        if other.recipient().name == agreement.recipient().name && one_measures(agreement, other) {
            add(
                "flows",
                format!(
                    "by `{id}` the same recipient gets rows or figures of the same people: noise hides nothing of people whose rows it has"
                ),
            );
        }
        if let (Some(own), Some(theirs)) = (agreement.measure(), other.measure())
            && agreement.dataset() == other.dataset()
            && own.population() != theirs.population()
        {
            add(
                "measure.population",
                format!(
                    "the people of this dataset are population `{}` in `{id}`: a request under either is refused while both are in force",
                    theirs.population()
                ),
            );
        }
    }
    advice
}

/// Marks withstand several recipients together only within one lineage, and nobody who has the true values.
fn marks_beside(agreement: &Agreement, other: &Agreement) -> Option<String> {
    let (own, id) = (agreement.marks()?, other.id());
    match other.marks() {
        Some(theirs) if theirs.name() != own.name() => Some(format!(
            "version {} of `{id}` has marks of lineage `{}`, and this would be `{}`: deliveries of both undo each other's marks; agree on epoch, tag_bits, budget and rows_min",
            other.version(),
            theirs.name(),
            own.name()
        )),
        Some(_) => None,
        None => {
            let columns = own.lineage().columns().iter();
            let mut bare = columns.filter(|column| {
                let mut tags = other.tags().iter();
                tags.any(|tag| tag.name().as_str() == column.name())
            });
            bare.next().map(|column| {
                format!(
                    "`{id}` delivers `{}` without marks: who has both takes the marks away",
                    column.name()
                )
            })
        }
    }
}

/// As far as the two agreements tell: by the dataset, or by the population where both name one.
fn same_people(one: &Agreement, other: &Agreement) -> bool {
    let population = |agreement: &Agreement| Some(agreement.measure()?.population().clone());
    let both = population(one).zip(population(other));
    one.dataset() == other.dataset() || both.is_some_and(|(one, other)| one == other)
}

/// By one of them figures are asked for, and by the other rows.
fn one_measures(one: &Agreement, other: &Agreement) -> bool {
    let allows = |agreement: &Agreement, kind| agreement.flows().contains(&kind);
    [(one, other), (other, one)]
        .iter()
        .any(|(one, other)| allows(one, FlowKind::Measure) && allows(other, FlowKind::Exchange))
}
