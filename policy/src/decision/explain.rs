//! Every rule that takes part in a decision, in words.

use serde::Serialize;

use super::checks::CHECKS;
use super::{Denial, Facts, Question, Rule, Rules, Verification, answer, checks};
use crate::request::RequestBody;

/// A decision with everything it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// It would be granted.
    pub granted: bool,
    /// Why not: the first that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<Denial>,
    /// The packs that were asked.
    pub packs: Vec<String>,
    /// What the permit obliges to; empty where nothing is granted.
    pub obligations: Vec<String>,
    /// Comparisons with the agreement, then the house rules, then each pack.
    pub rules: Vec<Explained>,
}

/// One comparison or rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Which. Comparisons with the agreement have `agreement` for a pack.
    #[serde(flatten)]
    pub rule: Rule,
    /// It lets the request pass: a permit that applies, a forbid that does not, a comparison that holds.
    pub satisfied: bool,
    /// It could not be evaluated.
    pub broken: bool,
    /// The tags for which it denies, where it is about some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Explanation {
    /// Adds a comparison that the caller alone can make, which counts last: it denies only what all others let pass.
    pub fn add(&mut self, id: &str, says: &str, denial: Option<Denial>) {
        let place = self.rules.partition_point(Explained::is_comparison);
        self.rules.insert(place, found(id, says, denial.as_ref()));
        if self.granted && denial.is_some() {
            self.granted = false;
            self.obligations.clear();
            self.denial = denial;
        }
    }
}

/// The `pack` of comparisons.
const AGREEMENT: &str = "agreement";

impl Explained {
    /// It compares the request with the agreement, and is no rule.
    pub(super) fn is_comparison(&self) -> bool {
        self.rule.pack == AGREEMENT
    }
}

/// Decides as [`super::decide`] does, and says what every rule found. Of a request whose signature need not be
/// verified: nothing is granted by it.
#[must_use]
pub fn explain(rules: &Rules, facts: &Facts<'_>, request: &RequestBody) -> Explanation {
    let named = &facts.agreement.compliance().packs;
    let question = Question::new(facts, request);
    let decided = checks::all(facts, request).and_then(|_| answer(rules, &question, named));
    let mut explained: Vec<Explained> = CHECKS
        .iter()
        .map(|check| compared(check, facts, request))
        .collect();
    explained.extend(asked(rules, &question, named));
    Explanation {
        granted: decided.is_ok(),
        packs: rules.packs(named).map(str::to_owned).collect(),
        obligations: decided.clone().unwrap_or_default(),
        denial: decided.err(),
        rules: explained,
    }
}

fn compared(check: &checks::Check, facts: &Facts<'_>, request: &RequestBody) -> Explained {
    found(
        check.id,
        check.says,
        (check.run)(facts, request).err().as_ref(),
    )
}

fn found(id: &str, says: &str, denial: Option<&Denial>) -> Explained {
    let (field, advice) = denial.map_or_else(Default::default, |d| {
        (d.field.clone(), d.would_pass.clone())
    });
    Explained {
        rule: Rule {
            id: id.to_owned(),
            pack: AGREEMENT.to_owned(),
            source: "the agreement".to_owned(),
            says: says.to_owned(),
            advice,
            status: Verification::Verified,
            permits: false,
            field,
            obligations: Vec::new(),
            names: None,
        },
        satisfied: denial.is_none(),
        broken: false,
        tags: Vec::new(),
    }
}

fn asked(
    rules: &Rules,
    question: &Question,
    named: &[crate::agreement::BuiltInPack],
) -> Vec<Explained> {
    let verdict = rules.ask(question, named);
    let mut explained: Vec<Explained> = rules
        .in_force(named)
        .map(|rule| {
            let holds = |found: &[&Rule]| found.iter().any(|other| other.id == rule.id);
            let (applies, broken) = verdict.as_ref().map_or((false, true), |verdict| {
                (holds(&verdict.applying), holds(&verdict.broken))
            });
            let satisfied = !broken && applies == rule.permits;
            let tags = if satisfied {
                Vec::new()
            } else {
                rule.tags(question)
            };
            Explained {
                rule: rule.clone(),
                satisfied,
                broken,
                tags,
            }
        })
        .collect();
    // One permit is enough: those for other kinds of flow take no part then.
    let is_permit = |explained: &Explained| explained.rule.permits && explained.satisfied;
    if explained.iter().any(is_permit) {
        explained.retain(|explained| explained.satisfied || !explained.rule.permits);
    }
    explained
}
