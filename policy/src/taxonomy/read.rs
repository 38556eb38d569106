//! From a taxonomy's text to checked definitions.

use std::collections::{BTreeMap, BTreeSet};

use super::{Adequacy, Class, Definition, Need, SecurityLevel, TEXT_BYTES_MAX, Taxonomy};
use crate::decimal::Decimal;
use crate::document::node;
use crate::document::reader::{Field, Notes, Table, each, no_duplicates};
use crate::finding::Findings;
use crate::purpose::Purpose;
use crate::tag::{Fields, Form, TagSpec};
use crate::text::{Subject, TagName, TaxonomyName};

const TAGS_MAX: usize = 1024;
const ADEQUACY_MAX: usize = 1024;
/// Longest sentence: what a tag means, why a form is adequate.
const SENTENCE_BYTES_MAX: usize = 240;

type Advice = BTreeMap<(Subject, Purpose), Adequacy>;

/// A taxonomy as its own file gives it, before what it extends is added.
pub(super) struct Draft {
    pub(super) name: TaxonomyName,
    pub(super) version: u32,
    pub(super) extends: Option<(TaxonomyName, u32)>,
    /// Line of `extends`.
    pub(super) extends_line: Option<u32>,
    definitions: Vec<(Definition, Option<u32>)>,
    adequacy: Advice,
    /// Where subjects of advice stand.
    advised: Vec<(Subject, Option<u32>)>,
}

pub(super) fn draft(text: &str) -> Result<Draft, Findings> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("the document has {} bytes", text.len());
        return Err(Findings::of_document(
            problem,
            format!("at most {TEXT_BYTES_MAX} bytes"),
        ));
    }
    let root = node::from_toml(text)?;
    let notes = Notes::default();
    let draft = Field::root(&root, &notes).table().and_then(document);
    match (draft, notes.into_findings()) {
        (Some(draft), None) => Ok(draft),
        (_, Some(findings)) => Err(findings),
        (None, None) => Err(Findings::of_document(
            "the taxonomy cannot be read",
            "the form that `counterfoil taxonomy show` prints",
        )),
    }
}

impl Draft {
    /// Adds what is extended, and checks what can be checked only then.
    pub(super) fn complete(self, base: Option<&Taxonomy>) -> Result<Taxonomy, Findings> {
        let notes = Notes::default();
        let mut definitions = base.map_or_else(BTreeMap::new, |base| base.definitions.clone());
        for (definition, line) in self.definitions {
            if let Some(known) = definitions.insert(definition.name.clone(), definition) {
                let problem = format!("`{}` is defined in what this taxonomy extends", known.name);
                notes.at(
                    line,
                    "tags",
                    problem,
                    "another name: one name has one meaning",
                );
            }
        }
        let subjects: BTreeSet<&Subject> = definitions.values().map(Definition::subject).collect();
        for (subject, line) in &self.advised {
            if !subjects.contains(subject) {
                let known: Vec<_> = subjects.iter().map(|subject| subject.as_str()).collect();
                let problem = format!("no tag is about `{subject}`");
                notes.at(
                    *line,
                    "adequacy",
                    problem,
                    format!("one of {}", known.join(", ")),
                );
            }
        }
        let mut adequacy = base.map_or_else(BTreeMap::new, |base| base.adequacy.clone());
        adequacy.extend(self.adequacy);
        match notes.into_findings() {
            Some(findings) => Err(findings),
            None => Taxonomy::new(self.name, self.version, definitions, adequacy),
        }
    }
}

fn document(mut table: Table<'_>) -> Option<Draft> {
    let format = table.integer("version_of_format", 1..=1);
    let name = table.parsed("name");
    let version = table.integer("version", 1..=u64::from(u32::MAX));
    let extends_field = table.optional("extends");
    let tags = table.required("tags").and_then(|field| tags(&field));
    let advice = table
        .optional("adequacy")
        .map_or(Some(Vec::new()), |field| {
            each(&field.list(0..=ADEQUACY_MAX)?, adequacy)
        });
    table.finish();
    let extends = match &extends_field {
        Some(field) => Some(named_version(field)?),
        None => None,
    };
    format?;
    let mut collected = Advice::new();
    let mut advised = Vec::new();
    for (field, entries) in advice? {
        for (key, adequacy) in entries {
            advised.push((key.0.clone(), field.line()));
            let problem = format!("`{}` for {} is said twice", key.0, key.1);
            if collected.insert(key, adequacy).is_some() {
                field.note(problem, "each pair of subject and purpose once");
            }
        }
    }
    Some(Draft {
        name: name?,
        version: u32::try_from(version?).ok()?,
        extends,
        extends_line: extends_field.and_then(|field| field.line()),
        definitions: tags?,
        adequacy: collected,
        advised,
    })
}

/// `{ name = "…", version = … }`.
fn named_version(field: &Field<'_>) -> Option<(TaxonomyName, u32)> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let version = table.integer("version", 1..=u64::from(u32::MAX));
    table.finish();
    Some((name?, u32::try_from(version?).ok()?))
}

fn tags(field: &Field<'_>) -> Option<Vec<(Definition, Option<u32>)>> {
    let fields = field.list(1..=TAGS_MAX)?;
    let tags = each(&fields, |field| Some((definition(field)?, field.line())))?;
    no_duplicates(&fields, &tags, |(tag, _)| tag.name.clone());
    Some(tags)
}

fn definition(field: &Field<'_>) -> Option<Definition> {
    let mut table = field.table()?;
    let name: Option<TagName> = table.parsed("name");
    let meaning = table.required("meaning").and_then(|field| sentence(&field));
    let subject = table.parsed("subject");
    let class = table.required("class").and_then(|field| class(&field));
    let security_level = security_level(&mut table);
    let kind = table.optional("kind");
    let tolerance = table.optional("tolerance");
    let fields = Fields::of_definition(&mut table);
    table.finish();
    let mut definition = Definition {
        name: name?,
        meaning: meaning?,
        subject: subject?,
        class: class?,
        security_level: security_level?,
        exact: None,
    };
    match definition.class.deliverable() {
        Some(class) => {
            let Some(kind) = kind else {
                field.note(
                    "`kind` is missing",
                    "categorical, ordinal, score, amount, date or number",
                );
                return None;
            };
            let spec = TagSpec {
                name: definition.name.clone(),
                meaning: definition.meaning.clone(),
                kind: kind.parsed()?,
                class,
                security_level: definition.security_level,
                tolerance: tolerance_of(tolerance.as_ref())?,
                form: Form::Exact,
                level: None,
                written: fields.read()?,
            };
            let checked = spec
                .check()
                .map_err(|problems| fields.note(field, problems));
            definition.exact = Some(checked.ok()?);
        }
        None => {
            let domain = [
                &kind,
                &tolerance,
                &fields.values,
                &fields.levels,
                &fields.bands,
                &fields.min,
                &fields.max,
            ];
            if let Some(part) = domain.into_iter().flatten().next() {
                part.note(
                    "a tag of class C3 has no values here: it is listed only so that it is recognised and refused",
                    "name, meaning, subject, class and security_level alone",
                );
            }
        }
    }
    Some(definition)
}

pub(crate) fn sentence(field: &Field<'_>) -> Option<Box<str>> {
    let text = field.text()?;
    let plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if plain && text.len() <= SENTENCE_BYTES_MAX {
        return Some(text.into());
    }
    field.note(
        "this is no sentence",
        format!("1 to {SENTENCE_BYTES_MAX} bytes on one line"),
    );
    None
}

fn class(field: &Field<'_>) -> Option<Class> {
    field.parsed()
}

pub(crate) fn security_level(table: &mut Table<'_>) -> Option<SecurityLevel> {
    let number = table.integer("security_level", 1..=5)?;
    SecurityLevel::new(u8::try_from(number).ok()?)
}

/// By how much an exact value may be moved; nothing if left out.
pub(crate) fn tolerance_of(field: Option<&Field<'_>>) -> Option<Decimal> {
    let Some(field) = field else {
        return Some(Decimal::from(0));
    };
    let read = field.point()?.parse().ok();
    if read.is_none() {
        field.note(
            "the tolerance is not a decimal number",
            "a number like 3 or 0.5",
        );
    }
    read
}

type Advised<'a> = (Field<'a>, Vec<((Subject, Purpose), Adequacy)>);

fn adequacy<'a>(field: &Field<'a>) -> Option<Advised<'a>> {
    let mut table = field.table()?;
    let subject: Option<Subject> = table.parsed("subject");
    let purposes: Option<Vec<Purpose>> = table
        .required("purposes")
        .and_then(|field| each(&field.list(1..=Purpose::ALL.len())?, Field::parsed));
    let level = table.optional("level");
    let needed = table.optional("needed");
    let why = table.required("why").and_then(|field| sentence(&field));
    table.finish();
    let need = match (&level, &needed) {
        (Some(level), None) => Need::Level(usize::try_from(level.integer(0..=8)?).ok()?),
        (None, Some(needed)) if needed.boolean() == Some(false) => Need::Nothing,
        _ => {
            field.note(
                "how much is needed is not said",
                "either `level = 1` or `needed = false`",
            );
            return None;
        }
    };
    let (subject, why) = (subject?, why?);
    let entries = purposes?.into_iter().map(|purpose| {
        let adequacy = Adequacy {
            need,
            why: why.clone(),
        };
        ((subject.clone(), purpose), adequacy)
    });
    Some((field.clone(), entries.collect()))
}
