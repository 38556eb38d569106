//! E-mail addresses: the dot-atom form of RFC 5321 and RFC 5322, lower-cased.

use zeroize::Zeroizing;

use super::{Identifier, IdentifierKind, Refusal};

/// Rules of e-mail addresses: NFKC, trimmed, ASCII, lower-cased, dot-atom `@` dotted domain.
///
/// The local part is lower-cased too. RFC 5321 section 2.4 lets a host treat it as case-sensitive
/// and in the next sentence asks that none do; no large provider does, while people and
/// forms write `Anna.Li@` and `anna.li@` alike. A missed match is the likelier error by far.
/// Nothing else is folded: that dots or `+tags` do not matter is a habit of single providers.
pub const EMAIL_RULES_VERSION: &str = "email/1";

/// RFC 5321 section 4.5.3.1.3 allows a path of 256 octets, of which `<` and `>` take two.
const ADDRESS_BYTES_MAX: usize = 254;
/// RFC 5321 section 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// RFC 1035 section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

pub(super) fn normalise(text: &str) -> Result<Identifier, Refusal> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let (local, domain) = text.split_once('@').ok_or(Refusal::EmailShape)?;
    if domain.contains('@') || local.is_empty() || domain.is_empty() {
        return Err(Refusal::EmailShape);
    }
    if local.len() > LOCAL_BYTES_MAX || !local.split('.').all(is_atom) {
        return Err(Refusal::EmailLocal);
    }
    if !is_domain(domain) {
        return Err(Refusal::EmailDomain);
    }
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    Ok(Identifier::new(IdentifierKind::Email, ["", &lower]))
}

/// RFC 5322 section 3.2.3, `atext`. Only ASCII: two scripts have letters that look alike.
fn is_atom(part: &str) -> bool {
    let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    !part.is_empty() && part.bytes().all(is_atext)
}

/// At least two labels, the last not all digits (that would be an IP address).
fn is_domain(domain: &str) -> bool {
    let Some((_, top)) = domain.rsplit_once('.') else {
        return false;
    };
    domain.split('.').all(is_label) && !top.bytes().all(|b| b.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, Refusal> {
        normalise(text).map(|id| id.expose_value().to_owned())
    }

    #[test]
    fn addresses_are_lower_cased_and_otherwise_kept() {
        for (text, expected) in [
            ("anna.li@example.com", "anna.li@example.com"),
            ("Anna.Li@Example.COM", "anna.li@example.com"),
            ("a+tag@mail.example.cn", "a+tag@mail.example.cn"),
            ("o'brien@example.ie", "o'brien@example.ie"),
            ("x@xn--fiqs8s.example", "x@xn--fiqs8s.example"),
            ("1@1.a1", "1@1.a1"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn malformed_values_are_refused_with_their_reason() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "b".repeat(64));
        let long = format!("a@{}com", "b.".repeat(126));
        for (name, text, refusal) in [
            ("no_at", "anna.example.com", Refusal::EmailShape),
            ("two_at", "a@b@example.com", Refusal::EmailShape),
            ("no_local", "@example.com", Refusal::EmailShape),
            ("no_domain", "anna@", Refusal::EmailShape),
            ("leading_dot", ".a@example.com", Refusal::EmailLocal),
            ("double_dot", "a..b@example.com", Refusal::EmailLocal),
            ("space", "a b@example.com", Refusal::EmailLocal),
            ("quoted", "\"a\"@example.com", Refusal::EmailLocal),
            ("cyrillic", "\u{430}nna@example.com", Refusal::EmailLocal),
            ("local_65", &long_local, Refusal::EmailLocal),
            ("undotted", "a@localhost", Refusal::EmailDomain),
            ("trailing_dot", "a@example.com.", Refusal::EmailDomain),
            ("hyphen_first", "a@-b.com", Refusal::EmailDomain),
            ("hyphen_last", "a@b-.com", Refusal::EmailDomain),
            ("underscore", "a@b_c.com", Refusal::EmailDomain),
            ("international", "a@b\u{fc}cher.de", Refusal::EmailDomain),
            ("address_literal", "a@192.0.2.1", Refusal::EmailDomain),
            ("label_64", &long_label, Refusal::EmailDomain),
            ("over_254", &long, Refusal::TooLong),
        ] {
            assert_eq!(value(text), Err(refusal), "{name}");
        }
    }
}
