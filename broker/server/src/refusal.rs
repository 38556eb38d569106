//! Why a caller is refused: the same words go to the caller and into the log.

use counterfoil_audit::entry::Decision;
use counterfoil_audit::entry::{Label, Sentence};
use counterfoil_proto::v1::Denial;
use tonic::{Code, Status};

use crate::log::LogDown;

/// A refusal, in words that name the field and what would pass, and nothing of the other side's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Stable, for machines.
    pub(crate) code: &'static str,
    /// Field of the request or the agreement, or empty.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would pass.
    pub(crate) would_pass: String,
    /// The rule that forbids and its source, if one does and not the agreement itself.
    pub(crate) rule: Option<Box<(Box<str>, Box<str>)>>,
}

impl Refusal {
    /// A refusal about no single field.
    pub(crate) fn new(
        code: &'static str,
        message: impl Into<String>,
        would_pass: impl Into<String>,
    ) -> Self {
        Self {
            code,
            field: String::new(),
            message: message.into(),
            would_pass: would_pass.into(),
            rule: None,
        }
    }

    /// For a log entry.
    pub(crate) fn decision(&self, outcome: &str) -> Decision {
        Decision {
            outcome: label(outcome),
            code: label(self.code),
            field: Some(label(&self.field)).filter(|_| !self.field.is_empty()),
            rule: self.rule.as_deref().map(|(rule, _)| label(rule)),
            source: self.rule.as_deref().map(|(_, source)| label(source)),
            message: sentence(&self.message),
            would_pass: would_pass(&self.would_pass),
        }
    }

    /// For the caller; `entry` is where it was recorded.
    pub(crate) fn denial(&self, entry: u64) -> Denial {
        Denial {
            code: self.code.to_owned(),
            field: self.field.clone(),
            message: self.message.clone(),
            would_pass: self.would_pass.clone(),
            entry,
        }
    }

    /// For a call whose reply has no place for a denial.
    pub(crate) fn status(&self, code: Code) -> Status {
        Status::new(code, format!("{}; {}", self.message, self.would_pass))
    }
}

impl From<LogDown> for Refusal {
    fn from(down: LogDown) -> Self {
        Self::new("log_down", down.to_string(), "try again later")
    }
}

/// Text from a peer or of ours, cut and cleaned to what an entry may hold.
pub(crate) fn label(text: &str) -> Label {
    Label::new(clean(text, 256)).unwrap_or_else(|_| unreachable_text("-", Label::new))
}

/// As [`label`], for longer text.
pub(crate) fn sentence(text: &str) -> Sentence {
    Sentence::new(clean(text, 1024)).unwrap_or_else(|_| unreachable_text("-", Sentence::new))
}

/// What would pass, where something would.
pub(crate) fn would_pass(text: &str) -> Option<Sentence> {
    Some(text).filter(|text| !text.is_empty()).map(sentence)
}

fn clean(text: &str, bytes_max: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if cleaned.len() + c.len_utf8() > bytes_max {
            break;
        }
        cleaned.push(c);
    }
    if cleaned.is_empty() {
        "-".into()
    } else {
        cleaned
    }
}

#[expect(
    clippy::panic,
    reason = "a one-character text is within every text type's bounds"
)]
fn unreachable_text<T, E>(text: &str, make: impl Fn(String) -> Result<T, E>) -> T {
    make(text.to_owned()).unwrap_or_else(|_| panic!("`-` is a valid text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_and_content_fits_an_entry() {
        for text in ["", "a\nb\0", &"ü".repeat(5000)] {
            assert!(label(text).as_str().len() <= 256);
            assert!(sentence(text).as_str().len() <= 1024);
        }
        assert_eq!(label("a\nb").as_str(), "a b");
    }
}
