//! Sources in PostgreSQL. Set `COUNTERFOIL_TEST_POSTGRES`, for one with `eval "$(.ci/postgres.sh start)"`.

use std::fs;

use counterfoil_tests::World;
use counterfoil_tests::ask::COMMON;

#[test]
fn both_sides_may_read_from_postgresql() {
    let Ok(url) = std::env::var("COUNTERFOIL_TEST_POSTGRES") else {
        println!("skipped: COUNTERFOIL_TEST_POSTGRES is not set, see .ci/postgres.sh");
        return;
    };
    let mut world = World::agreed();
    let customers = "SELECT '+86' || (13800000000 + i) AS mobile, 30 + i % 2 * 20 AS age, \
         CASE i % 3 WHEN 0 THEN 'own' ELSE 'rent' END AS housing FROM generate_series(1, 40) AS i";
    let datasets = world.home("bank").join("datasets.toml");
    let file = format!("source = \"{url}\"\nsql = \"{customers}\"");
    let text = fs::read_to_string(&datasets).unwrap();
    fs::write(
        &datasets,
        text.replace("source = \"../customers.csv\"", &file),
    )
    .unwrap();
    world.start_owner();

    let policies =
        "SELECT 'P' || i AS policy, 13800000000 + i AS phone FROM generate_series(21, 50) AS i";
    let out = world.path("out.csv");
    let ask = |sql: &str| {
        let more = ["--sql", sql, "--carry", "policy", "--json"];
        world.ask(&url, "phone", &out, &more)
    };
    let (_, password) = url.split_once(':').unwrap().1.split_once(':').unwrap();
    let password = password.split_once('@').unwrap().0;
    for (sql, text) in [
        ("SELECT phone FROM nowhere", "nowhere"),
        ("SELECT 1 AS phone; DROP TABLE x", "error"),
        (
            &policies.replace("phone", "telephone"),
            "has no column `phone`",
        ),
        (
            &policies.replace("21, 50", "1, 0"),
            "has a header but no rows",
        ),
    ] {
        let done = ask(sql);
        assert_eq!(done.exit, 3, "{done:#?}");
        assert!(done.out.contains(text), "no `{text}` in {done:#?}");
        assert!(!done.out.contains(password), "{done:#?}");
    }
    assert_eq!(ask(policies).json()["delivered"], COMMON);
    let written = fs::read_to_string(&out).unwrap();
    assert!(written.contains("+8613800000021,P21,"), "{written}");
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("receipt verified and kept");
    assert!(!owner.seen.join("\n").contains(password));
}
