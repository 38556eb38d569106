//! Who takes part where the agreement asks for consent proofs.

use counterfoil_policy::consent::{ReferenceKey, RowProof};

use super::*;

const HEAD: &str =
    "mail,recipient,contact,purpose,method,categories,given,expires,withdrawn,reference\n";
const FIELDS: &str = "east-life,privacy@east-life.example,marketing_suitability,private_matching,suitability profile";
const IN_FILE: &str = "
[dataset.consent]
source = 'consents.csv'
key = 'mail'
recipients = ['east-life', 'west-life']
columns = { withdrawn = 'withdrawn' }
";

fn prepare(rows: &str, config: &str, consents: &str) -> std::result::Result<Prepared, Unfit> {
    let world = World::new(&format!("{CONFIG_TEXT}{config}"));
    fs::write(world.dir.path().join("customers.csv"), rows).unwrap();
    fs::write(world.dir.path().join("consents.csv"), consents).unwrap();
    let agreement = fixture::agreement();
    let secret = DeliverySecret::generate(&mut rand::rng());
    let body = fixture::body(&agreement, &secret, fixture::now());
    let asked = Asked {
        scope: Scope::of(&agreement, &body.tags, None).unwrap(),
        key: ReferenceKey::of_flow(&[5; 32], body.flow),
        now: fixture::now(),
    };
    let plan = plan(world.dir.path(), &agreement, &body, Some(asked), keys())?;
    load(&plan, &mut |_| ())
}

fn customers(count: u8) -> String {
    let row = |i: u8| {
        format!(
            "{}@example.com,balanced,own,5,active\n",
            char::from(b'a' + i)
        )
    };
    "mail,risk,home,years_held,status\n".to_owned() + &(0..count).map(row).collect::<String>()
}

fn mails(prepared: &Prepared) -> Vec<String> {
    rows(prepared).into_iter().map(|(mail, _)| mail).collect()
}

fn fault(consents: &str) -> String {
    match prepare(&customers(2), IN_FILE, &format!("{HEAD}{consents}")) {
        Err(Unfit::Own(error)) => error.to_string(),
        Err(Unfit::Declined(denial)) => denial.code,
        Ok(prepared) => format!("{} rows", prepared.set.len()),
    }
}

#[test]
fn only_rows_with_a_proof_for_exactly_this_are_kept_and_the_others_counted_by_reason() {
    let until = "2026-01-01,2026-12-31,,R";
    let consents = [
        format!("a@example.com,{FIELDS},{until}1"),
        format!("B@Example.com,{FIELDS},{until}2"), // the same identifier, otherwise written
        format!(
            "c@example.com,{},{until}3",
            FIELDS.replace("east-life,", "west-life,")
        ),
        format!(
            "d@example.com,{},{until}4",
            FIELDS.replace("marketing_suitability", "risk_assessment")
        ),
        format!(
            "e@example.com,{},{until}5",
            FIELDS.replace("suitability profile", "profile")
        ),
        format!("f@example.com,{FIELDS},2026-01-01,2026-05-31,,R6"), // expired yesterday
        format!("g@example.com,{FIELDS},2026-01-01,2026-12-31,2026-05-31,R7"), // withdrawn
        format!("h@example.com,{FIELDS},2026-06-02,2026-12-31,,R8"), // from tomorrow on
        format!("i@example.com,{FIELDS},2026-01-01,2026-06-01,,R9"), // today is its last day
    ];
    let prepared = prepare(
        &customers(10),
        IN_FILE,
        &format!("{HEAD}{}", consents.join("\n")),
    )
    .unwrap();
    let kept: Vec<_> = rows(&prepared).into_iter().map(|(mail, _)| mail).collect();
    assert_eq!(kept, ["a@example.com", "b@example.com", "i@example.com"]);
    let mut reasons: Vec<_> = prepared
        .report
        .withheld
        .iter()
        .map(|held| &*held.reason)
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "consent does not cover all categories",
            "consent expired",
            "consent for another purpose",
            "consent not given yet",
            "consent to another recipient",
            "consent withdrawn",
            "no consent",
        ]
    );
    assert_eq!(prepared.report.withheld_rows(), 7);
    let consent = prepared.consent.as_ref().unwrap();
    assert_eq!(
        (consent.recipient.as_str(), consent.withheld.as_str()),
        ("east-life", "fewer than 20")
    );
    // Each row carries its own proof, which the broker takes and the owner can make again.
    let key = ReferenceKey::of_flow(
        &[5; 32],
        counterfoil_policy::text::FlowId::from_bytes([7; 16]),
    );
    for (index, reference) in ["R1", "R2", "R9"].into_iter().enumerate() {
        let (index, mut payload) = (u32::try_from(index).unwrap(), Vec::new());
        prepared
            .write_payload(index, &mut prepared.scratch(), &mut payload)
            .unwrap();
        let (head, _) = prepared.layout.decode(&payload).unwrap();
        let proof = head.proof.unwrap();
        assert_eq!(RowProof::check(proof, fixture::now()), Ok(()));
        assert_eq!(proof[8..], key.mac(reference));
    }
}

#[test]
fn a_withdrawal_ends_what_was_given_before_it_and_not_what_was_given_after() {
    let given = |mail: &str, from: &str, withdrawn: &str| {
        format!("{mail}@example.com,{FIELDS},{from},2026-12-31,{withdrawn},R\n")
    };
    let consents = given("a", "2026-01-01", "") + &given("a", "2026-02-01", "2026-03-01");
    let again = given("b", "2026-01-01", "2026-03-01") + &given("b", "2026-04-01", "");
    let prepared = prepare(&customers(3), IN_FILE, &format!("{HEAD}{consents}{again}")).unwrap();
    let kept: Vec<_> = rows(&prepared).into_iter().map(|(mail, _)| mail).collect();
    assert_eq!(kept, ["b@example.com"]);
}

#[test]
fn a_withdrawal_ends_a_consent_of_its_day_and_its_own_record_in_any_order() {
    let fields = |fields: &str, given: &str, withdrawn: &str| {
        format!("a@example.com,{fields},{given},2026-12-31,{withdrawn},R\n")
    };
    let narrower = FIELDS.replace("suitability profile", "profile");
    let given = |given: &str| fields(FIELDS, given, "");
    let morning = "2026-03-01T09:00:00Z";
    for records in [
        // A log of events: the withdrawal repeats the consent, and only its day is known.
        [given(morning), fields(FIELDS, morning, "2026-03-01")],
        [given(morning), fields(FIELDS, "2026-01-01", "2026-03-01")],
        // Written down as earlier than the consent that it withdraws.
        [given(morning), fields(FIELDS, morning, "2026-02-01")],
        // One category of several.
        [given(morning), fields(&narrower, morning, "2026-03-02")],
    ] {
        for text in [records.concat(), records.iter().rev().cloned().collect()] {
            let others = format!("b@example.com,{FIELDS},2026-01-01,2026-12-31,,R\n");
            let prepared =
                prepare(&customers(2), IN_FILE, &format!("{HEAD}{text}{others}")).unwrap();
            assert_eq!(mails(&prepared), ["b@example.com"], "{text}");
        }
    }
}

#[test]
fn days_are_days_where_the_records_were_written() {
    // It is 12:00 in Greenwich on the first of June.
    let record = |mail: &str, given: &str, expires: &str, withdrawn: &str| {
        format!("{mail}@example.com,{FIELDS},{given},{expires},{withdrawn},R\n")
    };
    let records = [
        record("a", "2026-06-02", "2026-12-31", ""),
        record("b", "2026-01-01", "2026-06-01", ""),
        record("c", "2026-01-01", "2026-12-31", "2026-06-02"),
        record("d", "2026-06-02T03:00:00+14:00", "2026-12-31", ""),
    ];
    let text = format!("{HEAD}{}", records.concat());
    let kept = |offset: &str| {
        let config = IN_FILE.replace("columns =", &format!("utc_offset = '{offset}'\ncolumns ="));
        mails(&prepare(&customers(4), &config, &text).unwrap()).join("")
    };
    let short = |mails: String| mails.replace("@example.com", "");
    // There it is the second of June already.
    assert_eq!(short(kept("+14:00")), "a");
    assert_eq!(short(kept("+00:00")), "bc");
    for wrong in ["8", "+8", "CST", "+25:00", ""] {
        let config = IN_FILE.replace("columns =", &format!("utc_offset = '{wrong}'\ncolumns ="));
        let Err(Unfit::Own(error)) = prepare(&customers(4), &config, &text) else {
            panic!("{wrong} was taken")
        };
        assert!(error.to_string().contains("utc_offset"), "{error}");
    }
}

#[test]
fn a_person_of_several_rows_takes_part_only_if_none_is_withheld() {
    let config = "[dataset.consent]\nrecipients = ['east-life']\n";
    let head = format!(
        "mail,risk,home,years_held,status,{}",
        HEAD.trim_start_matches("mail,")
    );
    let row = |mail: &str, home: &str, withdrawn: &str| {
        format!(
            "{mail}@example.com,balanced,{home},5,active,{FIELDS},2026-01-01,2026-12-31,{withdrawn},R\n"
        )
    };
    let table = head
        + &row("a", "own", "")
        + &row("b", "rent", "")
        + &row("a", "own", "2026-03-01")
        + &row("a", "own", "")
        + &row("c", "own", "")
        + &row("b", "own", "");
    let prepared = prepare(&table, config, "").unwrap();
    let expected = [
        super::row("b@example.com", ["medium", "rent"]),
        super::row("c@example.com", ["medium", "own"]),
    ];
    assert_eq!(rows(&prepared), expected);
    let report = &prepared.report;
    assert_eq!((report.accepted, report.withheld_rows()), (2, 1));
    assert_eq!(report.withheld[0].lines.first, [4]);
    assert_eq!(
        (report.rows, report.duplicates.count),
        (6, 6 - report.accepted - report.withheld_rows())
    );
}

#[test]
fn a_column_of_withdrawals_is_read_though_nobody_declared_it() {
    let records = format!(
        "{HEAD}a@example.com,{FIELDS},2026-01-01,2026-12-31,2026-03-01,R1
b@example.com,{FIELDS},2026-01-01,2026-12-31,,R2\n"
    );
    let undeclared = IN_FILE.replace("columns = { withdrawn = 'withdrawn' }\n", "");
    assert_ne!(undeclared, IN_FILE);
    let prepared = prepare(&customers(2), &undeclared, &records).unwrap();
    assert_eq!(mails(&prepared), ["b@example.com"]);

    // The same where the records are columns of the dataset.
    let config = "[dataset.consent]\nrecipients = ['east-life']\n";
    let head = format!(
        "mail,risk,home,years_held,status,{}",
        HEAD.trim_start_matches("mail,")
    );
    let row = |mail: &str, withdrawn: &str| {
        format!(
            "{mail}@example.com,balanced,own,5,active,{FIELDS},2026-01-01,2026-12-31,{withdrawn},R\n"
        )
    };
    let table = head + &row("a", "2026-03-01") + &row("b", "");
    assert_eq!(
        mails(&prepare(&table, config, "").unwrap()),
        ["b@example.com"]
    );
}

#[test]
fn records_that_cannot_be_relied_on_stop_the_reading_with_their_line() {
    let good = format!("a@example.com,{FIELDS},2026-01-01,2026-12-31,,R1\n");
    let bad = |row: String| fault(&format!("{good}{row}\n"));
    let fields = |row: &str| format!("b@example.com,{FIELDS},{row}");
    for (row, word) in [
        (
            fields("2026-01-01,2026-12-31,,R2").replace("east-life,", "eastlife,"),
            "recipient is none of",
        ),
        (
            fields("yesterday,2026-12-31,,R2"),
            "the time of consent is not a date",
        ),
        (
            fields("2026-01-01,31.12.2026,,R2"),
            "the expiry is not a date",
        ),
        (
            fields("2026-01-01,2026-12-31,soon,R2"),
            "the withdrawal is not a date",
        ),
        (fields("2026-01-01,2025-12-31,,R2"), "ends before it begins"),
        (fields("2026-01-01,2026-12-31,,"), "the reference is empty"),
        (
            format!("no mail,{FIELDS},2026-01-01,2026-12-31,,R2"),
            "the key is empty or no identifier",
        ),
    ] {
        let told = bad(row);
        assert!(
            told.contains("line 3") && told.contains("consents.csv") && told.contains(word),
            "{told}"
        );
        assert!(
            !told.contains("eastlife") && !told.contains("b@example"),
            "{told}"
        );
    }
    let missing = prepare(
        &customers(1),
        IN_FILE,
        &good.replacen("a@", "mail,recipient\n", 1),
    );
    assert!(matches!(missing, Err(Unfit::Own(error)) if error.to_string().contains("no column")));
}

#[test]
fn consents_can_be_columns_of_the_dataset() {
    let config = "[dataset.consent]\nrecipients = ['east-life']\n";
    let fields = HEAD.trim_start_matches("mail,").replace("withdrawn,", "");
    let head = format!("mail,risk,home,years_held,status,{fields}");
    let row = |mail: &str, consent: &str| format!("{mail},balanced,own,5,active,{consent}\n");
    let table =
        head + &row(
            "a@example.com",
            &format!("{FIELDS},2026-01-01,2026-12-31T00:00:00+08:00,R1"),
        ) + &row("b@example.com", ",,,,,,,");
    let prepared = prepare(&table, config, "").unwrap();
    assert_eq!(prepared.set.len(), 1);
    assert_eq!(prepared.report.withheld[0].reason, "no consent");
    let broken = table + &row("c@example.com", &format!("{FIELDS},2026-01-01,never,R1"));
    let Err(Unfit::Own(error)) = prepare(&broken, config, "") else {
        panic!("taken")
    };
    assert!(error.to_string().contains("line 4 of"), "{error}");
}

#[test]
fn a_dataset_without_records_takes_no_part_where_proofs_are_asked_for() {
    let Err(Unfit::Declined(denial)) = prepare(&customers(1), "", "") else {
        panic!("taken")
    };
    assert_eq!(denial.code, "consent_missing");
}
