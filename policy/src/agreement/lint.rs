//! Advice about an agreement that is valid and could be better.

use std::fmt;

use serde::Serialize;

use super::{Agreement, FlowKind, LegalBasis, Segment};
use crate::decimal::Decimal;
use crate::tag::{DataClass, Form, Tag};

mod beside;
mod minimal;

pub use beside::lint_beside;
pub use minimal::{Fit, Minimisation, minimisation};

/// More values than this single out people even in large deliveries.
const FINE_GRAINED: usize = 20;
/// A year and a leap day.
const VALID_DAYS: i64 = 366;

/// One piece of advice; it refuses nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Advice {
    /// Line in the text, from 1; absent if the agreement came in canonical form.
    pub line: Option<u32>,
    /// The field's path.
    pub path: String,
    /// What to consider, and why.
    pub advice: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.path, self.advice)
    }
}

/// What to reconsider in a valid agreement, in the order of its lines.
#[must_use]
pub fn lint(agreement: &Agreement) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut add = |path: String, text: String| {
        let line = agreement.lines.get(&path).copied();
        advice.push(Advice {
            line,
            path,
            advice: text,
        });
    };
    lint_caps(agreement, &mut add);
    lint_groups(agreement, &mut add);
    lint_terms(agreement, &mut add);
    if agreement.legal_basis() == LegalBasis::Consent && agreement.consent().is_none() {
        add("legal_basis".into(), "the basis is consent, but no row has to prove it; a section [consent] leaves out people without a current consent to this (PIPL Art. 23)".into());
    }
    lint_measure(agreement, &mut add);
    for (index, tag) in agreement.tags().iter().enumerate() {
        lint_tag(&format!("tags[{index}]"), tag, &mut add);
    }
    for (index, segment) in agreement.segments().iter().enumerate() {
        lint_segment(&format!("segments[{index}]"), segment, agreement, &mut add);
    }
    advice.sort();
    advice
}

/// Who is delivered is known to be in the segment, whatever tags were asked for.
fn lint_segment(
    path: &str,
    segment: &Segment,
    agreement: &Agreement,
    add: &mut impl FnMut(String, String),
) {
    let told = agreement.told_by(Some(segment.name()));
    let told: Vec<_> = told
        .filter(|tag| tag.class() != DataClass::C1)
        .map(|tag| format!("`{}` ({})", tag.name(), tag.class()))
        .collect();
    if !told.is_empty() {
        add(
            path.to_owned(),
            format!(
                "belonging to `{}` tells of {}, even where the tag is not delivered; a segment over tags of class C1 tells less",
                segment.name(),
                told.join(", ")
            ),
        );
    }
}

/// From here on a guarantee says little: e^10 is 22,000.
const EPSILON_LARGE: i64 = 10;

fn lint_measure(agreement: &Agreement, add: &mut impl FnMut(String, String)) {
    let Some(terms) = agreement.measure() else {
        return;
    };
    if agreement.flows().contains(&FlowKind::Exchange) {
        add(
            "measure".into(),
            "noise hides nothing of people whose rows the same recipient gets by exchange; allow one of both, or exchange other people's".into(),
        );
    }
    let caps = terms.caps();
    if caps.population.epsilon > Decimal::from(EPSILON_LARGE) {
        add(
            "measure.epsilon_population".into(),
            format!(
                "an epsilon of {} in {} days protects hardly anybody; 1 to {EPSILON_LARGE} is usual",
                caps.population.epsilon, caps.days
            ),
        );
    }
    if caps.days < 30 {
        add(
            "measure.period_days".into(),
            format!(
                "the budget renews after {} days, and what is learned of the same people adds up; a year is usual",
                caps.days
            ),
        );
    }
}

fn lint_caps(agreement: &Agreement, add: &mut impl FnMut(String, String)) {
    let caps = agreement.caps();
    if caps.rows_per_flow > 1_000_000 {
        add("caps.rows_per_flow".into(), "more than a million rows in one flow; a cap near the expected number limits what a mistake can move".into());
    }
    if caps.flows_per_period / caps.period_days.max(1) >= 4 {
        add(
            "caps.flows_per_period".into(),
            "four or more flows a day; repeated flows show who joined and who left in between"
                .into(),
        );
    }
    let reachable = u64::from(caps.rows_per_flow) * u64::from(caps.flows_per_period);
    if caps.identifiers_per_period > reachable {
        add(
            "caps.identifiers_per_period".into(),
            format!(
                "never binds: the other caps allow {reachable}; a list of all telephone numbers can be tried against the dataset up to this cap"
            ),
        );
    }
}

fn lint_groups(agreement: &Agreement, add: &mut impl FnMut(String, String)) {
    if agreement.k() < 5 {
        add(
            "k".into(),
            format!(
                "groups of {} are small; 5 is a common floor, 10 or more for sensitive tags",
                agreement.k()
            ),
        );
    }
    if agreement.minimum_match() < 20 {
        add("minimum_match".into(), "a small minimum lets a recipient ask about a handful of people; 20 or more hides single answers".into());
    }
    let combinations = agreement.tags().iter().try_fold(1_u64, |product, tag| {
        let values = u64::try_from(tag.distinct_values()?).ok()?;
        product.checked_mul(values)
    });
    let rows = u64::from(agreement.caps().rows_per_flow);
    let groups = rows / u64::from(agreement.k().max(1));
    if combinations.is_none_or(|combinations| combinations > groups) {
        let told = combinations.map_or("very many".to_owned(), |combinations| {
            combinations.to_string()
        });
        add(
            "tags".into(),
            format!(
                "{told} combinations of tags against at most {groups} groups of k in a full flow: many cells will be generalised; fewer or coarser tags lose less"
            ),
        );
    }
}

fn lint_terms(agreement: &Agreement, add: &mut impl FnMut(String, String)) {
    let days = (agreement.valid_until() - agreement.valid_from()).whole_days();
    if days > VALID_DAYS {
        add(
            "valid_until".into(),
            format!("valid for {days} days; a year makes both sides look at it again"),
        );
    }
    if agreement.retention().deletion_days > 365 {
        add("retention.deletion_days".into(), "delivered rows may be kept for more than a year; keep them as long as the purpose needs (PIPL Art. 19)".into());
    }
    if agreement.purpose().is_denied_by_default() {
        add(
            "purpose".into(),
            "credit decisions are denied by default: no request under this agreement will be granted; risk_assessment, if no decision about a person's credit rests on it".into(),
        );
    }
    if agreement.legal_basis() == LegalBasis::LegitimateInterest {
        add(
            "legal_basis".into(),
            "PIPL Art. 13 knows no legitimate interest; it holds under GDPR Art. 6(1)(f) only"
                .into(),
        );
    }
}

fn lint_tag(path: &str, tag: &Tag, add: &mut impl FnMut(String, String)) {
    let values = tag.distinct_values();
    if tag.form() == Form::Exact && values.is_none_or(|values| values > FINE_GRAINED) {
        add(
            format!("{path}.form"),
            format!(
                "`{}` is delivered exactly and has many values; a level or bands tell the purpose enough and single out fewer people",
                tag.name()
            ),
        );
    } else if values.is_some_and(|values| values > FINE_GRAINED) {
        add(
            format!("{path}.form"),
            format!(
                "`{}` still has more than {FINE_GRAINED} values at its level; consider a coarser one",
                tag.name()
            ),
        );
    }
    if tag.level() >= tag.level_count() && values.is_none_or(|values| values > 2) {
        add(
            path.to_owned(),
            format!(
                "`{}` has no level coarser than the delivered one, so small groups lose the whole cell; add one",
                tag.name()
            ),
        );
    }
}
