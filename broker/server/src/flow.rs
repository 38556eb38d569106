//! What happens between a grant and a release: the relay, the submissions, the join, the release.

pub(crate) mod blobs;
pub(crate) mod buckets;
pub(crate) mod budget;
pub(crate) mod canaries;
pub(crate) mod complete;
pub(crate) mod join;
pub(crate) mod marks;
mod measured;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod release;
pub(crate) mod rendezvous;
pub(crate) mod restore;
pub(crate) mod running_files;
pub(crate) mod submission;
