//! Reading documents that people write: agreements and taxonomies.
//!
//! A document becomes a tree that knows its lines; the reader takes fields out of it and
//! notes every fault with its line, instead of ending at the first.

pub(crate) mod node;
pub(crate) mod reader;
