//! The audit log: entries, RFC 6962 tree, signed checkpoints, proofs, verification.
