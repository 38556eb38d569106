//! What it takes the broker to score a leaked file of 10,000 rows against a million candidate flows. One core.
//!
//! `cargo bench -p counterfoil-server --features bench --bench trace`; `FLOWS` sets another number than a million.

use counterfoil_server::bench;

fn main() -> Result<(), bench::Fault> {
    let flows = match std::env::var("FLOWS") {
        Ok(number) => number.parse()?,
        Err(_) => 1_000_000,
    };
    // Each in a process's memory of its own would be cleaner; the smaller one goes first, so that the peak is that of its own.
    for recipients in [1_000, flows] {
        println!("{}", bench::score(recipients.min(flows), flows)?);
    }
    Ok(())
}
