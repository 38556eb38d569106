//! Joining: the one call without a client certificate.

use std::sync::Arc;

use counterfoil_audit::entry::Actor;
use counterfoil_audit::entry::{Digest, PublicKey, Timestamp};
use counterfoil_policy::keys::{InstitutionPublicKey, NoisePublicKey};
use counterfoil_proto::fixed;
use counterfoil_proto::v1::enrolment_server::Enrolment;
use counterfoil_proto::v1::{JoinReply, JoinRequest};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

use super::{internal, refused, to_its_end, wire};
use crate::broker::Broker;
use crate::decide::partners::{self, Joining};

/// PKCS#10 of a P-256 key in PEM has about 500 bytes.
const REQUEST_BYTES_MAX: usize = 4096;

/// Enrolment.
pub(crate) struct EnrolmentService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let broker = &self.0;
        let request = request.into_inner();
        if request.certificate_request.len() > REQUEST_BYTES_MAX {
            return Err(Status::invalid_argument(
                "the certificate request is too long",
            ));
        }
        let secret: [u8; 32] = fixed("secret", &request.secret).map_err(wire)?;
        let secret_sha256 = Digest::from_bytes(Sha256::digest(secret).into());
        let signing_key: InstitutionPublicKey = key(&request.signing_key)?;
        let noise_key: NoisePublicKey = key(&request.noise_key)?;
        let now = OffsetDateTime::now_utc();
        // Looked at before a certificate is made, so that a stranger costs no signature; decided under the lock below.
        let org = broker.ledger.read(|state| {
            let now = Timestamp::from_time(now).map_err(|_| clock())?;
            partners::check_invite(state, now, &request.invite_id, &secret_sha256)
                .cloned()
                .map_err(refused)
        })?;
        let issued = broker
            .authority
            .issue_client(org.as_str(), &request.certificate_request, now)
            .map_err(|_| {
                Status::invalid_argument(
                    "the certificate request is not PKCS#10 in PEM with a valid signature",
                )
            })?;
        let joining = Joining {
            invite: request.invite_id,
            secret_sha256,
            signing_key: PublicKey::from_bytes(*signing_key.as_bytes()),
            noise_key: PublicKey::from_bytes(*noise_key.as_bytes()),
            cert_sha256: Digest::from_bytes(issued.sha256),
            cert_expires: Timestamp::from_time(issued.expires).map_err(|_| clock())?,
        };
        let actor = Actor {
            org: org.clone(),
            user: None,
            cert_sha256: None,
        };
        let joined = broker.clone();
        to_its_end(async move {
            let joining = joined
                .ledger
                .commit(&actor, |state, now| partners::join(state, now, &joining))
                .await
                .map_err(refused)?;
            if let Some(replaced) = joining.value() {
                joined.connections.cut(replaced.as_bytes());
            }
            Ok(())
        })
        .await?;
        Ok(Response::new(JoinReply {
            org: org.to_string(),
            certificate: issued.certificate,
            log_key: broker.ledger.verifier(),
        }))
    }
}

fn key<K: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<K, Status> {
    text.parse()
        .map_err(|e: K::Err| Status::invalid_argument(e.to_string()))
}

fn clock() -> Status {
    internal(crate::Error::Home(
        "the broker's clock is not between 1970 and 9999".into(),
    ))
}
