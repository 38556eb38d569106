//! The short way for numbers whose reading is beyond doubt.
//!
//! Built from the same metadata as the crate's own reading, with every pattern compiled
//! once and tied to its beginning. It only ever accepts; whatever is not certain here goes
//! to the crate.

use std::sync::{LazyLock, OnceLock};

use phonenumber::Metadata;
use phonenumber::metadata::{DATABASE, Descriptor};
use regex::{Regex, RegexBuilder};

use super::{Digits, E164_DIGITS_MAX, Number, Region};

/// The digits of the E.164 form, if the number is certainly valid and certainly means that.
pub(super) fn e164(number: &Number) -> Option<Digits> {
    match number {
        Number::International(digits) => international(digits.as_str()),
        Number::National(digits, region) => national(digits.as_str(), *region),
    }
}

/// A valid number in international form needs no further reading: it has no trunk prefix.
fn international(digits: &str) -> Option<Digits> {
    let (code, rest) = split_country_code(digits)?;
    joined(code, rest)
}

fn national(digits: &str, region: Region) -> Option<Digits> {
    let rules = region_rules(region)?;
    let rest = rules.trunk.strip(digits)?;
    // A country code without `+` in front of it? The crate has a rule for that.
    if rest.starts_with(&rules.code.text) {
        return None;
    }
    joined(rules.code, rest)
}

fn joined(code: &CountryCode, rest: &str) -> Option<Digits> {
    if code.text.len() + rest.len() > E164_DIGITS_MAX || !code.accepts(rest) {
        return None;
    }
    Digits::joined([&code.text, rest])
}

/// Length of the international prefix that `digits` begin with, as dialled in `region`.
/// No country code begins with 0, so before a 0 it is none.
pub(super) fn international_prefix(region: Region, digits: &str) -> Option<usize> {
    let end = region_rules(region)?
        .international_prefix
        .as_ref()?
        .find(digits)?
        .end();
    let next = digits.as_bytes().get(end)?;
    (*next != b'0').then_some(end)
}

/// A country code and the regions that share it.
struct CountryCode {
    text: String,
    /// In the crate's order: the main region first.
    regions: Vec<RegionPatterns>,
}

/// Country codes have one to three digits (ITU-T E.164), and none begins another.
static CODES: LazyLock<Vec<Option<CountryCode>>> = LazyLock::new(|| {
    (0..1_000_u16)
        .map(|code| {
            let regions = DATABASE.by_code(&code)?;
            let regions = regions.into_iter().map(RegionPatterns::new).collect();
            Some(CountryCode {
                text: code.to_string(),
                regions,
            })
        })
        .collect()
});

fn split_country_code(digits: &str) -> Option<(&'static CountryCode, &str)> {
    (1..=3).find_map(|length| {
        let (code, rest) = digits.split_at_checked(length)?;
        if code.starts_with('0') {
            return None;
        }
        let code = CODES.get(code.parse::<usize>().ok()?)?.as_ref()?;
        Some((code, rest))
    })
}

impl CountryCode {
    /// The crate's `is_valid`: the first region that claims the number decides. A region claims
    /// it by its leading digits if it has any, else by having a type for it.
    fn accepts(&self, national: &str) -> bool {
        if let [only] = self.regions.as_slice() {
            return only.accepts(national);
        }
        for region in &self.regions {
            match &region.leading_digits {
                Some(leading) if leading.is_match(national) => return region.accepts(national),
                None if region.accepts(national) => return true,
                _ => {}
            }
        }
        false
    }
}

/// The numbers of one region. Its patterns are compiled when the first number asks for them.
struct RegionPatterns {
    metadata: &'static Metadata,
    leading_digits: Option<Regex>,
    general: OnceLock<ByLength>,
    types: OnceLock<ByLength>,
}

impl RegionPatterns {
    fn new(metadata: &'static Metadata) -> Self {
        let leading_digits = metadata.leading_digits().and_then(|p| anchored(p.as_str()));
        Self {
            metadata,
            leading_digits,
            general: OnceLock::new(),
            types: OnceLock::new(),
        }
    }

    /// The crate's `number_type(..) != Unknown`: the general description fits, and that of a type.
    fn accepts(&self, national: &str) -> bool {
        let all = self.metadata.descriptors();
        let general = || ByLength::new(&[all.general()]);
        let types = || {
            let known = [
                all.premium_rate(),
                all.toll_free(),
                all.shared_cost(),
                all.voip(),
                all.personal_number(),
                all.pager(),
                all.uan(),
                all.voicemail(),
                all.fixed_line(),
                all.mobile(),
            ];
            ByLength::new(&known.into_iter().flatten().collect::<Vec<_>>())
        };
        self.general.get_or_init(general).accepts(national)
            && self.types.get_or_init(types).accepts(national)
    }
}

/// For each length of national number the patterns that allow it, as one automaton.
struct ByLength(Vec<Option<Regex>>);

impl ByLength {
    fn new(descriptors: &[&Descriptor]) -> Self {
        let of_length = |length: u16| {
            let patterns: Vec<String> = descriptors
                .iter()
                .filter(|d| d.possible_length().is_empty() || d.possible_length().contains(&length))
                .map(|d| format!("(?:{})", d.national_number().as_str()))
                .collect();
            (!patterns.is_empty())
                .then(|| anchored(&patterns.join("|")))
                .flatten()
        };
        Self((0..=17).map(of_length).collect())
    }

    fn accepts(&self, national: &str) -> bool {
        let pattern = self.0.get(national.len()).and_then(Option::as_ref);
        pattern.is_some_and(|pattern| pattern.is_match(national))
    }
}

/// Compiles a pattern of the metadata so that it matches at the beginning only. The crate
/// searches and then asks whether the match began at 0, which comes to the same.
fn anchored(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(&format!("^(?:{pattern})"))
        .ignore_whitespace(true)
        .unicode(false)
        .build()
        .ok()
}

/// How numbers are dialled inside a region.
struct RegionRules {
    code: &'static CountryCode,
    international_prefix: Option<Regex>,
    trunk: Trunk,
}

/// Regions by their place in the crate's list, which has some 250.
static REGIONS: [OnceLock<Option<RegionRules>>; 512] = [const { OnceLock::new() }; 512];

fn region_rules(region: Region) -> Option<&'static RegionRules> {
    let build = || {
        let metadata = DATABASE.by_id(region.0.as_ref())?;
        Some(RegionRules {
            code: CODES.get(usize::from(metadata.country_code()))?.as_ref()?,
            international_prefix: metadata
                .international_prefix()
                .and_then(|pattern| anchored(pattern.as_str())),
            trunk: Trunk::new(metadata)?,
        })
    };
    REGIONS.get(region.0 as usize)?.get_or_init(build).as_ref()
}

/// What is dialled before a national number inside its region.
enum Trunk {
    /// Nothing.
    None,
    /// These digits, once, and nothing more complicated.
    Digits(String),
    /// Carrier codes, area codes that may be left out and the like: left to the crate.
    Complicated(Regex),
}

impl Trunk {
    fn new(metadata: &Metadata) -> Option<Self> {
        let plain = metadata.national_prefix();
        let pattern = metadata.national_prefix_for_parsing().map(|p| p.as_str());
        let transformed = metadata.national_prefix_transform_rule().is_some();
        match (plain, pattern) {
            (None, None) => Some(Self::None),
            (Some(plain), None) => Some(Self::Digits(plain.to_owned())),
            (Some(plain), Some(pattern)) if plain == pattern && !transformed => {
                Some(Self::Digits(plain.to_owned()))
            }
            (plain, Some(pattern)) => {
                let plain = plain.map(|plain| format!("|{plain}")).unwrap_or_default();
                anchored(&format!("(?:{pattern}){plain}")).map(Self::Complicated)
            }
        }
    }

    /// The national number, or `None` where the crate must say.
    fn strip<'a>(&self, digits: &'a str) -> Option<&'a str> {
        match self {
            Self::None => Some(digits),
            // Once only: `8 812 ...` in Russia is trunk prefix 8 and area code 812.
            Self::Digits(prefix) => Some(digits.strip_prefix(prefix.as_str()).unwrap_or(digits)),
            Self::Complicated(pattern) => (!pattern.is_match(digits)).then_some(digits),
        }
    }
}
