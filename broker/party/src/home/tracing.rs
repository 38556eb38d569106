//! The owner's keys of mark tags: one for each lineage, kept with what of a row its tags are made from.
//!
//! A tag must be the same in every flow of a lineage. So a key that was lost is never made anew where something was delivered
//! with it, and a key is not used for another column than the one that it was made for.

use counterfoil_watermark::{Commitment, TraceKey};
use rand::Rng as _;
use zeroize::Zeroizing;

use super::Home;
use super::keys::{KEY_BYTES_MAX, read_secret32, write_secret32};
use crate::data::CustomerKey;
use crate::error::{Error, Result};
use crate::receipts;

const TRACE: &str = "trace-secret:";
const CUSTOMER: &str = "customer:";

impl Home {
    /// The key from which the mark tags of a lineage (`OWNER/DATASET/EPOCH/BITS/SELECTED`) are made: made when it is first needed.
    /// Without it nobody can trace what was delivered from the lineage.
    ///
    /// # Errors
    /// The file cannot be written, is open to others or damaged; it is missing although something was delivered; or it was made
    /// for another column.
    pub(crate) fn make_trace_key(&self, lineage: &str, customer: &CustomerKey) -> Result<TraceKey> {
        if let Some(key) = self.trace_key(lineage, customer)? {
            return Ok(key);
        }
        let name = trace_file(lineage);
        let mut secret = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(secret.as_mut());
        let mut text = write_secret32(TRACE, &secret);
        text.push_str(&format!("{CUSTOMER}{customer}\n"));
        match self.write_new(&name, text.as_bytes()) {
            Ok(()) => {}
            // Another flow made it first: that one counts.
            Err(Error::Io { error, .. }) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.trace_key(lineage, customer)?
            .ok_or_else(|| self.damaged(name, "it was taken away as soon as it was made"))
    }

    /// As [`make_trace_key`](Self::make_trace_key), `None` where none was made and nothing was delivered from the lineage.
    ///
    /// # Errors
    /// As [`make_trace_key`](Self::make_trace_key).
    pub(crate) fn trace_key(
        &self,
        lineage: &str,
        customer: &CustomerKey,
    ) -> Result<Option<TraceKey>> {
        let name = trace_file(lineage);
        let Some(bytes) = self.read(&name, KEY_BYTES_MAX)?.map(Zeroizing::new) else {
            // Where rows have nothing but reference codes there is no key.
            let kept = receipts::of_lineage(self, lineage)?;
            if kept.iter().all(|of| of.marks.columns.as_slice().is_empty()) {
                return Ok(None);
            }
            return Err(self.damaged(
                name,
                "it is missing, and with it was marked what is delivered already: another key could trace none of that. Restore it from your backup, or raise `epoch` in [marks] of a new version of each agreement of the dataset",
            ));
        };
        let text = std::str::from_utf8(&bytes).ok();
        let parts = text.and_then(|text| text.split_once('\n'));
        let read = parts.and_then(|(secret, rest)| {
            let made_for = rest.strip_prefix(CUSTOMER)?.strip_suffix('\n')?;
            Some((read_secret32(secret, TRACE)?, made_for))
        });
        let (secret, made_for) = read.ok_or_else(|| {
            self.damaged(
                &name,
                "it is not a key file of this program; restore it from your backup",
            )
        })?;
        let now = customer.to_string();
        if made_for != now {
            return Err(self.damaged(
                name,
                format!(
                    "its mark tags are made from {}, and datasets.toml says {now}: tags of one customer would differ from delivery to delivery. Name the former with `customer`, or raise `epoch` in [marks] of a new version of each agreement of the dataset; if the column only has another name now, write that into this file's last line",
                    made_for.escape_debug()
                ),
            ));
        }
        Ok(Some(TraceKey::from_bytes(*secret)))
    }

    /// That a key is the one that the log has for what was delivered from the lineage, by the receipts that are kept here.
    ///
    /// # Errors
    /// It is another one, or a receipt is damaged.
    pub(crate) fn check_trace_key(&self, lineage: &str, key: &TraceKey) -> Result<()> {
        let own = Commitment::to_trace(key, lineage);
        let kept = receipts::of_lineage(self, lineage)?;
        let mut committed = kept.iter().filter_map(|of| of.marks.tag_key);
        if committed.all(|logged| Commitment::from_bytes(*logged.as_bytes()) == own) {
            return Ok(());
        }
        Err(self.damaged(
            trace_file(lineage),
            "it is not the key that the log commits to for what was delivered from the lineage, so it traces none of that: restore the right one from your backup",
        ))
    }

    /// Whether a lineage has a key here, or something was delivered from it.
    ///
    /// # Errors
    /// The home cannot be read.
    pub(crate) fn knows_lineage(&self, lineage: &str) -> Result<bool> {
        let key = self.read(trace_file(lineage), KEY_BYTES_MAX)?;
        Ok(key.map(Zeroizing::new).is_some() || !receipts::of_lineage(self, lineage)?.is_empty())
    }
}

/// Owner and dataset are names of a-z, 0-9, `_` and `-`, so no two lineages have one file.
fn trace_file(lineage: &str) -> String {
    format!("keys/trace-{}.key", lineage.replace('/', "."))
}
