//! The one error of this crate: whose fault it is, what to do next, and how a command ends with it.

use std::fmt;
use std::path::{Path, PathBuf};

use counterfoil_policy::finding::Findings;
use counterfoil_policy::moment::Timestamp;
use counterfoil_proto::WireError;
use counterfoil_proto::invite::InviteError;
use counterfoil_proto::v1;
use serde::Serialize;

use crate::data::{CanaryError, DatasetError, LoadError, OutputError, SourceError};
use crate::transport::DialError;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something did not happen, in words for the person who asked for it.
///
/// No message carries an identifier, a tag value or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // ---- 3: what was given is wrong
    /// A file or table to read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The rows of a file or table.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The owner's `datasets.toml`.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The owner's canaries.
    #[error(transparent)]
    Canaries(#[from] CanaryError),
    /// The file to write.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The text of an invite.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The text of an agreement: every fault of it, a line each.
    #[error("the agreement is refused:\n{0}")]
    Agreement(Findings),
    /// An argument or a config file.
    #[error("{0}")]
    Input(String),

    // ---- 4: somebody said no
    /// Refused under the rules, by the broker, the partner or this agent, with what would pass.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// Refused by the broker without a rule's name.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The broker no longer accepts this institution's certificate.
    #[error("{0}")]
    Revoked(String),

    // ---- 5: nobody answered
    /// No connection could be made.
    #[error(
        "cannot reach the broker at `{address}`: {why}; is `counterfoil broker serve` running there?"
    )]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        why: String,
    },
    /// A connection ended before its work did.
    #[error("the connection to the broker was lost: {0}; run the command again")]
    ConnectionLost(String),
    /// The broker answered that it cannot serve just now.
    #[error("the broker cannot answer just now: {0}")]
    Unavailable(String),
    /// A flow ended before anything was released.
    #[error("{0}; nothing was released, run it again")]
    Aborted(String),
    /// A flow that was interrupted while it was asked for, and is not running.
    #[error("flow `{0}` was interrupted before it was granted; nothing was released, run it again")]
    NotGranted(String),
    /// A release that did not reach its file. It is recorded, and the broker keeps it.
    #[error(
        "{error}; what was released is kept for you: when that is mended, `counterfoil exchange --resume {flow}` \
         brings it"
    )]
    Undelivered {
        /// The flow.
        flow: String,
        /// What went wrong.
        #[source]
        error: Box<Error>,
    },
    /// Somebody took longer than a stated limit.
    #[error("{who} did not answer within {seconds} s; run the command again")]
    Timeout {
        /// "the broker", or the partner's name.
        who: String,
        /// The limit.
        seconds: u64,
    },
    /// A certificate is outside its dates by the clock of this machine or of the broker.
    #[error("{0}")]
    CertificateTime(String),

    // ---- 6: a check failed that an honest broker or partner passes
    /// The other end is not the broker that this home belongs to.
    #[error(
        "whoever answers at `{address}` is not the broker of this home ({why}): nothing was sent; check the address, \
         and ask the operator before you go on"
    )]
    NotTheBroker {
        /// `host:port`.
        address: String,
        /// What was wrong with its certificate.
        why: String,
    },
    /// A signature, proof, digest or receipt.
    #[error("verification failed: {0}; tell the broker's operator, and keep what you have")]
    Unverified(String),
    /// Two views of one log that cannot both be true.
    #[error(
        "the broker's log was rolled back or forked: {why}; both signed checkpoints are kept in `{}`: stop exchanging, \
         and show them to your auditor and the other institutions", evidence.display()
    )]
    Fork {
        /// What contradicts what.
        why: String,
        /// Where the evidence lies.
        evidence: PathBuf,
    },
    /// A partner's keys are not the ones that were confirmed.
    #[error("{0}")]
    KeysChanged(String),
    /// The other agent broke the protocol.
    #[error(
        "`{org}` broke the protocol: {why}; nothing was released: ask its people to look at their agent"
    )]
    PeerMisbehaved {
        /// The partner.
        org: String,
        /// What it did.
        why: String,
    },
    /// A message that its sender cannot have meant.
    #[error(
        "the broker sent a message that cannot be right: {0}; use the same version of `counterfoil` on both sides"
    )]
    Wire(#[from] WireError),

    // ---- 7: what this machine holds is missing or unsafe
    /// There is no home.
    #[error("no party lives in `{}`: run `counterfoil --home {} party init NAME`", .0.display(), quoted(.0))]
    NoHome(PathBuf),
    /// A home is already there.
    #[error("`{}` already holds the party `{org}`: choose another --home, keys are never overwritten", path.display())]
    HomeExists {
        /// The directory.
        path: PathBuf,
        /// Who lives there.
        org: String,
    },
    /// A file or directory that others on this machine can open.
    #[error(
        "`{}` can be opened by other users of this machine (mode {mode:o}): run `chmod {wanted:o} {}`",
        path.display(), quoted(path)
    )]
    UnsafeMode {
        /// What is too open.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be.
        wanted: u32,
    },
    /// The party has not joined a broker.
    #[error(
        "`{0}` has not joined a broker yet: run `counterfoil party join INVITE` with the operator's invite"
    )]
    NotJoined(String),
    /// A partner whose keys nobody has compared out of band.
    #[error(
        "the keys of `{0}` are not confirmed: ask `{0}` by telephone for the fingerprint that `counterfoil party show` \
         prints there, then run `counterfoil party confirm-partner {0} FINGERPRINT`"
    )]
    NotConfirmed(String),
    /// No such agreement here.
    #[error("there is no agreement `{0}` here: `counterfoil agreement list` shows those that are")]
    UnknownAgreement(String),
    /// An agreement that both sides have not signed, or that has ended.
    #[error("{0}")]
    NotActive(String),
    /// No such person here.
    #[error("`{0}` is not known in this home: run `counterfoil party add-user {0}`")]
    UnknownUser(String),
    /// Another process holds what this one needs.
    #[error("{0}")]
    Busy(String),
    /// A file of the home that cannot be what was written there.
    #[error("`{}` is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something else that this machine lacks.
    #[error("{0}")]
    Local(String),

    // ---- 1
    /// The file system said no.
    #[error("cannot {doing} `{}`: {error}{}", path.display(), io_advice(error))]
    Io {
        /// "read", "write", ..
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// A fault of this program or of the broker's.
    #[error("unexpected: {0}; run the command again, and report it if it stays")]
    Unexpected(String),
}

/// What to do about an error of the file system, where one can tell.
fn io_advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; nothing is lost: free some space, and run the command again"
        }
        ErrorKind::PermissionDenied => "; give this user access to it",
        _ => "",
    }
}

impl Error {
    /// A file system error with what was being done.
    pub fn io(doing: &'static str, path: &Path, error: std::io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            error,
        }
    }

    /// The exit code of a command that ends with this: 3 input, 4 refused, 5 unreachable or lost, 6 verification
    /// failed, 7 local state missing or unsafe, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.class().1
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Denied(denial) => &denial.code,
            _ => self.class().0,
        }
    }

    /// The denial, if this is one.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) => Some(denial),
            _ => None,
        }
    }

    fn class(&self) -> (&'static str, u8) {
        match self {
            Self::Source(_) => ("source", 3),
            Self::Load(_) => ("rows", 3),
            Self::Canaries(_) => ("canaries", 3),
            Self::Dataset(_) => ("dataset", 3),
            Self::Output(_) => ("output", 3),
            Self::Invite(_) => ("invite", 3),
            Self::Agreement(_) => ("agreement", 3),
            Self::Input(_) => ("input", 3),
            Self::Denied(_) => ("denied", 4),
            Self::Refused(_) => ("refused", 4),
            Self::Revoked(_) => ("revoked", 4),
            Self::Unreachable { .. } => ("unreachable", 5),
            Self::ConnectionLost(_) => ("connection_lost", 5),
            Self::Unavailable(_) => ("unavailable", 5),
            Self::Aborted(_) | Self::NotGranted(_) => ("aborted", 5),
            Self::Undelivered { error, .. } => error.class(),
            Self::Timeout { .. } => ("timeout", 5),
            Self::CertificateTime(_) => ("certificate_time", 5),
            Self::NotTheBroker { .. } => ("not_the_broker", 6),
            Self::Unverified(_) => ("unverified", 6),
            Self::Fork { .. } => ("fork", 6),
            Self::KeysChanged(_) => ("keys_changed", 6),
            Self::PeerMisbehaved { .. } => ("peer_misbehaved", 6),
            Self::Wire(_) => ("wire", 6),
            Self::NoHome(_) => ("no_home", 7),
            Self::HomeExists { .. } => ("home_exists", 7),
            Self::UnsafeMode { .. } => ("unsafe_mode", 7),
            Self::NotJoined(_) => ("not_joined", 7),
            Self::NotConfirmed(_) => ("partner_not_confirmed", 7),
            Self::UnknownAgreement(_) => ("unknown_agreement", 7),
            Self::NotActive(_) => ("agreement_not_active", 7),
            Self::UnknownUser(_) => ("unknown_user", 7),
            Self::Busy(_) => ("busy", 7),
            Self::Damaged { .. } => ("damaged", 7),
            Self::Local(_) => ("local_state", 7),
            Self::Io { .. } => ("io", 1),
            Self::Unexpected(_) => ("unexpected", 1),
        }
    }
}

/// Why something was refused, and what would pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// A stable word.
    pub code: String,
    /// The field of the agreement or of the request that it is about.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What would pass; empty if nothing would.
    pub would_pass: String,
    /// Index of the log entry that records it; none if it was refused before the broker was asked.
    pub entry: Option<u64>,
}

impl Denial {
    /// A refusal by this agent itself.
    #[must_use]
    pub fn local(
        code: impl Into<String>,
        field: impl Into<String>,
        message: impl Into<String>,
        would_pass: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            field: field.into(),
            message: message.into(),
            would_pass: would_pass.into(),
            entry: None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: {}", self.message)?;
        if !self.field.is_empty() {
            write!(f, " (`{}`)", self.field)?;
        }
        if self.would_pass.is_empty() {
            Ok(())
        } else {
            write!(f, "; what would pass: {}", self.would_pass)
        }
    }
}

impl From<counterfoil_policy::decision::Denial> for Denial {
    fn from(denial: counterfoil_policy::decision::Denial) -> Self {
        Self::local(
            denial.code.as_str(),
            denial.field,
            denial.message,
            denial.would_pass,
        )
    }
}

impl From<v1::Denial> for Denial {
    fn from(wire: v1::Denial) -> Self {
        Self {
            code: shown(&wire.code),
            field: shown(&wire.field),
            message: shown(&wire.message),
            would_pass: shown(&wire.would_pass),
            entry: Some(wire.entry),
        }
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}

impl From<v1::Denial> for Error {
    fn from(wire: v1::Denial) -> Self {
        Denial::from(wire).into()
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        // Only a status that this machine made has a source; one that the broker sent has none.
        if let Some(source) = std::error::Error::source(&status) {
            return lost(source);
        }
        let text = shown(status.message());
        match status.code() {
            Code::Unauthenticated => Self::Revoked(text),
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::ResourceExhausted => Self::Refused(text),
            Code::Unavailable | Code::Aborted | Code::Cancelled => Self::Unavailable(text),
            Code::DeadlineExceeded => Self::ConnectionLost(text),
            Code::DataLoss => Self::Unverified(text),
            code => Self::Unexpected(format!("the broker failed ({code:?}): {text}")),
        }
    }
}

impl From<tonic::transport::Error> for Error {
    fn from(error: tonic::transport::Error) -> Self {
        lost(&error)
    }
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable { address, why } => Self::Unreachable { address, why },
            DialError::OutsideDates { at, why } => Self::CertificateTime(clock_text(at, &why)),
            DialError::NotTheBroker { address, why } => Self::NotTheBroker { address, why },
        }
    }
}

fn clock_text(at: Timestamp, why: &str) -> String {
    format!(
        "the broker's certificate is not valid at this machine's time `{at}` ({why}): check the clock of this machine, \
         then ask the operator to renew the certificate"
    )
}

/// Reads the chain of causes of a broken connection.
fn lost(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut next = Some(error);
    let mut last = String::new();
    while let Some(cause) = next {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return dial.clone().into();
        }
        last = cause.to_string();
        if let Some(error) = alert(&last) {
            return error;
        }
        next = cause.source();
    }
    Error::ConnectionLost(shown(&last))
}

/// What the broker said of our certificate. With TLS 1.3 the client has finished its handshake before the server reads
/// its certificate, so a refusal arrives as an alert on the first read, which h2 keeps as text only.
fn alert(text: &str) -> Option<Error> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    if alert.contains("CertificateExpired") {
        Some(Error::CertificateTime(
            "the broker says that this party's certificate is outside its dates: compare the clocks of both machines; \
             if they agree, ask the operator for a new invite and run `counterfoil party join` again"
                .to_owned(),
        ))
    } else if alert.contains("CertificateRevoked") {
        Some(Error::Revoked(
            "this party's certificate was revoked: ask the operator why".to_owned(),
        ))
    } else if [
        "BadCertificate",
        "UnknownCA",
        "CertificateUnknown",
        "CertificateRequired",
        "AccessDenied",
    ]
    .iter()
    .any(|name| alert.contains(name))
    {
        Some(Error::Revoked(
            "the broker does not accept this party's certificate: ask the operator for a new invite and run \
             `counterfoil party join` again"
                .to_owned(),
        ))
    } else {
        None
    }
}

/// Whether a character of a text from outside would be obeyed and not shown: controls, which a terminal takes for
/// orders, and the marks that reverse the direction of what stands beside them or are not seen.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text from outside, fit for a terminal: what is not seen is escaped; at most 600 characters.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 600;
    text.chars()
        .take(CHARS_MAX)
        .flat_map(|c| {
            let escaped = is_unseen(c).then(|| c.escape_unicode());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c))
    {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
