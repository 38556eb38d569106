//! The section `[measure]` of an agreement: what may be asked, of whom, and the budgets.

use serde::Serialize;
use serde_json::{Value, json};

use super::budget::{Caps, Cost, Delta, Epsilon};
use super::query::Question;
use crate::agreement::Agreement;
use crate::decimal::Decimal;
use crate::document::reader::{Field, Table, each, no_duplicates};
use crate::tag::VALUE_BYTES_MAX;
use crate::text::{OrgName, TagName, closed_list, echo, name_type};

const RECIPIENT_TAGS_MAX: usize = 16;
const VALUES_MAX: usize = 64;

name_type!(
    /// The people behind one or more datasets of an owner, who share a budget.
    PopulationName, "the name of a population", "1 to 63 of a-z, 0-9 and -", 1..=63, slug
);

fn slug(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

closed_list!(
    /// What may be asked.
    QueryKind, "a kind of query", "one of count, histogram, crosstab, scorecard, sum, mean, quantile",
    {
        Count = "count": "How many common customers there are.",
        Histogram = "histogram": "How many in each group of a tag.",
        Crosstab = "crosstab": "How many in each pair of groups of two tags.",
        Scorecard = "scorecard": "Weight of evidence and information value of a tag for an outcome.",
        Sum = "sum": "The sum of a number within bounds.",
        Mean = "mean": "The mean of a number within bounds.",
        Quantile = "quantile": "The value below which a share of the customers lies.",
    }
);

impl Question {
    /// What kind of query it is.
    #[must_use]
    pub fn kind(&self) -> QueryKind {
        match self {
            Self::Count => QueryKind::Count,
            Self::Histogram(_) => QueryKind::Histogram,
            Self::Crosstab(..) => QueryKind::Crosstab,
            Self::Scorecard { .. } => QueryKind::Scorecard,
            Self::Sum(_) => QueryKind::Sum,
            Self::Mean(_) => QueryKind::Mean,
            Self::Quantile { .. } => QueryKind::Quantile,
        }
    }
}

/// A tag of the recipient's own: what it submits sealed, to be counted beside the owner's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecipientTag {
    name: TagName,
    values: Vec<Box<str>>,
}

impl RecipientTag {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TagName {
        &self.name
    }

    /// All of its values, in their order.
    #[must_use]
    pub fn values(&self) -> &[Box<str>] {
        &self.values
    }
}

/// What an agreement allows to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasureTerms {
    population: PopulationName,
    queries: Vec<QueryKind>,
    tags: Vec<TagName>,
    recipient_tags: Vec<RecipientTag>,
    minimum_epsilon: Epsilon,
    per_flow: Cost,
    caps: Caps,
}

impl MeasureTerms {
    /// Whose budget is spent. Datasets over the same people name one population.
    #[must_use]
    pub fn population(&self) -> &PopulationName {
        &self.population
    }

    /// The caps of these terms together with those of other agreements of the same owner over the same population: each was
    /// signed as a bound on what everybody learns, so the cap of all recipients is the least and the period the longest, and a
    /// recipient of several has the least of its own.
    #[must_use]
    pub fn strictest<'a>(
        &self,
        recipient: &OrgName,
        others: impl Iterator<Item = &'a Agreement>,
    ) -> Caps {
        let same = others.filter_map(|other| {
            let terms = other.measure()?;
            (terms.population == self.population).then(|| (other, terms.caps()))
        });
        same.fold(self.caps(), |caps, (other, theirs)| Caps {
            recipient: if other.recipient().name == *recipient {
                caps.recipient.min(theirs.recipient)
            } else {
                caps.recipient
            },
            population: caps.population.min(theirs.population),
            days: caps.days.max(theirs.days),
        })
    }

    /// Kinds of query that may be asked.
    #[must_use]
    pub fn queries(&self) -> &[QueryKind] {
        &self.queries
    }

    /// Tags of the owner that queries may use.
    #[must_use]
    pub fn tags(&self) -> &[TagName] {
        &self.tags
    }

    /// Tags that the recipient may bring.
    #[must_use]
    pub fn recipient_tags(&self) -> &[RecipientTag] {
        &self.recipient_tags
    }

    /// The recipient's tag of this name.
    #[must_use]
    pub fn recipient_tag(&self, name: &TagName) -> Option<&RecipientTag> {
        self.recipient_tags.iter().find(|tag| tag.name() == name)
    }

    /// What each flow spends on finding out whether there are enough common customers.
    #[must_use]
    pub fn minimum_epsilon(&self) -> Epsilon {
        self.minimum_epsilon
    }

    /// Most that one flow may spend.
    #[must_use]
    pub fn per_flow(&self) -> Cost {
        self.per_flow
    }

    /// Most that may be spent in a period.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// As it is signed: every decimal as exact text.
    pub(crate) fn document(&self) -> Value {
        let caps = self.caps;
        json!({
            "population": self.population,
            "queries": self.queries,
            "tags": self.tags,
            "recipient_tags": self.recipient_tags,
            "minimum_epsilon": self.minimum_epsilon,
            "epsilon_per_flow": self.per_flow.epsilon,
            "epsilon_recipient": caps.recipient.epsilon,
            "epsilon_population": caps.population.epsilon,
            "delta_recipient": caps.recipient.delta,
            "delta_population": caps.population.delta,
            "period_days": caps.days,
        })
    }
}

/// Reads the section. `owned` are the agreement's tags, in its order.
pub(crate) fn read(field: &Field<'_>, owned: &[TagName]) -> Option<MeasureTerms> {
    let mut table = field.table()?;
    let population = table.parsed("population");
    let queries = table.required("queries");
    let tags = table.required("tags");
    let recipient_tags = table.optional("recipient_tags");
    let minimum_epsilon: Option<Epsilon> = table.parsed("minimum_epsilon");
    let per_flow: Option<Epsilon> = table.parsed("epsilon_per_flow");
    let recipient_field = table.required("epsilon_recipient");
    let population_field = table.required("epsilon_population");
    let deltas = deltas(&mut table);
    let days = table.integer("period_days", 1..=3660);
    table.finish();
    let queries = kinds(&queries?)?;
    let tags = owners_tags(&tags?, owned)?;
    let recipient_tags = match recipient_tags {
        Some(field) => recipients_tags(&field, owned)?,
        None => Vec::new(),
    };
    let (delta_recipient, delta_population) = deltas?;
    let (minimum_epsilon, per_flow) = (minimum_epsilon?, per_flow?);
    let epsilon_recipient = at_least(&recipient_field?, per_flow, "epsilon_per_flow")?;
    let epsilon_population = at_least(&population_field?, epsilon_recipient, "epsilon_recipient")?;
    if minimum_epsilon >= per_flow {
        field.note(
            "a flow could spend nothing beside finding out whether there are enough customers",
            "minimum_epsilon below epsilon_per_flow",
        );
        return None;
    }
    let cost = |epsilon: Epsilon, delta: Decimal| Cost {
        epsilon: epsilon.decimal(),
        delta,
    };
    Some(MeasureTerms {
        population: population?,
        queries,
        tags,
        recipient_tags,
        minimum_epsilon,
        per_flow: cost(per_flow, delta_recipient),
        caps: Caps {
            recipient: cost(epsilon_recipient, delta_recipient),
            population: cost(epsilon_population, delta_population),
            days: u32::try_from(days?).ok()?,
        },
    })
}

fn at_least(field: &Field<'_>, least: Epsilon, of: &str) -> Option<Epsilon> {
    let value: Epsilon = field.parsed()?;
    if value < least {
        field.note(
            format!("`{value}` is below `{of}`, which could never be spent"),
            format!("{least} or more"),
        );
        return None;
    }
    Some(value)
}

/// Without deltas there is no Gaussian noise. "0" is written where there are none, so that both forms have one reader.
fn deltas(table: &mut Table<'_>) -> Option<(Decimal, Decimal)> {
    let mut delta = |key| match table.optional(key) {
        None => Some(Decimal::ZERO),
        Some(field) if field.text()? == "0" => Some(Decimal::ZERO),
        Some(field) => field.parsed::<Delta>().map(Delta::decimal),
    };
    let (recipient, population) = (delta("delta_recipient"), delta("delta_population"));
    let (recipient, population) = (recipient?, population?);
    if population < recipient {
        table.field.note(
            "delta_population is below delta_recipient, which could never be spent",
            "the same or more for all recipients together",
        );
        return None;
    }
    Some((recipient, population))
}

fn kinds(field: &Field<'_>) -> Option<Vec<QueryKind>> {
    let fields = field.list(1..=QueryKind::ALL.len())?;
    let kinds: Option<Vec<QueryKind>> = each(&fields, Field::parsed);
    no_duplicates(&fields, kinds.as_deref()?, |kind| *kind);
    kinds
}

fn owners_tags(field: &Field<'_>, owned: &[TagName]) -> Option<Vec<TagName>> {
    let fields = field.list(0..=64)?;
    let tags: Option<Vec<TagName>> = each(&fields, |field| {
        let name: TagName = field.parsed()?;
        if owned.contains(&name) {
            return Some(name);
        }
        field.note(
            format!("the agreement has no tag `{name}`"),
            "names of its tags",
        );
        None
    });
    no_duplicates(&fields, tags.as_deref()?, Clone::clone);
    tags
}

fn recipients_tags(field: &Field<'_>, owned: &[TagName]) -> Option<Vec<RecipientTag>> {
    let fields = field.list(0..=RECIPIENT_TAGS_MAX)?;
    let tags: Option<Vec<RecipientTag>> = each(&fields, |field| {
        let mut table = field.table()?;
        let name: Option<TagName> = table.parsed("name");
        let values = table.required("values");
        table.finish();
        let tag = RecipientTag {
            name: name?,
            values: values_of(&values?)?,
        };
        if owned.contains(tag.name()) {
            field.note(
                format!("`{}` is a tag of the owner's", tag.name()),
                "another name for what the recipient brings",
            );
            return None;
        }
        Some(tag)
    });
    no_duplicates(&fields, tags.as_deref()?, |tag| tag.name().clone());
    tags
}

fn values_of(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    let fields = field.list(2..=VALUES_MAX)?;
    let values: Option<Vec<Box<str>>> = each(&fields, |field| {
        let value = field.text()?;
        // One word, because queries are parted by blanks and may name a value.
        let is_word = !value.is_empty()
            && value.len() <= VALUE_BYTES_MAX
            && !value.chars().any(|c| c.is_whitespace() || c.is_control())
            && value != crate::tag::SUPPRESSED;
        if !is_word {
            field.note(
                format!("`{}` is not a value", echo(value)),
                "1 to 128 bytes without blanks",
            );
        }
        is_word.then(|| value.into())
    });
    no_duplicates(&fields, values.as_deref()?, Clone::clone);
    values
}
