use counterfoil_policy::agreement::{FlowKind, IdentifierType};
use counterfoil_policy::decision::{
    AgreementStatus, Assessments, DenialCode, Facts, Rules, decide,
};
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest, VerifiedRequest};

use super::*;
use crate::clock::Clock;
use crate::testkit::{agreement_between, home_of};

struct Scene {
    _dirs: (tempfile::TempDir, tempfile::TempDir),
    owner: Home,
    recipient: Home,
    agreement: Agreement,
}

fn scene() -> Scene {
    let (a, owner) = home_of("north-bank", Clock::system());
    let (b, recipient) = home_of("east-life", Clock::system());
    let agreement = agreement_between(&owner, &recipient, 1);
    Scene {
        _dirs: (a, b),
        owner,
        recipient,
        agreement,
    }
}

impl Scene {
    fn request(&self, flow: u8, set_size: u32) -> VerifiedRequest {
        let now = self.owner.clock().now();
        let body = RequestBody {
            format: 1,
            flow: FlowId::from_bytes([flow; 16]),
            recipient: self.recipient.org().clone(),
            agreement: self.agreement.id().clone(),
            agreement_version: 1,
            agreement_digest: self.agreement.digest(),
            kind: FlowKind::Exchange,
            purpose: self.agreement.purpose(),
            segment: None,
            identifier: IdentifierType::Phone,
            tags: self
                .agreement
                .tags()
                .iter()
                .map(|tag| tag.name().clone())
                .collect(),
            measure: None,
            set_size,
            delivery_suite: counterfoil_proto::delivery::SUITE.parse().unwrap(),
            delivery_key: DeliveryKey::from_bytes(vec![1; 1216]).unwrap(),
            issued_at: now,
            expires_at: now.saturating_add_seconds(300),
            user: "carol".parse().unwrap(),
        };
        let key = self.recipient.institution_key().unwrap();
        SignedRequest::sign(&key, body)
            .unwrap()
            .verify(&key.public())
            .unwrap()
    }

    fn attempt(&self, flow: u8, set_size: u32) -> Result<Decision> {
        self.asks(Asking::Anew(FlowId::from_bytes([flow; 16])), flow, set_size)
    }

    fn asks(&self, asked: Asking, flow: u8, set_size: u32) -> Result<Decision> {
        let request = self.request(flow, set_size);
        authorise(
            &self.owner,
            &self.agreement,
            asked,
            |usage, owner_limits, now| {
                let facts = Facts {
                    status: AgreementStatus::Active,
                    agreement: &self.agreement,
                    caller: self.recipient.org(),
                    usage,
                    owner_limits,
                    assessments: Assessments::default(),
                    now,
                };
                decide(Rules::built_in(), &facts, &request)
            },
        )
    }

    #[track_caller]
    fn granted(&self, flow: u8, set_size: u32) {
        match self.attempt(flow, set_size).unwrap() {
            Decision::Granted(_) => {}
            Decision::Denied(denial) => panic!("{denial}"),
        }
    }

    #[track_caller]
    fn denied(&self, flow: u8, set_size: u32) -> DenialCode {
        match self.attempt(flow, set_size).unwrap() {
            Decision::Denied(denial) => denial.code,
            Decision::Granted(_) => panic!("granted"),
        }
    }

    fn limit(&self, text: &str) {
        self.owner.write(FILE, text.as_bytes()).unwrap();
    }
}

#[test]
fn a_flow_that_goes_on_is_counted_once_and_what_it_repeats_is_charged() {
    let scene = scene();
    scene.limit("[default]\nflows_per_period = 1\nidentifiers_per_period = 350\n");
    let id = FlowId::from_bytes([1; 16]);
    let again = || scene.asks(Asking::Again(id), 1, 100).unwrap();
    let charge = |more| {
        let held = scene.owner.lock().unwrap();
        charge_more(&scene.owner, &held, &scene.agreement, id, more)
    };
    assert!(charge(1).is_err(), "never counted");
    // A crash between accepting and counting.
    assert!(matches!(again(), Decision::Granted(_)));
    assert!(matches!(again(), Decision::Granted(_)));
    assert_eq!(Counters::load(&scene.owner).unwrap().attempts.len(), 1);
    assert_eq!(scene.denied(1, 100), DenialCode::Replayed);
    for (more, charged) in [(200, true), (51, false), (50, true), (1, false)] {
        assert_eq!(charge(more).unwrap(), charged, "{more}");
    }
    assert_eq!(
        Counters::load(&scene.owner).unwrap().attempts[0].identifiers,
        350
    );
    // Under the agreement's own cap, too.
    scene.limit("");
    assert!(!charge(u64::MAX).unwrap());
    assert!(matches!(again(), Decision::Granted(_)));
}

#[test]
fn an_attempt_counts_from_its_grant_also_for_a_process_that_starts_later() {
    let scene = scene();
    scene.limit("[default]\nflows_per_period = 2\n");
    scene.granted(1, 100);
    // Whatever ended the first process, the file was durable before it knew of its grant.
    let again = Home::open(scene.owner.path(), Clock::system()).unwrap();
    let scene = Scene {
        owner: again,
        ..scene
    };
    assert_eq!(scene.denied(1, 100), DenialCode::Replayed);
    scene.granted(2, 100);
    assert_eq!(scene.denied(3, 100), DenialCode::OwnerLimit);
}

#[test]
fn a_refused_attempt_costs_nothing() {
    let scene = scene();
    scene.limit("[default]\nrows_per_flow = 10\nflows_per_period = 1\n");
    assert_eq!(scene.denied(1, 11), DenialCode::OwnerLimit);
    scene.granted(1, 10);
}

#[test]
fn identifiers_are_summed() {
    let scene = scene();
    scene.limit("[default]\nidentifiers_per_period = 150\n");
    scene.granted(1, 100);
    assert_eq!(scene.denied(2, 51), DenialCode::OwnerLimit);
    scene.granted(3, 50);
}

#[test]
fn without_durable_counters_nothing_is_granted() {
    let scene = scene();
    // A directory in its place: the count cannot be written.
    std::fs::create_dir(scene.owner.path().join(COUNTERS)).unwrap();
    assert!(scene.attempt(1, 10).is_err());
    std::fs::remove_dir(scene.owner.path().join(COUNTERS)).unwrap();
    scene.granted(1, 10);

    scene.owner.write(COUNTERS, b"{\"attempts\":[").unwrap();
    let error = scene.attempt(2, 10).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("damaged", 7));
}

#[test]
fn concurrent_attempts_never_exceed_the_cap() {
    let scene = scene();
    scene.limit("[default]\nflows_per_period = 3\n");
    let granted: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (1..=12)
            .map(|flow| {
                let scene = &scene;
                scope
                    .spawn(move || matches!(scene.attempt(flow, 10).unwrap(), Decision::Granted(_)))
            })
            .collect();
        tries
            .into_iter()
            .map(|t| usize::from(t.join().unwrap()))
            .sum()
    });
    assert_eq!(granted, 3);
}

#[test]
fn a_period_renews_and_a_new_version_does_not() {
    let scene = scene();
    let now = scene.owner.clock().now();
    let period = scene.agreement.period_at(now).unwrap();
    let attempt = |at| Attempt {
        agreement: scene.agreement.id().clone(),
        flow: FlowId::from_bytes([9; 16]),
        at,
        identifiers: 7,
        spent: None,
    };
    let counters = Counters {
        attempts: vec![attempt(period.start), attempt(period.end)],
    };
    let other = FlowId::from_bytes([1; 16]);
    let usage = counters.usage(scene.agreement.id(), Some(period), Asking::Anew(other));
    assert_eq!(
        (
            usage.flows_in_period,
            usage.identifiers_in_period,
            usage.flow_id_used
        ),
        (1, 7, false)
    );
    let second = agreement_between(&scene.owner, &scene.recipient, 2);
    assert_eq!(
        counters
            .usage(second.id(), second.period_at(now), Asking::Anew(other))
            .flows_in_period,
        1
    );
    // Outside any period a flow id stays used.
    assert!(
        counters
            .usage(second.id(), None, Asking::Anew(FlowId::from_bytes([9; 16])))
            .flow_id_used
    );
}

#[test]
fn the_sample_parses_and_says_the_defaults() {
    let limits = Limits::parse(SAMPLE).unwrap();
    assert_eq!(limits.default, DEFAULT);
    let narrower = limits.of(&"north-bank-east-life-tags".parse().unwrap());
    assert_eq!(
        narrower,
        OwnerLimits {
            rows_per_flow: Some(100_000),
            ..DEFAULT
        }
    );
    assert_eq!(limits.of(&"another".parse().unwrap()), DEFAULT);
}

#[test]
fn a_mistyped_limit_is_refused_with_its_line() {
    let scene = scene();
    for (text, part) in [
        ("[default]\nrows_per_flows = 1\n", "rows_per_flows"),
        ("[agreement.\"A B\"]\nrows_per_flow = 1\n", "agreement id"),
        ("[default]\nrows_per_flow = -1\n", "line 2"),
    ] {
        scene.limit(text);
        let error = scene.attempt(1, 1).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(part), "{error}");
    }
}
