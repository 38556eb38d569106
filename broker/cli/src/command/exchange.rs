//! `counterfoil exchange`

use std::path::Path;

use counterfoil_party::home::Home;
use counterfoil_party::recipient::{
    ExchangeOptions, Exchanged, Part, PartDone, TagLoss, exchange, exchange_part, resume,
    unfinished,
};
use serde_json::json;

use super::{open, parse};
use crate::args::{ExchangeArgs, needed};
use crate::failure::Failure;
use crate::progress::{Shown, describe_read};
use crate::ui::Ui;

pub(crate) async fn run(home: &Path, args: ExchangeArgs, ui: Ui) -> Result<(), Failure> {
    let home = open(home)?;
    if matches!(args.resume, Some(None)) {
        return list(&home, ui);
    }
    if args.resume.is_none() && !ui.json() {
        for flow in unfinished(&home)? {
            eprintln!(
                "note: flow `{flow}` was interrupted: `counterfoil exchange --resume {flow}` fetches what it released"
            );
        }
    }
    let shown = Shown::new(!ui.json());
    let progress = shown.callback.clone();
    let part = args.shard.zip(args.job.clone());
    let part = part.map(|(shard, job)| Part { job, shard });
    let done = match (args.resume.as_ref().and_then(Option::as_ref), &part) {
        (Some(flow), _) => resume(&home, parse(flow)?, &progress).await.map(delivered),
        (None, None) => exchange(&home, &options(&args)?, &progress)
            .await
            .map(delivered),
        (None, Some(part)) => exchange_part(&home, &options(&args)?, part, &progress).await,
    };
    let read = shown.finish();
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            // What was read explains many failures, such as an empty set.
            if let Some(report) = read.filter(|_| !ui.json()) {
                eprintln!("{}", describe_read(&report));
            }
            return Err(error.into());
        }
    };
    let done = match done {
        PartDone::Delivered(done) => done,
        PartDone::Joined { flow } => {
            let shard = part.map(|part| part.shard.to_string());
            return ui.result(&json!({ "flow": flow, "shard": shard, "released": true }), || {
                format!("all buckets are joined and flow `{flow}` is released; the first process of the job writes the file")
            });
        }
    };
    ui.result(&done, || {
        let read = read
            .map(|report| describe_read(&report) + "\n")
            .unwrap_or_default();
        read + &describe(&done)
    })
}

fn delivered(done: Exchanged) -> PartDone {
    PartDone::Delivered(Box::new(done))
}

/// The flows that were interrupted: whoever sat at a machine that lost its power was told nothing.
fn list(home: &Home, ui: Ui) -> Result<(), Failure> {
    let flows = unfinished(home)?;
    let flows: Vec<String> = flows.iter().map(ToString::to_string).collect();
    ui.result(&json!({ "interrupted": flows }), || {
        if flows.is_empty() {
            return "no flow was interrupted".into();
        }
        let lines = flows
            .iter()
            .map(|flow| format!("\n  counterfoil exchange --resume {flow}"));
        format!(
            "interrupted; each of these fetches what was released, or finds that nothing was:{}",
            lines.collect::<String>()
        )
    })
}

fn options(args: &ExchangeArgs) -> Result<ExchangeOptions, Failure> {
    Ok(ExchangeOptions {
        agreement: parse(&needed(args.agreement.as_ref(), "agreement")?)?,
        user: parse(&needed(args.user.as_ref(), "as")?)?,
        segment: args.segment.as_deref().map(parse).transpose()?,
        identifier: args.own.by.as_deref().map(parse).transpose()?,
        tags: args
            .tags
            .iter()
            .map(|tag| parse(tag))
            .collect::<Result<_, _>>()?,
        source: args.own.source()?,
        column: args.own.column()?,
        region: args.own.region.as_deref().map(parse).transpose()?,
        carry: args.carry.clone(),
        output: args
            .out
            .clone()
            .ok_or_else(|| Failure::input("--out is missing"))?,
        overwrite: args.overwrite,
    })
}

fn describe(done: &Exchanged) -> String {
    let loss = |tag: &TagLoss| {
        format!(
            "\n    {}: {} cells, {} of what it tells",
            tag.tag, tag.generalised, tag.loss
        )
    };
    let withheld = done.without_consent.as_ref().map(|count| {
        format!("\n  the owner left out {count} of its customers for want of a consent to this")
    });
    let marks = done
        .marks
        .as_ref()
        .map(|marks| format!("\n  marked for you: {marks}"));
    format!(
        "{} common customers of `{}`, matched with {}, written to {}{}\n  {} rows were made coarser, {} left out, so that no group is smaller than agreed{}{}\n  recorded as entry {} of the broker's log; receipt verified and kept in {}{}",
        done.delivered,
        done.owner,
        done.protocol,
        done.output.display(),
        withheld.unwrap_or_default(),
        done.generalised,
        done.suppressed,
        done.loss.iter().map(loss).collect::<String>(),
        marks.unwrap_or_default(),
        done.entry,
        done.receipt.display(),
        if done.acknowledged {
            String::new()
        } else {
            format!(
                "\n  the broker could not be told that it arrived: run `counterfoil exchange --resume {}`",
                done.flow
            )
        }
    )
}
