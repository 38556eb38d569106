//! What the crate's tests share: institutions with their people, an agreement, requests, and a log told entry by entry.

mod matched;
mod world;

pub(crate) use matched::{PROOF, TAGS, submissions, submissions_proving, submissions_watched};
pub(crate) use world::{World, config};

use counterfoil_audit::entry::{
    Actor, AgreementCountersigned, AgreementProposed, BrokerInitialised, CoarseCount, Digest,
    Document, Entry, EntryRandom, Event, FlowGranted, Integer, InviteIssued, List, OrgName,
    PartnerJoined, PublicKey, ReleaseIntent, ReleaseResult, ReleaseSource, Removed, Retention,
    Timestamp, Transform,
};
use counterfoil_policy::agreement::{
    Agreement, BuiltInPack, FlowKind, IdentifierType, Purpose, template,
};
use counterfoil_policy::approval::{
    Approval, Endorsement, InstitutionSignature, Revocation, Role, TwoPersonApproval,
};
use counterfoil_policy::decision::Rules;
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys, PersonKey};
use counterfoil_policy::moment::Timestamp as Moment;
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest};
use counterfoil_policy::text::FlowId as PolicyFlowId;
use counterfoil_proto::delivery::{DeliverySecret, SUITE};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::decide::Regime;
use crate::decide::agreements::reference;
use crate::decide::flows::{self, Situation};
use crate::refusal::label;
use crate::state::{Inconsistent, State};

/// An institution with the keys of its agent and of two people.
pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) key: InstitutionKey,
    seed: u8,
}

pub(crate) fn bank() -> House {
    House::new("north-bank", 1)
}

pub(crate) fn insurer() -> House {
    House::new("east-life", 2)
}

pub(crate) fn stranger() -> House {
    House::new("west-fund", 3)
}

impl House {
    pub(crate) fn new(name: &'static str, seed: u8) -> Self {
        let key = InstitutionKey::from_seed(&[seed; 32]);
        Self { name, key, seed }
    }

    pub(crate) fn org(&self) -> OrgName {
        OrgName::new(self.name).unwrap()
    }

    pub(crate) fn keys(&self) -> PartyKeys {
        PartyKeys {
            name: self.name.parse().unwrap(),
            signing_key: self.key.public(),
            noise_key: NoisePublicKey::from_bytes([self.seed; 32]).unwrap(),
        }
    }

    pub(crate) fn certificate(&self) -> Digest {
        Digest::from_bytes([self.seed; 32])
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor {
            org: self.org(),
            user: None,
            cert_sha256: Some(self.certificate()),
        }
    }

    pub(crate) fn invited(&self) -> InviteIssued {
        InviteIssued {
            invite: label(self.name),
            org: self.org(),
            secret_sha256: Digest::from_bytes([self.seed; 32]),
            expires: later(now(), Duration::DAY),
        }
    }

    pub(crate) fn joined(&self) -> PartnerJoined {
        let keys = self.keys();
        PartnerJoined {
            invite: label(self.name),
            org: self.org(),
            signing_key: PublicKey::from_bytes(*keys.signing_key.as_bytes()),
            noise_key: PublicKey::from_bytes(*keys.noise_key.as_bytes()),
            cert_sha256: self.certificate(),
            cert_expires: later(now(), Duration::days(365)),
        }
    }

    /// The institution's signature bundle: maker, checker, institution.
    pub(crate) fn sign(&self, agreement: &Agreement) -> Vec<u8> {
        let (org, digest) = (self.name.parse().unwrap(), agreement.digest());
        let approve = |user: &str, seed: u8, role| {
            let person = PersonKey::from_seed(&[seed; 32]);
            let user = user.parse().unwrap();
            let endorsed = Endorsement::issue(&self.key, &org, &user, person.public());
            Approval::sign(&person, &endorsed, role, &digest)
        };
        let maker = approve("u.maker", self.seed + 100, Role::Maker);
        let checker = approve("u.checker", self.seed + 150, Role::Checker);
        let approved =
            TwoPersonApproval::new(digest, &org, &self.key.public(), maker, checker).unwrap();
        serde_json::to_vec(&InstitutionSignature::sign(&self.key, approved)).unwrap()
    }

    pub(crate) fn revocation(&self, agreement: &Agreement) -> Vec<u8> {
        let (org, user) = (self.name.parse().unwrap(), "u.officer".parse().unwrap());
        let revocation =
            Revocation::sign(&self.key, agreement.digest(), &org, &user, moment(now()));
        serde_json::to_vec(&revocation).unwrap()
    }
}

/// All packs, as a new broker has them.
pub(crate) fn regime() -> Regime {
    Regime {
        rules: Rules::load(BuiltInPack::ALL, &[]).unwrap(),
        assessed_only: false,
    }
}

/// The same moment for a whole test run, so that what is made twice is equal.
pub(crate) fn now() -> Timestamp {
    static NOW: std::sync::LazyLock<Timestamp> =
        std::sync::LazyLock::new(|| Timestamp::from_time(OffsetDateTime::now_utc()).unwrap());
    *NOW
}

pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.whole_microseconds()).unwrap();
    Timestamp::from_unix_micros(time.unix_micros() + by).unwrap()
}

pub(crate) fn moment(time: Timestamp) -> Moment {
    Moment::from_unix_seconds(i64::try_from(time.unix_micros() / 1_000_000).unwrap()).unwrap()
}

/// The template between bank (owner) and insurer (recipient), with texts replaced.
pub(crate) fn agreement_with(changes: &[(&str, &str)]) -> Agreement {
    agreement_for(&insurer(), changes)
}

fn agreement_for(recipient: &House, changes: &[(&str, &str)]) -> Agreement {
    let first_day = OffsetDateTime::now_utc().date() - Duration::days(10);
    let text = template(&bank().keys(), &recipient.keys(), first_day);
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    Agreement::parse(&text).unwrap()
}

pub(crate) fn agreement() -> Agreement {
    agreement_with(&[])
}

/// The section of [`measured`].
const MEASURE: &str = r#"
[measure]
population = "retail-customers"
queries = ["count", "histogram", "crosstab", "scorecard", "sum", "mean", "quantile"]
tags = ["risk_appetite", "age_band", "credit_amount", "housing"]
recipient_tags = [{ name = "claim", values = ["no", "yes"] }]
minimum_epsilon = "0.1"
epsilon_per_flow = "5"
epsilon_recipient = "6"
epsilon_population = "8"
delta_recipient = "0.00001"
delta_population = "0.0001"
period_days = 365
"#;

/// [`agreement`] with what may be measured, and with amounts as they are, which it needs for sums.
pub(crate) fn measured() -> Agreement {
    measured_with(&[])
}

/// [`measured`], with texts replaced.
pub(crate) fn measured_with(more: &[(&str, &str)]) -> Agreement {
    measured_for(&insurer(), more)
}

/// [`measured_with`], for another recipient.
pub(crate) fn measured_for(recipient: &House, more: &[(&str, &str)]) -> Agreement {
    let section = format!("{MEASURE}\n# What the parties declare");
    let changes = [
        ("[\"exchange\"]", "[\"exchange\", \"measure\"]"),
        (
            "\"credit_amount\"\nform = \"banded\"",
            "\"credit_amount\"\nform = \"exact\"",
        ),
        ("# What the parties declare", &section),
    ];
    agreement_for(recipient, &[&changes, more].concat())
}

/// A later version of [`agreement`].
pub(crate) fn version(version: u32) -> Agreement {
    let text = format!("\nversion = {version} ");
    agreement_with(&[("\nversion = 1 ", &text)])
}

/// A request of the insurer's that the agreement grants, changed.
pub(crate) fn request_with(
    agreement: &Agreement,
    flow: u8,
    change: impl FnOnce(&mut RequestBody),
) -> SignedRequest {
    let (body, _) = request_body(agreement, flow);
    let mut body = body;
    change(&mut body);
    SignedRequest::sign(&insurer().key, body).unwrap()
}

pub(crate) fn request(agreement: &Agreement, flow: u8) -> SignedRequest {
    request_with(agreement, flow, |_| {})
}

/// With the secret that opens what is delivered.
pub(crate) fn request_body(agreement: &Agreement, flow: u8) -> (RequestBody, DeliverySecret) {
    let secret = DeliverySecret::generate(&mut UnwrapErr(SysRng));
    let issued_at = moment(now());
    let body = RequestBody {
        format: 1,
        flow: PolicyFlowId::from_bytes([flow; 16]),
        recipient: insurer().name.parse().unwrap(),
        agreement: agreement.id().clone(),
        agreement_version: agreement.version(),
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: Purpose::MarketingSuitability,
        segment: None,
        identifier: IdentifierType::Email,
        tags: vec!["age_band".parse().unwrap(), "housing".parse().unwrap()],
        measure: None,
        set_size: 100,
        delivery_suite: SUITE.parse().unwrap(),
        delivery_key: DeliveryKey::from_bytes(secret.public_bytes()).unwrap(),
        issued_at,
        expires_at: issued_at.saturating_add_seconds(600),
        user: "u.analyst".parse().unwrap(),
    };
    (body, secret)
}

pub(crate) fn document(json: &[u8]) -> Document {
    Document::new(serde_json::from_slice::<Value>(json).unwrap()).unwrap()
}

pub(crate) fn proposed(agreement: &Agreement) -> AgreementProposed {
    AgreementProposed {
        agreement: reference(agreement),
        document: document(agreement.canonical_bytes()),
        signature: document(&bank().sign(agreement)),
    }
}

pub(crate) fn countersigned(agreement: &Agreement) -> AgreementCountersigned {
    countersigned_by(&insurer(), agreement)
}

pub(crate) fn countersigned_by(house: &House, agreement: &Agreement) -> AgreementCountersigned {
    AgreementCountersigned {
        agreement: reference(agreement),
        org: house.org(),
        signature: document(&house.sign(agreement)),
    }
}

pub(crate) fn initialised() -> BrokerInitialised {
    BrokerInitialised {
        vkey: label("a key"),
        ca_sha256: Digest::from_bytes([0; 32]),
    }
}

/// A log told entry by entry, without a disk.
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) size: u64,
}

impl Story {
    pub(crate) fn empty() -> Self {
        Self {
            state: State::default(),
            size: 0,
        }
    }

    /// Bank and insurer have joined.
    pub(crate) fn begun() -> Self {
        let mut story = Self::empty();
        story.told(initialised());
        for house in [bank(), insurer()] {
            story.told(house.invited());
            story.told(house.joined());
        }
        story
    }

    /// And this agreement is in force.
    pub(crate) fn with(agreement: &Agreement) -> Self {
        let mut story = Self::begun();
        story.told(proposed(agreement));
        story.told(countersigned(agreement));
        story
    }

    /// Folds an entry at [`now`].
    pub(crate) fn tell(&mut self, event: impl Into<Event>) -> Result<u64, Inconsistent> {
        self.tell_at(now(), event)
    }

    pub(crate) fn tell_at(
        &mut self,
        time: Timestamp,
        event: impl Into<Event>,
    ) -> Result<u64, Inconsistent> {
        let random = EntryRandom::draw(&mut UnwrapErr(SysRng));
        let entry = Entry::new(
            time,
            &random,
            label("broker.test"),
            insurer().actor(),
            event,
        );
        let index = self.size;
        self.state.apply(index, &entry)?;
        self.size += 1;
        Ok(index)
    }

    pub(crate) fn told(&mut self, event: impl Into<Event>) -> u64 {
        self.tell(event).unwrap()
    }
}

/// A grant of the insurer's request.
pub(crate) fn granted_event(agreement: &Agreement, flow: u8) -> FlowGranted {
    let story = Story::with(agreement);
    let ready = |_: &Agreement| Situation {
        owner_listens: true,
        recipient_busy: false,
    };
    let signed = request(agreement, flow);
    let decided = flows::request(
        &story.state,
        now(),
        &insurer().org(),
        &signed,
        &regime(),
        ready,
    );
    decided.value.map_err(|r| r.message).unwrap().event
}

/// A release in that flow.
pub(crate) fn intent_event(agreement: &Agreement, flow: u8) -> ReleaseIntent {
    let grant = granted_event(agreement, flow);
    let few = || CoarseCount::new("fewer than 20").unwrap();
    ReleaseIntent {
        flow: grant.flow,
        agreement: grant.agreement,
        purpose: grant.purpose,
        legal_basis: grant.legal_basis,
        protocol: grant.protocol,
        source: ReleaseSource {
            org: grant.source.org,
            dataset: grant.source.dataset,
            segment: None,
            columns: List::new(vec![]).unwrap(),
        },
        transform: Transform {
            kind: label("exchange"),
            code_version: label("test"),
            k: 10,
            removed: Removed {
                generalised: few(),
                suppressed: few(),
                without_consent: None,
                tags: List::new(Vec::new()).unwrap(),
            },
        },
        result: ReleaseResult {
            rows: few(),
            bytes: Integer::new(0).unwrap(),
            sha256: Digest::from_bytes([0; 32]),
        },
        recipient: grant.recipient,
        retention: Retention {
            until: now(),
            deletion_due: now(),
        },
        marks: None,
        spent: None,
    }
}
