//! Traces over the wire.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::entry::{
    Actor, Digest, IncidentOpened, Integer, List, OrgName, Timestamp, TraceConcluded, TraceFailed,
};
use counterfoil_audit::note::Note;
use counterfoil_policy::text::ContentDigest;
use counterfoil_proto::WireError;
use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_proto::limits::LEAK_BYTES_MAX;
use counterfoil_proto::v1::traces_server::Traces;
use counterfoil_proto::v1::{
    TraceChunk, TraceHeader, TraceProgress, TraceReply, trace_chunk, trace_reply,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{STREAM_CHUNKS, failed, refused, wire};
use crate::broker::{Broker, Partner};
use crate::decide::traces::{self, Asked, Content};
use crate::log::{Decided, Recorded};
use crate::refusal::{Refusal, label, sentence};
use crate::state::marks::ScoringEntry;
use crate::trace::turns::Seat;
use crate::trace::{Said, Scored, Scoring};

/// Largest request or authorisation, in bytes.
const JSON_BYTES_MAX: usize = 16 * 1024;
/// The content has to have come by then, and the report waits no longer for its reader.
const RECEIVE_MAX: Duration = Duration::from_secs(120);

const TOO_LARGE: &str = "the content is larger than a leak may be";

/// Traces.
pub(crate) struct TracesService(pub(crate) Arc<Broker>);

type Replies = mpsc::Sender<Result<TraceReply, Status>>;

#[tonic::async_trait]
impl Traces for TracesService {
    type ScoreStream = ReceiverStream<Result<TraceReply, Status>>;

    async fn score(
        &self,
        request: Request<Streaming<TraceChunk>>,
    ) -> Result<Response<Self::ScoreStream>, Status> {
        let broker = self.0.clone();
        let partner = broker.recorded_partner(&request)?;
        let mut inbound = request.into_inner();
        let received = tokio::time::timeout(RECEIVE_MAX, receive(&broker, &partner, &mut inbound));
        let (header, received) = received
            .await
            .map_err(|_| Status::deadline_exceeded("the content came too slowly"))??;
        let (replies, receiver) = mpsc::channel(STREAM_CHUNKS);
        // To its end, even if the caller leaves: what was authorised is scored and concluded.
        tokio::spawn(async move {
            let last = match run(&broker, &partner, &header, received, &replies).await {
                Ok(part) => Ok(TraceReply { part: Some(part) }),
                Err(status) => Err(status),
            };
            let _ = replies.send_timeout(last, RECEIVE_MAX).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What was signed for, as it came: nothing of it has been read.
struct Received {
    seat: Seat,
    signed_for: ContentDigest,
    bytes: Vec<u8>,
}

/// The content of a request that could be permitted; of another one nothing is kept.
async fn receive(
    broker: &Broker,
    partner: &Partner,
    inbound: &mut Streaming<TraceChunk>,
) -> Result<(TraceHeader, Option<Received>), Status> {
    let header = header(inbound).await?;
    let now = timestamp()?;
    let permitted = broker.ledger.read(|state| {
        let (request, authorisation) = (&header.request, &header.authorisation);
        traces::permitted(state, now, &partner.org, request, authorisation)
    });
    let Ok(permitted) = permitted else {
        // Taken to its end, so that the caller comes to read the refusal; nothing of it is kept.
        let mut left = LEAK_BYTES_MAX;
        while let Some(chunk) = inbound.message().await? {
            let Some(less) = left.checked_sub(chunk.encoded_len().max(1)) else {
                return Err(Status::invalid_argument(TOO_LARGE));
            };
            left = less;
        }
        return Ok((header, None));
    };
    let seat = broker.turns.sit(&partner.org);
    let received = Received {
        seat: seat.map_err(|full| Status::resource_exhausted(full.to_string()))?,
        signed_for: permitted.request.content_sha256,
        bytes: content(inbound).await?,
    };
    Ok((header, Some(received)))
}

/// Reads what came, if it is what was signed for. Blocks.
fn read(
    signed_for: &ContentDigest,
    bytes: &[u8],
) -> Result<Option<(Content, LeakContent)>, WireError> {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    if *signed_for.as_bytes() != sha256 {
        return Ok(None);
    }
    let leak = LeakContent::decode(bytes)?;
    let content = Content {
        sha256,
        rows: leak.mark_tags.len() as u64,
        tags: leak.mark_tags.iter().collect::<HashSet<_>>().len() as u64,
        codes_only: !leak.known.is_empty()
            && leak
                .known
                .iter()
                .all(|known| known.as_deref() == Some(CODES)),
    };
    Ok(Some((content, leak)))
}

async fn header(inbound: &mut Streaming<TraceChunk>) -> Result<TraceHeader, Status> {
    match inbound.message().await? {
        Some(TraceChunk {
            part: Some(trace_chunk::Part::Header(header)),
        }) if header.request.len().max(header.authorisation.len()) <= JSON_BYTES_MAX => Ok(header),
        _ => Err(Status::invalid_argument("the first message is the header")),
    }
}

async fn content(inbound: &mut Streaming<TraceChunk>) -> Result<Vec<u8>, Status> {
    let mut content = Vec::new();
    while let Some(chunk) = inbound.message().await? {
        let Some(trace_chunk::Part::Content(piece)) = chunk.part else {
            return Err(Status::invalid_argument(
                "a piece of the content is missing",
            ));
        };
        if content.len() + piece.len() > LEAK_BYTES_MAX {
            return Err(Status::invalid_argument(TOO_LARGE));
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

async fn run(
    broker: &Arc<Broker>,
    partner: &Partner,
    header: &TraceHeader,
    received: Option<Received>,
    replies: &Replies,
) -> Result<trace_reply::Part, Status> {
    // Seat and turn are held to the end: two outcomes of one file must not both open an incident.
    let (_held, read) = match received {
        None => (None, None),
        Some(Received {
            seat,
            signed_for,
            bytes,
        }) => {
            let turn = seat.turn().await;
            let turn = turn.ok_or_else(|| failed("no file is scored any more"))?;
            let read = tokio::task::spawn_blocking(move || read(&signed_for, &bytes))
                .await
                .map_err(|_| failed("a leaked file was not read to its end"))?;
            (Some((seat, turn)), read.map_err(wire)?)
        }
    };
    let (content, leak) = read.unzip();
    let asked = Asked {
        request: &header.request,
        authorisation: &header.authorisation,
        content,
    };
    let recorded: Result<_, Refusal> = broker
        .ledger
        .commit(&partner.actor(), |state, now| {
            Ok(traces::authorise(state, now, &partner.org, &asked))
        })
        .await;
    let recorded = recorded.map_err(refused)?;
    let authorised = match recorded.split() {
        Ok(authorised) => authorised,
        Err((refusal, entry)) => return Ok(trace_reply::Part::Denied(refusal.denial(entry))),
    };
    ended(broker, partner, authorised, leak, replies).await
}

/// Scores, and sees to it that what was authorised has an outcome in the log, whatever comes between.
async fn ended(
    broker: &Arc<Broker>,
    partner: &Partner,
    authorised: Authorised,
    leak: Option<LeakContent>,
    replies: &Replies,
) -> Result<trace_reply::Part, Status> {
    let scoring = authorised.index();
    let ended = match outcome(broker, partner, authorised, leak, replies).await {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(refusal)) => Ok(refusal),
        Err(status) => Err(status),
    };
    let reason = match &ended {
        Ok(refusal) => refusal.message.as_str(),
        Err(_) => BROKER_FAILED,
    };
    let failed_at = fail(broker, &partner.actor(), scoring, &partner.org, reason).await;
    match ended {
        Ok(refusal) => Ok(trace_reply::Part::Denied(refusal.denial(failed_at?))),
        Err(status) => Err(status),
    }
}

/// The reason in the log, where it is nothing that the owner could change.
const BROKER_FAILED: &str = "the broker failed while it scored; its operator finds the reason";

async fn outcome(
    broker: &Arc<Broker>,
    partner: &Partner,
    authorised: Authorised,
    leak: Option<LeakContent>,
    replies: &Replies,
) -> Result<Result<trace_reply::Part, Refusal>, Status> {
    let leak = leak.ok_or_else(|| failed("a content that did not come was authorised"))?;
    match scored(broker, authorised, leak, replies).await? {
        (authorised, Ok(scored)) => conclude(broker, partner, &authorised, scored).await.map(Ok),
        (_, Err(refusal)) => Ok(Err(refusal)),
    }
}

/// Records that a scoring failed, unless it has an outcome.
async fn fail(
    broker: &Broker,
    actor: &Actor,
    scoring: u64,
    org: &OrgName,
    reason: &str,
) -> Result<u64, Status> {
    let event = TraceFailed {
        org: org.clone(),
        scoring: integer(scoring)?,
        reason: sentence(reason),
    };
    let recorded: Result<Recorded<()>, Refusal> = broker
        .ledger
        .commit(actor, |state, _| {
            if !state.marks.is_open(scoring) {
                return Err(Refusal::new("scoring_ended", "the scoring has ended", "-"));
            }
            Ok(Decided {
                events: vec![event.into()],
                value: (),
            })
        })
        .await;
    recorded.map(|recorded| recorded.index()).map_err(refused)
}

/// At a start: scorings that a stop of the broker cut off.
pub(crate) async fn fail_interrupted(broker: &Broker) -> Result<(), Status> {
    let open: Vec<(u64, OrgName)> = broker.ledger.read(|state| {
        let open = state.marks.open();
        open.map(|(scoring, org)| (scoring, org.clone())).collect()
    });
    for (scoring, org) in open {
        let reason = "the broker was stopped before it had scored; ask again";
        fail(broker, broker.actor(), scoring, &org, reason).await?;
    }
    Ok(())
}

type Authorised = Recorded<ScoringEntry>;
type Outcome = (Authorised, Result<Scored, Refusal>);

/// On a thread of its own, telling how far it is.
async fn scored(
    broker: &Arc<Broker>,
    authorised: Authorised,
    leak: LeakContent,
    replies: &Replies,
) -> Result<Outcome, Status> {
    let scoring = broker
        .ledger
        .read(|state| Scoring::of(state, authorised.value()))
        .ok_or_else(|| failed("a lineage lost its releases"))?;
    let (broker, replies) = (broker.clone(), replies.clone());
    tokio::task::spawn_blocking(move || {
        let recipients = scoring.recipients() as u64;
        let tell = |scored: usize| {
            let told = TraceProgress {
                scored: scored as u64,
                recipients,
            };
            // A reader that is slow misses some of it.
            let _ = replies.try_send(Ok(TraceReply {
                part: Some(trace_reply::Part::Progress(told)),
            }));
        };
        let scored = scoring.score(&authorised, &leak, &broker.mark_key, tell);
        (authorised, scored.map_err(|why| why.refusal()))
    })
    .await
    .map_err(|_| failed("a trace ended early"))
}

/// Opens an incident or joins the file's, records the outcome, and only then tells it.
async fn conclude(
    broker: &Broker,
    partner: &Partner,
    authorised: &Authorised,
    scored: Scored,
) -> Result<trace_reply::Part, Status> {
    let entry = authorised.value();
    let file = Digest::from_bytes(*entry.request.file_sha256.as_bytes());
    let known = broker
        .ledger
        .read(|state| state.marks.incident_of(&partner.org, file).cloned());
    let incident = known
        .clone()
        .unwrap_or_else(|| label(&Uuid::now_v7().to_string()));
    let named = scored.named().map(OrgName::new);
    let named: Vec<OrgName> = named.collect::<Result<_, _>>().map_err(failed)?;
    let candidates = scored.candidates();
    let coded = scored.coded().map(OrgName::new);
    let coded: Vec<OrgName> = coded.collect::<Result<_, _>>().map_err(failed)?;
    let coded = (!coded.is_empty()).then(|| List::new(coded));
    let said = Said {
        broker: &broker.home.config().name,
        time: timestamp()?.to_string(),
        incident: incident.as_str(),
        entry,
    };
    let text = scored.report(&said).to_text().map_err(failed)?;
    let note = Note::sign(text, broker.ledger.signer())
        .map_err(failed)?
        .to_string();
    let opened = known.is_none().then(|| {
        IncidentOpened {
            incident: incident.clone(),
            org: partner.org.clone(),
            lineage: entry.lineage.clone(),
            file_sha256: file,
        }
        .into()
    });
    let concluded = TraceConcluded {
        org: partner.org.clone(),
        incident,
        scoring: integer(authorised.index())?,
        candidates: integer(candidates)?,
        named: List::new(named).map_err(failed)?,
        coded: coded.transpose().map_err(failed)?,
        report_sha256: Digest::from_bytes(Sha256::digest(note.as_bytes()).into()),
    };
    let events = opened.into_iter().chain([concluded.into()]).collect();
    append(broker, &partner.actor(), events).await?;
    Ok(trace_reply::Part::Report(note))
}

async fn append(
    broker: &Broker,
    actor: &Actor,
    events: Vec<counterfoil_audit::entry::Event>,
) -> Result<u64, Status> {
    let recorded: Result<Recorded<()>, Refusal> = broker
        .ledger
        .commit(actor, |_, _| Ok(Decided { events, value: () }))
        .await;
    recorded.map(|recorded| recorded.index()).map_err(refused)
}

fn integer(number: u64) -> Result<Integer, Status> {
    Integer::new(number).map_err(failed)
}

fn timestamp() -> Result<Timestamp, Status> {
    Timestamp::from_time(time::OffsetDateTime::now_utc()).map_err(failed)
}

#[cfg(test)]
mod tests;
