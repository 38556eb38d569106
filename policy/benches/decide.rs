//! One decision with all packs loaded: the agreement's comparisons and every rule. `cargo bench -p counterfoil-policy --bench decide`

use std::error::Error;
use std::time::{Duration, Instant};

use counterfoil_policy::agreement::{Agreement, FlowKind, IdentifierType, Purpose, template};
use counterfoil_policy::decision::{
    AgreementStatus, Assessments, Decision, Facts, OwnerLimits, Rules, Usage, decide,
};
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys};
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest};
use counterfoil_policy::text::FlowId;

const DECISIONS: usize = 20_000;

fn party(name: &str, seed: u8) -> Result<PartyKeys, Box<dyn Error>> {
    Ok(PartyKeys {
        name: name.parse()?,
        signing_key: InstitutionKey::from_seed(&[seed; 32]).public(),
        noise_key: NoisePublicKey::from_bytes([seed; 32]).ok_or("no key")?,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let first_day = time::macros::date!(2026 - 01 - 01);
    let text = template(&party("north-bank", 1)?, &party("east-life", 2)?, first_day);
    let agreement = Agreement::parse(&text)?;
    let body = RequestBody {
        format: 1,
        flow: FlowId::from_bytes([7; 16]),
        recipient: "east-life".parse()?,
        agreement: agreement.id().clone(),
        agreement_version: 1,
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: Purpose::MarketingSuitability,
        segment: None,
        identifier: IdentifierType::Phone,
        tags: agreement
            .tags()
            .iter()
            .map(|tag| tag.name().clone())
            .collect(),
        measure: None,
        set_size: 65_536,
        delivery_suite: "x".parse()?,
        delivery_key: DeliveryKey::from_bytes(vec![1]).ok_or("no key")?,
        issued_at: "2026-05-01T12:00:00Z".parse()?,
        expires_at: "2026-05-01T13:00:00Z".parse()?,
        user: "u".parse()?,
    };
    let key = InstitutionKey::from_seed(&[2; 32]);
    let request = SignedRequest::sign(&key, body)?.verify(&key.public())?;
    let caller = "east-life".parse()?;
    let facts = Facts {
        status: AgreementStatus::Active,
        agreement: &agreement,
        caller: &caller,
        usage: Usage::default(),
        owner_limits: OwnerLimits::default(),
        assessments: Assessments::default(),
        now: "2026-05-01T12:00:10Z".parse()?,
    };
    let began = Instant::now();
    let rules = Rules::built_in();
    let loaded = began.elapsed();
    let mut taken: Vec<Duration> = (0..DECISIONS)
        .map(|_| {
            let began = Instant::now();
            let decision = decide(rules, &facts, &request);
            let taken = began.elapsed();
            assert!(matches!(decision, Decision::Granted(_)));
            taken
        })
        .collect();
    taken.sort();
    let at = |per_mille: usize| {
        taken
            .get(DECISIONS * per_mille / 1000)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{DECISIONS} decisions, {} rules: p50 {:?}, p99 {:?}, slowest {:?}; rules loaded in {loaded:?}",
        rules.in_force(&[]).count(),
        at(500),
        at(990),
        taken.last().copied().unwrap_or_default()
    );
    Ok(())
}
