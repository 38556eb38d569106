//! Whether the noise is what is stated, by what can be seen from outside. Each of the detectors is shown a faulty mechanism that it
//! must catch; a detector that never says no would be worth nothing.

use std::collections::BTreeMap;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::measure::{Answers, Asked, Cost, Figure, Noisy, answers, interval};
use counterfoil_policy::text::{FlowId, TagName};

use super::*;
use crate::testing::measured;

/// Runs on each of two neighbouring inputs.
const RUNS: usize = 100_000;

fn asked(queries: &[&str], delta: Option<&str>) -> Asked {
    Asked {
        queries: queries.iter().map(|text| text.parse().unwrap()).collect(),
        delta: delta.map(|text| text.parse().unwrap()),
    }
}

fn plan(queries: &[&str]) -> Plan {
    Plan::new(&measured(), &asked(queries, None)).unwrap()
}

/// Rows of (housing, claim); who has a claim has the largest amount that counts, the others the least.
fn tally(plan: &Plan, rows: &[(&str, &str)]) -> Tally {
    let mut tally = Tally::new(plan.clone());
    for (housing, claim) in rows {
        let amount = if *claim == "yes" { "9000" } else { "0" };
        let cell = |tag: &TagName| match tag.as_str() {
            "credit_amount" => amount,
            _ => *housing,
        };
        let owner: Vec<&str> = plan.owner_tags().iter().map(cell).collect();
        let recipient: Vec<&str> = plan.recipient_tags().iter().map(|_| *claim).collect();
        tally.add(&owner, &recipient).unwrap();
    }
    tally
}

/// What a recipient gets in one run.
fn noisy(noises: &Noises, tally: &Tally) -> Noisy {
    let minimum = noises.minimum(tally).unwrap();
    let noised = noises.add(tally, minimum).unwrap();
    Noisy {
        format: 1,
        flow: FlowId::from_bytes([1; 16]),
        minimum: noised.minimum,
        parts: noised.parts,
        left: Cost::NONE,
    }
}

/// What it makes of it.
fn release(noises: &Noises, tally: &Tally) -> Answers {
    answers(tally.plan(), &noisy(noises, tally), false)
}

/// All numbers that a recipient gets: of the minimum and of every part of every query.
fn numbers(noises: &Noises, tally: &Tally) -> Vec<i64> {
    let noisy = noisy(noises, tally);
    let parts = noisy.parts.iter().flatten();
    let parts = std::iter::once(&noisy.minimum).chain(parts);
    parts.flat_map(|part| part.numbers.clone()).collect()
}

/// Numbers in what a recipient sees of the queries: how many rows there are, and all figures.
fn seen(answers: &Answers) -> Vec<i64> {
    let rows = answers.answers.iter().flat_map(|answer| &answer.rows);
    let figures = rows
        .clone()
        .flat_map(|row| [&row.value, &row.low, &row.high])
        .map(|figure| match figure {
            Figure::Whole(whole) => *whole,
            _ => 0,
        });
    std::iter::once(rows.count() as i64)
        .chain(figures)
        .collect()
}

/// A lower bound on epsilon that holds with probability 99.9% or more, from runs on two neighbours.
///
/// Histogram style: the event "number i is at most t" or "is at least t" that tells the inputs apart best is chosen on one half of
/// the runs, and measured on the other, so that choosing among many events does not count as evidence (as in DP-Sniper,
/// Bichsel et al., IEEE S&P 2021). A chance of p of N runs is within sqrt(ln(2/0.001) / 2N) (Hoeffding).
fn epsilon_at_least(one: &[Vec<i64>], other: &[Vec<i64>], delta: f64) -> f64 {
    let half = one.len() / 2;
    let share = |runs: &[Vec<i64>], event: Event| {
        runs.iter().filter(|run| event.holds(run)).count() as f64 / runs.len() as f64
    };
    let slack = (2000.0_f64.ln() / (2.0 * half as f64)).sqrt();
    let ratio = |p: f64, q: f64, slack: f64| ((p - slack - delta).max(0.0) / (q + slack)).ln();
    let best = [(one, other), (other, one)].into_iter().flat_map(|(a, b)| {
        Event::all(&a[..half], &b[..half])
            .into_iter()
            .map(move |event| {
                let score = ratio(share(&a[..half], event), share(&b[..half], event), slack);
                (score, event, a, b)
            })
    });
    let (_, event, a, b) = best.max_by(|x, y| x.0.total_cmp(&y.0)).unwrap();
    ratio(share(&a[half..], event), share(&b[half..], event), slack)
}

#[derive(Clone, Copy)]
struct Event {
    index: usize,
    threshold: i64,
    at_least: bool,
}

impl Event {
    /// Of each number, thresholds at its most frequent values and at quantiles.
    fn all(one: &[Vec<i64>], other: &[Vec<i64>]) -> Vec<Self> {
        let width = one.iter().chain(other).map(Vec::len).max().unwrap();
        let mut events = Vec::new();
        for index in 0..width {
            let some = one.iter().take(2000).chain(other.iter().take(2000));
            let mut values: Vec<i64> = some.filter_map(|run| run.get(index).copied()).collect();
            values.sort_unstable();
            let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
            for value in &values {
                *counts.entry(*value).or_default() += 1;
            }
            let mut frequent: Vec<_> = counts.into_iter().collect();
            frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let frequent = frequent.into_iter().take(4).map(|(value, _)| value);
            let quantiles = [5, 15, 30, 50, 70, 85, 95];
            let quantiles = quantiles.map(|percent| values.get(values.len() * percent / 100));
            for threshold in frequent.chain(quantiles.into_iter().flatten().copied()) {
                for at_least in [false, true] {
                    events.push(Self {
                        index,
                        threshold,
                        at_least,
                    });
                }
            }
        }
        events
    }

    fn holds(self, run: &[i64]) -> bool {
        run.get(self.index).is_some_and(|number| {
            if self.at_least {
                *number >= self.threshold
            } else {
                *number <= self.threshold
            }
        })
    }
}

const FEW: [(&str, &str); 3] = [("own", "no"), ("own", "yes"), ("rent", "no")];

/// The lower bound for a plan's whole release on [`FEW`], and on it with one more person whose group is empty without.
fn bound_of(plan: &Plan, delta: f64, release: impl Fn(&Tally) -> Vec<i64>) -> f64 {
    let mut with = FEW.to_vec();
    with.push(("for free", "yes"));
    let runs = |rows: &[(&str, &str)]| -> Vec<Vec<i64>> {
        let tally = tally(plan, rows);
        (0..RUNS).map(|_| release(&tally)).collect()
    };
    epsilon_at_least(&runs(&FEW), &runs(&with), delta)
}

/// One more person, at the bound of what a person adds, changes what is released as far as is stated, and no farther.
#[test]
fn two_neighbours_are_told_apart_as_far_as_epsilon_and_no_farther() {
    for query in [
        "histogram housing epsilon 1",
        "count epsilon 0.5",
        "crosstab housing by claim epsilon 1",
        "sum credit_amount from 0 to 9000 epsilon 1",
        "sum credit_amount from -9000 to 9000 step 10 epsilon 1",
        "mean credit_amount from 0 to 9000 epsilon 2",
        "quantile 0.5 credit_amount bins 1000,5000 epsilon 1",
        "scorecard housing by claim bad yes epsilon 1",
    ] {
        let plan = plan(&[query]);
        let noises = Noises::of(&plan).unwrap();
        let bound = bound_of(&plan, 0.0, |tally| numbers(&noises, tally));
        let stated = plan.cost().epsilon.to_f64();
        assert!(bound <= stated, "{query}: {bound} of {stated}");
        // It is tight, or else the detector sees nothing. It looks at one number at a time, so at the part that costs most; and a
        // small epsilon shows less in as many runs.
        let parts = plan.queries().iter().flat_map(|query| query.parts());
        let largest = parts.map(|part| part.epsilon.to_f64()).fold(0.0, f64::max);
        assert!(bound > 0.85 * largest, "{query}: {bound} of {largest}");
    }
}

/// The interval and whatever else a recipient is shown are made of those numbers alone.
#[test]
fn what_is_shown_tells_no_more_than_what_is_sent() {
    let plan = plan(&["histogram housing epsilon 1"]);
    let noises = Noises::of(&plan).unwrap();
    let bound = bound_of(&plan, 0.0, |tally| seen(&release(&noises, tally)));
    assert!(bound <= 1.1 && bound > 0.85, "{bound}");
}

#[test]
fn noise_that_is_too_small_is_caught() {
    let plan = plan(&["histogram housing epsilon 1"]);
    let mut noises = Noises::of(&plan).unwrap();
    noises.parts[0][0] = laplace(1, 1.5).unwrap();
    let bound = bound_of(&plan, 0.0, |tally| seen(&release(&noises, tally)));
    assert!(bound > 1.2, "{bound}");
}

#[test]
fn empty_groups_that_are_left_out_are_caught() {
    let plan = plan(&["histogram housing epsilon 1"]);
    let noises = Noises::of(&plan).unwrap();
    let bound = bound_of(&plan, 0.0, |tally| {
        let exact = tally.exact().counts[0][0].clone();
        let rows = release(&noises, tally).answers.remove(0).rows;
        let kept = rows.iter().zip(exact).filter(|(_, exact)| *exact != 0);
        let numbers: Vec<i64> = kept
            .map(|(row, _)| row.value.number().unwrap() as i64)
            .collect();
        std::iter::once(numbers.len() as i64)
            .chain(numbers)
            .collect()
    });
    assert!(bound > 3.0, "{bound}");
}

#[test]
fn an_interval_around_the_exact_count_is_caught() {
    let plan = plan(&["count epsilon 0.5"]);
    let noises = Noises::of(&plan).unwrap();
    let bound = bound_of(&plan, 0.0, |tally| {
        let noised = seen(&release(&noises, tally));
        let width = interval::half_width(Noise::Laplace, 2.0) as i64;
        let exact = tally.exact().matched;
        vec![noised[1], exact - width, exact + width]
    });
    assert!(bound > 3.0, "{bound}");
}

#[test]
fn gaussian_queries_together_spend_what_they_say_and_no_more() {
    let queries = [
        "histogram housing epsilon 0.6 noise gaussian",
        "count epsilon 0.4 noise gaussian",
    ];
    let plan = Plan::new(&measured(), &asked(&queries, Some("0.00001"))).unwrap();
    let mut noises = Noises::of(&plan).unwrap();
    let rho: f64 = noises
        .parts
        .iter()
        .flatten()
        .map(|noise| match &noise.mechanism {
            Mechanism::Gaussian(gaussian) => gaussian.map(&1).unwrap(),
            Mechanism::Laplace(_) => panic!("Gaussian noise was asked for"),
        })
        .sum();
    let spent = ZeroConcentratedDivergence::convert(rho)
        .unwrap()
        .epsilon(1e-5)
        .unwrap();
    assert!(spent <= 1.0 && spent > 0.999, "{spent}");
    // Noise that is (1, 10^-5)-private together is shifted by a fifth of its deviation by one person, and less in each query: over
    // all events that says 0.2 at most in so many runs. With two thirds of the noise it says more.
    let bound = bound_of(&plan, 1e-5, |tally| numbers(&noises, tally));
    assert!(bound > 0.1 && bound < 0.2, "{bound}");
    for part in noises.parts.iter_mut().flatten() {
        *part = gaussian(1, rho / 2.0 * 1.5 * 1.5).unwrap();
    }
    let bound = bound_of(&plan, 1e-5, |tally| numbers(&noises, tally));
    assert!(bound > 0.2, "{bound}");
}

/// Pearson's statistic of numbers around 0 against a mass, and its degrees of freedom. Cells of fewer than 50 go together.
fn pearson(numbers: &[i64], mass: impl Fn(i64) -> f64) -> (f64, f64) {
    let all = numbers.len() as f64;
    let (mut statistic, mut cells, mut seen, mut expected) = (0.0, 0.0, 0.0, 0.0);
    for value in -400..=400 {
        let wanted = all * mass(value);
        if wanted < 50.0 {
            continue;
        }
        let got = numbers.iter().filter(|number| **number == value).count() as f64;
        statistic += (got - wanted).powi(2) / wanted;
        cells += 1.0;
        seen += got;
        expected += wanted;
    }
    let rest = all - expected;
    (
        statistic + (all - seen - rest).powi(2) / rest.max(1.0),
        cells,
    )
}

/// A chi-squared variable is above this with probability under 10^-6 (Wilson and Hilferty 1931).
fn is_far(statistic: f64, freedom: f64) -> bool {
    let ninth = 2.0 / (9.0 * freedom);
    statistic > freedom * (1.0 - ninth + 4.9 * ninth.sqrt()).powi(3)
}

#[test]
fn noise_has_the_stated_distribution() {
    let zeros = vec![0; RUNS];
    for epsilon in [0.25_f64, 1.0, 3.0] {
        let noise = laplace(1, epsilon).unwrap();
        assert!((noise.scale * epsilon - 1.0).abs() < 1e-12);
        let p = (-1.0 / noise.scale).exp();
        let mass = |x: i64| (1.0 - p) / (1.0 + p) * p.powi(x.unsigned_abs() as i32);
        let numbers = noise.add(&zeros).unwrap().numbers;
        let (statistic, freedom) = pearson(&numbers, mass);
        assert!(
            !is_far(statistic, freedom),
            "{epsilon}: {statistic} of {freedom}"
        );
        let seeded = laplace(1, epsilon * 1.5)
            .unwrap()
            .add(&zeros)
            .unwrap()
            .numbers;
        let (statistic, freedom) = pearson(&seeded, mass);
        assert!(
            is_far(statistic, freedom),
            "a seeded fault at {epsilon}: {statistic}"
        );
    }
    let noise = gaussian(3, 0.1).unwrap();
    let weight = |x: i64| (-(x as f64).powi(2) / (2.0 * noise.scale.powi(2))).exp();
    let all: f64 = (-200..=200).map(weight).sum();
    let numbers = noise.add(&zeros).unwrap().numbers;
    let (statistic, freedom) = pearson(&numbers, |x| weight(x) / all);
    assert!(
        !is_far(statistic, freedom),
        "gaussian: {statistic} of {freedom}"
    );
    let (statistic, freedom) = pearson(
        &laplace(1, 0.2).unwrap().add(&zeros).unwrap().numbers,
        |x| weight(x) / all,
    );
    assert!(is_far(statistic, freedom));
}

#[test]
fn scales_cost_what_they_may_and_hardly_less() {
    for (sensitivity, epsilon) in [
        (1, 0.1),
        (1, 0.3),
        (20_000, 0.7),
        (7, 3.3),
        ((1 << 39) - 1, 0.0001),
        (1, 100.0),
    ] {
        let noise = laplace(sensitivity, epsilon).unwrap();
        let Mechanism::Laplace(made) = &noise.mechanism else {
            panic!("Laplace")
        };
        let cost = made.map(&i64::try_from(sensitivity).unwrap()).unwrap();
        assert!(cost <= epsilon && cost > epsilon * (1.0 - 1e-12));
    }
}

/// The share of runs in which the exact figure lies in the interval, for each row of the first query.
fn covered(queries: &[&str], rows: usize, runs: usize, exact: impl Fn(usize) -> f64) -> Vec<f64> {
    let agreement: Agreement = measured();
    let plan = Plan::new(&agreement, &asked(queries, None)).unwrap();
    let mut tally = Tally::new(plan.clone());
    for index in 0..rows {
        let amount = ((index * 37) % 9000).to_string();
        let value = |name: &str| match name {
            "housing" => ["own", "rent", "for free"][index % 7 % 3].to_owned(),
            _ => amount.clone(),
        };
        let owner: Vec<String> = plan
            .owner_tags()
            .iter()
            .map(|tag| value(tag.as_str()))
            .collect();
        let owner: Vec<&str> = owner.iter().map(String::as_str).collect();
        let recipient: Vec<&str> = plan
            .recipient_tags()
            .iter()
            .map(|_| if index % 5 == 0 { "yes" } else { "no" })
            .collect();
        tally.add(&owner, &recipient).unwrap();
    }
    let noises = Noises::of(&plan).unwrap();
    let mut inside: Vec<usize> = Vec::new();
    for _ in 0..runs {
        let rows = release(&noises, &tally).answers.remove(0).rows;
        inside.resize(rows.len(), 0);
        for (index, row) in rows.iter().enumerate() {
            let (low, high) = (row.low.number().unwrap(), row.high.number().unwrap());
            inside[index] += usize::from(low <= exact(index) && exact(index) <= high);
        }
    }
    inside
        .into_iter()
        .map(|count| count as f64 / runs as f64)
        .collect()
}

#[test]
fn intervals_of_95_percent_hold_in_93_to_97_percent_of_runs() {
    let amounts = || (0..2000).map(|index| ((index * 37) % 9000) as f64);
    let mean = amounts().sum::<f64>() / 2000.0;
    for (query, exact) in [
        ("count epsilon 0.5", 2000.0),
        ("count epsilon 0.1", 2000.0),
        (
            "sum credit_amount from 0 to 9000 epsilon 0.5",
            amounts().sum(),
        ),
        ("mean credit_amount from 0 to 9000 epsilon 0.5", mean),
    ] {
        let share = covered(&[query], 2000, 8_000, |_| exact)[0];
        assert!((0.93..=0.97).contains(&share), "{query}: {share}");
    }
    let mut cells = [0.0; 3];
    (0..2000).for_each(|index| cells[index % 7 % 3] += 1.0);
    let agreement = measured();
    let labels = agreement.tag(&"housing".parse().unwrap()).unwrap().values();
    let exact = |index: usize| {
        let mut of_rows = ["own", "rent", "for free"].iter();
        let place = of_rows.position(|value| **value == *labels[index]);
        place.map_or(0.0, |place| cells[place])
    };
    for share in covered(&["histogram housing epsilon 0.5"], 2000, 8_000, exact) {
        assert!((0.93..=0.97).contains(&share), "{share}");
    }
}

mod scorecards;
