//! The parts of an agreement.

use crate::segment::Predicate;
use crate::tag::Tag;
use crate::text::{Malformed, SegmentName, TagName, closed_list, serde_as_text};

closed_list!(
    /// On which ground the personal information is handled (PIPL Art. 13; GDPR Art. 6).
    LegalBasis, "a legal basis",
    "one of consent, contract, legal_obligation, vital_interest, public_interest, legitimate_interest",
    {
        Consent = "consent": "The person consented, separately for this recipient and purpose (PIPL Art. 23).",
        Contract = "contract": "Needed for a contract with the person.",
        LegalObligation = "legal_obligation": "Needed for a duty that a law sets.",
        VitalInterest = "vital_interest": "Needed in an emergency to protect life, health or property.",
        PublicInterest = "public_interest": "Needed for a task in the public interest.",
        LegitimateInterest = "legitimate_interest": "A legitimate interest; GDPR only, PIPL knows no such ground.",
    }
);

closed_list!(
    /// Kind of flow that an agreement allows.
    FlowKind, "a kind of flow that this version offers", "one of exchange, measure",
    {
        Exchange = "exchange": "The recipient gets the agreed tags of common customers, row by row.",
        Measure = "measure": "The recipient gets figures about common customers with noise, and never a row.",
    }
);

closed_list!(
    /// The private set intersection protocol.
    Protocol, "a protocol that this version offers", "one of dh, vole, auto",
    {
        Dh = "dh": "Mutual Diffie-Hellman tokens over ristretto255.",
        Vole = "vole": "Mutual tokens from vector oblivious linear evaluation: much faster for large sets.",
        Auto = "auto": "`vole` for a request of 4,096 identifiers and more, `dh` for a smaller one.",
    }
);

/// Identifiers of a request from which on `auto` is `vole`. There `vole` takes an eighth of the time of `dh` and
/// eight times the bytes (4 MB); below some 300 identifiers it is slower too.
const VOLE_FROM: u32 = 4_096;

impl Protocol {
    /// What matches a request of this many identifiers: never [`Protocol::Auto`].
    ///
    /// The request alone decides, so that the broker, which records the protocol, and both parties choose alike.
    #[must_use]
    pub fn for_request(self, identifiers: u32) -> Self {
        match self {
            Self::Auto if identifiers >= VOLE_FROM => Self::Vole,
            Self::Auto | Self::Dh => Self::Dh,
            Self::Vole => Self::Vole,
        }
    }
}

closed_list!(
    /// What customers are matched by.
    IdentifierType, "a type of identifier", "one of phone, resident_id, email",
    {
        Phone = "phone": "A telephone number, brought to E.164.",
        ResidentId = "resident_id": "An 18-digit resident identity number with its check digit (GB 11643).",
        Email = "email": "An e-mail address.",
    }
);

/// A country, ISO 3166-1 alpha-2: two upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region([u8; 2]);

impl std::str::FromStr for Region {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([*a, *b])),
            _ => Err(Malformed::new(
                "a region",
                text,
                "two capital letters of ISO 3166-1, like CN",
            )),
        }
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.0;
        write!(f, "{}{}", char::from(a), char::from(b))
    }
}

serde_as_text!(Region);

/// One way to match, with the rules that bring both sides' identifiers to one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifierRule {
    pub(super) identifier: IdentifierType,
    pub(super) rules: u32,
    pub(super) default_region: Option<Region>,
}

impl IdentifierRule {
    /// What is matched.
    #[must_use]
    pub fn identifier(&self) -> IdentifierType {
        self.identifier
    }

    /// Version of the normalisation rules; both sides must apply the same.
    #[must_use]
    pub fn rules(&self) -> u32 {
        self.rules
    }

    /// The country of telephone numbers written without one.
    #[must_use]
    pub fn default_region(&self) -> Option<Region> {
        self.default_region
    }
}

/// A tag that segments use and that is not delivered.
///
/// It has no form: of each customer it tells no more than what the segments ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentTag(Tag);

impl SegmentTag {
    pub(crate) fn of(tag: &Tag) -> Self {
        Self(tag.without_hierarchy())
    }

    /// The tag's name.
    #[must_use]
    pub fn name(&self) -> &TagName {
        self.0.name()
    }

    /// What the tag says of a customer, and which values it has.
    #[must_use]
    pub fn definition(&self) -> &Tag {
        &self.0
    }
}

/// A named predicate over tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub(super) name: SegmentName,
    pub(super) predicate: Predicate,
}

impl Segment {
    /// The name that a request uses.
    #[must_use]
    pub fn name(&self) -> &SegmentName {
        &self.name
    }

    /// The checked predicate.
    #[must_use]
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }
}

/// How much may flow.
///
/// Periods follow each other without gap from the midnight UTC at which the agreement
/// begins, so both sides and the broker count in the same ones. Around the edge of two
/// periods up to twice a period's cap can pass within `period_days`; choose caps so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Most identifiers that the recipient may bring to one flow, hence most rows it can get.
    pub rows_per_flow: u32,
    /// Most flows in a period.
    pub flows_per_period: u32,
    /// Length of a period in days.
    pub period_days: u32,
    /// Most identifiers that the recipient may bring to all flows of a period together.
    pub identifiers_per_period: u64,
    /// Rows that a bucket is meant to have where sets are split; both agents' and the broker's memory grows with it.
    pub bucket_rows: u32,
}

/// How long records are kept and when delivered rows must be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Years for which each side keeps the audit record; at least 3 (PIPL Art. 56).
    pub audit_years: u32,
    /// Days after which the recipient must have deleted what was delivered.
    pub deletion_days: u32,
}
