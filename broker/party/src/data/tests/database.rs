//! The database: what can be seen without one, a server that speaks TLS, and a real one where the variable
//! `COUNTERFOIL_TEST_POSTGRES` names it (`.ci/postgres.sh start` makes one).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Source;
use super::{Scratch, good, read_columns};

fn refusal(url: &str) -> String {
    Source::parse(url).unwrap_err().to_string()
}

/// The message of a query that fails.
fn failure(url: &str, sql: &str) -> String {
    Source::parse(url)
        .unwrap()
        .with_sql(sql)
        .unwrap()
        .open()
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn urls_that_cannot_be_used() {
    let at = "the postgres:// URL is refused: it has more than one `@`, write those of the password as `%40`";
    assert_eq!(refusal("postgres://agent:hu@sh@db/bank"), at);
    let mode = "the postgres:// URL is refused: sslmode must be one of disable, prefer, require, verify-full";
    assert_eq!(refusal("postgres://agent:hush@db/bank?sslmode=allow"), mode);
    assert_eq!(
        refusal("postgres:///bank"),
        "the postgres:// URL is refused: it names no host"
    );
    let option = refusal("postgres://agent:hush@db/bank?sslkey=x");
    assert!(
        option.contains("unknown option `sslkey`") && !option.contains("hush"),
        "{option}"
    );
    let port = refusal("postgres://agent:hush@db:hush/bank");
    assert!(
        port.contains("invalid value for option `port`") && !port.contains("hush"),
        "{port}"
    );
}

#[test]
fn no_password_is_shown() {
    let source = Source::parse("postgresql://agent:hush@db:5433/bank?connect_timeout=5").unwrap();
    let source = source.with_sql("SELECT 1").unwrap();
    assert_eq!(
        format!("{source} {source:?}"),
        "postgres://db:5433/bank Source(postgres://db:5433/bank)"
    );
}

#[test]
fn a_query_and_a_database_need_each_other() {
    let error = Source::parse("a.csv")
        .unwrap()
        .with_sql("SELECT 1")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`a.csv` takes no such query: a query needs a postgres:// URL"
    );
    let database = Source::parse("postgres://localhost/bank").unwrap();
    let error = database.clone().with_sql(" ; ").unwrap_err().to_string();
    assert_eq!(
        error,
        "`postgres://localhost:5432/bank` takes no such query: give one SELECT statement"
    );
    let error = database.open().map(|_| ()).unwrap_err().to_string();
    assert!(
        error.ends_with("takes no place without a query: add the SQL that selects the rows"),
        "{error}"
    );
}

/// A server that reads the first message of a connection and answers with these bytes.
fn server(answer: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 8];
        stream.read_exact(&mut first).unwrap();
        answer(stream);
    });
    port
}

#[test]
fn a_server_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let message = failure(
        &format!("postgres://agent:hush@127.0.0.1:{port}/bank"),
        "SELECT 1",
    );
    assert!(
        message.contains("error connecting to server: Connection refused"),
        "{message}"
    );
    assert!(!message.contains("hush"), "{message}");
}

#[test]
fn without_tls_the_password_stays_here() {
    for mode in ["require", "verify-full"] {
        let port = server(|mut stream| stream.write_all(b"N").unwrap());
        let message = failure(
            &format!("postgres://agent:hush@127.0.0.1:{port}/bank?sslmode={mode}"),
            "SELECT 1",
        );
        let advice = "server does not support TLS; turn TLS on at the server, or write sslmode=disable to send password \
                      and rows in the clear";
        assert!(message.ends_with(advice), "{message}");
    }
}

#[test]
fn only_this_machine_is_reached_in_the_clear_unasked() {
    use tokio_postgres::config::SslMode as Mode;

    use super::super::postgres::mode_of;
    for (url, expected) in [
        ("postgres://db.bank.example/bank", Mode::Require),
        (
            "postgres://db.bank.example/bank?sslmode=prefer",
            Mode::Require,
        ),
        (
            "postgres://db.bank.example/bank?sslmode=disable",
            Mode::Disable,
        ),
        ("postgres://localhost,db.bank.example/bank", Mode::Require),
        (
            "postgres://localhost/bank?hostaddr=192.0.2.1",
            Mode::Require,
        ),
        ("postgres://localhost/bank", Mode::Disable),
        ("postgres://127.0.0.2/bank", Mode::Disable),
        ("postgres://[::1]/bank", Mode::Disable),
        ("postgres://%2Frun%2Fpostgresql/bank", Mode::Disable),
        ("postgres://localhost/bank?sslmode=prefer", Mode::Prefer),
        (
            "postgres://localhost/bank?sslmode=verify-full",
            Mode::Require,
        ),
    ] {
        assert_eq!(mode_of(url).unwrap(), expected, "{url}");
    }
}

/// A server that agrees to TLS, shows a certificate for `localhost`, and then refuses the login.
fn tls_server() -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let port = server(move |mut stream| {
        stream.write_all(b"S").unwrap();
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        let mut startup = [0; 8];
        if tls.read_exact(&mut startup).is_ok() {
            let fields = b"SFATAL\0C28000\0Mno entry for this user\0\0";
            let length = (fields.len() as u32 + 4).to_be_bytes();
            tls.write_all(&[b"E", length.as_slice(), fields].concat())
                .unwrap();
        }
    });
    (port, made.cert.pem())
}

#[test]
fn an_unknown_certificate_is_refused_and_a_named_one_accepted() {
    let scratch = Scratch::new();
    let (port, _) = tls_server();
    let message = failure(
        &format!("postgres://agent:hush@localhost:{port}/bank?sslmode=require"),
        "SELECT 1",
    );
    assert!(
        message.contains("invalid peer certificate") && message.contains("sslrootcert=PATH"),
        "{message}"
    );

    let (port, certificate) = tls_server();
    let path = scratch.file("ca.pem", certificate);
    let roots = format!("sslmode=require&sslrootcert={}", path.display());
    let message = failure(
        &format!("postgres://agent:hush@localhost:{port}/bank?{roots}"),
        "SELECT 1",
    );
    assert!(
        message.ends_with("no entry for this user (SQLSTATE 28000)"),
        "{message}"
    );

    // The certificate is for `localhost`, not for an address.
    let (port, certificate) = tls_server();
    let path = scratch.file("ca.pem", certificate);
    let roots = format!("sslmode=require&sslrootcert={}", path.display());
    let message = failure(
        &format!("postgres://agent:hush@127.0.0.1:{port}/bank?{roots}"),
        "SELECT 1",
    );
    assert!(
        message.contains("certificate not valid for name"),
        "{message}"
    );
}

#[test]
fn certificates_that_cannot_be_read() {
    let scratch = Scratch::new();
    for (content, expected) in [
        ("", "it holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n?", "not a PEM file"),
    ] {
        let path = scratch.file("ca.pem", content);
        let url = format!("postgres://db/bank?sslrootcert={}", path.display());
        assert!(failure(&url, "SELECT 1").contains(expected));
    }
    let message = failure("postgres://db/bank?sslrootcert=/none/ca.pem", "SELECT 1");
    assert!(
        message.contains("sslrootcert `/none/ca.pem`: No such file"),
        "{message}"
    );
}

/// The database of the environment, or a line that says why there is none.
fn database() -> Option<String> {
    let url = std::env::var("COUNTERFOIL_TEST_POSTGRES").ok();
    if url.is_none() {
        eprintln!("skipped: COUNTERFOIL_TEST_POSTGRES names no database");
    }
    url
}

fn query(url: &str, sql: &str, columns: &[&str]) -> Vec<super::Seen> {
    read_columns(&Source::parse(url).unwrap().with_sql(sql).unwrap(), columns).unwrap()
}

#[test]
fn rows_of_a_query_arrive_as_text() {
    let Some(url) = database() else { return };
    let sql = "SELECT '138'||n AS phone, n, date '2026-01-02' AS day, NULL AS none, E'a,\"b\"\n京' AS \"odd, name\"
               FROM generate_series(1, 2) n -- to the end;";
    let columns = ["phone", "n", "day", "none", "odd, name"];
    let expected = |n: u64| {
        good(
            n,
            &[
                &format!("138{n}"),
                &n.to_string(),
                "2026-01-02",
                "",
                "a,\"b\"\n京",
            ],
        )
    };
    assert_eq!(query(&url, sql, &columns), [expected(1), expected(2)]);
}

#[test]
fn a_large_answer_streams_and_can_be_left() {
    let Some(url) = database() else { return };
    let rows = query(&url, "SELECT n FROM generate_series(1, 300000) n;", &["n"]);
    assert_eq!(rows.len(), 300_000);
    assert_eq!(rows[299_999], good(300_000, &["300000"]));

    let begun = Instant::now();
    let endless = Source::parse(&url)
        .unwrap()
        .with_sql("SELECT generate_series(1, 9000000001) AS n")
        .unwrap();
    let mut rows = endless.open().unwrap();
    assert!(rows.next_row().unwrap().is_some());
    drop(rows);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(ends_at_the_server(&url, "9000000001"), "the query runs on");
}

#[test]
fn a_query_that_is_left_before_its_first_row_ends_at_the_server() {
    let Some(url) = database() else { return };
    // A text of this run only: one that failed may have left its query.
    let mark = format!("left {}", std::process::id());
    // The header comes with the first row, so `open` would wait: this is what it waits on.
    let reader =
        super::super::postgres::begin(&url, &format!("SELECT pg_sleep(301) -- {mark}")).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(active(&url, &mark), "it does not run");
    drop(reader);
    assert!(ends_at_the_server(&url, &mark), "the query runs on");
}

/// Whether the server works on a query with this text.
fn active(url: &str, text: &str) -> bool {
    let watch = format!(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%{text}%' AND state = 'active' \
         AND pid <> pg_backend_pid()"
    );
    query(url, &watch, &["n"]) != [good(1, &["0"])]
}

/// Waits up to ten seconds until the server works on no such query.
fn ends_at_the_server(url: &str, text: &str) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        !active(url, text)
    })
}

#[test]
fn faults_of_a_query_are_told_without_values() {
    let Some(url) = database() else { return };
    let message = failure(&url, "SELECT phone FROM nowhere");
    assert!(
        message.ends_with("relation \"nowhere\" does not exist (SQLSTATE 42P01)"),
        "{message}"
    );
    let message = failure(&url, "SELECT 1; SELECT 2");
    assert!(message.contains("SQLSTATE 42601"), "{message}");
    let message = failure(
        &url,
        "SELECT ('13800'||n)::text::date FROM generate_series(1, 2) n",
    );
    assert!(
        message.contains("SQLSTATE 22") && !message.contains("13800"),
        "{message}"
    );
    let message = failure(&url, "DELETE FROM pg_class RETURNING oid");
    assert!(
        message.contains("read-only") || message.contains("permission denied"),
        "{message}"
    );
    let none = Source::parse(&url)
        .unwrap()
        .with_sql("SELECT 1 AS phone WHERE false")
        .unwrap();
    let error = read_columns(&none, &["phone"]).unwrap_err().to_string();
    assert!(
        error.ends_with("has a header but no rows: nothing can be matched"),
        "{error}"
    );
}

#[test]
fn a_wrong_password_or_database_is_named_without_the_password() {
    let Some(url) = database() else { return };
    let (before, place) = url.rsplit_once('@').unwrap();
    let user = before
        .trim_start_matches("postgres://")
        .split(':')
        .next()
        .unwrap();
    let message = failure(&format!("postgres://{user}:hush-hush@{place}"), "SELECT 1");
    assert!(
        message.contains("password authentication failed") && !message.contains("hush"),
        "{message}"
    );
}
