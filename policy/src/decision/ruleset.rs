//! Rules as files: loaded, checked strictly, asked.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Effect, Entities, Policy, PolicyId, PolicySet, Request, Schema, ValidationMode,
    Validator,
};
use miette::Diagnostic;
use serde::Serialize;

use super::question::{Question, TagSet, Unaskable};
use crate::agreement::BuiltInPack;
use crate::finding::{Finding, Findings};
use crate::text::{closed_list, echo};

const SCHEMA: &str = include_str!("rules/schema.cedarschema");
const HOUSE: &str = include_str!("rules/house.cedar");
/// Largest file of rules, in bytes.
pub const RULES_BYTES_MAX: usize = 256 * 1024;
/// Most rules of one file.
const RULES_MAX: usize = 256;
/// Longest annotation, in bytes: it enters the log.
const ANNOTATION_BYTES_MAX: usize = 400;

closed_list!(
    /// Whether somebody compared a rule with the text that it cites.
    Verification, "a status of a rule", "verified or unverified",
    {
        Verified = "verified": "Read in the cited text.",
        Unverified = "unverified": "The cited text or its numbering was not checked.",
    }
);

/// One rule, as its annotations present it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Unique over all packs.
    pub id: String,
    /// `house`, or the pack's name.
    pub pack: String,
    /// The article that it rests on.
    pub source: String,
    /// What it finds, in words.
    pub says: String,
    /// What would pass.
    pub advice: String,
    /// Whether the source was read.
    pub status: Verification,
    /// It permits; all others forbid.
    pub permits: bool,
    /// The field that it is mostly about.
    pub field: String,
    /// What a permit obliges to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<String>,
    /// The tags that it is about, to be named where it denies.
    #[serde(skip)]
    pub(super) names: Option<TagSet>,
}

/// Tags that a denial names, at most: it enters the log.
const NAMED_MAX: usize = 8;

impl Rule {
    /// The tags of a question that the rule is about, if it says which; the first few.
    pub(super) fn tags(&self, question: &Question) -> Vec<String> {
        let names = self.names.into_iter();
        let tags = names.flat_map(|set| question.tags_in(set).take(NAMED_MAX));
        tags.map(str::to_owned).collect()
    }
}

/// Rules that cannot be loaded: the file, and each fault with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesError {
    /// The file.
    pub file: String,
    /// What is wrong in it.
    pub findings: Findings,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            let line = finding
                .line
                .map_or(String::new(), |line| format!(":{line}"));
            write!(
                f,
                "{separator}{}{line}: {}; would pass: {}",
                self.file, finding.problem, finding.would_pass
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesError {}

/// A pack as somebody wrote it.
#[derive(Clone, Debug)]
pub struct PackSource {
    /// Its name; that of a built-in pack replaces it.
    pub name: String,
    /// Where it stands, for messages.
    pub file: String,
    /// The rules.
    pub text: String,
}

/// The house rules and packs, loaded and checked.
///
/// INVARIANT (packs only deny): a pack holds no permit, and a request is granted only if no rule of any pack in force
/// applies. So whatever packs are added, nothing that was denied is granted.
#[derive(Debug)]
pub struct Rules {
    schema: Schema,
    house: RuleSet,
    packs: Vec<(RuleSet, Force)>,
}

/// When a pack's rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    /// Always.
    Always,
    /// Where an agreement names the pack.
    Named(BuiltInPack),
}

#[derive(Debug)]
struct RuleSet {
    name: String,
    rules: Vec<Rule>,
    policies: PolicySet,
}

/// What the rules say to one question.
#[derive(Debug)]
pub(super) struct Verdict<'r> {
    /// Rules that apply, in order: house first, then each pack.
    pub(super) applying: Vec<&'r Rule>,
    /// Rules that could not be evaluated. Cedar skips them, a forbid too, so one of them means deny.
    pub(super) broken: Vec<&'r Rule>,
}

static BUILT_IN: LazyLock<Rules> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant texts, loaded by a test")]
    Rules::load(BuiltInPack::ALL, &[]).expect("the built-in rules are valid")
});

impl Rules {
    /// The house rules with all four packs in force.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// The house rules with these packs always in force. Built-in packs that are not among them are asked where an
    /// agreement names them.
    ///
    /// # Errors
    /// [`RulesError`]: a file does not parse or type-check, holds a permit, lacks an annotation or repeats an id.
    pub fn load(in_force: &[BuiltInPack], own: &[PackSource]) -> Result<Self, RulesError> {
        let schema = Schema::from_str(SCHEMA).map_err(|error| RulesError {
            file: "schema.cedarschema".to_owned(),
            findings: Findings::of_document(error.to_string(), "the schema of this version"),
        })?;
        let mut ids = BTreeSet::new();
        let house = RuleSet::load("house", "house.cedar", HOUSE, &schema, &mut ids)?;
        let mut packs = Vec::new();
        for pack in BuiltInPack::ALL {
            let replaced = own.iter().find(|source| source.name == pack.as_str());
            let (file, text) = replaced.map_or_else(
                || (format!("{pack}.cedar"), built_in_text(*pack)),
                |source| (source.file.clone(), source.text.as_str()),
            );
            let force = if in_force.contains(pack) {
                Force::Always
            } else {
                Force::Named(*pack)
            };
            let set = RuleSet::load(pack.as_str(), &file, text, &schema, &mut ids)?;
            packs.push((set, force));
        }
        for source in own {
            if source.name.parse::<BuiltInPack>().is_err() {
                let set =
                    RuleSet::load(&source.name, &source.file, &source.text, &schema, &mut ids)?;
                packs.push((set, Force::Always));
            }
        }
        Ok(Self {
            schema,
            house,
            packs,
        })
    }

    /// The rules that are asked under an agreement that names these packs, house first.
    pub fn in_force<'r>(&'r self, named: &'r [BuiltInPack]) -> impl Iterator<Item = &'r Rule> {
        self.sets(named).flat_map(|set| set.rules.iter())
    }

    /// Names of the packs in force under an agreement that names these.
    pub fn packs<'r>(&'r self, named: &'r [BuiltInPack]) -> impl Iterator<Item = &'r str> {
        self.sets(named).skip(1).map(|set| set.name.as_str())
    }

    fn sets<'r>(&'r self, named: &'r [BuiltInPack]) -> impl Iterator<Item = &'r RuleSet> {
        let packs = self.packs.iter().filter(|(_, force)| match force {
            Force::Always => true,
            Force::Named(pack) => named.contains(pack),
        });
        std::iter::once(&self.house).chain(packs.map(|(set, _)| set))
    }

    /// Asks all rules in force.
    pub(super) fn ask(
        &self,
        question: &Question,
        named: &[BuiltInPack],
    ) -> Result<Verdict<'_>, Unaskable> {
        let (request, entities) = question.for_cedar(&self.schema)?;
        let mut verdict = Verdict {
            applying: Vec::new(),
            broken: Vec::new(),
        };
        // Not `named` itself: the verdict borrows the rules alone.
        for (set, force) in std::iter::once((&self.house, &Force::Always))
            .chain(self.packs.iter().map(|(set, force)| (set, force)))
        {
            if matches!(force, Force::Named(pack) if !named.contains(pack)) {
                continue;
            }
            set.ask(&request, &entities, &mut verdict);
        }
        Ok(verdict)
    }
}

impl Verdict<'_> {
    /// Some rule permits.
    pub(super) fn permit(&self) -> Option<&Rule> {
        self.applying.iter().find(|rule| rule.permits).copied()
    }

    /// The rules that forbid, in order.
    pub(super) fn forbids(&self) -> impl Iterator<Item = &Rule> {
        self.applying.iter().filter(|rule| !rule.permits).copied()
    }
}

impl RuleSet {
    fn load(
        name: &str,
        file: &str,
        text: &str,
        schema: &Schema,
        ids: &mut BTreeSet<String>,
    ) -> Result<Self, RulesError> {
        let fail = |findings: Vec<Finding>| RulesError {
            file: file.to_owned(),
            findings: Findings::new(findings),
        };
        if text.len() > RULES_BYTES_MAX {
            let problem = format!("the file has {} bytes", text.len());
            return Err(fail(vec![at(text, None, problem, "at most 262144 bytes")]));
        }
        let parsed = PolicySet::from_str(text).map_err(|errors| {
            let errors = errors.iter();
            fail(
                errors
                    .map(|e| diagnosed(text, e, "Cedar, as the built-in packs show"))
                    .collect(),
            )
        })?;
        let mut findings = Vec::new();
        if let Some(template) = parsed.templates().next() {
            let place = place_of(text, &template.to_cedar());
            findings.push(at(
                text,
                place,
                "a template is no rule",
                "a rule without slots",
            ));
        }
        let mut rules = Vec::new();
        for policy in in_order(text, &parsed) {
            match Annotated::read(name, &policy) {
                Ok(rule) if ids.insert(rule.id.clone()) => rules.push((rule, policy.policy)),
                Ok(rule) => findings.push(at(
                    text,
                    Some(policy.offset),
                    format!("the rule id `{}` is used twice", rule.id),
                    "an id of its own for each rule, over all packs",
                )),
                Err((problem, would_pass)) => {
                    findings.push(at(text, Some(policy.offset), problem, would_pass));
                }
            }
        }
        findings.extend(ill_typed(text, schema, &parsed));
        if rules.len() > RULES_MAX {
            findings.push(at(text, None, "the file has too many rules", "at most 256"));
        }
        if !findings.is_empty() {
            return Err(fail(findings));
        }
        let (rules, policies): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        let renamed = rules
            .iter()
            .zip(policies)
            .map(|(rule, policy): (&Rule, Policy)| policy.new_id(PolicyId::new(&rule.id)));
        let policies = PolicySet::from_policies(renamed).map_err(|e| {
            fail(vec![at(
                text,
                None,
                e.to_string(),
                "rules with ids of their own",
            )])
        })?;
        Ok(Self {
            name: name.to_owned(),
            rules,
            policies,
        })
    }

    fn ask<'r>(&'r self, request: &Request, entities: &Entities, verdict: &mut Verdict<'r>) {
        let answer = Authorizer::new().is_authorized(request, &self.policies, entities);
        let broken: BTreeSet<&str> = answer
            .diagnostics()
            .errors()
            .map(|error| {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                AsRef::<str>::as_ref(error.policy_id())
            })
            .collect();
        let applying: BTreeSet<&str> = answer
            .diagnostics()
            .reason()
            .map(AsRef::<str>::as_ref)
            .collect();
        for rule in &self.rules {
            if broken.contains(rule.id.as_str()) {
                verdict.broken.push(rule);
            } else if applying.contains(rule.id.as_str()) {
                verdict.applying.push(rule);
            }
        }
    }
}

fn built_in_text(pack: BuiltInPack) -> &'static str {
    match pack {
        BuiltInPack::Pipl => include_str!("rules/pipl.cedar"),
        BuiltInPack::CnFinance => include_str!("rules/cn-finance.cedar"),
        BuiltInPack::Gdpr => include_str!("rules/gdpr.cedar"),
        BuiltInPack::CrossBorder => include_str!("rules/cross-border.cedar"),
    }
}

/// A rule of a file, with where it begins.
struct Placed {
    policy: Policy,
    offset: usize,
}

/// The rules in the order in which they are written; Cedar keeps them by id.
fn in_order(text: &str, parsed: &PolicySet) -> Vec<Placed> {
    let mut placed: Vec<Placed> = parsed
        .policies()
        .map(|policy| Placed {
            offset: policy
                .to_cedar()
                .and_then(|written| place_of(text, &written))
                .unwrap_or(0),
            policy: policy.clone(),
        })
        .collect();
    placed.sort_by_key(|placed| placed.offset);
    placed
}

fn place_of(text: &str, written: &str) -> Option<usize> {
    text.find(written)
}

/// Reads a rule's annotations.
struct Annotated<'a>(&'a Policy);

impl Annotated<'_> {
    fn read(pack: &str, placed: &Placed) -> Result<Rule, (String, &'static str)> {
        let of = Annotated(&placed.policy);
        let permits = placed.policy.effect() == Effect::Permit;
        if permits && pack != "house" {
            return Err((
                "a pack holds a permit".to_owned(),
                "forbids only: packs restrict what the house permits",
            ));
        }
        let id = of.required("id")?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if id.len() > 64 || !id.chars().all(plain) {
            return Err((
                format!("`{}` is not a rule id", echo(&id)),
                "1 to 64 characters of a-z, 0-9, - and _",
            ));
        }
        let status = of.required("status")?;
        let names = of.0.annotation("names").map(|set| {
            TagSet::named(set).ok_or_else(|| {
                let problem = format!("`{}` is no set of tags", echo(set));
                (problem, "unclassified, c2_status, c2_exact or open_exact")
            })
        });
        let obligations = of.0.annotation("obligations").unwrap_or_default();
        Ok(Rule {
            pack: pack.to_owned(),
            source: of.required("source")?,
            says: of.required("says")?,
            advice: of.required("advice")?,
            status: status.parse().map_err(|_| {
                (
                    format!("`{}` is not a status of a rule", echo(&status)),
                    "verified or unverified",
                )
            })?,
            field: of.0.annotation("field").unwrap_or("request").to_owned(),
            obligations: obligations
                .split(';')
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect(),
            names: names.transpose()?,
            permits,
            id,
        })
    }

    fn required(&self, name: &str) -> Result<String, (String, &'static str)> {
        let text = self.0.annotation(name).unwrap_or_default().trim();
        match text.len() {
            0 => Err((
                format!("the annotation `@{name}` is missing"),
                "@id, @source, @says, @advice and @status with each rule",
            )),
            1..=ANNOTATION_BYTES_MAX => Ok(text.to_owned()),
            _ => Err((
                format!("the annotation `@{name}` is too long"),
                "at most 400 bytes",
            )),
        }
    }
}

fn ill_typed(text: &str, schema: &Schema, parsed: &PolicySet) -> Vec<Finding> {
    let checked = Validator::new(schema.clone()).validate(parsed, ValidationMode::Strict);
    checked
        .validation_errors()
        .map(|error| {
            diagnosed(
                text,
                error,
                "a rule that the schema types; `counterfoil policy schema` prints it",
            )
        })
        .collect()
}

fn diagnosed(text: &str, error: &dyn Diagnostic, would_pass: &str) -> Finding {
    let place = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map(|label| label.offset());
    let help = error
        .help()
        .map(|help| format!(" ({help})"))
        .unwrap_or_default();
    at(
        text,
        place,
        format!("{error}{help}").replace('\n', " "),
        would_pass,
    )
}

fn at(
    text: &str,
    place: Option<usize>,
    problem: impl Into<String>,
    would_pass: impl Into<String>,
) -> Finding {
    let line = place.map(|place| {
        let before = text
            .bytes()
            .take(place)
            .filter(|byte| *byte == b'\n')
            .count();
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    });
    Finding {
        line,
        path: String::new(),
        problem: problem.into(),
        would_pass: would_pass.into(),
    }
}

/// The schema that rules are checked against, for whoever writes a pack.
#[must_use]
pub fn schema_text() -> &'static str {
    SCHEMA
}
