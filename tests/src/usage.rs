//! What a process has used so far, read from procfs (Linux).

/// Processor time and memory of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time of all its threads, seconds.
    pub cpu_s: f64,
    /// High-water mark of its resident memory, MiB; 0 once it has ended.
    pub peak_mib: u64,
    /// It has ended and waits to be collected.
    pub ended: bool,
}

impl Usage {
    /// Of a process that runs.
    pub fn of(id: u32) -> Self {
        Self::read(id).expect("the process runs")
    }

    /// `None` where there is no such process.
    pub fn read(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Fields 3, 14 and 15, counted from 1; the name in field 2 may have spaces but ends with the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: u64 =
            fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        // A process that has ended keeps its times until it is collected, but has no memory any more.
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak_kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Some(Self {
            // The tick of procfs is 1/100 s on every Linux that Rust's std supports.
            cpu_s: ticks as f64 / 100.0,
            peak_mib: peak_kib.unwrap_or(0) / 1024,
            ended: matches!(fields.first(), Some(&"Z" | &"X")),
        })
    }
}
