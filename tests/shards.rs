//! One exchange by several processes of each side, some of which are killed and started again.

use std::path::Path;
use std::process::Command;

use counterfoil_tests::background::{Started, until};
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::process::Serving;
use counterfoil_tests::{World, counterfoil};

/// Rows on each side, in eight buckets; half of them are common.
const ROWS: usize = 8_000;

/// World and files; the owner does not serve yet.
fn world() -> World {
    let world = World::agreed_with(|text| {
        text.replace("protocol = \"dh\"", "protocol = \"vole\"")
            .replacen("[retention]", "bucket_rows = 1024\n\n[retention]", 1)
    });
    let all = phones(11, ROWS + ROWS / 2);
    write_customers(&world.path("customers.csv"), &all[..ROWS]);
    write_policies(&world.path("policies.csv"), &all[ROWS / 2..]);
    world
}

fn owner(world: &World, shard: &str) -> Serving {
    let mut command = counterfoil(&world.home("bank"));
    command.args(["party", "serve", "--shard", shard]);
    let mut owner = Serving::start(command);
    owner.wait_for("listening for flows");
    owner
}

fn part(world: &World, shard: &str, job: &str, out: &Path) -> Command {
    let more = ["--json", "--shard", shard, "--job", job];
    world.ask_command(world.path("policies.csv"), "phone", out, &more)
}

/// Buckets of which the recipient has a map, so many of its own shard.
fn maps(world: &World, shard: u32, of: u32) -> usize {
    let files = std::fs::read_dir(world.home("insurer").join("flows")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let bucket = |name: String| -> Option<u32> {
        let (_, bucket) = name.strip_suffix(".map")?.rsplit_once('.')?;
        bucket.parse().ok()
    };
    names.filter_map(bucket).filter(|b| b % of == shard).count()
}

#[test]
fn parts_of_one_exchange_are_killed_and_go_on_and_release_once() {
    let world = world();
    let out = world.path("out.csv");
    let mut owners = vec![owner(&world, "0/2"), owner(&world, "1/2")];
    let start = |shard: &str| Started::start(part(&world, shard, "night-1", &out));
    // The others come first, as a batch engine may have it.
    let others = [start("1/3"), start("2/3")];
    std::thread::sleep(std::time::Duration::from_millis(400));
    // Killed the moment its job is known, before the flow was asked for or just after: whoever takes its place goes on.
    let job = world.home("insurer").join("flows/night-1.job");
    let mut killed = start("0/3");
    until("the job", || job.exists());
    killed.kill();
    drop(killed);
    let mut first = start("0/3");
    let [mut second, third] = others;
    until("a bucket of the second part", || maps(&world, 1, 3) > 0);
    second.kill();
    drop(second);
    // The owner's second process too, and the first of the recipient's once it has matched.
    drop(owners.pop());
    owners.push(owner(&world, "1/2"));
    until("a bucket of the first part", || maps(&world, 0, 3) > 0);
    if first.runs() {
        first.kill();
        drop(first);
        first = start("0/3");
    }
    let second = start("1/3");
    let done = first.finish();
    assert_eq!(done.exit, 0, "{done:#?}");
    let delivered = done.json();
    assert_eq!(delivered["delivered"], ROWS as u64 / 2);
    for part in [second, third] {
        let joined = part.finish().json();
        assert_eq!(joined["flow"], delivered["flow"]);
        assert_eq!(joined["released"], true);
    }
    let written = std::fs::read_to_string(&out).unwrap();
    assert_eq!(written.lines().count(), 1 + ROWS / 2);
    let releases = world.entries();
    let releases = releases
        .iter()
        .filter(|entry| entry["event"]["type"] == "release.intent");
    assert_eq!(releases.count(), 1);
    // A process that is started again after the end sees it, and the name is used up.
    let late = Started::start(part(&world, "1/3", "night-1", &out)).finish();
    assert_eq!(late.json()["released"], true);
    let again = part(&world, "0/3", "night-1", &world.path("again.csv"));
    let again = Started::start(again).finish();
    assert_eq!(again.exit, 3, "{again:#?}");
    assert!(again.out.contains("night-1"), "{again:#?}");
    let mut left = world.unfinished();
    left.sort();
    assert_eq!(left, ["night-1.job", "night-1.job-lock"]);
}

#[test]
fn parts_that_do_not_fit_each_other_are_told() {
    let world = world();
    let out = world.path("out.csv");
    // Nobody serves: the flow is refused, and the other part told so.
    let other = Started::start(part(&world, "1/2", "night-2", &out));
    let first = Started::start(part(&world, "0/2", "night-2", &out)).finish();
    assert_eq!(first.exit, 4, "{first:#?}");
    drop(other);
    let _owner = owner(&world, "0/1");
    let first = Started::start(part(&world, "0/2", "night-2", &out));
    let jobs = world.home("insurer").join("flows/night-2.job");
    until("the job", || jobs.exists());
    let twice = Started::start(part(&world, "0/2", "night-2", &out)).finish();
    assert_eq!(twice.exit, 7, "{twice:#?}");
    let wrong = Started::start(part(&world, "2/3", "night-2", &out)).finish();
    assert_eq!(wrong.exit, 3, "{wrong:#?}");
    let second = Started::start(part(&world, "1/2", "night-2", &out)).finish();
    assert_eq!(second.exit, 0, "{second:#?}");
    assert_eq!(first.finish().exit, 0);
}
