//! Whether the corpus would notice a rule that says something else.
//!
//! Each condition is changed in one place (a part left out, a sign turned, a bound moved by one, an element dropped, a text
//! altered), and some decision of the corpus about that rule must come out otherwise: mutation analysis, DeMillo, Lipton and
//! Sayward, "Hints on test data selection" (Computer 11(4), 1978).

use std::str::FromStr as _;

use cedar_policy::{Authorizer, Entities, Policy, PolicySet, Request, Schema};
use serde_json::{Value, json};

use super::super::schema_text;
use super::corpus;

const RULES: [&str; 5] = [
    include_str!("../rules/house.cedar"),
    include_str!("../rules/pipl.cedar"),
    include_str!("../rules/cn-finance.cedar"),
    include_str!("../rules/gdpr.cedar"),
    include_str!("../rules/cross-border.cedar"),
];

/// A decision of the corpus, as Cedar is asked it.
struct Asked {
    rule: String,
    request: Request,
    entities: Entities,
}

fn all_asked() -> Vec<Asked> {
    let schema = Schema::from_str(schema_text()).unwrap();
    let asked = corpus().into_iter().map(|case| {
        let (request, entities) = case.question().for_cedar(&schema).unwrap();
        Asked {
            rule: case.rule,
            request,
            entities,
        }
    });
    asked.collect()
}

/// Whether a rule applies; `None` if it cannot be evaluated.
fn applies(policy: &Policy, asked: &Asked) -> Option<bool> {
    let set = PolicySet::from_policies([policy.clone()]).unwrap();
    let answer = Authorizer::new().is_authorized(&asked.request, &set, &asked.entities);
    let is_evaluated = answer.diagnostics().errors().next().is_none();
    is_evaluated.then(|| answer.diagnostics().reason().next().is_some())
}

/// The expression with one thing changed, in each way.
fn mutants(expression: &Value) -> Vec<Value> {
    let mut all = changed_here(expression);
    match expression {
        Value::Object(fields) => {
            for (key, inner) in fields {
                all.extend(mutants(inner).into_iter().map(|inner| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), inner);
                    Value::Object(fields)
                }));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                all.extend(mutants(inner).into_iter().map(|inner| {
                    let mut items = items.clone();
                    items[index] = inner;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    all
}

fn changed_here(expression: &Value) -> Vec<Value> {
    let Some((operator, inner)) = expression
        .as_object()
        .and_then(|fields| fields.iter().next())
    else {
        return Vec::new();
    };
    let turned = |other: &str| vec![json!({ other: inner })];
    match operator.as_str() {
        "&&" => vec![inner["left"].clone(), inner["right"].clone()],
        "||" => vec![inner["left"].clone(), inner["right"].clone()],
        "!" => vec![inner["arg"].clone()],
        "==" => turned("!="),
        "!=" => turned("=="),
        "<" => turned("<="),
        "<=" => turned("<"),
        ">" => turned(">="),
        ">=" => turned(">"),
        "Set" => {
            let items = inner.as_array().unwrap();
            let without = (0..items.len()).map(|index| {
                let mut items = items.clone();
                items.remove(index);
                json!({ "Set": items })
            });
            without.collect()
        }
        "Value" => match (inner.as_i64(), inner.as_str()) {
            (Some(number), _) => vec![
                json!({ "Value": number + 1 }),
                json!({ "Value": number - 1 }),
            ],
            (_, Some(text)) => vec![json!({ "Value": format!("not-{text}") })],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The policy with each of its conditions changed in each way, and with it left out.
fn of_policy(policy: &Policy) -> Vec<Value> {
    let written = policy.to_json().unwrap();
    let conditions = written["conditions"].as_array().unwrap();
    let with = |index: usize, body: Value| {
        let mut other = written.clone();
        other["conditions"][index]["body"] = body;
        other
    };
    let mut all = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let holds = condition["kind"] == "when";
        all.push(with(index, json!({ "Value": holds })));
        let bodies = mutants(&condition["body"]);
        all.extend(bodies.into_iter().map(|body| with(index, body)));
    }
    all
}

#[test]
fn the_corpus_notices_each_change_of_a_condition() {
    let asked = all_asked();
    let (mut tried, mut unnoticed) = (0, Vec::new());
    for text in RULES {
        for policy in PolicySet::from_str(text).unwrap().policies() {
            let id = policy.annotation("id").unwrap();
            let own: Vec<_> = asked.iter().filter(|asked| asked.rule == id).collect();
            for mutant in of_policy(policy) {
                tried += 1;
                let changed = Policy::from_json(None, mutant).unwrap();
                let is_noticed = own
                    .iter()
                    .any(|asked| applies(policy, asked) != applies(&changed, asked));
                if !is_noticed {
                    unnoticed.push(format!("{id}: {changed}"));
                }
            }
        }
    }
    assert!(tried > 200, "{tried}");
    assert!(
        unnoticed.is_empty(),
        "{} of {tried} changes:\n{}",
        unnoticed.len(),
        unnoticed.join("\n\n")
    );
}
