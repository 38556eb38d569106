//! Tracing a leaked file: whose delivery is it.
//!
//! It takes both sides. The owner's agent alone turns identifiers into mark tags, with a key that the broker does not have; the
//! broker alone has the keys of the symbols. The file never leaves the owner: what is sent are tags, and cells that could carry
//! marks. A maker asks ([`propose`]), a checker has it scored ([`score`]), and the broker records both before it scores.

mod codes;
mod file;
mod html;
mod report;
mod resolve;
mod sent;

use std::collections::BTreeSet;
use std::path::PathBuf;

use counterfoil_policy::approval::{
    Approval, InstitutionSignature, Role, ScoringRequest, TwoPersonApproval, all_lineages,
};
use counterfoil_policy::text::{
    AgreementDigest, ContentDigest, DatasetName, ScoringId, TagName, UserId,
};
use counterfoil_proto::limits::{CHUNK_BYTES, LEAK_ROWS_MIN};
use counterfoil_proto::v1::{TraceChunk, TraceHeader, trace_chunk, trace_reply};
use counterfoil_watermark::{Commitment, Lineage, MarkTag};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::agreements;
use crate::data::{DATASETS, DatasetFile};
use crate::error::{Denial, Error, Result};
use crate::home::Home;
use crate::taxonomies;
use crate::transport::Broker;

use file::LeakedFile;
use resolve::Tagged;
use sent::Sent;

pub use counterfoil_proto::report::MarksRead;
pub use html::page;
pub use report::{Commitments, Traced, verdict};
pub use resolve::Resolved;

const DIRECTORY: &str = "traces";
const PROPOSAL_BYTES_MAX: u64 = 64 * 1024;

/// What is traced, and how.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// The leaked file.
    pub file: PathBuf,
    /// The dataset whose customers are in it.
    pub dataset: DatasetName,
    /// The lineage, if the dataset has several.
    pub lineage: Option<String>,
    /// Columns of the file that are known to be a tag.
    pub known: Vec<(String, TagName)>,
}

/// A leaked file, read, with all that may be sent of it.
pub struct Prepared {
    lineage: String,
    file_sha256: [u8; 32],
    content: Vec<u8>,
    /// The commitment to the key of the mark tags that are sent, if some are.
    tag_key: Option<Commitment>,
    resolved: Resolved,
    columns: Vec<String>,
}

/// A scoring that a maker asked for, and that waits for a checker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposed {
    /// What is to be scored.
    pub request: ScoringRequest,
    /// Who asked.
    pub maker: Approval,
}

/// What is told while a file is scored.
pub type OnScored<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Holds what people wrote.
impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({} rows, redacted)", self.resolved.used)
    }
}

impl Prepared {
    /// What became of the rows.
    #[must_use]
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The file's columns of which cells are sent.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn new(
        file: &LeakedFile,
        lineage: String,
        sent: Sent,
        resolved: Resolved,
        tag_key: Option<Commitment>,
    ) -> Result<Self> {
        Ok(Self {
            lineage,
            file_sha256: file.sha256,
            content: sent.content.encode()?,
            tag_key,
            resolved,
            columns: sent.names,
        })
    }

    /// The lineage, or `OWNER/*` where only codes are looked for.
    #[must_use]
    pub fn lineage(&self) -> &str {
        &self.lineage
    }
}

/// Reads the file, finds its customers and makes their mark tags; or finds its reference codes, if it has some and no more can
/// be told of it. Nothing is sent or kept. Blocks.
///
/// # Errors
/// The file cannot be read, no lineage of the dataset was ever marked here, or too few rows are the owner's customers.
pub fn prepare(home: &Home, options: &TraceOptions) -> Result<Prepared> {
    let file = LeakedFile::read(&options.file)?;
    let codes = codes::columns(&file);
    match marks(home, options, &file, &codes) {
        // Codes need neither identifiers nor many rows, nor a lineage. Who says which column is which wants marks scored.
        Err(error @ (Error::Input(_) | Error::Damaged { .. }))
            if !codes.is_empty() && options.known.is_empty() =>
        {
            let (sent, resolved) = codes::alone(&file, &codes, error.to_string());
            Prepared::new(&file, all_lineages(home.org()), sent, resolved, None)
        }
        prepared => prepared,
    }
}

/// What is sent to have marks scored.
fn marks(
    home: &Home,
    options: &TraceOptions,
    file: &LeakedFile,
    codes: &[usize],
) -> Result<Prepared> {
    let (name, lineage) = one(lineages(home, options)?, options)?;
    let library = taxonomies::library(home.path())?;
    let datasets = DatasetFile::read(&home.path().join(DATASETS), &library)?;
    let dataset = datasets.dataset(options.dataset.as_str()).ok_or_else(|| {
        Error::Input(format!(
            "datasets.toml has no dataset `{}`",
            options.dataset
        ))
    })?;
    let key = home.trace_key(&name, &dataset.customer_key())?;
    let key = key.ok_or_else(|| nothing_delivered(options))?;
    home.check_trace_key(&name, &key)?;
    let tagged = resolve::resolve(file, dataset, &name, &key, lineage.bits())?;
    enough(&tagged, options)?;
    let mut sent = Sent::of(file, &tagged, &lineage, options)?;
    sent.add_codes(file, &tagged, codes);
    let commitment = Commitment::to_trace(&key, &name);
    Prepared::new(file, name, sent, tagged.resolved, Some(commitment))
}

fn enough(tagged: &Tagged, options: &TraceOptions) -> Result<()> {
    let customers: BTreeSet<MarkTag> = tagged.tags.iter().map(|(_, tag)| *tag).collect();
    if (customers.len() as u64) < LEAK_ROWS_MIN {
        return Err(Error::Input(format!(
            "the file has only {} customers of `{}`: fewer than {LEAK_ROWS_MIN} are not scored, because scores of a few tell the marks",
            customers.len(),
            options.dataset
        )));
    }
    Ok(())
}

/// Lineages of the dataset from which something was delivered: name, and the columns of all agreements.
fn lineages(home: &Home, options: &TraceOptions) -> Result<Vec<(String, Lineage)>> {
    let mut found: Vec<(String, Vec<Lineage>)> = Vec::new();
    for agreement in agreements::all(home)? {
        let own = agreement.owner().name == *home.org() && *agreement.dataset() == options.dataset;
        let Some(marks) = agreement.marks().filter(|_| own) else {
            continue;
        };
        let lineage = marks.lineage().clone();
        match found.iter_mut().find(|(name, _)| name == marks.name()) {
            Some((_, lineages)) => lineages.push(lineage),
            None => found.push((marks.name().to_owned(), vec![lineage])),
        }
    }
    let mut known = Vec::new();
    for (name, lineages) in found {
        let wanted = options.lineage.as_ref();
        if wanted.is_none_or(|wanted| *wanted == name)
            && home.knows_lineage(&name)?
            && let Some(lineage) = Lineage::merged(&lineages)
        {
            known.push((name, lineage));
        }
    }
    Ok(known)
}

fn one(mut lineages: Vec<(String, Lineage)>, options: &TraceOptions) -> Result<(String, Lineage)> {
    match (lineages.pop(), lineages.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some((last, _)), false) => {
            let others = lineages.iter().map(|(name, _)| name.as_str());
            let names: Vec<_> = others.chain([last.as_str()]).collect();
            Err(Error::Input(format!(
                "`{}` has several lineages: choose one with --lineage: {}",
                options.dataset,
                names.join(", ")
            )))
        }
        (None, _) => Err(nothing_delivered(options)),
    }
}

fn nothing_delivered(options: &TraceOptions) -> Error {
    Error::Input(format!(
        "nothing of `{}` was delivered with marks from here: no agreement of it has a section [marks] and a key in keys/",
        options.dataset
    ))
}

/// Takes the maker's part: nothing is sent, and of the file only its digest is kept.
///
/// # Errors
/// The user is unknown here, or the home cannot be written.
pub fn propose(home: &Home, prepared: &Prepared, user: &UserId) -> Result<Proposed> {
    let person = home.person(user)?;
    let request = ScoringRequest {
        id: ScoringId::from_bytes(rand::random()),
        org: home.org().clone(),
        lineage: prepared.lineage.clone(),
        file_sha256: ContentDigest::from_bytes(prepared.file_sha256),
        content_sha256: content_sha256(prepared),
        rows: prepared.resolved.rows,
        rows_used: prepared.resolved.used,
        tag_key: (prepared.tag_key).map(|key| ContentDigest::from_bytes(*key.as_bytes())),
        at: home.clock().now(),
    };
    let digest = digest(&request)?;
    let maker = Approval::sign(person.key(), person.endorsement(), Role::Maker, &digest);
    let proposed = Proposed { request, maker };
    let json =
        serde_json::to_vec_pretty(&proposed).map_err(|e| Error::Unexpected(e.to_string()))?;
    home.make_dir(DIRECTORY)?;
    home.write(path(&proposed.request.id), &json)?;
    Ok(proposed)
}

/// Takes the checker's part and has the file scored: the same file, or it is refused here.
///
/// # Errors
/// No such proposal, another file, the maker again; the broker refuses; or its report does not verify.
pub async fn score(
    home: &Home,
    broker: &Broker,
    prepared: &Prepared,
    id: &ScoringId,
    user: &UserId,
    on_scored: OnScored<'_>,
) -> Result<Traced> {
    let proposed = find(home, id)?;
    let same = proposed.request.content_sha256 == content_sha256(prepared)
        && proposed.request.file_sha256 == ContentDigest::from_bytes(prepared.file_sha256);
    if !same {
        return Err(Error::Input(format!(
            "this is not the file that `{}` asked to have scored, or it was read otherwise: propose it anew",
            proposed.maker.user()
        )));
    }
    let authorisation = authorise(home, &proposed, user)?;
    let header = TraceHeader {
        request: to_json(&proposed.request)?,
        authorisation: to_json(&authorisation)?,
    };
    let note = send(broker, header, &prepared.content, on_scored).await?;
    let traced = report::verify(home, note, &proposed.request, &prepared.resolved)?;
    // Scored: the same request would be refused.
    home.remove(path(id))?;
    Ok(traced)
}

/// Scorings that wait for a checker.
///
/// # Errors
/// The home cannot be read.
pub fn pending(home: &Home) -> Result<Vec<Proposed>> {
    home.make_dir(DIRECTORY)?;
    let ids = home.list(DIRECTORY)?;
    let ids = ids.iter().filter_map(|name| name.strip_suffix(".json"));
    ids.map(|id| {
        let id = id
            .parse()
            .map_err(|_| home.damaged(format!("{DIRECTORY}/{id}.json"), "its name is no id"))?;
        find(home, &id)
    })
    .collect()
}

fn authorise(home: &Home, proposed: &Proposed, user: &UserId) -> Result<InstitutionSignature> {
    let person = home.person(user)?;
    let digest = digest(&proposed.request)?;
    let checker = Approval::sign(person.key(), person.endorsement(), Role::Checker, &digest);
    let own = home.party_keys()?;
    let approval = TwoPersonApproval::new(
        digest,
        &own.name,
        &own.signing_key,
        proposed.maker.clone(),
        checker,
    )
    .map_err(|fault| {
        Denial::local(
            "two_people",
            "checker",
            fault.to_string(),
            "a second person of this institution",
        )
    })?;
    Ok(InstitutionSignature::sign(
        &home.institution_key()?,
        approval,
    ))
}

async fn send(
    broker: &Broker,
    header: TraceHeader,
    content: &[u8],
    on_scored: OnScored<'_>,
) -> Result<String> {
    let head = TraceChunk {
        part: Some(trace_chunk::Part::Header(header)),
    };
    let pieces: Vec<_> = content
        .chunks(CHUNK_BYTES)
        .map(|piece| TraceChunk {
            part: Some(trace_chunk::Part::Content(piece.to_vec())),
        })
        .collect();
    let chunks = tokio_stream::iter(std::iter::once(head).chain(pieces));
    let mut replies = broker.traces().score(chunks).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        match reply.part {
            Some(trace_reply::Part::Progress(told)) => on_scored(told.scored, told.recipients),
            Some(trace_reply::Part::Report(note)) => return Ok(note),
            Some(trace_reply::Part::Denied(denial)) => {
                return Err(Error::Denied(Box::new(denial.into())));
            }
            None => {}
        }
    }
    Err(Error::Unexpected(
        "the broker ended without a report".to_owned(),
    ))
}

fn content_sha256(prepared: &Prepared) -> ContentDigest {
    ContentDigest::from_bytes(Sha256::digest(&prepared.content).into())
}

fn digest(request: &ScoringRequest) -> Result<AgreementDigest> {
    request
        .digest()
        .ok_or_else(|| Error::Unexpected("a request has no canonical form".to_owned()))
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Unexpected(e.to_string()))
}

fn path(id: &ScoringId) -> String {
    format!("{DIRECTORY}/{id}.json")
}

fn find(home: &Home, id: &ScoringId) -> Result<Proposed> {
    let bytes = home.read(path(id), PROPOSAL_BYTES_MAX)?.ok_or_else(|| {
        Error::Input(format!(
            "no scoring `{id}` waits here: `counterfoil trace --pending` lists them"
        ))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| home.damaged(path(id), e.to_string()))
}
