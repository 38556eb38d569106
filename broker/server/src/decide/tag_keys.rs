//! One key of mark tags for each lineage: rows that were marked under several could not be traced together, and recipients of
//! rows with other tags could clean theirs.

use counterfoil_audit::entry::Digest;

use crate::refusal::Refusal;

/// Why rows, or a scoring, with tags of the key `said` do not go with what was released of a lineage, whose key is `known`.
///
/// Nothing where either has none: a release may have codes alone, and those of earlier versions committed to no key.
pub(crate) fn differ(
    lineage: &str,
    known: Option<Digest>,
    said: Option<Digest>,
) -> Option<Refusal> {
    let differ = known.zip(said).is_some_and(|(known, said)| known != said);
    differ.then(|| Refusal {
        field: "tag_key".into(),
        ..Refusal::new(
            "tag_key_differs",
            format!(
                "the owner's key of mark tags is not the one that the log has for lineage `{lineage}`: what was delivered could not be traced with it; the owner restores its `keys/trace-*.key` from a backup, or both sides sign a version of the agreement with a higher `epoch` in [marks]"
            ),
            "the key with which the lineage was delivered before, or another epoch",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_keys_differ() {
        let [one, two] = [1, 2].map(|byte| Some(Digest::from_bytes([byte; 32])));
        for (known, said) in [(None, one), (one, None), (None, None), (one, one)] {
            assert!(differ("l", known, said).is_none());
        }
        let refusal = differ("bank/customers/1/16/9", one, two).unwrap();
        assert_eq!(refusal.code, "tag_key_differs");
        assert!(refusal.message.contains("`bank/customers/1/16/9`"));
    }
}
