//! Tracing: candidates scored against a leaked file, and who may be named.

use crate::keys::{DatasetKey, SymbolKey};
use crate::leak::{Assignment, Leak};
use crate::likelihood::{Counts, Likelihood, add};
use crate::lineage::Lineage;
use crate::null::{Null, deviations, score};
use crate::position::{Places, Symbols};
use crate::reach::Reach;
use crate::sheet::{STAGES, Sheet, Sheets};

/// Candidates between two reports of progress.
const PROGRESS_STEP: usize = 4096;
/// Blocks, some seconds of work, up to which every candidate is scored in full.
const FULL_BLOCKS_MAX: u64 = 1 << 30;
/// Beyond that a candidate is given up at a stage where it is so many deviations short of where a
/// leaker stands whose full score just suffices: of such a one a stage has a share f of the reads, dealt out
/// without regard to the keys, and so its sum is about normal around f of the full one's with 1 - f of the variance of f reads
/// (sampling without replacement). 1.96 is once in 40 at each of four stages, so such a leaker is lost in one trace of ten at most;
/// one with twice the evidence never.
const SHORT_DEVIATIONS_MAX: f64 = 1.96;

/// Whose key is scored. Each level has positions of its own, so that an innocent flow of a guilty
/// recipient has no guilty symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A recipient: `K_R`, over all of its flows.
    Recipient,
    /// One flow: `K_F`.
    Flow,
}

/// How sure a naming has to be: the chance that anybody innocent is named at all, over every
/// candidate that is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    one_in: u64,
}

impl Standard {
    /// One in a billion files names anybody innocent, or fewer.
    pub const BILLION: Self = Self {
        one_in: 1_000_000_000,
    };

    /// One file in `one_in` names anybody innocent, or fewer.
    #[must_use]
    pub fn one_in(one_in: u64) -> Self {
        Self { one_in }
    }

    /// ln of the least E that names a candidate: candidates times `one_in` (Markov's inequality
    /// and the union bound; MARKS.md, theorem 2).
    #[must_use]
    pub fn ln_threshold(self, candidates: u64) -> f64 {
        (candidates.max(1) as f64).ln() + (self.one_in.max(1) as f64).ln()
    }
}

/// A recipient that may have leaked the file, and its flows in the lineage.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// `K_R`.
    pub recipient: SymbolKey,
    /// `K_F` of each of its flows.
    pub flows: Vec<SymbolKey>,
}

/// What a file says of one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// ln of the e-value: E is at least 1/a with chance at most a if the candidate is innocent.
    pub ln_e: f64,
    /// The exact chance that an innocent candidate's score is at least this one's, for this one
    /// candidate; at least 10^-300. The assignments are accounted for, other candidates are not.
    pub p: f64,
}

/// A recipient that is named.
#[derive(Clone, Debug)]
pub struct Accused {
    /// Its place among the suspects.
    pub suspect: usize,
    /// Why.
    pub evidence: Evidence,
    /// Its flows that are named too, by their place. Empty: which flow it was cannot be told.
    pub flows: Vec<(usize, Evidence)>,
}

/// What is missing where nobody is named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortfall {
    /// Rows of an unaltered delivery to one recipient that would do, less those of the file.
    /// `None`: the lineage's columns carry too little for so many candidates.
    pub rows_more_unaltered: Option<u64>,
    /// Rows that are missing if the candidate with most evidence leaked the file and the rest of
    /// it looks like this part. `None`: no candidate has any evidence.
    pub rows_more_at_this_rate: Option<u64>,
}

/// The outcome of a trace.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Recipients and flows that were candidates.
    pub candidates: u64,
    /// ln of the least E that names a candidate.
    pub ln_threshold: f64,
    /// Who is named, most evidence first.
    pub accused: Vec<Accused>,
    /// All other recipients, by their evidence.
    pub others: Histogram,
    /// What is missing, if nobody is named.
    pub shortfall: Option<Shortfall>,
}

/// How many candidates have log10 E in each unit: under -1, from -1 to 0, up to 18 and above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    bins: [u64; 20],
}

impl Histogram {
    /// Candidates by bin. Bin 0 is log10 E < -1, bin i is from i - 2 to i - 1, the last is open.
    #[must_use]
    pub fn bins(&self) -> &[u64] {
        &self.bins
    }

    fn add(&mut self, ln_e: f64) {
        let bin = (ln_e / std::f64::consts::LN_10).floor() + 2.0;
        let last = self.bins.len() - 1;
        // A cast from a float goes to the nearest end of the range.
        if let Some(count) = self.bins.get_mut((bin.max(0.0) as usize).min(last)) {
            *count += 1;
        }
    }
}

/// The reads of a leaked file, against which keys are scored.
pub struct Trace {
    likelihood: Likelihood,
    sheets: Vec<Sheets>,
    rows: u64,
    reach: Reach,
}

impl Trace {
    /// Reads a file under each assignment.
    #[must_use]
    pub fn new(
        lineage: &Lineage,
        dataset: &DatasetKey,
        leak: &Leak,
        assignments: &[Assignment],
    ) -> Self {
        let places = Places::new(dataset, lineage.flow_share());
        let read = |assignment| Sheets::new(lineage, &places, leak, assignment);
        Self {
            likelihood: Likelihood::new(),
            sheets: assignments.iter().map(read).collect(),
            rows: leak.rows() as u64,
            reach: Reach::new(lineage),
        }
    }

    /// Reads at a level, under the assignment that has most of them.
    #[must_use]
    pub fn reads(&self, level: Level) -> u64 {
        let sum = |sheets: &Sheets| stages(sheets, level).iter().map(Sheet::reads_sum).sum();
        self.sheets.iter().map(sum).max().unwrap_or(0)
    }

    /// AES blocks that a full score at a level takes.
    #[must_use]
    pub fn blocks(&self, level: Level) -> usize {
        let blocks = |sheets: &Sheets| {
            stages(sheets, level)
                .iter()
                .map(Sheet::blocks)
                .sum::<usize>()
        };
        self.sheets.iter().map(blocks).sum()
    }

    /// ln E of one candidate: the mean of E over the assignments.
    #[must_use]
    pub fn ln_e(&self, level: Level, key: &SymbolKey) -> f64 {
        self.ln_e_of(&self.full(level, &Symbols::new(key)))
    }

    /// ln E and the exact p-value of one candidate.
    #[must_use]
    pub fn evidence(&self, level: Level, key: &SymbolKey) -> Evidence {
        let tallies = self.full(level, &Symbols::new(key));
        let smallest = tallies.iter().map(|tally| {
            let (reads, matches) = tally.pooled();
            Null::new(reads).tail(score(matches))
        });
        // Bonferroni over the assignments.
        let p = smallest.fold(1.0, f64::min) * tallies.len().max(1) as f64;
        Evidence {
            ln_e: self.ln_e_of(&tallies),
            p: p.min(1.0),
        }
    }

    /// Scores all candidates and names those whose evidence suffices.
    ///
    /// Recipients first, where there are many in stages; then the flows of those that are named.
    /// `progress` is told how many recipients are scored.
    pub fn accuse(
        &self,
        standard: Standard,
        suspects: &[Suspect],
        mut progress: impl FnMut(usize),
    ) -> Verdict {
        let flows: u64 = suspects
            .iter()
            .map(|suspect| suspect.flows.len() as u64)
            .sum();
        let candidates = suspects.len() as u64 + flows;
        let ln_threshold = standard.ln_threshold(candidates);
        let work = (self.blocks(Level::Recipient) as u64).saturating_mul(suspects.len() as u64);
        let patience = (work > FULL_BLOCKS_MAX).then_some(ln_threshold);
        let mut scores = Vec::with_capacity(suspects.len());
        for (index, suspect) in suspects.iter().enumerate() {
            if index % PROGRESS_STEP == 0 {
                progress(index);
            }
            scores.push(self.staged(&suspect.recipient, patience));
        }
        progress(suspects.len());
        self.verdict(suspects, &scores, candidates, ln_threshold)
    }

    fn verdict(
        &self,
        suspects: &[Suspect],
        scores: &[Staged],
        candidates: u64,
        ln_threshold: f64,
    ) -> Verdict {
        let mut others = Histogram::default();
        let mut accused = Vec::new();
        let mut best = f64::NEG_INFINITY;
        for (index, (suspect, score)) in suspects.iter().zip(scores).enumerate() {
            best = best.max(score.ln_e);
            if score.full && score.ln_e >= ln_threshold {
                accused.push(Accused {
                    suspect: index,
                    evidence: self.evidence(Level::Recipient, &suspect.recipient),
                    flows: self.named_flows(&suspect.flows, ln_threshold),
                });
            } else {
                others.add(score.ln_e);
            }
        }
        accused.sort_by(|a, b| b.evidence.ln_e.total_cmp(&a.evidence.ln_e));
        let shortfall = accused
            .is_empty()
            .then(|| self.shortfall(best, ln_threshold));
        Verdict {
            candidates,
            ln_threshold,
            accused,
            others,
            shortfall,
        }
    }

    fn named_flows(&self, flows: &[SymbolKey], ln_threshold: f64) -> Vec<(usize, Evidence)> {
        let scored = flows.iter().map(|flow| self.evidence(Level::Flow, flow));
        let named = scored
            .enumerate()
            .filter(|(_, evidence)| evidence.ln_e >= ln_threshold);
        named.collect()
    }

    fn shortfall(&self, best: f64, ln_threshold: f64) -> Shortfall {
        let needed = self.reach.rows_needed(Level::Recipient, 1, ln_threshold);
        let at_rate = (best > 0.0).then(|| self.rows as f64 * (ln_threshold / best - 1.0));
        Shortfall {
            rows_more_unaltered: needed.map(|rows| rows.saturating_sub(self.rows)),
            // A cast from a float goes to the nearest end of the range.
            rows_more_at_this_rate: at_rate.map(|rows| rows.ceil() as u64),
        }
    }

    /// A recipient's score, stage by stage as long as it may still reach `ln_threshold`; in full
    /// if there is none.
    fn staged(&self, key: &SymbolKey, ln_threshold: Option<f64>) -> Staged {
        let symbols = Symbols::new(key);
        let mut tallies: Vec<_> = self.sheets.iter().map(Tally::empty).collect();
        for stage in 0..STAGES {
            let mut left = false;
            for (tally, sheets) in tallies.iter_mut().zip(&self.sheets) {
                let mut stages = sheets.recipient.iter().skip(stage);
                if let Some(sheet) = stages.next() {
                    tally.add(sheet, &symbols);
                }
                left |= stages.any(|sheet| sheet.blocks() > 0);
            }
            if left && ln_threshold.is_some_and(|ln| self.is_hopeless(&tallies, ln)) {
                return Staged {
                    ln_e: self.ln_e_of(&tallies),
                    full: false,
                };
            }
        }
        Staged {
            ln_e: self.ln_e_of(&tallies),
            full: true,
        }
    }

    /// ln E grows as half the square of a score's deviations, and those as the root of the reads.
    fn is_hopeless(&self, tallies: &[Tally], ln_threshold: f64) -> bool {
        tallies.iter().zip(&self.sheets).all(|(tally, sheets)| {
            let all: u64 = sheets.recipient.iter().map(Sheet::reads_sum).sum();
            let share = tally.reads_sum() as f64 / all.max(1) as f64;
            let expected = (2.0 * ln_threshold * share).sqrt();
            tally.deviations() < expected - SHORT_DEVIATIONS_MAX * (1.0 - share).max(0.0).sqrt()
        })
    }

    fn full(&self, level: Level, symbols: &Symbols) -> Vec<Tally> {
        let tally = |sheets: &Sheets| {
            let mut tally = Tally::empty(sheets);
            for sheet in stages(sheets, level) {
                tally.add(sheet, symbols);
            }
            tally
        };
        self.sheets.iter().map(tally).collect()
    }

    /// A mean of e-values is an e-value, however they depend on each other (Vovk and Wang 2021).
    fn ln_e_of(&self, tallies: &[Tally]) -> f64 {
        let scored = tallies.iter().map(|tally| {
            let channels = tally.reads.iter().zip(&tally.matches);
            self.likelihood
                .ln_e(channels.map(|(reads, matches)| (*reads, *matches)))
        });
        let scored: Vec<f64> = scored.collect();
        let largest = scored.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            // Nothing was read, so nothing was learnt: E = 1.
            return 0.0;
        }
        let sum: f64 = scored.iter().map(|ln| (ln - largest).exp()).sum();
        largest + (sum / scored.len() as f64).ln()
    }
}

fn stages(sheets: &Sheets, level: Level) -> &[Sheet; STAGES] {
    match level {
        Level::Recipient => &sheets.recipient,
        Level::Flow => &sheets.flow,
    }
}

struct Staged {
    ln_e: f64,
    full: bool,
}

/// A candidate's reads and matches by channel, under one assignment.
struct Tally {
    reads: Vec<Counts>,
    matches: Vec<Counts>,
}

impl Tally {
    fn empty(sheets: &Sheets) -> Self {
        let [first, ..] = &sheets.recipient;
        let none = vec![Counts::default(); first.reads().len()];
        Self {
            reads: none.clone(),
            matches: none,
        }
    }

    fn reads_sum(&self) -> u64 {
        self.reads
            .iter()
            .flatten()
            .map(|count| u64::from(*count))
            .sum()
    }

    fn add(&mut self, sheet: &Sheet, symbols: &Symbols) {
        for (sum, reads) in self.reads.iter_mut().zip(sheet.reads()) {
            add(sum, *reads);
        }
        sheet.count(symbols, &mut self.matches);
    }

    fn pooled(&self) -> (Counts, Counts) {
        let mut pooled = (Counts::default(), Counts::default());
        for (reads, matches) in self.reads.iter().zip(&self.matches) {
            add(&mut pooled.0, *reads);
            add(&mut pooled.1, *matches);
        }
        pooled
    }

    fn deviations(&self) -> f64 {
        let (reads, matches) = self.pooled();
        deviations(reads, matches)
    }
}

#[cfg(test)]
mod tests;
