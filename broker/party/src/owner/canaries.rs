//! Canaries: identifiers of nobody, mixed into a flow so that a recipient that tries all numbers is noticed.
//!
//! Which they are is committed to before the flow, as codes that only this home's key turns back into identifiers: an auditor who is
//! shown the key and the file can check that they were nobody's, and the broker learns none of them.

use counterfoil_policy::canaries::{ExpectedRate, threshold};
use counterfoil_policy::text::FlowId;
use counterfoil_proto::limits::CANARY_CODE_BYTES;
use counterfoil_proto::payload::CanaryCode;
use counterfoil_proto::v1::CanaryCommitment;
use counterfoil_psi::{Identifier, IdentifierSet, Normaliser};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::data::CanaryRecords;
use crate::error::Result;
use crate::home::Home;
use crate::transport::{Broker, call};

use super::FlowEvent;

/// Sets these codes apart from whatever else a key of this kind is used for.
const DOMAIN: &[u8] = b"counterfoil canary code v1\n";

const DIRECTORY: &str = "canaries";

/// What a flow's canaries are made from.
pub(super) struct CanaryPlan {
    records: CanaryRecords,
    key: Zeroizing<[u8; 32]>,
    flow: FlowId,
}

/// The canaries of a flow. All of the file are committed to, whoever is a customer since: so what is committed tells of no customer.
pub(super) struct Canaries {
    identifiers: Vec<Identifier>,
    committed: Vec<CanaryCode>,
    rate: ExpectedRate,
    /// The last items of the prepared set, from here on, are those that are no customers; with their codes.
    first: u32,
    codes: Vec<CanaryCode>,
}

/// The broker has recorded what this owner mixes in: nothing is matched before.
pub(super) struct Committed(());

impl CanaryPlan {
    pub(super) fn new(records: &CanaryRecords, key: Zeroizing<[u8; 32]>, flow: FlowId) -> Self {
        Self {
            records: records.clone(),
            key,
            flow,
        }
    }

    /// Reads them, as identifiers of the type that is matched. Blocks.
    ///
    /// # Errors
    /// As [`CanaryRecords::read`].
    pub(super) fn read(&self, column: &str, normaliser: Normaliser) -> Result<Vec<Identifier>> {
        Ok(self.records.read(column, normaliser)?)
    }

    /// Codes of all, and of those that are the last items of a set.
    pub(super) fn codes(
        &self,
        identifiers: Vec<Identifier>,
        set: &IdentifierSet,
        added: u32,
    ) -> Canaries {
        let committed = identifiers.iter();
        let mut committed: Vec<_> = committed.map(|id| self.code(id.as_bytes())).collect();
        committed.sort_unstable();
        let all = u32::try_from(set.len()).unwrap_or(u32::MAX);
        let first = all.saturating_sub(added);
        let codes = (first..all).map_while(|index| Some(self.code(set.get(index)?)));
        Canaries {
            identifiers,
            committed,
            rate: self.records.rate(),
            first,
            codes: codes.collect(),
        }
    }

    fn code(&self, identifier: &[u8]) -> CanaryCode {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref()).expect("any length");
        let mac = mac
            .chain_update(DOMAIN)
            .chain_update(self.flow.as_bytes())
            .chain_update(identifier);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut code = [0; CANARY_CODE_BYTES];
        for (to, from) in code.iter_mut().zip(digest) {
            *to = from;
        }
        code
    }
}

impl Canaries {
    /// The code of an item, if it is a canary.
    pub(super) fn code(&self, index: u32) -> Option<&CanaryCode> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.codes.get(place)
    }

    fn commitment(&self, flow: FlowId) -> CanaryCommitment {
        CanaryCommitment {
            flow: flow.as_bytes().to_vec(),
            codes: self.committed.concat(),
            expected_rate: self.rate.to_string(),
        }
    }

    /// One identifier a line: what an auditor needs beside the key.
    fn list(&self) -> String {
        let lines = self.identifiers.iter();
        lines.map(|id| format!("{}\n", id.expose_value())).collect()
    }
}

/// Keeps a flow's canaries, if it has some, and has the broker record them.
///
/// # Errors
/// The broker refuses, or is gone.
pub(super) async fn commit(
    home: &Home,
    broker: &Broker,
    flow: FlowId,
    canaries: Option<&Canaries>,
    tell: impl Fn(FlowEvent),
) -> Result<Committed> {
    if let Some(canaries) = canaries {
        home.make_dir(DIRECTORY)?;
        home.write(
            format!("{DIRECTORY}/{flow}.txt"),
            canaries.list().as_bytes(),
        )?;
        let reply = call(broker.flows().commit_canaries(canaries.commitment(flow))).await?;
        let count = u32::try_from(canaries.committed.len()).unwrap_or(u32::MAX);
        tell(FlowEvent::Committed {
            canaries: count,
            stops_at: threshold(count, canaries.rate),
            entry: reply.entry,
        });
    }
    Ok(Committed(()))
}
