use std::fs;

use counterfoil_policy::tag::SUPPRESSED;
use counterfoil_proto::delivery::{DeliveredRows, Delivery, DeliverySecret};
use counterfoil_psi::{IdentifierKind, SessionId, Token};

use super::complete::{Output, checked};
use super::files::part_prefix;
use super::map::{self, BucketMap};
use super::own;
use super::record::{FlowRecord, NewRecord, Step, forget, lock, unfinished};
use super::*;
use crate::clock::Clock;
use crate::data::{Existing, OutputError};
use crate::error::Error;
use crate::flow::fixture::{self, RECIPIENT};
use crate::home::Home;
use crate::testkit::home_of;

const ROWS: &str = "mail,customer,branch
a@example.com,17,\"x, y\"
b@example.com,18,
a@example.com,21,z
not a mail,20,z
c@example.com,19,z
";

fn flow_id() -> FlowId {
    FlowId::from_bytes([7; 16])
}

struct World {
    dir: tempfile::TempDir,
    home: Home,
}

impl World {
    fn new() -> Self {
        let (dir, home) = home_of(RECIPIENT, Clock::system());
        fs::write(dir.path().join("own.csv"), ROWS).unwrap();
        Self { dir, home }
    }

    fn options(&self) -> ExchangeOptions {
        ExchangeOptions {
            agreement: fixture::agreement().id().clone(),
            user: "casey".parse().unwrap(),
            segment: None,
            identifier: Some(IdentifierType::Email),
            tags: vec!["housing".parse().unwrap(), "risk_appetite".parse().unwrap()],
            source: Source::parse(self.dir.path().join("own.csv").to_str().unwrap()).unwrap(),
            column: "mail".into(),
            region: None,
            carry: vec!["branch".into(), "customer".into()],
            output: self.dir.path().join("out.csv"),
            overwrite: false,
        }
    }

    /// Reads the source, makes tokens with itself as peer, and writes rows and maps, in two buckets of which the first has the
    /// second row and a dummy.
    fn mapped(&self) -> Vec<Token> {
        let options = self.options();
        let plan = prepare::plan(&options, &fixture::agreement()).unwrap();
        let spool = self.home.path().join("flows");
        let silent = Arc::new(|_| ()) as OnProgress;
        let (read, report) = prepare::read(&options, &plan, &spool, &silent).unwrap();
        let counts = prepare::counts(&report);
        assert_eq!(
            (
                counts.rows,
                counts.submitted,
                counts.invalid,
                counts.duplicates
            ),
            (5, 3, 1, 1)
        );
        let own = own::write(self.home.path(), flow_id(), read).unwrap();
        let mut of_rows = Vec::new();
        for (bucket, part, slots) in [(0, &[1][..], 2), (1, &[0, 2], 2)] {
            let set = Arc::new(own.set.part(part, slots, &mut rand::rng()).unwrap());
            let [tokens, same] = crate::testkit::tokens(&set);
            let map = BucketMap::new(SessionId::from_bytes([5; 32]), part, same);
            map.write(self.home.path(), flow_id(), bucket).unwrap();
            of_rows.extend(part.iter().copied().zip(tokens));
        }
        of_rows.sort_by_key(|(row, _)| *row);
        of_rows.into_iter().map(|(_, token)| token).collect()
    }

    fn output(&self) -> Output {
        Output {
            home: self.home.path().to_owned(),
            flow: flow_id(),
            path: self.dir.path().join("out.csv"),
            columns: vec!["mail".into(), "branch".into(), "customer".into()],
            tags: vec!["risk_appetite".parse().unwrap(), "housing".parse().unwrap()],
            existing: Existing::Refuse,
            buckets: 2,
        }
    }

    fn record(&self) -> (FlowRecord, DeliverySecret) {
        let secret = DeliverySecret::generate(&mut rand::rng());
        let request = fixture::sign(fixture::body(
            &fixture::agreement(),
            &secret,
            fixture::now(),
        ));
        let new = NewRecord {
            request,
            output: self.dir.path().join("out.csv"),
            overwrite: false,
            columns: vec!["mail".into()],
            counts: Counts::default(),
        };
        (FlowRecord::new(new, &secret), secret)
    }
}

fn delivery(mut rows: Vec<([u8; 16], [&str; 2])>) -> Delivery {
    rows.sort();
    let mut delivered = DeliveredRows::new(2);
    for (id, values) in rows {
        delivered.push(&id, values).unwrap();
    }
    Delivery {
        columns: vec!["risk_appetite".into(), "housing".into()],
        rows: delivered,
        generalised: "fewer than 20".into(),
        suppressed: "fewer than 20".into(),
        reference_key: None,
    }
}

fn id(token: &Token) -> [u8; 16] {
    *token.match_id().as_bytes()
}

#[test]
fn the_output_has_the_own_columns_and_then_the_tags_in_the_order_of_the_file() {
    let world = World::new();
    let tokens = world.mapped();
    let rows = vec![
        (id(&tokens[2]), ["high", "own"]),
        (id(&tokens[0]), ["low", "rent"]),
    ];
    world.output().write(delivery(rows)).unwrap();
    assert_eq!(
        fs::read_to_string(world.dir.path().join("out.csv"))
            .unwrap()
            .replace("\r\n", "\n"),
        "mail,branch,customer,risk_appetite,housing\na@example.com,\"x, y\",17,low,rent\nc@example.com,z,19,high,own\n"
    );
}

#[test]
fn rows_of_strangers_are_not_written() {
    let world = World::new();
    let tokens = world.mapped();
    let stranger = vec![(id(&tokens[0]), ["low", "own"]), ([9; 16], ["low", "own"])];
    let error = world.output().write(delivery(stranger)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("1 rows of customers that are not in the own file"),
        "{error}"
    );
    assert!(!world.dir.path().join("out.csv").exists());
}

#[test]
fn damaged_files_are_named_and_nothing_is_written() {
    let world = World::new();
    let tokens = world.mapped();
    let write = || {
        world
            .output()
            .write(delivery(vec![(id(&tokens[2]), ["low", "own"])]))
    };
    for name in [map::relative(flow_id(), 1), own::relative(flow_id())] {
        let path = world.home.path().join(name);
        let whole = fs::read(&path).unwrap();
        for cut in [0, 10, 23, 27, 40, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(write().is_err(), "{cut}");
            assert!(!world.dir.path().join("out.csv").exists());
        }
        fs::write(&path, &whole).unwrap();
    }
    let rows = world.home.path().join(own::relative(flow_id()));
    let mut huge = fs::read(&rows).unwrap();
    let first = b"counterfoil own rows 1\n".len() + 4;
    huge[first..first + 4].fill(0xFF);
    fs::write(&rows, huge).unwrap();
    assert!(matches!(write(), Err(Error::Damaged { .. })));
    fs::remove_file(world.home.path().join(map::relative(flow_id(), 0))).unwrap();
    assert!(matches!(write(), Err(Error::Damaged { .. })));
}

#[test]
fn own_rows_and_maps_come_back_as_they_were() {
    let world = World::new();
    let tokens = world.mapped();
    let load = |kind| own::load(world.home.path(), flow_id(), kind);
    let own = load(IdentifierKind::Email).unwrap().unwrap();
    let identifiers: Vec<_> = (0..3).map(|i| own.set.expose_value(i).unwrap()).collect();
    assert_eq!(
        identifiers,
        ["a@example.com", "b@example.com", "c@example.com"]
    );
    assert!(load(IdentifierKind::Phone).is_err());
    let map = BucketMap::load(world.home.path(), flow_id(), 0)
        .unwrap()
        .unwrap();
    assert_eq!(
        (map.session, map.len()),
        (SessionId::from_bytes([5; 32]), 2)
    );
    let records: Vec<_> = (0..2).map(|slot| map.key_record(slot).unwrap()).collect();
    assert!(records.is_sorted());
    let own = records
        .iter()
        .position(|record| record[..16] == id(&tokens[1]));
    let own = own.unwrap();
    assert_eq!(
        records[own][16..],
        *tokens[1].row_key(counterfoil_psi::Role::Owner).expose()
    );
    assert!(map.key_record(2).is_none());
    assert!(
        BucketMap::load(world.home.path(), flow_id(), 2)
            .unwrap()
            .is_none()
    );
    // The dummy's match id belongs to no row.
    let dummy: [u8; 16] = records[1 - own][..16].try_into().unwrap();
    let delivered = delivery(vec![
        (dummy, ["low", "own"]),
        (id(&tokens[2]), ["low", "own"]),
    ]);
    let placed = map::place(world.home.path(), flow_id(), 2, &delivered.rows).unwrap();
    assert_eq!(placed.count(), 1);
    assert_eq!([0, 1].map(|row| placed.of(row)), [None, None]);
    let (found, _) = delivered.rows.get(placed.of(2).unwrap()).unwrap();
    assert_eq!(*found, id(&tokens[2]));
}

#[test]
fn the_map_and_the_record_are_for_this_user_only_and_go_together() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.mapped();
    let (record, secret) = world.record();
    record.store(&world.home).unwrap();
    for entry in fs::read_dir(world.home.path().join("flows")).unwrap() {
        assert_eq!(
            entry.unwrap().metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    assert_eq!(unfinished(&world.home).unwrap(), [flow_id()]);
    let loaded = FlowRecord::load(&world.home, flow_id()).unwrap();
    assert_eq!(loaded.step, Step::Requested);
    assert_eq!(
        *loaded.secret(&world.home).unwrap().to_bytes(),
        *secret.to_bytes()
    );
    // What a crash leaves: customers in clear in a map that was being written, the delivery key in a record.
    let leave = |name: String| fs::write(world.home.path().join("flows").join(name), "x").unwrap();
    let half = |flow: FlowId| part_prefix(&format!("{flow}.0.map"));
    leave(format!("{}Ab12Cd", half(flow_id())));
    leave(format!(".{}.json.0011223344556677.tmp", flow_id()));
    let other = half(FlowId::from_bytes([8; 16]));
    leave(other.clone());
    forget(&world.home, flow_id()).unwrap();
    let left = fs::read_dir(world.home.path().join("flows")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [other.as_str()]);
    assert!(matches!(
        FlowRecord::load(&world.home, flow_id()),
        Err(Error::Local(_))
    ));
}

#[tokio::test]
async fn a_flow_that_another_process_carries_out_is_neither_listed_nor_touched() {
    let world = World::new();
    world.mapped();
    world.record().0.store(&world.home).unwrap();
    let busy = lock(&world.home, flow_id()).unwrap();
    assert_eq!(unfinished(&world.home).unwrap(), []);
    let progress = Arc::new(|_| ()) as OnProgress;
    let error = resume(&world.home, flow_id(), &progress).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("busy", 7));
    assert!(FlowRecord::load(&world.home, flow_id()).is_ok());
    assert!(own::is_kept(world.home.path(), flow_id()));
    drop(busy);
    let checks = crate::doctor::run(world.home.path(), Clock::system()).await;
    let advice = format!("counterfoil exchange --resume {}", flow_id());
    assert!(
        checks.iter().any(|check| check.advice.contains(&advice)),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn a_flow_that_was_interrupted_before_it_was_asked_for_is_forgotten_without_the_broker() {
    let world = World::new();
    world.record().0.store(&world.home).unwrap();
    let error = resume(&world.home, flow_id(), &(Arc::new(|_| ()) as OnProgress))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("aborted", 5));
    assert!(
        error.to_string().contains("nothing was released"),
        "{error}"
    );
    assert_eq!(unfinished(&world.home).unwrap(), []);
    assert_eq!(
        fs::read_dir(world.home.path().join("flows"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_delivery_beyond_the_agreement_is_refused() {
    let agreement = fixture::agreement();
    let request = fixture::request(&agreement, &DeliverySecret::generate(&mut rand::rng()));
    let good = || {
        delivery(vec![
            ([1; 16], ["low", SUPPRESSED]),
            ([2; 16], ["low to medium", "own"]),
        ])
    };
    assert!(checked(good(), &agreement, &request).is_ok());
    // `cautious` is what `low` was before it was generalised.
    for value in ["cautious", "LOW", ""] {
        let finer = delivery(vec![
            ([1; 16], [value, SUPPRESSED]),
            ([2; 16], ["low to medium", "own"]),
        ]);
        let error = checked(finer, &agreement, &request).unwrap_err();
        assert!(error.to_string().contains("`risk_appetite`"), "{error}");
    }
    let mut columns = good();
    columns.columns.swap(0, 1);
    assert_eq!(
        checked(columns, &agreement, &request)
            .unwrap_err()
            .exit_code(),
        6
    );
    let mut count = good();
    count.suppressed = "fewer than 20\u{1b}[2J".into();
    assert_eq!(
        checked(count, &agreement, &request)
            .unwrap_err()
            .exit_code(),
        6
    );
    let mut short = good();
    short.rows = DeliveredRows::new(1);
    short.rows.push(&[1; 16], ["low"]).unwrap();
    assert!(checked(short, &agreement, &request).is_err());
}

#[test]
fn mistakes_are_found_before_anything_leaves() {
    let world = World::new();
    let agreement = fixture::agreement();
    let plan = |edit: fn(&mut ExchangeOptions)| {
        let mut options = world.options();
        edit(&mut options);
        prepare::plan(&options, &agreement)
    };
    let tags = plan(|_| ()).map(|plan| plan.tags).unwrap();
    assert_eq!(
        tags.iter().map(TagName::as_str).collect::<Vec<_>>(),
        ["risk_appetite", "housing"]
    );
    let all = plan(|o| o.tags.clear())
        .map(|plan| plan.tags.len())
        .unwrap();
    assert_eq!(all, agreement.tags().len());
    let which = plan(|o| o.identifier = None).err().unwrap();
    assert!(
        which.to_string().contains("phone or resident_id or email"),
        "{which}"
    );
    let twice = plan(|o| o.carry.push("housing".into())).err().unwrap();
    assert!(
        twice.to_string().contains("two columns named `housing`"),
        "{twice}"
    );
    fs::write(world.dir.path().join("out.csv"), "mine").unwrap();
    assert!(matches!(
        plan(|_| ()),
        Err(Error::Output(OutputError::Exists { .. }))
    ));
    assert!(plan(|o| o.overwrite = true).is_ok());
    assert_eq!(
        fs::read_to_string(world.dir.path().join("out.csv")).unwrap(),
        "mine"
    );
    assert!(matches!(
        plan(|o| o.output = "out.txt".into()),
        Err(Error::Output(OutputError::Format { .. }))
    ));
}
