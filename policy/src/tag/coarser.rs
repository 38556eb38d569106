//! Whether one hierarchy over the same values is nowhere finer than another.

use super::check::TagProblem;
use super::closed::{Closed, coverage};
use super::{Hierarchy, Tag};

impl Tag {
    /// Checks that every level of this tag's hierarchy tells no more than the same level of
    /// `base`; levels beyond the base's last are coarser than that by being nested.
    pub(crate) fn check_coarser_than(&self, base: &Tag) -> Result<(), TagProblem> {
        let (key, level) = match (&self.hierarchy, &base.hierarchy) {
            (Hierarchy::Closed(own), Hierarchy::Closed(base)) => {
                ("levels", first_finer_level(own, base))
            }
            (Hierarchy::Banded(own), Hierarchy::Banded(base)) => {
                let pairs = own.levels().iter().zip(base.levels());
                let finer = pairs.map(|(own, base)| own.iter().any(|edge| !base.contains(edge)));
                ("bands", finer.enumerate().find(|(_, finer)| *finer))
            }
            _ => ("kind", Some((0, true))),
        };
        let Some((index, _)) = level else {
            return Ok(());
        };
        Err(TagProblem {
            key,
            index: Some(index),
            problem: format!(
                "level {} tells more of `{}` than the taxonomy's level {}",
                index + 1,
                self.name,
                index + 1
            ),
            would_pass: "groups and bands that join the taxonomy's, and split none".to_owned(),
        })
    }
}

/// The first level at which a group of `base` is split, from 0 for level 1.
fn first_finer_level(own: &Closed, base: &Closed) -> Option<(usize, bool)> {
    let groups = |closed: &Closed| coverage(closed.values(), closed.levels());
    let levels = groups(own).into_iter().zip(groups(base)).skip(1);
    levels
        .map(|(own, base)| {
            let joined = |group: &Vec<usize>| {
                own.values()
                    .any(|wider| group.iter().all(|value| wider.contains(value)))
            };
            !base.values().all(joined)
        })
        .enumerate()
        .find(|(_, finer)| *finer)
}
