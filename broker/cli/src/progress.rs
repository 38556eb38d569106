//! Progress of an exchange: a bar on a terminal, nothing in a pipe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use counterfoil_party::data::ReadReport;
use counterfoil_party::recipient::{OnProgress, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::ui::table;

/// A bar, the callback that moves it, and what became of the own rows.
pub(crate) struct Shown {
    bar: ProgressBar,
    read: Arc<Mutex<Option<ReadReport>>>,
    pub(crate) callback: OnProgress,
}

impl Shown {
    /// On standard error, and only if that is a terminal and `visible`.
    pub(crate) fn new(visible: bool) -> Self {
        let bar = if visible {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.enable_steady_tick(Duration::from_millis(100));
        let moved = bar.clone();
        let read: Arc<Mutex<Option<ReadReport>>> = Arc::default();
        let keep = read.clone();
        let callback: OnProgress = Arc::new(move |progress| {
            if let Progress::Read { report } = &progress {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
            }
            show(&moved, &progress);
        });
        Self {
            bar,
            read,
            callback,
        }
    }

    /// Removes the bar; what became of the own rows, if they were read.
    pub(crate) fn finish(self) -> Option<ReadReport> {
        self.bar.finish_and_clear();
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// The own rows, used and not, with lines.
pub(crate) fn describe_read(report: &ReadReport) -> String {
    let rows = report
        .table()
        .into_iter()
        .map(|row| vec![format!("  {}", row.what), row.rows.to_string(), row.lines]);
    format!(
        "read {}\n{}",
        report.source,
        table(&rows.collect::<Vec<_>>())
    )
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match progress {
        Progress::Reading { rows } => bar.set_message(format!("reading: {rows} rows")),
        Progress::Read { .. } => bar.set_message("asking"),
        Progress::Granted { .. } => bar.set_message("granted; waiting for the partner's agent"),
        Progress::Stage { stage } => bar.set_message(stage.to_string()),
        Progress::Matching(matching) => {
            let (done, total) = (
                matching.own + matching.peer,
                matching.own_total + matching.peer_total,
            );
            count(bar, "matching", done, total);
        }
        Progress::Submitting { done, total } => count(bar, "submitting keys", *done, *total),
        Progress::Met { buckets } if *buckets > 1 => {
            bar.println(format!("the sets are matched in {buckets} buckets"));
        }
        Progress::Interrupted { why } => bar.println(format!("interrupted: {why}; trying again")),
        Progress::Released => spin(bar, "released; fetching"),
        Progress::Fetching { bytes } => spin(bar, &format!("fetching: {} KiB", bytes / 1024)),
        Progress::ReceiptVerified { .. } => spin(bar, "receipt verified; writing"),
        _ => {}
    }
}

fn count(bar: &ProgressBar, what: &'static str, done: u64, total: u64) {
    if bar.length() != Some(total)
        && let Ok(style) =
            ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}")
    {
        bar.set_style(style);
        bar.set_length(total);
    }
    bar.set_message(what);
    bar.set_position(done);
}

fn spin(bar: &ProgressBar, message: &str) {
    bar.set_style(ProgressStyle::default_spinner());
    bar.set_message(message.to_owned());
}
