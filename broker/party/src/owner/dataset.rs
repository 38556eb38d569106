//! The owner's rows for one flow: which take part, and what is told of them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::consent::Scope;
use counterfoil_policy::request::RequestBody;
use counterfoil_policy::segment::Predicate;
use counterfoil_policy::tag::{Tag, Unmapped, Value};
use counterfoil_policy::text::TagName;
use counterfoil_proto::limits::{CANARY_CODE_BYTES, PROOF_BYTES, SUBMISSION_BYTES_MAX};
use counterfoil_proto::payload::{Layout, RowHead};
use counterfoil_proto::v1::Consent;
use counterfoil_psi::{IdentifierSet, Normaliser, SEAL_OVERHEAD};
use counterfoil_watermark::Commitment;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::data::{
    Asked, CustomerKey, DATASETS, Dataset, DatasetFile, Mapping, Payloads, Proof, Proofs,
    ReadReport, Row, Source, SourceError, Tally, UnmappedCells, Verdict, Wanted, read_identifiers,
};
use crate::error::{Denial, Error, Result};
use crate::flow::identifier_rule;
use crate::home::Home;
use crate::taxonomies;

use super::canaries::{Canaries, CanaryPlan};
use super::marks::{MarkTags, TAG_BYTES};

mod dictionary;

use dictionary::Dictionary;

/// Bytes of a value's number in its dictionary.
const CODE_BYTES: usize = 4;

/// Bytes of a match id.
const MATCH_ID_BYTES: usize = 16;

/// What a request means for the owner's files, checked before any of them is read.
pub(super) struct Plan {
    source: Source,
    column: String,
    normaliser: Normaliser,
    tags: Vec<(Tag, Mapping)>,
    predicate: Option<Predicate>,
    /// How each tag is read that the request or its segment names.
    mappings: BTreeMap<Box<str>, Mapping>,
    /// Columns that hold identifiers.
    identifier_columns: Vec<String>,
    proofs: Option<Proofs>,
    marks: Option<MarkTags>,
    /// By what people are told apart in a flow that measures, where each counts once; none in others.
    people: Option<CustomerKey>,
    canaries: Option<CanaryPlan>,
}

/// The owner's keys that a plan may need.
pub(super) struct Keys<'k> {
    /// Where the keys of lineages are, for rows that may be marked.
    pub(super) trace: Option<&'k Home>,
    /// Asked for the secret of canaries where a dataset has some.
    pub(super) canaries: &'k dyn Fn() -> Result<Zeroizing<[u8; 32]>>,
}

/// Why the owner's side cannot take part.
#[derive(Debug)]
pub(super) enum Unfit {
    /// What the recipient and the log are told; it may be wrong on either side.
    Declined(Denial),
    /// The owner's own files: the recipient is told no more than that.
    Own(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// Finds dataset, columns and segment of a request in the owner's configuration. `trace_keys` is the home that has the keys of
/// mark tags; a flow without rows of customers takes none.
///
/// # Errors
/// [`Unfit`].
pub(super) fn plan(
    home: &Path,
    agreement: &Agreement,
    request: &RequestBody,
    asked: Option<Asked>,
    keys: Keys<'_>,
) -> std::result::Result<Plan, Unfit> {
    let library = taxonomies::library(home)?;
    let file = DatasetFile::read(&home.join(DATASETS), &library)
        .map_err(|error| Unfit::Own(error.into()))?;
    let name = agreement.dataset().as_str();
    let dataset = file.dataset(name).ok_or_else(|| {
        declined(
            "dataset_missing",
            "dataset",
            format!("the owner's agent has no dataset `{name}`"),
            "the owner adds it to its datasets.toml",
        )
    })?;
    let (_, kind) = identifier_rule(agreement, request.identifier).map_err(|why| {
        declined(
            "identifier_rules",
            "identifier",
            why,
            "the same version of this program on both sides",
        )
    })?;
    let column = dataset.identifier(kind).ok_or_else(|| {
        let message = format!("the owner's dataset `{name}` has no column of `{kind}`");
        declined(
            "identifier_missing",
            "identifier",
            message,
            "another identifier of the agreement, or the owner adds the column",
        )
    })?;
    check_taxonomy(agreement, dataset)?;
    let predicate = segment(agreement, request)?;
    let mut mappings = BTreeMap::new();
    let named = predicate.iter().flat_map(Predicate::tags);
    for tag in named.chain(request.tags.iter().map(TagName::as_str)) {
        mappings.insert(tag.into(), mapping(dataset, tag)?.clone());
    }
    let tags = request.tags.iter().map(|tag| {
        let agreed = agreement
            .tag(tag)
            .ok_or_else(|| tag_missing(dataset, tag.as_str()))?;
        Ok((agreed.clone(), mapping(dataset, tag.as_str())?.clone()))
    });
    let proofs = match asked {
        None => None,
        Some(asked) => {
            let records = dataset.consent().ok_or_else(|| {
                declined(
                    "consent_missing",
                    "dataset",
                    format!("the owner's dataset `{name}` has no consent records"),
                    "the owner adds [dataset.consent] to its datasets.toml",
                )
            })?;
            let loaded = Proofs::load(records.clone(), asked, dataset.source());
            Some(loaded.map_err(|error| Unfit::Own(error.into()))?)
        }
    };
    let marks = keys
        .trace
        .map(|home| MarkTags::of(home, agreement, &request.tags, dataset.customer_key()));
    let canaries = dataset.canaries();
    let canaries = canaries.map(|records| {
        let key = (keys.canaries)()?;
        Ok::<_, Error>(CanaryPlan::new(records, key, request.flow))
    });
    Ok(Plan {
        canaries: canaries.transpose()?,
        proofs,
        marks: marks.transpose()?.flatten(),
        people: match request.kind {
            FlowKind::Measure => Some(dataset.customer_key().clone()),
            FlowKind::Exchange => None,
        },
        source: dataset.source().clone(),
        column: column.column().to_owned(),
        normaliser: column.normaliser(),
        tags: tags.collect::<std::result::Result<Vec<_>, Unfit>>()?,
        predicate,
        mappings,
        identifier_columns: dataset
            .identifiers()
            .iter()
            .map(|identifier| identifier.column().to_owned())
            .collect(),
    })
}

fn mapping<'d>(dataset: &'d Dataset, tag: &str) -> std::result::Result<&'d Mapping, Unfit> {
    dataset
        .tags()
        .get(tag)
        .ok_or_else(|| tag_missing(dataset, tag))
}

fn tag_missing(dataset: &Dataset, tag: &str) -> Unfit {
    declined(
        "tag_missing",
        "tags",
        format!(
            "the owner's dataset `{}` has no column for tag `{tag}`",
            dataset.name()
        ),
        "the owner maps the tag in its datasets.toml",
    )
}

/// The owner's mapping must mean what the agreement means: not a taxonomy older than the
/// agreement's, and the same definitions of its tags.
fn check_taxonomy(agreement: &Agreement, dataset: &Dataset) -> std::result::Result<(), Unfit> {
    if !dataset.means_what(agreement) {
        let (agreed, own) = (agreement.taxonomy(), dataset.taxonomy());
        return Err(declined(
            "taxonomy_differs",
            "taxonomy",
            format!(
                "the agreement's tags are those of {agreed}, the owner's dataset `{}` is mapped to {}",
                dataset.name(),
                own.reference()
            ),
            &format!(
                "the owner maps its dataset to {agreed}: `taxonomy = {{ name = \"{}\", version = {} }}` in datasets.toml",
                agreed.name, agreed.version
            ),
        ));
    }
    Ok(())
}

/// The predicate that the agreement gives the request's segment.
fn segment(
    agreement: &Agreement,
    request: &RequestBody,
) -> std::result::Result<Option<Predicate>, Unfit> {
    let Some(name) = &request.segment else {
        return Ok(None);
    };
    let agreed = agreement.segment(name).ok_or_else(|| {
        declined(
            "segment_missing",
            "segment",
            format!("the agreement has no segment `{name}`"),
            "another segment of the agreement, or none",
        )
    })?;
    Ok(Some(agreed.predicate().clone()))
}

fn declined(code: &str, field: &str, message: String, would_pass: &str) -> Unfit {
    Unfit::Declined(Denial::local(code, field, message, would_pass))
}

/// The rows that take part. Values are numbers into a dictionary for each tag, 4 bytes each.
pub(super) struct Prepared {
    pub(super) set: Arc<IdentifierSet>,
    pub(super) layout: Layout,
    pub(super) report: ReadReport,
    pub(super) unmapped: Vec<UnmappedCells>,
    codes: Payloads,
    dictionaries: Vec<Dictionary>,
    /// The last items of the set.
    pub(super) canaries: Option<Canaries>,
    /// What the header of the submission says of consents; each row has a proof then.
    pub(super) consent: Option<Consent>,
    /// The commitment to the key of the rows' mark tags, where they have some.
    pub(super) tag_key: Option<Commitment>,
}

/// Reads the dataset. A row with a value that is none of its tag's is counted and left out. Blocks.
///
/// # Errors
/// [`Unfit`]: the source cannot be read, or no row takes part.
pub(super) fn load(
    plan: &Plan,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<Prepared, Unfit> {
    let mut others: Vec<&str> = plan.mappings.values().map(Mapping::column).collect();
    others.extend(plan.proofs.iter().flat_map(Proofs::columns));
    others.extend(plan.marks.iter().map(MarkTags::column));
    others.extend(plan.people.iter().map(CustomerKey::column));
    others.sort_unstable();
    others.dedup();
    let added = plan.canaries.as_ref();
    let added = added.map(|canaries| canaries.read(&plan.column, plan.normaliser));
    let added = added.transpose()?.unwrap_or_default();
    let wanted = Wanted {
        added: &added,
        column: &plan.column,
        normaliser: plan.normaliser,
        others: &others,
        payload_bytes: plan.tags.len() * CODE_BYTES + plan.proof_bytes() + plan.mark_tag_bytes(),
    };
    let mut dictionaries: Vec<Dictionary> =
        plan.tags.iter().map(|_| Dictionary::default()).collect();
    let mut tallies = plan.tallies();
    let mut fault = None;
    let mut counted = HashSet::new();
    let mut decide = |row: &Row<'_>, payload: &mut [u8]| {
        let judged = plan.judge(row, payload, &mut dictionaries, &mut tallies);
        match judged {
            Ok(Verdict::Keep) => plan.once(row, &mut counted),
            Ok(verdict) => verdict,
            Err(error) => {
                fault.get_or_insert(error);
                Verdict::Leave
            }
        }
    };
    let loaded = read_identifiers(
        &plan.source,
        &wanted,
        Some(&mut decide),
        progress,
        &mut rand::rng(),
    );
    if let Some(fault) = fault {
        return Err(Unfit::Own(fault.into()));
    }
    let loaded = loaded.map_err(|error| Unfit::Own(error.into()))?;
    // To a flow that measures, that a segment is empty is an exact figure of its own: it goes on with dummies alone.
    if loaded.report.accepted == 0 && plan.people.is_none() {
        let message = "no row of the owner takes part".to_owned();
        return Err(declined(
            "no_rows",
            "segment",
            message,
            "another segment, or the whole dataset",
        ));
    }
    let columns = plan
        .tags
        .iter()
        .zip(&dictionaries)
        .map(|((tag, _), d)| (tag.name().to_string(), d.width()));
    let layout = if plan.tags.is_empty() {
        // A flow that only counts customers.
        Layout::bare()
    } else {
        Layout::new(columns.collect()).map_err(|error| Unfit::Own(error.into()))?
    };
    let canaries = plan.canaries.as_ref();
    let canaries = canaries.map(|plan| plan.codes(added, &loaded.set, loaded.added));
    let prepared = Prepared {
        canaries,
        set: Arc::new(loaded.set),
        consent: plan
            .proofs
            .as_ref()
            .map(|proofs| declared(proofs.scope(), &loaded.report)),
        tag_key: plan.marks.as_ref().map(MarkTags::commitment),
        layout: plan.headed(layout),
        report: loaded.report,
        unmapped: tallies.into_values().filter_map(Tally::finish).collect(),
        codes: loaded.payloads,
        dictionaries,
    };
    prepared.check_size()?;
    Ok(prepared)
}

fn declared(scope: &Scope, report: &ReadReport) -> Consent {
    Consent {
        recipient: scope.recipient.to_string(),
        contact: scope.contact.to_string(),
        purpose: scope.purpose.to_string(),
        method: scope.method.to_string(),
        categories: scope.categories.iter().map(ToString::to_string).collect(),
        withheld: CoarseCount::of(report.withheld_rows()).to_string(),
    }
}

type Tallies = BTreeMap<Box<str>, Tally>;

impl Plan {
    fn tallies(&self) -> Tallies {
        let is_identifier = |mapping: &Mapping| {
            let mut columns = self.identifier_columns.iter();
            columns.any(|column| column == mapping.column())
        };
        self.mappings
            .iter()
            .map(|(tag, mapping)| (tag.clone(), Tally::new(mapping, is_identifier(mapping))))
            .collect()
    }

    /// The layout with what stands before the values of each row.
    fn headed(&self, layout: Layout) -> Layout {
        let layout = match self.proofs {
            Some(_) => layout.proven(),
            None => layout,
        };
        let layout = match self.marks {
            Some(_) => layout.marked(),
            None => layout,
        };
        match self.canaries {
            Some(_) => layout.watched(),
            None => layout,
        }
    }

    fn mark_tag_bytes(&self) -> usize {
        self.marks.as_ref().map_or(0, |_| TAG_BYTES)
    }

    fn proof_bytes(&self) -> usize {
        self.proofs.as_ref().map_or(0, |_| size_of::<Proof>())
    }

    /// Whether a row takes part; its proof and its values as numbers into `payload`.
    ///
    /// # Errors
    /// The row's consent record cannot be relied on: nothing of the dataset is used.
    fn judge(
        &self,
        row: &Row<'_>,
        payload: &mut [u8],
        dictionaries: &mut [Dictionary],
        tallies: &mut Tallies,
    ) -> std::result::Result<Verdict, SourceError> {
        if let Some(verdict) = self.outside(row, tallies) {
            return Ok(verdict);
        }
        let (own, payload) = payload.split_at_mut(self.proof_bytes().min(payload.len()));
        if let Some(proofs) = &self.proofs {
            match proofs.proof(row)? {
                Ok(proof) => own.copy_from_slice(&proof),
                Err(why) => return Ok(Verdict::Withheld(why.to_string().into())),
            }
        }
        let (own, payload) = payload.split_at_mut(self.mark_tag_bytes().min(payload.len()));
        if let Some(marks) = &self.marks {
            match marks.tag(row) {
                Some(tag) => own.copy_from_slice(&tag),
                None => return Ok(Verdict::Invalid("no customer key for its marks".into())),
            }
        }
        Ok(self.judge_values(row, payload, dictionaries, tallies))
    }

    /// Keeps a row unless its person is counted already: what is told of one person is bounded by one row, which is what the
    /// noise of a flow that measures is made for.
    fn once(&self, row: &Row<'_>, counted: &mut HashSet<[u8; 32]>) -> Verdict {
        let Some(people) = &self.people else {
            return Verdict::Keep;
        };
        let key = people.read(row.get(people.column()).unwrap_or_default());
        match key {
            Some(key) if counted.insert(Sha256::digest(&*key).into()) => Verdict::Keep,
            Some(_) => Verdict::Invalid("another row of a customer who is counted already".into()),
            None => Verdict::Invalid("no customer key, by which each is counted once".into()),
        }
    }

    /// What becomes of a row that is not in the segment.
    fn outside(&self, row: &Row<'_>, tallies: &mut Tallies) -> Option<Verdict> {
        let value = |tag: &str| {
            let mapping = self.mappings.get(tag).ok_or(Unmapped::Empty)?;
            let value = mapping.value(row.get(mapping.column()).unwrap_or_default())?;
            value.ok_or(Unmapped::Empty)
        };
        match self.predicate.as_ref()?.eval(value) {
            Ok(true) => None,
            Ok(false) => Some(Verdict::Leave),
            Err(error) => {
                self.count(&error.tag, error.why, row, tallies);
                Some(Verdict::Invalid(error.to_string().into()))
            }
        }
    }

    /// Counts a row that has no value in a tag.
    fn count(&self, tag: &str, why: Unmapped, row: &Row<'_>, tallies: &mut Tallies) {
        if let (Some(tally), Some(mapping)) = (tallies.get_mut(tag), self.mappings.get(tag)) {
            let cell = row.get(mapping.column()).unwrap_or_default();
            tally.add(row.line(), cell, why);
        }
    }

    fn judge_values(
        &self,
        row: &Row<'_>,
        payload: &mut [u8],
        dictionaries: &mut [Dictionary],
        tallies: &mut Tallies,
    ) -> Verdict {
        let places = payload.chunks_exact_mut(CODE_BYTES).zip(dictionaries);
        for ((tag, mapping), (place, dictionary)) in self.tags.iter().zip(places) {
            let value = match told(tag, mapping, row) {
                Ok(value) => value,
                Err(why) => {
                    self.count(tag.name().as_str(), why, row, tallies);
                    return Verdict::Invalid(format!("tag `{}`: {why}", tag.name()).into());
                }
            };
            match dictionary.code(value.as_str()) {
                Some(code) => place.copy_from_slice(&code.to_be_bytes()),
                None => return Verdict::Invalid("its tags have too many different values".into()),
            }
        }
        Verdict::Keep
    }
}

/// What is told of a row in a tag.
fn told(tag: &Tag, mapping: &Mapping, row: &Row<'_>) -> std::result::Result<Value, Unmapped> {
    match mapping.value(row.get(mapping.column()).unwrap_or_default())? {
        Some(value) => tag.generalise(&value),
        None => Ok(Value::suppressed()),
    }
}

impl Prepared {
    /// Bytes of a submitted row: match id and sealed payload.
    pub(super) fn record_bytes(&self) -> usize {
        MATCH_ID_BYTES + self.layout.payload_len() + SEAL_OVERHEAD
    }

    /// Room for what is read of a row before it is written.
    pub(super) fn scratch(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![0; self.codes.length()])
    }

    /// Appends the payload of the row at an index of the set; `scratch` is [`Prepared::scratch`].
    ///
    /// # Errors
    /// [`Error::Unexpected`] for an index that is not of the set; a part of the payload may then be there.
    pub(super) fn write_payload(
        &self,
        index: u32,
        scratch: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let missing = || Error::Unexpected("a row of the dataset is missing".to_owned());
        usize::try_from(index)
            .ok()
            .and_then(|index| self.codes.read(index, scratch))
            .ok_or_else(missing)?;
        let codes = &*scratch;
        let (proof, codes) = if self.consent.is_some() {
            let (proof, codes) = codes
                .split_first_chunk::<PROOF_BYTES>()
                .ok_or_else(missing)?;
            (Some(proof), codes)
        } else {
            (None, codes)
        };
        let (mark_tag, codes) = if self.layout.is_marked() {
            let (tag, codes) = codes.split_first_chunk().ok_or_else(missing)?;
            (Some(u32::from_be_bytes(*tag)), codes)
        } else {
            (None, codes)
        };
        let canary = self.canaries.as_ref().map(|canaries| canaries.code(index));
        let head = RowHead {
            proof,
            mark_tag,
            canary: canary.map(|code| code.unwrap_or(&[0; CANARY_CODE_BYTES])),
        };
        if let Some(Some(_)) = canary {
            let nothing = self.dictionaries.iter().map(|_| "");
            return Ok(self.layout.encode_into(head, nothing, out)?);
        }
        let (codes, _) = codes.as_chunks::<CODE_BYTES>();
        let mut whole = true;
        let values = codes.iter().zip(&self.dictionaries).map(|(code, of_tag)| {
            let value = of_tag.value(u32::from_be_bytes(*code));
            whole &= value.is_some();
            value.unwrap_or_default()
        });
        self.layout.encode_into(head, values, out)?;
        if whole { Ok(()) } else { Err(missing()) }
    }

    fn check_size(&self) -> std::result::Result<(), Unfit> {
        let bytes = (self.set.len() as u64).saturating_mul(self.record_bytes() as u64);
        if bytes <= SUBMISSION_BYTES_MAX {
            return Ok(());
        }
        // How many there are is the owner's to know.
        let message = format!(
            "the owner's rows would take more than the {SUBMISSION_BYTES_MAX} bytes that the broker holds"
        );
        Err(declined(
            "too_large",
            "segment",
            message,
            "a smaller segment or fewer tags",
        ))
    }
}

#[cfg(test)]
mod tests;
