//! Whether a home's taxonomies and datasets hold what its agreements promise, before a flow finds out.

use std::path::Path;

use counterfoil_policy::agreement::{Agreement, SegmentTag};
use counterfoil_policy::tag::Tag;
use counterfoil_policy::taxonomy::Library;
use counterfoil_policy::text::AgreementId;

use super::record::Record;
use super::{Status, list, load};
use crate::data::{DATASETS, DatasetFile};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::taxonomies::{self, FOLDER};

/// An agreement under which this home cannot serve a flow as its datasets are.
#[derive(Debug)]
pub struct Unfit {
    /// The agreement.
    pub id: AgreementId,
    /// Its version.
    pub version: u32,
    /// What is missing or differs, where, and what to do.
    pub why: Error,
}

/// The agreements that this home's institution has signed as owner, or is about to sign, and cannot serve: the dataset or
/// the mapping of a tag is missing, or its taxonomy differs. One fault of each.
///
/// # Errors
/// What concerns all of them: `datasets.toml`, a taxonomy or the agreements cannot be read. A missing `datasets.toml` is an
/// error only if there is an agreement that needs it.
pub fn unfit(home: &Home) -> Result<Vec<Unfit>> {
    let owned = list(home)?.agreements.into_iter().filter(|info| {
        info.owner == *home.org() && !matches!(info.status, Status::Superseded | Status::Revoked)
    });
    let mut owned = owned.peekable();
    if owned.peek().is_none() {
        return Ok(Vec::new());
    }
    let library = taxonomies::library(home.path())?;
    let path = home.path().join(DATASETS);
    let datasets = DatasetFile::read(&path, &library)?;
    let mut all = Vec::new();
    for info in owned {
        let agreement = load(home, &info.id, info.version)?;
        let file = home.path().join(Record::file(&info.id, info.version));
        let fit = check_taxonomy(
            home.path(),
            (&agreement, &file),
            &library,
            (&datasets, &path),
        )
        .and_then(|()| check_mapped(&agreement, (&datasets, &path)));
        all.extend(fit.err().map(|why| Unfit {
            id: info.id,
            version: info.version,
            why,
        }));
    }
    Ok(all)
}

/// Whether each tag that the agreement delivers, or by which its segments choose, has a column in the datasets, which `file`
/// holds.
///
/// # Errors
/// [`Error::Input`], with file and what to do: the dataset or the mapping of a tag is missing.
pub fn check_mapped(agreement: &Agreement, (datasets, file): (&DatasetFile, &Path)) -> Result<()> {
    let name = agreement.dataset();
    let in_file = |what: String| Error::Input(format!("`{}`: {what}", file.display()));
    let dataset = datasets.dataset(name.as_str()).ok_or_else(|| {
        in_file(format!(
            "the agreement gives dataset `{name}`, which is not here: add it"
        ))
    })?;
    let others = agreement.segment_tags().iter().map(SegmentTag::name);
    let mut tags = agreement.tags().iter().map(Tag::name).chain(others);
    match tags.find(|tag| !dataset.tags().contains_key(tag.as_str())) {
        None => Ok(()),
        Some(tag) => Err(in_file(format!(
            "no column of dataset `{name}` is mapped to the agreement's tag `{tag}`: \
             add `{tag} = \"COLUMN\"` under [dataset.tags]"
        ))),
    }
}

/// Compares an agreement, which `file` holds, with the taxonomies of a home and with the dataset of its owner, which
/// `datasets_file` holds.
///
/// # Errors
/// [`Error::Input`], with file, place and what to do: the agreement's taxonomy is not here, or says something else here,
/// or the dataset is mapped to an older one or to one that defines the agreement's tags otherwise.
pub fn check_taxonomy(
    home: &Path,
    (agreement, file): (&Agreement, &Path),
    library: &Library,
    (datasets, datasets_file): (&DatasetFile, &Path),
) -> Result<()> {
    let in_file = |what: String| Error::Input(format!("`{}`: {what}", file.display()));
    let is_here = agreement
        .check_taxonomy(library)
        .map_err(|findings| in_file(findings.to_string()))?;
    let agreed = agreement.taxonomy();
    let missing = format!("its file belongs into `{}`", home.join(FOLDER).display());
    match datasets.dataset(agreement.dataset().as_str()) {
        Some(dataset) if !dataset.means_what(agreement) => {
            let also = if is_here {
                String::new()
            } else {
                format!("; {missing}")
            };
            Err(Error::Input(format!(
                "`{}`: line {}: dataset `{}` is mapped to {}, and the tags of `{}` are those of {agreed}: write \
                 `taxonomy = {{ name = \"{}\", version = {} }}`{also}",
                datasets_file.display(),
                dataset.taxonomy_line(),
                dataset.name(),
                dataset.taxonomy().reference(),
                file.display(),
                agreed.name,
                agreed.version,
            )))
        }
        // A later taxonomy that defines the tags alike serves as well.
        Some(_) => Ok(()),
        None if is_here => Ok(()),
        None => Err(in_file(format!(
            "taxonomy: {agreed} is not here; {missing}"
        ))),
    }
}
