//! Who is there.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_audit::entry::{PublicKey, Timestamp};
use counterfoil_proto::v1::directory_server::Directory;
use counterfoil_proto::v1::{Partner, PartnersReply, PartnersRequest, StatusReply, StatusRequest};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

use crate::broker::Broker;

/// Directory.
pub(crate) struct DirectoryService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Directory for DirectoryService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusReply>, Status> {
        let caller = match self.0.require_operator(&request) {
            Ok(()) => "operator".to_owned(),
            Err(_) => self.0.partner(&request)?.org.to_string(),
        };
        let time = Timestamp::from_time(OffsetDateTime::now_utc()).map_err(super::failed)?;
        Ok(Response::new(StatusReply {
            broker: self.0.home.config().name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            time: time.to_string(),
            caller,
        }))
    }

    async fn partners(
        &self,
        request: Request<PartnersRequest>,
    ) -> Result<Response<PartnersReply>, Status> {
        if self.0.require_operator(&request).is_err() {
            self.0.partner(&request)?;
        }
        let mut partners: Vec<Partner> = self.0.ledger.read(|state| {
            let partner = |(org, partner): (&_, &crate::state::partners::Partner)| Partner {
                org: ToString::to_string(org),
                signing_key: text("ed25519", &partner.signing_key),
                noise_key: text("x25519", &partner.noise_key),
                revoked: partner.revoked,
                serving: false,
            };
            state.partners.iter().map(partner).collect()
        });
        for partner in &mut partners {
            partner.serving =
                super::org(&partner.org).is_ok_and(|org| self.0.flows.is_listening(&org));
        }
        Ok(Response::new(PartnersReply { partners }))
    }
}

fn text(kind: &str, key: &PublicKey) -> String {
    format!("{kind}:{}", STANDARD.encode(key.as_bytes()))
}
