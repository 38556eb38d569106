//! By what a dataset knows its customers, whichever identifier a recipient matches by.

use std::fmt;

use counterfoil_psi::Normaliser;
use zeroize::Zeroizing;

/// The column that tells customers apart, for mark tags: the dataset's `customer`, or else its first identifier.
#[derive(Clone, Debug)]
pub struct CustomerKey {
    column: String,
    normaliser: Option<Normaliser>,
}

impl CustomerKey {
    /// A column of keys of the owner's own.
    pub(super) fn of_column(column: &str) -> Self {
        Self {
            column: column.to_owned(),
            normaliser: None,
        }
    }

    /// A column of identifiers.
    pub(super) fn of_identifier(column: &str, normaliser: Normaliser) -> Self {
        Self {
            column: column.to_owned(),
            normaliser: Some(normaliser),
        }
    }

    /// The column's name.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The key in a cell; `None` if there is none. Blanks around it do not count, and an identifier has one form.
    #[must_use]
    pub fn read(&self, cell: &str) -> Option<Zeroizing<Vec<u8>>> {
        let key = match self.normaliser {
            Some(normaliser) => normaliser.normalise(cell).ok()?.as_bytes().to_vec(),
            None => cell.trim().as_bytes().to_vec(),
        };
        (!key.is_empty()).then(|| Zeroizing::new(key))
    }
}

/// What tells customers apart, as it stands beside the keys of mark tags: one line, the same for as long as the keys read are.
impl fmt::Display for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.normaliser {
            Some(normaliser) => write!(f, "{} ", normaliser.kind())?,
            None => f.write_str("key ")?,
        }
        write!(f, "`{}`", self.column.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_psi::IdentifierKind;

    #[test]
    fn spellings_of_a_customer_are_one_key() {
        let own = CustomerKey::of_column("id");
        assert_eq!(own.read(" C-7 "), own.read("C-7"));
        assert_ne!(own.read("C-7"), own.read("c-7"));
        assert_eq!(own.read("  "), None);
        assert_eq!(own.to_string(), "key `id`");
        let mail = Normaliser::new(IdentifierKind::Email, None);
        let mail = CustomerKey::of_identifier("mail", mail);
        assert_eq!(mail.read("A@Example.com"), mail.read(" a@example.com"));
        assert_eq!(mail.read("not a mail"), None);
        assert_eq!(mail.to_string(), "email `mail`");
    }
}
