//! Receipts of releases: checked against what this side knows of the flow, kept, listed.
//!
//! The order that matters is in the types. What the broker sends comes as [`Fetched`], whose sealed bytes nothing can
//! read. [`Fetched::verify`] checks the receipt and gives a [`VerifiedIntent`]: the log has an entry that releases
//! this flow, under this agreement, from this owner to this recipient. [`VerifiedIntent::admit`] compares the
//! sealed bytes with the digest in that entry and gives a [`VerifiedRelease`], and only that can be opened.

use std::collections::BTreeMap;
use std::fmt;

use counterfoil_audit::entry::{Digest, Event, Label, ReleaseIntent, ReleaseMarks, Removed};
use counterfoil_audit::note::VerifierKey;
use counterfoil_audit::receipt::{Receipt, VerifiedReceipt};
use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::measure::Plan;
use counterfoil_policy::request::{RequestBody, VerifiedRequest};
use counterfoil_policy::text::{FlowId, SegmentName};
use counterfoil_proto::answers;
use counterfoil_proto::delivery::{Delivery, DeliveryContext, DeliverySecret, ReferenceSecret};
use counterfoil_watermark::{Commitment, ReferenceKey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::audit::log_key;
use crate::error::{Error, Result, shown};
use crate::home::Home;
use crate::marks::{self, DeliveryMarks};

const DIRECTORY: &str = "receipts";
const ENDING: &str = ".tlog-proof";
const RECEIPT_BYTES_MAX: u64 = counterfoil_audit::receipt::RECEIPT_BYTES_MAX as u64;

/// What this side knows of a flow: the agreement that it stored, and the request that it signed or verified.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The agreement.
    pub agreement: &'a Agreement,
    /// The request.
    pub request: &'a VerifiedRequest,
}

/// What the broker sent for a flow. Nothing of it has been checked, so nothing of it can be read.
pub struct Fetched {
    receipt: String,
    sealed: Vec<u8>,
}

/// The log's entry that releases the flow, verified; the delivery itself has not been looked at.
pub struct VerifiedIntent {
    text: String,
    receipt: VerifiedReceipt,
    intent: Box<ReleaseIntent>,
    sealed: Vec<u8>,
}

/// A sealed delivery whose release stands in the log, to the byte.
pub struct VerifiedRelease {
    text: String,
    receipt: VerifiedReceipt,
    intent: Box<ReleaseIntent>,
    sealed: Vec<u8>,
    context: DeliveryContext,
}

impl Fetched {
    /// Wraps what came: the receipt's text, and the sealed bytes (none for an owner).
    pub(crate) fn new(receipt: String, sealed: Vec<u8>) -> Self {
        Self { receipt, sealed }
    }

    /// Verifies the receipt: the log's key signed the checkpoint, the entry is under it, and it releases this flow
    /// as agreed and as requested.
    ///
    /// # Errors
    /// [`Error::Unverified`], with what is wrong.
    pub fn verify(self, key: &VerifierKey, known: &Known<'_>) -> Result<VerifiedIntent> {
        let failed = |why: String| Error::Unverified(format!("the receipt of the release: {why}"));
        let receipt = Receipt::parse(&self.receipt)
            .and_then(|receipt| receipt.verify(key))
            .map_err(|error| failed(shown(&error.to_string())))?;
        let Event::ReleaseIntent(intent) = receipt.entry().event() else {
            let name = receipt.entry().event().type_name();
            return Err(failed(format!(
                "its entry is `{name}`, not `release.intent`"
            )));
        };
        if let Some(field) = first_difference(intent, known) {
            return Err(failed(format!("its `{field}` is not that of this flow")));
        }
        let intent = intent.clone();
        Ok(VerifiedIntent {
            text: self.receipt,
            receipt,
            intent,
            sealed: self.sealed,
        })
    }
}

/// The first field of the entry that differs from what this side knows.
fn first_difference(intent: &ReleaseIntent, known: &Known<'_>) -> Option<&'static str> {
    let (agreement, request) = (known.agreement, known.request.body());
    let key_id =
        Digest::from_bytes(Sha256::digest(request.delivery_key.as_bytes()).into()).to_string();
    let columns = intent.source.columns.as_slice();
    let columns_fit = columns.len() == request.tags.len()
        && columns.iter().zip(&request.tags).all(|(column, tag)| {
            let agreed = agreement.tag(tag);
            column.name.as_str() == tag.as_str()
                && agreed.is_some_and(|agreed| {
                    column.class.as_str() == agreed.class().as_str()
                        && column.form.as_str() == agreed.form().as_str()
                })
        });
    let checks = [
        ("flow", intent.flow.as_bytes() == request.flow.as_bytes()),
        (
            "agreement.sha256",
            intent.agreement.sha256.as_bytes() == agreement.digest().as_bytes(),
        ),
        (
            "agreement.id",
            intent.agreement.id.as_str() == agreement.id().as_str(),
        ),
        (
            "agreement.version",
            intent.agreement.version == agreement.version(),
        ),
        (
            "purpose",
            intent.purpose.as_str() == agreement.purpose().as_str(),
        ),
        (
            "legal_basis",
            intent.legal_basis.as_str() == agreement.legal_basis().as_str(),
        ),
        (
            "protocol",
            intent.protocol.as_str() == agreement.protocol().for_request(request.set_size).as_str(),
        ),
        (
            "source.org",
            intent.source.org.as_str() == agreement.owner().name.as_str(),
        ),
        (
            "source.dataset",
            intent.source.dataset.as_str() == agreement.dataset().as_str(),
        ),
        (
            "source.segment",
            intent.source.segment.as_ref().map(Label::as_str)
                == request.segment.as_ref().map(SegmentName::as_str),
        ),
        ("source.columns", columns_fit),
        (
            "marks",
            match request.kind {
                FlowKind::Exchange => {
                    marks::as_agreed(intent.marks.as_ref(), agreement, &request.tags)
                }
                // There are no rows to mark.
                FlowKind::Measure => intent.marks.is_none(),
            },
        ),
        ("transform.k", intent.transform.k >= agreement.k()),
        ("transform.kind", kind_fits(intent, request)),
        ("spent", spent_fits(intent, known)),
        (
            "recipient.org",
            intent.recipient.org.as_str() == agreement.recipient().name.as_str(),
        ),
        (
            "recipient.key_id",
            intent.recipient.key_id.as_str() == key_id,
        ),
    ];
    checks
        .into_iter()
        .find(|(_, equal)| !equal)
        .map(|(field, _)| field)
}

/// Rows are released only where rows were asked for.
fn kind_fits(intent: &ReleaseIntent, request: &RequestBody) -> bool {
    (intent.transform.kind.as_str() == "measure") == (request.kind == FlowKind::Measure)
}

/// The log charges what the queries cost, to the population of the agreement, and nothing for an exchange.
fn spent_fits(intent: &ReleaseIntent, known: &Known<'_>) -> bool {
    let asked = known.request.body().measure.as_ref();
    let planned = asked.and_then(|asked| {
        let terms = known.agreement.measure()?;
        Some((terms, Plan::new(known.agreement, asked).ok()?.cost()))
    });
    match (planned, &intent.spent) {
        (None, None) => true,
        (Some((terms, cost)), Some(spent)) => {
            spent.population.as_str() == terms.population().as_str()
                && spent.epsilon.as_str() == cost.epsilon.to_string()
                && spent.delta.as_str() == cost.delta.to_string()
        }
        _ => false,
    }
}

impl VerifiedIntent {
    /// The verified receipt: entry, index, checkpoint.
    #[must_use]
    pub fn receipt(&self) -> &VerifiedReceipt {
        &self.receipt
    }

    /// Compares the commitment to the key of mark tags with the owner's own.
    ///
    /// # Errors
    /// [`Error::Unverified`] if they differ: a trace would rest on another key.
    pub(crate) fn check_tag_key(&self, own: Option<Commitment>) -> Result<()> {
        let logged = self.intent.marks.as_ref().and_then(|marks| marks.tag_key);
        if logged.map(|key| Commitment::from_bytes(*key.as_bytes())) == own {
            return Ok(());
        }
        Err(Error::Unverified(
            "the receipt of the release: the key of mark tags that it commits to is not this side's".to_owned(),
        ))
    }

    /// Compares the sealed bytes with the entry.
    ///
    /// # Errors
    /// [`Error::Unverified`] if they are not the ones that the log released.
    pub fn admit(self) -> Result<VerifiedRelease> {
        let result = &self.intent.result;
        let digest: [u8; 32] = Sha256::digest(&self.sealed).into();
        // Neither is secret, so the comparison may leave early.
        if self.sealed.len() as u64 != result.bytes.value() || digest != *result.sha256.as_bytes() {
            return Err(Error::Unverified(
                "the delivery is not the one that the log released: its digest or size differs; nothing of it was opened"
                    .to_owned(),
            ));
        }
        let context = DeliveryContext {
            flow: *self.intent.flow.as_bytes(),
            agreement: *self.intent.agreement.sha256.as_bytes(),
        };
        Ok(VerifiedRelease {
            text: self.text,
            receipt: self.receipt,
            intent: self.intent,
            sealed: self.sealed,
            context,
        })
    }

    /// Keeps the receipt of a delivery that this side does not open.
    ///
    /// # Errors
    /// As [`VerifiedRelease::store`].
    pub fn store(&self, home: &Home) -> Result<StoredReceipt> {
        store(home, &self.text, &self.receipt)
    }
}

impl VerifiedRelease {
    /// Opens the delivery, where it stands and so once, and compares its counts with the entry: only the recipient can see whether the log, which the
    /// owner and auditors go by, tells how much left.
    ///
    /// # Errors
    /// [`Error::Wire`]: sealed to another key, or malformed inside. [`Error::Unverified`] for other counts than the
    /// entry's.
    pub fn open(&mut self, secret: &DeliverySecret) -> Result<Delivery> {
        let delivery = Delivery::open(std::mem::take(&mut self.sealed), secret, &self.context)?;
        let (result, removed) = (&self.intent.result, &self.intent.transform.removed);
        let rows = CoarseCount::of(delivery.rows.len() as u64).to_string();
        let counts = [
            ("result.rows", rows == result.rows.as_str()),
            (
                "transform.removed.generalised",
                delivery.generalised == removed.generalised.as_str(),
            ),
            (
                "transform.removed.suppressed",
                delivery.suppressed == removed.suppressed.as_str(),
            ),
        ];
        let coded = ("marks.reference_key", self.codes_fit(&delivery));
        match counts.iter().chain([&coded]).find(|(_, equal)| !equal) {
            None => Ok(delivery),
            Some((field, _)) => Err(Error::Unverified(format!(
                "the delivery does not have the `{field}` that the log's entry of its release tells: nothing of it was written"
            ))),
        }
    }

    /// Whether the key of the rows' codes is the one that the entry commits to.
    fn codes_fit(&self, delivery: &Delivery) -> bool {
        let marks = self.intent.marks.as_ref();
        let committed = marks.and_then(|marks| Some((marks, marks.reference_key?)));
        match (&delivery.reference_key, committed) {
            (None, None) => true,
            (Some(ReferenceSecret(key)), Some((marks, committed))) => {
                let key = ReferenceKey::from_bytes(*key);
                let (lineage, flow) = (marks.lineage.as_str(), self.intent.flow.to_string());
                let opened = Commitment::to_reference(&key, lineage, &flow);
                Commitment::from_bytes(*committed.as_bytes()) == opened
            }
            _ => false,
        }
    }

    /// Opens the answers of a measure flow. They are of their one size, or they are none.
    ///
    /// # Errors
    /// [`Error::Wire`]: sealed to another key, or malformed inside.
    pub fn open_answers(&self, secret: &DeliverySecret) -> Result<Vec<u8>> {
        Ok(answers::open(self.sealed.clone(), secret, &self.context)?)
    }

    /// How many rows the entry says, in a bucket; of a measure flow, the bucket of a noised count.
    #[must_use]
    pub fn rows(&self) -> &str {
        self.intent.result.rows.as_str()
    }

    /// What was left out and made coarser, in buckets, as the entry tells both sides.
    #[must_use]
    pub fn removed(&self) -> &Removed {
        &self.intent.transform.removed
    }

    /// SHA-256 of the sealed bytes, which the recipient acknowledges.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        // It was compared with the sealed bytes when this was made.
        *self.intent.result.sha256.as_bytes()
    }

    /// Keeps the receipt under `receipts/`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn store(&self, home: &Home) -> Result<StoredReceipt> {
        store(home, &self.text, &self.receipt)
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => { $(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("sealed_bytes", &self.sealed.len()).finish_non_exhaustive()
            }
        }
    )* };
}
opaque_debug!(Fetched, VerifiedIntent, VerifiedRelease);

/// A receipt that is kept in a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredReceipt {
    /// The flow.
    pub flow: String,
    /// Index of its entry in the log.
    pub entry: u64,
    /// When it was recorded, by the broker's clock.
    pub time: String,
    /// The agreement's id.
    pub agreement: String,
    /// Who gave.
    pub owner: String,
    /// Who got.
    pub recipient: String,
    /// How many rows, in a bucket.
    pub rows: String,
    /// The marks in them; `None` if the agreement has none.
    pub marks: Option<DeliveryMarks>,
    /// The file.
    pub path: std::path::PathBuf,
}

/// The receipts of releases that are kept in a home, in the order of the log. Each is verified again with the log's
/// key; a file that is none is an error and not skipped.
///
/// # Errors
/// [`Error::NotJoined`], [`Error::Io`], [`Error::Damaged`].
pub fn list(home: &Home) -> Result<Vec<StoredReceipt>> {
    let mut receipts = Vec::new();
    for (relative, receipt) in verified(home)? {
        let stored = describe(home, &receipt)
            .ok_or_else(|| home.damaged(&relative, "it is of no release".to_owned()))?;
        receipts.push(stored);
    }
    receipts.sort_by_key(|receipt| receipt.entry);
    Ok(receipts)
}

/// What a marked delivery's receipt says of its marks.
pub(crate) struct MarkedReceipt {
    pub(crate) entry: u64,
    pub(crate) recipient: String,
    pub(crate) marks: ReleaseMarks,
}

/// The marked deliveries whose receipts are kept here, by flow.
///
/// # Errors
/// As [`list`].
pub(crate) fn marked(home: &Home) -> Result<BTreeMap<String, MarkedReceipt>> {
    let receipts = verified(home)?.into_iter();
    let marked = receipts.filter_map(|(_, receipt)| match receipt.entry().event() {
        Event::ReleaseIntent(intent) => Some((
            intent.flow.to_string(),
            MarkedReceipt {
                entry: receipt.index(),
                recipient: intent.recipient.org.to_string(),
                marks: intent.marks.clone()?,
            },
        )),
        _ => None,
    });
    Ok(marked.collect())
}

/// As [`marked`], of one lineage.
///
/// # Errors
/// As [`list`].
pub(crate) fn of_lineage(home: &Home, lineage: &str) -> Result<Vec<MarkedReceipt>> {
    let kept = marked(home)?.into_values();
    let of_lineage = kept.filter(|of| of.marks.lineage.as_str() == lineage);
    Ok(of_lineage.collect())
}

/// Every receipt with its file, verified with the log's key.
fn verified(home: &Home) -> Result<Vec<(String, VerifiedReceipt)>> {
    let key = log_key(home)?;
    let mut receipts = Vec::new();
    for name in home.list(DIRECTORY)? {
        let relative = format!("{DIRECTORY}/{name}");
        if name
            .strip_suffix(ENDING)
            .is_none_or(|stem| stem.parse::<FlowId>().is_err())
        {
            continue;
        }
        let damaged = |why: String| home.damaged(&relative, why);
        let bytes = home.read(&relative, RECEIPT_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text".to_owned()))?;
        let receipt = Receipt::parse(&text)
            .and_then(|receipt| receipt.verify(&key))
            .map_err(|error| damaged(error.to_string()))?;
        receipts.push((relative, receipt));
    }
    Ok(receipts)
}

fn store(home: &Home, text: &str, receipt: &VerifiedReceipt) -> Result<StoredReceipt> {
    let stored = describe(home, receipt).ok_or_else(|| {
        Error::Unexpected("a receipt of another kind came to be stored".to_owned())
    })?;
    home.write(
        format!("{DIRECTORY}/{}{ENDING}", stored.flow),
        text.as_bytes(),
    )?;
    Ok(stored)
}

fn describe(home: &Home, receipt: &VerifiedReceipt) -> Option<StoredReceipt> {
    let Event::ReleaseIntent(intent) = receipt.entry().event() else {
        return None;
    };
    let flow = intent.flow.to_string();
    Some(StoredReceipt {
        path: home.path().join(DIRECTORY).join(format!("{flow}{ENDING}")),
        flow,
        entry: receipt.index(),
        time: receipt.entry().time().to_string(),
        agreement: intent.agreement.id.to_string(),
        owner: intent.source.org.to_string(),
        recipient: intent.recipient.org.to_string(),
        rows: intent.result.rows.to_string(),
        marks: intent.marks.as_ref().map(DeliveryMarks::of),
    })
}

#[cfg(test)]
mod tests;
