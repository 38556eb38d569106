//! A trace as a page to print: no script, nothing loaded from anywhere.

use std::fmt::Write as _;

use counterfoil_proto::report::{AccusedFlow, AccusedRecipient, MarksRead, TraceReport};

use super::Traced;

const STYLE: &str = "body{font:11pt/1.45 Georgia,serif;max-width:44em;margin:2em auto;color:#111}\
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:1.6em}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.25em .6em .25em 0;border-bottom:1px solid #ccc;vertical-align:top}\
code{font-size:.85em;overflow-wrap:anywhere}.verdict{border:1px solid #111;padding:.8em 1em}\
pre{font-size:7pt;white-space:pre-wrap;overflow-wrap:anywhere}@media print{body{margin:0}}";

/// Size of the chart, and of its margins, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 26.0;

/// The page.
#[must_use]
pub fn page(traced: &Traced) -> String {
    let report = &traced.report;
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Trace {incident}</title><style>{STYLE}</style>\
<h1>Trace of a leaked file</h1><p>Incident <code>{incident}</code>, {time}, scored by <code>{broker}</code> for \
<code>{org}</code>.</p>{verdict}{marks}{coded}<h2>The file</h2>{file}<h2>How sure this is</h2>{sure}\
<h2>As signed by the broker</h2><pre>{note}</pre></html>",
        incident = escaped(&report.incident),
        time = escaped(&report.time),
        broker = escaped(&report.broker),
        org = escaped(&report.org),
        verdict = verdict(report),
        marks = report.marks.as_ref().map_or_else(String::new, marks),
        coded = coded(report),
        file = file(traced),
        sure = sure(traced),
        note = escaped(&traced.note),
    );
    page
}

fn verdict(report: &TraceReport) -> String {
    let text = super::report::verdict(report);
    format!("<p class=\"verdict\">{}</p>", escaped(&text))
}

fn marks(report: &MarksRead) -> String {
    let (chart, named) = (chart(report), named(report));
    format!("<h2>Scores</h2>{chart}<h2>Named</h2>{named}")
}

fn named(report: &MarksRead) -> String {
    if report.accused.is_empty() {
        return "<p>Nobody.</p>".to_owned();
    }
    let mut rows = String::from(
        "<table><tr><th>Recipient</th><th>log10 E</th><th>p</th><th>Flow, agreement, entry, time</th></tr>",
    );
    for accused in &report.accused {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{:.2}</td><td>{:.1e}</td><td>{}</td></tr>",
            escaped(&accused.recipient),
            accused.evidence.log10_e,
            accused.evidence.p,
            flows(accused)
        );
    }
    rows + "</table>"
}

fn coded(report: &TraceReport) -> String {
    if report.coded.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>Reference codes</h2><table><tr><th>Recipient</th><th>Rows</th><th>Flow, agreement, entry, time</th></tr>",
    );
    for coded in &report.coded {
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&coded.recipient),
            coded.rows,
            one_flow(&coded.flow)
        );
    }
    text + "</table><p>Who has neither the delivery nor its key makes a right code with a chance of 2<sup>-64</sup>. The recipient and \
the broker have the key, and whoever saw the delivery can copy codes; a code does not cover what stands beside it. Codes are no part of E, \
and their absence says nothing.</p>"
}

fn one_flow(flow: &AccusedFlow) -> String {
    format!(
        "<code>{}</code>, {} v{}, entry {}, {}",
        escaped(&flow.flow),
        escaped(&flow.agreement),
        flow.version,
        flow.entry,
        escaped(&flow.time)
    )
}

fn flows(accused: &AccusedRecipient) -> String {
    let told = accused.flows.iter().any(|flow| flow.evidence.is_some());
    let one = |flow: &AccusedFlow| {
        let evidence = flow.evidence.map_or_else(String::new, |evidence| {
            format!(" (log10 E {:.2}, p {:.1e})", evidence.log10_e, evidence.p)
        });
        one_flow(flow) + &evidence
    };
    let all: Vec<String> = accused.flows.iter().map(one).collect();
    if told {
        all.join("<br>")
    } else {
        let more = match accused.flows_left_off {
            0 => String::new(),
            more => format!("<br>and {more} more"),
        };
        format!(
            "which of its flows cannot be told:<br>{}{more}",
            all.join("<br>")
        )
    }
}

fn file(traced: &Traced) -> String {
    let (report, rows) = (&traced.report, &traced.rows);
    let fields = [
        (
            "SHA-256",
            format!("<code>{}</code>", escaped(&report.file_sha256)),
        ),
        ("Lineage", escaped(&report.lineage)),
        ("Rows", report.rows.to_string()),
        ("Rows used", report.rows_used.to_string()),
        ("Rows that could not be read", rows.bad.to_string()),
        (
            "Rows without a valid identifier",
            rows.without_identifier.to_string(),
        ),
        (
            "Rows of nobody that the owner knows",
            rows.unknown.to_string(),
        ),
        (
            "Rows of several customers at once",
            rows.contradictory.to_string(),
        ),
    ];
    let read = report.marks.iter().flat_map(|marks| {
        let columns = marks.columns.iter();
        let columns: Vec<String> = columns
            .map(|read| format!("{} ({})", escaped(&read.tag), escaped(&read.reading)))
            .collect();
        [
            ("Columns read", columns.join(", ")),
            ("Ways to read the columns", marks.readings.to_string()),
        ]
    });
    let mut table = String::from("<table>");
    for (name, value) in fields.into_iter().chain(read) {
        let _ = write!(table, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    table + "</table>"
}

fn sure(traced: &Traced) -> String {
    let report = &traced.report;
    format!(
        "{}<p>Here it was checked, without the broker, that the commitments it names for these flows are those in \
the receipts that were kept when the deliveries left: {} are, and for {} there is no receipt here. No key was opened for that. \
Owner and broker together could make a file that accuses anybody: the commitments fix the keys before the leak, they do not show that \
the two did not do it.</p><p>{}</p>",
        report
            .marks
            .as_ref()
            .map_or_else(|| of_codes(report), sure_of_marks),
        traced.commitments.in_receipts,
        traced.commitments.without_receipt,
        which_file(report)
    )
}

fn sure_of_marks(marks: &MarksRead) -> String {
    format!(
        "<p>{} recipients and flows were candidates, and each could have been named. A candidate is named if its E is at least \
10<sup>{:.2}</sup>; by that anybody innocent is named in one of {} such traces, or fewer, whatever the file holds, if it was made \
without the candidate's key (MARKS.md, theorems 1 and 2). p is exact and for one candidate alone.</p>\
<p>The broker states over its signature that before it scored it compared {} keys, those of all candidates and of the lineage, with \
the commitments in its log.</p>",
        marks.candidates, marks.log10_threshold, marks.false_naming_one_in, marks.keys_compared
    )
}

fn of_codes(report: &TraceReport) -> String {
    format!(
        "<p>No marks were scored: nothing here is evidence of who leaked. The broker states over its signature that it compared the keys of \
the codes of {} deliveries, all that have any, with the commitments in its log.</p>",
        report.code_keys_compared
    )
}

/// On what it rests that this file was scored.
fn which_file(report: &TraceReport) -> String {
    let word = "Which file was scored, and which of its rows are whose, is the word of the owner and of the two people who signed: an owner \
that has a copy of a delivery could have it scored under the name of another file";
    match &report.tag_key {
        None => format!("{word}."),
        Some(key) => format!(
            "{word}. It can be checked afterwards: the log has the digest of what was scored, and the commitment <code>{}</code> to the key of \
its mark tags, which is that of the deliveries, from before they left. An expert whom the owner gives the file, the key and its list of customers makes \
the same tags, or finds that it was not this file. That the list of customers is right stays the owner's word.",
            escaped(key)
        ),
    }
}

/// Bars for all who are not named, a line at the threshold, and a mark for each who is.
fn chart(report: &MarksRead) -> String {
    // Bin 0 is under -1, bin i from i - 2 to i - 1; accused may lie far beyond the last.
    let furthest = report.accused.iter().map(|a| a.evidence.log10_e);
    let right = furthest.fold(report.log10_threshold.max(18.0), f64::max) + 2.0;
    let x = |score: f64| LEFT + (score + 2.0) / (right + 2.0) * (WIDTH - LEFT - 10.0);
    let floor = HEIGHT - BOTTOM;
    // A single bin says how many the others are and not how they scored.
    let (bins, others) = match report.others.as_slice() {
        [few] => (&[][..], format!("{few} others are too few for a histogram")),
        bins => (
            bins,
            "all others as bars (number of recipients, on a logarithmic scale)".to_owned(),
        ),
    };
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    // By the logarithm: one of a million must be seen.
    let height = |count: u64| {
        let share = (count as f64 + 1.0).ln() / (most as f64 + 1.0).ln();
        share * (floor - TOP)
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"log10 E of all recipients\" width=\"100%\">\
<line x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\" stroke=\"#111\"/>"
    );
    for (bin, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let from = x(bin as f64 - 2.0);
        let (width, tall) = (x(bin as f64 - 1.0) - from - 1.0, height(*count));
        let top = floor - tall;
        let _ = write!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\" fill=\"#9ab\"/>\
<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\" text-anchor=\"middle\">{count}</text>",
            from + width / 2.0,
            top - 3.0
        );
    }
    let line = x(report.log10_threshold);
    let _ = write!(
        svg,
        "<line x1=\"{line:.1}\" y1=\"12\" x2=\"{line:.1}\" y2=\"{floor}\" stroke=\"#b00\" stroke-dasharray=\"5 3\"/>\
<text x=\"{line:.1}\" y=\"10\" font-size=\"10\" text-anchor=\"middle\" fill=\"#b00\">threshold</text>"
    );
    for (place, accused) in report.accused.iter().enumerate() {
        let (at, up) = (x(accused.evidence.log10_e), TOP + 14.0 * place as f64);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{up:.1}\" x2=\"{at:.1}\" y2=\"{floor}\" stroke=\"#111\" stroke-width=\"2\"/>\
<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\">{}</text>",
            at - 4.0,
            up + 9.0,
            escaped(&accused.recipient)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"middle\">log10 E: named recipients as lines; {others}</text></svg>",
        WIDTH / 2.0,
        HEIGHT - 8.0
    );
    svg
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
