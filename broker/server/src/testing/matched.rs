//! What two agents hold and submit after they matched.

use std::sync::Arc;

use counterfoil_policy::agreement::Agreement;
use counterfoil_proto::limits::PROOF_BYTES;
use counterfoil_proto::payload::{CanaryCode, Layout, Proof, RowHead};
use counterfoil_psi::Role as Side;
use counterfoil_psi::{
    IdentifierKind, IdentifierSet, Normaliser, PayloadLength, RowContext, SessionId, Token, dh,
};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;

use crate::flow::submission::Submission;

/// What both sides hold after matching these customers, in the order given.
pub(crate) fn matched(
    session: SessionId,
    owner: &[u32],
    recipient: &[u32],
) -> (Vec<Token>, Vec<Token>) {
    let rng = &mut UnwrapErr(SysRng);
    let emails = Normaliser::new(IdentifierKind::Email, None);
    let mut set = |customers: &[u32]| {
        let mut set = IdentifierSet::new(IdentifierKind::Email, rng);
        for customer in customers {
            let text = format!("customer{customer}@example.com");
            set.insert(&emails.normalise(&text).unwrap()).unwrap();
        }
        Arc::new(set)
    };
    let (owner, recipient) = (set(owner), set(recipient));
    let rng = &mut UnwrapErr(SysRng);
    let (owners, recipients) = (owner.len(), recipient.len());
    let (mut o_query, mut o_evaluate) =
        dh::begin(session, owner, recipients.try_into().unwrap(), rng).unwrap();
    let (mut r_query, mut r_evaluate) =
        dh::begin(session, recipient, owners.try_into().unwrap(), rng).unwrap();
    while let Some(chunk) = o_query.next_chunk().unwrap() {
        o_query
            .accept_reply(&r_evaluate.reply(&chunk).unwrap())
            .unwrap();
    }
    while let Some(chunk) = r_query.next_chunk().unwrap() {
        r_query
            .accept_reply(&o_evaluate.reply(&chunk).unwrap())
            .unwrap();
    }
    (
        o_query.finish(o_evaluate.finish().unwrap()).unwrap(),
        r_query.finish(r_evaluate.finish().unwrap()).unwrap(),
    )
}

/// The tags of [`submissions`]: closed lists, whose cells are `low`, `medium`, `high` and `own`, `rent`, `for free`.
pub(crate) const TAGS: [&str; 2] = ["risk_appetite", "housing"];

/// A proof that is in force from 1970 on.
pub(crate) const PROOF: Proof = {
    let mut proof = [1; PROOF_BYTES];
    (proof[0], proof[1], proof[4]) = (0, 0, 255);
    proof
};

/// A customer's mark tag, of 16 bits.
pub(crate) fn mark_tag(customer: u32) -> u32 {
    customer.wrapping_mul(0x9E37_79B9) >> 16
}

/// What owner and recipient submit for these customers; each of the owner's with its cells.
pub(crate) fn submissions(
    agreement: &Agreement,
    owner: &[(u32, [&str; 2])],
    recipient: &[u32],
) -> (Submission, Submission) {
    submissions_proving(agreement, owner, recipient, |_| PROOF)
}

/// As [`submissions`], with the codes of those that are canaries.
pub(crate) fn submissions_watched(
    agreement: &Agreement,
    owner: &[(u32, [&str; 2])],
    recipient: &[u32],
    canary: impl Fn(u32) -> CanaryCode,
) -> (Submission, Submission) {
    submissions_of(agreement, owner, recipient, |_| PROOF, Some(&canary))
}

/// As [`submissions`], each of the owner's customers with a consent proof of its own.
pub(crate) fn submissions_proving(
    agreement: &Agreement,
    owner: &[(u32, [&str; 2])],
    recipient: &[u32],
    proof: impl Fn(u32) -> Proof,
) -> (Submission, Submission) {
    submissions_of(agreement, owner, recipient, proof, None)
}

fn submissions_of(
    agreement: &Agreement,
    owner: &[(u32, [&str; 2])],
    recipient: &[u32],
    proof: impl Fn(u32) -> Proof,
    canary: Option<&dyn Fn(u32) -> CanaryCode>,
) -> (Submission, Submission) {
    let session = SessionId::from_bytes([4; 32]);
    let customers: Vec<_> = owner.iter().map(|(customer, _)| *customer).collect();
    let (owners, recipients) = matched(session, &customers, recipient);
    let layout = Layout::new(TAGS.map(|tag| (tag.to_owned(), 16)).to_vec()).unwrap();
    let layout = match agreement.consent() {
        Some(_) => layout.proven(),
        None => layout,
    };
    let layout = match agreement.marks() {
        Some(_) => layout.marked(),
        None => layout,
    };
    let layout = match canary {
        Some(_) => layout.watched(),
        None => layout,
    };
    let length = PayloadLength::new(layout.payload_len()).unwrap();
    let context = RowContext::new(session, *agreement.digest().as_bytes(), length);
    let count = owners.len() as u64;
    let mut rows = Submission::rows(session.as_bytes(), count, count, layout.clone()).unwrap();
    let records = owners
        .into_iter()
        .zip(owner)
        .map(|(token, (customer, cells))| {
            let proof = agreement.consent().map(|_| proof(*customer));
            let canary = canary.map(|canary| canary(*customer));
            let head = RowHead {
                canary: canary.as_ref(),
                proof: proof.as_ref(),
                mark_tag: agreement.marks().map(|_| mark_tag(*customer)),
            };
            let id = token.match_id();
            let sealed = context.seal(
                token.into_seal_key(Side::Owner),
                &layout.encode(head, cells).unwrap(),
            );
            [&id.as_bytes()[..], &sealed.unwrap()].concat()
        });
    rows.push(&in_order(records)).unwrap();
    let count = recipients.len() as u64;
    let mut keys = Submission::keys(session.as_bytes(), count, count).unwrap();
    let records = recipients.into_iter().map(|token| {
        let (id, key) = (token.match_id(), token.row_key(Side::Owner));
        [&id.as_bytes()[..], key.expose()].concat()
    });
    keys.push(&in_order(records)).unwrap();
    (rows, keys)
}

/// Records by their match ids, with which they begin.
fn in_order(records: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut records: Vec<_> = records.collect();
    records.sort();
    records.concat()
}
