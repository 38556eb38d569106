//! Taxonomy, tags and segments of an agreement, in both of its forms: named, with the
//! definitions looked up in a library, and in full, as they are signed.

use super::terms::{Segment, SegmentTag};
use crate::document::reader::{Field, Table, each, no_duplicates};
use crate::segment::{Domain, Domains, Predicate};
use crate::tag::{DataClass, Fields, Form, Tag, TagKind, TagSpec};
use crate::taxonomy::{
    Definition, Library, Taxonomy, TaxonomyRef, Use, security_level, sentence, tolerance_of,
};
use crate::text::{TagName, TaxonomyDigest, TaxonomyName, echo};

const TAGS_MAX: usize = 64;
const SEGMENTS_MAX: usize = 64;

pub(super) struct Tagged {
    pub(super) taxonomy: TaxonomyRef,
    pub(super) tags: Vec<Tag>,
    pub(super) segment_tags: Vec<SegmentTag>,
    pub(super) segments: Vec<Segment>,
}

impl Tagged {
    /// Of all tags: those delivered, then those that only segments use.
    pub(super) fn names(&self) -> impl Iterator<Item = &TagName> {
        let others = self.segment_tags.iter().map(SegmentTag::name);
        self.tags.iter().map(Tag::name).chain(others)
    }
}

pub(super) fn read(table: &mut Table<'_>, library: Option<&Library>) -> Option<Tagged> {
    let taxonomy_field = table.required("taxonomy");
    let tags_field = table.required("tags");
    let segment_tags_field = table.optional("segment_tags");
    let segments_field = table.optional("segments");
    let taxonomy_field = taxonomy_field?;
    let (reference, taxonomy) = match library {
        Some(library) => {
            let taxonomy = looked_up(&taxonomy_field, library)?;
            (taxonomy.reference().clone(), Some(taxonomy))
        }
        None => (reference(&taxonomy_field)?, None),
    };
    let tags = tags_field.and_then(|field| tags(&field, taxonomy));
    let segment_tags = match &segment_tags_field {
        Some(field) => segment_tags(field, taxonomy, tags.as_deref().unwrap_or_default()),
        None => Some(Vec::new()),
    };
    // Without these every segment that names one of them would be blamed too.
    let (tags, segment_tags) = (tags?, segment_tags?);
    let domains = domains(&tags, &segment_tags);
    let segments = match &segments_field {
        Some(field) => segments(field, &domains, taxonomy)?,
        None => Vec::new(),
    };
    for (index, tag) in segment_tags.iter().enumerate() {
        let is_used = |segment: &Segment| segment.predicate().tags().contains(tag.name().as_str());
        if let Some(field) = &segment_tags_field
            && !segments.iter().any(is_used)
        {
            let element = field.list(0..=TAGS_MAX)?.into_iter().nth(index);
            element.as_ref().unwrap_or(field).note(
                format!("no segment uses `{}`", tag.name()),
                "exactly the tags that segments use and that are not delivered",
            );
        }
    }
    Some(Tagged {
        taxonomy: reference,
        tags,
        segment_tags,
        segments,
    })
}

/// `{ name, version }`, and the digest where whoever writes wants to pin it.
fn looked_up<'l>(field: &Field<'_>, library: &'l Library) -> Option<&'l Taxonomy> {
    let mut table = field.table()?;
    let name: Option<TaxonomyName> = table.parsed("name");
    let version = table.integer("version", 1..=u64::from(u32::MAX));
    let digest = table.optional("digest");
    table.finish();
    let (name, version) = (name?, u32::try_from(version?).ok()?);
    let Some(taxonomy) = library.find(&name, version) else {
        field.note(
            format!("taxonomy `{name}` version {version} is not here"),
            format!(
                "a file in the home's `taxonomies` folder with {}",
                library.missing(&name, version)
            ),
        );
        return None;
    };
    if let Some(digest) = digest {
        let pinned: TaxonomyDigest = digest.parsed()?;
        if pinned != taxonomy.reference().digest {
            digest.note(
                "the taxonomy of this version says something else here",
                taxonomy.reference().digest.to_string(),
            );
        }
    }
    Some(taxonomy)
}

fn reference(field: &Field<'_>) -> Option<TaxonomyRef> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let version = table.integer("version", 1..=u64::from(u32::MAX));
    let digest = table.parsed("digest");
    table.finish();
    Some(TaxonomyRef {
        name: name?,
        version: u32::try_from(version?).ok()?,
        digest: digest?,
    })
}

fn tags(field: &Field<'_>, taxonomy: Option<&Taxonomy>) -> Option<Vec<Tag>> {
    let fields = field.list(1..=TAGS_MAX)?;
    let tags: Option<Vec<Tag>> = each(&fields, |field| match taxonomy {
        Some(taxonomy) => named_tag(field, taxonomy),
        None => tag_in_full(field),
    });
    no_duplicates(&fields, tags.as_deref()?, |tag| tag.name().clone());
    tags
}

fn named_tag(field: &Field<'_>, taxonomy: &Taxonomy) -> Option<Tag> {
    let mut table = field.table()?;
    let name = table.required("name");
    let form: Option<Form> = table.parsed("form");
    let fields = Fields::of_use(&mut table);
    table.finish();
    let name = name?;
    let definition = defined(&name, taxonomy)?;
    let wanted = Use {
        form: form?,
        level: fields.read_level()?,
        coarser: if fields.give_hierarchy() {
            Some(fields.read()?)
        } else {
            None
        },
    };
    let tag = definition.in_form(wanted);
    tag.map_err(|problems| fields.note(field, problems)).ok()
}

/// The definition of the tag that a field names.
fn defined<'t>(name: &Field<'_>, taxonomy: &'t Taxonomy) -> Option<&'t Definition> {
    let wanted: TagName = name.parsed()?;
    let definition = taxonomy.definition(&wanted);
    if definition.is_none() {
        name.note(
            format!(
                "`{wanted}` is not a tag of {}, so it is not classified",
                taxonomy.reference()
            ),
            format!(
                "one of {}, .. or a taxonomy of one's own that defines it",
                taxonomy.near(wanted.as_str())
            ),
        );
    }
    definition
}

fn tag_in_full(field: &Field<'_>) -> Option<Tag> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let meaning = table.required("meaning").and_then(|field| sentence(&field));
    let kind = table.parsed("kind");
    let class = table.required("class").and_then(|field| class(&field));
    let security_level = security_level(&mut table);
    let tolerance = table.required("tolerance");
    let form = table.parsed("form");
    let fields = Fields::of_resolved(&mut table);
    table.finish();
    let written = fields.read();
    let spec = TagSpec {
        name: name?,
        meaning: meaning?,
        kind: kind?,
        class: class?,
        security_level: security_level?,
        tolerance: tolerance_of(Some(&tolerance?))?,
        form: form?,
        level: fields.read_level()?,
        written: written?,
    };
    spec.check()
        .map_err(|problems| fields.note(field, problems))
        .ok()
}

fn class(field: &Field<'_>) -> Option<DataClass> {
    if field.text()? == "C3" {
        field.note(
            "C3 (authentication data) never leaves its institution",
            "C1 or C2; leave this tag out",
        );
        return None;
    }
    field.parsed()
}

fn segment_tags(
    field: &Field<'_>,
    taxonomy: Option<&Taxonomy>,
    delivered: &[Tag],
) -> Option<Vec<SegmentTag>> {
    let fields = field.list(0..=TAGS_MAX)?;
    let tags: Option<Vec<SegmentTag>> = each(&fields, |field| {
        let tag = match taxonomy {
            Some(taxonomy) => {
                let told = defined(field, taxonomy)?.told();
                let told = told.map_err(|problem| field.note(problem.problem, problem.would_pass));
                SegmentTag::of(told.ok()?)
            }
            None => segment_tag_in_full(field)?,
        };
        if delivered.iter().any(|other| other.name() == tag.name()) {
            field.note(
                format!(
                    "`{}` is delivered, so segments may use it anyway",
                    tag.name()
                ),
                "only tags that are not delivered",
            );
        }
        Some(tag)
    });
    no_duplicates(&fields, tags.as_deref()?, |tag| tag.name().clone());
    tags
}

fn segment_tag_in_full(field: &Field<'_>) -> Option<SegmentTag> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let meaning = table.required("meaning").and_then(|field| sentence(&field));
    let kind: Option<TagKind> = table.parsed("kind");
    let class = table.required("class").and_then(|field| class(&field));
    let security_level = security_level(&mut table);
    let fields = Fields::of_values(&mut table);
    table.finish();
    let spec = TagSpec {
        name: name?,
        meaning: meaning?,
        kind: kind?,
        class: class?,
        security_level: security_level?,
        tolerance: tolerance_of(None)?,
        form: Form::Exact,
        level: None,
        written: fields.read()?,
    };
    let checked = spec
        .check()
        .map_err(|problems| fields.note(field, problems));
    Some(SegmentTag::of(&checked.ok()?))
}

fn domains(tags: &[Tag], segment_tags: &[SegmentTag]) -> Domains {
    let others = segment_tags.iter().map(SegmentTag::definition);
    tags.iter()
        .chain(others)
        .map(|tag| (tag.name().as_str().into(), Domain::of(tag)))
        .collect()
}

fn segments(
    field: &Field<'_>,
    domains: &Domains,
    taxonomy: Option<&Taxonomy>,
) -> Option<Vec<Segment>> {
    let fields = field.list(0..=SEGMENTS_MAX)?;
    let segments: Option<Vec<_>> = each(&fields, |field| segment(field, domains, taxonomy));
    no_duplicates(&fields, segments.as_deref()?, |segment| {
        segment.name.clone()
    });
    segments
}

fn segment(field: &Field<'_>, domains: &Domains, taxonomy: Option<&Taxonomy>) -> Option<Segment> {
    let mut table = field.table()?;
    let name = table.parsed("name");
    let text = table.required("where");
    table.finish();
    let text = text?;
    match Predicate::parse(text.text()?, domains) {
        Ok(predicate) => Some(Segment {
            name: name?,
            predicate,
        }),
        Err(error) => {
            let unlisted = error.unknown_tag().filter(|unknown| {
                let known = |taxonomy: &Taxonomy| {
                    unknown
                        .parse()
                        .is_ok_and(|name| taxonomy.definition(&name).is_some())
                };
                taxonomy.is_some_and(known)
            });
            let would_pass = match unlisted {
                Some(tag) => format!(
                    "list `{}` under `segment_tags`: it is not delivered, and belonging to the segment tells of it",
                    echo(tag)
                ),
                None => error.would_pass.clone(),
            };
            text.note(
                format!("at character {}: {}", error.position, error.problem),
                would_pass,
            );
            None
        }
    }
}
