//! The section `[consent]`: what each person must have consented to, and must prove to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tags::Tagged;
use crate::document::reader::Field;
use crate::text::{CategoryName, ContactText, MethodName, TagName};

/// What an agreement asks of consents, beside its recipient and purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentTerms {
    contact: ContactText,
    method: MethodName,
    categories: BTreeMap<TagName, CategoryName>,
}

impl ConsentTerms {
    /// The recipient's contact that people were told.
    #[must_use]
    pub fn contact(&self) -> &ContactText {
        &self.contact
    }

    /// The method of handling that people were told.
    #[must_use]
    pub fn method(&self) -> &MethodName {
        &self.method
    }

    /// The category of data to which a tag belongs.
    #[must_use]
    pub fn category(&self, tag: &TagName) -> Option<&CategoryName> {
        self.categories.get(tag)
    }
}

/// Every tag has a category, one that only segments use too: one without would leave without consent.
pub(super) fn read(field: &Field<'_>, tagged: Option<&Tagged>) -> Option<ConsentTerms> {
    let mut table = field.table()?;
    let contact = table.parsed("contact");
    let method = table.parsed("method");
    let listed = table.required("categories");
    table.finish();
    let listed = listed?;
    let mut categories = BTreeMap::new();
    for (tag, category) in listed.entries()? {
        let known = tagged?.names().find(|known| known.as_str() == tag);
        match (known, category.parsed()) {
            (Some(known), Some(name)) => {
                categories.insert(known.clone(), name);
            }
            (None, _) => category.note(
                "the agreement has no such tag",
                "names of its tags and segment tags",
            ),
            (_, None) => {}
        }
    }
    let missing = tagged?.names().find(|name| !categories.contains_key(*name));
    if let Some(name) = missing {
        let problem = format!("tag `{name}` has no category");
        listed.note(problem, "the category of each tag, as people were told it");
        return None;
    }
    Some(ConsentTerms {
        contact: contact?,
        method: method?,
        categories,
    })
}
