use super::*;

#[test]
fn what_the_broker_says_is_told_from_what_the_network_did() {
    let denied: Error = tonic::Status::permission_denied("no\u{1b}[31m").into();
    assert_eq!((denied.code(), denied.exit_code()), ("refused", 4));
    assert_eq!(denied.to_string(), "the broker refused: no\\u{1b}[31m");
    assert_eq!(shown("a\nb\u{202e}c é"), "a\\u{a}b\\u{202e}c é");

    let reset = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
    let lost: Error = tonic::Status::from_error(Box::new(reset)).into();
    assert_eq!((lost.code(), lost.exit_code()), ("connection_lost", 5));

    let revoked: Error =
        tonic::Status::unauthenticated("the certificate of `a` was revoked").into();
    assert_eq!((revoked.code(), revoked.exit_code()), ("revoked", 4));
}

#[test]
fn alerts_about_our_certificate_are_explained() {
    for (text, code) in [
        (
            "received fatal alert: CertificateExpired",
            "certificate_time",
        ),
        ("received fatal alert: CertificateRevoked", "revoked"),
        ("received fatal alert: UnknownCA", "revoked"),
        ("received fatal alert: InternalError", "connection_lost"),
    ] {
        let error = lost(&std::io::Error::other(text));
        assert_eq!(error.code(), code, "{text}");
    }
}

#[test]
fn a_dial_error_is_found_behind_its_wrappers() {
    let dial = DialError::Unreachable {
        address: "127.0.0.1:1".into(),
        why: "connection refused".into(),
    };
    let status = tonic::Status::from_error(Box::new(dial));
    let error = Error::from(status);
    assert_eq!(
        error.to_string(),
        "cannot reach the broker at `127.0.0.1:1`: connection refused; is `counterfoil broker serve` running there?"
    );
}

#[test]
fn a_denial_carries_its_own_code_and_what_would_pass() {
    let error: Error = v1::Denial {
        code: "over_cap".into(),
        field: "caps.rows_per_flow".into(),
        message: "10 is over 5".into(),
        would_pass: "at most 5".into(),
        entry: 7,
    }
    .into();
    assert_eq!((error.code(), error.exit_code()), ("over_cap", 4));
    assert_eq!(error.denial().and_then(|d| d.entry), Some(7));
    assert!(error.to_string().ends_with("what would pass: at most 5"));
}

#[test]
fn commands_to_copy_quote_their_paths() {
    let error = Error::NoHome("/a b/c".into());
    assert!(
        error
            .to_string()
            .contains("counterfoil --home '/a b/c' party init"),
        "{error}"
    );
}
