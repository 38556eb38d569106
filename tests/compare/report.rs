//! The table and the plot.

use std::fmt::Write as _;

use serde_json::json;

use crate::measure::Cost;

/// One contender at one size.
#[derive(Debug)]
pub struct Line {
    pub contender: &'static str,
    pub rows: usize,
    pub cost: Cost,
}

/// As Markdown. Ratios are to `reference` at the same size, in processor time.
pub fn table(lines: &[Line], reference: &str) -> String {
    let mut text = format!(
        "| rows a side | contender | wall, s | CPU of all processes, s | CPU us per row of both | loopback MB | largest process, MiB | CPU / {reference} |\n|---|---|---|---|---|---|---|---|\n"
    );
    for line in lines {
        let ratio = cost_of(lines, reference, line.rows).map_or("–".to_owned(), |of| {
            format!("{:.2}", line.cost.cpu_s / of.cpu_s)
        });
        let Cost {
            wall_s,
            cpu_s,
            bytes,
            peak_mib,
        } = line.cost;
        let per_row = cpu_s * 1e6 / (2 * line.rows) as f64;
        let megabytes = bytes as f64 / 1e6;
        writeln!(
            text,
            "| {} | {} | {wall_s:.2} | {cpu_s:.2} | {per_row:.2} | {megabytes:.1} | {peak_mib} | {ratio} |",
            line.rows, line.contender
        )
        .unwrap();
    }
    text
}

/// As JSON.
pub fn json(lines: &[Line]) -> serde_json::Value {
    lines
        .iter()
        .map(|line| {
            json!({
                "contender": line.contender, "rows": line.rows, "wall_s": line.cost.wall_s, "cpu_s": line.cost.cpu_s,
                "loopback_bytes": line.cost.bytes, "peak_mib": line.cost.peak_mib,
            })
        })
        .collect()
}

/// Processor time of each contender at each size, as bars on a logarithmic scale, SVG.
pub fn chart(lines: &[Line]) -> String {
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 520.0;
    const STEP: usize = 24;
    // From 10 ms, the resolution of the clock, to the next power of ten above the largest.
    let largest = lines.iter().map(|line| line.cost.cpu_s).fold(0.1, f64::max);
    let decades = largest.log10().ceil() + 2.0;
    let x = |seconds: f64| LEFT + WIDTH * (seconds.max(0.01).log10() + 2.0) / decades;
    let height = lines.len() * STEP + 70;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"920\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\">CPU seconds of all processes (logarithmic)</text>\n"
    );
    for decade in 0..=decades as i32 {
        let seconds = 10_f64.powi(decade - 2);
        let (at, bottom) = (x(seconds), height - 25);
        writeln!(svg, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"30\" y2=\"{bottom}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds}</text>", height - 8).unwrap();
    }
    for (i, line) in lines.iter().enumerate() {
        let y = 36 + i * STEP;
        let colour = if line.contender.starts_with("counterfoil") {
            "#1b6ca8"
        } else {
            "#b0b0b0"
        };
        let (end, seconds) = (x(line.cost.cpu_s), line.cost.cpu_s);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}, {}</text>",
            LEFT - 8.0,
            y + 13,
            line.contender,
            line.rows
        )
        .unwrap();
        writeln!(svg, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"17\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{seconds:.2}</text>", end - LEFT, end + 5.0, y + 13).unwrap();
    }
    svg + "</svg>\n"
}

fn cost_of<'a>(lines: &'a [Line], contender: &str, rows: usize) -> Option<&'a Cost> {
    let found = lines
        .iter()
        .find(|line| line.contender == contender && line.rows == rows);
    found.map(|line| &line.cost)
}
