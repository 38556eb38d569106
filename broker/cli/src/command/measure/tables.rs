//! Answers as text and as CSV.

use counterfoil_policy::measure::{Answer, Answers, Cost, Row, Scorecard};

use crate::ui::table;

/// One answer for a terminal.
pub(super) fn text(answer: &Answer) -> String {
    let readable = answer.rows.iter().any(|row| row.readable.is_some());
    let mut head: Vec<String> = answer.axes.clone();
    head.extend(["value", "95% from", "to"].map(str::to_owned));
    if readable {
        head.push("for readers".into());
    }
    let mut rows = vec![head];
    rows.extend(answer.rows.iter().map(|row| line(row, readable)));
    let card = answer.scorecard.as_ref().map(card).unwrap_or_default();
    let delta = answer
        .delta
        .map(|delta| format!(", delta {delta} for all Gaussian noise of the flow"))
        .unwrap_or_default();
    format!(
        "{}\n{}{card}  {}; epsilon {}{delta}\n\n",
        answer.query,
        table(&rows),
        answer.mechanism,
        answer.epsilon
    )
}

const WEAK: &str = "too little signal";

fn line(row: &Row, readable: bool) -> Vec<String> {
    let mut cells: Vec<String> = row.groups.iter().map(|group| group.to_string()).collect();
    cells.extend([&row.value, &row.low, &row.high].map(ToString::to_string));
    if readable {
        cells.push(row.readable.map(|n| n.to_string()).unwrap_or_default());
    }
    if row.weak {
        cells.push(WEAK.into());
    }
    cells
}

fn card(card: &Scorecard) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let mut rows = vec![
        ["group", "good", "bad", "WOE", "95% from", "to"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(card.bins.iter().map(|bin| {
        let mut cells = vec![
            bin.group.to_string(),
            bin.good.to_string(),
            bin.bad.to_string(),
            number(bin.woe),
            number(bin.woe_low),
            number(bin.woe_high),
        ];
        if bin.weak {
            cells.push(WEAK.into());
        }
        cells
    }));
    format!(
        "{}information value {:.3}, 95% from {:.3} to {:.3}{}\n",
        table(&rows),
        card.information_value,
        card.information_value_low,
        card.information_value_high,
        if card.weak {
            ": over bins with too little signal"
        } else {
            ""
        }
    )
}

/// All answers as one table: a line for each figure, with all that belongs to it.
pub(super) fn csv(answers: &Answers) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "query",
        "group_1",
        "group_2",
        "figure",
        "value",
        "low_95",
        "high_95",
        "weak",
        "readable",
        "mechanism",
        "epsilon",
        "delta",
        "left_epsilon",
        "left_delta",
    ])?;
    for answer in &answers.answers {
        let mut put = |of: Line| writer.write_record(of.cells(answer, answers.left));
        for row in &answer.rows {
            put(Line::of_row(row))?;
        }
        for of in answer.scorecard.iter().flat_map(Line::of_card) {
            put(of)?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

/// One line of the CSV form.
struct Line {
    groups: [String; 2],
    figure: &'static str,
    values: [String; 3],
    weak: bool,
    readable: String,
}

impl Line {
    fn of_row(row: &Row) -> Self {
        let group = |index: usize| {
            row.groups
                .get(index)
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        Self {
            groups: [group(0), group(1)],
            figure: "value",
            values: [&row.value, &row.low, &row.high].map(ToString::to_string),
            weak: row.weak,
            readable: row.readable.map(|n| n.to_string()).unwrap_or_default(),
        }
    }

    fn of_card(card: &Scorecard) -> Vec<Self> {
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let bins = card.bins.iter().map(|bin| Self {
            groups: [bin.group.to_string(), String::new()],
            figure: "woe",
            values: [bin.woe, bin.woe_low, bin.woe_high].map(number),
            weak: bin.weak,
            readable: String::new(),
        });
        let value = Self {
            groups: [String::new(), String::new()],
            figure: "information_value",
            values: [
                card.information_value,
                card.information_value_low,
                card.information_value_high,
            ]
            .map(|value| value.to_string()),
            weak: card.weak,
            readable: String::new(),
        };
        bins.chain([value]).collect()
    }

    fn cells(self, answer: &Answer, left: Cost) -> Vec<String> {
        let mut cells = vec![answer.query.clone()];
        cells.extend(self.groups);
        cells.push(self.figure.to_owned());
        cells.extend(self.values);
        cells.extend([
            self.weak.to_string(),
            self.readable,
            answer.mechanism.clone(),
        ]);
        cells.push(answer.epsilon.clone());
        cells.push(
            answer
                .delta
                .map(|delta| delta.to_string())
                .unwrap_or_default(),
        );
        cells.extend([left.epsilon.to_string(), left.delta.to_string()]);
        cells
    }
}
