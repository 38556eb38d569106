//! How many bytes of all flows together the broker holds at one time, in memory and on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_audit::entry::OrgName;
use counterfoil_proto::limits::SUBMISSION_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// What all flows that run may take of this machine together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// MiB of memory for what is being submitted and joined, and for opened rows. One institution's submissions take half of it
    /// at the most.
    #[serde(default = "memory_mib")]
    pub memory_mib: u64,
    /// MiB of disk for owners' sealed rows; one institution's take half of it at the most.
    #[serde(default = "disk_mib")]
    pub disk_mib: u64,
}

/// Half of it holds one of the largest submissions.
const fn memory_mib() -> u64 {
    2 * SUBMISSION_BYTES_MAX / MIB
}

/// Some fifteen flows of the largest sets with few tags.
const fn disk_mib() -> u64 {
    64 * 1024
}

const MIB: u64 = 1 << 20;

impl Default for Room {
    fn default() -> Self {
        Self {
            memory_mib: memory_mib(),
            disk_mib: disk_mib(),
        }
    }
}

/// There is no room for what a flow needs. Its message goes to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the broker has no room for the rows of this flow: ask again when other flows are over, or for fewer rows or tags; its operator can raise `{setting}` under `[room]` in broker.toml"
)]
pub(crate) struct NoRoom {
    /// Which bound it is.
    pub(crate) setting: &'static str,
}

/// What is held.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Room,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Submissions in memory, by institution.
    submissions: HashMap<OrgName, u64>,
    /// Opened rows in memory, of all flows.
    opened: u64,
    /// Sealed rows on disk, by institution.
    disk: HashMap<OrgName, u64>,
}

impl Held {
    fn memory(&self) -> u64 {
        let submissions = self.submissions.values();
        submissions.fold(self.opened, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// Bytes set aside for one submission, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    org: OrgName,
    bytes: u64,
}

/// Bytes set aside for one flow as long as it runs, given back when dropped.
#[derive(Debug)]
pub(crate) struct FlowShare {
    budget: Arc<Budget>,
    owner: OrgName,
    need: Need,
}

/// What a flow needs as long as it runs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// The owner's sealed rows, of all buckets.
    pub(crate) disk: u64,
    /// Opened rows.
    pub(crate) opened: u64,
}

impl Budget {
    pub(crate) fn new(room: Room) -> Self {
        Self {
            room,
            held: Mutex::default(),
        }
    }

    /// Sets bytes aside for an institution's submission; nothing if it, or all together, would hold too much.
    pub(crate) fn take(self: &Arc<Self>, org: &OrgName, bytes: u64) -> Option<Share> {
        let mut held = self.held();
        let own = held.submissions.get(org).copied().unwrap_or(0);
        let own = own.saturating_add(bytes);
        let all = held.memory().saturating_add(bytes);
        let max = self.room.memory_mib.saturating_mul(MIB);
        if own > max / 2 || all > max {
            return None;
        }
        held.submissions.insert(org.clone(), own);
        Some(Share {
            budget: self.clone(),
            org: org.clone(),
            bytes,
        })
    }

    /// Sets aside what a flow needs until it is over. Half of the memory stays for submissions, without which nothing that is
    /// opened would ever come to an end.
    pub(crate) fn take_for_flow(
        self: &Arc<Self>,
        owner: &OrgName,
        need: Need,
    ) -> Result<FlowShare, NoRoom> {
        let mut held = self.held();
        let own = held.disk.get(owner).copied().unwrap_or(0);
        let own = own.saturating_add(need.disk);
        let disk = held
            .disk
            .values()
            .fold(need.disk, |sum, bytes| sum.saturating_add(*bytes));
        let opened = held.opened.saturating_add(need.opened);
        let max = self.room.disk_mib.saturating_mul(MIB);
        if own > max / 2 || disk > max {
            return Err(NoRoom {
                setting: "disk_mib",
            });
        }
        if opened > self.room.memory_mib.saturating_mul(MIB) / 2 {
            return Err(NoRoom {
                setting: "memory_mib",
            });
        }
        held.disk.insert(owner.clone(), own);
        held.opened = opened;
        Ok(FlowShare {
            budget: self.clone(),
            owner: owner.clone(),
            need,
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(own) = held.submissions.get_mut(&self.org) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.submissions.remove(&self.org);
            }
        }
    }
}

impl Drop for FlowShare {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(own) = held.disk.get_mut(&self.owner) {
            *own = own.saturating_sub(self.need.disk);
            if *own == 0 {
                held.disk.remove(&self.owner);
            }
        }
        held.opened = held.opened.saturating_sub(self.need.opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgName {
        OrgName::new(name).unwrap()
    }

    #[test]
    fn one_institution_cannot_take_what_all_share_and_gives_back_what_it_held() {
        let budget = Arc::new(Budget::new(Room::default()));
        let first = budget.take(&org("aa"), SUBMISSION_BYTES_MAX).unwrap();
        assert!(budget.take(&org("aa"), 1).is_none());
        let second = budget.take(&org("bb"), SUBMISSION_BYTES_MAX).unwrap();
        assert!(budget.take(&org("cc"), 1).is_none());
        drop(second);
        assert!(budget.take(&org("cc"), 1).is_some());
        drop(first);
        assert!(budget.take(&org("aa"), u64::MAX).is_none());
        assert!(budget.held().submissions.is_empty());
    }

    #[test]
    fn all_flows_together_have_a_bound_and_give_back_what_they_held() {
        let room = Room {
            memory_mib: 4,
            disk_mib: 4,
        };
        let budget = Arc::new(Budget::new(room));
        let need = |disk: u64, opened: u64| Need {
            disk: disk * MIB,
            opened: opened * MIB,
        };
        let take = |owner: &str, need| budget.take_for_flow(&org(owner), need);
        let setting = |owner, need| take(owner, need).unwrap_err().setting;
        // One institution has half of the disk.
        assert_eq!(setting("aa", need(3, 0)), "disk_mib");
        let first = take("aa", need(2, 1)).unwrap();
        assert_eq!(setting("aa", need(1, 0)), "disk_mib");
        assert_eq!(setting("bb", need(0, 2)), "memory_mib");
        assert_eq!(setting("bb", need(u64::MAX / MIB, 0)), "disk_mib");
        let second = take("bb", need(2, 1)).unwrap();
        assert_eq!(setting("cc", need(1, 0)), "disk_mib");
        // What is opened leaves less for submissions.
        assert!(budget.take(&org("aa"), 2 * MIB + 1).is_none());
        let share = budget.take(&org("aa"), 2 * MIB).unwrap();
        assert!(budget.take(&org("bb"), 1).is_none());
        drop((first, second, share));
        assert!(budget.take_for_flow(&org("aa"), need(2, 2)).is_ok());
    }
}
