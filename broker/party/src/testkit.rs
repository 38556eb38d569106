//! A certificate authority and homes for the tests of this crate.

use std::sync::Arc;

use counterfoil_policy::agreement::Agreement;
use counterfoil_psi::{IdentifierSet, SessionId, Token, dh};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use crate::clock::Clock;
use crate::home::{BrokerRecord, Home};
use crate::transport::BROKER_NAME;

/// The tokens of a set, as both sides of a session in which both bring it have them.
pub(crate) fn tokens(set: &Arc<IdentifierSet>) -> [Vec<Token>; 2] {
    let session = SessionId::from_bytes([5; 32]);
    let own = u32::try_from(set.len()).unwrap();
    let begin = || dh::begin(session, Arc::clone(set), own, &mut rand::rng()).unwrap();
    let ((mut query, mut evaluate), (mut peer, mut peer_evaluate)) = (begin(), begin());
    while let Some(chunk) = query.next_chunk().unwrap() {
        query
            .accept_reply(&peer_evaluate.reply(&chunk).unwrap())
            .unwrap();
    }
    while let Some(chunk) = peer.next_chunk().unwrap() {
        peer.accept_reply(&evaluate.reply(&chunk).unwrap()).unwrap();
    }
    [(query, evaluate), (peer, peer_evaluate)]
        .map(|(query, evaluate)| query.finish(evaluate.finish().unwrap()).unwrap())
}

/// A broker's CA as the broker makes it.
#[derive(Clone)]
pub(crate) struct Ca {
    issuer: std::sync::Arc<Issuer<'static, KeyPair>>,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = p256();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key).into(),
        }
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// A broker's leaf, valid from an hour ago for a day.
    pub(crate) fn server(&self) -> (CertificateDer<'static>, KeyPair) {
        self.leaf(&Leaf::default())
    }

    pub(crate) fn leaf(&self, leaf: &Leaf) -> (CertificateDer<'static>, KeyPair) {
        let key = p256();
        let certificate = leaf.params().signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), key)
    }

    /// Signs a party's own certificate request, as joining does.
    pub(crate) fn client_pem(&self, home: &Home, cn: &str, ends_in: Duration) -> String {
        let key = home.tls_key().unwrap();
        let pem = key.request(cn).unwrap();
        let mut request = rcgen::CertificateSigningRequestParams::from_pem(&pem).unwrap();
        request.params.not_before = OffsetDateTime::now_utc() - Duration::hours(48);
        request.params.not_after = OffsetDateTime::now_utc() + ends_in;
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// A home that has joined a broker of this CA at `address`.
    pub(crate) fn joined(
        &self,
        address: &str,
        clock: Clock,
        ends_in: Duration,
    ) -> (tempfile::TempDir, Home) {
        let (dir, home) = home(clock);
        let mut home = home;
        let certificate = self.client_pem(&home, "north-bank", ends_in);
        let broker = BrokerRecord {
            address: address.to_owned(),
            log_key: "unused".to_owned(),
        };
        home.store_join(&certificate, &self.pem, broker).unwrap();
        (dir, home)
    }
}

/// What a leaf says of itself.
pub(crate) struct Leaf {
    pub(crate) name: &'static str,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) begins_in: Duration,
    pub(crate) ends_in: Duration,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            name: BROKER_NAME,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            begins_in: Duration::hours(-1),
            ends_in: Duration::hours(12),
        }
    }
}

impl Leaf {
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![self.name.to_owned()]).unwrap();
        params.extended_key_usages = vec![self.usage.clone()];
        params.not_before = OffsetDateTime::now_utc() + self.begins_in;
        params.not_after = OffsetDateTime::now_utc() + self.ends_in;
        params
    }
}

pub(crate) fn home(clock: Clock) -> (tempfile::TempDir, Home) {
    home_of("north-bank", clock)
}

pub(crate) fn home_of(org: &str, clock: Clock) -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(&dir.path().join("home"), org.parse().unwrap(), clock).unwrap();
    (dir, home)
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

/// The template between two homes, in this version, valid since 30 days before the owner's today.
pub(crate) fn agreement_text(owner: &Home, recipient: &Home, version: u32) -> String {
    let now = owner.clock().now().saturating_add_seconds(-30 * 86_400);
    let first_day = OffsetDateTime::from_unix_timestamp(now.unix_seconds())
        .unwrap()
        .date();
    let keys = |home: &Home| home.party_keys().unwrap();
    let text = counterfoil_policy::agreement::template(&keys(owner), &keys(recipient), first_day);
    let numbered = text.replace("version = 1 ", &format!("version = {version} "));
    assert!(version == 1 || numbered != text);
    numbered
}

pub(crate) fn agreement_between(owner: &Home, recipient: &Home, version: u32) -> Agreement {
    Agreement::parse(&agreement_text(owner, recipient, version)).unwrap()
}
