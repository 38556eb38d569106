//! How often intervals of weights of evidence and information values hold.

use counterfoil_policy::measure::Scorecard;

use super::*;

const CARDS: usize = 4_000;

/// Good and bad customers of each bin, and what is exact of them.
struct Exact {
    counts: Vec<(u32, u32)>,
    weights: Vec<f64>,
    value: f64,
}

impl Exact {
    fn new(counts: Vec<(u32, u32)>) -> Self {
        let good: u32 = counts.iter().map(|(good, _)| good).sum();
        let bad: u32 = counts.iter().map(|(_, bad)| bad).sum();
        let share = |(g, b): &(u32, u32)| {
            let (p, q) = (
                f64::from(*g) / f64::from(good),
                f64::from(*b) / f64::from(bad),
            );
            (p, q, (p / q).ln())
        };
        let shares: Vec<_> = counts.iter().map(share).collect();
        Self {
            weights: shares.iter().map(|(.., woe)| *woe).collect(),
            value: shares.iter().map(|(p, q, woe)| (p - q) * woe).sum(),
            counts,
        }
    }
}

/// Of many scorecards: the share of bins whose interval holds, of those that are not flagged; the share of information values whose
/// interval holds; and the share of cards that are flagged.
struct Held {
    weights: f64,
    value: f64,
    weak: f64,
}

fn held(exact: &Exact, epsilon: &str) -> Held {
    let edges: Vec<String> = (1..exact.counts.len())
        .map(|i| (i * 100).to_string())
        .collect();
    let query = format!(
        "scorecard credit_amount bins {} by claim bad yes epsilon {epsilon}",
        edges.join(",")
    );
    let plan = plan(&[&query]);
    let mut tally = Tally::new(plan.clone());
    for (bin, (good, bad)) in exact.counts.iter().enumerate() {
        let amount = (bin * 100).to_string();
        for (claim, rows) in [("no", good), ("yes", bad)] {
            for _ in 0..*rows {
                tally.add(&[&amount], &[claim]).unwrap();
            }
        }
    }
    let noises = Noises::of(&plan).unwrap();
    let cards = (0..CARDS).map(|_| {
        let answer = release(&noises, &tally).answers.remove(0);
        answer.scorecard.unwrap()
    });
    let (mut bins, mut weights, mut value, mut weak) = (0, 0, 0, 0);
    for card in cards {
        let Scorecard {
            information_value_low: low,
            information_value_high: high,
            ..
        } = card;
        value += usize::from(low <= exact.value && exact.value <= high);
        weak += usize::from(card.weak);
        for (bin, woe) in card.bins.iter().zip(&exact.weights) {
            if let (false, Some(low), Some(high)) = (bin.weak, bin.woe_low, bin.woe_high) {
                bins += 1;
                weights += usize::from(low <= *woe && *woe <= high);
            }
        }
    }
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    Held {
        weights: share(weights, bins),
        value: share(value, CARDS),
        weak: share(weak, CARDS),
    }
}

#[test]
fn intervals_of_a_scorecard_hold_as_often_as_they_say() {
    let clear = Exact::new(vec![(900, 100), (1_500, 300), (700, 400), (300, 500)]);
    for epsilon in ["0.5", "1", "4"] {
        let held = held(&clear, epsilon);
        assert!(
            (0.93..=0.97).contains(&held.weights),
            "{epsilon}: {}",
            held.weights
        );
        assert!(
            (0.93..=0.975).contains(&held.value),
            "{epsilon}: {}",
            held.value
        );
        assert_eq!(held.weak, 0.0, "{epsilon}");
    }
}

/// Without any signal noise alone makes an information value; it is flagged, and its interval holds all the same.
#[test]
fn an_information_value_of_nothing_is_flagged() {
    for bins in [5, 20] {
        let nothing = Exact::new(vec![(600, 400); bins]);
        let held = held(&nothing, "1");
        assert!(held.value > 0.95, "{bins}: {}", held.value);
        assert!(held.weak > 0.9, "{bins}: {}", held.weak);
        assert!(
            (0.93..=0.97).contains(&held.weights),
            "{bins}: {}",
            held.weights
        );
    }
}
