//! The agreement: what two institutions signed, checked.
//!
//! People write it as TOML ([`template`] prints a commented one). [`Agreement::parse`]
//! checks everything and reports every fault at once, each with its line. They name a
//! taxonomy and its tags; the definitions of these are taken over when the text is read.
//! What is signed is the canonical form, RFC 8785 JSON of the checked document with the
//! definitions and the defaults filled in and every decimal as exact text; its SHA-256 is the
//! agreement's [`AgreementDigest`]. So an agreement explains itself, whatever becomes of
//! the taxonomy. A peer sends the canonical form, and [`Agreement::from_canonical`] checks it
//! by the same reader.

mod canonical;
mod compliance;
mod consent;
mod lint;
mod marks;
mod read;
mod tags;
mod template;
mod terms;

use std::collections::BTreeMap;

use counterfoil_watermark::TagBits;
use time::Date;

use crate::document::node;
use crate::finding::Findings;
use crate::keys::PartyKeys;
use crate::measure::MeasureTerms;
use crate::moment::Timestamp;
use crate::tag::Tag;
use crate::taxonomy::{Library, TaxonomyRef};
use crate::text::{AgreementDigest, AgreementId, DatasetName, OrgName, SegmentName, TagName};

pub use crate::purpose::Purpose;
pub use compliance::{
    BuiltInPack, Compliance, CrossBorder, ImpactAssessment, ToldItem, TransferBasis,
};
pub use consent::ConsentTerms;
pub use lint::{Advice, Fit, Minimisation, lint, lint_beside, minimisation};
pub use marks::{MarkReach, MarkTerms};
pub use template::{fill, template};
pub use terms::{
    Caps, FlowKind, IdentifierRule, IdentifierType, LegalBasis, Protocol, Region, Retention,
    Segment, SegmentTag,
};

/// Largest agreement as people write it, in bytes.
pub const TEXT_BYTES_MAX: usize = 128 * 1024;
/// Largest canonical form, in bytes. It stands whole in a log entry of at most 65,535 bytes.
pub const CANONICAL_BYTES_MAX: usize = 32 * 1024;
/// Most rows of one flow that any agreement may allow.
pub const ROWS_PER_FLOW_MAX: u32 = 1 << 24;
/// Rows of a bucket where an agreement does not say.
pub const BUCKET_ROWS_DEFAULT: u32 = 1 << 19;

const SECONDS_PER_DAY: i64 = 86_400;

/// A checked agreement. Equal agreements have equal canonical bytes.
#[derive(Clone, Debug)]
pub struct Agreement {
    terms: Terms,
    canonical: Vec<u8>,
    digest: AgreementDigest,
    /// Lines of fields by path, for advice; empty when read from the canonical form.
    lines: BTreeMap<String, u32>,
}

#[derive(Clone, Debug)]
struct Terms {
    id: AgreementId,
    version: u32,
    owner: PartyKeys,
    recipient: PartyKeys,
    purpose: Purpose,
    legal_basis: LegalBasis,
    valid_from: Date,
    valid_until: Date,
    dataset: DatasetName,
    identifiers: Vec<IdentifierRule>,
    flows: Vec<FlowKind>,
    protocol: Protocol,
    taxonomy: TaxonomyRef,
    tags: Vec<Tag>,
    segment_tags: Vec<SegmentTag>,
    segments: Vec<Segment>,
    caps: Caps,
    minimum_match: u32,
    k: u32,
    retention: Retention,
    compliance: Compliance,
    consent: Option<ConsentTerms>,
    marks: Option<MarkTerms>,
    measure: Option<MeasureTerms>,
}

/// Which side of an agreement a party is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Holds the tagged customers.
    Owner,
    /// Gets the tags of common customers.
    Recipient,
}

/// A period in which caps are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Number of the period, from 0.
    pub index: u32,
    /// First second.
    pub start: Timestamp,
    /// First second of the next period: when used-up caps renew.
    pub end: Timestamp,
}

impl PartialEq for Agreement {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Agreement {}

impl Agreement {
    /// Reads and checks an agreement over the built-in taxonomy, as people write it.
    ///
    /// # Errors
    /// As [`parse_with`](Self::parse_with).
    pub fn parse(text: &str) -> Result<Self, Findings> {
        Self::parse_with(text, &Library::built_in())
    }

    /// Reads and checks an agreement over one of the library's taxonomies, as people write it.
    ///
    /// # Errors
    /// [`Findings`]: everything that is wrong, by line.
    pub fn parse_with(text: &str, library: &Library) -> Result<Self, Findings> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("the document has {} bytes", text.len());
            return Err(Findings::of_document(
                problem,
                format!("at most {TEXT_BYTES_MAX} bytes"),
            ));
        }
        Self::read(&node::from_toml(text)?, Some(library))
    }

    /// Reads and checks the canonical form, as a peer sends it.
    ///
    /// # Errors
    /// [`Findings`] without lines: larger than [`CANONICAL_BYTES_MAX`], not the canonical
    /// spelling of what it says, or anything that [`parse`](Self::parse) refuses.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Findings> {
        if bytes.len() > CANONICAL_BYTES_MAX {
            let problem = format!("the agreement has {} bytes", bytes.len());
            return Err(Findings::of_document(
                problem,
                format!("at most {CANONICAL_BYTES_MAX} bytes"),
            ));
        }
        let agreement = Self::read(&node::from_json(bytes)?, None)?;
        if agreement.canonical == bytes {
            Ok(agreement)
        } else {
            Err(Findings::of_document(
                "the bytes are not the canonical form of what they say",
                "RFC 8785 JSON with every default written out",
            ))
        }
    }

    fn read(root: &node::Node, library: Option<&Library>) -> Result<Self, Findings> {
        let (terms, lines) = read::terms(root, library)?;
        let canonical = canonical::bytes(&terms)?;
        let digest = canonical::digest(&canonical);
        Ok(Self {
            terms,
            canonical,
            digest,
            lines,
        })
    }

    /// The canonical form, at most [`CANONICAL_BYTES_MAX`] bytes.
    #[must_use]
    pub fn canonical_bytes(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 of the canonical form.
    #[must_use]
    pub fn digest(&self) -> AgreementDigest {
        self.digest
    }

    /// The id, the same for all versions.
    #[must_use]
    pub fn id(&self) -> &AgreementId {
        &self.terms.id
    }

    /// The version, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.terms.version
    }

    /// The institution that holds the tagged customers.
    #[must_use]
    pub fn owner(&self) -> &PartyKeys {
        &self.terms.owner
    }

    /// The institution that gets the tags.
    #[must_use]
    pub fn recipient(&self) -> &PartyKeys {
        &self.terms.recipient
    }

    /// The side on which an institution stands; `None` for a stranger.
    #[must_use]
    pub fn side_of(&self, org: &OrgName) -> Option<Side> {
        if self.terms.owner.name == *org {
            Some(Side::Owner)
        } else if self.terms.recipient.name == *org {
            Some(Side::Recipient)
        } else {
            None
        }
    }

    /// The party on a side.
    #[must_use]
    pub fn party(&self, side: Side) -> &PartyKeys {
        match side {
            Side::Owner => &self.terms.owner,
            Side::Recipient => &self.terms.recipient,
        }
    }

    /// What the delivery may be used for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.terms.purpose
    }

    /// The ground on which the owner provides the data.
    #[must_use]
    pub fn legal_basis(&self) -> LegalBasis {
        self.terms.legal_basis
    }

    /// First day (UTC) on which flows are allowed.
    #[must_use]
    pub fn valid_from(&self) -> Date {
        self.terms.valid_from
    }

    /// Last day (UTC) on which flows are allowed, inclusive.
    #[must_use]
    pub fn valid_until(&self) -> Date {
        self.terms.valid_until
    }

    /// The line of a field, or of the table that it would stand in; `None` if the agreement came in canonical form.
    pub(crate) fn line_of(&self, path: &str) -> Option<u32> {
        let mut path = path;
        loop {
            match (self.lines.get(path), path.rsplit_once('.')) {
                (Some(line), _) => return Some(*line),
                (None, Some((table, _))) => path = table,
                (None, None) => return None,
            }
        }
    }

    /// First instant of validity.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        Timestamp::start_of(self.terms.valid_from)
    }

    /// First instant after validity: midnight UTC at the end of the last day.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        Timestamp::start_of(self.terms.valid_until).saturating_add_seconds(SECONDS_PER_DAY)
    }

    /// The caps' period that holds `now`; `None` outside the agreement's validity.
    #[must_use]
    pub fn period_at(&self, now: Timestamp) -> Option<Period> {
        let begins = self.begins();
        if now < begins || now >= self.ends() {
            return None;
        }
        let length = i64::from(self.terms.caps.period_days) * SECONDS_PER_DAY;
        let index = (now.unix_seconds() - begins.unix_seconds()).checked_div(length)?;
        let start = begins.saturating_add_seconds(index.saturating_mul(length));
        Some(Period {
            index: u32::try_from(index).ok()?,
            start,
            end: start.saturating_add_seconds(length),
        })
    }

    /// The owner's dataset.
    #[must_use]
    pub fn dataset(&self) -> &DatasetName {
        &self.terms.dataset
    }

    /// Ways to match; at least one.
    #[must_use]
    pub fn identifiers(&self) -> &[IdentifierRule] {
        &self.terms.identifiers
    }

    /// Kinds of flow allowed; at least one.
    #[must_use]
    pub fn flows(&self) -> &[FlowKind] {
        &self.terms.flows
    }

    /// The protocol that matches.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.terms.protocol
    }

    /// The taxonomy that defines the tags.
    #[must_use]
    pub fn taxonomy(&self) -> &TaxonomyRef {
        &self.terms.taxonomy
    }

    /// Checks the definitions against the taxonomy that the agreement names, if the library
    /// has that version; `Ok(false)` if it does not.
    ///
    /// # Errors
    /// [`Findings`]: the taxonomy says something else here than what the agreement holds.
    pub fn check_taxonomy(&self, library: &Library) -> Result<bool, Findings> {
        library.check(
            &self.terms.taxonomy,
            &self.terms.tags,
            &self.terms.segment_tags,
        )
    }

    /// The tags, in the order of a delivery's columns; at least one.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.terms.tags
    }

    /// The tag of this name.
    #[must_use]
    pub fn tag(&self, name: &TagName) -> Option<&Tag> {
        self.terms.tags.iter().find(|tag| tag.name() == name)
    }

    /// Tags that segments use and no delivery shows. Belonging to a segment tells of them.
    #[must_use]
    pub fn segment_tags(&self) -> &[SegmentTag] {
        &self.terms.segment_tags
    }

    /// The segments that a request may name.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.terms.segments
    }

    /// The segment of this name.
    #[must_use]
    pub fn segment(&self, name: &SegmentName) -> Option<&Segment> {
        self.terms
            .segments
            .iter()
            .find(|segment| segment.name() == name)
    }

    /// The tags of which belonging to a segment tells; none without a segment.
    pub fn told_by<'a>(&'a self, segment: Option<&SegmentName>) -> impl Iterator<Item = &'a Tag> {
        let segment = segment.and_then(|name| self.segment(name));
        let others = self.segment_tags().iter().map(SegmentTag::definition);
        self.tags().iter().chain(others).filter(move |tag| {
            segment.is_some_and(|segment| segment.predicate().tags().contains(tag.name().as_str()))
        })
    }

    /// How much may flow.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.terms.caps
    }

    /// Fewest matches with which anything is released.
    #[must_use]
    pub fn minimum_match(&self) -> u32 {
        self.terms.minimum_match
    }

    /// Smallest group of rows with equal tags that is released.
    #[must_use]
    pub fn k(&self) -> u32 {
        self.terms.k
    }

    /// How long records are kept and when deliveries are deleted.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.terms.retention
    }

    /// What the parties declare they have in place, for the rules that ask for it.
    #[must_use]
    pub fn compliance(&self) -> &Compliance {
        &self.terms.compliance
    }

    /// What each person must have consented to; `None` if no proofs are asked for.
    #[must_use]
    pub fn consent(&self) -> Option<&ConsentTerms> {
        self.terms.consent.as_ref()
    }

    /// Which tags carry marks; `None` if deliveries are not marked.
    #[must_use]
    pub fn marks(&self) -> Option<&MarkTerms> {
        self.terms.marks.as_ref()
    }

    /// Bits of the mark tags of a flow that asks for these tags; `None` if none of them is marked, and rows have no mark tags.
    #[must_use]
    pub fn mark_bits(&self, tags: &[TagName]) -> Option<TagBits> {
        let marks = self.marks().filter(|marks| marks.mark_any(tags))?;
        Some(marks.bits())
    }

    /// What the marks can do at all; `None` if deliveries are not marked.
    #[must_use]
    pub fn mark_reach(&self) -> Option<MarkReach> {
        let marks = self.marks()?;
        Some(MarkReach::of(marks, self.caps().rows_per_flow))
    }

    /// What may be measured, and the budgets; `None` if nothing may.
    #[must_use]
    pub fn measure(&self) -> Option<&MeasureTerms> {
        self.terms.measure.as_ref()
    }
}

#[cfg(test)]
pub(crate) mod tests;
