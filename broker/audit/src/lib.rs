//! The audit log of a Counterfoil broker, without its file: entries, the tree over them,
//! signed checkpoints, receipts, the file format, and offline verification.
//!
//! For the broker, which records each state change here before it takes effect; for the
//! parties of a flow, who keep receipts; and for an auditor, who has an export and the
//! log's key and needs to trust nobody else. Formats are C2SP's (signed-note,
//! tlog-checkpoint, tlog-proof) over the RFC 6962 tree, so other tools check them too.
//!
//! The crate is pure: no file, socket, clock or randomness of its own. The broker holds
//! the file and the flush; times and random bytes are passed in.
//!
//! # Threat model
//!
//! *Found:* whoever alters, moves, drops or adds an entry, cuts the log, or shows two
//! parties two histories, without the log's key; also the broker itself, as far as a
//! checkpoint or receipt it once gave out contradicts what it shows now.
//!
//! *Not found:* a broker that never records a thing at all, or that keeps two histories
//! for two parties who never compare their checkpoints (witnesses are for that, and there
//! are none yet); a time that the broker made up; a stolen log key, until two checkpoints
//! meet. [`history`] says what entries do not follow from each other, not whether they
//! are true.
//!
//! *Kept from readers:* entries have no type for a value of a person. Leaf hashes and
//! checkpoints may be public: a random salt keeps a hash from confirming a guessed entry.
//! A checkpoint does show how many entries there are.
//!
//! # Example
//!
//! ```
//! use counterfoil_audit::{
//!     checkpoint::Checkpoint,
//!     entry::{Actor, Digest, Entry, EntryRandom, InviteIssued, Label, OrgName, Timestamp},
//!     note::{KeyName, SignerKey},
//!     receipt::Receipt,
//!     tree::Tree,
//! };
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The broker: a key, an entry, a tree, a signed checkpoint.
//! let mut rng = ChaCha20Rng::from_seed([7; 32]); // the system's generator in earnest
//! let signer = SignerKey::generate(KeyName::new("broker.example/log")?, &mut rng);
//! let entry = Entry::new(
//!     Timestamp::parse("2026-11-23T09:00:00.000000Z")?,
//!     &EntryRandom::draw(&mut rng),
//!     Label::new("broker.example")?,
//!     Actor { org: OrgName::new("broker")?, user: None, cert_sha256: None },
//!     InviteIssued {
//!         invite: Label::new("inv-1")?,
//!         org: OrgName::new("meridian-bank")?,
//!         secret_sha256: Digest::from_bytes([1; 32]),
//!         expires: Timestamp::parse("2026-11-30T09:00:00.000000Z")?,
//!     },
//! )
//! .encode()?;
//! let mut tree = Tree::new();
//! tree.push(entry.leaf_hash());
//! let checkpoint = Checkpoint::of(signer.verifier().name().clone(), &tree).sign(&signer)?;
//! let file = Receipt::new(entry, 0, &tree, &checkpoint)?.to_string();
//!
//! // A party, later and offline, with the log's public key.
//! let receipt = Receipt::parse(&file)?.verify(signer.verifier())?;
//! assert_eq!(receipt.entry().event().type_name(), "invite.issued");
//! assert_eq!(receipt.checkpoint().size(), 1);
//! # Ok(())
//! # }
//! ```

pub mod entry;

pub mod tree;

pub mod note;

pub mod checkpoint;

pub mod receipt;

pub mod frame;

pub mod history;

pub mod export;

#[cfg(test)]
mod samples;
