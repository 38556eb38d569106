//! The `counterfoil` command: parses, builds what a command needs, runs it.

mod args;
mod command;
mod demo;
mod failure;
mod progress;
mod ui;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use failure::Failure;
use ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.json);
    start_tracing(&cli.command);
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new("runtime", 1, format!("cannot start: {e}")))
        .and_then(|runtime| runtime.block_on(run(cli, ui)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

async fn run(cli: Cli, ui: Ui) -> Result<(), Failure> {
    let home = &cli.home;
    match cli.command {
        Command::Demo(args) => demo::run(&args, ui).await,
        Command::Broker(command) => command::broker::run(home, command, ui).await,
        Command::Party(command) => command::party::run(home, command, ui).await,
        Command::Agreement(command) => command::agreement::run(home, command, ui).await,
        Command::Exchange(args) => command::exchange::run(home, *args, ui).await,
        Command::Audit(command) => command::audit::run(home, command, ui).await,
        Command::Doctor => command::doctor::run(home, ui).await,
    }
}

/// Spans and logs go to standard error; nothing in them is about a person. `COUNTERFOIL_LOG` chooses how much.
fn start_tracing(command: &Command) {
    let serving = matches!(
        command,
        Command::Broker(args::BrokerCommand::Serve) | Command::Party(args::PartyCommand::Serve)
    );
    let default = if serving {
        "counterfoil_server=info,warn"
    } else {
        "error"
    };
    let filter =
        EnvFilter::try_from_env("COUNTERFOIL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
