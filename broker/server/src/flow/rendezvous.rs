//! Where the two agents find each other for a session: the recipient comes for one, the owner waits for any of its shard.

use std::collections::HashMap;

use counterfoil_proto::limits::{ATTEMPTS_MAX, BUCKETS_MAX, MEETING, SHARDS_MAX};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::relay::{Relay, RelayEnd};

/// Sessions of a flow that wait for its owner, most: one for each process of the recipient, and 1.5 MiB of frames with each.
const PENDING_MAX: usize = SHARDS_MAX as usize;

/// One attempt at a bucket, or at the agents' meeting before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Counted from 0; [`MEETING`] for the meeting.
    pub(crate) bucket: u32,
    /// Counted from 1.
    pub(crate) attempt: u32,
}

/// The buckets that one process of an owner takes: all of those that leave `index` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Nothing for an index that is not below its count, or for too many.
    pub(crate) fn new(index: u32, count: u32) -> Option<Self> {
        (index < count && count <= SHARDS_MAX).then_some(Self { index, count })
    }

    /// Whether a bucket, or the meeting, is this shard's.
    pub(crate) fn takes(self, bucket: u32) -> bool {
        match bucket {
            MEETING => self.index == 0,
            bucket => bucket % self.count == self.index,
        }
    }
}

/// One side's end of a session's relay.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) relay: RelayEnd,
    /// Cancelled when the session is given up for another attempt.
    pub(crate) cut: CancellationToken,
}

/// Why there is no session for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSession {
    /// A bucket or an attempt that no flow has.
    #[error("there is no such bucket, or it was attempted too often")]
    Unknown,
    /// The attempt was made before, or a later one.
    #[error("this attempt at the bucket was made before")]
    Repeated,
    /// Each that waits holds what the recipient sent ahead.
    #[error("as many sessions wait for the owner's agent as may")]
    Full,
}

/// Who waits for whom in one flow.
pub(crate) struct Rendezvous {
    /// Of the agreement's cap, for the relay's bound.
    rows_max: u64,
    /// The last attempt at each bucket, and what cuts it.
    attempts: HashMap<u32, (u32, CancellationToken)>,
    /// Sessions for which the owner has not come yet.
    pending: Vec<End>,
    waiting: Vec<(Shard, oneshot::Sender<End>)>,
}

impl Rendezvous {
    /// For a flow in which the recipient has at most `rows_max` identifiers.
    pub(crate) fn new(rows_max: u64) -> Self {
        Self {
            rows_max,
            attempts: HashMap::new(),
            pending: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// The recipient comes for a session, which ends the attempt before it. True if the owner's end was taken already.
    pub(crate) fn come(&mut self, session: Session) -> Result<(End, bool), NoSession> {
        let Session { bucket, attempt } = session;
        let known = bucket < BUCKETS_MAX || bucket == MEETING;
        if !known || attempt == 0 || attempt > ATTEMPTS_MAX {
            return Err(NoSession::Unknown);
        }
        if let Some((last, cut)) = self.attempts.get(&bucket) {
            if attempt <= *last {
                return Err(NoSession::Repeated);
            }
            cut.cancel();
        }
        self.pending
            .retain(|end| end.session.bucket != bucket && !end.relay.other_has_left());
        if self.pending.len() >= PENDING_MAX {
            return Err(NoSession::Full);
        }
        let cut = CancellationToken::new();
        self.attempts.insert(bucket, (attempt, cut.clone()));
        let relay = Relay::new(self.rows_max);
        let end = |relay| End {
            session,
            relay,
            cut: cut.clone(),
        };
        let (owner, recipient) = relay.split();
        let met = self.hand_over(end(owner));
        Ok((end(recipient), met))
    }

    /// The owner waits for a session of its shard; one that waited for the same shard before has left. True if the
    /// recipient was there already.
    pub(crate) fn wait(&mut self, shard: Shard) -> (oneshot::Receiver<End>, bool) {
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .retain(|(other, waiter)| *other != shard && !waiter.is_closed());
        self.pending.retain(|end| !end.relay.other_has_left());
        let takes = |end: &End| shard.takes(end.session.bucket);
        let met = match self.pending.iter().position(takes) {
            // It cannot have left: the receiver is in our hands.
            Some(at) => sender.send(self.pending.swap_remove(at)).is_ok(),
            None => {
                self.waiting.push((shard, sender));
                false
            }
        };
        (receiver, met)
    }

    /// A session waits for the owner.
    pub(crate) fn awaits_owner(&self) -> bool {
        self.pending.iter().any(|end| !end.relay.other_has_left())
    }

    /// An owner's process waits that would carry out this bucket: it is not carrying it out.
    pub(crate) fn owner_is_free_for(&self, bucket: u32) -> bool {
        self.waiting
            .iter()
            .any(|(shard, waiter)| shard.takes(bucket) && !waiter.is_closed())
    }

    fn hand_over(&mut self, end: End) -> bool {
        let mut end = end;
        while let Some(at) = self
            .waiting
            .iter()
            .position(|(shard, _)| shard.takes(end.session.bucket))
        {
            let (_, waiter) = self.waiting.swap_remove(at);
            match waiter.send(end) {
                Ok(()) => return true,
                // That one has left.
                Err(back) => end = back,
            }
        }
        self.pending.push(end);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(bucket: u32, attempt: u32) -> Session {
        Session { bucket, attempt }
    }

    fn shard(index: u32, count: u32) -> Shard {
        Shard::new(index, count).unwrap()
    }

    #[test]
    fn shards_part_the_buckets_and_the_first_has_the_meeting() {
        assert_eq!(Shard::new(2, 2), None);
        assert_eq!(Shard::new(0, 0), None);
        assert_eq!(Shard::new(0, SHARDS_MAX + 1), None);
        for bucket in [0, 1, 7, MEETING] {
            let taken = (0..3).filter(|i| shard(*i, 3).takes(bucket)).count();
            assert_eq!(taken, 1, "{bucket}");
        }
        assert!(shard(0, 3).takes(MEETING));
    }

    #[test]
    fn either_side_may_come_first_and_gets_the_other_of_its_shard() {
        let mut meet = Rendezvous::new(10);
        let (mut first, _) = meet.wait(shard(0, 2));
        let (mut second, _) = meet.wait(shard(1, 2));
        let (_, met) = meet.come(session(3, 1)).unwrap();
        assert!(met);
        assert!(first.try_recv().is_err());
        assert_eq!(second.try_recv().unwrap().session, session(3, 1));
        assert!(!meet.owner_is_free_for(3) && meet.owner_is_free_for(2));
        let (_recipient, met) = meet.come(session(5, 1)).unwrap();
        assert!(!met);
        let (mut second, met) = meet.wait(shard(1, 2));
        assert!(met);
        assert_eq!(second.try_recv().unwrap().session, session(5, 1));
    }

    #[test]
    fn an_attempt_cuts_the_one_before_and_is_made_once() {
        let mut meet = Rendezvous::new(10);
        let (first, _) = meet.come(session(0, 1)).unwrap();
        let again = |meet: &mut Rendezvous, s| meet.come(s).map(|_| ()).unwrap_err();
        assert_eq!(again(&mut meet, session(0, 1)), NoSession::Repeated);
        assert!(!first.cut.is_cancelled());
        let (second, _) = meet.come(session(0, 3)).unwrap();
        assert!(first.cut.is_cancelled() && !second.cut.is_cancelled());
        assert_eq!(again(&mut meet, session(0, 2)), NoSession::Repeated);
        for unknown in [
            session(0, 0),
            session(0, ATTEMPTS_MAX + 1),
            session(BUCKETS_MAX, 1),
        ] {
            assert_eq!(again(&mut meet, unknown), NoSession::Unknown);
        }
        // Nobody is given the attempt that was cut.
        let (mut owner, _) = meet.wait(shard(0, 1));
        assert_eq!(owner.try_recv().unwrap().session, session(0, 3));
    }

    #[test]
    fn an_owner_that_left_is_passed_over_and_a_newer_takes_its_place() {
        let mut meet = Rendezvous::new(10);
        drop(meet.wait(shard(0, 1)));
        assert!(!meet.owner_is_free_for(0));
        let (mut stale, _) = meet.wait(shard(0, 1));
        let (mut newer, _) = meet.wait(shard(0, 1));
        meet.come(session(0, 1)).unwrap();
        assert!(stale.try_recv().is_err() && newer.try_recv().is_ok());
    }

    #[test]
    fn sessions_wait_in_a_small_number_and_those_that_were_left_are_forgotten() {
        let mut meet = Rendezvous::new(10);
        let mut waiting: Vec<End> = (0..16)
            .map(|bucket| meet.come(session(bucket, 1)).unwrap().0)
            .collect();
        let refused = meet.come(session(16, 1)).map(|_| ()).unwrap_err();
        assert_eq!(refused, NoSession::Full);
        waiting.remove(0);
        assert!(meet.come(session(17, 1)).is_ok());
        drop(waiting);
        assert!(!meet.awaits_owner());
        let (mut owner, met) = meet.wait(shard(0, 1));
        assert!(!met && owner.try_recv().is_err());
    }
}
