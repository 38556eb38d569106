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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error),
    };
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

/// Help and version, which were asked for, or what is wrong with the command line.
fn not_a_command(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !(json && error.use_stderr()) {
        error.exit();
    }
    let text = error.to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text).trim();
    Ui::new(json).failure(&Failure::new("usage", 2, message));
    ExitCode::from(2)
}

async fn run(cli: Cli, ui: Ui) -> Result<(), Failure> {
    let home = &cli.home;
    match cli.command {
        Command::Demo(args) => demo::run(&args, ui).await,
        Command::Broker(command) => command::broker::run(home, command, ui).await,
        Command::Party(command) => command::party::run(home, command, ui).await,
        Command::Taxonomy(command) => command::taxonomy::run(home, command, ui),
        Command::Dataset(command) => command::dataset::run(home, command, ui),
        Command::Agreement(command) => command::agreement::run(home, command, ui).await,
        Command::Exchange(args) => command::exchange::run(home, *args, ui).await,
        Command::Trace(args) => command::trace::run(home, *args, ui).await,
        Command::Measure(args) => command::measure::run(home, *args, ui).await,
        Command::Policy(command) => command::policy::run(home, command, ui),
        Command::Audit(command) => command::audit::run(home, command, ui).await,
        Command::Doctor => command::doctor::run(home, ui).await,
    }
}

/// Spans and logs go to standard error; nothing in them is about a person. `COUNTERFOIL_LOG` chooses how much.
fn start_tracing(command: &Command) {
    let serving = matches!(
        command,
        Command::Broker(args::BrokerCommand::Serve)
            | Command::Party(args::PartyCommand::Serve { .. })
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
