//! A broker and two institutions, as far as the README's second part gets before an exchange.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Done, Serving, counterfoil, run};

/// Id of the agreement between the two.
pub const AGREEMENT: &str = "bank-insurer-tags";

/// Everything in one temporary directory; processes end when it is dropped.
pub struct World {
    pub dir: TempDir,
    pub address: String,
    pub log_key: String,
    /// `None` while it is stopped.
    pub broker: Option<Serving>,
    /// The owner's agent, if it serves.
    pub owner: Option<Serving>,
}

impl World {
    /// A broker that serves, and nobody else.
    pub fn broker_only() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let made = run(
            &dir.path().join("broker"),
            [
                "--json",
                "broker",
                "init",
                "--name",
                "test.broker",
                "--listen",
                &address,
            ],
        )
        .json();
        let mut world = Self {
            dir,
            address,
            log_key: made["log_key"].as_str().unwrap().to_owned(),
            broker: None,
            owner: None,
        };
        world.start_broker();
        world
    }

    /// Both institutions have joined, added two people each and confirmed each other.
    pub fn joined() -> Self {
        let world = Self::broker_only();
        for (name, people) in [("bank", ["ana", "bo"]), ("insurer", ["chen", "dee"])] {
            let home = world.home(name);
            run(&home, ["party", "init", name]).ok();
            let invite = run(&world.home("broker"), ["broker", "invite", name]).ok();
            run(&home, ["party", "join", invite.trim()]).ok();
            for user in people {
                run(&home, ["party", "add-user", user]).ok();
            }
        }
        for (home, partner) in [("bank", "insurer"), ("insurer", "bank")] {
            let shown = run(&world.home(partner), ["--json", "party", "show"]).json();
            let fingerprint = shown["fingerprint"].as_str().unwrap();
            run(
                &world.home(home),
                ["party", "confirm-partner", partner, fingerprint],
            )
            .ok();
        }
        world
    }

    /// An agreement is in force: tags `age_band` and `housing`, k 3, minimum match 5, segment `renters`.
    pub fn agreed() -> Self {
        Self::agreed_with(|text| text)
    }

    /// As [`World::agreed`], with a change to the agreement's text.
    pub fn agreed_with(change: impl FnOnce(String) -> String) -> Self {
        let world = Self::joined();
        let text = change(world.agreement_text(1));
        world.sign(&without_marked_segments(text));
        std::fs::write(world.home("bank").join("datasets.toml"), DATASETS).unwrap();
        chmod_600(&world.home("bank").join("datasets.toml"));
        world
    }

    /// Proposes and signs by all four people.
    pub fn sign(&self, text: &str) {
        let file = self.path("agreement.toml");
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let sign = |home: &str, user: &str| {
            run(
                &self.home(home),
                ["agreement", "sign", AGREEMENT, "--as", user],
            )
            .ok()
        };
        run(
            &self.home("bank"),
            ["agreement", "propose", file, "--as", "ana"],
        )
        .ok();
        sign("bank", "bo");
        // What nobody has read there cannot be signed there.
        run(&self.home("insurer"), ["agreement", "show", AGREEMENT]).ok();
        sign("insurer", "chen");
        sign("insurer", "dee");
    }

    /// The agreement's text, with both parties' keys.
    pub fn agreement_text(&self, version: u32) -> String {
        let keys = |name: &str| {
            let shown = run(&self.home(name), ["--json", "party", "show"]).json();
            let key = |field: &str| shown[field].as_str().unwrap().to_owned();
            format!(
                "name = \"{name}\"\nsigning_key = \"{}\"\nnoise_key = \"{}\"",
                key("signing_key"),
                key("noise_key")
            )
        };
        let today = time::OffsetDateTime::now_utc().date();
        TEXT.replace("{version}", &version.to_string())
            .replace("{from}", &(today - time::Duration::days(1)).to_string())
            .replace("{until}", &(today + time::Duration::days(300)).to_string())
            .replace("{owner}", &keys("bank"))
            .replace("{recipient}", &keys("insurer"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Home of `broker`, `bank` or `insurer`.
    pub fn home(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    /// Puts a taxonomy of its own into an institution's home.
    pub fn write_taxonomy(&self, home: &str, text: &str) {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = self.home(home).join("taxonomies");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .unwrap();
        std::fs::write(folder.join("own.toml"), text).unwrap();
        chmod_600(&folder.join("own.toml"));
    }

    /// Starts the broker and waits until it listens.
    pub fn start_broker(&mut self) {
        let mut command = counterfoil(&self.home("broker"));
        command.args(["broker", "serve"]);
        let mut broker = Serving::start(command);
        broker.wait_for("listening on");
        self.broker = Some(broker);
    }

    /// Starts the owner's agent and waits until it listens.
    pub fn start_owner(&mut self) {
        let mut command = counterfoil(&self.home("bank"));
        command.args(["party", "serve"]);
        let mut owner = Serving::start(command);
        owner.wait_for("listening for flows");
        self.owner = Some(owner);
    }

    /// The recipient's command line for an exchange: `policies.csv` to `matched.csv`.
    pub fn exchange_command(&self) -> Command {
        let mut command = counterfoil(&self.home("insurer"));
        command.arg("exchange").args([
            "--agreement",
            AGREEMENT,
            "--column",
            "phone",
            "--as",
            "chen",
        ]);
        command.arg("--from").arg(self.path("policies.csv"));
        command.arg("--out").arg(self.path("matched.csv"));
        command
    }

    /// Runs an exchange to its end.
    pub fn exchange(&self, more: &[&str]) -> Done {
        let output = self.exchange_command().args(more).output().unwrap();
        Done {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Exports the broker's log and verifies it offline; returns the report.
    pub fn verify_log(&self, name: &str) -> serde_json::Value {
        let file = self.path(name);
        run(
            &self.home("broker"),
            ["broker", "export", "--out", file.to_str().unwrap()],
        )
        .ok();
        run(
            &self.home("broker"),
            [
                "--json",
                "audit",
                "verify",
                "--file",
                file.to_str().unwrap(),
                "--key",
                &self.log_key,
            ],
        )
        .json()
    }
}

/// Only its owner may read it.
/// The agreement's text, without its segment if there are marks: they are on the tag by which it chooses, which is refused.
pub fn without_marked_segments(text: String) -> String {
    if text.contains("\n[marks]\n") {
        return text.replace(SEGMENT, "");
    }
    text
}

const SEGMENT: &str = "[[segments]]\nname = \"renters\"\nwhere = \"housing = 'rent'\"\n";

pub fn chmod_600(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// An address on the loopback interface where nobody listens just now.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

const TEXT: &str = r#"
version_of_format = 2
id = "bank-insurer-tags"
version = {version}
purpose = "marketing_suitability"
legal_basis = "consent"
valid_from = {from}
valid_until = {until}
dataset = "customers"
flows = ["exchange"]
protocol = "dh"
k = 3
minimum_match = 5
identifiers = [{ type = "phone", rules = 1, default_region = "CN" }]

[owner]
{owner}

[recipient]
{recipient}

[taxonomy]
name = "cn-finance"
version = 1

[[tags]]
name = "age_band"
form = "banded"
bands = [[25, 45, 65], [45]]

[[tags]]
name = "housing"
form = "exact"
levels = []

[[segments]]
name = "renters"
where = "housing = 'rent'"

[caps]
rows_per_flow = 1000000
flows_per_period = 1000
period_days = 30
identifiers_per_period = 1000000000

[retention]
audit_years = 7
deletion_days = 90

[compliance]
owner_region = "CN"
recipient_region = "CN"
contract = "test/contract"
processor_contract = "test/processing"
separate_consent = true
told = ["name", "contact", "purpose", "method", "categories", "necessity"]
withdrawal = true
refusal_option = true
impact_assessment = { reference = "test/impact", date = {from} }
breach_notice_hours = 24
"#;

/// The `datasets.toml` of the bank.
pub const DATASETS: &str = r#"
[[dataset]]
name = "customers"
source = "../customers.csv"
identifiers = [{ type = "phone", column = "mobile", default_region = "CN" }]

[dataset.tags]
age_band = "age"
housing = "housing"
"#;
