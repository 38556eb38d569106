//! Marked releases, by lineage.

use std::collections::BTreeMap;

use counterfoil_audit::entry::{Digest, Label, ReleaseIntent, ReleaseMarks};
use counterfoil_watermark::{Commitment, MasterKey};

use crate::error::Error;
use crate::home::Home;

/// All marked releases.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    lineages: BTreeMap<Label, Vec<Release>>,
}

/// A marked release.
#[derive(Debug)]
struct Release {
    marks: ReleaseMarks,
}

impl Marks {
    pub(super) fn released(&mut self, intent: &ReleaseIntent) {
        if let Some(marks) = &intent.marks {
            let of_lineage = self.lineages.entry(marks.lineage.clone()).or_default();
            of_lineage.push(Release {
                marks: marks.clone(),
            });
        }
    }

    /// The key of marks in a broker's directory. It is made where there is none and no release was marked; another one
    /// than the log commits to could not trace what was delivered.
    pub(crate) fn key_of(&self, home: &Home) -> Result<MasterKey, Error> {
        let first = self.lineages.values().flatten().next();
        if !home.has_mark_key() {
            if first.is_some() {
                return Err(Error::Home(
                    "`keys/marks.key` is missing, and without it no marked delivery can be traced: restore it from your backup".into(),
                ));
            }
            home.make_mark_key()?;
        }
        let key = home.mark_key()?;
        let opens = |release: &Release| {
            let lineage = release.marks.lineage.as_str();
            let commitment = Commitment::to_dataset(&key.dataset(lineage), lineage);
            release.marks.dataset_key == Digest::from_bytes(*commitment.as_bytes())
        };
        if first.is_none_or(opens) {
            return Ok(key);
        }
        Err(Error::Home(
            "`keys/marks.key` is not the key that the log commits to, so it traces nothing that was delivered: restore the right one from your backup".into(),
        ))
    }
}
