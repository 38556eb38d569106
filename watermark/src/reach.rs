//! Reach: how many leaked rows a lineage needs, and how many recipients together it withstands.
//!
//! A normal approximation of ln E under each attack, with the scheme's own parameters; MARKS.md
//! says what it leaves out. The e-value itself approximates nothing.

use crate::likelihood::{THETAS, chances};
use crate::lineage::{Column, Lineage};
use crate::position::BIASES;
use crate::trace::{Level, Standard};

/// Most recipients together that are considered.
pub const COLLUDERS_MAX: u32 = 20;
/// Standard deviations that ln E may fall short of its mean: named 19 times in 20.
const MARGIN: f64 = 1.645;
/// Candidates for which reach is stated beforehand: how many there are at a time is nobody's business.
pub const CANDIDATES_STATED: u64 = 1_000_000;
/// Weights of the three biases, in 2^-16.
const WEIGHTS: [u32; 3] = [21758, 22020, 21758];

/// What some recipients do together where their cells differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Each cell from one of them at random.
    Mix,
    /// The cell that most of them have.
    Majority,
    /// The cell that fewest of them have.
    Minority,
    /// Colour 1 wherever one of them has it.
    AllOnes,
    /// One of both cells by a coin.
    Coin,
    /// Cells that differ are left out.
    Drop,
}

impl Attack {
    /// All that are considered.
    pub const ALL: [Self; 6] = [
        Self::Mix,
        Self::Majority,
        Self::Minority,
        Self::AllOnes,
        Self::Coin,
        Self::Drop,
    ];

    /// The chance of colour 1 if `ones` of `all` have it; `None` if the cell is left out.
    fn of(self, ones: u32, all: u32) -> Option<f64> {
        if ones == 0 || ones == all {
            return Some(if ones == 0 { 0.0 } else { 1.0 });
        }
        let twice = f64::from(2 * ones);
        let most = match twice.total_cmp(&f64::from(all)) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        };
        match self {
            Self::Mix => Some(f64::from(ones) / f64::from(all)),
            Self::Majority => Some(most),
            Self::Minority => Some(1.0 - most),
            Self::AllOnes => Some(1.0),
            Self::Coin => Some(0.5),
            Self::Drop => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    /// Share of cells that carry a symbol, of either level.
    selected: f64,
    /// Share of those in which the mark is not to be read, as delivered.
    miss: f64,
}

/// What is promised of a delivery: a prediction (MARKS.md section 6), no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Traceability {
    /// Rows of it that have to leak, unaltered, for its recipient to be named 19 times in 20. `None`: it has not so many.
    pub rows_needed: Option<u64>,
    /// Recipients together, each with such a delivery, of whom one is still named. 0: not even one alone.
    pub colluders_max: u32,
}

impl std::fmt::Display for Traceability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rows_needed {
            Some(rows) => write!(
                f,
                "traceable if >= {rows} rows leak; collusion up to {}",
                self.colluders_max
            ),
            None => f.write_str("marked, and not traceable: too few rows for these columns"),
        }
    }
}

/// What a lineage's columns carry.
#[derive(Clone, Debug)]
pub struct Reach {
    channels: Vec<Channel>,
    /// Different tags there are.
    tags: f64,
    flow_share: f64,
}

impl Reach {
    /// Of all columns of a lineage, every cell as marked.
    #[must_use]
    pub fn new(lineage: &Lineage) -> Self {
        Self::thinned(lineage, |_| 1.0)
    }

    /// Of a lineage's columns where of the cells of each only such a share, 0 to 1, shows what marks made of it.
    #[must_use]
    pub fn thinned(lineage: &Lineage, shown: impl Fn(&Column) -> f64) -> Self {
        let mut channels = Vec::new();
        for column in lineage.columns() {
            let selected = column.selected_share() * shown(column).clamp(0.0, 1.0);
            let misses = column.form().misses();
            let of_column = misses.iter().take(column.form().channels());
            channels.extend(of_column.map(|miss| Channel {
                selected,
                miss: *miss,
            }));
        }
        Self {
            channels,
            tags: lineage.bits().tags() as f64,
            flow_share: f64::from(lineage.flow_share()) / 32768.0,
        }
    }

    /// Rows that must leak for a leaker to be named 19 times in 20, if so many recipients put
    /// their deliveries together in the worst way that is considered. `None`: no number of rows does.
    #[must_use]
    pub fn rows_needed(&self, level: Level, colluders: u32, ln_threshold: f64) -> Option<u64> {
        let mut most: f64 = 0.0;
        for attack in Attack::ALL {
            most = most.max(self.tags_needed(level, attack, colluders, ln_threshold)?);
        }
        // n rows have 2^b (1 - e^(-n / 2^b)) different tags.
        let filled = most / self.tags;
        if filled >= 1.0 {
            return None;
        }
        // A cast from a float goes to the nearest end of the range.
        Some((-(-filled).ln_1p() * self.tags).ceil() as u64)
    }

    /// Most recipients together of whom one is named still, in every way that is considered, if
    /// all of `rows` rows leak. 0: not even one.
    #[must_use]
    pub fn colluders_max(&self, level: Level, rows: u64, ln_threshold: f64) -> u32 {
        let enough = |colluders: &u32| {
            let needed = self.rows_needed(level, *colluders, ln_threshold);
            needed.is_some_and(|needed| needed <= rows)
        };
        (1..=COLLUDERS_MAX).take_while(enough).last().unwrap_or(0)
    }

    /// What can be said of a delivery of so many rows, at one false naming in a billion over [`CANDIDATES_STATED`].
    #[must_use]
    pub fn traceability(&self, rows: u64) -> Traceability {
        let ln_threshold = Standard::BILLION.ln_threshold(CANDIDATES_STATED);
        Traceability {
            rows_needed: (self.rows_needed(Level::Recipient, 1, ln_threshold))
                .filter(|needed| *needed <= rows),
            colluders_max: self.colluders_max(Level::Recipient, rows, ln_threshold),
        }
    }

    /// Rows needed for one leaker, for two together and so on, as far as any number of rows suffices; standard as in
    /// [`traceability`](Self::traceability).
    #[must_use]
    pub fn rows_by_colluders(&self) -> Vec<u64> {
        let ln_threshold = Standard::BILLION.ln_threshold(CANDIDATES_STATED);
        let needed = |colluders| self.rows_needed(Level::Recipient, colluders, ln_threshold);
        (1..=COLLUDERS_MAX).map_while(needed).collect()
    }

    /// Rows by which the flow of a single leaker is told, not only the recipient.
    #[must_use]
    pub fn rows_for_flow(&self) -> Option<u64> {
        let ln_threshold = Standard::BILLION.ln_threshold(CANDIDATES_STATED);
        self.rows_needed(Level::Flow, 1, ln_threshold)
    }

    /// Different tags needed, under whichever half of E gets there first.
    fn tags_needed(
        &self,
        level: Level,
        attack: Attack,
        colluders: u32,
        ln_threshold: f64,
    ) -> Option<f64> {
        let share = match level {
            Level::Recipient => 1.0 - self.flow_share,
            Level::Flow => self.flow_share,
        };
        let mut pooled = vec![(0.0, 0.0); THETAS.len()];
        let mut own = (0.0, 0.0);
        for channel in &self.channels {
            let density = channel.selected * share;
            let growths = THETAS.map(|theta| growth(theta, channel.miss, attack, colluders));
            let mut best = (0.0, 0.0);
            for (sum, (mean, variance)) in pooled.iter_mut().zip(growths) {
                sum.0 += density * mean;
                sum.1 += density * variance;
                if mean > best.0 {
                    best = (mean, variance);
                }
            }
            own.0 += density * best.0;
            own.1 += density * best.1;
        }
        let mixture = (THETAS.len() as f64).ln();
        let half = 2.0_f64.ln();
        let pooled = pooled.into_iter();
        let pooled = pooled.filter_map(|sums| positions(sums, ln_threshold + half + mixture));
        let product = ln_threshold + half + mixture * self.channels.len() as f64;
        let all = pooled.chain(positions(own, product));
        all.fold(None, |least: Option<f64>, tags| {
            Some(least.map_or(tags, |least| least.min(tags)))
        })
    }
}

/// Tags after which mean less margin reaches `target`, if each adds this mean and variance.
fn positions((mean, variance): (f64, f64), target: f64) -> Option<f64> {
    if mean <= 0.0 {
        return None;
    }
    let margin = MARGIN * variance.sqrt();
    let root = (margin + (margin * margin + 4.0 * mean * target).sqrt()) / (2.0 * mean);
    Some(root * root)
}

/// Mean and variance of what one position adds to ln of one term of the mixture, for a colluder.
fn growth(theta: f64, miss: f64, attack: Attack, colluders: u32) -> (f64, f64) {
    let (mut mean, mut square) = (0.0, 0.0);
    let missing = (-theta).ln_1p();
    for ((bias, weight), place) in BIASES.iter().zip(WEIGHTS).zip(0_usize..) {
        let p = f64::from(*bias) / 65536.0;
        let weight = f64::from(weight) / 65536.0;
        for colour in [false, true] {
            let chance_at = if colour { place } else { 2 - place };
            let chance = chances().get(chance_at).copied().unwrap_or(0.5);
            let matching = (theta * (1.0 / chance - 1.0)).ln_1p();
            // A cell that cannot show its symbol shows either colour, whatever the symbol is.
            let stuck = miss * weight;
            let shown = (1.0 - 2.0 * miss) * weight;
            let agree = shown * joint(p, colour, colour, attack, colluders) + stuck * chance;
            let differ =
                shown * joint(p, !colour, colour, attack, colluders) + stuck * (1.0 - chance);
            mean += agree * matching + differ * missing;
            square += agree * matching * matching + differ * missing * missing;
        }
    }
    (mean, square - mean * mean)
}

/// P(a colluder's symbol is `symbol` and the leaked colour is `colour`) at bias p.
fn joint(p: f64, symbol: bool, colour: bool, attack: Attack, colluders: u32) -> f64 {
    let others = colluders.saturating_sub(1);
    let own = if symbol { p } else { 1.0 - p };
    let mut sum = 0.0;
    // Binomial chances of `ones` among the others, by their ratios.
    let mut binomial = (1.0 - p).powf(f64::from(others));
    for ones in 0..=others {
        if let Some(one) = attack.of(ones + u32::from(symbol), colluders.max(1)) {
            sum += binomial * if colour { one } else { 1.0 - one };
        }
        binomial *= f64::from(others - ones) / f64::from(ones + 1) * p / (1.0 - p);
    }
    own * sum
}

#[cfg(test)]
mod tests;
