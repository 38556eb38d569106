//! One consent record: its fields, its days, and what makes it unreadable.

use counterfoil_policy::consent::{REFERENCE_BYTES_MAX, Record};
use counterfoil_policy::moment::Timestamp;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};

use super::super::rows::Row;
use super::ConsentRecords;

const SECONDS_PER_DAY: i64 = 86_400;

pub(super) const KEY: &str =
    "the key is empty or no identifier: give the person's, as the dataset has it";
const RECIPIENT: &str =
    "the recipient is none of `recipients`: correct it, or list it in datasets.toml";
const REFERENCE: &str = "the reference is empty or longer than 128 bytes: give one that fits";
const ENDS_FIRST: &str = "the consent ends before it begins: correct one of the dates";
const GIVEN: &str = "the time of consent is not a date like 2026-11-23 or 2026-11-23T03:20:00Z";
const EXPIRES: &str = "the expiry is not a date like 2026-11-23 or 2026-11-23T03:20:00Z";
const WITHDRAWN: &str = "the withdrawal is not a date like 2026-11-23 or 2026-11-23T03:20:00Z";

/// A record, and what the owner alone needs of it.
pub(super) struct Dated<'r> {
    pub(super) record: Record<'r>,
    pub(super) reference: &'r str,
    /// Consents given until then are withdrawn, to the end of the day if only a day is known.
    pub(super) withdrawn_until: Option<Timestamp>,
}

impl ConsentRecords {
    /// Reads the record of a row; the fault and what to do if it cannot be relied on, never a value.
    pub(super) fn record<'r>(&self, row: &'r Row<'_>) -> Result<Dated<'r>, &'static str> {
        let columns = &self.columns;
        let cell = |name: &str| row.get(name).unwrap_or_default().trim();
        let recipient = cell(&columns.recipient);
        if !self.recipients.iter().any(|known| known == recipient) {
            return Err(RECIPIENT);
        }
        let reference = cell(&columns.reference);
        if reference.is_empty() || reference.len() > REFERENCE_BYTES_MAX {
            return Err(REFERENCE);
        }
        let moment = |name: &str, why| read_moment(cell(name), self.utc_offset).ok_or(why);
        let given = moment(&columns.given, GIVEN)?.first;
        let expires = moment(&columns.expires, EXPIRES)?.after;
        if expires <= given {
            return Err(ENDS_FIRST);
        }
        let withdrawn = match columns.withdrawn.as_deref() {
            Some(name) if !cell(name).is_empty() => Some(moment(name, WITHDRAWN)?),
            _ => None,
        };
        Ok(Dated {
            record: Record {
                recipient,
                contact: cell(&columns.contact),
                purpose: cell(&columns.purpose),
                method: cell(&columns.method),
                categories: cell(&columns.categories),
                given,
                expires,
                withdrawn: withdrawn.as_ref().map(|moment| moment.first),
            },
            reference,
            withdrawn_until: withdrawn.map(|moment| moment.last.max(given)),
        })
    }
}

/// A time as a record writes it: a day lasts until the next.
struct Moment {
    first: Timestamp,
    last: Timestamp,
    after: Timestamp,
}

fn read_moment(text: &str, utc_offset: UtcOffset) -> Option<Moment> {
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        let ahead = i64::from(utc_offset.whole_seconds());
        let first = Timestamp::start_of(date).saturating_add_seconds(-ahead);
        return Some(Moment {
            first,
            last: first.saturating_add_seconds(SECONDS_PER_DAY - 1),
            after: first.saturating_add_seconds(SECONDS_PER_DAY),
        });
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let moment = Timestamp::from_unix_seconds(moment.unix_timestamp())?;
    Some(Moment {
        first: moment,
        last: moment,
        after: moment,
    })
}
