//! The section `[marks]`: which tags carry marks, so that a leaked file can be traced to its recipient.
//!
//! What the marks may do is agreed here and nowhere else; the watermark crate defines how. An agreement that could not
//! be marked as it says is refused when it is read, so every [`MarkTerms`] has a lineage.

use counterfoil_watermark::{
    Budget, Column, Form as MarkForm, Lineage, MarkError, Number, Reach, TagBits, Traceability,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::Date;

use super::tags::Tagged;
use super::{ROWS_PER_FLOW_MAX, Segment, Terms};
use crate::decimal::Decimal;
use crate::document::reader::{Field, each};
use crate::moment::parse_date;
use crate::tag::{PointKind, Tag, TagKind};
use crate::text::{DatasetName, OrgName, TagName};

/// Bits of a mark tag where an agreement does not say.
const TAG_BITS_DEFAULT: u8 = 16;
const EPOCH_DEFAULT: u64 = 1;
/// Frequencies are told in shares of something like this, or as counts.
const WEIGHT_MAX: u64 = 1_000_000_000;
const SHARES: &str = "a share from 0.000001 to 0.5 with at most six places, such as 0.02";

/// What an agreement says of marks.
#[derive(Clone, Debug)]
pub struct MarkTerms {
    /// Share of a closed list's cells that may change.
    budget: Decimal,
    /// Fewest rows of a flow for which the budget is meant.
    rows_min: u32,
    share: Budget,
    bits: TagBits,
    epoch: u32,
    tags: Vec<MarkedTag>,
    reference_codes: bool,
    lineage: Lineage,
    name: Box<str>,
}

/// What is agreed of one tag's marks.
#[derive(Clone, Debug)]
struct MarkedTag {
    name: TagName,
    /// By how much a number moves; none for closed lists and bands.
    tolerance: Option<Decimal>,
    /// The least and the greatest value that a mark makes.
    range: Option<[String; 2]>,
    /// Pairs of values of a list without order that may stand for each other.
    swaps: Vec<[Box<str>; 2]>,
    /// How frequent each value of a list or band is, in the order in which they are delivered; none if nobody says.
    weights: Option<Vec<u32>>,
}

impl MarkTerms {
    /// The columns that carry marks, by the names of their tags.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// As [`lineage`](Self::lineage), of these tags alone: what a flow that asks for no others can carry.
    #[must_use]
    pub fn lineage_of(&self, tags: &[TagName]) -> Lineage {
        let asked = |column: &Column| tags.iter().any(|tag| tag.as_str() == column.name());
        self.lineage.restricted(asked)
    }

    /// Whether some of these tags carry marks: only then do rows of a flow have mark tags.
    #[must_use]
    pub fn mark_any(&self, tags: &[TagName]) -> bool {
        !self.lineage_of(tags).columns().is_empty()
    }

    /// Whether each row that is delivered has a reference code.
    #[must_use]
    pub fn reference_codes(&self) -> bool {
        self.reference_codes
    }

    /// The lineage's name, `OWNER/DATASET/EPOCH/BITS/SELECTED`: all agreements of one name have one set of keys, and
    /// recipients resist each other's collusion only within it.
    ///
    /// SELECTED says of how many of 65,536 cells the budget, `rows_min` and `tag_bits` let marks choose. Under one key
    /// selections of different size would lie in each other, and who holds both deliveries could undo marks of the larger.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bits of a mark tag.
    #[must_use]
    pub fn bits(&self) -> TagBits {
        self.bits
    }

    /// Most cells of a list or band, in a million, that a flow of so many rows is said to change: more than the budget where
    /// it has fewer than `rows_min`. `None` if none of these columns is a list.
    #[must_use]
    pub fn changed_ppm_max(&self, columns: &Lineage, rows: u64) -> Option<u32> {
        let lists = columns.columns().iter();
        let mut lists = lists.filter(|column| !column.form().has_tolerance());
        lists.next()?;
        Some(self.share.changed_ppm_max(rows, self.bits))
    }
}

/// What the marks of an agreement can do at all, told before anything flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkReach {
    /// The lineage.
    pub lineage: String,
    /// Bits of a mark tag.
    pub tag_bits: u8,
    /// The tags that carry marks.
    pub tags: Vec<String>,
    /// Those of them whose values have no `weights`: no move is left out there because it leads to a rare value.
    pub unweighted: Vec<String>,
    /// Whether each delivered row has a reference code.
    pub reference_codes: bool,
    /// Rows by which a recipient is named who leaks alone, and so on for more together; as far as any number of rows does.
    pub rows_by_colluders: Vec<u64>,
    /// Rows by which the flow is told too, not only the recipient. None: no number of rows does.
    pub rows_for_flow: Option<u64>,
    /// What holds of a flow with as many rows as one may have.
    pub largest_flow: Traceability,
}

impl MarkReach {
    pub(super) fn of(marks: &MarkTerms, rows_per_flow: u32) -> Self {
        let reach = Reach::new(&marks.lineage);
        let lists = marks.tags.iter().filter(|tag| tag.tolerance.is_none());
        let unweighted = lists.filter(|tag| tag.weights.is_none());
        let unweighted = unweighted.map(|tag| tag.name.to_string());
        Self {
            lineage: marks.name.to_string(),
            tag_bits: marks.bits.get(),
            tags: marks.tags.iter().map(|tag| tag.name.to_string()).collect(),
            unweighted: unweighted.collect(),
            reference_codes: marks.reference_codes,
            rows_by_colluders: reach.rows_by_colluders(),
            rows_for_flow: reach.rows_for_flow(),
            largest_flow: reach.traceability(rows_per_flow.into()),
        }
    }
}

/// A tag whose marks could not be what is written.
struct Unmarkable {
    problem: String,
    would_pass: String,
}

fn unmarkable(problem: impl Into<String>, would_pass: impl Into<String>) -> Unmarkable {
    Unmarkable {
        problem: problem.into(),
        would_pass: would_pass.into(),
    }
}

/// Whose data the marks are in.
pub(super) struct Marked<'t> {
    pub(super) owner: &'t OrgName,
    pub(super) dataset: &'t DatasetName,
    pub(super) tagged: &'t Tagged,
}

pub(super) fn read(field: &Field<'_>, marked: Option<&Marked<'_>>) -> Option<MarkTerms> {
    let mut table = field.table()?;
    let budget_field = table.required("budget");
    let rows_min_field = table.required("rows_min");
    let bits_field = table.optional("tag_bits");
    let epoch = table
        .optional("epoch")
        .map_or(Some(EPOCH_DEFAULT), |field| {
            field.integer(1..=u64::from(u32::MAX))
        });
    let tags_field = table.required("tags");
    let codes = table.optional("reference_codes");
    let reference_codes = codes.map_or(Some(false), |field| field.boolean());
    table.finish();
    let bits = bits_field.map_or(Some(TAG_BITS_DEFAULT.into()), |field| {
        field.integer(TagBits::MIN.into()..=TagBits::MAX.into())
    });
    let rows_min = rows_min_field
        .as_ref()
        .and_then(|field| field.integer(1..=ROWS_PER_FLOW_MAX.into()));
    let budget_field = budget_field?;
    let budget = share(&budget_field);
    let (marked, rows_min) = (marked?, u32::try_from(rows_min?).ok()?);
    let bits = TagBits::new(u8::try_from(bits?).ok()?).ok()?;
    let (budget, ppm) = budget?;
    let (share, selected) = Budget::new(ppm, rows_min.into())
        .and_then(|share| Ok((share, share.selected(bits)?)))
        .map_err(|fault| budget_field.note(fault.to_string(), "a larger budget or rows_min"))
        .ok()?;
    let reference_codes = reference_codes?;
    let tags_field = tags_field?;
    let (tags, columns) = if reference_codes && tags_field.entries()?.is_empty() {
        Default::default()
    } else {
        columns(&tags_field, marked.tagged, share, bits)?
    };
    let epoch = u32::try_from(epoch?).ok()?;
    let (owner, dataset, width) = (marked.owner, marked.dataset, bits.get());
    let name = format!("{owner}/{dataset}/{epoch}/{width}/{selected}");
    Some(MarkTerms {
        budget,
        rows_min,
        share,
        bits,
        epoch,
        tags,
        reference_codes,
        // Names of tags differ, so no column is there twice.
        lineage: Lineage::new(columns, bits).ok()?,
        name: name.into(),
    })
}

/// A share of at most one half, and as cells in a million.
fn share(field: &Field<'_>) -> Option<(Decimal, u32)> {
    let text = field.point()?;
    let share = text.parse::<Decimal>().ok();
    let ppm = share.and_then(Decimal::parts_per_million);
    let ppm = ppm.filter(|ppm| (1..=500_000).contains(ppm));
    if ppm.is_none() {
        field.note("this is no share that marks could change", SHARES);
    }
    share.zip(ppm)
}

fn columns(
    field: &Field<'_>,
    tagged: &Tagged,
    budget: Budget,
    bits: TagBits,
) -> Option<(Vec<MarkedTag>, Vec<Column>)> {
    let entries = field.entries()?;
    if entries.is_empty() {
        field.note(
            "no tag carries marks",
            "at least one, such as `risk_appetite = {}`",
        );
        return None;
    }
    let read: Vec<Option<(MarkedTag, Column)>> = entries
        .iter()
        .map(|(name, field)| column(name, field, tagged, budget, bits))
        .collect();
    let read: Option<Vec<_>> = read.into_iter().collect();
    Some(read?.into_iter().unzip())
}

fn column(
    name: &str,
    field: &Field<'_>,
    tagged: &Tagged,
    budget: Budget,
    bits: TagBits,
) -> Option<(MarkedTag, Column)> {
    let mut table = field.table()?;
    let tolerance = table.optional("tolerance");
    let range = table.optional("range");
    let swaps = table.optional("swaps");
    let weights = table.optional("weights");
    table.finish();
    let Some(tag) = tagged.tags.iter().find(|tag| tag.name().as_str() == name) else {
        field.note("the agreement delivers no such tag", "names of its tags");
        return None;
    };
    let chooses = |segment: &&Segment| segment.predicate().tags().contains(name);
    if let Some(segment) = tagged.segments.iter().find(chooses) {
        field.note(
            format!(
                "segment `{}` chooses by `{name}`: a mark that moves a row out of its segment is seen to be one",
                segment.name()
            ),
            "tags by which no segment of the agreement chooses",
        );
        return None;
    }
    let written = Written {
        tolerance: optionally(tolerance.as_ref(), tolerance_of)?,
        range: optionally(range.as_ref(), range_of)?,
        swaps: optionally(swaps.as_ref(), swaps_of)?,
        weights: optionally(weights.as_ref(), weights_of)?,
    };
    let made = form(tag, &written).and_then(|form| {
        Column::new(name, form, budget, bits)
            .map_err(|fault| unmarkable(fault.to_string(), "another budget"))
    });
    match made {
        Ok(column) => Some((written.of(tag), column)),
        Err(fault) => {
            field.note(fault.problem, fault.would_pass);
            None
        }
    }
}

/// A field that is absent is no fault; one that is wrong is.
fn optionally<'a, T>(
    field: Option<&Field<'a>>,
    read: impl Fn(&Field<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(field) => read(field).map(Some),
    }
}

/// As written, before it is known what suits the tag.
struct Written {
    tolerance: Option<Decimal>,
    range: Option<[String; 2]>,
    swaps: Option<Vec<[Box<str>; 2]>>,
    weights: Option<Vec<u32>>,
}

impl Written {
    fn of(self, tag: &Tag) -> MarkedTag {
        MarkedTag {
            name: tag.name().clone(),
            tolerance: tag.is_exact_point().then(|| self.tolerance_of(tag)),
            range: self.range,
            swaps: self.swaps.unwrap_or_default(),
            weights: self.weights,
        }
    }

    /// The agreement's tolerance, or else the taxonomy's.
    fn tolerance_of(&self, tag: &Tag) -> Decimal {
        self.tolerance.unwrap_or(tag.tolerance())
    }
}

fn tolerance_of(field: &Field<'_>) -> Option<Decimal> {
    let tolerance = field.point()?.parse().ok();
    let tolerance = tolerance.filter(|tolerance| *tolerance > Decimal::from(0));
    if tolerance.is_none() {
        field.note("this moves no value", "a decimal number above 0, such as 3");
    }
    tolerance
}

fn range_of(field: &Field<'_>) -> Option<[String; 2]> {
    each(&field.list(2..=2)?, Field::point)?.try_into().ok()
}

fn swaps_of(field: &Field<'_>) -> Option<Vec<[Box<str>; 2]>> {
    each(&field.list(1..=1024)?, |swap| {
        let pair = each(&swap.list(2..=2)?, |value| value.text().map(Box::from))?;
        pair.try_into().ok()
    })
}

fn weights_of(field: &Field<'_>) -> Option<Vec<u32>> {
    let weight = |weight: &Field<'_>| u32::try_from(weight.integer(0..=WEIGHT_MAX)?).ok();
    each(&field.list(1..=1024)?, weight)
}

/// How the tag's cells carry marks, in the form in which they are delivered.
fn form(tag: &Tag, written: &Written) -> Result<MarkForm, Unmarkable> {
    if !tag.is_exact_point() && (written.tolerance.is_some() || written.range.is_some()) {
        return Err(unmarkable(
            "values of a list and bands move by one step, not by a tolerance",
            "neither `tolerance` nor `range`",
        ));
    }
    if tag.kind() != TagKind::Categorical && written.swaps.is_some() {
        return Err(unmarkable(
            "only values without an order are swapped",
            "leave `swaps` out",
        ));
    }
    let labels = tag.delivered_labels();
    if labels.is_none() && written.weights.is_some() {
        return Err(unmarkable(
            "exact numbers and dates move by their tolerance, whatever is frequent",
            "leave `weights` out",
        ));
    }
    let weights = written.weights.as_deref();
    let range = range_within(tag, written)?;
    let made = match (tag.kind(), labels) {
        (TagKind::Categorical, Some(labels)) => {
            return swapped(&labels, written);
        }
        (_, Some(labels)) => MarkForm::ordinal(&labels, weights),
        (TagKind::Amount, None) => MarkForm::amount(number(written.tolerance_of(tag))?),
        (TagKind::Date, None) => dates(tag, written, range.as_ref())?,
        (_, None) => {
            let range = range.as_ref().map(numbers).transpose()?;
            MarkForm::score(number(written.tolerance_of(tag))?, range)
        }
    };
    if tag.kind() == TagKind::Amount && written.range.is_some() {
        return Err(unmarkable(
            "an amount moves within its own power of ten",
            "leave `range` out",
        ));
    }
    made.map_err(refused)
}

fn refused(fault: MarkError) -> Unmarkable {
    let would_pass = match fault {
        MarkError::Values { .. } => "a level with at least two values, or take the tag out",
        MarkError::Tolerance => "`tolerance`: 1 to 1000 units of its last digit",
        MarkError::Weights { .. } => {
            "`weights`: one number for each value in the order in which they are delivered, not all of them 0"
        }
        MarkError::OddRing { .. } => "swaps that close no ring of odd length",
        _ => "what the sentence before asks for",
    };
    unmarkable(fault.to_string(), would_pass)
}

fn swapped(labels: &[String], written: &Written) -> Result<MarkForm, Unmarkable> {
    let swaps = written.swaps.as_deref().ok_or_else(|| {
        unmarkable(
            "values without an order need to be told which may stand for each other",
            "`swaps`, such as [[\"a\", \"b\"]], or take the tag out",
        )
    })?;
    let place = |value: &str| {
        let place = labels.iter().position(|label| label == value);
        place
            .and_then(|place| u16::try_from(place).ok())
            .ok_or_else(|| {
                unmarkable(
                    format!(
                        "`{}` is no value in which the tag is delivered",
                        crate::text::echo(value)
                    ),
                    labels.join(", "),
                )
            })
    };
    let places = swaps.iter().map(|[a, b]| Ok((place(a)?, place(b)?)));
    let places = places.collect::<Result<Vec<_>, Unmarkable>>()?;
    let weights = written.weights.as_deref();
    MarkForm::categorical(labels, &places, weights).map_err(refused)
}

/// The spelling of a [`Decimal`] is one of the watermark's numbers, as far as 18 digits reach.
fn number(decimal: Decimal) -> Result<Number, Unmarkable> {
    let text = decimal.to_string();
    text.parse().map_err(|_| {
        unmarkable(
            "the number has more than 18 digits",
            "a tolerance with fewer digits",
        )
    })
}

fn numbers(range: &[String; 2]) -> Result<(Number, Number), Unmarkable> {
    let [low, high] = range;
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        _ => Err(unmarkable(
            "the ends of `range` are no numbers",
            "two numbers, the lower first",
        )),
    }
}

/// Where marks may move an exact value: as written, or else within the tag's bounds.
fn range_within(tag: &Tag, written: &Written) -> Result<Option<[String; 2]>, Unmarkable> {
    let bounds = tag.bounds();
    let Some(range) = &written.range else {
        let ends = bounds.min.zip(bounds.max);
        return Ok(ends.map(|(min, max)| [min.to_string(), max.to_string()]));
    };
    let kind = PointKind::of(tag.kind());
    let beyond = |end: &String| kind.read(end).is_ok_and(|end| bounds.hold(end).is_err());
    if range.iter().any(beyond) {
        return Err(unmarkable(
            "`range` goes beyond the tag's own bounds",
            format!("a range within {bounds}"),
        ));
    }
    Ok(Some(range.clone()))
}

fn dates(
    tag: &Tag,
    written: &Written,
    range: Option<&[String; 2]>,
) -> Result<Result<MarkForm, MarkError>, Unmarkable> {
    if written.tolerance_of(tag) < Decimal::from(1) {
        return Err(unmarkable(
            "a date moves by a day, and its tolerance is less",
            "`tolerance = 1`, or take the tag out",
        ));
    }
    let range = match range {
        None => None,
        Some([first, last]) => Some(ends(first, last).ok_or_else(|| {
            unmarkable(
                "the ends of `range` are no dates",
                "two dates, the earlier first",
            )
        })?),
    };
    Ok(MarkForm::date(range))
}

fn ends(first: &str, last: &str) -> Option<(Date, Date)> {
    parse_date(first).zip(parse_date(last))
}

/// The section as it is signed; none if there is none.
pub(super) fn canonical(terms: &Terms) -> Option<Value> {
    let marks = terms.marks.as_ref()?;
    let tags: Map<String, Value> = marks.tags.iter().map(tag_json).collect();
    let mut section = json!({
        "budget": marks.budget,
        "rows_min": marks.rows_min,
        "tag_bits": marks.bits.get(),
        "epoch": marks.epoch,
        "tags": tags,
    });
    // As every section is signed that was written before there were codes.
    if marks.reference_codes
        && let Some(section) = section.as_object_mut()
    {
        section.insert("reference_codes".into(), true.into());
    }
    Some(section)
}

fn tag_json(tag: &MarkedTag) -> (String, Value) {
    let mut fields = Map::new();
    if let Some(tolerance) = tag.tolerance {
        fields.insert("tolerance".into(), json!(tolerance));
    }
    if let Some(range) = &tag.range {
        fields.insert("range".into(), json!(range));
    }
    if !tag.swaps.is_empty() {
        fields.insert("swaps".into(), json!(tag.swaps));
    }
    if let Some(weights) = &tag.weights {
        fields.insert("weights".into(), json!(weights));
    }
    (tag.name.to_string(), fields.into())
}
