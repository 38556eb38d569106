//! Foreign JSON inside an entry: an agreement, a signature bundle.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, INTEGER_MAX, ValueError};

/// A JSON object of another crate's making, recorded whole so that the log proves it
/// without a second file: at most 32 KiB in canonical form, 32 levels, whole numbers only.
///
/// Its meaning and its own signatures are for the caller to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Document(Value);

impl Document {
    /// Takes a JSON object.
    ///
    /// # Errors
    /// [`ValueError::Document`] when it is no object or over a bound.
    pub fn new(value: Value) -> Result<Self, ValueError> {
        if !value.is_object() || !keeps_exact(&value, DOCUMENT_DEPTH_MAX) {
            return Err(ValueError::Document);
        }
        let canonical =
            serde_json_canonicalizer::to_vec(&value).map_err(|_| ValueError::Document)?;
        if canonical.len() > DOCUMENT_BYTES_MAX {
            return Err(ValueError::Document);
        }
        Ok(Self(value))
    }

    /// The object.
    #[must_use]
    pub const fn as_value(&self) -> &Value {
        &self.0
    }
}

impl TryFrom<Value> for Document {
    type Error = ValueError;
    fn try_from(value: Value) -> Result<Self, ValueError> {
        Self::new(value)
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Self {
        document.0
    }
}

/// Whether canonical JSON writes the value so that reading gives it back: no fractions, no
/// integer past 2^53 - 1, not nested deeper than `levels`.
fn keeps_exact(value: &Value, levels: usize) -> bool {
    match value {
        Value::Number(number) => {
            number
                .as_i64()
                .is_some_and(|n| n.unsigned_abs() <= INTEGER_MAX)
                || number.as_u64().is_some_and(|n| n <= INTEGER_MAX)
        }
        Value::Array(items) => levels > 0 && items.iter().all(|item| keeps_exact(item, levels - 1)),
        Value::Object(fields) => {
            levels > 0 && fields.values().all(|field| keeps_exact(field, levels - 1))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
