//! Who is named and who is not. Fixed seeds, so that a failure is one of the code.

use rand_chacha::rand_core::Rng as _;

use super::*;
use crate::leak::assignments;
use crate::testing::{Table, World, suspect, suspects};
use crate::{Match, Reading};

fn named(verdict: &Verdict) -> Vec<usize> {
    let mut named: Vec<_> = verdict
        .accused
        .iter()
        .map(|accused| accused.suspect)
        .collect();
    named.sort_unstable();
    named
}

fn accuse(world: &World, leak: &Leak, suspects: &[Suspect]) -> Verdict {
    world
        .trace(leak)
        .accuse(Standard::BILLION, suspects, |_| ())
}

/// Each cell from one of the deliveries at random.
fn mixed(world: &mut World, deliveries: &[Table]) -> Table {
    let mut table = deliveries[0].clone();
    for (place, column) in table.iter_mut().enumerate() {
        for (row, cell) in column.iter_mut().enumerate() {
            let from = world.rng.next_u32() as usize % deliveries.len();
            *cell = deliveries[from][place][row].clone();
        }
    }
    table
}

#[test]
fn a_leaker_and_its_flow_are_named_among_many() {
    let world = World::new(500, 20_000, 1);
    let leak = world.leak(&world.delivery(7, 1), 500);
    let verdict = accuse(&world, &leak, &suspects(200, 3));
    assert_eq!(named(&verdict), [7]);
    let flows: Vec<_> = verdict.accused[0]
        .flows
        .iter()
        .map(|(flow, _)| *flow)
        .collect();
    assert_eq!(flows, [1]);
    assert!(verdict.accused[0].evidence.p < 1e-30);
    assert_eq!(verdict.candidates, 800);
    assert_eq!(verdict.others.bins().iter().sum::<u64>(), 199);
    assert_eq!(verdict.shortfall, None);
}

#[test]
fn an_innocent_flow_of_a_guilty_recipient_is_not_named() {
    let world = World::new(500, 20_000, 2);
    let trace = world.trace(&world.leak(&world.delivery(7, 0), 500));
    // Flows 1 to 300 are innocent and share the guilty recipient's key.
    let guilty = suspect(7, 301);
    let innocent = guilty
        .flows
        .iter()
        .skip(1)
        .map(|flow| trace.ln_e(Level::Flow, flow));
    let most = innocent.fold(f64::NEG_INFINITY, f64::max);
    assert!(most < Standard::BILLION.ln_threshold(1), "{most}");
    // With the recipient's evidence in it, each of them would be named.
    let both = trace.ln_e(Level::Recipient, &guilty.recipient) + most;
    assert!(both > Standard::BILLION.ln_threshold(300), "{both}");
    let verdict = accuse(&world, &world.leak(&world.delivery(7, 0), 500), &[guilty]);
    assert_eq!(verdict.accused[0].flows.len(), 1);
    assert_eq!(verdict.accused[0].flows[0].0, 0);
}

#[test]
fn with_too_few_rows_for_a_flow_the_recipient_is_named_and_no_flow() {
    let world = World::new(100, 20_000, 3);
    let leak = world.leak(&world.delivery(4, 0), 100);
    let verdict = accuse(&world, &leak, &suspects(50, 4));
    assert_eq!(named(&verdict), [4]);
    assert!(verdict.accused[0].flows.is_empty());
}

#[test]
fn an_unmarked_file_names_nobody_and_says_what_is_missing() {
    for seed in 0..5 {
        let world = World::new(2000, 20_000, seed);
        let verdict = accuse(&world, &world.leak(&world.held, 2000), &suspects(300, 2));
        assert!(verdict.accused.is_empty());
        let shortfall = verdict.shortfall.unwrap();
        assert_eq!(shortfall.rows_more_unaltered, Some(0));
        assert!(
            shortfall
                .rows_more_at_this_rate
                .is_none_or(|rows| rows > 2000),
            "{shortfall:?}"
        );
    }
}

#[test]
fn a_scrap_names_nobody_and_more_of_it_does() {
    let world = World::new(400, 20_000, 4);
    let table = world.delivery(3, 0);
    let suspects = suspects(20, 1);
    let scrap = accuse(&world, &world.leak(&table, 40), &suspects);
    let shortfall = scrap.shortfall.unwrap();
    assert!(scrap.accused.is_empty());
    let rate = shortfall.rows_more_at_this_rate.unwrap() as usize;
    assert!((10..300).contains(&rate), "{rate}");
    let unaltered = shortfall.rows_more_unaltered.unwrap() as usize;
    assert!((10..300).contains(&unaltered), "{unaltered}");
    let enough = accuse(&world, &world.leak(&table, 40 + unaltered), &suspects);
    assert_eq!(named(&enough), [3]);
}

/// The threshold must grow with the candidates: scored one by one, the best of many innocent ones
/// passes a threshold made for one.
#[test]
fn the_threshold_counts_every_candidate() {
    let world = World::new(300, 20_000, 5);
    let trace = world.trace(&world.leak(&world.held, 300));
    let all = suspects(3000, 0);
    // One file in two may name somebody: often enough to see it happen.
    let standard = Standard::one_in(2);
    let verdict = trace.accuse(standard, &all, |_| ());
    assert!(verdict.accused.is_empty());
    assert_eq!(verdict.ln_threshold, standard.ln_threshold(3000));
    let alone = all
        .chunks(1)
        .filter(|one| !trace.accuse(standard, one, |_| ()).accused.is_empty());
    let alone = alone.count();
    assert!(alone > 10, "{alone}");
    let with_flows = trace.accuse(standard, &suspects(30, 99), |_| ());
    assert_eq!(with_flows.ln_threshold, standard.ln_threshold(3000));
}

/// E is the mean over the assignments and p is multiplied by their number; the best of many
/// readings of a file is no evidence by itself.
#[test]
fn every_reading_of_the_columns_counts() {
    let world = World::new(120, 20_000, 6);
    let leak = world.leak(&world.held, 120);
    let scale = |power| {
        vec![Match {
            found: 2,
            column: 2,
            reading: Reading::Scaled(power),
        }]
    };
    let swapped = |found, column| {
        vec![Match {
            found,
            column,
            reading: Reading::AsDelivered,
        }]
    };
    let readings = [scale(0), swapped(0, 1), swapped(1, 0), swapped(3, 3)];
    let together = world.trace_as(&leak, &readings);
    let single: Vec<_> = readings
        .iter()
        .map(|one| world.trace_as(&leak, std::slice::from_ref(one)))
        .collect();
    for suspect in suspects(50, 0) {
        let evidence = together.evidence(Level::Recipient, &suspect.recipient);
        let singles = single
            .iter()
            .map(|trace| trace.evidence(Level::Recipient, &suspect.recipient));
        let singles: Vec<_> = singles.collect();
        let mean = singles.iter().map(|one| one.ln_e.exp()).sum::<f64>() / 4.0;
        assert!((evidence.ln_e - mean.ln()).abs() < 1e-9);
        let least = singles.iter().map(|one| one.p).fold(1.0, f64::min);
        assert!((evidence.p - (4.0 * least).min(1.0)).abs() < 1e-9);
    }
}

#[test]
fn renamed_and_reordered_columns_are_read() {
    let world = World::new(2000, 20_000, 7);
    let table = world.delivery(5, 0);
    let order = [3, 1, 2, 0];
    let cells = order.map(|place| table[place].clone());
    let leak = Leak::new(world.tags.clone(), cells.into()).unwrap();
    let readings = assignments(&world.lineage, &leak, &[]).unwrap();
    assert!(readings.len() > 1);
    let verdict =
        world
            .trace_as(&leak, &readings)
            .accuse(Standard::BILLION, &suspects(30, 1), |_| ());
    assert_eq!(named(&verdict), [5]);
}

#[test]
fn several_colluding_recipients_are_named_and_nobody_else() {
    let mut world = World::new(3000, 20_000, 8);
    let deliveries = [2, 3, 5].map(|recipient| world.delivery(recipient, 0));
    let table = mixed(&mut world, &deliveries);
    let verdict = accuse(&world, &world.leak(&table, 3000), &suspects(40, 1));
    assert_eq!(named(&verdict), [2, 3, 5]);
}

#[test]
fn two_merged_deliveries_of_one_recipient_name_it_and_both_flows() {
    let mut world = World::new(3000, 20_000, 9);
    let deliveries = [0, 1].map(|flow| world.delivery(6, flow));
    let table = mixed(&mut world, &deliveries);
    let verdict = accuse(&world, &world.leak(&table, 3000), &suspects(20, 3));
    assert_eq!(named(&verdict), [6]);
    let mut flows: Vec<_> = verdict.accused[0]
        .flows
        .iter()
        .map(|(flow, _)| *flow)
        .collect();
    flows.sort_unstable();
    assert_eq!(flows, [0, 1]);
}

#[test]
fn rows_that_are_there_twice_count_once() {
    let world = World::new(60, 20_000, 10);
    let table = world.delivery(1, 0);
    let once = world.trace(&world.leak(&table, 60));
    let tags = [world.tags.clone(), world.tags.clone()].concat();
    let cells = table
        .iter()
        .map(|column| [column.clone(), column.clone()].concat());
    let twice = Leak::new(tags, cells.collect()).unwrap();
    let twice = world.trace(&twice);
    for suspect in suspects(20, 0) {
        let score = |trace: &Trace| trace.ln_e(Level::Recipient, &suspect.recipient);
        assert_eq!(score(&once), score(&twice));
    }
}

/// The mean of E over innocent keys is at most 1 (theorem 1), here with a file that somebody marked.
#[test]
fn innocent_candidates_have_e_of_mean_one() {
    let world = World::new(25, 20_000, 11);
    let trace = world.trace(&world.leak(&world.delivery(0, 0), 25));
    for level in [Level::Recipient, Level::Flow] {
        let (mut sum, mut over) = (0.0, 0);
        for candidate in 1..20_001 {
            let suspect = suspect(candidate, 1);
            let key = match level {
                Level::Recipient => &suspect.recipient,
                Level::Flow => &suspect.flows[0],
            };
            let e = trace.ln_e(level, key).exp();
            // A few large values carry the mean; what lies above 100 is left out, and counted.
            sum += e.min(100.0);
            over += u32::from(e >= 100.0);
        }
        let mean = sum / 20_000.0;
        assert!((0.5..1.1).contains(&mean), "{level:?}: {mean}");
        assert!(over <= 200, "{level:?}: {over}");
    }
}

/// p-values of innocent candidates are at most alpha with chance at most alpha, and nearly that:
/// counts over 40,000 keys, within four standard deviations of what the discrete null permits.
#[test]
fn innocent_p_values_are_as_they_should_be() {
    let world = World::ordinal(400, 12);
    let trace = world.trace(&world.leak(&world.held, 400));
    let keys = 40_000;
    let p = |candidate| {
        trace
            .evidence(Level::Recipient, &suspect(candidate, 0).recipient)
            .p
    };
    let mut values: Vec<f64> = (0..keys).map(p).collect();
    values.sort_by(f64::total_cmp);
    for alpha in [0.5, 0.1, 0.01, 0.001] {
        let below = values.partition_point(|p| *p <= alpha);
        // The largest p-value up to alpha that occurred is itself the chance of a p-value up to it.
        let attained = values[below - 1];
        let deviation = (f64::from(keys as u32) * attained * (1.0 - attained)).sqrt();
        let z = (below as f64 - keys as f64 * attained) / deviation;
        assert!(z.abs() < 4.0, "{alpha}: {below}, z {z}");
    }
}

#[test]
fn stages_name_whom_the_full_scores_name() {
    let world = World::new(9000, 20_000, 13);
    let trace = world.trace(&world.leak(&world.delivery(77, 0), 9000));
    let ln_threshold = Standard::BILLION.ln_threshold(1_000_000);
    let mut given_up = 0;
    for (index, suspect) in suspects(300, 0).iter().enumerate() {
        let staged = trace.staged(&suspect.recipient, Some(ln_threshold));
        let full = trace.ln_e(Level::Recipient, &suspect.recipient);
        assert_eq!(index == 77, full >= ln_threshold);
        given_up += u32::from(!staged.full);
        if staged.full {
            assert_eq!(staged.ln_e, full);
        } else {
            assert_ne!(index, 77);
        }
    }
    // 58 innocent ones in 100 at the first stage, 87 at the second, and all but a few at the third.
    assert!(given_up > 280, "{given_up}");
}

#[test]
fn a_file_without_any_read_says_nothing() {
    let world = World::new(10, 20_000, 14);
    let leak = world.leak(&vec![vec!["?".into(); 10]; 4], 10);
    let readings = assignments(&world.lineage, &leak, &[]).unwrap();
    let trace = world.trace_as(&leak, &readings);
    let evidence = trace.evidence(Level::Recipient, &suspect(0, 0).recipient);
    assert_eq!(evidence, Evidence { ln_e: 0.0, p: 1.0 });
}
