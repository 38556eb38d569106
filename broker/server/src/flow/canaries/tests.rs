use counterfoil_policy::canaries::ExpectedRate;

use super::*;

fn rate() -> ExpectedRate {
    "0.0001".parse().unwrap()
}

fn code(number: u16) -> CanaryCode {
    let mut code = [1; CANARY_CODE_BYTES];
    code[..2].copy_from_slice(&number.to_be_bytes());
    code
}

fn bytes(numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
    numbers.into_iter().flat_map(code).collect()
}

fn canaries(count: u16) -> Canaries {
    let codes = Codes::read(&bytes(0..count), rate()).unwrap();
    let committed = Committed {
        entry: Integer::new(7).unwrap(),
        codes_sha256: codes.digest(),
        rate: rate(),
    };
    Canaries::new(committed, &codes).unwrap()
}

#[test]
fn codes_are_read_in_one_form() {
    assert_eq!(Codes::read(&bytes(0..100), rate()).unwrap().len(), 100);
    let refused = [
        ("none", Vec::new()),
        ("too few to stop a flow", bytes(0..30)),
        ("too many", bytes(0..16_385)),
        ("twice", bytes((0..50).flat_map(|n| [n, n]))),
        ("another order", bytes((0..50).rev())),
        ("cut", bytes(0..50)[1..].to_vec()),
        (
            "that of somebody's row",
            [&NOBODYS[..], &bytes(0..50)].concat(),
        ),
    ];
    for (what, bytes) in refused {
        assert_eq!(Codes::read(&bytes, rate()), None, "{what}");
    }
}

#[test]
fn codes_are_those_that_were_committed_to() {
    let codes = Codes::read(&bytes(0..100), rate()).unwrap();
    let others = Codes::read(&bytes(1..101), rate()).unwrap();
    let committed = Committed {
        entry: Integer::new(7).unwrap(),
        codes_sha256: codes.digest(),
        rate: rate(),
    };
    assert!(Canaries::new(committed, &codes).is_some());
    assert!(Canaries::new(committed, &others).is_none());
}

/// One hit in a thousand is nothing, however often its row is there; nor is what was never committed to.
#[test]
fn few_hits_stop_nothing() {
    let canaries = canaries(1000);
    for _ in 0..200 {
        canaries.count(&code(1));
    }
    for number in 1000..2000 {
        canaries.count(&code(number));
    }
    for _ in 0..1000 {
        assert_eq!(canaries.stops().unwrap(), None);
    }
}

#[test]
fn many_hits_stop_the_flow_and_are_told_noised() {
    let canaries = canaries(1000);
    (0..200).for_each(|number| canaries.count(&code(number)));
    let told: HashSet<u64> = (0..100)
        .map(|_| canaries.stops().unwrap().unwrap())
        .collect();
    assert!(told.len() > 1, "the number has noise");
    assert!(told.iter().all(|told| told.abs_diff(200) < 60), "{told:?}");
}

/// At the threshold one hit more or less changes the probability of a stop by e^0.5, which is the most that it may.
#[test]
fn whether_a_flow_stops_hardly_tells_of_one_row() {
    let threshold = threshold(1000, rate());
    let stopped = |hits: u32| {
        let canaries = canaries(1000);
        (0..u16::try_from(hits).unwrap()).for_each(|number| canaries.count(&code(number)));
        let runs = (0..20_000).filter(|_| canaries.stops().unwrap().is_some());
        runs.count() as f64 / 20_000.0
    };
    let (less, more) = (stopped(threshold - 1), stopped(threshold));
    // Discrete Laplace at 0.5: P(X >= 1) = 0.378 and P(X >= 0) = 0.622; 20,000 runs are within 0.02.
    assert!((less - 0.378).abs() < 0.02, "{less}");
    assert!((more - 0.622).abs() < 0.02, "{more}");
}
