//! `counterfoil trace`

use std::path::Path;

use counterfoil_party::trace::{
    self, MarksRead, Prepared, Proposed, Resolved, TraceOptions, Traced,
};
use counterfoil_party::transport::Broker;
use indicatif::ProgressBar;
use serde_json::json;

use super::{open, parse};
use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::ui::Ui;

pub(crate) async fn run(home: &Path, args: TraceArgs, ui: Ui) -> Result<(), Failure> {
    let home = open(home)?;
    if args.pending {
        let pending = trace::pending(&home)?;
        return ui.result(&json!({ "pending": pending }), || list(&pending));
    }
    let user = args.user.as_deref().ok_or_else(|| missing("--as"))?;
    let (options, user) = (options(&args)?, parse(user)?);
    let prepared = trace::prepare(&home, &options)?;
    let Some(id) = &args.approve else {
        let proposed = trace::propose(&home, &prepared, &user)?;
        let told = json!({
            "proposed": proposed,
            "rows": prepared.resolved(),
            "columns": prepared.columns(),
        });
        return ui.result(&told, || describe_proposal(&prepared, &proposed, &args));
    };
    let id = parse(id)?;
    let broker = Broker::connect(&home).await?;
    let bar = bar(ui);
    let scored = {
        let mut tell = |scored, recipients| {
            bar.set_length(recipients);
            bar.set_position(scored);
        };
        trace::score(&home, &broker, &prepared, &id, &user, &mut tell).await
    };
    bar.finish_and_clear();
    let traced = scored?;
    if let Some(path) = &args.html {
        write(path, &trace::page(&traced))?;
    }
    if let Some(path) = &args.out {
        write(path, &traced.note)?;
    }
    ui.result(&traced, || describe(&traced))
}

fn missing(what: &str) -> Failure {
    Failure::input(format!("{what} is missing"))
}

fn options(args: &TraceArgs) -> Result<TraceOptions, Failure> {
    let known = args.known.iter().map(|pair| {
        let (column, tag) = pair
            .rsplit_once('=')
            .ok_or_else(|| Failure::input(format!("`--is {pair}` is not COLUMN=TAG")))?;
        Ok((column.to_owned(), parse(tag)?))
    });
    Ok(TraceOptions {
        file: args
            .file
            .clone()
            .ok_or_else(|| missing("the leaked file"))?,
        dataset: parse(&args.dataset)?,
        lineage: args.lineage.clone(),
        known: known.collect::<Result<_, Failure>>()?,
    })
}

fn bar(ui: Ui) -> ProgressBar {
    if ui.json() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0).with_message("recipients scored")
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    // An accusation is for those who asked for it.
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Failure::file("write", path, &e))
}

fn list(pending: &[Proposed]) -> String {
    if pending.is_empty() {
        return "no scoring waits for a second person".to_owned();
    }
    let lines = pending.iter().map(|proposed| {
        format!(
            "{}  {} rows of a file of `{}`, asked for by `{}` at {}\n",
            proposed.request.id,
            proposed.request.rows_used,
            proposed.request.lineage,
            proposed.maker.user(),
            proposed.request.at
        )
    });
    lines.collect()
}

fn describe_proposal(prepared: &Prepared, proposed: &Proposed, args: &TraceArgs) -> String {
    let file = args.file.as_deref().unwrap_or(Path::new("FILE"));
    format!(
        "{}\ncells of {} would be scored in lineage `{}`; the file and its identifiers stay here\nnothing is scored yet: a second person looks at the file and says\n  counterfoil trace {} --dataset {} --approve {} --as USER",
        describe_rows(prepared.resolved()),
        prepared.columns().join(", "),
        prepared.lineage(),
        file.display(),
        args.dataset,
        proposed.request.id
    )
}

fn describe_rows(rows: &Resolved) -> String {
    if let Some(why) = &rows.codes_only {
        return format!(
            "{} rows, {} with a reference code: only codes are looked at, because {why}",
            rows.rows, rows.used
        );
    }
    format!(
        "{} rows, {} of customers that are known by {}; not used: {} without an identifier, {} unknown, {} of several customers, {} unreadable",
        rows.rows,
        rows.used,
        rows.identifier_columns.join(", "),
        rows.without_identifier,
        rows.unknown,
        rows.contradictory,
        rows.bad
    )
}

fn describe(traced: &Traced) -> String {
    let report = &traced.report;
    let mut text = format!("{}\n", trace::verdict(report));
    text += &report
        .marks
        .as_ref()
        .map_or_else(String::new, describe_named);
    for coded in &report.coded {
        text += &format!(
            "  flow `{}` under `{}` v{}, entry {}, {}: {} different codes, which recipient and broker have and anybody can copy\n",
            coded.flow.flow,
            coded.flow.agreement,
            coded.flow.version,
            coded.flow.entry,
            coded.flow.time,
            coded.rows
        );
    }
    text += &format!("{}\n", describe_rows(&traced.rows));
    text += &report
        .marks
        .as_ref()
        .map_or_else(String::new, describe_marks);
    text + &format!(
        "the commitments that the broker names for {} flows are in receipts here, {} have none; incident `{}`, entry {}\nowner and broker together could make such a file, and which file was scored is the owner's word until it opens its key: otherwise it shows whose delivery it is",
        traced.commitments.in_receipts,
        traced.commitments.without_receipt,
        report.incident,
        report.scoring
    )
}

fn describe_named(marks: &MarksRead) -> String {
    let mut text = String::new();
    for accused in &marks.accused {
        text += &format!(
            "  `{}`: log10 E {:.2} (named from {:.2}), p {:.1e}\n",
            accused.recipient, accused.evidence.log10_e, marks.log10_threshold, accused.evidence.p
        );
        for flow in &accused.flows {
            let evidence = flow.evidence.map_or_else(
                || "not told from the others".to_owned(),
                |evidence| format!("log10 E {:.2}, p {:.1e}", evidence.log10_e, evidence.p),
            );
            text += &format!(
                "    flow `{}` under `{}` v{}, entry {}, {}: {evidence}\n",
                flow.flow, flow.agreement, flow.version, flow.entry, flow.time
            );
        }
    }
    let left_off: u64 = marks.accused.iter().map(|a| a.flows_left_off).sum();
    if left_off > 0 {
        text += &format!("    and {left_off} more flows\n");
    }
    text
}

fn describe_marks(marks: &MarksRead) -> String {
    let read: Vec<&str> = marks.columns.iter().map(|read| read.tag.as_str()).collect();
    format!(
        "{} candidates, anybody innocent is named in one of {} traces or fewer; read: {}\nthe broker says that it compared all keys with its log\n",
        marks.candidates,
        marks.false_naming_one_in,
        read.join(", ")
    )
}
