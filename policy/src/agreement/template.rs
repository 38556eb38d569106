//! The commented sample that people start from.

use time::{Date, Duration};

use crate::keys::PartyKeys;
use crate::moment::date_text;

const TEMPLATE: &str = include_str!("template.toml");

/// A commented agreement between two parties, valid for a year from `valid_from`.
///
/// It parses and lints as it is, unless the names are so long that the suggested id
/// (`OWNER-RECIPIENT-tags`) exceeds its bound; the finding then says so.
#[must_use]
pub fn template(owner: &PartyKeys, recipient: &PartyKeys, valid_from: Date) -> String {
    fill(TEMPLATE, owner, recipient, valid_from)
}

/// Fills the slots of a template of one's own: `{owner}`, `{owner_signing_key}`, `{owner_noise_key}`, the same for
/// `{recipient}`, and `{valid_from}` and `{valid_until}`, a year apart. Other text is left as it is.
#[must_use]
pub fn fill(template: &str, owner: &PartyKeys, recipient: &PartyKeys, valid_from: Date) -> String {
    let valid_until = valid_from.saturating_add(Duration::days(364));
    let slots = [
        ("{owner}", owner.name.to_string()),
        ("{owner_signing_key}", owner.signing_key.to_string()),
        ("{owner_noise_key}", owner.noise_key.to_string()),
        ("{recipient}", recipient.name.to_string()),
        ("{recipient_signing_key}", recipient.signing_key.to_string()),
        ("{recipient_noise_key}", recipient.noise_key.to_string()),
        ("{valid_from}", date_text(valid_from)),
        ("{valid_until}", date_text(valid_until)),
    ];
    slots
        .into_iter()
        .fold(template.to_owned(), |text, (slot, value)| {
            text.replace(slot, &value)
        })
}
