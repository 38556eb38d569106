//! How far the buckets of a flow are.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_audit::entry::Digest;
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_proto::limits::BUCKETS_MAX;
use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::BucketState;
use counterfoil_psi::{SET_MAX, SessionId, buckets, slots};

/// What a side declares of a submission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) bucket: u32,
    /// Buckets of the flow.
    pub(crate) buckets: u32,
    /// Records of each bucket of this side.
    pub(crate) count: u64,
}

/// A submission that no honest agent makes. The flow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misdeclared {
    /// Not what the sizes of the agreement and of the request make.
    #[error(
        "the number of buckets, or of records in one, is none that the sizes of this flow make"
    )]
    Numbers,
    /// Not what was declared before.
    #[error(
        "the number of buckets, of records in one, or the columns differ from those of another bucket"
    )]
    Differs,
    /// The bucket is joined.
    #[error("the bucket was joined before")]
    Joined,
}

/// What there is for keys of a bucket to be joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// The rows of the session are here; the caller joins, nobody else.
    Here,
    /// They may come yet, or are being joined.
    Coming,
    /// They were joined with keys of this session.
    Joined,
    /// The recipient has come for another attempt since it sent these keys: they are joined with nothing.
    Superseded,
}

/// How often the recipient had come for a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt(u32);

/// What an owner says of the rows of the whole flow, with each of its buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Said {
    /// Rows that were left out for want of a proof of consent; nothing where the agreement asks for none.
    pub(crate) withheld: Option<CoarseCount>,
    /// Its commitment to the key of the rows' mark tags; nothing where they have none.
    pub(crate) tag_key: Option<Digest>,
}

/// What an owner declares of each of its buckets.
#[derive(PartialEq)]
struct OwnerRows {
    count: u64,
    layout: Layout,
    said: Said,
}

/// The buckets of one flow.
pub(crate) struct Buckets {
    /// What the recipient was granted.
    recipient_size: u32,
    bucket_rows: u32,
    count: Option<u32>,
    attempts: HashMap<u32, u32>,
    /// Of the owner's buckets.
    rows: Option<OwnerRows>,
    here: BTreeMap<u32, SessionId>,
    receiving: HashSet<u32>,
    joining: HashSet<u32>,
    joined: BTreeMap<u32, SessionId>,
    /// Rows of one may have been opened, now or before a restart.
    opened: bool,
    /// The flow is being ended: no further rows are opened.
    closed: bool,
}

impl Buckets {
    /// Of a flow in which the recipient brings a set of this size, and a bucket is to have about `bucket_rows`.
    pub(crate) fn new(recipient_size: u32, bucket_rows: u32) -> Self {
        Self {
            recipient_size,
            bucket_rows,
            count: None,
            attempts: HashMap::new(),
            rows: None,
            here: BTreeMap::new(),
            receiving: HashSet::new(),
            joining: HashSet::new(),
            joined: BTreeMap::new(),
            opened: false,
            closed: false,
        }
    }

    /// Begins to take rows of a bucket.
    pub(crate) fn declare_rows(
        &mut self,
        declared: Declared,
        layout: &Layout,
        said: Said,
    ) -> Result<(), Misdeclared> {
        self.check(declared)?;
        if declared.count > u64::from(slots(SET_MAX, declared.buckets)) {
            return Err(Misdeclared::Numbers);
        }
        let rows = OwnerRows {
            count: declared.count,
            layout: layout.clone(),
            said,
        };
        if self.rows.as_ref().is_some_and(|before| *before != rows) {
            return Err(Misdeclared::Differs);
        }
        self.rows = Some(rows);
        self.receiving.insert(declared.bucket);
        Ok(())
    }

    /// Begins to take keys of a bucket: the recipient has as many slots as the size that it was granted makes, and no more.
    pub(crate) fn declare_keys(&mut self, declared: Declared) -> Result<Attempt, Misdeclared> {
        self.check(declared)?;
        if declared.count != u64::from(slots(self.recipient_size, declared.buckets)) {
            return Err(Misdeclared::Numbers);
        }
        Ok(self.attempt(declared.bucket))
    }

    fn attempt(&self, bucket: u32) -> Attempt {
        Attempt(self.attempts.get(&bucket).copied().unwrap_or_default())
    }

    /// The recipient comes for a bucket again: keys of an earlier attempt that still wait are joined no more, or the owner
    /// would match a bucket that is being released.
    pub(crate) fn supersede(&mut self, bucket: u32) {
        *self.attempts.entry(bucket).or_default() += 1;
    }

    fn check(&mut self, declared: Declared) -> Result<(), Misdeclared> {
        let of = |owner| buckets(owner, self.recipient_size, self.bucket_rows);
        let (least, most) = (of(1), of(SET_MAX).min(BUCKETS_MAX));
        if !(least..=most).contains(&declared.buckets) || declared.bucket >= declared.buckets {
            return Err(Misdeclared::Numbers);
        }
        if *self.count.get_or_insert(declared.buckets) != declared.buckets {
            return Err(Misdeclared::Differs);
        }
        Ok(())
    }

    /// The rows of a bucket are on disk, or will not come.
    pub(crate) fn received(&mut self, bucket: u32, session: Option<SessionId>) {
        self.receiving.remove(&bucket);
        if let Some(session) = session {
            self.here.insert(bucket, session);
        }
    }

    /// Rows of this bucket are on their way, or here for that session.
    pub(crate) fn has_rows(&self, bucket: u32, session: SessionId) -> bool {
        self.receiving.contains(&bucket) || self.here.get(&bucket) == Some(&session)
    }

    /// What keys of a session can be joined with. [`Rows::Here`] is told once.
    pub(crate) fn rows_for(
        &mut self,
        bucket: u32,
        session: SessionId,
        attempt: Attempt,
    ) -> Result<Rows, Misdeclared> {
        if let Some(joined) = self.joined.get(&bucket) {
            return if *joined == session {
                Ok(Rows::Joined)
            } else {
                Err(Misdeclared::Joined)
            };
        }
        if self.attempt(bucket) != attempt {
            return Ok(Rows::Superseded);
        }
        if self.here.get(&bucket) == Some(&session) && self.joining.insert(bucket) {
            return Ok(Rows::Here);
        }
        Ok(Rows::Coming)
    }

    /// A bucket was joined; true with the last one.
    pub(crate) fn joined(&mut self, bucket: u32, session: SessionId) -> bool {
        self.joining.remove(&bucket);
        self.joined.insert(bucket, session);
        u32::try_from(self.joined.len()).ok() == self.count
    }

    /// Whether a bucket is joined, or just being.
    pub(crate) fn is_taken(&self, bucket: u32) -> bool {
        self.joined.contains_key(&bucket) || self.joining.contains(&bucket)
    }

    /// What the owner says of its rows, of whichever bucket came first.
    pub(crate) fn said(&self) -> Said {
        self.rows
            .as_ref()
            .map_or_else(Said::default, |rows| rows.said)
    }

    /// Rows of a bucket may have been opened.
    pub(crate) fn opened(&self) -> bool {
        self.opened
    }

    /// Rows are about to be opened; false if the flow is being ended, and none may be.
    pub(crate) fn open(&mut self) -> bool {
        self.opened |= !self.closed;
        !self.closed
    }

    /// The flow is being ended, and its entry says whether rows may have been opened: from now on none are.
    pub(crate) fn close(&mut self) -> bool {
        self.closed = true;
        self.opened
    }

    /// The broker was restarted, and how far the flow was is not known.
    pub(crate) fn restored(&mut self) {
        self.opened = true;
    }

    /// Something of a bucket is here: the flow is worth being resumed.
    pub(crate) fn has_begun(&self) -> bool {
        self.count.is_some()
    }

    /// What a recipient needs to go on.
    pub(crate) fn states(&self) -> Vec<BucketState> {
        let state = |(bucket, session): (&u32, &SessionId)| BucketState {
            bucket: *bucket,
            session: session.as_bytes().to_vec(),
            joined: self.joined.contains_key(bucket),
        };
        self.here.iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_bytes([1; 32]);
    const OTHER: SessionId = SessionId::from_bytes([2; 32]);

    fn layout(width: usize) -> Layout {
        Layout::new(vec![("housing".to_owned(), width)]).unwrap()
    }

    fn declared(bucket: u32, buckets: u32, count: u64) -> Declared {
        Declared {
            bucket,
            buckets,
            count,
        }
    }

    #[test]
    fn keys_are_as_many_as_the_granted_size_makes() {
        let each = u64::from(slots(4096, 8));
        let of = |b: u32, n: u32, count: u64| {
            let declared = Buckets::new(4096, 1024).declare_keys(declared(b, n, count));
            declared.map(|_| ())
        };
        assert_eq!(of(7, 8, each), Ok(()));
        assert_eq!(of(0, 4, u64::from(slots(4096, 4))), Ok(()));
        for (bucket, buckets, count) in [
            (7, 8, each + 1),
            (7, 8, each - 1),
            (8, 8, each),
            (0, 3, u64::from(slots(4096, 3))),
            (0, 0, 0),
            (0, BUCKETS_MAX + 1, 1),
            // More than leave 64 rows in each.
            (0, 65, u64::from(slots(4096, 65))),
        ] {
            assert_eq!(of(bucket, buckets, count), Err(Misdeclared::Numbers));
        }
        let mut one = Buckets::new(100, 1 << 20);
        assert_eq!(
            one.declare_keys(declared(0, 1, 101)),
            Err(Misdeclared::Numbers)
        );
        assert!(one.declare_keys(declared(0, 1, 100)).is_ok());
        assert_eq!(
            one.declare_rows(declared(0, 2, 100), &layout(8), Said::default()),
            Err(Misdeclared::Differs)
        );
    }

    #[test]
    fn all_buckets_of_an_owner_look_alike() {
        let mut all = Buckets::new(100, 1 << 20);
        all.declare_rows(declared(0, 2, 700), &layout(8), Said::default())
            .unwrap();
        for (wrong, columns) in [
            (declared(1, 2, 701), layout(8)),
            (declared(1, 2, 700), layout(16)),
            (declared(1, 3, 700), layout(8)),
        ] {
            assert_eq!(
                all.declare_rows(wrong, &columns, Said::default()),
                Err(Misdeclared::Differs)
            );
        }
        assert_eq!(
            all.declare_rows(declared(1, 2, 700), &layout(8), Said::default()),
            Ok(())
        );
    }

    #[test]
    fn a_bucket_is_joined_once_with_the_rows_of_its_session() {
        let mut all = Buckets::new(100, 1 << 20);
        let keys = declared(0, 2, u64::from(slots(100, 2)));
        let first = all.declare_keys(keys).unwrap();
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Coming));
        all.received(0, Some(OTHER));
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Coming));
        assert!(!all.has_rows(0, SESSION));
        all.received(0, Some(SESSION));
        assert!(all.has_rows(0, SESSION));
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Here));
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Coming));
        assert!(all.is_taken(0) && !all.is_taken(1));
        assert!(!all.joined(0, SESSION));
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Joined));
        assert_eq!(all.rows_for(0, OTHER, first), Err(Misdeclared::Joined));
        all.received(1, Some(OTHER));
        assert_eq!(all.rows_for(1, OTHER, first), Ok(Rows::Here));
        assert!(all.joined(1, OTHER));
        let states = all.states();
        assert!(states.len() == 2 && states.iter().all(|state| state.joined));
    }

    #[test]
    fn keys_of_an_attempt_that_the_recipient_gave_up_are_joined_with_nothing() {
        let mut all = Buckets::new(100, 1 << 20);
        let keys = declared(0, 1, 100);
        all.supersede(0);
        let first = all.declare_keys(keys).unwrap();
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Coming));
        // Its connection broke while it waited; it comes again, and only then the owner's rows are here.
        all.supersede(0);
        all.received(0, Some(SESSION));
        assert_eq!(all.rows_for(0, SESSION, first), Ok(Rows::Superseded));
        // It may still send the keys for these rows anew.
        let again = all.declare_keys(keys).unwrap();
        assert_eq!(all.rows_for(0, SESSION, again), Ok(Rows::Here));
    }
}
