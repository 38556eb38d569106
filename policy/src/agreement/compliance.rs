//! What the parties declare they have in place, as the rules of [`crate::decision`] ask for it.
//!
//! A declaration is the parties' own signed word: nothing here is proved, and a rule that reads it
//! only finds that somebody answers for it. What is left out counts as not in place.

use serde::Serialize;
use time::Date;

use super::terms::Region;
use crate::document::reader::{Field, Table};
use crate::moment::date_text;
use crate::text::{Reference, closed_list};

closed_list!(
    /// A pack of rules that this version brings along.
    BuiltInPack, "a pack of rules that this version has", "one of pipl, cn-finance, gdpr, cross-border",
    {
        Pipl = "pipl": "Personal Information Protection Law of China, Network Data Regulations, Data Security Law.",
        CnFinance = "cn-finance": "Financial data in China: JR/T 0171-2020 and the certification of systems.",
        Gdpr = "gdpr": "General Data Protection Regulation of the European Union.",
        CrossBorder = "cross-border": "China's provisions on cross-border data flows of 22 March 2024.",
    }
);

closed_list!(
    /// What a person is told before their data is provided to another (PIPL Art. 23, 30, 39).
    ToldItem, "something that a person is told", "one of name, contact, purpose, method, categories, necessity, rights",
    {
        Name = "name": "The recipient's name.",
        Contact = "contact": "How to reach the recipient.",
        Purpose = "purpose": "The purpose for which it handles the data.",
        Method = "method": "The method by which it handles the data.",
        Categories = "categories": "The categories of data.",
        Necessity = "necessity": "Why sensitive data is needed, and what it means for the person.",
        Rights = "rights": "How to exercise one's rights against a recipient abroad.",
    }
);

closed_list!(
    /// On what personal information leaves the country (PIPL Art. 38).
    TransferBasis, "a basis for a transfer abroad",
    "one of none, exempt, standard_contract, certification, security_assessment",
    {
        None = "none": "No basis is declared.",
        Exempt = "exempt": "Under the thresholds, or one of the cases of Art. 3 to 6 of the cross-border provisions.",
        StandardContract = "standard_contract": "The standard contract, filed with the authority.",
        Certification = "certification": "A certification by a specialised body.",
        SecurityAssessment = "security_assessment": "A security assessment passed with the authority.",
    }
);

/// An impact assessment made before the data is provided (PIPL Art. 55, 56).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImpactAssessment {
    /// Where it is filed.
    pub reference: Reference,
    /// When it was made.
    pub date: Date,
}

/// What is declared for a recipient in another country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossBorder {
    /// The basis of the transfer.
    pub basis: TransferBasis,
    /// People whose data the owner provided abroad this calendar year by other ways than this broker.
    pub people_elsewhere: u64,
    /// Of these, people whose sensitive data it was.
    pub sensitive_elsewhere: u64,
    /// The owner operates critical information infrastructure (PIPL Art. 40).
    pub critical_infrastructure: bool,
}

impl Default for CrossBorder {
    fn default() -> Self {
        Self {
            basis: TransferBasis::None,
            people_elsewhere: 0,
            sensitive_elsewhere: 0,
            critical_infrastructure: false,
        }
    }
}

/// What the parties declare. [`Compliance::default`] declares nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compliance {
    /// Packs in force for this agreement beside those of whoever decides. They only ever deny.
    pub packs: Vec<BuiltInPack>,
    /// The country in which the owner handles the data.
    pub owner_region: Option<Region>,
    /// The country in which the recipient handles the data.
    pub recipient_region: Option<Region>,
    /// The contract between owner and recipient (Network Data Regulations Art. 12).
    pub contract: Option<Reference>,
    /// The contract of both with the broker (GDPR Art. 28).
    pub processor_contract: Option<Reference>,
    /// Each person consented separately to this recipient (PIPL Art. 23, 29).
    pub separate_consent: bool,
    /// What each person was told (PIPL Art. 23, 30, 39).
    pub told: Vec<ToldItem>,
    /// A person can withdraw as easily as they consented (PIPL Art. 15).
    pub withdrawal: bool,
    /// A person can refuse automated marketing (PIPL Art. 24).
    pub refusal_option: bool,
    /// The impact assessment (PIPL Art. 55, 56).
    pub impact_assessment: Option<ImpactAssessment>,
    /// Hours within which a party tells the other of a breach (PIPL Art. 57; GDPR Art. 33).
    pub breach_notice_hours: Option<u32>,
    /// For a recipient in another country.
    pub cross_border: CrossBorder,
}

/// Most people that may be declared; no country has more.
const PEOPLE_MAX: u64 = 10_000_000_000;
/// A year.
const BREACH_NOTICE_HOURS_MAX: u64 = 8784;

pub(super) fn read(field: &Field<'_>) -> Option<Compliance> {
    let mut table = field.table()?;
    let read = Compliance {
        packs: optional(&mut table, "packs", |field| {
            distinct(field, BuiltInPack::ALL)
        })?,
        owner_region: optional(&mut table, "owner_region", |field| field.parsed().map(Some))?,
        recipient_region: optional(&mut table, "recipient_region", |field| {
            field.parsed().map(Some)
        })?,
        contract: optional(&mut table, "contract", |field| field.parsed().map(Some))?,
        processor_contract: optional(&mut table, "processor_contract", |field| {
            field.parsed().map(Some)
        })?,
        separate_consent: optional(&mut table, "separate_consent", Field::boolean)?,
        told: optional(&mut table, "told", |field| distinct(field, ToldItem::ALL))?,
        withdrawal: optional(&mut table, "withdrawal", Field::boolean)?,
        refusal_option: optional(&mut table, "refusal_option", Field::boolean)?,
        impact_assessment: optional(&mut table, "impact_assessment", |field| {
            impact_assessment(field).map(Some)
        })?,
        breach_notice_hours: optional(&mut table, "breach_notice_hours", |field| {
            let hours = field.integer(1..=BREACH_NOTICE_HOURS_MAX)?;
            u32::try_from(hours).ok().map(Some)
        })?,
        cross_border: optional(&mut table, "cross_border", cross_border)?,
    };
    table.finish();
    Some(read)
}

/// The default if the field is absent; `None` only if it is there and wrong.
fn optional<'a, T: Default>(
    table: &mut Table<'a>,
    key: &'static str,
    read: impl Fn(&Field<'a>) -> Option<T>,
) -> Option<T> {
    table
        .optional(key)
        .map_or_else(|| Some(T::default()), |field| read(&field))
}

/// Members of a closed list, each once, in the list's order: so equal sets are equal text.
fn distinct<T>(field: &Field<'_>, all: &'static [T]) -> Option<Vec<T>>
where
    T: Copy + Ord + std::fmt::Display + std::str::FromStr<Err = crate::text::Malformed>,
{
    let fields = field.list(0..=all.len())?;
    let mut items = Vec::with_capacity(fields.len());
    for field in &fields {
        let item = field.parsed()?;
        if items.contains(&item) {
            field.note(format!("`{item}` occurs twice"), "each once");
            return None;
        }
        items.push(item);
    }
    items.sort();
    Some(items)
}

fn impact_assessment(field: &Field<'_>) -> Option<ImpactAssessment> {
    let mut table = field.table()?;
    let reference = table.parsed("reference");
    let date = table.required("date").and_then(|field| field.date());
    table.finish();
    Some(ImpactAssessment {
        reference: reference?,
        date: date?,
    })
}

fn cross_border(field: &Field<'_>) -> Option<CrossBorder> {
    let mut table = field.table()?;
    let basis = table.parsed("basis");
    let people = |field: &Field<'_>| field.integer(0..=PEOPLE_MAX);
    let people_elsewhere = optional(&mut table, "people_elsewhere", people);
    let sensitive_elsewhere = optional(&mut table, "sensitive_elsewhere", people);
    let critical_infrastructure = optional(&mut table, "critical_infrastructure", Field::boolean);
    table.finish();
    Some(CrossBorder {
        basis: basis?,
        people_elsewhere: people_elsewhere?,
        sensitive_elsewhere: sensitive_elsewhere?,
        critical_infrastructure: critical_infrastructure?,
    })
}

/// The same keys as in TOML; what is not declared is left out.
#[derive(Serialize)]
struct Document<'a> {
    packs: &'a [BuiltInPack],
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_region: Option<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_region: Option<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_contract: Option<&'a Reference>,
    separate_consent: bool,
    told: &'a [ToldItem],
    withdrawal: bool,
    refusal_option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    impact_assessment: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breach_notice_hours: Option<u32>,
    cross_border: serde_json::Value,
}

impl Compliance {
    /// For the canonical form.
    pub(super) fn document(&self) -> impl Serialize + '_ {
        Document {
            packs: &self.packs,
            owner_region: self.owner_region,
            recipient_region: self.recipient_region,
            contract: self.contract.as_ref(),
            processor_contract: self.processor_contract.as_ref(),
            separate_consent: self.separate_consent,
            told: &self.told,
            withdrawal: self.withdrawal,
            refusal_option: self.refusal_option,
            impact_assessment: self.impact_assessment.as_ref().map(|made| {
                serde_json::json!({ "reference": made.reference, "date": date_text(made.date) })
            }),
            breach_notice_hours: self.breach_notice_hours,
            cross_border: serde_json::json!({
                "basis": self.cross_border.basis,
                "people_elsewhere": self.cross_border.people_elsewhere,
                "sensitive_elsewhere": self.cross_border.sensitive_elsewhere,
                "critical_infrastructure": self.cross_border.critical_infrastructure,
            }),
        }
    }
}
