//! Private matching for Counterfoil.
//!
//! For the two agents of a flow, and for the broker that joins what they submit. This crate
//! turns raw identifiers into one canonical form, lets two parties make *mutual tokens* of
//! them, and seals rows so that whoever joins the tokens opens only the rows both sides hold.
//! It holds no socket, disk, clock or ambient randomness: messages and random numbers are
//! passed in, messages and results come out.
//!
//! # Threat model
//!
//! A token T(z) of an identifier z can be computed only by two parties together: each side
//! evaluates the other's hidden items under a key of its own, by one of two protocols behind one
//! interface ([`TokenExchange`]): [`dh`] for small sets, [`vole`] for large ones. So a party gets
//! tokens for what it queried and nothing else, and the broker, which sees tokens but takes no part in making
//! them, cannot try all phone numbers against them, neither alone nor with a stolen disk.
//!
//! - *Proved in the literature, cited at [`dh`] and [`vole`]:* privacy of both sides against
//!   honest-but-curious peers, under DDH in ristretto255 with random oracles; for each of the two
//!   evaluations of [`vole`], against malicious ones, under LPN besides.
//! - *Argued, not proved:* what a malicious peer gains in [`dh`], listed case by case there, and in
//!   the two evaluations of [`vole`] together. Malformed messages are refused with an error that
//!   names the peer's fault.
//! - *Not in this crate:* who the peer is (the channel), how many items it may query (caps in
//!   the agreement), whether its items are made up (canaries), what the broker does with rows
//!   that it may open. A party that colludes with the broker learns the ordinary outcome of
//!   private set intersection: which of the items it queried the other side holds.
//! - Both sides learn the size of the other's set: of real items and dummies together (`SizeClass`, `slots`).
//!
//! # Example
//!
//! Both parties in one process; between machines the chunks travel through the channel.
//!
//! ```
//! use std::sync::Arc;
//! use counterfoil_psi::{
//!     IdentifierKind, IdentifierSet, Normaliser, PayloadLength, Role, RowContext, SessionId,
//!     SessionInputs, SessionNonce, dh,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use rand_chacha::rand_core::SeedableRng;
//! let mut rng = rand_chacha::ChaCha20Rng::from_seed([7; 32]); // in earnest: the system's
//!
//! // 1. Each side normalises its column.
//! let phones = Normaliser::new(IdentifierKind::Phone, Some("CN".parse()?));
//! let mut owner_set = IdentifierSet::new(IdentifierKind::Phone, &mut rng);
//! owner_set.insert(&phones.normalise("138 1234 5678")?)?;
//! owner_set.insert(&phones.normalise("139 1234 5678")?)?;
//! let mut recipient_set = IdentifierSet::new(IdentifierKind::Phone, &mut rng);
//! recipient_set.insert(&phones.normalise("+86-138-1234-5678")?)?;
//!
//! // 2. Both derive the session and run the protocol, chunk by chunk.
//! let agreement_digest = [3; 32];
//! let session = SessionId::derive(&SessionInputs {
//!     flow: &[1; 16],
//!     bucket: 0,
//!     attempt: 0,
//!     owner_nonce: SessionNonce::generate(&mut rng),
//!     recipient_nonce: SessionNonce::generate(&mut rng),
//!     agreement_digest: &agreement_digest,
//! });
//! let (mut o_query, mut o_evaluate) = dh::begin(session, Arc::new(owner_set), 1, &mut rng)?;
//! let (mut r_query, mut r_evaluate) = dh::begin(session, Arc::new(recipient_set), 2, &mut rng)?;
//! while let Some(chunk) = o_query.next_chunk()? {
//!     o_query.accept_reply(&r_evaluate.reply(&chunk)?)?;
//! }
//! while let Some(chunk) = r_query.next_chunk()? {
//!     r_query.accept_reply(&o_evaluate.reply(&chunk)?)?;
//! }
//! let owner_tokens = o_query.finish(o_evaluate.finish()?)?;
//! let recipient_tokens = r_query.finish(r_evaluate.finish()?)?;
//!
//! // 3. The owner submits match ids and sealed rows, the recipient match ids and row keys.
//! let rows = RowContext::new(session, agreement_digest, PayloadLength::new(4)?);
//! let mut submitted = Vec::new();
//! for (token, tags) in owner_tokens.into_iter().zip([b"tier", b"none"]) {
//!     let id = token.match_id();
//!     submitted.push((id, rows.seal(token.into_seal_key(Role::Owner), tags)?));
//! }
//!
//! // 4. The broker joins, and opens what matched.
//! let wanted = &recipient_tokens[0];
//! let opened: Vec<_> = submitted
//!     .iter()
//!     .filter(|(id, _)| *id == wanted.match_id())
//!     .filter_map(|(_, sealed)| rows.open(&wanted.row_key(Role::Owner), Role::Owner, sealed))
//!     .collect();
//! assert_eq!(opened.len(), 1);
//! assert_eq!(opened[0].as_slice(), b"tier");
//! # Ok(())
//! # }
//! ```

mod bucket;
mod exchange;
mod hash_to_group;
mod identifier;
mod prefixed;
mod row;
mod session;
mod token;

pub mod dh;
pub mod vole;

pub use bucket::{
    BUCKET_ROWS_DEFAULT, BUCKET_ROWS_MIN, BucketKey, CLASS_MIN, SET_MAX, SizeClass, buckets, slots,
};
pub use exchange::{
    ExchangeError, ExchangeProgress, Message, Protocol, TokenExchange, UnknownProtocol, WINDOW,
};
pub use identifier::{
    EMAIL_RULES_VERSION, Identifier, IdentifierKind, IdentifierSet, Insertion, Normaliser,
    PHONE_RULES_VERSION, RESIDENT_ID_RULES_VERSION, Refusal, Region, SetError, UnknownKind,
    UnknownRegion,
};
pub use row::{
    PAYLOAD_BYTES_MAX, PayloadLength, RowContext, RowError, RowKey, SEAL_OVERHEAD, SealKey,
};
pub use session::{Role, SessionId, SessionInputs, SessionNonce};
pub use token::{MatchId, Token};
