//! The example of a batch engine, read as Kubernetes reads it, and its command by the parser that the command has.

use clap::Parser as _;
use saphyr::{LoadableYamlNode as _, Yaml};

use super::{Cli, Command};

const JOB: &str = include_str!("../../kubernetes/exchange-job.yaml");

fn texts<'y>(list: &'y Yaml<'_>) -> Vec<&'y str> {
    let list = list.as_sequence().unwrap();
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_pod_of_the_indexed_job_is_given_its_own_shard_of_one_job() {
    let documents = Yaml::load_from_str(JOB).unwrap();
    let [job] = &documents[..] else {
        panic!("one document");
    };
    assert_eq!(job["apiVersion"].as_str(), Some("batch/v1"));
    assert_eq!(job["kind"].as_str(), Some("Job"));
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
    let pods = spec["completions"].as_integer().unwrap();
    // Fewer at a time would wait for the first one's turn, or the last one's, for ever.
    assert_eq!(spec["parallelism"].as_integer(), Some(pods));
    let container = &spec["template"]["spec"]["containers"][0];
    let known = ["JOB_COMPLETION_INDEX", "JOB_NAME"];
    let given = container["env"].as_sequence().unwrap().iter();
    assert!(
        given
            .map(|variable| variable["name"].as_str().unwrap())
            .eq(known)
    );
    let command = texts(&container["command"]);
    for index in 0..pods {
        let expanded = command.iter().map(|part| {
            part.replace("$(JOB_COMPLETION_INDEX)", &index.to_string())
                .replace("$(JOB_NAME)", "counterfoil-exchange-x7k2p")
        });
        let cli = Cli::try_parse_from(expanded).unwrap();
        assert!(cli.json);
        let Command::Exchange(exchange) = cli.command else {
            panic!("an exchange");
        };
        let shard = exchange.shard.unwrap();
        assert_eq!(
            (i64::from(shard.index()), i64::from(shard.count())),
            (index, pods)
        );
        let job = exchange.job.unwrap().to_string();
        assert_eq!(job, "counterfoil-exchange-x7k2p");
    }
}

#[test]
fn a_shard_needs_a_job_and_a_job_a_shard() {
    let usual = "counterfoil exchange --agreement a --from a.csv --column b --out c.csv --as d";
    for (more, well) in [
        ("", true),
        (" --shard 1/4 --job night-1", true),
        (" --shard 1/4", false),
        (" --job night-1", false),
        (" --shard 4/4 --job night-1", false),
        (" --shard 0/17 --job night-1", false),
        (" --shard 0/4 --job ../night", false),
    ] {
        let line = format!("{usual}{more}");
        assert_eq!(Cli::try_parse_from(line.split(' ')).is_ok(), well, "{more}");
    }
}
