//! Joining a broker with the operator's invite.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_audit::note::VerifierKey;
use counterfoil_proto::invite::Invite;
use counterfoil_proto::v1::{JoinReply, JoinRequest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::home::{BrokerRecord, Home};
use crate::transport::{call, connect_to_join};

/// Longest invite file, in bytes.
const INVITE_BYTES_MAX: u64 = 4096;

/// What joining led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// The institution.
    pub org: String,
    /// `host:port` of the broker.
    pub address: String,
    /// Verifier key of the broker's log.
    pub log_key: String,
    /// Last second of the client certificate, RFC 3339.
    pub certificate_ends: String,
    /// What partners compare out of band.
    pub fingerprint: String,
}

/// Reads an invite: the text itself, or the path of a file that holds it.
///
/// # Errors
/// [`Error::Invite`], or the file cannot be read.
pub fn read_invite(given: &str) -> Result<Invite> {
    let path = Path::new(given);
    if given.trim_start().starts_with("cfi1.") || !path.is_file() {
        return Ok(given.parse()?);
    }
    let read = || -> std::io::Result<Zeroizing<String>> {
        use std::io::Read as _;
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)?
            .take(INVITE_BYTES_MAX)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(text.parse()?),
        // Not even text: the same answer as to any other text that is no invite.
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok("".parse::<Invite>()?),
        Err(e) => Err(Error::Input(format!(
            "cannot read `{}`: {e}",
            path.display()
        ))),
    }
}

/// Joins the broker that the invite names, or renews the certificate of a party that has joined it.
///
/// Nothing is stored before the reply is verified, so a failed attempt leaves the home as it was.
///
/// # Errors
/// [`Error::Input`] for an invite of another institution or broker; what the broker refuses; and
/// [`Error::Unverified`] for a reply that an honest broker would not give.
pub async fn join(home: &mut Home, invite: &Invite) -> Result<Joined> {
    check_invite(home, invite)?;
    let keys = home.party_keys()?;
    let request = JoinRequest {
        invite_id: invite.id.clone(),
        secret: invite.secret.expose().to_vec(),
        certificate_request: home.tls_key()?.request(home.org().as_str())?,
        signing_key: keys.signing_key.to_string(),
        noise_key: keys.noise_key.to_string(),
    };
    let (mut broker, ca) = connect_to_join(invite, home).await?;
    let reply = call(broker.join(request)).await?;
    let certificate_ends = verify_reply(home, &reply, &ca)?;
    let record = BrokerRecord {
        address: invite.address.clone(),
        log_key: reply.log_key.clone(),
    };
    home.store_join(&reply.certificate, &pem(&ca), record)?;
    Ok(Joined {
        org: home.org().to_string(),
        address: invite.address.clone(),
        log_key: reply.log_key,
        certificate_ends,
        fingerprint: home.fingerprint()?.to_string(),
    })
}

fn check_invite(home: &Home, invite: &Invite) -> Result<()> {
    if invite.org != home.org().as_str() {
        return Err(Error::Input(format!(
            "the invite is for `{}` and this home is of `{}`: ask the operator for an invite for `{1}`, or use the \
             home of `{0}`",
            crate::error::shown(&invite.org),
            home.org()
        )));
    }
    let Ok(joined) = home.broker() else {
        return Ok(());
    };
    let (_, ca) = home.certificates()?;
    let ca = CertificateDer::from_pem_slice(ca.as_bytes())
        .map_err(|_| home.damaged("tls/ca.pem", "it is no certificate in PEM"))?;
    if sha256(&ca) == invite.ca_sha256 {
        return Ok(());
    }
    Err(Error::Input(format!(
        "this home has joined the broker at `{}`, and the invite is of another one: make a home of its own for each \
         broker with `counterfoil --home DIR party init {}`",
        joined.address,
        home.org()
    )))
}

/// Checks all that joining will rely on, and returns when the certificate ends.
fn verify_reply(home: &Home, reply: &JoinReply, ca: &CertificateDer<'static>) -> Result<String> {
    let failed = |why: &str| {
        Error::Unverified(format!(
            "the broker's answer to the invite: {why}; nothing was stored"
        ))
    };
    if reply.org != home.org().as_str() {
        return Err(failed("it names another institution"));
    }
    let certificate = CertificateDer::from_pem_slice(reply.certificate.as_bytes())
        .map_err(|_| failed("its certificate is not PEM"))?;
    verify_chain(&certificate, ca, home.clock())
        .map_err(|e| failed(&format!("its certificate is not good: {e}")))?;
    let facts = CertificateFacts::read(&certificate)
        .ok_or_else(|| failed("its certificate cannot be read"))?;
    if facts.common_name != home.org().as_str() {
        return Err(failed("its certificate is of another institution"));
    }
    if facts.public_key != home.tls_key()?.public_der() {
        return Err(failed("its certificate is for another key"));
    }
    VerifierKey::parse(&reply.log_key).map_err(|_| failed("its log key cannot be read"))?;
    // A certificate is renewed by joining again; a second log must not begin with that.
    if home
        .broker()
        .is_ok_and(|known| known.log_key != reply.log_key)
    {
        return Err(failed(
            "its log has another key than the one this home knows: ask the operator, and compare it with the other \
             institutions",
        ));
    }
    Ok(facts.ends)
}

fn verify_chain(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'static>,
    clock: Clock,
) -> std::result::Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone())?;
    let now = u64::try_from(clock.now().unix_seconds()).unwrap_or_default();
    WebPkiClientVerifier::builder_with_provider(
        roots.into(),
        rustls::crypto::ring::default_provider().into(),
    )
    .build()
    .map_err(|e| rustls::Error::General(e.to_string()))?
    .verify_client_cert(
        certificate,
        &[],
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(now)),
    )
    .map(drop)
}

/// What an agent reads from its own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub(crate) common_name: String,
    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) public_key: Vec<u8>,
    /// RFC 3339.
    pub(crate) ends: String,
    pub(crate) ends_unix_seconds: i64,
}

impl CertificateFacts {
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let mut names = certificate.subject().iter_common_name();
        let name = names.next()?.as_str().ok()?;
        let ends_unix_seconds = certificate.validity().not_after.timestamp();
        // Two names, or bytes after the certificate, are no certificate of ours.
        (rest.is_empty() && names.next().is_none()).then(|| Self {
            common_name: name.to_owned(),
            public_key: certificate.public_key().raw.to_vec(),
            ends: counterfoil_policy::moment::Timestamp::from_unix_seconds(ends_unix_seconds)
                .map_or_else(String::new, |at| at.to_string()),
            ends_unix_seconds,
        })
    }
}

fn sha256(der: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(der).into()
}

/// RFC 7468: base64 in lines of 64.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, c) in STANDARD.encode(certificate).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use counterfoil_audit::note::{KeyName, SignerKey};
    use counterfoil_proto::invite::InviteSecret;
    use time::Duration;

    use super::*;
    use crate::testkit::{Ca, home, home_of};

    fn invite(org: &str, ca: &Ca) -> Invite {
        Invite {
            org: org.into(),
            address: "127.0.0.1:1".into(),
            ca_sha256: ca.sha256(),
            id: "i".into(),
            secret: InviteSecret::new([1; 32]),
        }
    }

    fn reply(ca: &Ca, home: &Home) -> JoinReply {
        let signer = SignerKey::from_seed(KeyName::new("log").unwrap(), &[1; 32]);
        JoinReply {
            org: home.org().to_string(),
            certificate: ca.client_pem(home, home.org().as_str(), Duration::days(365)),
            log_key: signer.verifier().to_string(),
        }
    }

    #[test]
    fn an_honest_reply_passes_and_each_lie_is_named() {
        let (ca, evil) = (Ca::new(), Ca::new());
        let (_dir, home) = home(Clock::system());
        let (_other_dir, other) = home_of("north-bank", Clock::system());
        let good = reply(&ca, &home);
        assert!(verify_reply(&home, &good, &ca.der).unwrap().ends_with('Z'));

        let lies = [
            (
                "another institution",
                JoinReply {
                    org: "x".into(),
                    ..good.clone()
                },
            ),
            (
                "not good",
                JoinReply {
                    certificate: evil.client_pem(&home, "north-bank", Duration::days(1)),
                    ..good.clone()
                },
            ),
            (
                "not good",
                JoinReply {
                    certificate: ca.client_pem(&home, "north-bank", Duration::hours(-1)),
                    ..good.clone()
                },
            ),
            (
                "another institution",
                JoinReply {
                    certificate: ca.client_pem(&home, "south-bank", Duration::days(1)),
                    ..good.clone()
                },
            ),
            (
                "another key",
                JoinReply {
                    certificate: ca.client_pem(&other, "north-bank", Duration::days(1)),
                    ..good.clone()
                },
            ),
            (
                "not PEM",
                JoinReply {
                    certificate: "x".into(),
                    ..good.clone()
                },
            ),
            (
                "log key",
                JoinReply {
                    log_key: "x".into(),
                    ..good.clone()
                },
            ),
        ];
        for (why, lie) in lies {
            let error = verify_reply(&home, &lie, &ca.der).unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert_eq!(error.exit_code(), 6);
        }
    }

    #[test]
    fn a_renewal_does_not_change_the_log() {
        let ca = Ca::new();
        let (_dir, mut home) = home(Clock::system());
        let good = reply(&ca, &home);
        let record = BrokerRecord {
            address: "127.0.0.1:1".into(),
            log_key: good.log_key.clone(),
        };
        home.store_join(&good.certificate, &pem(&ca.der), record)
            .unwrap();
        assert!(verify_reply(&home, &good, &ca.der).is_ok());
        let signer = SignerKey::from_seed(KeyName::new("log").unwrap(), &[2; 32]);
        let other = JoinReply {
            log_key: signer.verifier().to_string(),
            ..good
        };
        let error = verify_reply(&home, &other, &ca.der).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("another key"), "{error}");
    }

    #[test]
    fn an_invite_for_somebody_else_is_refused_before_anything_is_sent() {
        let ca = Ca::new();
        let (_dir, home) = home(Clock::system());
        assert!(check_invite(&home, &invite("north-bank", &ca)).is_ok());
        let error = check_invite(&home, &invite("east-life", &ca)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the invite is for `east-life` and this home is of `north-bank`"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn a_joined_home_takes_its_own_broker_again_and_no_other() {
        let ca = Ca::new();
        let (_dir, home) = ca.joined("127.0.0.1:1", Clock::system(), Duration::days(1));
        assert!(check_invite(&home, &invite("north-bank", &ca)).is_ok());
        let error = check_invite(&home, &invite("north-bank", &Ca::new())).unwrap_err();
        assert!(error.to_string().contains("of another one"), "{error}");
    }

    #[tokio::test]
    async fn a_failed_attempt_leaves_the_home_as_it_was() {
        let ca = Ca::new();
        let (_dir, mut home) = home(Clock::system());
        let error = join(&mut home, &invite("north-bank", &ca))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "unreachable");
        let again = Home::open(home.path(), Clock::system()).unwrap();
        assert!(matches!(again.broker(), Err(Error::NotJoined(_))));
    }

    #[test]
    fn invites_are_read_as_text_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let expected = invite("north-bank", &Ca::new());
        let file = dir.path().join("invite.txt");
        std::fs::write(&file, format!("{expected}\n")).unwrap();
        assert_eq!(read_invite(&expected.to_string()).unwrap(), expected);
        assert_eq!(read_invite(file.to_str().unwrap()).unwrap(), expected);
        std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
        assert_eq!(
            read_invite(file.to_str().unwrap()).unwrap_err().code(),
            "invite"
        );
        assert_eq!(read_invite("nonsense").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn pem_survives_reading() {
        let ca = Ca::new();
        assert_eq!(
            CertificateDer::from_pem_slice(pem(&ca.der).as_bytes()).unwrap(),
            ca.der
        );
    }
}
