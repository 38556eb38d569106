//! Closed lists: ordinals, whose colour is the parity of the place, and categories, which an
//! agreement's swaps give two colours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::Mark;
use crate::error::MarkError;

/// Most values of a list.
const VALUES_MAX: usize = 1024;
/// A move to a value this many times rarer than the present one is left out: in correlated data
/// such cells stand out (Ji et al., "Robust fingerprinting of relational databases", RAID 2021).
const RARER_MAX: u64 = 4;

/// A list of values, each with a colour and up to two moves to the other colour.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    values: Vec<Value>,
    places: BTreeMap<Box<str>, usize>,
    /// What the list was made from, for the column's digest.
    swaps: Option<BTreeSet<(u16, u16)>>,
}

#[derive(Clone, Debug)]
struct Value {
    text: Box<str>,
    weight: u32,
    /// `None`: without a swap, so without a mark.
    colour: Option<bool>,
    /// Where it goes by tie bit; already reflected at the ends and plausible.
    moves: [Option<usize>; 2],
}

impl Closed {
    pub(super) fn ordinal<S: AsRef<str>>(
        texts: &[S],
        weights: Option<&[u32]>,
    ) -> Result<Self, MarkError> {
        let mut list = Self::list(texts, weights)?;
        let count = list.values.len();
        for place in 0..count {
            let down = place.checked_sub(1);
            let up = Some(place + 1).filter(|up| *up < count);
            let (down, up) = (list.plausible(place, down), list.plausible(place, up));
            if let Some(value) = list.values.get_mut(place) {
                value.colour = Some(place % 2 == 1);
                value.moves = [down.or(up), up.or(down)];
            }
        }
        Ok(list)
    }

    pub(super) fn categorical<S: AsRef<str>>(
        texts: &[S],
        swaps: &[(u16, u16)],
        weights: Option<&[u32]>,
    ) -> Result<Self, MarkError> {
        let mut list = Self::list(texts, weights)?;
        let neighbours = neighbours(swaps, list.values.len())?;
        let colours = two_colours(swaps, &neighbours)?;
        for (place, (beside, colour)) in neighbours.iter().zip(colours).enumerate() {
            let mut plausible = beside
                .iter()
                .filter_map(|to| list.plausible(place, Some(*to)));
            let first = plausible.next();
            let last = plausible.next_back().or(first);
            if let Some(value) = list.values.get_mut(place) {
                value.colour = colour;
                value.moves = [first, last];
            }
        }
        let ordered = swaps.iter().map(|(a, b)| (*a.min(b), *a.max(b)));
        list.swaps = Some(ordered.collect());
        Ok(list)
    }

    fn list<S: AsRef<str>>(texts: &[S], weights: Option<&[u32]>) -> Result<Self, MarkError> {
        let found = texts.len();
        let places: BTreeMap<Box<str>, usize> = (0..)
            .zip(texts)
            .map(|(place, text)| (text.as_ref().into(), place))
            .collect();
        if !(2..=VALUES_MAX).contains(&found) || places.len() != found {
            return Err(MarkError::Values { found });
        }
        if let Some(weights) = weights
            && (weights.len() != found || weights.iter().all(|weight| *weight == 0))
        {
            let (found, expected) = (weights.len(), found);
            return Err(MarkError::Weights { found, expected });
        }
        let weight = |place: usize| match weights {
            Some(weights) => weights.get(place).copied().unwrap_or(0),
            None => 1,
        };
        let value = |(place, text): (usize, &S)| Value {
            text: text.as_ref().into(),
            weight: weight(place),
            colour: None,
            moves: [None; 2],
        };
        let values = texts.iter().enumerate().map(value).collect();
        Ok(Self {
            values,
            places,
            swaps: None,
        })
    }

    /// The move if the value it leads to is not much rarer than where it starts.
    fn plausible(&self, from: usize, to: Option<usize>) -> Option<usize> {
        let weight = |place: usize| self.values.get(place).map(|value| u64::from(value.weight));
        to.filter(|to| weight(*to).unwrap_or(0) * RARER_MAX >= weight(from).unwrap_or(0))
    }

    pub(super) fn mark(&self, cell: &str, mark: Mark) -> Option<&str> {
        let value = self.values.get(*self.places.get(cell)?)?;
        if value.colour? == mark.bit {
            return None;
        }
        let [first, second] = value.moves;
        let to = if mark.tie { second } else { first };
        self.values.get(to?).map(|value| &*value.text)
    }

    pub(super) fn has(&self, cell: &str) -> bool {
        self.places.contains_key(cell.trim())
    }

    pub(super) fn colour(&self, cell: &str) -> Option<bool> {
        let place = self.places.get(cell.trim())?;
        self.values.get(*place)?.colour
    }

    /// The weight of coloured values from which no move leads away, halved: their symbol is the
    /// wrong one every other time.
    pub(super) fn misses(&self) -> f64 {
        let coloured = self.values.iter().filter(|value| value.colour.is_some());
        let (mut all, mut stuck) = (0.0, 0.0);
        for value in coloured {
            let weight = f64::from(value.weight);
            all += weight;
            if value.moves.iter().all(Option::is_none) {
                stuck += weight;
            }
        }
        if all > 0.0 { stuck / all / 2.0 } else { 0.5 }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Value { text, weight, .. } in &self.values {
            write!(f, "|{}:{text}:{weight}", text.len())?;
        }
        for (a, b) in self.swaps.iter().flatten() {
            write!(f, "~{a}-{b}")?;
        }
        Ok(())
    }
}

/// Each value's partners in a swap, in the order of the list.
fn neighbours(swaps: &[(u16, u16)], count: usize) -> Result<Vec<BTreeSet<usize>>, MarkError> {
    let mut neighbours = vec![BTreeSet::new(); count];
    for (index, (a, b)) in swaps.iter().enumerate() {
        let (a, b) = (usize::from(*a), usize::from(*b));
        if a == b || a >= count || b >= count {
            return Err(MarkError::Swap { index });
        }
        for (from, to) in [(a, b), (b, a)] {
            if let Some(beside) = neighbours.get_mut(from) {
                beside.insert(to);
            }
        }
    }
    Ok(neighbours)
}

/// Colours each value that has a swap differently from its partners; the first of each connected
/// part has colour 0. Breadth first (König 1936: two colours suffice unless a ring is odd).
fn two_colours(
    swaps: &[(u16, u16)],
    neighbours: &[BTreeSet<usize>],
) -> Result<Vec<Option<bool>>, MarkError> {
    let mut colours: Vec<Option<bool>> = vec![None; neighbours.len()];
    let colour_of = |colours: &[Option<bool>], place: usize| colours.get(place).copied().flatten();
    for (start, beside) in neighbours.iter().enumerate() {
        if beside.is_empty() || colour_of(&colours, start).is_some() {
            continue;
        }
        let mut waiting = VecDeque::from([(start, false)]);
        while let Some((place, colour)) = waiting.pop_front() {
            match colours.get_mut(place) {
                Some(unset @ None) => *unset = Some(colour),
                _ => continue,
            }
            let beside = neighbours.get(place).into_iter().flatten();
            waiting.extend(beside.map(|next| (*next, !colour)));
        }
    }
    let clash = swaps.iter().position(|(a, b)| {
        colour_of(&colours, usize::from(*a)) == colour_of(&colours, usize::from(*b))
    });
    match clash {
        Some(index) => Err(MarkError::OddRing { index }),
        None => Ok(colours),
    }
}
