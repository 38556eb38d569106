//! What one run of a contender cost.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use counterfoil_tests::usage::Usage;

/// The cost of one run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From the start of the last process to the end of all, seconds.
    pub wall_s: f64,
    /// User and system time of all processes together, seconds.
    pub cpu_s: f64,
    /// What crossed the loopback interface meanwhile, with TCP's and IP's headers; what goes through a broker crosses twice.
    pub bytes: u64,
    /// High-water mark of the largest process, MiB.
    pub peak_mib: u64,
}

/// Watches processes that were running before (`services`) and those that this run started, until the latter have all ended well.
///
/// # Panics
///
/// If one of them fails.
pub fn watch(services: &[u32], mut started: Vec<Child>) -> Cost {
    let before: Vec<Usage> = services.iter().map(|id| Usage::of(*id)).collect();
    let bytes = loopback_bytes();
    let clock = Instant::now();
    let mut used = vec![Usage::default(); started.len()];
    while used.iter().any(|usage| !usage.ended) {
        for (child, usage) in started.iter().zip(&mut used) {
            if !usage.ended {
                let now = Usage::of(child.id());
                let peak_mib = usage.peak_mib.max(now.peak_mib);
                *usage = Usage { peak_mib, ..now };
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut cost = Cost {
        wall_s: clock.elapsed().as_secs_f64(),
        bytes: loopback_bytes() - bytes,
        cpu_s: used.iter().map(|usage| usage.cpu_s).sum(),
        peak_mib: used.iter().map(|usage| usage.peak_mib).max().unwrap_or(0),
    };
    for child in &mut started {
        assert!(child.wait().unwrap().success(), "a contender failed");
    }
    for (id, before) in services.iter().zip(before) {
        let now = Usage::of(*id);
        cost.cpu_s += now.cpu_s - before.cpu_s;
        cost.peak_mib = cost.peak_mib.max(now.peak_mib);
    }
    cost
}

/// This program again, as another process that plays a part.
pub fn part<const N: usize>(arguments: [&str; N]) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .arg("--part")
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Bytes that the loopback interface has received since the machine started.
pub fn loopback_bytes() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    let line = devices
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .expect("a loopback interface");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A stretch of what a process does, which it measures itself.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    cpu_s: f64,
    begun: Instant,
    wall_s: f64,
}

impl Span {
    /// From here on.
    pub fn begin() -> Self {
        Self {
            cpu_s: -own_cpu(),
            begun: Instant::now(),
            wall_s: 0.0,
        }
    }

    /// Until here.
    pub fn end(&mut self) {
        self.cpu_s += own_cpu();
        self.wall_s = self.begun.elapsed().as_secs_f64();
    }

    /// Leaves it for the process that started this one.
    pub fn write(&self, report: &str) {
        std::fs::write(report, format!("{} {}", self.cpu_s, self.wall_s)).unwrap();
    }

    /// What two sides have left, of a run that cost `whole`: the processor time of both, the longer of the times.
    pub fn of_both(reports: [&Path; 2], whole: Cost) -> Cost {
        let mut cost = Cost {
            cpu_s: 0.0,
            wall_s: 0.0,
            ..whole
        };
        for report in reports {
            let text = std::fs::read_to_string(report).unwrap();
            let (cpu_s, wall_s) = text.split_once(' ').unwrap();
            cost.cpu_s += cpu_s.parse::<f64>().unwrap();
            cost.wall_s = cost.wall_s.max(wall_s.parse().unwrap());
        }
        cost
    }
}

fn own_cpu() -> f64 {
    Usage::of(std::process::id()).cpu_s
}
