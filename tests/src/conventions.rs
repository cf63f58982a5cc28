//! The semantic conventions, as they are published.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::child::{self, Child};
use crate::workload;

/// Every constant of the conventions' registry, as it is published for Python.
///
/// # Errors
/// The package is not there: `cargo xtask setup`.
pub fn registry() -> Result<BTreeSet<String>> {
    let script = "
import importlib, pkgutil
for package in ('opentelemetry.semconv.attributes', 'opentelemetry.semconv._incubating.attributes'):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        for name, value in vars(importlib.import_module(package + '.' + module.name)).items():
            if name.isupper() and isinstance(value, str): print(value)
";
    let python = workload::environment("python")?;
    let mut command = child::command(python.to_str().context("path in UTF-8")?);
    command.args(["-c", script]);
    Ok(Child::spawn(command)?.succeed()?.into_iter().collect())
}
