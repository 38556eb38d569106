//! Agreements as the broker shows them: parsed here, believed nowhere before they are verified.

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::approval::{InstitutionSignature, Revocation};
use counterfoil_policy::text::AgreementId;
use counterfoil_proto::v1;
use counterfoil_proto::v1::agreement_reply::Result as Answer;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::transport::{Broker, call};

/// Two parties sign; more signatures are not read.
const SIGNATURES_MAX: usize = 2;
/// A signature bundle of JSON has about 1,200 bytes.
const SIGNATURE_BYTES_MAX: usize = 16 * 1024;

/// A version with claims about who signed it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) agreement: Agreement,
    pub(super) signatures: Vec<InstitutionSignature>,
    pub(super) revocation: Option<Revocation>,
}

pub(super) async fn list(broker: &Broker, id: Option<&AgreementId>) -> Result<Vec<Shown>> {
    let id = id.map(ToString::to_string).unwrap_or_default();
    let reply = call(broker.agreements().list(v1::ListAgreementsRequest { id })).await?;
    reply.agreements.iter().map(parse).collect()
}

pub(super) fn accepted(reply: v1::AgreementReply) -> Result<Shown> {
    match reply.result {
        Some(Answer::Accepted(agreement)) => parse(&agreement),
        Some(Answer::Denied(denial)) => Err(denial.into()),
        None => Err(bad("an answer without a result")),
    }
}

fn parse(wire: &v1::Agreement) -> Result<Shown> {
    let agreement = Agreement::from_canonical(&wire.document)
        .map_err(|_| bad("an agreement that does not read"))?;
    if wire.digest != agreement.digest().as_bytes() {
        return Err(bad("an agreement under another digest than its own"));
    }
    if wire.signatures.len() > SIGNATURES_MAX {
        return Err(bad("more signatures than an agreement has parties"));
    }
    let revocation = if wire.revocation.is_empty() {
        None
    } else {
        Some(json(&wire.revocation)?)
    };
    Ok(Shown {
        agreement,
        signatures: wire
            .signatures
            .iter()
            .map(|bytes| json(bytes))
            .collect::<Result<_>>()?,
        revocation,
    })
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    Some(bytes)
        .filter(|bytes| bytes.len() <= SIGNATURE_BYTES_MAX)
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .ok_or_else(|| bad("a signature that does not read"))
}

fn bad(what: &str) -> Error {
    Error::Unverified(format!("the broker showed {what}"))
}

#[cfg(test)]
pub(super) fn shown(
    agreement: Agreement,
    signatures: Vec<InstitutionSignature>,
    revocation: Option<Revocation>,
) -> v1::Agreement {
    v1::Agreement {
        document: agreement.canonical_bytes().to_vec(),
        digest: agreement.digest().as_bytes().to_vec(),
        status: String::new(),
        signatures: signatures
            .iter()
            .map(|s| serde_json::to_vec(s).unwrap())
            .collect(),
        revocation: revocation
            .map(|r| serde_json::to_vec(&r).unwrap())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
pub(super) fn parse_for_test(wire: &v1::Agreement) -> Result<Shown> {
    parse(wire)
}
