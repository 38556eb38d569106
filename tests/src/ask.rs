//! Exchanges with other files than the usual ones, and what the log has to say of them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::data::{phones, write_customers, write_policies};
use crate::process::{Done, counterfoil, run};
use crate::world::{AGREEMENT, World};

/// Customers that both sides of [`World::small`] have.
pub const COMMON: u64 = 20;

impl World {
    /// 40 customers and 30 insured, of whom [`COMMON`] are the same people; broker and owner serve.
    pub fn small(seed: u64) -> Self {
        let mut world = Self::agreed();
        world.write_small(seed);
        world.start_owner();
        world
    }

    /// The files of [`World::small`].
    pub fn write_small(&self, seed: u64) {
        let all = phones(seed, 50);
        write_customers(&self.path("customers.csv"), &all[..40]);
        write_policies(&self.path("policies.csv"), &all[20..]);
    }

    /// The recipient's command line: identifiers from `column` of `from`, written to `out`, asked by `chen`.
    pub fn ask_command(
        &self,
        from: impl AsRef<OsStr>,
        column: &str,
        out: &Path,
        more: &[&str],
    ) -> Command {
        let mut command = counterfoil(&self.home("insurer"));
        command.args(["exchange", "--agreement", AGREEMENT, "--as", "chen"]);
        command.args(["--column", column]).arg("--from").arg(from);
        command.arg("--out").arg(out).args(more);
        command
    }

    /// Runs [`World::ask_command`] to its end.
    pub fn ask(&self, from: impl AsRef<OsStr>, column: &str, out: &Path, more: &[&str]) -> Done {
        Done::of(self.ask_command(from, column, out, more).output().unwrap())
    }

    /// Every entry of the broker's log, verified on the way, oldest first.
    pub fn entries(&self) -> Vec<Value> {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        let path = file.path().to_owned();
        // Exporting replaces nothing, so the name must be free.
        drop(file);
        let name = path.file_name().unwrap().to_str().unwrap();
        let report = self.verify_log(name);
        assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
        let text = std::fs::read_to_string(&path).unwrap();
        let entry = |line: &str| -> Value {
            let line: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str(line["entry"].as_str().unwrap()).unwrap()
        };
        text.lines().skip(1).map(entry).collect()
    }

    /// Asserts that the newest entry is of this type and has this decision; returns it.
    #[track_caller]
    pub fn recorded(&self, kind: &str, code: &str, field: &str) -> Value {
        let entry = self.entries().pop().unwrap();
        let event = event_of(&entry);
        assert_eq!(event["type"], kind, "{entry:#}");
        assert_eq!(event["decision"]["code"], code, "{entry:#}");
        assert_eq!(event["decision"]["field"], field, "{entry:#}");
        entry
    }

    /// The flows that the recipient's home still keeps something of.
    pub fn unfinished(&self) -> Vec<String> {
        let flows = self.home("insurer").join("flows");
        let names = std::fs::read_dir(flows).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Runs a command with the home of `name`.
    pub fn at(&self, name: &str, args: &[&str]) -> Done {
        run(&self.home(name), args)
    }
}

/// What an entry says happened.
pub fn event_of(entry: &Value) -> &Value {
    &entry["event"]
}
