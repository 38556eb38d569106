//! Answers as a picture: bars with their 95% intervals, and for two axes a heat map with the interval in each cell.

use std::fmt::Write as _;

use counterfoil_policy::measure::{Answer, Answers, Row};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 180.0;
const BAR: f64 = 22.0;
const CELL_HEIGHT: f64 = 40.0;
const HEAD: f64 = 46.0;
const GAP: f64 = 30.0;

/// All answers, one below the other.
pub(super) fn chart(answers: &Answers) -> String {
    let mut body = String::new();
    let mut top = 10.0;
    for answer in &answers.answers {
        top = panel(&mut body, answer, top) + GAP;
    }
    let foot = format!(
        "spent {}; left {}. Bars and cells are noised figures; lines and brackets are 95% intervals.",
        answers.spent, answers.left
    );
    text(&mut body, 10.0, top, "start", 11, &foot);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{:.0}\" font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
        top + 20.0
    )
}

/// Draws one answer; where the next may begin.
fn panel(body: &mut String, answer: &Answer, top: f64) -> f64 {
    text(body, 10.0, top + 14.0, "start", 14, &answer.query);
    text(body, 10.0, top + 30.0, "start", 10, &answer.mechanism);
    let top = top + HEAD;
    if answer.axes.len() == 2 {
        heat_map(body, &answer.rows, top)
    } else {
        bars(body, &answer.rows, top)
    }
}

/// A scale from figures to places.
struct Scale {
    least: f64,
    per_unit: f64,
}

impl Scale {
    fn of(rows: &[Row]) -> Self {
        let ends = rows
            .iter()
            .flat_map(|row| [row.low.number(), row.high.number()]);
        let (least, most) = ends
            .flatten()
            .fold((0.0_f64, 0.0_f64), |(least, most), end| {
                (least.min(end), most.max(end))
            });
        Self {
            least,
            per_unit: (WIDTH - LEFT - 90.0) / (most - least).max(f64::MIN_POSITIVE),
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.least) * self.per_unit
    }
}

fn bars(body: &mut String, rows: &[Row], top: f64) -> f64 {
    let scale = Scale::of(rows);
    let mut y = top;
    for row in rows {
        let middle = y + BAR / 2.0;
        let label: Vec<&str> = row.groups.iter().map(|group| &**group).collect();
        text(body, LEFT - 8.0, middle + 4.0, "end", 12, &label.join(", "));
        match (row.value.number(), row.low.number(), row.high.number()) {
            (Some(value), Some(low), Some(high)) => {
                bar(body, &scale, y, [value, low, high], row.weak);
                let end = scale.x(high.max(0.0)) + 6.0;
                text(body, end, middle + 4.0, "start", 11, &row.value.to_string());
            }
            // A quantile is a group.
            _ => {
                let told = format!("{} (from {} to {})", row.value, row.low, row.high);
                text(body, LEFT, middle + 4.0, "start", 12, &told);
            }
        }
        y += BAR + 6.0;
    }
    y
}

fn bar(body: &mut String, scale: &Scale, y: f64, [value, low, high]: [f64; 3], weak: bool) {
    let (from, to) = (scale.x(value.min(0.0)), scale.x(value.max(0.0)));
    let fill = if weak { "#c9c9c9" } else { "#4878a8" };
    let middle = y + BAR / 2.0;
    let (low, high) = (scale.x(low), scale.x(high));
    let _ = writeln!(
        body,
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\n<path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\" stroke=\"black\" fill=\"none\" class=\"interval\"/>",
        (to - from).max(0.5),
        middle - 4.0,
        middle - 4.0
    );
}

fn heat_map(body: &mut String, rows: &[Row], top: f64) -> f64 {
    let group = |row: &Row, axis: usize| {
        row.groups
            .get(axis)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let first = rows.first().map(|row| group(row, 0)).unwrap_or_default();
    // The last axis runs fastest, so a line of the map ends where the first group changes.
    let columns = rows
        .iter()
        .take_while(|row| group(row, 0) == first)
        .count()
        .max(1);
    #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
    let width = (WIDTH - LEFT - 20.0) / columns as f64;
    let most = rows
        .iter()
        .filter_map(|row| row.value.number())
        .fold(1.0, f64::max);
    let mut y = top + 18.0;
    for line in rows.chunks(columns) {
        let label = line.first().map(|row| group(row, 0)).unwrap_or_default();
        text(
            body,
            LEFT - 8.0,
            y + CELL_HEIGHT / 2.0 + 4.0,
            "end",
            12,
            &label,
        );
        let mut x = LEFT;
        for row in line {
            if y == top + 18.0 {
                text(
                    body,
                    x + width / 2.0,
                    top + 12.0,
                    "middle",
                    11,
                    &group(row, 1),
                );
            }
            cell(body, row, [x, y, width], most);
            x += width;
        }
        y += CELL_HEIGHT;
    }
    y
}

fn cell(body: &mut String, row: &Row, [x, y, width]: [f64; 3], most: f64) {
    let share = row
        .value
        .number()
        .map_or(0.0, |value| (value / most).clamp(0.0, 1.0));
    let pen = if share > 0.6 { "white" } else { "black" };
    let _ = writeln!(
        body,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{CELL_HEIGHT}\" fill=\"#4878a8\" fill-opacity=\"{share:.3}\" stroke=\"#999\"{}/>",
        if row.weak {
            " stroke-dasharray=\"3\""
        } else {
            ""
        }
    );
    let middle = x + width / 2.0;
    let _ = writeln!(
        body,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"12\" fill=\"{pen}\">{}</text>\n<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"9\" fill=\"{pen}\" class=\"interval\">[{}, {}]</text>",
        y + 18.0,
        row.value,
        y + 32.0,
        row.low,
        row.high
    );
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
    // Groups may hold `<`.
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
    );
}
