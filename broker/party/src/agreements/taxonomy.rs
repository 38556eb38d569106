//! Whether a home's taxonomies and mappings mean what an agreement means, before a flow finds out.

use std::path::Path;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::taxonomy::Library;

use crate::data::DatasetFile;
use crate::error::{Error, Result};
use crate::taxonomies::FOLDER;

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
