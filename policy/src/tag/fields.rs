//! A tag's hierarchy as a document gives it: the same keys in a taxonomy, in an agreement's
//! canonical form, and where an agreement overrides a hierarchy by a coarser one.

use std::collections::BTreeMap;

use super::check::{LEVELS_MAX, TagProblem, VALUES_MAX};
use super::closed::ParentMap;
use crate::document::reader::{Field, Table, each, optional_list};

/// Values, levels, bands and bounds as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) values: Vec<Box<str>>,
    pub(crate) levels: Vec<ParentMap>,
    pub(crate) bands: Vec<Vec<String>>,
    pub(crate) min: Option<String>,
    pub(crate) max: Option<String>,
}

/// Where the parts stand, so that a problem can be noted at its line.
pub(crate) struct Fields<'a> {
    pub(crate) level: Option<Field<'a>>,
    pub(crate) values: Option<Field<'a>>,
    pub(crate) levels: Option<Field<'a>>,
    pub(crate) bands: Option<Field<'a>>,
    pub(crate) min: Option<Field<'a>>,
    pub(crate) max: Option<Field<'a>>,
}

impl<'a> Fields<'a> {
    /// The keys that define a hierarchy.
    pub(crate) fn of_definition(table: &mut Table<'a>) -> Self {
        Self {
            level: None,
            values: table.optional("values"),
            levels: table.optional("levels"),
            bands: table.optional("bands"),
            min: table.optional("min"),
            max: table.optional("max"),
        }
    }

    /// The key of a tag that has values and no hierarchy.
    pub(crate) fn of_values(table: &mut Table<'a>) -> Self {
        Self {
            level: None,
            values: table.optional("values"),
            levels: None,
            bands: None,
            min: table.optional("min"),
            max: table.optional("max"),
        }
    }

    /// The keys of a tag in an agreement that names its definition.
    pub(crate) fn of_use(table: &mut Table<'a>) -> Self {
        Self {
            level: table.optional("level"),
            values: None,
            levels: table.optional("levels"),
            bands: table.optional("bands"),
            min: None,
            max: None,
        }
    }

    /// The keys of a tag in an agreement that holds its definition.
    pub(crate) fn of_resolved(table: &mut Table<'a>) -> Self {
        Self {
            level: table.optional("level"),
            ..Self::of_definition(table)
        }
    }

    /// Whether a hierarchy is given at all.
    pub(crate) fn give_hierarchy(&self) -> bool {
        self.levels.is_some() || self.bands.is_some()
    }

    /// The level delivered, `Some(None)` if it is left out.
    #[expect(
        clippy::option_option,
        reason = "a fault is told apart from a level left out"
    )]
    pub(crate) fn read_level(&self) -> Option<Option<u64>> {
        match &self.level {
            Some(field) => field.integer(0..=LEVELS_MAX as u64).map(Some),
            None => Some(None),
        }
    }

    /// The hierarchy; `None` if a fault was noted.
    pub(crate) fn read(&self) -> Option<Written> {
        let values = optional_list(self.values.as_ref(), |field| field.text().map(Into::into));
        let levels = optional_list(self.levels.as_ref(), parents);
        let bands = optional_list(self.bands.as_ref(), |field| {
            each(&field.list(0..=VALUES_MAX)?, Field::point)
        });
        let min = optional_point(self.min.as_ref());
        let max = optional_point(self.max.as_ref());
        Some(Written {
            values: values?,
            levels: levels?,
            bands: bands?,
            min: min?,
            max: max?,
        })
    }

    /// Notes problems where they stand; those of no part at the tag itself.
    pub(crate) fn note(&self, tag: &Field<'a>, problems: Vec<TagProblem>) {
        for problem in problems {
            let part = match problem.key {
                "level" => self.level.as_ref(),
                "values" => self.values.as_ref(),
                "levels" => self.levels.as_ref(),
                "bands" => self.bands.as_ref(),
                "min" => self.min.as_ref(),
                "max" => self.max.as_ref(),
                _ => None,
            };
            let element = problem
                .index
                .and_then(|index| part?.list(0..=VALUES_MAX)?.into_iter().nth(index));
            element.as_ref().or(part).unwrap_or(tag).note(
                format!("{}: {}", problem.key, problem.problem),
                problem.would_pass,
            );
        }
    }
}

#[expect(
    clippy::option_option,
    reason = "a fault is told apart from a bound left out"
)]
fn optional_point(field: Option<&Field<'_>>) -> Option<Option<String>> {
    match field {
        Some(field) => field.point().map(Some),
        None => Some(None),
    }
}

fn parents(field: &Field<'_>) -> Option<BTreeMap<Box<str>, Box<str>>> {
    let mut map = BTreeMap::new();
    for (value, parent) in field.entries()? {
        map.insert(value.into(), parent.text()?.into());
    }
    Some(map)
}
