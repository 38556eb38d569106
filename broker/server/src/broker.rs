//! Everything that a call needs, in one place, and who is calling.

use std::sync::Arc;

use counterfoil_audit::entry::{Actor, Event, FlowAborted, Timestamp};
use counterfoil_audit::entry::{Digest, FlowId, Label, OrgName, Spent};
use counterfoil_watermark::MasterKey;
use time::OffsetDateTime;
use tonic::{Request, Status};

use crate::ca::CertificateAuthority;
use crate::decide::partners::BROKER_NAME;
use crate::decide::{Regime, flows};
use crate::error::Error;
use crate::files::create_private_dir;
use crate::flow::blobs::Deliveries;
use crate::flow::buckets::Buckets;
use crate::flow::canaries;
use crate::flow::registry::{Registry, Running};
use crate::flow::running_files::RunningFiles;
use crate::home::Home;
use crate::limits::{Rates, Readers};
use crate::log::{Decided, Ledger, LogDown, Recorded};
use crate::refusal::{Refusal, label, sentence};
use crate::state::State;
use crate::state::flows::{Flow, Stage};
use crate::state::partners::Stranger;
use crate::tls::{CallerCertificate, CertificateSha256, Connections};
use crate::trace::turns::Turns;

/// The running broker.
pub(crate) struct Broker {
    pub(crate) home: Home,
    pub(crate) authority: CertificateAuthority,
    pub(crate) ledger: Ledger,
    pub(crate) connections: Arc<Connections>,
    pub(crate) flows: Registry,
    pub(crate) deliveries: Deliveries,
    pub(crate) running: RunningFiles,
    pub(crate) rates: Rates,
    pub(crate) readers: Arc<Readers>,
    pub(crate) regime: Regime,
    /// Of which all keys of marks are derived.
    pub(crate) mark_key: MasterKey,
    pub(crate) turns: Turns,
    operator: CertificateSha256,
    actor: Actor,
}

/// An institution that calls, as its certificate says and the log confirms.
#[derive(Debug, Clone)]
pub(crate) struct Partner {
    pub(crate) org: OrgName,
    pub(crate) certificate: Digest,
}

impl Partner {
    /// For the entries that it causes.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            org: self.org.clone(),
            user: None,
            cert_sha256: Some(self.certificate),
        }
    }
}

impl Broker {
    /// Opens a broker's directory and its log.
    pub(crate) fn open(home: Home) -> Result<Self, Error> {
        home.check_secrets()?;
        let ledger = Ledger::open(&home.log_dir(), home.log_key()?)?;
        let mark_key = ledger.read(|state| state.marks.key_of(&home))?;
        create_private_dir(&home.flows_dir())?;
        create_private_dir(&home.incidents_dir())?;
        let org = OrgName::new(BROKER_NAME).map_err(|e| Error::Home(e.to_string()))?;
        Ok(Self {
            authority: home.authority()?,
            operator: home.certificate_sha256("operator")?,
            deliveries: Deliveries::new(home.deliveries_dir()),
            running: RunningFiles::new(home.flows_dir()),
            actor: Actor {
                org,
                user: None,
                cert_sha256: None,
            },
            connections: Arc::default(),
            flows: Registry::new(home.config().room),
            rates: Rates::default(),
            readers: Arc::default(),
            regime: Regime {
                rules: home.rules()?,
                assessed_only: home.config().assessed_only,
            },
            mark_key,
            turns: Turns::default(),
            ledger,
            home,
        })
    }

    /// The broker itself, for entries that nobody asked for.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The operator, for entries that it causes.
    pub(crate) fn operator_actor(&self) -> Actor {
        Actor {
            user: Some(label("operator")),
            cert_sha256: Some(Digest::from_bytes(self.operator)),
            ..self.actor.clone()
        }
    }

    /// The institution that calls. Looked up in state at every call, so that a revocation acts at once.
    pub(crate) fn partner<T>(&self, request: &Request<T>) -> Result<Partner, Status> {
        let certificate = certificate(request)?;
        if certificate == self.operator {
            return Err(Status::permission_denied(
                "the operator's certificate cannot act for an institution: use that of an institution's own home directory",
            ));
        }
        let certificate = Digest::from_bytes(certificate);
        match self.holder(&certificate) {
            Ok(org) => Ok(Partner { org, certificate }),
            Err(Stranger::Unknown) => Err(Status::unauthenticated(
                "this certificate is not in the broker's log: join with a new invite",
            )),
            Err(Stranger::Revoked(org)) => Err(Status::unauthenticated(format!(
                "the certificate of `{org}` was revoked or replaced: ask the broker's operator why, and join with a new invite",
            ))),
            Err(Stranger::Expired(org)) => Err(Status::unauthenticated(format!(
                "the certificate of `{org}` has ended: ask the broker's operator for a new invite and join again",
            ))),
        }
    }

    fn holder(&self, certificate: &Digest) -> Result<OrgName, Stranger> {
        // A clock that cannot be told lets nobody in.
        let now = Timestamp::from_time(OffsetDateTime::now_utc()).map_err(|_| Stranger::Unknown)?;
        self.ledger
            .read(|state| state.partners.caller(certificate, now).cloned())
    }

    /// Whether a certificate is one that may call: what a connection with any other may take is kept small.
    pub(crate) fn knows(&self, certificate: &CertificateSha256) -> bool {
        *certificate == self.operator || self.holder(&Digest::from_bytes(*certificate)).is_ok()
    }

    /// Looked at before a call's message is read. Each call asks for its caller again, and by role.
    pub(crate) fn check_caller<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if self.ledger.down().is_cancelled() {
            return Err(Status::unavailable(LogDown.to_string()));
        }
        if certificate(request)? == self.operator {
            return Ok(());
        }
        self.partner(request).map(|_| ())
    }

    /// As [`Broker::partner`], for a call that ends in an entry: so many of those an institution may make.
    pub(crate) fn recorded_partner<T>(&self, request: &Request<T>) -> Result<Partner, Status> {
        let partner = self.partner(request)?;
        self.rates.count(&partner.org)?;
        Ok(partner)
    }

    /// The broker's own operator calls.
    pub(crate) fn require_operator<T>(&self, request: &Request<T>) -> Result<(), Status> {
        if certificate(request)? == self.operator {
            return Ok(());
        }
        Err(Status::permission_denied(
            "only the broker's operator may do this: use the broker's own home directory",
        ))
    }

    /// Whether a granted flow may go on, by the facts, the rules and the clock of now: asked before rows are joined, and
    /// once more in the append of its release.
    pub(crate) fn may_continue(&self, running: &Running) -> Result<(), Refusal> {
        let now = Timestamp::from_time(OffsetDateTime::now_utc())
            .map_err(|_| Refusal::new("clock", "the broker's clock cannot be told", "ask again"))?;
        self.ledger
            .read(|state| self.continues(state, now, running))
    }

    /// As [`Broker::may_continue`], within an append.
    pub(crate) fn continues(
        &self,
        state: &State,
        now: Timestamp,
        running: &Running,
    ) -> Result<(), Refusal> {
        flows::may_continue(state, &self.regime, now, &running.grant, &running.request)
    }

    /// Ends a running flow without a release, and records why. Does nothing if it has ended already: whoever ended it tells
    /// the watchers, once that is durable. `event` gets what the flow keeps of its privacy budget.
    ///
    /// Whoever ends it: if more canaries were hit than chance explains, the same append opens an incident.
    pub(crate) async fn end<E: Into<Event>>(
        &self,
        actor: &Actor,
        flow: FlowId,
        event: impl FnOnce(Option<Spent>) -> E,
    ) -> bool {
        let incident = canaries::incident(self, flow).await;
        let ended: Result<Recorded<()>, Refusal> = self
            .ledger
            .commit(actor, |state, _| {
                let running = state.flow(flow).is_some_and(|f| f.stage == Stage::Running);
                if !running {
                    return Err(Refusal::new("flow_ended", "the flow has ended", "-"));
                }
                let ending = self.flows.ending(flow);
                let opened = ending.as_ref().map(|flow| flow.buckets(Buckets::close));
                let spent = match opened {
                    Some(false) => None,
                    // All, unless it is known that no row was opened.
                    _ => state.flow(flow).and_then(reserved),
                };
                let incident = incident.filter(|_| opened == Some(true));
                Ok(Decided {
                    events: incident.into_iter().chain([event(spent).into()]).collect(),
                    value: (),
                })
            })
            .await;
        match ended {
            Ok(_) => {
                self.close(flow);
                true
            }
            Err(refusal) => {
                tracing::debug!(%flow, code = refusal.code, "an end was not recorded");
                false
            }
        }
    }

    /// Lets go of a flow whose end is durable.
    pub(crate) fn close(&self, flow: FlowId) {
        self.flows.end(flow);
        self.running.discard(*flow.as_bytes());
    }

    /// As [`Broker::end`], for something that failed.
    pub(crate) async fn abort(&self, flow: FlowId, stage: &str, reason: &str) {
        let event = |spent| FlowAborted {
            flow,
            stage: label(stage),
            reason: sentence(reason),
            spent,
        };
        if self.end(&self.actor, flow, event).await {
            tracing::info!(%flow, stage, reason, "flow aborted");
        }
    }
}

/// What a granted flow set aside.
fn reserved(flow: &Flow) -> Option<Spent> {
    flow.grant.as_ref()?.reserved.clone()
}

/// Version of the code, for entries.
pub(crate) fn code_version() -> Label {
    label(concat!("counterfoil ", env!("CARGO_PKG_VERSION")))
}

fn certificate<T>(request: &Request<T>) -> Result<CertificateSha256, Status> {
    request
        .extensions()
        .get::<CallerCertificate>()
        .and_then(|caller| caller.0)
        .ok_or_else(|| {
            Status::unauthenticated(
                "this call needs a client certificate: join the broker first with `counterfoil party join INVITE`",
            )
        })
}
