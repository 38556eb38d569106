//! How a command fails: a message for a person, a word and an exit code for a program.

use std::path::Path;

use counterfoil_server::operator::OperatorError;
use serde_json::{Value, json};

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) exit: u8,
    pub(crate) message: String,
    /// Field, what would pass, log entry: of a denial only.
    details: Option<Box<Value>>,
    /// The command's result was printed and shows what is wrong.
    shown: bool,
}

impl Failure {
    /// With a stable word and one of the documented exit codes.
    pub(crate) fn new(code: &str, exit: u8, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            exit,
            message: message.into(),
            details: None,
            shown: false,
        }
    }

    /// For a command whose printed result shows what is wrong: with `--json` that is its one document.
    pub(crate) fn after_result(self) -> Self {
        Self {
            shown: true,
            ..self
        }
    }

    /// Whether the command's result was printed already.
    pub(crate) fn has_result(&self) -> bool {
        self.shown
    }

    /// What was given is wrong.
    pub(crate) fn input(message: impl std::fmt::Display) -> Self {
        Self::new("input", 3, message.to_string())
    }

    /// A file could not be read or written.
    pub(crate) fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let path = path.display();
        let message = if error.kind() == std::io::ErrorKind::AlreadyExists {
            format!("`{path}` exists already: choose another name, or remove it first")
        } else {
            format!("cannot {doing} `{path}`: {error}")
        };
        Self::new("file", 3, message)
    }

    /// For `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "exit": self.exit });
        if let (Some(object), Some(Value::Object(details))) =
            (error.as_object_mut(), self.details.as_deref())
        {
            object.extend(details.clone());
        }
        json!({ "error": error })
    }
}

impl From<counterfoil_party::error::Error> for Failure {
    fn from(error: counterfoil_party::error::Error) -> Self {
        Self {
            code: error.code().to_owned(),
            exit: error.exit_code(),
            message: error.to_string(),
            details: error.denial().map(|denial| Box::new(json!(denial))),
            shown: false,
        }
    }
}

impl From<counterfoil_server::Error> for Failure {
    fn from(error: counterfoil_server::Error) -> Self {
        use counterfoil_server::Error;
        let (code, exit) = match &error {
            Error::Home(_) => ("broker_home", 7),
            Error::Log(_) => ("log", 6),
            Error::Listen { .. } => ("listen", 7),
            Error::File { .. } => ("file", 7),
            _ => ("broker", 1),
        };
        Self::new(code, exit, error.to_string())
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Broker(error) => error.into(),
            OperatorError::Unreachable { .. } => Self::new("unreachable", 5, error.to_string()),
            OperatorError::Refused(_) => Self::new("refused", 4, error.to_string()),
            OperatorError::Lost(_) => Self::new("connection_lost", 5, error.to_string()),
            OperatorError::Failed(_) => Self::new("broker", 1, error.to_string()),
            OperatorError::Write(_) => Self::new("file", 3, error.to_string()),
        }
    }
}
