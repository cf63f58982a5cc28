//! What a spanwire holds: memory, descriptors, and entries of its maps in the kernel.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// As it is at one moment.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// Bytes of memory that are resident.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Bytes of its maps.
    pub mapped: u64,
    /// Entries of its hash tables, by name.
    tables: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Map {
    name: Option<String>,
    r#type: String,
}

impl Footprint {
    /// Of the spanwire of this process id.
    ///
    /// # Errors
    /// It is gone, or there is no bpftool.
    pub fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = number(&status, "VmRSS:").context("VmRSS")? << 10;
        let mut own = Self {
            resident,
            ..Self::default()
        };
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            own.descriptors += 1;
            let Ok(info) = std::fs::read_to_string(entry?.path()) else {
                continue;
            };
            let (Some(id), Some(bytes)) = (number(&info, "map_id:"), number(&info, "memlock:")) else {
                continue;
            };
            own.mapped += bytes;
            let map: Map = serde_json::from_str(&bpftool(&["map", "show", "id"], id)?)?;
            if map.r#type.contains("hash")
                && let Some(name) = map.name
            {
                // Sockets have no value to show; a key is shown all the same.
                let dump = bpftool(&["map", "dump", "id"], id)?;
                own.tables.insert(name, dump.matches(r#""key":"#).count());
            }
        }
        Ok(own)
    }

    /// How many entries one of its hash tables has.
    #[must_use]
    pub fn entries(&self, table: &str) -> usize {
        self.tables.get(table).copied().unwrap_or(0)
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn bpftool(arguments: &[&str], id: u64) -> Result<String> {
    let mut command = Command::new("bpftool");
    let output = command.arg("-j").args(arguments).arg(id.to_string()).output();
    let output = output.context("no bpftool (package bpftool)")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
