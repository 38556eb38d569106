//! Submitting rows and keys: a header, then whole records in pieces, made while the one before is on its way.

use counterfoil_policy::text::FlowId;
use counterfoil_proto::limits::CHUNK_BYTES;
use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::{
    Consent, KeysChunk, KeysHeader, RowsChunk, RowsHeader, keys_chunk, rows_chunk,
};
use counterfoil_psi::{MatchId, SessionId, Token};
use counterfoil_watermark::Commitment;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::{self, Error, Result};
use crate::transport::Broker;

/// What a submission is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission {
    pub(crate) flow: FlowId,
    pub(crate) session: SessionId,
    /// Of each bucket of this side.
    pub(crate) count: u64,
    pub(crate) bucket: u32,
    /// Buckets of the flow.
    pub(crate) buckets: u32,
}

/// Records of one length, made one after the other, in rising order of the match ids with which they begin: that order is a
/// function of what is submitted, so it tells nothing of the order of the own file, nor which records are dummies'.
pub(crate) trait Records: Send + 'static {
    /// Bytes of each record.
    fn record_bytes(&self) -> usize;
    /// Appends the next record; `false` when there is none.
    fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool>;
}

/// Match id and place of each token, in the order in which they are submitted.
fn in_order(tokens: &[Token]) -> Vec<(MatchId, u32)> {
    let mut order: Vec<_> = tokens.iter().map(Token::match_id).zip(0_u32..).collect();
    order.sort_unstable_by_key(|(id, _)| u128::from_be_bytes(*id.as_bytes()));
    order
}

/// Tokens taken out in the order of [`in_order`], some at a time: they lie anywhere in memory, and one fetch need not wait for
/// another.
pub(crate) struct Ordered {
    order: std::vec::IntoIter<(MatchId, u32)>,
    /// Taken one by one: a token seals once.
    tokens: Vec<Option<Token>>,
    /// Those that come next, the next one last.
    ahead: Vec<(MatchId, usize, Option<Token>)>,
}

/// Tokens that are fetched at a time.
const AHEAD: usize = 64;

impl Ordered {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self {
            order: in_order(&tokens).into_iter(),
            tokens: tokens.into_iter().map(Some).collect(),
            ahead: Vec::with_capacity(AHEAD),
        }
    }
}

impl Iterator for Ordered {
    type Item = (MatchId, usize, Token);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty() {
            for (id, place) in self.order.by_ref().take(AHEAD) {
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                let token = self.tokens.get_mut(place).and_then(Option::take);
                self.ahead.push((id, place, token));
            }
            self.ahead.reverse();
        }
        let (id, place, token) = self.ahead.pop()?;
        Some((id, place, token?))
    }
}

/// What an owner's rows consist of.
pub(crate) struct RowsOf<'l> {
    pub(crate) layout: &'l Layout,
    /// What all people of the rows consented to, where proofs are asked for.
    pub(crate) consent: Option<Consent>,
    /// The commitment to the key of the rows' mark tags, where they have some.
    pub(crate) tag_key: Option<Commitment>,
    /// Each row is followed by the key of the recipient's row.
    pub(crate) keyed: bool,
}

/// The owner's sealed rows.
///
/// # Errors
/// What making a record gives, or the broker refuses or is gone.
pub(crate) async fn submit_rows(
    broker: &Broker,
    submission: &Submission,
    of: RowsOf<'_>,
    records: impl Records,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<()> {
    let header = RowsHeader {
        flow: submission.flow.as_bytes().to_vec(),
        session: submission.session.as_bytes().to_vec(),
        count: submission.count,
        columns: of.layout.to_wire(),
        consent: of.consent,
        marked: of.layout.is_marked(),
        tag_key: of
            .tag_key
            .map_or_else(Vec::new, |key| key.as_bytes().to_vec()),
        bucket: submission.bucket,
        buckets: submission.buckets,
        keyed: of.keyed,
        watched: of.layout.is_watched(),
    };
    let head = RowsChunk {
        part: Some(rows_chunk::Part::Header(header)),
    };
    let (pieces, maker) = produce(records, progress);
    let pieces = pieces.map(|rows| RowsChunk {
        part: Some(rows_chunk::Part::Rows(rows)),
    });
    let mut client = broker.flows();
    let sent = client
        .submit_rows(tokio_stream::once(head).chain(pieces))
        .await;
    settle(maker, sent.map(|_| ())).await
}

/// The recipient's row keys, each followed by its own sealed row if it brings `columns`. True when the bucket is joined; false if it has to be matched again, because the owner's agent lost
/// its rows.
///
/// # Errors
/// As [`submit_rows`].
pub(crate) async fn submit_keys(
    broker: &Broker,
    submission: &Submission,
    columns: Option<&Layout>,
    records: impl Records,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<bool> {
    let header = KeysHeader {
        flow: submission.flow.as_bytes().to_vec(),
        session: submission.session.as_bytes().to_vec(),
        count: submission.count,
        bucket: submission.bucket,
        buckets: submission.buckets,
        columns: columns.map(Layout::to_wire).unwrap_or_default(),
    };
    let head = KeysChunk {
        part: Some(keys_chunk::Part::Header(header)),
    };
    let (pieces, maker) = produce(records, progress);
    let pieces = pieces.map(|keys| KeysChunk {
        part: Some(keys_chunk::Part::Keys(keys)),
    });
    let mut client = broker.flows();
    let sent = client
        .submit_keys(tokio_stream::once(head).chain(pieces))
        .await;
    settle(maker, sent.map(|reply| reply.into_inner().joined)).await
}

type Maker = tokio::task::JoinHandle<Result<()>>;

/// Makes pieces off the async threads, at most two ahead of the connection.
fn produce(
    records: impl Records,
    progress: impl Fn(u64) + Send + 'static,
) -> (impl Stream<Item = Vec<u8>> + Send + 'static, Maker) {
    let (to, pieces) = mpsc::channel(2);
    let maker = tokio::task::spawn_blocking(move || make_pieces(records, &to, &progress));
    (ReceiverStream::new(pieces), maker)
}

fn make_pieces(
    mut records: impl Records,
    to: &mpsc::Sender<Vec<u8>>,
    progress: &impl Fn(u64),
) -> Result<()> {
    let record_bytes = records.record_bytes().max(1);
    let per_piece = (CHUNK_BYTES / record_bytes).max(1);
    let mut done = 0;
    loop {
        let mut piece = Vec::with_capacity(per_piece * record_bytes);
        let mut more = true;
        while more && piece.len() < per_piece * record_bytes {
            more = records.write_next(&mut piece)?;
        }
        done += (piece.len() / record_bytes) as u64;
        // Nobody takes pieces any more: the connection's own error tells why.
        if !piece.is_empty() && to.blocking_send(piece).is_err() {
            return Ok(());
        }
        progress(done);
        if !more {
            return Ok(());
        }
    }
}

/// A failure of our own explains one of the connection, which only broke off with it.
async fn settle<T>(maker: Maker, sent: std::result::Result<T, tonic::Status>) -> Result<T> {
    match maker.await {
        Ok(Ok(())) => sent.map_err(refused),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Unexpected(
            "a thread that makes submissions failed".to_owned(),
        )),
    }
}

/// That the bucket is joined already, or another attempt at it is under way, is no fault: the next step is asked of the broker.
fn refused(status: tonic::Status) -> Error {
    match status.code() {
        tonic::Code::AlreadyExists => Error::Aborted(error::shown(status.message())),
        _ => status.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use counterfoil_psi::{IdentifierKind, IdentifierSet};

    use super::*;

    struct Counting {
        left: u64,
        bytes: usize,
    }

    impl Records for Counting {
        fn record_bytes(&self) -> usize {
            self.bytes
        }

        fn write_next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(false);
            };
            self.left = left;
            piece.extend(std::iter::repeat_n(7, self.bytes));
            Ok(true)
        }
    }

    #[test]
    fn every_token_is_taken_once_in_the_order_of_the_match_ids() {
        let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rand::rng());
        set.fill(200, &mut rand::rng()).unwrap();
        let [tokens, same] = crate::testkit::tokens(&Arc::new(set));
        let expected = in_order(&tokens);
        let taken: Vec<_> = Ordered::new(same).collect();
        assert!(taken.is_sorted_by_key(|(id, ..)| *id));
        assert_eq!(taken.len(), expected.len());
        for ((id, place, token), (of_order, at)) in taken.iter().zip(expected) {
            assert_eq!((*id, *place), (of_order, at as usize));
            assert_eq!(token.match_id(), *id);
        }
    }

    async fn pieces(left: u64, bytes: usize) -> Vec<usize> {
        let (pieces, maker) = produce(Counting { left, bytes }, |_| ());
        let lengths = pieces.map(|piece| piece.len()).collect().await;
        maker.await.unwrap().unwrap();
        lengths
    }

    #[tokio::test]
    async fn pieces_hold_whole_records_and_stay_under_the_bound() {
        for (left, bytes) in [
            (0, 48),
            (1, 48),
            (21_845, 48),
            (21_846, 48),
            (100_000, 48),
            (3, CHUNK_BYTES),
        ] {
            let lengths = pieces(left, bytes).await;
            assert_eq!(lengths.iter().sum::<usize>() as u64, left * bytes as u64);
            assert!(
                lengths
                    .iter()
                    .all(|len| *len <= CHUNK_BYTES && len.is_multiple_of(bytes) && *len > 0)
            );
        }
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_the_maker() {
        let (pieces, maker) = produce(
            Counting {
                left: 1_000_000,
                bytes: 48,
            },
            |_| (),
        );
        drop(pieces);
        maker.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_bucket_that_is_joined_already_is_asked_about_and_ends_no_flow() {
        let settled = async |status| {
            let maker = tokio::spawn(async { Ok(()) });
            settle::<()>(maker, Err(status)).await.unwrap_err()
        };
        let joined = settled(tonic::Status::already_exists("the bucket is joined")).await;
        assert!(crate::flow::may_be_repeated(&joined), "{joined}");
        let wrong = settled(tonic::Status::invalid_argument("no such bucket")).await;
        assert!(!crate::flow::may_be_repeated(&wrong), "{wrong}");
    }

    #[tokio::test]
    async fn our_own_failure_is_the_one_that_is_told() {
        let maker = tokio::spawn(async { Err(Error::Unexpected("ours".to_owned())) });
        let error = settle::<()>(maker, Err(tonic::Status::aborted("cut off")))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unexpected(why) if why == "ours"),
            "{error}"
        );
    }
}
