//! The command line.

#[cfg(test)]
mod kubernetes_tests;
mod measure;
mod own;

use std::path::PathBuf;

pub(crate) use measure::MeasureArgs;
pub(crate) use own::{OwnArgs, needed};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use counterfoil_party::recipient::{JobName, Shard};

/// Match customers with another institution without showing them, and keep the stub of every exchange.
#[derive(Debug, Parser)]
#[command(name = "counterfoil", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Directory of the broker or the party that the command is about
    #[arg(
        long,
        global = true,
        env = "COUNTERFOIL_HOME",
        default_value = ".counterfoil",
        value_name = "DIR"
    )]
    pub(crate) home: PathBuf,
    /// Print JSON instead of text: one document, or one line an event while serving
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected: a fault of the program or the machine
  2  the command line is wrong
  3  what was given is wrong: a file, a config, the text of an agreement
  4  refused: by the agreement, the partner or the broker; nothing left
  5  not reached: nobody answered, or a connection was lost
  6  a check failed: signature, receipt, log; do not go on before it is explained
  7  something is missing or unsafe here: not joined, partner not confirmed, permissions";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine once, with made-up customers, and tell what happens
    Demo(DemoArgs),
    /// Run a broker
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Run the agent of an institution
    #[command(subcommand)]
    Party(PartyCommand),
    /// Look at the taxonomies that define tags, and check one's own
    #[command(subcommand)]
    Taxonomy(TaxonomyCommand),
    /// Look at what the owner's mapping makes of its rows, before anything runs
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Write, sign and end agreements
    #[command(subcommand)]
    Agreement(AgreementCommand),
    /// Ask a partner for the agreed tags of common customers
    Exchange(Box<ExchangeArgs>),
    /// Tell from a leaked file whose delivery it is
    Trace(Box<TraceArgs>),
    /// Ask for figures about common customers under differential privacy; no row moves
    Measure(Box<MeasureArgs>),
    /// Explain decisions, and try other rules on those that were made
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Check what the broker recorded
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look for the usual first mistakes
    Doctor,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The leaked file: CSV in any usual encoding, an Excel workbook or Parquet
    pub(crate) file: Option<PathBuf>,
    /// The dataset whose customers are in it
    #[arg(long, default_value = "customers", value_name = "NAME")]
    pub(crate) dataset: String,
    /// The lineage, if the dataset has several
    #[arg(long, value_name = "NAME")]
    pub(crate) lineage: Option<String>,
    /// A column that is known to be a tag; otherwise its cells tell
    #[arg(long = "is", value_name = "COLUMN=TAG")]
    pub(crate) known: Vec<String>,
    /// Who asks, or approves
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Approve what another person asked for, and have it scored
    #[arg(long, value_name = "ID")]
    pub(crate) approve: Option<String>,
    /// Write the report as a page to print
    #[arg(long, value_name = "FILE", requires = "approve")]
    pub(crate) html: Option<PathBuf>,
    /// Write the report as the broker signed it
    #[arg(long, value_name = "FILE", requires = "approve")]
    pub(crate) out: Option<PathBuf>,
    /// List what waits for a second person
    #[arg(long, conflicts_with_all = ["approve", "file"])]
    pub(crate) pending: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Seed of the made-up customers
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Leave everything in this directory, to look at; it must not exist yet
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BrokerCommand {
    /// Make a broker: certificate authority, log key, configuration
    Init {
        /// Name of the broker, which is also the origin of its log
        #[arg(long, default_value = "broker.example")]
        name: String,
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1:7443", value_name = "HOST:PORT")]
        listen: String,
        /// Address under which agents reach it, if another; it goes into invites
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Serve until stopped
    Serve,
    /// Invite an institution, once
    Invite {
        /// Its name: a-z, 0-9 and `-`
        name: String,
        /// How long the invite is valid, such as 30m, 12h or 7d
        #[arg(long, default_value = "7d", value_parser = duration_seconds, value_name = "TIME")]
        valid: u32,
    },
    /// List the institutions that have joined
    Partners,
    /// Add a compliance officer with a key of their own; two of them assess institutions
    AddOfficer {
        /// An opaque user id; it goes into the log, a name should not
        user: String,
    },
    /// Assess institutions: standing, region, certifications
    #[command(subcommand)]
    Partner(PartnerCommand),
    /// Revoke an institution's certificate and cut its connections
    Revoke {
        /// Its name
        name: String,
        /// Why; it goes into the log
        #[arg(long)]
        reason: String,
    },
    /// Write the whole log to a file, for an auditor
    Export {
        /// The file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PartyCommand {
    /// Make the keys of an institution
    Init {
        /// Its name, as it will be invited
        name: String,
    },
    /// Join a broker with the invite of its operator
    Join {
        /// The invite, or a file that holds it
        invite: String,
    },
    /// Show this institution's name, keys and fingerprint
    Show {
        /// Only the fingerprint, to be read out to a partner
        #[arg(long)]
        fingerprint: bool,
    },
    /// Add a person who may propose, sign and ask
    AddUser {
        /// An opaque user id; it goes into the log, a name should not
        user: String,
    },
    /// List the institutions at the broker, and whose keys were confirmed
    Partners,
    /// Confirm a partner's keys by the fingerprint that it told you by another way than the broker
    ConfirmPartner {
        /// The partner's name
        name: String,
        /// The fingerprint that `counterfoil party show` prints there
        fingerprint: String,
    },
    /// Answer partners' requests, from the datasets in datasets.toml, until stopped
    Serve {
        /// Carry out part I of N (counted from 0) of each flow's buckets; all parts share a home, and each runs all the time
        #[arg(long, value_name = "I/N", default_value = "0/1")]
        shard: Shard,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Side {
    /// This institution holds the tagged customers
    Owner,
    /// This institution gets the tags
    Recipient,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgreementCommand {
    /// Print a commented agreement with a confirmed partner, to be edited
    Draft {
        /// The partner
        #[arg(long, value_name = "NAME")]
        with: String,
        /// Which side this institution takes
        #[arg(long, value_enum)]
        side: Side,
    },
    /// List the purposes that an agreement may name, with their definitions
    Purposes,
    /// Check an agreement's text by line, and give for each tag the coarsest form that its purpose needs
    Lint {
        /// The file
        file: PathBuf,
    },
    /// Propose an agreement, as its maker; a second person signs it then
    Propose {
        /// The file
        file: PathBuf,
        /// Who proposes
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// Take the next part in signing: maker or checker
    Sign {
        /// Id of the agreement
        id: String,
        /// Who signs
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// Show an agreement and where it stands
    Show {
        /// Id of the agreement
        id: String,
        /// Another version than the latest
        #[arg(long)]
        version: Option<u32>,
    },
    /// List this institution's agreements
    List,
    /// End an agreement; one side and one person are enough
    Revoke {
        /// Id of the agreement
        id: String,
        /// Who ends it
        #[arg(long = "as", value_name = "USER")]
        user: String,
        /// Why; it goes into the log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaxonomyCommand {
    /// List the taxonomies of this home: the built-in one and those in its folder `taxonomies`
    List,
    /// Show a taxonomy's tags
    Show {
        /// Its name
        #[arg(default_value = "cn-finance")]
        name: String,
        /// Another version than the highest
        #[arg(long)]
        version: Option<u32>,
        /// Print the built-in taxonomy's text, as a sample of one's own
        #[arg(long, conflicts_with = "version")]
        text: bool,
    },
    /// Check a taxonomy's text, by line, beside those of this home
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Read rows of datasets.toml's sources and tell per tag what is mapped, what is not, and what is delivered,
    /// and which consent records are refused; ends with 3 if a column has no usable value at all, if no row has a value in
    /// every tag of the agreement, or if a record is refused
    Check {
        /// One dataset; else all
        name: Option<String>,
        /// Rows to read of each source; else all
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        rows: Option<u64>,
        /// Show tags in the form of this agreement, by its id or in a .toml file; else at the first level of their
        /// hierarchies. Refused if its taxonomy is not here, or is older or different here
        #[arg(long, value_name = "ID|FILE")]
        agreement: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new(own::WITHOUT_OWN).arg("resume"))]
pub(crate) struct ExchangeArgs {
    /// Fetch again what was released in this flow, after an interruption; without FLOW, list those that were interrupted
    #[arg(long, value_name = "FLOW", conflicts_with_all = ["agreement", "from", "column", "out"])]
    pub(crate) resume: Option<Option<String>>,
    /// Id of the agreement
    #[arg(long, value_name = "ID", required_unless_present = "resume")]
    pub(crate) agreement: Option<String>,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
    /// One of the agreement's segments
    #[arg(long)]
    pub(crate) segment: Option<String>,
    /// Tags to ask for; else all of the agreement's
    #[arg(long, value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Own columns to copy into the output, such as a customer number
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) carry: Vec<String>,
    /// File to write: .csv or .parquet
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Who asks
    #[arg(long = "as", value_name = "USER", required_unless_present = "resume")]
    pub(crate) user: Option<String>,
    /// Carry out part I of N (counted from 0) of the buckets; all parts share a home and are given the same command
    #[arg(long, value_name = "I/N", requires = "job", conflicts_with = "resume")]
    pub(crate) shard: Option<Shard>,
    /// By which the parts find each other: a new name for each exchange
    #[arg(long, value_name = "NAME", requires = "shard")]
    pub(crate) job: Option<JobName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show every rule that takes part in a decision: of a flow in an exported log, or of a request under an agreement
    Explain(ExplainArgs),
    /// Decide the requests of an exported log again under other rules, and list what would differ
    Backtest {
        /// A file of rules, or a directory of them: NAME.cedar replaces the pack NAME or is added to the packs
        new: PathBuf,
        /// The exported log
        #[arg(long, value_name = "FILE")]
        log: PathBuf,
        /// Only requests from this day (UTC) on
        #[arg(long, value_name = "DATE")]
        since: Option<String>,
        /// The log's key, if not this home's
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Print the schema that rules are checked against
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Id of a flow in the exported log
    #[arg(
        value_name = "REQUEST",
        requires = "log",
        conflicts_with = "agreement",
        required_unless_present = "agreement"
    )]
    pub(crate) flow: Option<String>,
    /// The exported log
    #[arg(long, value_name = "FILE", requires = "flow")]
    pub(crate) log: Option<PathBuf>,
    /// The log's key, if not this home's
    #[arg(long, value_name = "KEY", requires = "log")]
    pub(crate) key: Option<String>,
    /// Id of an agreement of this party, or a file with the text of one: explain a request that nobody has made yet
    #[arg(long, value_name = "ID|FILE")]
    pub(crate) agreement: Option<String>,
    /// One of the agreement's segments
    #[arg(long, requires = "agreement")]
    pub(crate) segment: Option<String>,
    /// Tags to ask for; else all of the agreement's
    #[arg(
        long,
        value_delimiter = ',',
        requires = "agreement",
        conflicts_with = "queries"
    )]
    pub(crate) tags: Vec<String>,
    /// What to measure, as `counterfoil measure` takes it, once for each query; without one, an exchange is explained
    #[arg(long = "query", value_name = "QUERY", requires = "agreement")]
    pub(crate) queries: Vec<String>,
    /// For all Gaussian noise of the queries together
    #[arg(long, requires = "queries")]
    pub(crate) delta: Option<String>,
    /// What to match by; else the agreement's first
    #[arg(long, value_name = "TYPE", requires = "agreement")]
    pub(crate) by: Option<String>,
    /// Purpose to ask for; else the agreement's
    #[arg(long, requires = "agreement")]
    pub(crate) purpose: Option<String>,
    /// How many identifiers to bring
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(crate) set_size: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PartnerCommand {
    /// Propose what was found out about an institution; a second officer approves it then
    Assess {
        /// Its name
        name: String,
        /// How it stands, 0 to 100; under 80 its flows stop
        #[arg(long)]
        standing: u8,
        /// The country in which it handles data, such as CN
        #[arg(long)]
        region: Option<String>,
        /// A certification and its last day, such as mlps-3=2027-05-01; may be repeated
        #[arg(long = "certification", value_name = "NAME=DATE")]
        certifications: Vec<String>,
        /// The officer who proposes
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// Approve, as a second officer, what was proposed: from then on it is in force
    Approve {
        /// The institution
        name: String,
        /// The officer who approves
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
    /// Show what is in force, and what waits for a second officer
    Show {
        /// The institution
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check the broker's log against what this party has seen of it; or, offline, an exported file
    Verify {
        /// An export, to be checked offline
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The log's key, if not this home's: the line that `counterfoil broker serve` prints
        #[arg(long, value_name = "KEY", requires = "file")]
        key: Option<String>,
    },
    /// Write this party's own entries, with proofs, to a file
    Export {
        /// The file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `90s`, `30m`, `12h`, `7d`.
fn duration_seconds(text: &str) -> Result<u32, String> {
    let wrong = || "give a whole number and a unit, such as 90s, 30m, 12h or 7d".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration_seconds("90s"), Ok(90));
        assert_eq!(duration_seconds("7d"), Ok(604_800));
        for wrong in ["", "7", "d", "-1d", "7w", "9999999d", "é"] {
            assert!(duration_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
