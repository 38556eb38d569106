//! The submissions of a running flow: the owner's sealed rows and the recipient's row keys, bucket by bucket.

use std::pin::pin;
use std::sync::Arc;

use counterfoil_audit::entry::Digest;
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::consent::Scope;
use counterfoil_policy::measure::Plan;
use counterfoil_policy::text::TagName;
use counterfoil_proto::WireError;
use counterfoil_proto::limits::ROWS_MAX;
use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::{
    BucketsReply, Consent, FlowRef, KeysChunk, KeysReply, RowsChunk, RowsHeader, RowsReply,
    keys_chunk, rows_chunk,
};
use counterfoil_psi::{Role, SEAL_OVERHEAD, SessionId};
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::{flow_id, off_thread, to_its_end, wire};
use crate::broker::{Broker, Partner};
use crate::decide::tag_keys;
use crate::flow::buckets::{Attempt, Declared, Misdeclared, Rows, Said};
use crate::flow::budget::Need;
use crate::flow::complete;
use crate::flow::registry::Running;
use crate::flow::submission::{KEY_BYTES, MATCH_ID_BYTES, Submission};

/// Takes the owner's sealed rows of a bucket, and answers when they are on disk.
pub(crate) async fn rows(
    broker: &Arc<Broker>,
    request: Request<Streaming<RowsChunk>>,
) -> Result<Response<RowsReply>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let Some(RowsChunk {
        part: Some(rows_chunk::Part::Header(header)),
    }) = inbound.message().await?
    else {
        return Err(Status::invalid_argument("the first message is the header"));
    };
    let running = running(broker, &partner, &header.flow, Role::Owner)?;
    let broker = broker.clone();
    to_its_end(async move {
        let _present = running.attend(Role::Owner);
        let checked = check_columns(&running, &header.columns, header.keyed)
            .and_then(|layout| check_marks(&broker, &running, layout, &header))
            .and_then(|layout| check_canaries(&running, layout, header.watched))
            .and_then(|layout| check_consent(&running, layout, header.consent.as_ref()));
        let (layout, withheld) = match checked {
            Ok(checked) => checked,
            Err(status) => {
                // Declared before a row is joined: a column outside the agreement stops the flow here.
                let flow = running.grant.flow;
                broker.abort(flow, "columns", status.message()).await;
                return Err(status);
            }
        };
        let declared = Declared {
            bucket: header.bucket,
            buckets: header.buckets,
            count: header.count,
        };
        let said = Said {
            withheld,
            tag_key: tag_key(&header),
        };
        let begun = running.buckets(|all| all.declare_rows(declared, &layout, said));
        if let Err(error) = begun {
            return Err(misdeclared(&broker, &running, Role::Owner, error).await);
        }
        if let Err(none) =
            running.make_room(&broker.flows.budget, need(&running, declared, &layout))
        {
            let flow = running.grant.flow;
            broker.abort(flow, "submitting", &none.to_string()).await;
            return Err(Status::resource_exhausted(none.to_string()));
        }
        let rows = if header.keyed {
            Submission::keyed_rows(&header.session, header.count, ROWS_MAX, layout)
        } else {
            Submission::rows(&header.session, header.count, ROWS_MAX, layout)
        };
        let pieces = inbound.map(|chunk| match chunk?.part {
            Some(rows_chunk::Part::Rows(piece)) => Ok(Some(piece)),
            _ => Ok(None),
        });
        let received = receive(&broker, &running, &partner, rows, pieces).await;
        // One at a time, so that what the registry says is here is what the disk holds.
        let _turn = running.storing.lock().await;
        let stored = match received {
            Ok(rows) => store(&broker, &running, header, rows).await,
            Err(broken) => Err(broken),
        };
        running.received(declared.bucket, stored.as_ref().ok().copied());
        match stored {
            Ok(_) => Ok(Response::new(RowsReply {})),
            Err(broken) => Err(broken.end(&broker, &running, Role::Owner).await),
        }
    })
    .await
}

/// What a flow takes until it is over: the rows of all its buckets on disk, and of those that open what is kept in memory. No more
/// open than the recipient may have.
pub(crate) fn need(running: &Running, declared: Declared, layout: &Layout) -> Need {
    let record = MATCH_ID_BYTES + layout.payload_len() + SEAL_OVERHEAD + KEY_BYTES;
    let rows = declared.count.saturating_mul(declared.buckets.into());
    Need {
        disk: rows.saturating_mul(record as u64),
        opened: u64::from(running.request.body().set_size).saturating_mul(OPENED_BYTES),
    }
}

/// Bytes of an opened row in memory: match id, mark tag, and its combination of values before and after marks. The combinations
/// themselves stand once.
const OPENED_BYTES: u64 = 32;

async fn store(
    broker: &Arc<Broker>,
    running: &Arc<Running>,
    header: RowsHeader,
    rows: Submission,
) -> Result<SessionId, Broken> {
    let (flow, session) = (running.grant.flow, rows.session);
    let taken = running.buckets(|all| all.is_taken(header.bucket));
    if taken {
        return Err(Broken::Call(Status::already_exists(
            Misdeclared::Joined.to_string(),
        )));
    }
    let files = broker.running.clone();
    off_thread(move || files.store_rows(*flow.as_bytes(), &header, &rows))
        .await
        .map_err(Broken::Flow)?;
    if running.ended().is_cancelled() {
        // Its files were removed while these were written, or will be after this: either way nothing stays.
        broker.running.discard(*flow.as_bytes());
        return Err(Broken::Call(over()));
    }
    Ok(session)
}

/// Takes the recipient's row keys of a bucket, and answers when it is joined, or when its rows will not come.
pub(crate) async fn keys(
    broker: &Arc<Broker>,
    request: Request<Streaming<KeysChunk>>,
) -> Result<Response<KeysReply>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let Some(KeysChunk {
        part: Some(keys_chunk::Part::Header(header)),
    }) = inbound.message().await?
    else {
        return Err(Status::invalid_argument("the first message is the header"));
    };
    let running = running(broker, &partner, &header.flow, Role::Recipient)?;
    let broker = broker.clone();
    to_its_end(async move {
        let _present = running.attend(Role::Recipient);
        let declared = Declared {
            bucket: header.bucket,
            buckets: header.buckets,
            count: header.count,
        };
        // The recipient is held to the size that it declared, signed, and was granted.
        let attempt = match running.buckets(|all| all.declare_keys(declared)) {
            Ok(attempt) => attempt,
            Err(error) => {
                return Err(misdeclared(&broker, &running, Role::Recipient, error).await);
            }
        };
        let keys = own_layout(&running, &header.columns).map(|layout| match layout {
            Some(layout) => {
                Submission::keys_and_rows(&header.session, header.count, header.count, layout)
            }
            None => Submission::keys(&header.session, header.count, header.count),
        })?;
        let pieces = inbound.map(|chunk| match chunk?.part {
            Some(keys_chunk::Part::Keys(piece)) => Ok(Some(piece)),
            _ => Ok(None),
        });
        match receive(&broker, &running, &partner, keys, pieces).await {
            Ok(keys) => {
                let joined = join(&broker, &running, header.bucket, attempt, keys).await?;
                Ok(Response::new(KeysReply { joined }))
            }
            Err(broken) => Err(broken.end(&broker, &running, Role::Recipient).await),
        }
    })
    .await
}

/// Waits for the rows of the keys' session, and joins. False if they will not come, because the owner's agent has lost them, or if
/// the recipient has come for another attempt meanwhile.
async fn join(
    broker: &Arc<Broker>,
    running: &Arc<Running>,
    bucket: u32,
    attempt: Attempt,
    keys: Submission,
) -> Result<bool, Status> {
    let session = keys.session;
    loop {
        if running.ended().is_cancelled() {
            return Err(over());
        }
        match running.buckets(|all| all.rows_for(bucket, session, attempt)) {
            Ok(Rows::Joined) => return Ok(true),
            Ok(Rows::Superseded) => return Ok(false),
            Ok(Rows::Here) => {
                let last = complete::join(broker, running, bucket, keys).await;
                if last == Some(true) {
                    tokio::spawn(complete::run(broker.clone(), running.clone()));
                }
                return if last.is_some() {
                    Ok(true)
                } else {
                    Err(over())
                };
            }
            Ok(Rows::Coming) if running.rows_may_come(bucket, session) => running.change().await,
            Ok(Rows::Coming) => return Ok(false),
            Err(error) => return Err(Status::already_exists(error.to_string())),
        }
    }
}

/// Tells a recipient how far the buckets are.
pub(crate) fn buckets(
    broker: &Arc<Broker>,
    request: Request<FlowRef>,
) -> Result<Response<BucketsReply>, Status> {
    let partner = broker.partner(&request)?;
    let running = running(
        broker,
        &partner,
        &request.into_inner().flow,
        Role::Recipient,
    )?;
    let states = running.buckets(|all| all.states());
    Ok(Response::new(BucketsReply { states }))
}

/// Takes the pieces of a submission, as many bytes as its header declared and its institution may have in memory. A piece that is
/// nothing is a message of another kind.
async fn receive(
    broker: &Broker,
    running: &Running,
    partner: &Partner,
    declared: Result<Submission, WireError>,
    pieces: impl Stream<Item = Result<Option<Vec<u8>>, Status>>,
) -> Result<Submission, Broken> {
    let refused = |error| Broken::Flow(wire(error));
    let mut submission = declared.map_err(refused)?;
    let budget = &broker.flows.budget;
    let share = budget
        .take(&partner.org, submission.bytes_expected())
        .ok_or_else(|| {
            // The largest submission fits once the others are joined.
            Broken::Call(Status::unavailable(
                "the broker holds as many rows in memory as it may: submit again when others are joined",
            ))
        })?;
    submission.keep(share);
    let mut pieces = pin!(pieces);
    loop {
        let piece = tokio::select! {
            () = running.ended().cancelled() => return Err(Broken::Call(over())),
            piece = pieces.next() => piece,
        };
        let Some(piece) = piece else { break };
        running.touch();
        let piece = piece.map_err(Broken::Call)?.ok_or_else(|| {
            Broken::Flow(Status::invalid_argument("after the header come records"))
        })?;
        submission.push(&piece).map_err(refused)?;
    }
    // A call that its agent cancelled ends like one that is complete (tonic tells no difference): too little ends no flow.
    submission
        .check_complete()
        .map_err(|error| Broken::Call(wire(error)))?;
    Ok(submission)
}

pub(super) fn over() -> Status {
    Status::aborted("the flow has ended: watch it to see why")
}

/// Ends a flow for a declaration that no honest agent makes.
async fn misdeclared(broker: &Broker, running: &Running, role: Role, error: Misdeclared) -> Status {
    if error == Misdeclared::Joined {
        return Status::already_exists(error.to_string());
    }
    let reason = format!("the {role}'s submission was refused: {error}");
    broker
        .abort(running.grant.flow, "submitting", &reason)
        .await;
    Status::invalid_argument(error.to_string())
}

/// A submission that did not arrive. Told apart by who found fault, not by the code: a transport that breaks may call itself anything.
enum Broken {
    /// This call is over, and its agent comes again: its connection broke, somebody else was first, or there is no room for it now.
    Call(Status),
    /// No honest agent makes it: the flow ends.
    Flow(Status),
}

impl Broken {
    async fn end(self, broker: &Broker, running: &Running, role: Role) -> Status {
        match self {
            Self::Call(status) => status,
            Self::Flow(status) => {
                let reason = format!("the {role}'s submission was refused: {}", status.message());
                broker
                    .abort(running.grant.flow, "submitting", &reason)
                    .await;
                status
            }
        }
    }
}

/// The recipient's own tags, which a measure flow may count, in the order of the agreement.
fn own_tags(running: &Running) -> &[TagName] {
    let plan = running.plan.as_ref();
    plan.map_or(&[], Plan::recipient_tags)
}

/// The layout of the recipient's own rows, if it brings any: exactly the tags that its queries use.
fn own_layout(
    running: &Running,
    columns: &[counterfoil_proto::v1::Column],
) -> Result<Option<Layout>, Status> {
    let layout = Layout::from_wire(columns).map_err(wire)?;
    let asked = own_tags(running);
    if !layout.tags().eq(asked.iter().map(AsRef::as_ref)) {
        return Err(Status::invalid_argument(
            "the recipient's own columns are not those that its queries use",
        ));
    }
    Ok(Some(layout).filter(|_| !asked.is_empty()))
}

/// The columns must be the tags of the request, in its order.
fn check_columns(
    running: &Running,
    columns: &[counterfoil_proto::v1::Column],
    keyed: bool,
) -> Result<Layout, Status> {
    if keyed == own_tags(running).is_empty() {
        return Err(Status::failed_precondition(
            "the owner's rows carry keys of the recipient's rows if and only if the flow counts tags of the recipient's: nothing was joined; use the same version of `counterfoil` on both sides",
        ));
    }
    let layout = Layout::from_wire(columns).map_err(wire)?;
    let asked = running.request.body().tags.iter().map(AsRef::as_ref);
    if layout.tags().eq(asked) {
        return Ok(layout);
    }
    let outside = layout.tags().find(|tag| {
        !running
            .agreement
            .tags()
            .iter()
            .any(|t| t.name().as_str() == *tag)
    });
    Err(Status::failed_precondition(match outside {
        Some(_) => {
            "a column of the owner's rows is outside the agreement: nothing was joined; correct the owner's dataset config"
        }
        None => {
            "the owner's columns are not the tags of the request, in its order: nothing was joined; use the same version of `counterfoil` on both sides"
        }
    }))
}

/// The commitment to the key of mark tags that a header declares.
pub(crate) fn tag_key(header: &RowsHeader) -> Option<Digest> {
    let bytes = <[u8; 32]>::try_from(header.tag_key.as_slice()).ok()?;
    Some(Digest::from_bytes(bytes))
}

/// Rows have mark tags if a tag that was asked for carries marks, and only then; and they are made with the key of the lineage.
fn check_marks(
    broker: &Broker,
    running: &Running,
    layout: Layout,
    header: &RowsHeader,
) -> Result<Layout, Status> {
    let marked = header.marked;
    if marked != tag_key(header).is_some() || !marked && !header.tag_key.is_empty() {
        return Err(Status::failed_precondition(
            "rows with mark tags come with a commitment to the key of these, and no others do: nothing was joined; use the same version of `counterfoil` on both sides",
        ));
    }
    let said = running.agreement.marks().zip(tag_key(header));
    if let Some((marks, said)) = said {
        let known = broker
            .ledger
            .read(|state| state.marks.tag_key(marks.name()));
        if let Some(refusal) = tag_keys::differ(marks.name(), known, Some(said)) {
            return Err(Status::failed_precondition(refusal.message));
        }
    }
    // A measure flow delivers no row that could carry a mark.
    let bits = running.agreement.mark_bits(&running.request.body().tags);
    let asked = bits.is_some() && running.plan.is_none();
    match (marked, asked) {
        (true, true) => Ok(layout.marked()),
        (false, false) => Ok(layout),
        (false, true) => Err(Status::failed_precondition(
            "a tag that was asked for carries marks, and the owner's rows have no mark tags: nothing was joined",
        )),
        (true, false) => Err(Status::failed_precondition(
            "the owner's rows have mark tags, and no tag that was asked for carries marks: nothing was joined",
        )),
    }
}

/// Rows have room for a canary's code if the owner committed to canaries, and only then.
fn check_canaries(running: &Running, layout: Layout, watched: bool) -> Result<Layout, Status> {
    match (watched, running.canaries.get()) {
        (true, Some(_)) => Ok(layout.watched()),
        (false, None) => Ok(layout),
        _ => Err(Status::failed_precondition(
            "the owner's rows have canaries if and only if it committed to some before the flow: nothing was joined",
        )),
    }
}

/// What the owner says that people consented to must be what the agreement asks for, and there if it asks.
fn check_consent(
    running: &Running,
    layout: Layout,
    declared: Option<&Consent>,
) -> Result<(Layout, Option<CoarseCount>), Status> {
    let asked = running.request.body();
    let expected = Scope::of(&running.agreement, &asked.tags, asked.segment.as_ref());
    let (declared, expected) = match (declared, expected) {
        (None, None) => return Ok((layout, None)),
        (Some(declared), Some(expected)) => (declared, expected),
        (None, Some(_)) => {
            return Err(Status::failed_precondition(
                "the agreement asks for consent proofs, and the owner's rows have none: nothing was joined",
            ));
        }
        (Some(_), None) => {
            return Err(Status::failed_precondition(
                "the owner's rows have consent proofs, and the agreement asks for none: nothing was joined",
            ));
        }
    };
    let categories = expected.categories.iter().map(AsRef::as_ref);
    let same = declared.recipient == expected.recipient.as_str()
        && declared.contact == expected.contact.as_str()
        && declared.purpose == expected.purpose.as_str()
        && declared.method == expected.method.as_str()
        && declared
            .categories
            .iter()
            .map(String::as_str)
            .eq(categories);
    if !same {
        return Err(Status::failed_precondition(
            "what people consented to is not what the agreement is for (recipient, contact, purpose, method, categories): nothing was joined",
        ));
    }
    let withheld = declared.withheld.parse().map_err(|_| {
        Status::invalid_argument("the count of rows without a proof is not a coarse count")
    })?;
    Ok((layout.proven(), Some(withheld)))
}

/// A flow that runs, if the caller stands on this side of it; others do not learn that it exists.
pub(super) fn running(
    broker: &Broker,
    partner: &Partner,
    flow: &[u8],
    role: Role,
) -> Result<Arc<Running>, Status> {
    let running = broker.flows.get(flow_id(flow)?);
    match running
        .as_ref()
        .and_then(|running| running.role(&partner.org))
    {
        Some(own) if own == role => running.ok_or_else(over),
        Some(_) => Err(Status::permission_denied("this is the other side's to do")),
        None => Err(Status::not_found(
            "no such flow of yours is running: it was never granted, or it has ended",
        )),
    }
}
