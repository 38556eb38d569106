//! From what a document says of a tag to a checked [`Tag`].

use std::collections::{BTreeMap, BTreeSet};

use super::bands::Bands;
use super::closed::{Closed, ParentMap, coverage};
use super::{
    Bounds, DataClass, Form, Hierarchy, Point, PointKind, SUPPRESSED, Tag, TagKind,
    VALUE_BYTES_MAX, Written,
};
use crate::decimal::Decimal;
use crate::taxonomy::SecurityLevel;
use crate::text::{TagName, echo};

/// Most levels of a hierarchy. Eight halvings already take 256 values to one.
pub(super) const LEVELS_MAX: usize = 8;
/// Most values of a closed list, and most edges of a level.
pub(super) const VALUES_MAX: usize = 1024;
const POINT_FORM: &str = "numbers like 2500 or 0.5, dates like 2026-11-23";

/// A tag as written: each field read, nothing checked across fields.
#[derive(Clone, Debug)]
pub(crate) struct TagSpec {
    pub(crate) name: TagName,
    pub(crate) meaning: Box<str>,
    pub(crate) kind: TagKind,
    pub(crate) class: DataClass,
    pub(crate) security_level: SecurityLevel,
    pub(crate) tolerance: Decimal,
    pub(crate) form: Form,
    pub(crate) level: Option<u64>,
    pub(crate) written: Written,
}

/// What is wrong with a tag: the key (and element) it concerns, the problem, what would pass.
#[derive(Clone, Debug)]
pub(crate) struct TagProblem {
    pub(crate) key: &'static str,
    pub(crate) index: Option<usize>,
    pub(crate) problem: String,
    pub(crate) would_pass: String,
}

#[derive(Default)]
struct Problems(Vec<TagProblem>);

impl Problems {
    fn add(
        &mut self,
        key: &'static str,
        index: Option<usize>,
        problem: impl Into<String>,
        would_pass: impl Into<String>,
    ) {
        self.0.push(TagProblem {
            key,
            index,
            problem: problem.into(),
            would_pass: would_pass.into(),
        });
    }
}

impl TagSpec {
    /// Checks everything about the tag; reports all problems found.
    pub(crate) fn check(self) -> Result<Tag, Vec<TagProblem>> {
        let mut problems = Problems::default();
        let hierarchy = if self.kind.is_closed() {
            Hierarchy::Closed(self.check_closed(&mut problems))
        } else {
            Hierarchy::Banded(self.check_bands(&mut problems))
        };
        let count = if self.kind.is_closed() {
            self.written.levels.len()
        } else {
            self.written.bands.len()
        };
        let level = self.check_level(count, &mut problems);
        self.check_tolerance(&mut problems);
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        Ok(Tag {
            name: self.name,
            meaning: self.meaning,
            kind: self.kind,
            class: self.class,
            security_level: self.security_level,
            tolerance: self.tolerance,
            form: self.form,
            level,
            hierarchy,
        })
    }

    fn check_tolerance(&self, problems: &mut Problems) {
        let none = Decimal::from(0);
        let problem = if self.tolerance < none {
            "a tolerance below 0 means nothing"
        } else if self.kind.is_closed() && self.tolerance != none {
            "values of a closed list cannot be moved by a little"
        } else {
            return;
        };
        problems.add("tolerance", None, problem, "0, or leave it out");
    }

    fn check_level(&self, count: usize, problems: &mut Problems) -> usize {
        let closed = self.kind.is_closed();
        let (right, wrong) = if closed {
            (Form::Level, Form::Banded)
        } else {
            (Form::Banded, Form::Level)
        };
        if self.form == wrong {
            let problem = format!("a tag of kind {} has no form `{wrong}`", self.kind);
            problems.add("form", None, problem, format!("exact or {right}"));
            return 0;
        }
        let lowest = if self.form == Form::Exact { 0 } else { 1 };
        let highest = if self.form == Form::Exact { 0 } else { count };
        if highest < lowest {
            let key = if closed { "levels" } else { "bands" };
            let problem = format!("form `{}` needs a hierarchy", self.form);
            problems.add(key, None, problem, format!("give `{key}`, finest first"));
            return 0;
        }
        let level = self
            .level
            .map_or(Some(lowest), |level| usize::try_from(level).ok());
        level
            .filter(|level| (lowest..=highest).contains(level))
            .unwrap_or_else(|| {
                let problem = format!("form `{}` has no such level", self.form);
                problems.add("level", None, problem, format!("{lowest} to {highest}"));
                0
            })
    }

    fn check_closed(&self, problems: &mut Problems) -> Closed {
        let bounded = [("min", &self.written.min), ("max", &self.written.max)];
        let bounded = bounded.map(|(key, bound)| (key, bound.is_some()));
        for (key, given) in [("bands", !self.written.bands.is_empty())]
            .into_iter()
            .chain(bounded)
        {
            if given {
                let problem = format!("only numbers and dates have `{key}`");
                problems.add(
                    key,
                    None,
                    problem,
                    "leave it out; use `values` and `levels`",
                );
            }
        }
        let values = match self.written.levels.first() {
            Some(first) if self.written.values.is_empty() && self.kind == TagKind::Categorical => {
                first.keys().cloned().collect()
            }
            _ => self.written.values.clone(),
        };
        if values.is_empty() || values.len() > VALUES_MAX {
            let problem = format!("a tag of kind {} lists {} values", self.kind, values.len());
            problems.add(
                "values",
                None,
                problem,
                format!("1 to {VALUES_MAX} values, for ordinals lowest first"),
            );
        }
        if self.written.levels.len() > LEVELS_MAX {
            problems.add(
                "levels",
                None,
                "too many levels",
                format!("at most {LEVELS_MAX}"),
            );
        }
        let mut seen = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            check_label(value, "values", index, problems);
            if !seen.insert(value) {
                let problem = format!("`{}` is listed twice", echo(value));
                problems.add("values", Some(index), problem, "each value once");
            }
        }
        if problems.0.is_empty() {
            check_levels(&values, &self.written.levels, problems);
        }
        Closed::new(values, self.written.levels.clone())
    }

    fn check_bands(&self, problems: &mut Problems) -> Bands {
        for (key, given) in [
            ("values", !self.written.values.is_empty()),
            ("levels", !self.written.levels.is_empty()),
        ] {
            if given {
                let problem = format!("a tag of kind {} has no `{key}`", self.kind);
                problems.add(key, None, problem, "leave it out; use `bands`");
            }
        }
        if self.written.bands.len() > LEVELS_MAX {
            problems.add(
                "bands",
                None,
                "too many levels",
                format!("at most {LEVELS_MAX}"),
            );
        }
        let kind = PointKind::of(self.kind);
        let bounds = self.check_bounds(kind, problems);
        let mut levels: Vec<Vec<Point>> = Vec::new();
        for (index, texts) in self.written.bands.iter().enumerate() {
            let read: Result<Vec<Point>, _> = texts.iter().map(|text| kind.read(text)).collect();
            match read {
                Ok(edges) => {
                    check_edges(&edges, levels.last(), index, problems);
                    check_within(&edges, bounds, index, problems);
                    levels.push(edges);
                }
                Err(error) => {
                    let problem = format!("an edge does not fit kind {}: {error}", self.kind);
                    problems.add("bands", Some(index), problem, POINT_FORM);
                }
            }
        }
        Bands::new(kind, bounds, levels)
    }

    fn check_bounds(&self, kind: PointKind, problems: &mut Problems) -> Bounds {
        let mut read = |key, text: &Option<String>| {
            let read = kind.read(text.as_deref()?);
            if let Err(error) = read {
                let problem = format!("the bound does not fit kind {}: {error}", self.kind);
                problems.add(key, None, problem, POINT_FORM);
            }
            read.ok()
        };
        let bounds = Bounds {
            min: read("min", &self.written.min),
            max: read("max", &self.written.max),
        };
        if let (Some(min), Some(max)) = (bounds.min, bounds.max)
            && min >= max
        {
            let problem = format!("no two values lie from {min} to {max}");
            problems.add("max", None, problem, "a `max` above `min`");
        }
        bounds
    }
}

/// No band is empty: a value lies below the first edge and one at or above the last.
fn check_within(edges: &[Point], bounds: Bounds, index: usize, problems: &mut Problems) {
    let below = |edge: &Point| bounds.min.is_some_and(|min| *edge <= min);
    let above = |edge: &Point| bounds.max.is_some_and(|max| max < *edge);
    if let Some(edge) = edges.iter().find(|edge| below(edge) || above(edge)) {
        let problem = format!("edge {edge} cuts nothing off: values are {bounds}");
        let would_pass = "edges above `min` and at most `max`";
        problems.add("bands", Some(index), problem, would_pass);
    }
}

fn check_edges(edges: &[Point], finer: Option<&Vec<Point>>, index: usize, problems: &mut Problems) {
    if edges.is_empty() || edges.len() > VALUES_MAX {
        let problem = format!("a level of bands has {} edges", edges.len());
        problems.add(
            "bands",
            Some(index),
            problem,
            format!("1 to {VALUES_MAX} edges"),
        );
    }
    if !edges.is_sorted_by(|a, b| a < b) {
        problems.add(
            "bands",
            Some(index),
            "bands overlap: the edges do not ascend",
            "each edge greater than the one before",
        );
    }
    let Some(finer) = finer else { return };
    if let Some(stray) = edges.iter().find(|edge| !finer.contains(edge)) {
        let problem = format!("edge {stray} cuts through a band of the finer level");
        problems.add(
            "bands",
            Some(index),
            problem,
            "only edges that the finer level has too",
        );
    } else if edges.len() >= finer.len() {
        problems.add(
            "bands",
            Some(index),
            "the level is not coarser than the one before",
            "fewer edges",
        );
    }
}

/// Each level's map is total over the level below, and no label changes its meaning on the way up.
fn check_levels(values: &[Box<str>], levels: &[ParentMap], problems: &mut Problems) {
    let mut below: BTreeSet<&str> = values.iter().map(AsRef::as_ref).collect();
    for (index, map) in levels.iter().enumerate() {
        let keys: BTreeSet<&str> = map.keys().map(AsRef::as_ref).collect();
        if let Some(missing) = below.difference(&keys).next() {
            let problem = format!("`{}` has no parent", echo(missing));
            problems.add(
                "levels",
                Some(index),
                problem,
                "a parent for every label of the level below",
            );
        }
        if let Some(stray) = keys.difference(&below).next() {
            let problem = format!("`{}` is no label of the level below", echo(stray));
            problems.add(
                "levels",
                Some(index),
                problem,
                "only labels of the level below on the left",
            );
        }
        for parent in map.values() {
            check_label(parent, "levels", index, problems);
        }
        below = map.values().map(AsRef::as_ref).collect();
    }
    if problems.0.is_empty() {
        check_meaning(values, levels, problems);
    }
    if problems.0.is_empty() {
        check_steps(values, levels, problems);
    }
}

/// Each level has fewer labels than the one below.
fn check_steps(values: &[Box<str>], levels: &[ParentMap], problems: &mut Problems) {
    let counts = coverage(values, levels)
        .into_iter()
        .map(|labels| labels.len());
    let mut below = usize::MAX;
    for (level, labels) in counts.enumerate() {
        if labels >= below {
            problems.add(
                "levels",
                level.checked_sub(1),
                "the level is not coarser than the one below",
                "fewer labels than the level below has",
            );
        }
        below = labels;
    }
}

/// Establishes INVARIANT (one set per label), which rules out cycles: a label met again
/// above itself would cover more than before, or the same for ever, which is no step.
fn check_meaning(values: &[Box<str>], levels: &[ParentMap], problems: &mut Problems) {
    let mut meaning: BTreeMap<Box<str>, Vec<usize>> = BTreeMap::new();
    for (level, covered) in coverage(values, levels).into_iter().enumerate() {
        for (label, set) in covered {
            match meaning.get(&label) {
                Some(known) if *known != set => {
                    let problem = format!(
                        "`{}` comes again with another meaning (a cycle)",
                        echo(&label)
                    );
                    problems.add(
                        "levels",
                        level.checked_sub(1),
                        problem,
                        "a new label for a new group of values",
                    );
                }
                _ => {
                    meaning.insert(label, set);
                }
            }
        }
    }
}

/// A label is what a delivery shows, so it must not be read as a formula or as `*`.
fn check_label(label: &str, key: &'static str, index: usize, problems: &mut Problems) {
    let formula = label.starts_with(['=', '+', '-', '@']);
    let odd = label.is_empty()
        || label.len() > VALUE_BYTES_MAX
        || label.trim() != label
        || label.chars().any(char::is_control)
        || label == SUPPRESSED;
    if formula || odd {
        let problem = format!("`{}` cannot be a value", echo(label));
        let would_pass = "1 to 128 bytes without control characters or outer blanks, not `*`, \
            not beginning with = + - @ (spreadsheets run those as formulas)";
        problems.add(key, Some(index), problem, would_pass);
    }
}
