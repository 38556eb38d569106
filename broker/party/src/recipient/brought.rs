//! The recipient's own tags in a measure flow: sealed under keys of their own, which the broker gets from the owner for the customers
//! that the owner holds too, and for no others.

use std::path::Path;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::measure::{Plan, RecipientTag};
use counterfoil_policy::request::RequestBody;
use counterfoil_proto::payload::{Layout, RowHead};
use counterfoil_psi::{PayloadLength, RowContext, SessionId, Token};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

use super::map::BucketMap;
use super::own::OwnReader;

/// Own tags, and how they are sealed.
pub(super) struct Brought {
    layout: Layout,
    length: PayloadLength,
    /// Of each tag, all of its values.
    values: Vec<Vec<Box<str>>>,
    /// For each own row and tag, the number of its value: a list has at most 64.
    codes: Vec<u8>,
}

impl Brought {
    /// Of a request, with the rows that were kept of its flow; nothing for a flow that counts no tag of the recipient's. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`]: the kept rows cannot be read, or hold other values than were agreed.
    pub(super) fn of(
        home: &Path,
        agreement: &Agreement,
        request: &RequestBody,
    ) -> Result<Option<Self>> {
        let (Some(asked), Some(terms)) = (&request.measure, agreement.measure()) else {
            return Ok(None);
        };
        let plan = Plan::new(agreement, asked).map_err(|e| Error::Input(e.to_string()))?;
        let tags = plan.recipient_tags().iter();
        let tags: Vec<_> = tags.filter_map(|tag| terms.recipient_tag(tag)).collect();
        if tags.is_empty() {
            return Ok(None);
        }
        let layout = Layout::new(tags.iter().map(|tag| column(tag)).collect())?;
        let length = PayloadLength::new(layout.payload_len())
            .map_err(|e| Error::Unexpected(e.to_string()))?;
        let values: Vec<_> = tags.iter().map(|tag| tag.values().to_vec()).collect();
        Ok(Some(Self {
            codes: codes(home, request, &values)?,
            layout,
            length,
            values,
        }))
    }

    /// Appends the payload of an own row.
    fn write(&self, row: u32, out: &mut Vec<u8>) -> Result<()> {
        let missing = || Error::Unexpected("an own row is missing".to_owned());
        let codes = usize::try_from(row)
            .ok()
            .and_then(|row| self.codes.chunks_exact(self.values.len()).nth(row))
            .ok_or_else(missing)?;
        let mut whole = true;
        let values = self.values.iter().zip(codes).map(|(values, code)| {
            let value = values.get(usize::from(*code));
            whole &= value.is_some();
            value.map_or("", |value| &**value)
        });
        self.layout.encode_into(RowHead::default(), values, out)?;
        if whole { Ok(()) } else { Err(missing()) }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What sealing the rows of a bucket takes, apart from the tokens.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for a row that is not of the set.
    pub(super) fn sealing(&self, agreement: &Agreement, part: &[u32]) -> Result<Sealing> {
        // Its whole size at once: a buffer that grew would leave copies behind.
        let bytes = part.len() * self.layout.payload_len();
        let mut payloads = Zeroizing::new(Vec::with_capacity(bytes));
        for row in part {
            self.write(*row, &mut payloads)?;
        }
        Ok(Sealing {
            payloads,
            length: self.length,
            agreement: *agreement.digest().as_bytes(),
        })
    }
}

/// The own values of a bucket's rows, to be sealed.
pub(super) struct Sealing {
    /// One after the other, each as long as the layout says.
    payloads: Zeroizing<Vec<u8>>,
    length: PayloadLength,
    agreement: [u8; 32],
}

impl Sealing {
    /// The map of a bucket, with the own sealed row of each slot. A dummy's is never opened, because nobody has its key. Blocks.
    ///
    /// # Errors
    /// None that a layout of the agreement has.
    pub(super) fn map(
        &self,
        session: SessionId,
        part: &[u32],
        tokens: Vec<Token>,
    ) -> Result<BucketMap> {
        let context = RowContext::new(session, self.agreement, self.length);
        let length = self.length.payload();
        let sealed = self.length.sealed();
        BucketMap::sealing(session, part, tokens, sealed, |key, place, slots| {
            let start = slots.len();
            let own = place.checked_mul(length);
            let own = own.and_then(|at| self.payloads.get(at..at.checked_add(length)?));
            match own {
                Some(payload) => slots.extend_from_slice(payload),
                None => slots.resize(start + length, 0),
            }
            context
                .seal_tail(key, slots, start)
                .map_err(|e| Error::Unexpected(e.to_string()))
        })
    }
}

/// The number of each value of the rows that were kept.
fn codes(home: &Path, request: &RequestBody, values: &[Vec<Box<str>>]) -> Result<Vec<u8>> {
    let mut rows = OwnReader::open(home, request.flow)?;
    let mut codes = Vec::new();
    while let Some((_, cells)) = rows.next_row()?.and_then(<[String]>::split_first) {
        let row: Option<Vec<u8>> = values
            .iter()
            .zip(cells)
            .map(|(values, cell)| {
                let place = values.iter().position(|value| **value == **cell);
                place.and_then(|place| u8::try_from(place).ok())
            })
            .collect();
        match row.filter(|row| row.len() == values.len()) {
            Some(row) => codes.extend(row),
            None => return Err(rows.damaged()),
        }
    }
    Ok(codes)
}

/// A column is as wide as the longest value of its list, so that the width tells of the agreement alone.
fn column(tag: &RecipientTag) -> (String, usize) {
    let longest = tag.values().iter().map(|value| value.len()).max();
    (tag.name().to_string(), longest.unwrap_or(0))
}
