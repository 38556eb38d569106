//! Hierarchies of bands over numbers and dates.

use std::fmt;

use super::{Bounds, Point, PointKind, Unmapped, Value};

/// INVARIANT (nested edges): each level's edges are non-empty and ascending, and a coarser
/// level's are a proper subset of the finer one's. Every edge is above the lower bound and
/// at most the upper one, so no band is empty. Established in `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bands {
    kind: PointKind,
    bounds: Bounds,
    levels: Vec<Vec<Point>>,
}

/// One band: from the lower edge, inclusive, to the upper, exclusive; open where `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Band {
    lower: Option<Point>,
    upper: Option<Point>,
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) => write!(f, "[{lower},{upper})"),
            (Some(lower), None) => write!(f, ">={lower}"),
            (None, Some(upper)) => write!(f, "<{upper}"),
            (None, None) => f.write_str(super::SUPPRESSED),
        }
    }
}

impl Band {
    /// The band of `edges` that holds `point`; `None` stands for a point below every edge.
    fn holding(edges: &[Point], point: Option<Point>) -> Self {
        let above = edges.partition_point(|edge| point.is_some_and(|point| *edge <= point));
        Self {
            lower: above.checked_sub(1).and_then(|i| edges.get(i)).copied(),
            upper: edges.get(above).copied(),
        }
    }

    fn value(self) -> Value {
        Value(self.to_string().into())
    }
}

impl Bands {
    pub(super) fn new(kind: PointKind, bounds: Bounds, levels: Vec<Vec<Point>>) -> Self {
        Self {
            kind,
            bounds,
            levels,
        }
    }

    pub(super) fn without_levels(&self) -> Self {
        Self::new(self.kind, self.bounds, Vec::new())
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn levels(&self) -> &[Vec<Point>] {
        &self.levels
    }

    pub(super) fn edge_texts(&self) -> Vec<Vec<String>> {
        let texts = |edges: &Vec<Point>| edges.iter().map(ToString::to_string).collect();
        self.levels.iter().map(texts).collect()
    }

    /// Edges at a level from 1; `None` at level 0 and above the last.
    fn edges(&self, level: usize) -> Option<&[Point]> {
        let index = level.checked_sub(1)?;
        self.levels.get(index).map(Vec::as_slice)
    }

    pub(super) fn labels_at(&self, level: usize) -> Option<usize> {
        self.edges(level).map(|edges| edges.len() + 1)
    }

    /// The bands of a level from the lowest; `None` at level 0, where every point is its own.
    pub(super) fn labels_in_order(&self, level: usize) -> Option<Vec<String>> {
        let edges = self.edges(level)?;
        let lowest = std::iter::once(None);
        let points = lowest.chain(edges.iter().copied().map(Some));
        Some(
            points
                .map(|point| Band::holding(edges, point).to_string())
                .collect(),
        )
    }

    pub(super) fn generalise(&self, cell: &str, level: usize) -> Result<Value, Unmapped> {
        let point = self.bounds.hold(self.kind.read(cell)?)?;
        Ok(match self.edges(level) {
            Some(edges) => Band::holding(edges, Some(point)).value(),
            None => Value(point.to_string().into()),
        })
    }

    pub(super) fn admits(&self, text: &str, level: usize) -> bool {
        match self.read(text) {
            Some(Told::Point(point)) => level == 0 && self.bounds.hold(point).is_ok(),
            // A label may occur at several levels; it is admitted if one of them is coarse enough.
            Some(Told::Band { highest, .. }) => highest >= level,
            None => false,
        }
    }

    /// The next label up; `None` means the next is `*`.
    pub(super) fn coarser(&self, text: &str) -> Option<Value> {
        let (point, level) = match self.read(text)? {
            Told::Point(point) => (Some(point), 0),
            Told::Band { band, highest } => (band.lower, highest),
        };
        // By the nested edges, the band that holds the lower edge holds the whole band.
        let edges = self.edges(level + 1)?;
        Some(Band::holding(edges, point).value())
    }

    /// Covered and all leaves, less one each where the delivered form has leaves of its own.
    pub(super) fn leaves(&self, text: &str, delivered: usize) -> (usize, usize) {
        let Some(finest) = self.edges(1) else {
            return (0, 1);
        };
        let Some(Told::Band { band, .. }) = self.read(text) else {
            return (0, 1);
        };
        let inside = |edge: &&Point| {
            band.lower.is_none_or(|lower| lower < **edge)
                && band.upper.is_none_or(|upper| **edge < upper)
        };
        let cuts = finest.iter().filter(inside).count();
        match delivered {
            0 => (cuts + 1, finest.len() + 1),
            _ => (cuts, finest.len()),
        }
    }

    /// Reads a value in the one spelling that this hierarchy writes.
    fn read(&self, text: &str) -> Option<Told> {
        let band = if let Some(rest) = text.strip_prefix(">=") {
            Band {
                lower: Some(self.point(rest)?),
                upper: None,
            }
        } else if let Some(rest) = text.strip_prefix('<') {
            Band {
                lower: None,
                upper: Some(self.point(rest)?),
            }
        } else if let Some(rest) = text.strip_prefix('[') {
            let (lower, upper) = rest.strip_suffix(')')?.split_once(',')?;
            Band {
                lower: Some(self.point(lower)?),
                upper: Some(self.point(upper)?),
            }
        } else {
            return self.point(text).map(Told::Point);
        };
        let of_level = |edges: &Vec<Point>| Band::holding(edges, band.lower) == band;
        let highest = self.levels.iter().rposition(of_level)? + 1;
        Some(Told::Band { band, highest })
    }

    fn point(&self, text: &str) -> Option<Point> {
        self.kind
            .read(text)
            .ok()
            .filter(|point| point.to_string() == text)
    }
}

/// A value as it was told: exact, or a band with the highest level that has it.
enum Told {
    Point(Point),
    Band { band: Band, highest: usize },
}
