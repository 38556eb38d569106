//! Commands that run while something happens to them.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::process::{Done, PATIENCE, run};
use crate::world::World;

/// A command that was started and will end by itself, or is killed; killed when dropped.
pub struct Started(Option<Child>);

impl Started {
    /// Starts it; what it prints is kept.
    pub fn start(mut command: Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Whether it runs still.
    pub fn runs(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.as_mut().unwrap().kill().unwrap();
    }

    /// Waits until it has ended, for [`PATIENCE`].
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let child = self.0.take().unwrap();
        let id = child.id();
        let (sender, ended) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => Done::of(output.unwrap()),
            Err(_) => {
                signal(id, "KILL");
                panic!("a command hangs: {:#?}", ended.recv());
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal, such as `STOP` and `CONT`, to a process of this test.
pub fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .status();
    assert!(status.unwrap().success());
}

/// Tries again until it holds, for [`PATIENCE`]: for what no process tells of by itself.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl World {
    /// Waits until the broker has the owner's agent on the line.
    pub fn await_owner(&self) {
        until("the owner's agent listens", || {
            let partners = run(&self.home("broker"), ["--json", "broker", "partners"]).json();
            let serves = |org: &serde_json::Value| org["org"] == "bank" && org["serving"] == true;
            partners.as_array().unwrap().iter().any(serves)
        });
    }

    /// SIGKILL to the broker; it may be started again then.
    pub fn kill_broker(&mut self) {
        self.broker.take().unwrap().kill();
    }

    /// SIGKILL to the owner's agent; it may be started again then.
    pub fn kill_owner(&mut self) {
        self.owner.take().unwrap().kill();
    }

    /// Flows that were interrupted, as the recipient is told.
    pub fn interrupted(&self) -> Vec<String> {
        let left = run(&self.home("insurer"), ["--json", "exchange", "--resume"]).json();
        let left = left["interrupted"].as_array().unwrap();
        left.iter()
            .map(|flow| flow.as_str().unwrap().to_owned())
            .collect()
    }

    /// `exchange --resume FLOW`, to its end.
    pub fn resume(&self, flow: &str) -> Done {
        run(&self.home("insurer"), ["exchange", "--resume", flow])
    }
}
