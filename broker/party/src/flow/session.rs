//! What an agreement and a home give to a matching.

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::keys::NoisePublicKey;
use counterfoil_policy::request::VerifiedRequest;
use counterfoil_psi::{Protocol, UnknownProtocol};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::audit;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::matching::Met;
use crate::noise::{Binding, Statics};
use crate::transport::Broker;

use super::plan::Plan;
use super::relay::Session;

/// Own Noise key and the peer's, as the agreement pins it.
pub(crate) struct Keys {
    own: StaticSecret,
    peer: PublicKey,
}

impl Keys {
    pub(crate) fn of(home: &Home, peer: &NoisePublicKey) -> Result<Self> {
        let own = StaticSecret::from(*home.noise_key()?.expose());
        Ok(Self {
            own,
            peer: PublicKey::from(*peer.as_bytes()),
        })
    }

    pub(crate) fn statics(&self) -> Statics<'_> {
        Statics {
            own: &self.own,
            peer: &self.peer,
        }
    }
}

/// Binds a channel to a session; without a plan, to the meeting in which it is made.
pub(crate) fn binding(
    agreement: &Agreement,
    request: &VerifiedRequest,
    plan: Option<&Plan>,
    session: Session,
) -> Binding {
    Binding {
        agreement: *agreement.digest().as_bytes(),
        request: *request.digest().as_bytes(),
        flow: *request.body().flow.as_bytes(),
        plan: plan.map_or([0; 32], Plan::digest),
        bucket: session.bucket,
        attempt: session.attempt,
    }
}

/// What makes the tokens of this request.
///
/// # Errors
/// None in practice: the policy crate's protocols are the psi crate's.
pub(crate) fn protocol(agreement: &Agreement, request: &VerifiedRequest) -> Result<Protocol> {
    let chosen = agreement.protocol().for_request(request.body().set_size);
    chosen
        .as_str()
        .parse()
        .map_err(|error: UnknownProtocol| Error::Unexpected(error.to_string()))
}

/// The latest checkpoint of the log that this home has verified, as the note to show the peer.
pub(crate) fn own_checkpoint(home: &Home) -> Result<Option<String>> {
    Ok(audit::latest(home)?.map(|checkpoint| checkpoint.signed().as_str().to_owned()))
}

/// Compares the peer's latest checkpoint with the log that this side knows: two histories that the broker showed the two
/// sides until now are found here. What it shows them of this flow is compared when they meet the next time.
///
/// # Errors
/// [`Error::Fork`], after telling the peer; or the broker is gone, after telling it that.
pub(crate) async fn compare_logs(home: &Home, broker: &Broker, met: Met) -> Result<Met> {
    let Some(note) = met.peer_checkpoint() else {
        return Ok(met);
    };
    match audit::compare(home, broker, note).await {
        Ok(()) => Ok(met),
        Err(error) => {
            let (code, message) = match &error {
                Error::Fork { .. } => (
                    "fork",
                    "your checkpoint of the log contradicts this side's: keep it as evidence",
                ),
                Error::Unverified(_) => {
                    ("checkpoint", "your checkpoint of the log does not verify")
                }
                _ => (
                    "log",
                    "this side could not compare your checkpoint with the log",
                ),
            };
            met.abort(code, message).await;
            Err(error)
        }
    }
}
