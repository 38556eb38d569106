//! `counterfoil measure`

mod output;
mod svg;
mod tables;

use std::path::Path;

use counterfoil_party::recipient::{
    MeasureOptions, Measured, Preview, measure, preview, resume_measure,
};
use counterfoil_policy::measure::{Asked, Query};
use counterfoil_policy::text::TagName;

use self::output::Files;
use super::{open, parse};
use crate::args::{MeasureArgs, needed};
use crate::failure::Failure;
use crate::progress::{Shown, describe_read};
use crate::ui::{Ui, table};

/// A file of sixteen queries of a kilobyte, with as much of comments.
const QUERIES_BYTES_MAX: u64 = 64 * 1024;

pub(crate) async fn run(home: &Path, args: MeasureArgs, ui: Ui) -> Result<(), Failure> {
    let home = open(home)?;
    if args.dry_run {
        let agreement = parse(&needed(args.agreement.as_ref(), "agreement")?)?;
        let asked = Asked {
            queries: queries(&args)?,
            delta: args.delta.as_deref().map(parse).transpose()?,
        };
        let preview = preview(&home, &agreement, &asked).await?;
        return ui.result(&preview, || forecast(&preview));
    }
    // A file that cannot be written is found out before the budget is spent.
    let files = Files::check(&args.out, args.overwrite)?;
    let shown = Shown::new(!ui.json());
    let measured = match &args.resume {
        Some(flow) => resume_measure(&home, parse(flow)?, args.readable, &shown.callback).await,
        None => measure(&home, &options(&args)?, &shown.callback).await,
    };
    let read = shown.finish();
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            if let Some(report) = read.filter(|_| !ui.json()) {
                eprintln!("{}", describe_read(&report));
            }
            return Err(error.into());
        }
    };
    files.write(&measured)?;
    ui.result(&measured, || {
        let read = read.map(|report| describe_read(&report) + "\n");
        read.unwrap_or_default() + &describe(&measured)
    })
}

fn options(args: &MeasureArgs) -> Result<MeasureOptions, Failure> {
    let columns = args.tags.iter().map(|pair| own_column(pair));
    Ok(MeasureOptions {
        agreement: parse(&needed(args.agreement.as_ref(), "agreement")?)?,
        user: parse(&needed(args.user.as_ref(), "as")?)?,
        segment: args.segment.as_deref().map(parse).transpose()?,
        identifier: args.own.by.as_deref().map(parse).transpose()?,
        queries: queries(args)?,
        delta: args.delta.as_deref().map(parse).transpose()?,
        source: args.own.source()?,
        column: args.own.column()?,
        region: args.own.region.as_deref().map(parse).transpose()?,
        columns: columns.collect::<Result<_, _>>()?,
        readable: args.readable,
    })
}

fn own_column(pair: &str) -> Result<(TagName, String), Failure> {
    let (tag, column) = pair.split_once('=').ok_or_else(|| {
        Failure::input(format!(
            "`{pair}` does not name a column: give --tag TAG=COLUMN"
        ))
    })?;
    Ok((parse(tag)?, column.to_owned()))
}

/// Those of the command line, then those of the file.
fn queries(args: &MeasureArgs) -> Result<Vec<Query>, Failure> {
    let mut queries = Vec::new();
    for text in &args.queries {
        queries.push(text.parse::<Query>().map_err(Failure::input)?);
    }
    if let Some(path) = &args.file {
        for (number, line) in read(path)?.lines().enumerate() {
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            queries.push(text.parse::<Query>().map_err(|error| {
                Failure::input(format!("`{}` line {}: {error}", path.display(), number + 1))
            })?);
        }
    }
    if queries.is_empty() {
        return Err(Failure::input(
            "nothing is asked: give queries such as \"count epsilon 0.5\", or a file with --queries",
        ));
    }
    Ok(queries)
}

fn read(path: &Path) -> Result<String, Failure> {
    let size = std::fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?;
    if size.len() > QUERIES_BYTES_MAX {
        return Err(Failure::input(format!(
            "`{}` is no file of queries: it has more than 64 KiB",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))
}

fn forecast(preview: &Preview) -> String {
    let forecast = &preview.forecast;
    let mut rows = vec![
        ["query", "figures", "95% within", "of"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(forecast.queries.iter().map(|query| {
        vec![
            query.query.clone(),
            query.cells.to_string(),
            format!("{:.4}", query.half_width),
            query.of.to_owned(),
        ]
    }));
    format!(
        "nothing was spent\n\n{}\ncost {}, of which {} finds out whether there are enough common customers and is spent in any case\nleft now {}; left after it {}{}\n{}",
        table(&rows),
        forecast.cost,
        forecast.minimum,
        preview.left,
        preview.left_after,
        if preview.fits {
            ""
        } else {
            ": it would be REFUSED"
        },
        forecast.renewal
    )
}

fn describe(measured: &Measured) -> String {
    let answers = &measured.answers;
    let tables: String = answers.answers.iter().map(tables::text).collect();
    format!(
        "{tables}about {} common customers of `{}` (noised; 95% from {} to {})\nspent {}; left {}\n{}\nrecorded as entry {} of the broker's log; receipt verified and kept in {}\nanswers kept in {}",
        answers.common_customers.value,
        measured.owner,
        answers.common_customers.low,
        answers.common_customers.high,
        answers.spent,
        answers.left,
        measured.renewal,
        measured.entry,
        measured.receipt.display(),
        measured.kept.display(),
    )
}
