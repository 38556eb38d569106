//! From a document tree to checked terms. One reader for both forms of an agreement.

use std::collections::BTreeMap;

use super::compliance::{self, Compliance};
use super::consent;
use super::marks::{self, Marked};
use super::terms::{Caps, FlowKind, IdentifierRule, IdentifierType, Retention};
use super::{BUCKET_ROWS_DEFAULT, ROWS_PER_FLOW_MAX, Terms, tags};
use crate::document::node::Node;
use crate::document::reader::{Field, Notes, Table, each, no_duplicates};
use crate::finding::Findings;
use crate::keys::PartyKeys;
use crate::measure::{self, MeasureTerms};
use crate::taxonomy::Library;
use crate::text::TagName;

const VERSION_MAX: u64 = u32::MAX as u64;
/// Below 2^53, so that JSON readers with floats read it exactly.
const IDENTIFIERS_PER_PERIOD_MAX: u64 = 1_000_000_000_000;
/// Smaller buckets would be more than a flow can have, larger ones more than memory is meant for.
const BUCKET_ROWS: std::ops::RangeInclusive<u64> = 1_024..=4_194_304;

/// Reads all terms; the second part says on which line each field stands. With a library
/// tags are named and their definitions looked up in it; without one they stand in full.
pub(super) fn terms(
    root: &Node,
    library: Option<&Library>,
) -> Result<(Terms, BTreeMap<String, u32>), Findings> {
    let notes = Notes::default();
    let terms = Field::root(root, &notes)
        .table()
        .and_then(|table| document(table, library));
    let lines = notes.lines.take();
    match (terms, notes.into_findings()) {
        (Some(terms), None) => Ok((terms, lines)),
        (_, findings) => Err(findings.unwrap_or_else(|| {
            Findings::of_document("the agreement cannot be read", "the template's fields")
        })),
    }
}

fn document(mut table: Table<'_>, library: Option<&Library>) -> Option<Terms> {
    let format = table.integer("version_of_format", 2..=2);
    let id = table.parsed("id");
    let version = table.integer("version", 1..=VERSION_MAX);
    let (owner, recipient) = parties(&mut table);
    let purpose = table.parsed("purpose");
    let legal_basis = table.parsed("legal_basis");
    let (valid_from, valid_until) = validity(&mut table);
    let dataset = table.parsed("dataset");
    let identifiers = table
        .required("identifiers")
        .and_then(|field| identifiers(&field));
    let flows_field = table.required("flows");
    let flows = flows_field.as_ref().and_then(flows_of);
    let protocol = table.parsed("protocol");
    let tagged = tags::read(&mut table, library);
    let caps = table.required("caps").and_then(|field| caps(&field));
    let (k, minimum_match) = groups(&mut table, caps);
    let retention = table
        .required("retention")
        .and_then(|field| retention(&field));
    let compliance = table.optional("compliance").map_or_else(
        || Some(Compliance::default()),
        |field| compliance::read(&field),
    );
    let consent = match table.optional("consent") {
        Some(field) => consent::read(&field, tagged.as_ref()).map(Some),
        None => Some(None),
    };
    let marks = match table.optional("marks") {
        Some(field) => {
            let marked = || {
                Some(Marked {
                    owner: &owner.as_ref()?.name,
                    dataset: dataset.as_ref()?,
                    tagged: tagged.as_ref()?,
                })
            };
            marks::read(&field, marked().as_ref()).map(Some)
        }
        None => Some(None),
    };
    let measure = match table.optional("measure") {
        Some(field) => measure::read_terms(&field, &owned(tagged.as_ref())).map(Some),
        None => Some(None),
    };
    table.finish();
    format?;
    check_measured(flows_field.as_ref(), flows.as_deref(), measure.as_ref());
    let tagged = tagged?;
    Some(Terms {
        id: id?,
        version: whole(version)?,
        owner: owner?,
        recipient: recipient?,
        purpose: purpose?,
        legal_basis: legal_basis?,
        valid_from: valid_from?,
        valid_until: valid_until?,
        dataset: dataset?,
        identifiers: identifiers?,
        flows: flows?,
        protocol: protocol?,
        taxonomy: tagged.taxonomy,
        tags: tagged.tags,
        segment_tags: tagged.segment_tags,
        segments: tagged.segments,
        caps: caps?,
        minimum_match: whole(minimum_match)?,
        k: whole(k)?,
        retention: retention?,
        compliance: compliance?,
        consent: consent?,
        marks: marks?,
        measure: measure?,
    })
}

fn owned(tagged: Option<&tags::Tagged>) -> Vec<TagName> {
    let tags = tagged.into_iter().flat_map(|tagged| &tagged.tags);
    tags.map(|tag| tag.name().clone()).collect()
}

/// A number that its range already holds within 32 bits.
fn whole(value: Option<u64>) -> Option<u32> {
    u32::try_from(value?).ok()
}

fn parties(table: &mut Table<'_>) -> (Option<PartyKeys>, Option<PartyKeys>) {
    let owner = table.required("owner").and_then(|field| party(&field));
    let recipient_field = table.required("recipient");
    let recipient = recipient_field.as_ref().and_then(party);
    if let (Some(owner), Some(recipient), Some(field)) = (&owner, &recipient, &recipient_field) {
        let equal = [
            ("name", owner.name == recipient.name),
            ("signing_key", owner.signing_key == recipient.signing_key),
            ("noise_key", owner.noise_key == recipient.noise_key),
        ];
        for (key, _) in equal.into_iter().filter(|(_, equal)| *equal) {
            field.note(
                format!("owner and recipient have the same `{key}`"),
                "two institutions, each with keys of its own",
            );
        }
    }
    (owner, recipient)
}

fn party(field: &Field<'_>) -> Option<PartyKeys> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let signing_key = table.parsed("signing_key");
    let noise_key = table.parsed("noise_key");
    table.finish();
    Some(PartyKeys {
        name: name?,
        signing_key: signing_key?,
        noise_key: noise_key?,
    })
}

fn validity(table: &mut Table<'_>) -> (Option<time::Date>, Option<time::Date>) {
    let from = table.required("valid_from").and_then(|field| field.date());
    let until_field = table.required("valid_until");
    let until = until_field.as_ref().and_then(Field::date);
    if let (Some(from), Some(until), Some(field)) = (from, until, &until_field)
        && until < from
    {
        let would_pass = format!("{} or later", crate::moment::date_text(from));
        field.note("the agreement ends before it begins", would_pass);
    }
    (from, until)
}

fn identifiers(field: &Field<'_>) -> Option<Vec<IdentifierRule>> {
    let fields = field.list(1..=IdentifierType::ALL.len())?;
    let rules: Option<Vec<_>> = each(&fields, identifier);
    no_duplicates(&fields, rules.as_deref()?, |rule| rule.identifier);
    rules
}

fn identifier(field: &Field<'_>) -> Option<IdentifierRule> {
    let mut table = field.table()?;
    let identifier = table.parsed("type");
    let rules = table.integer("rules", 1..=VERSION_MAX);
    let region_field = table.optional("default_region");
    table.finish();
    let default_region = match &region_field {
        Some(region) => Some(region.parsed()?),
        None => None,
    };
    if let (Some(region), Some(other)) = (
        region_field,
        identifier.filter(|kind| *kind != IdentifierType::Phone),
    ) {
        region.note(
            format!("{other} has no region"),
            "leave it out; only phone has a default region",
        );
    }
    Some(IdentifierRule {
        identifier: identifier?,
        rules: whole(rules)?,
        default_region,
    })
}

/// What is measured is said in the section `[measure]`, and said there only where flows may measure.
fn check_measured(
    field: Option<&Field<'_>>,
    flows: Option<&[FlowKind]>,
    measure: Option<&Option<MeasureTerms>>,
) {
    let (Some(field), Some(flows), Some(measure)) = (field, flows, measure) else {
        return;
    };
    match (flows.contains(&FlowKind::Measure), measure) {
        (true, None) => field.note(
            "flows of kind measure need a section [measure]",
            "the section, with what may be asked and the budgets; or no measure here",
        ),
        (false, Some(_)) => field.note(
            "there is a section [measure], and no flow of that kind",
            "measure among the flows, or no such section",
        ),
        _ => {}
    }
}

fn flows_of(field: &Field<'_>) -> Option<Vec<FlowKind>> {
    let fields = field.list(1..=FlowKind::ALL.len())?;
    let flows: Option<Vec<FlowKind>> = each(&fields, Field::parsed);
    no_duplicates(&fields, flows.as_deref()?, |flow| *flow);
    flows
}

fn caps(field: &Field<'_>) -> Option<Caps> {
    let mut table = field.table()?;
    let rows = table.integer("rows_per_flow", 1..=u64::from(ROWS_PER_FLOW_MAX));
    let flows = table.integer("flows_per_period", 1..=100_000);
    let days = table.integer("period_days", 1..=3660);
    let identifiers_field = table.required("identifiers_per_period");
    let bucket_rows = table
        .optional("bucket_rows")
        .map_or(Some(u64::from(BUCKET_ROWS_DEFAULT)), |field| {
            field.integer(BUCKET_ROWS)
        });
    table.finish();
    let identifiers_field = identifiers_field?;
    let identifiers = identifiers_field.integer(1..=IDENTIFIERS_PER_PERIOD_MAX)?;
    if let Some(rows) = rows.filter(|rows| *rows > identifiers) {
        identifiers_field.note(
            format!("one flow may bring {rows} identifiers, a whole period only {identifiers}"),
            format!("{rows} or more, or a smaller rows_per_flow"),
        );
    }
    Some(Caps {
        rows_per_flow: whole(rows)?,
        flows_per_period: whole(flows)?,
        period_days: whole(days)?,
        identifiers_per_period: identifiers,
        bucket_rows: whole(bucket_rows)?,
    })
}

fn groups(table: &mut Table<'_>, caps: Option<Caps>) -> (Option<u64>, Option<u64>) {
    let k = table.integer("k", 2..=100_000);
    let field = table.required("minimum_match");
    let minimum = field
        .as_ref()
        .and_then(|field| field.integer(1..=u64::from(ROWS_PER_FLOW_MAX)));
    if let (Some(field), Some(minimum)) = (&field, minimum) {
        if let Some(k) = k.filter(|k| minimum < *k) {
            field.note(
                format!("with fewer than k = {k} matches every row would be suppressed"),
                format!("{k} or more"),
            );
        }
        if let Some(caps) = caps.filter(|caps| minimum > u64::from(caps.rows_per_flow)) {
            field.note(
                "no flow can reach it",
                format!("at most rows_per_flow = {}", caps.rows_per_flow),
            );
        }
    }
    (k, minimum)
}

fn retention(field: &Field<'_>) -> Option<Retention> {
    let mut table = field.table()?;
    // Network Data Regulations Art. 12 and PIPL Art. 56: records of provision >= 3 years.
    let audit_years = table
        .optional("audit_years")
        .map_or(Some(7), |field| field.integer(3..=100));
    let deletion_days = table.integer("deletion_days", 1..=3660);
    table.finish();
    Some(Retention {
        audit_years: whole(audit_years)?,
        deletion_days: whole(deletion_days)?,
    })
}
