//! Running the command.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// Anything that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary, built from this tree in the profile that the tests run in.
///
/// `cargo test --workspace` has built it. Where it is older than what it is made of, because one test runs alone, it is built
/// here: a test must not meet an old one.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // target/PROFILE/deps/TEST-HASH
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let binary = profile.join("counterfoil");
        let built = binary.metadata().and_then(|file| file.modified()).ok();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let sources = [
            "psi",
            "policy",
            "proto",
            "broker",
            "watermark",
            "Cargo.lock",
            "Cargo.toml",
        ];
        if built.is_none_or(|built| sources.iter().any(|name| newer(&root.join(name), built))) {
            build(root, profile);
        }
        binary
    })
}

/// Whether a file, or one below a directory, was changed after `moment`.
fn newer(path: &Path, moment: SystemTime) -> bool {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries.flatten().any(|entry| newer(&entry.path(), moment));
    }
    path.metadata()
        .and_then(|file| file.modified())
        .is_ok_and(|changed| changed > moment)
}

fn build(root: &Path, profile: &Path) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline", "--bin", "counterfoil"]);
    if profile.file_name().unwrap() == "release" {
        build.arg("--release");
    }
    build
        .current_dir(root)
        .env("CARGO_TARGET_DIR", profile.parent().unwrap());
    // What `cargo test` says of the tested package is not for this build: build scripts that look at it would run again, and
    // all that stands on them be compiled again, there and back.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name.as_ref());
        }
    }
    assert!(
        build.status().unwrap().success(),
        "the command does not build"
    );
}

/// The command with this home.
pub fn counterfoil(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("--home").arg(home).stdin(Stdio::null());
    command
        .env_remove("COUNTERFOIL_HOME")
        .env_remove("COUNTERFOIL_LOG")
        .env("NO_COLOR", "1");
    command
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// From what a finished process left.
    pub fn of(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success; returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.exit, 0, "{self:#?}");
        self.out
    }

    /// Asserts success; returns standard output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("not one JSON document: {e}\n{out}"))
    }

    /// Asserts this exit code and that standard error has all these texts.
    #[track_caller]
    pub fn fails(self, exit: i32, texts: &[&str]) -> Self {
        assert_eq!(self.exit, exit, "{self:#?}");
        for text in texts {
            assert!(self.err.contains(text), "no `{text}` in {self:#?}");
        }
        self
    }
}

/// Runs a command to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(home: &Path, args: impl IntoIterator<Item = S>) -> Done {
    Done::of(counterfoil(home).args(args).output().unwrap())
}

/// A command that serves, with its lines; killed when dropped.
pub struct Serving {
    child: Child,
    lines: Receiver<String>,
    /// Everything that it printed so far, both streams.
    pub seen: Vec<String>,
}

impl Serving {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = child.stdout.take().unwrap();
        let err = child.stderr.take().unwrap();
        for stream in [
            Box::new(out) as Box<dyn std::io::Read + Send>,
            Box::new(err),
        ] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this text and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}` in time: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without `{text}`: {:#?}", self.seen)
                }
            }
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<i32> {
        self.child
            .try_wait()
            .unwrap()
            .map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}
