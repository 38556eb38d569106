use super::*;
use crate::agreement::Agreement;
use crate::agreement::lint_beside;
use crate::agreement::tests::{sample, sample_text};
use crate::finding::Findings;

const SECTION: &str = r#"
[measure]
population = "retail-customers"
queries = ["count", "histogram", "crosstab", "scorecard", "sum", "mean", "quantile"]
tags = ["risk_appetite", "age_band", "credit_amount", "housing"]
recipient_tags = [{ name = "claim", values = ["no", "yes"] }, { name = "plan", values = ["a", "b", "c"] }]
minimum_epsilon = "0.1"
epsilon_per_flow = "2"
epsilon_recipient = "4"
epsilon_population = "8"
delta_recipient = "0.00001"
delta_population = "0.0001"
period_days = 365
"#;

/// The sample with a section [measure], in which one piece is replaced, and with exact amounts.
fn agreement_with(from: &str, to: &str) -> Result<Agreement, Findings> {
    assert!(SECTION.contains(from), "the section has no {from}");
    let text = sample_text()
        .replace("[\"exchange\"]", "[\"exchange\", \"measure\"]")
        .replacen(
            "name = \"credit_amount\"\nform = \"banded\"",
            "name = \"credit_amount\"\nform = \"exact\"",
            1,
        );
    Agreement::parse(&(text + &SECTION.replacen(from, to, 1)))
}

pub(crate) fn measured() -> Agreement {
    agreement_with("\n", "\n").unwrap()
}

fn asked(queries: &[&str]) -> Asked {
    Asked {
        queries: queries.iter().map(|text| text.parse().unwrap()).collect(),
        delta: None,
    }
}

fn plan(queries: &[&str]) -> Plan {
    Plan::new(&measured(), &asked(queries)).unwrap()
}

#[test]
fn the_section_is_signed_and_reads_back() {
    let agreement = measured();
    let read = Agreement::from_canonical(agreement.canonical_bytes()).unwrap();
    assert_eq!(read, agreement);
    let terms = read.measure().unwrap();
    assert_eq!(terms.population().as_str(), "retail-customers");
    assert_eq!(
        terms.caps().recipient.to_string(),
        "epsilon 4 and delta 0.00001"
    );
    for (from, to) in [
        ("retail-", "all-"),
        (", \"quantile\"", ""),
        ("\"risk_appetite\", ", ""),
        ("\"yes\"", "\"maybe\""),
        ("minimum_epsilon = \"0.1\"", "minimum_epsilon = \"0.2\""),
        ("epsilon_per_flow = \"2\"", "epsilon_per_flow = \"3\""),
        ("epsilon_recipient = \"4\"", "epsilon_recipient = \"5\""),
        ("epsilon_population = \"8\"", "epsilon_population = \"9\""),
        ("0.00001", "0.00002"),
        ("0.0001\"", "0.0002\""),
        ("365", "364"),
    ] {
        let changed = agreement_with(from, to).unwrap();
        assert_ne!(changed.digest(), agreement.digest(), "{from}");
    }
}

#[test]
fn lint_says_what_weakens_the_guarantee() {
    let advice = |from: &str, to: &str| {
        let advice = crate::agreement::lint(&agreement_with(from, to).unwrap());
        advice.iter().map(ToString::to_string).collect::<String>()
    };
    let usual = advice("\n", "\n");
    assert!(
        usual.contains("hides nothing of people whose rows"),
        "{usual}"
    );
    assert!(!usual.contains("protects hardly anybody") && !usual.contains("the budget renews"));
    assert!(advice("\"8\"", "\"11\"").contains("protects hardly anybody"));
    assert!(advice("365", "7").contains("the budget renews after 7 days"));
}

#[test]
fn faults_of_the_section_are_found() {
    for (from, to, path, problem) in [
        (
            "\"0.1\"",
            "\"0\"",
            "measure.minimum_epsilon",
            "`0` is not an epsilon",
        ),
        ("\"0.1\"", "\"2\"", "measure", "could spend nothing"),
        ("\"2\"", "2", "measure.epsilon_per_flow", "this is"),
        (
            "\"4\"",
            "\"1\"",
            "measure.epsilon_recipient",
            "could never be spent",
        ),
        (
            "\"8\"",
            "\"3\"",
            "measure.epsilon_population",
            "could never be spent",
        ),
        (
            "\"0.0001\"",
            "\"0.000001\"",
            "measure",
            "delta_population is below",
        ),
        (
            "\"0.0001\"",
            "\"1\"",
            "measure.delta_population",
            "not a delta",
        ),
        (
            "\"count\",",
            "\"median\",",
            "measure.queries[0]",
            "`median` is not",
        ),
        (
            "\"housing\"",
            "\"wealth_tier\"",
            "measure.tags[3]",
            "no tag `wealth_tier`",
        ),
        (
            "\"claim\"",
            "\"housing\"",
            "measure.recipient_tags[0]",
            "a tag of the owner's",
        ),
        (
            "\"yes\"",
            "\"a b\"",
            "measure.recipient_tags[0].values[1]",
            "is not a value",
        ),
        (
            "\"yes\"",
            "\"no\"",
            "measure.recipient_tags[0].values[1]",
            "occurs twice",
        ),
        (
            "period_days",
            "epoch = 1\nperiod_days",
            "measure.epoch",
            "unknown",
        ),
    ] {
        let findings = agreement_with(from, to).unwrap_err().to_string();
        assert!(
            findings.contains(path) && findings.contains(problem),
            "{to}: {findings}"
        );
    }
    let text = sample_text();
    let unmeasured = Agreement::parse(&(text.clone() + SECTION)).unwrap_err();
    assert!(unmeasured.to_string().contains("no flow of that kind"));
    let sectionless = text.replace("[\"exchange\"]", "[\"measure\"]");
    let sectionless = Agreement::parse(&sectionless).unwrap_err();
    assert!(sectionless.to_string().contains("need a section"));
}

#[test]
fn queries_outside_the_agreement_are_refused() {
    for (query, problem) in [
        (
            "histogram wealth_tier epsilon 1",
            "`wealth_tier` is outside the agreement",
        ),
        ("histogram credit_amount epsilon 1", "has no end of values"),
        (
            "histogram age_band bins 30,60 epsilon 1",
            "which bins would overlap",
        ),
        ("histogram housing bins 1,2 epsilon 1", "bins would overlap"),
        (
            "crosstab housing by housing epsilon 1",
            "stands on both sides",
        ),
        (
            "crosstab housing by plan bins 1 epsilon 1",
            "has a list of values",
        ),
        ("scorecard housing by plan bad a epsilon 1", "has 3 values"),
        (
            "scorecard housing by claim bad maybe epsilon 1",
            "`maybe` is no value of `claim`",
        ),
        ("sum age_band from 0 to 99 epsilon 1", "agreed as banded"),
        ("mean plan from 0 to 1 epsilon 1", "`plan` is outside"),
        ("quantile 0.5 housing epsilon 1", "have no order"),
        ("count epsilon 1.91", "it would spend epsilon 2.01"),
        ("count epsilon 1 noise gaussian", "needs a delta"),
    ] {
        let error = Plan::new(&measured(), &asked(&[query])).unwrap_err();
        assert!(error.problem.contains(problem), "{query}: {error}");
    }
    let only_counts = agreement_with(", \"histogram\"", "").unwrap();
    let error = Plan::new(&only_counts, &asked(&["histogram housing epsilon 1"])).unwrap_err();
    assert!(error.problem.contains("does not allow a histogram"));
    let many = vec!["count epsilon 0.001"; 17];
    assert!(Plan::new(&measured(), &asked(&many)).is_err());
    let no_use = Asked {
        delta: Some("0.000001".parse().unwrap()),
        ..asked(&["count epsilon 1"])
    };
    let error = Plan::new(&measured(), &no_use).unwrap_err();
    assert!(error.problem.contains("no query has a use for delta"));
    let edges: Vec<String> = (1..=64).map(|edge| edge.to_string()).collect();
    let wide = format!(
        "crosstab credit_amount bins {} by age_band epsilon 0.01",
        edges.join(",")
    );
    let error = Plan::new(&measured(), &asked(&[&*wide; 16])).unwrap_err();
    assert!(error.problem.contains("cells together"));
}

#[test]
fn a_flow_costs_what_its_queries_and_its_minimum_cost() {
    let plan = plan(&[
        "count epsilon 0.5",
        "mean credit_amount from 0 to 20000 epsilon 0.3",
    ]);
    assert_eq!(plan.cost().to_string(), "epsilon 0.9");
    assert_eq!(plan.minimum_cost().to_string(), "epsilon 0.1");
    let parts: Vec<Part> = plan
        .queries()
        .iter()
        .flat_map(|q| q.parts().to_vec())
        .collect();
    let spent = parts.iter().fold(plan.minimum_cost().epsilon, |sum, part| {
        sum.checked_add(part.epsilon).unwrap()
    });
    assert_eq!(spent, plan.cost().epsilon);
    assert_eq!(
        parts
            .iter()
            .map(|part| part.sensitivity)
            .collect::<Vec<_>>(),
        [1, 10000, 1]
    );
}

#[test]
fn every_cell_of_the_domain_is_there_before_a_row_is() {
    let plan = plan(&[
        "histogram housing epsilon 0.1",
        "crosstab credit_amount bins 1000,5000 by plan epsilon 0.1",
        "crosstab plan by claim epsilon 0.1",
    ]);
    assert_eq!(plan.owner_tags().len(), 2);
    assert_eq!(plan.recipient_tags().len(), 2);
    let tally = Tally::new(plan);
    let sizes: Vec<usize> = tally
        .exact()
        .counts
        .iter()
        .map(|parts| parts[0].len())
        .collect();
    let housing = measured()
        .tag(&"housing".parse().unwrap())
        .unwrap()
        .delivered_labels()
        .unwrap()
        .len();
    assert_eq!(sizes, [housing, 9, 6]);
}

#[test]
fn a_row_counts_once_and_within_its_bounds_or_not_at_all() {
    let plan = plan(&[
        "count epsilon 0.1",
        "crosstab credit_amount bins 1000,5000 by plan epsilon 0.1",
        "sum credit_amount from 0 to 4000 epsilon 0.1",
        "mean credit_amount from 0 to 4000 epsilon 0.1",
    ]);
    let mut tally = Tally::new(plan);
    for (amount, of, counted) in [
        ("999.99", "a", true),
        ("1000", "b", true),
        ("5000", "b", true),
        ("-7", "c", true),
        ("100", "z", false),
        ("*", "a", false),
        ("1e3", "a", false),
        ("", "a", false),
    ] {
        assert_eq!(tally.add(&[amount], &[of]).is_some(), counted, "{amount}");
    }
    assert_eq!(tally.add(&[], &["a"]), None);
    let exact = tally.exact();
    assert_eq!(exact.matched, 4);
    assert_eq!(
        exact.counts,
        [
            vec![vec![4]],
            vec![vec![1, 0, 1, 0, 1, 0, 0, 1, 0]],
            // 1000 + 1000 + 4000 + 0: rounded to steps of 1 and held within the bounds.
            vec![vec![6000]],
            // Distances from 2000: -1000, -1000, 2000, -2000.
            vec![vec![-2000], vec![4]],
        ]
    );
}

/// INVARIANT of the guarantee: whatever two datasets differ in one person, no part differs by more than its sensitivity.
mod sensitivity {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_row_changes_no_part_by_more(amounts in prop::collection::vec(-30_000_i64..60_000, 1..30), of in 0_usize..3) {
            let plan = plan(&[
                "count epsilon 0.1",
                "crosstab credit_amount bins 0,7,5000 by plan epsilon 0.1",
                "sum credit_amount from -2500 to 20000 step 10 epsilon 0.1",
                "mean credit_amount from -100 to 20001 step 3 epsilon 0.1",
                "quantile 0.5 credit_amount bins 10,100,1000 epsilon 0.1",
            ]);
            let counts = |amounts: &[i64]| {
                let mut tally = Tally::new(plan.clone());
                for amount in amounts {
                    tally.add(&[&amount.to_string()], &[["a", "b", "c"][of]]).unwrap();
                }
                tally.exact().counts.to_vec()
            };
            let (with, without) = (counts(&amounts), counts(&amounts[1..]));
            let parts = plan.queries().iter().zip(with.iter().zip(&without));
            for (planned, (with, without)) in parts {
                for ((part, with), without) in planned.parts().iter().zip(with).zip(without) {
                    let apart: u64 = with.iter().zip(without).map(|(a, b)| a.abs_diff(*b)).sum();
                    prop_assert!(apart <= part.sensitivity);
                }
            }
        }
    }
}

/// A delivery of these numbers, with noise of so small a scale that the intervals are points.
fn delivered(plan: &Plan, parts: Vec<Vec<Vec<i64>>>, scale: f64) -> Noisy {
    let flow = crate::text::FlowId::from_bytes([7; 16]);
    let part = |numbers| NoisyPart { scale, numbers };
    let noisy = Noisy {
        format: 1,
        flow,
        minimum: part(vec![100]),
        parts: parts
            .into_iter()
            .map(|parts| parts.into_iter().map(part).collect())
            .collect(),
        left: plan.cost(),
    };
    let json = serde_json::to_vec(&noisy).unwrap();
    Noisy::read(&json, flow, plan).unwrap()
}

#[test]
fn answers_are_computed_from_the_numbers() {
    let plan = plan(&[
        "count epsilon 0.1",
        "sum credit_amount from 0 to 4000 step 10 epsilon 0.1",
        "mean credit_amount from 0 to 4000 step 10 epsilon 0.1",
        "quantile 0.5 credit_amount bins 10,20,30 epsilon 0.1",
    ]);
    let noisy = delivered(
        &plan,
        vec![
            vec![vec![100]],
            vec![vec![-3]],
            vec![vec![-5000], vec![100]],
            vec![vec![30, 19, 2, 49]],
        ],
        0.01,
    );
    let answers = answers(&plan, &noisy, false).answers;
    let row = |index: usize| &answers[index].rows[0];
    assert_eq!(row(0).value, Figure::Whole(100));
    assert_eq!(row(1).value, Figure::Real(-30.0));
    // 2000 + (-5000 / 100) * 10.
    assert_eq!(row(2).value, Figure::Real(1500.0));
    assert_eq!(row(3).value, Figure::Group("[20,30)".into()));
    assert!(
        answers[0]
            .mechanism
            .contains("discrete Laplace, scale 0.0100")
    );
    // With real noise the median may be in any of several groups, and a mean of few is weak.
    let noisy = delivered(
        &plan,
        vec![
            vec![vec![9]],
            vec![vec![0]],
            vec![vec![0], vec![9]],
            vec![vec![30, 19, 2, 49]],
        ],
        10.0,
    );
    let answers = super::answers(&plan, &noisy, false).answers;
    let row = &answers[3].rows[0];
    assert_eq!(
        (&row.low, &row.high),
        (&Figure::Group("<10".into()), &Figure::Group(">=30".into()))
    );
    assert!(answers[0].rows[0].weak && answers[2].rows[0].weak && row.weak);
}

#[test]
fn a_delivery_of_another_shape_is_refused() {
    let plan = plan(&["crosstab plan by claim epsilon 0.1"]);
    let noisy = delivered(&plan, vec![vec![vec![1, 2, 3, 4, 5, 6]]], 1.0);
    let read = |noisy: &Noisy| Noisy::read(&serde_json::to_vec(noisy).unwrap(), noisy.flow, &plan);
    let part = |numbers, scale| vec![vec![NoisyPart { scale, numbers }]];
    for parts in [
        part(vec![1; 5], 1.0),
        part(vec![1; 6], 0.0),
        part(vec![1; 6], -1.0),
        Vec::new(),
    ] {
        assert!(
            read(&Noisy {
                parts,
                ..noisy.clone()
            })
            .is_err()
        );
    }
    assert!(
        read(&Noisy {
            format: 2,
            ..noisy.clone()
        })
        .is_err()
    );
    let other = crate::text::FlowId::from_bytes([8; 16]);
    assert!(Noisy::read(&serde_json::to_vec(&noisy).unwrap(), other, &plan).is_err());
    assert!(Noisy::read(b"{}", noisy.flow, &plan).is_err());
}

#[test]
fn a_scorecard_is_that_of_its_counts() {
    let plan = plan(&["scorecard plan by claim bad yes epsilon 1"]);
    // good 80, 60, 0; bad 20, 40, 10: by hand. The last bin has no weight, and its customers are of all.
    let noisy = delivered(&plan, vec![vec![vec![80, 20, 60, 40, 0, 10]]], 0.01);
    let card = answers(&plan, &noisy, false).answers[0]
        .scorecard
        .clone()
        .unwrap();
    let woe: Vec<Option<f64>> = card.bins.iter().map(|bin| bin.woe).collect();
    let (first, second) = (
        (80.0_f64 / 140.0 / (20.0 / 70.0)).ln(),
        (60.0_f64 / 140.0 / (40.0 / 70.0)).ln(),
    );
    assert!((woe[0].unwrap() - first).abs() < 1e-12 && (woe[1].unwrap() - second).abs() < 1e-12);
    assert_eq!(woe[2], None);
    assert!(!card.bins[0].weak && card.bins[2].weak && card.weak);
    let iv = (80.0 / 140.0 - 20.0 / 70.0) * first + (60.0 / 140.0 - 40.0 / 70.0) * second;
    assert!((card.information_value - iv).abs() < 1e-12);
    // The other value is bad: weights change sign, the information value does not.
    let plan = self::plan(&["scorecard plan by claim bad no epsilon 1"]);
    let noisy = delivered(&plan, vec![vec![vec![80, 20, 60, 40, 0, 10]]], 0.01);
    let other = answers(&plan, &noisy, false).answers[0]
        .scorecard
        .clone()
        .unwrap();
    assert!((other.bins[0].woe.unwrap() + first).abs() < 1e-12);
    assert!((other.information_value - iv).abs() < 1e-12);
}

#[test]
fn an_information_value_of_nothing_but_noise_is_flagged() {
    // The same share of bad in each bin, and noise of scale 10: what is seen is the noise's doing.
    let plan = plan(&["scorecard plan by claim bad yes epsilon 0.1"]);
    let noisy = delivered(&plan, vec![vec![vec![310, 95, 290, 104, 301, 108]]], 10.0);
    let card = answers(&plan, &noisy, false).answers[0]
        .scorecard
        .clone()
        .unwrap();
    assert!(card.weak && card.information_value_low == 0.0, "{card:?}");
    assert!(card.information_value < 0.005, "{card:?}");
}

#[test]
fn readable_tables_have_one_total_and_keep_the_noised_figures() {
    let plan = plan(&[
        "count epsilon 0.1",
        "histogram plan epsilon 0.1",
        "crosstab plan by claim epsilon 0.1",
    ]);
    let noisy = delivered(
        &plan,
        vec![
            vec![vec![97]],
            vec![vec![60, -8, 45]],
            vec![vec![30, 33, -2, 1, 20, 21]],
        ],
        5.0,
    );
    let told = answers(&plan, &noisy, true).answers;
    let totals: Vec<u64> = told
        .iter()
        .map(|a| a.rows.iter().filter_map(|row| row.readable).sum())
        .collect();
    assert!(totals.iter().all(|total| *total == totals[0]), "{totals:?}");
    assert_eq!(told[1].rows[1].value, Figure::Whole(-8));
    assert_eq!(told[1].rows[1].readable, Some(0));
}

#[test]
fn other_agreements_over_the_same_people_are_told_of() {
    let own = measured();
    assert_eq!(lint_beside(&own, std::slice::from_ref(&own)), [], "itself");
    let other = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(sample_text(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        Agreement::parse(&text).unwrap()
    };
    let id = sample().id().as_str().to_owned();
    let named = format!("id = \"{id}\"");
    let anew = |name: &str| format!("id = \"{name}\"");
    let rows = other(&[(&named, &anew("rows-too"))]);
    let advice = lint_beside(&own, std::slice::from_ref(&rows));
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(advice[0].path == "flows" && advice[0].line.is_some());
    assert!(advice[0].advice.contains("`rows-too`"));
    assert_eq!(lint_beside(&rows, std::slice::from_ref(&own)).len(), 1);
    // Other people.
    let text = "dataset = \"customers\"";
    let elsewhere = other(&[
        (&named, &anew("rows-too")),
        (text, "dataset = \"prospects\""),
    ]);
    assert_eq!(lint_beside(&own, &[elsewhere]), []);
    // Two names for the same people, by which nothing more could be asked.
    let renamed = agreement_with("retail-customers", "all-customers").unwrap();
    let canonical = String::from_utf8(renamed.canonical_bytes().to_vec()).unwrap();
    let renamed = canonical.replacen(&id, "figures-too", 1);
    let renamed = Agreement::from_canonical(renamed.as_bytes()).unwrap();
    let paths: Vec<_> = lint_beside(&own, &[renamed])
        .into_iter()
        .map(|advice| advice.path)
        .collect();
    assert!(
        paths.contains(&"measure.population".to_owned()),
        "{paths:?}"
    );
}
