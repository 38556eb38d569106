//! Keeps passwords out of messages.

/// Replaces the password of every `scheme://user:password@` in a text by `***`.
///
/// For messages of other libraries that may quote what they were given. It errs on the side of hiding: the
/// password is taken to reach to the last `@` before a blank, a quote or a line end.
pub(super) fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let stop = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
            .unwrap_or(after.len());
        let (url, tail) = after.split_at_checked(stop).unwrap_or((after, ""));
        match url.rsplit_once('@') {
            Some((credentials, place)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                shown.push_str(user);
                shown.push_str(":***@");
                shown.push_str(place);
            }
            None => shown.push_str(url),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}
