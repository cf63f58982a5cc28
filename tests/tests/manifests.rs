//! The chart and the plain manifests of deploy/kubernetes, as far as no cluster is needed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Options, attempt_beside};
use spanwire_tests::cluster::text;
use spanwire_tests::manifests::{built, by_template, objects, overlays, rendered, run_helm, shipped};

/// Files that are made of the chart, and from which overlay's values: `SPANWIRE_WRITE_MANIFESTS=1` makes them anew.
fn made() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (name, text) in by_template(&rendered(None, &[])?)? {
        files.insert(format!("base/{name}"), text);
    }
    for (overlay, template) in [
        ("propagate", "config.yaml"),
        ("no-probes", "config.yaml"),
        ("pod-monitor", "monitor.yaml"),
    ] {
        let mut parts = by_template(&rendered(Some(overlay), &[])?)?;
        let text = parts.remove(template).with_context(|| format!("no {template}"))?;
        files.insert(format!("overlays/{overlay}/{template}"), text);
    }
    Ok(files)
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() -> Result<()> {
    for (name, text) in made()? {
        let file = shipped(&name);
        if std::env::var_os("SPANWIRE_WRITE_MANIFESTS").is_some() {
            std::fs::write(&file, text)?;
            continue;
        }
        ensure!(
            std::fs::read_to_string(&file).is_ok_and(|there| there == text),
            "{name} is not what the chart renders: SPANWIRE_WRITE_MANIFESTS=1 makes it anew"
        );
    }
    assert_eq!(objects(&built("base")?)?, objects(&rendered(None, &[])?)?);
    let overlays = overlays()?;
    ensure!(overlays.len() == 5, "{overlays:?}");
    for overlay in &overlays {
        let plain = objects(&built(&format!("overlays/{overlay}"))?)?;
        assert_eq!(plain, objects(&rendered(Some(overlay), &[])?)?, "{overlay}");
        assert_ne!(plain, objects(&built("base")?)?, "{overlay} changes something");
    }
    Ok(())
}

#[test]
fn the_chart_is_of_the_same_version() -> Result<()> {
    let chart = std::fs::read_to_string(shipped("chart/Chart.yaml"))?;
    let chart: serde_json::Value = serde_yaml_ng::from_str(&chart)?;
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    Ok(())
}

#[test]
fn the_chart_has_no_lint_and_refuses_values_that_it_does_not_know() -> Result<()> {
    let chart = shipped("chart");
    let chart = chart.to_str().context("path in UTF-8")?;
    run_helm(&["lint", "--strict", chart])?;
    for overlay in overlays()? {
        let values = shipped(&format!("overlays/{overlay}/values.yaml"));
        run_helm(&[
            "lint",
            "--strict",
            chart,
            "--values",
            values.to_str().context("a path")?,
        ])?;
    }
    for wrong in [
        r#"tolerration=[]"#,
        r#"security.mode="root""#,
        r#"security.oldestKernel="new""#,
        r#"image.digest="sha256:12""#,
        r#"metricsPort=0"#,
        r#"metricsPort=946"#,
        r#"config.metrics.listen=["unix"]"#,
        r#"networkPolicy.create="yes""#,
        r#"resourceAttributes={"a=b":"c"}"#,
    ] {
        let refused = rendered(None, &[wrong])
            .err()
            .with_context(|| format!("{wrong} is taken"))?;
        let key = wrong.split(['=', '.']).next().unwrap_or(wrong);
        ensure!(format!("{refused:#}").contains(key), "{wrong}: {refused:#}");
    }
    Ok(())
}

#[test]
fn the_shipped_configuration_is_one_that_spanwire_takes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut all = vec![built("base")?];
    for overlay in overlays()? {
        all.push(built(&format!("overlays/{overlay}"))?);
    }
    for manifests in all {
        let objects = objects(&manifests)?;
        let map = objects.get("ConfigMap spanwire").context("a ConfigMap")?;
        let file = folder.path().join("spanwire.yaml");
        let configuration = text(map, "/data/spanwire.yaml")?;
        std::fs::write(&file, configuration)?;
        let check = Options::bare(["config", "check"]).flag(&file);
        let checked = attempt_beside(&check)?;
        ensure!(checked.status == 0, "{configuration}{}", checked.message());
        std::fs::write(&file, configuration.replace("listen", "listens"))?;
        ensure!(attempt_beside(&check)?.status == 2);
    }
    Ok(())
}

#[test]
fn what_a_pod_may_follows_from_what_is_asked_of_it() -> Result<()> {
    let container = |values: &[&str]| -> Result<_> {
        let objects = objects(&rendered(None, values)?)?;
        let set = objects.get("DaemonSet spanwire").context("a DaemonSet")?;
        let container = set
            .pointer("/spec/template/spec/containers/0")
            .context("a container")?;
        Ok(container["securityContext"].clone())
    };
    let added = |values: &[&str]| -> Result<Vec<String>> {
        Ok(serde_json::from_value(
            container(values)?["capabilities"]["add"].clone(),
        )?)
    };
    let least = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"];
    assert_eq!(added(&["config.capture.probes=false"])?, least);
    assert_eq!(added(&[])?, [&least[..], &["SYS_ADMIN"]].concat());
    let mounts = |values: &[&str]| -> Result<String> {
        let objects = objects(&rendered(None, values)?)?;
        let set = objects.get("DaemonSet spanwire").context("a DaemonSet")?;
        let pod = set.pointer("/spec/template/spec").context("a pod")?;
        Ok(pod["volumes"].to_string())
    };
    ensure!(mounts(&[r#"config.propagate={"headers":["http1"]}"#])?.contains("cgroup"));
    for none in [
        r#"config.propagate={"headers":"none"}"#,
        r#"config.propagate={"headers":[]}"#,
    ] {
        assert_eq!(mounts(&[none])?, mounts(&[])?);
    }
    ensure!(mounts(&[r#"config.export.spool={"directory":"/spool"}"#])?.contains("/var/lib/spanwire"));
    assert_eq!(
        added(&[r#"security.oldestKernel="5.10.0""#])?
            .last()
            .map(String::as_str),
        Some("SYS_RESOURCE")
    );
    // The API server refuses SYS_ADMIN together with it.
    let context = container(&[])?;
    ensure!(context.get("allowPrivilegeEscalation").is_none(), "{context}");
    let context = container(&["config.capture.probes=false"])?;
    ensure!(context["allowPrivilegeEscalation"] == false, "{context}");
    let context = container(&[r#"security.mode="privileged""#])?;
    ensure!(
        context["privileged"] == true && context.get("capabilities").is_none(),
        "{context}"
    );
    Ok(())
}
