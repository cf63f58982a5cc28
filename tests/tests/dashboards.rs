//! Dashboards and alert rules (deploy/): every query of a panel has data after a real run, every alert's is one that the same
//! Prometheus takes, of metrics that are there, and has an entry in the runbook.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Agent, Options};
use spanwire_tests::child;
use spanwire_tests::http;
use spanwire_tests::metrics::Scrape;
use spanwire_tests::port;
use spanwire_tests::prometheus::Prometheus;
use spanwire_tests::shop::{self, Shop};
use spanwire_tests::wait;

spanwire_tests::live!(
    what_is_shipped_is_what_prometheus_takes,
    alerts_and_entries_of_the_runbook_are_the_same,
    every_panel_has_data_and_every_alert_its_metrics,
);

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Title and query of each target of each panel.
fn panels(name: &str) -> Result<Vec<(String, String)>> {
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(deployed(name))?)?;
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().context("panels")? {
        for target in panel["targets"].as_array().context("targets")? {
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            let title = text(&panel["title"]).context("a title")?;
            queries.push((title, text(&target["expr"]).context("a query")?));
        }
    }
    Ok(queries)
}

/// Name and query of each alert.
fn alerts() -> Result<Vec<(String, String)>> {
    let rules = std::fs::read_to_string(deployed("prometheus/spanwire.rules.yaml"))?;
    let after = |prefix: &'static str| {
        let lines = rules
            .lines()
            .filter_map(move |line| line.trim().strip_prefix(prefix));
        lines.map(str::to_owned)
    };
    let alerts: Vec<_> = after("- alert: ").zip(after("expr: ")).collect();
    ensure!(alerts.len() == rules.matches("- alert:").count() && !alerts.is_empty());
    Ok(alerts)
}

/// Words of a query that are names of metrics.
fn metrics(query: &str) -> Vec<&str> {
    let words = query.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let is_metric = |word: &&str| {
        ["spanwire_", "process_", "http_", "traces_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
            || *word == "up"
    };
    words.filter(is_metric).collect()
}

fn what_is_shipped_is_what_prometheus_takes() -> Result<()> {
    let check = |what, file: PathBuf| {
        let mut promtool = child::command("promtool");
        promtool.args(["check", what]).arg(file);
        child::Child::spawn(promtool)?.succeed().map(drop)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(deployed("prometheus"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    let (rules, configurations): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.to_string_lossy().ends_with(".rules.yaml"));
    ensure!(rules.len() == 1 && configurations.len() == 1);
    for file in rules {
        check("rules", file)?;
    }
    for file in configurations {
        check("config", file)?;
    }
    Ok(())
}

fn alerts_and_entries_of_the_runbook_are_the_same() -> Result<()> {
    let runbook = std::fs::read_to_string(deployed("prometheus/RUNBOOK.md"))?;
    let entries = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let alerts = alerts()?;
    let alerts: Vec<_> = alerts.iter().map(|(name, _)| &**name).collect();
    let entries: Vec<_> = entries.collect();
    ensure!(alerts == entries, "alerts {alerts:?}, entries {entries:?}");
    for entry in runbook.split("\n## ").skip(1) {
        let says = entry.split_once('\n').map_or("", |(_, says)| says.trim());
        ensure!(!says.is_empty(), "nothing is said of {entry}");
    }
    Ok(())
}

fn every_panel_has_data_and_every_alert_its_metrics() -> Result<()> {
    shop::prepare(|_| {})?;
    let shop = Shop::open(|_| {}, || false)?;
    let metrics_at = SocketAddr::from(([127, 0, 0, 1], port::free()?));
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("spanwire.yaml");
    std::fs::write(&settings, "sampling: {tail: {ratio: 0.9}}\n")?;
    let mut options = Options::bare(["run", "--output", "otlp-json"])
        .flag("--config")
        .flag(settings)
        .flag("--listen")
        .flag(metrics_at.to_string())
        .environment("SPANWIRE_METRICS_KERNEL_COST", "true");
    for port in shop.ports() {
        options = options.port(*port);
    }
    let agent = Agent::start(&options)?;
    let prometheus = Prometheus::scraping(metrics_at)?;
    let order = |sku: &str, quantity: u32| -> Result<()> {
        let body = format!(r#"{{"sku":"{sku}","quantity":{quantity}}}"#);
        let front = shop.front();
        http::connect(front)?
            .call("POST", "/orders", &front.to_string(), body.as_bytes())
            .map(drop)
    };
    let mut missing = Vec::new();
    let queries = [panels("grafana/services.json")?, panels("grafana/agent.json")?].concat();
    // Rates take two scrapes that differ.
    wait::until("data for every panel", || {
        order("tea", 1)?;
        // Sold out, which is an error of the call, and a division by zero, which is one of the server.
        order("unicorn", 1)?;
        order("kettle", 0)?;
        missing.clear();
        for (title, query) in &queries {
            let found = prometheus.query(query)?;
            if found.is_empty() || found.iter().all(|(_, value)| value.is_nan()) {
                missing.push(format!("{title}: {query}"));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(missing.is_empty().then_some(()))
    })
    .with_context(|| format!("without data: {missing:#?}"))?;
    let scrape = Scrape::of(metrics_at)?;
    for (name, query) in alerts()? {
        prometheus.query(&query).with_context(|| name.clone())?;
        for metric in metrics(&query) {
            ensure!(
                metric == "up" || scrape.text.contains(&format!("\n# TYPE {metric} ")),
                "{name}: there is no {metric}"
            );
        }
    }
    agent.stop()?;
    Ok(())
}
