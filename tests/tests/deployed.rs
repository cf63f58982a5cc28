//! What is shipped for containers (deploy/container), as the tools read it that it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spanwire_tests::agent::{self, Options};
use spanwire_tests::{collector, workload};

fn container(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/container")
        .join(path)
}

/// compose-go's loader, which docker compose reads files with.
fn composed() -> Result<Value> {
    let program = workload::go_module("compose")?;
    let loaded = Command::new(program).arg(container("compose.yaml")).output()?;
    let complaint = String::from_utf8_lossy(&loaded.stderr);
    ensure!(loaded.status.success() && complaint.is_empty(), "{complaint}");
    Ok(serde_json::from_slice(&loaded.stdout)?)
}

#[test]
fn compose_reads_the_file_and_all_that_it_mounts_is_there() -> Result<()> {
    let project = composed()?;
    let services = project["services"].as_object().context("services")?;
    let names: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    ensure!(
        names == BTreeSet::from(["collector", "grafana", "jaeger", "prometheus", "spanwire"]),
        "{names:?}"
    );
    let mut mounted = 0;
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().context("a source")?;
            if source != "/run/spanwire" {
                ensure!(Path::new(source).exists(), "{name}: {source}");
                ensure!(volume["read_only"] == true, "{name}: {source} can be written");
                mounted += 1;
            }
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            ensure!(port["host_ip"] == "127.0.0.1", "{name} is open to others: {port}");
        }
    }
    ensure!(mounted == 6, "{mounted} files");
    Ok(())
}

/// The command of the compose file is one that spanwire takes, and it goes where the collector listens.
#[test]
fn spanwire_takes_what_compose_gives_it() -> Result<()> {
    let project = composed()?;
    let service = &project["services"]["spanwire"];
    let words = service["command"].as_array().context("a command")?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    ensure!(words[0] == "run", "{words:?}");
    let endpoint = service["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        .as_str()
        .context("an endpoint")?;
    let mut options = Options::bare(["config", "print"]).environment("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    for word in &words[1..] {
        options = options.flag(*word);
    }
    let printed = agent::attempt_beside(&options)?;
    let text = printed.stdout.join("\n");
    ensure!(printed.status == 0, "{}", printed.message());
    for part in ["http://collector:4318", "0.0.0.0:9464"] {
        ensure!(text.contains(part), "no {part} in {text}");
    }
    let scraped = std::fs::read_to_string(container("prometheus.yaml"))?;
    ensure!(scraped.contains(r#"["spanwire:9464"]"#), "{scraped}");
    Ok(())
}

#[test]
fn the_collector_takes_its_configuration() -> Result<()> {
    collector::validate(&[container("collector.yaml")])
}

/// As it is mounted: beside the rules.
#[test]
fn prometheus_takes_its_configuration_and_the_rules() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for file in [
        container("prometheus.yaml"),
        container("../prometheus/spanwire.rules.yaml"),
    ] {
        std::fs::copy(&file, folder.path().join(file.file_name().context("a name")?))?;
    }
    let checked = Command::new("promtool")
        .args(["check", "config"])
        .arg(folder.path().join("prometheus.yaml"))
        .output()?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success() && said.contains("rules found"), "{said}");
    Ok(())
}

/// Grafana is not to be had here: its files are held against each other, and against what is mounted.
#[test]
fn grafana_finds_its_dashboards_and_sources() -> Result<()> {
    let project = composed()?;
    let volumes = project["services"]["grafana"]["volumes"]
        .as_array()
        .context("volumes")?;
    let boards = volumes
        .iter()
        .find(|volume| volume["target"] == "/var/lib/grafana/dashboards/spanwire")
        .and_then(|volume| volume["source"].as_str())
        .context("no dashboards")?;
    let provided = std::fs::read_to_string(container("grafana/dashboards.yaml"))?;
    ensure!(
        provided.contains("path: /var/lib/grafana/dashboards/spanwire"),
        "{provided}"
    );
    let sources = std::fs::read_to_string(container("grafana/datasources.yaml"))?;
    let services = project["services"].as_object().context("services")?;
    for line in sources
        .lines()
        .filter_map(|line| line.trim().strip_prefix("url: http://"))
    {
        let host = line.split(':').next().unwrap_or_default();
        ensure!(services.contains_key(host), "{host} is no service");
    }
    let mut found = 0;
    for file in std::fs::read_dir(boards)? {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(file?.path())?)?;
        // Each takes the source that is chosen, of a kind of which there is one.
        let kinds = board["templating"]["list"].as_array().context("variables")?;
        let kind = kinds
            .iter()
            .find(|one| one["type"] == "datasource")
            .context("a source")?;
        let kind = kind["query"].as_str().context("a kind")?;
        ensure!(
            sources.contains(&format!("type: {kind}\n")),
            "no source of kind {kind}"
        );
        found += 1;
    }
    ensure!(found >= 2, "{found} dashboards");
    Ok(())
}
