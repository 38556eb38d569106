//! The broker: certificate authority, decisions, relay, join, release.
