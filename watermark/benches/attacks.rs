//! How many leaked rows it takes to name a leaker, under attack, beside the goals.
//!
//! `cargo bench -p counterfoil-watermark --bench attacks`; `TRIALS` sets another number than 20.
//! A trial finds the fewest rows at which E of a leaker, any of them if there are several, reaches
//! 10^15: a million candidates, one file in 10^9 that names anybody innocent. Two thirds of the
//! positions are the recipient's, so the goals, made for all of them, are multiplied by 1.5.

use counterfoil_watermark::{
    Budget, Column, Embedder, Form, Leak, Level, Lineage, MarkTag, MasterKey, Standard, SymbolKey,
    TagBits, Trace, assignments,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const NAME: &str = "bank/customers";
const CANDIDATES: u64 = 1_000_000;
const VALUES: [&str; 5] = ["1", "2", "3", "4", "5"];

type Fault = Box<dyn std::error::Error>;
type Table = Vec<Vec<Box<str>>>;

#[derive(Clone, Copy, PartialEq)]
enum Attack {
    None,
    Altered,
    Tens,
    RowsTwice,
    ColumnsSwapped,
    ScoreTimes(f64),
    DatesDayFirst,
    Invented,
    Mix,
    Majority,
    Minority,
    Min,
    Average,
    Coin,
    Drop,
}

/// All ways in which several put their deliveries together that the goals name, and a harder one.
const TOGETHER: [(Attack, &str); 7] = [
    (Attack::Mix, "mix"),
    (Attack::Majority, "majority"),
    (Attack::Min, "min"),
    (Attack::Average, "average"),
    (Attack::Coin, "coin"),
    (Attack::Drop, "drop"),
    (Attack::Minority, "minority (no goal)"),
];

/// Rows, if all positions were one key's.
struct Goals {
    name: &'static str,
    columns: &'static [&'static str],
    /// One leaker; 40% of cells altered; scores rounded to tens; a mix of two.
    single: [u32; 4],
    /// By number of recipients.
    together: &'static [(usize, u32)],
}

struct Case<'c> {
    columns: &'c [&'c str],
    attack: Attack,
    /// Deliveries of different recipients, or of one recipient's flows.
    deliveries: usize,
    one_recipient: bool,
    rows_max: usize,
    level: Level,
}

fn main() -> Result<(), Fault> {
    let trials = match std::env::var("TRIALS") {
        Ok(number) => number.parse()?,
        Err(_) => 20,
    };
    println!(
        "{:<28} {:<34} {:>8} {:>8} {:>8}",
        "columns", "leak", "median", "9 in 10", "goal"
    );
    let four: &'static [&'static str] = &["tier", "risk", "score", "aum"];
    let goals = [
        Goals {
            name: "2 ordinals, score, amount",
            columns: four,
            single: [75, 300, 100, 250],
            together: &[(3, 800), (5, 2600), (10, 13_000)],
        },
        Goals {
            name: "4 ordinals",
            columns: &["tier", "risk", "life", "holding"],
            single: [750, 4000, 1050, 2700],
            together: &[(3, 7800)],
        },
        Goals {
            name: "1 ordinal",
            columns: &["tier"],
            single: [2800, 17_500, 0, 11_000],
            together: &[(3, 29_000), (5, 78_000)],
        },
    ];
    for Goals {
        name,
        columns,
        single: [leaker, altered, tens, two],
        together,
    } in goals
    {
        let row = |leak: &str, attack, deliveries, goal| {
            let rows_max = 2 * 3 * goal as usize / 2;
            let level = Level::Recipient;
            let case = Case {
                columns,
                attack,
                deliveries,
                one_recipient: false,
                rows_max,
                level,
            };
            print_row(name, leak, &case, trials, Some(goal * 3 / 2))
        };
        row("one leaker", Attack::None, 1, leaker)?;
        row("40% of cells altered", Attack::Altered, 1, altered)?;
        if columns.contains(&"score") {
            row("scores rounded to tens", Attack::Tens, 1, tens)?;
        }
        row("2 recipients, mix", Attack::Mix, 2, two)?;
        for (recipients, goal) in together {
            // Five of one ordinal are a minute of work for each attack: the plain mix alone.
            let large = *goal > 30_000;
            for (attack, how) in TOGETHER
                .into_iter()
                .take(if large { 1 } else { TOGETHER.len() })
            {
                row(
                    &format!("{recipients} recipients, {how}"),
                    attack,
                    *recipients,
                    *goal,
                )?;
            }
        }
    }
    without_goal(four, trials)
}

/// Attacks for which there is no goal but naming the leaker.
fn without_goal(four: &[&str], trials: u64) -> Result<(), Fault> {
    let name = "2 ordinals, score, amount";
    let case = Case {
        columns: four,
        attack: Attack::None,
        deliveries: 1,
        one_recipient: false,
        rows_max: 2000,
        level: Level::Recipient,
    };
    let flow = Case {
        level: Level::Flow,
        ..case
    };
    print_row(name, "one leaker: its flow", &flow, trials, Some(75 * 3))?;
    for (attack, leak) in [
        (Attack::RowsTwice, "every row twice (rows of the file)"),
        (Attack::ColumnsSwapped, "columns reversed, names unknown"),
        (Attack::ScoreTimes(10.0), "scores times 10"),
        (Attack::ScoreTimes(0.01), "scores divided by 100"),
        (Attack::Invented, "half of the rows invented"),
    ] {
        print_row(name, leak, &Case { attack, ..case }, trials, None)?;
    }
    let merged = Case {
        attack: Attack::Mix,
        deliveries: 2,
        one_recipient: true,
        ..case
    };
    print_row(name, "2 deliveries to one, merged", &merged, trials, None)?;
    let dates = Case {
        columns: &["born"],
        ..case
    };
    print_row("1 date", "one leaker", &dates, trials, None)?;
    let reformatted = Case {
        attack: Attack::DatesDayFirst,
        ..dates
    };
    print_row(
        "1 date",
        "dates written day first",
        &reformatted,
        trials,
        None,
    )
}

fn print_row(
    name: &str,
    leak: &str,
    case: &Case<'_>,
    trials: u64,
    goal: Option<u32>,
) -> Result<(), Fault> {
    // Large files are as steady with fewer trials.
    let trials = if case.rows_max > 30_000 {
        trials.div_ceil(4)
    } else {
        trials
    };
    let mut needed = Vec::new();
    for seed in 0..trials {
        needed.push(rows_needed(case, seed)?);
    }
    needed.sort_unstable();
    let last = needed.len() - 1;
    let at = |tenths: usize| match needed.get((needed.len() * tenths / 10).min(last)).copied() {
        Some(usize::MAX) | None => format!(">{}", case.rows_max),
        Some(rows) => rows.to_string(),
    };
    let goal = goal.map_or_else(|| "-".to_owned(), |goal| goal.to_string());
    println!("{name:<28} {leak:<34} {:>8} {:>8} {goal:>8}", at(5), at(9));
    Ok(())
}

/// The fewest rows of one simulated leak that name a leaker, to 4 in 100; `usize::MAX` if all do not.
fn rows_needed(case: &Case<'_>, seed: u64) -> Result<usize, Fault> {
    let bits = TagBits::new(24)?;
    let lineage = lineage(case.columns, bits)?;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut tags: Vec<MarkTag> = (0..case.rows_max)
        .filter_map(|_| MarkTag::new(rng.next_u32() >> 8, bits))
        .collect();
    let held: Table = case
        .columns
        .iter()
        .map(|name| (0..case.rows_max).map(|_| cell(name, &mut rng)).collect())
        .collect();
    let master = MasterKey::from_bytes([7; 32]);
    let dataset = master.dataset(NAME);
    let mut keys = Vec::new();
    let mut copies = Vec::new();
    for number in 0..case.deliveries {
        let recipient = if case.one_recipient { 0 } else { number };
        let recipient = master.recipient(NAME, &format!("{seed}-{recipient}"));
        let flow = master.flow(NAME, &format!("{seed}-{number}"));
        copies.push(delivery(
            &Embedder::new(&lineage, &dataset, &recipient, &flow),
            &tags,
            &held,
        ));
        keys.push(if case.level == Level::Flow {
            flow
        } else {
            recipient
        });
    }
    let mut table = attacked(case, &copies, &mut rng);
    if case.attack == Attack::Invented {
        for (row, tag) in tags.iter_mut().enumerate().filter(|(row, _)| row % 2 == 1) {
            *tag = MarkTag::new(rng.next_u32() >> 8, bits).unwrap_or(*tag);
            for (name, column) in case.columns.iter().zip(&mut table) {
                if let Some(place) = column.get_mut(row) {
                    *place = cell(name, &mut rng);
                }
            }
        }
    }
    if case.attack == Attack::RowsTwice {
        tags = tags.iter().flat_map(|tag| [*tag, *tag]).collect();
        table = table
            .iter()
            .map(|column| {
                column
                    .iter()
                    .flat_map(|cell| [cell.clone(), cell.clone()])
                    .collect()
            })
            .collect();
    }
    search(case, |rows| {
        named(case, &lineage, &master, (&tags, &table), rows, &keys)
    })
}

fn search(
    case: &Case<'_>,
    mut named: impl FnMut(usize) -> Result<bool, Fault>,
) -> Result<usize, Fault> {
    if !named(case.rows_max)? {
        return Ok(usize::MAX);
    }
    let (mut short, mut enough) = (1, case.rows_max);
    while (enough - short) * 25 > enough {
        let middle = short + (enough - short) / 2;
        if named(middle)? {
            enough = middle;
        } else {
            short = middle;
        }
    }
    Ok(enough)
}

fn named(
    case: &Case<'_>,
    lineage: &Lineage,
    master: &MasterKey,
    (tags, table): (&[MarkTag], &Table),
    rows: usize,
    keys: &[SymbolKey],
) -> Result<bool, Fault> {
    let columns = table
        .iter()
        .map(|column| column.iter().take(rows).cloned().collect());
    let leak = Leak::new(tags.iter().take(rows).copied().collect(), columns.collect())?;
    let known: Vec<_> = match case.attack {
        Attack::ColumnsSwapped => Vec::new(),
        _ => (0..leak.width()).map(Some).collect(),
    };
    let readings = assignments(lineage, &leak, &known)?;
    let trace = Trace::new(lineage, &master.dataset(NAME), &leak, &readings);
    let threshold = Standard::BILLION.ln_threshold(CANDIDATES);
    Ok(keys
        .iter()
        .any(|key| trace.ln_e(case.level, key) >= threshold))
}

fn lineage(columns: &[&str], bits: TagBits) -> Result<Lineage, Fault> {
    let mut all = Vec::new();
    for name in columns {
        let form = match *name {
            "score" => Form::score("3".parse()?, Some(("0".parse()?, "1000".parse()?)))?,
            "aum" => Form::amount("1000000".parse()?)?,
            "born" => Form::date(None)?,
            _ => Form::ordinal(&VALUES, None)?,
        };
        all.push(Column::new(
            name,
            form,
            Budget::new(20_000, u64::MAX)?,
            bits,
        )?);
    }
    Ok(Lineage::new(all, bits)?)
}

fn cell(name: &str, rng: &mut ChaCha20Rng) -> Box<str> {
    let random = rng.next_u32();
    match name {
        "score" => (random % 1001).to_string().into(),
        "aum" => format!("{}.{}", 1000 + random % 9_000_000, 1 + random % 9).into(),
        "born" => format!(
            "{}-{:02}-{:02}",
            1950 + random % 60,
            1 + random / 64 % 12,
            1 + random / 1024 % 28
        )
        .into(),
        _ => VALUES
            .get((random % 5) as usize)
            .copied()
            .unwrap_or("1")
            .into(),
    }
}

fn delivery(embedder: &Embedder<'_>, tags: &[MarkTag], held: &Table) -> Table {
    let mut table = held.clone();
    for ((column, cells), held) in embedder
        .lineage()
        .columns()
        .iter()
        .zip(&mut table)
        .zip(held)
    {
        let changes = embedder.mark(column, tags, held.iter().map(AsRef::as_ref));
        for (row, marked) in changes.iter() {
            if let Some(cell) = cells.get_mut(row) {
                *cell = marked.into();
            }
        }
    }
    table
}

fn attacked(case: &Case<'_>, copies: &[Table], rng: &mut ChaCha20Rng) -> Table {
    let mut table = Table::new();
    for (place, name) in case.columns.iter().enumerate() {
        let mut column = Vec::with_capacity(case.rows_max);
        for row in 0..case.rows_max {
            let cells = copies
                .iter()
                .filter_map(|copy| copy.get(place)?.get(row).map(AsRef::as_ref));
            let cells: Vec<&str> = cells.collect();
            column.push(leaked(case.attack, name, &cells, rng));
        }
        table.push(column);
    }
    if case.attack == Attack::ColumnsSwapped {
        table.reverse();
    }
    table
}

/// What the leakers write, from the cells that they have.
fn leaked(attack: Attack, name: &str, cells: &[&str], rng: &mut ChaCha20Rng) -> Box<str> {
    let own = cells.first().copied().unwrap_or_default();
    let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    let turn = rng.next_u32() as usize;
    let pick = |from: &[&str]| -> Box<str> {
        let at = turn % from.len().max(1);
        from.get(at).copied().unwrap_or_default().into()
    };
    let mut values = cells.to_vec();
    values.sort_unstable_by(|a, b| number(a).total_cmp(&number(b)).then(a.cmp(b)));
    let count = |value: &&str| cells.iter().filter(|cell| *cell == value).count();
    let mut distinct = values.clone();
    distinct.dedup();
    let as_often_as = |times: Option<usize>| -> Vec<&str> {
        distinct
            .iter()
            .copied()
            .filter(|value| Some(count(value)) == times)
            .collect()
    };
    match attack {
        Attack::Altered if rng.next_u32() % 10 < 4 => cell(name, rng),
        Attack::Tens if name == "score" => ((number(own) / 10.0 + 0.5).floor() * 10.0)
            .to_string()
            .into(),
        Attack::ScoreTimes(factor) if name == "score" => {
            let text = format!("{:.2}", number(own) * factor);
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
        Attack::DatesDayFirst => own.rsplit('-').collect::<Vec<_>>().join(".").into(),
        Attack::Mix => pick(cells),
        Attack::Majority => pick(&as_often_as(distinct.iter().map(count).max())),
        Attack::Minority => pick(&as_often_as(distinct.iter().map(count).min())),
        Attack::Min => values.first().copied().unwrap_or_default().into(),
        Attack::Average => {
            let mean = values.iter().map(|value| number(value)).sum::<f64>() / values.len() as f64;
            // As precisely as the cells are written.
            if name == "aum" {
                format!("{mean:.1}").into()
            } else {
                mean.round().to_string().into()
            }
        }
        Attack::Coin => pick(&distinct),
        Attack::Drop if distinct.len() > 1 => "".into(),
        _ => own.into(),
    }
}
