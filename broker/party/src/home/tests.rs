use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn org() -> OrgName {
    "north-bank".parse().unwrap()
}

fn fresh() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(&dir.path().join("home"), org(), Clock::system()).unwrap();
    (dir, home)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_created_opens_again_with_the_same_keys() {
    let (_dir, home) = fresh();
    let again = Home::open(home.path(), Clock::system()).unwrap();
    assert_eq!(again.party_keys().unwrap(), home.party_keys().unwrap());
    assert_eq!(again.fingerprint().unwrap(), home.fingerprint().unwrap());
    assert_eq!(
        again.tls_key().unwrap().public_der(),
        home.tls_key().unwrap().public_der()
    );
    assert!(matches!(again.broker(), Err(Error::NotJoined(_))));
}

#[test]
fn nothing_in_a_new_home_is_open_to_others() {
    let (_dir, home) = fresh();
    let mut pending = vec![home.path().to_owned()];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            metadata.permissions().mode() & 0o777,
            wanted,
            "{}",
            path.display()
        );
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        seen += 1;
    }
    assert_eq!(seen, 1 + DIRS.len() + 4);
}

#[test]
fn a_second_party_is_refused_and_the_first_keeps_its_keys() {
    let (_dir, home) = fresh();
    let before = home.fingerprint().unwrap();
    let error = Home::create(home.path(), "other".parse().unwrap(), Clock::system()).unwrap_err();
    assert!(matches!(&error, Error::HomeExists { org, .. } if org == "north-bank"));
    assert_eq!(error.exit_code(), 7);
    assert_eq!(home.fingerprint().unwrap(), before);
}

#[test]
fn an_empty_directory_is_taken_and_another_ones_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(Home::create(&empty, org(), Clock::system()).is_ok());

    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("photo"), "mine").unwrap();
    let error = Home::create(&full, org(), Clock::system()).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read(full.join("photo")).unwrap(), b"mine");
    // Nothing half-built stays beside it.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn no_home_says_how_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let error = Home::open(&path, Clock::system()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no party lives in `{0}`: run `counterfoil --home {0} party init NAME`",
            path.display()
        )
    );
    assert_eq!((error.code(), error.exit_code()), ("no_home", 7));
}

#[test]
fn anything_that_others_can_open_is_refused_with_the_chmod() {
    for (name, lax, wanted) in [
        ("", 0o750, "700"),
        ("keys", 0o701, "700"),
        ("keys/institution.key", 0o640, "600"),
        ("party.toml", 0o604, "600"),
    ] {
        let (_dir, home) = fresh();
        let path = if name.is_empty() {
            home.path().to_owned()
        } else {
            home.path().join(name)
        };
        chmod(&path, lax);
        let error = Home::open(home.path(), Clock::system()).unwrap_err();
        let advice = format!("run `chmod {wanted} {}`", path.display());
        assert!(error.to_string().ends_with(&advice), "{error}");
        assert_eq!(error.exit_code(), 7);
        chmod(&path, u32::from_str_radix(wanted, 8).unwrap());
        assert!(Home::open(home.path(), Clock::system()).is_ok());
    }
}

#[test]
fn a_key_that_became_readable_after_opening_is_refused_too() {
    let (_dir, home) = fresh();
    chmod(&home.path().join(keys::NOISE), 0o644);
    assert!(matches!(
        home.noise_key(),
        Err(Error::UnsafeMode { mode: 0o644, .. })
    ));
    assert!(home.institution_key().is_ok());
}

#[test]
fn damaged_and_missing_keys_are_named_and_not_shown() {
    let (_dir, home) = fresh();
    for (name, content) in [
        (keys::INSTITUTION, "ed25519-secret:AAAA\n"),
        (keys::NOISE, "planted-secret"),
        (keys::TLS, "planted-secret"),
    ] {
        home.write(name, content.as_bytes()).unwrap();
    }
    let errors = [
        home.institution_key().unwrap_err(),
        home.noise_key().unwrap_err(),
        home.tls_key().unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(
            text.contains("is damaged") && !text.contains("planted"),
            "{text}"
        );
    }
    home.remove(keys::TLS).unwrap();
    assert!(
        home.tls_key()
            .unwrap_err()
            .to_string()
            .contains("it is missing")
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let (_dir, home) = fresh();
    let noise = home.noise_key().unwrap();
    assert_eq!(format!("{noise:?}"), "NoiseSecret(..)");
    assert_eq!(format!("{:?}", home.tls_key().unwrap()), "TlsKey(..)");
}

#[test]
fn writing_replaces_whole_files_and_leaves_nothing_beside_them() {
    let (_dir, home) = fresh();
    home.write("flows/a", b"one").unwrap();
    home.write("flows/a", b"two").unwrap();
    assert_eq!(home.read("flows/a", 3).unwrap().unwrap(), b"two");
    assert!(home.write_new("flows/a", b"three").is_err());
    assert_eq!(home.read("flows/a", 3).unwrap().unwrap(), b"two");
    assert_eq!(fs::read_dir(home.path().join("flows")).unwrap().count(), 1);
    assert_eq!(home.list("flows").unwrap(), ["a"]);
    assert!(matches!(
        home.read("flows/a", 2),
        Err(Error::Damaged { .. })
    ));
    home.remove("flows/a").unwrap();
    home.remove("flows/a").unwrap();
    assert_eq!(home.read("flows/a", 3).unwrap(), None);
}

#[test]
fn a_write_that_fails_keeps_the_old_content() {
    let (_dir, home) = fresh();
    // A directory in the way makes the rename fail after the temporary file was written.
    fs::create_dir(home.path().join("flows/a")).unwrap();
    assert!(home.write("flows/a", b"x").is_err());
    assert_eq!(fs::read_dir(home.path().join("flows")).unwrap().count(), 1);
}

#[test]
fn one_writer_at_a_time() {
    let (_dir, home) = fresh();
    let held = home.lock().unwrap();
    assert!(home.try_lock(".lock").unwrap().is_none());
    drop(held);
    assert!(home.lock().is_ok());

    let shared = [(); 2].map(|()| home.try_share(".some").unwrap().unwrap());
    assert!(home.try_lock(".some").unwrap().is_none());
    drop(shared);
    let alone = home.try_lock(".some").unwrap().unwrap();
    assert!(home.try_share(".some").unwrap().is_none());
    drop(alone);
}

#[test]
fn what_joining_brought_is_there_when_opened_again() {
    let (_dir, mut home) = fresh();
    let broker = BrokerRecord {
        address: "127.0.0.1:7443".into(),
        log_key: "log+00000000+AQ".into(),
    };
    home.store_join("cert", "ca", broker.clone()).unwrap();
    let again = Home::open(home.path(), Clock::system()).unwrap();
    assert_eq!(again.broker().unwrap(), &broker);
    assert_eq!(again.certificates().unwrap(), ("cert".into(), "ca".into()));
}
