//! The effective configuration as YAML, with the origin of each value.

use super::layer::Layer;
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Which source a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody said anything.
    Default,
    /// It follows from `redaction.set`.
    RuleSet,
    /// A configuration file, by its name.
    File(String),
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line.
    Flag,
}

impl Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::RuleSet => formatter.write_str("by redaction.set"),
            Self::File(name) => write!(formatter, "from {name}"),
            Self::Variable(name) => write!(formatter, "from ${name}"),
            Self::Flag => formatter.write_str("from the command line"),
        }
    }
}

/// Origins by key, such as `capture.hooks`.
pub(super) type Origins = BTreeMap<String, Origin>;

/// Every key that `layer` sets, such as `capture.hooks`.
pub(super) fn keys_of(layer: &Layer) -> Vec<String> {
    let mut keys = Vec::new();
    visit(layer, &mut |entry| {
        if let Entry::Leaf { path, .. } = entry {
            keys.push(path.to_owned());
        }
    });
    keys
}

/// Every key whose value is not the same in both, or that one of them alone sets.
pub(super) fn differences(one: &Layer, other: &Layer) -> Vec<String> {
    let values = |layer: &Layer| {
        let mut values = BTreeMap::new();
        visit(layer, &mut |entry| {
            if let Entry::Leaf { path, value, .. } = entry {
                values.insert(path.to_owned(), value.clone());
            }
        });
        values
    };
    let (one_values, other_values) = (values(one), values(other));
    let mut keys: Vec<String> = one_values
        .keys()
        .chain(other_values.keys())
        .filter(|key| one_values.get(*key) != other_values.get(*key))
        .cloned()
        .collect();
    // Secrets are masked by their serialisation, and so look all the same.
    for (key, is_same) in [
        (
            "export.otlp.headers",
            one.export.otlp.headers == other.export.otlp.headers,
        ),
        ("metrics.headers", one.metrics.headers == other.metrics.headers),
        (
            "export.otlp.endpoint",
            one.export.otlp.endpoint == other.export.otlp.endpoint,
        ),
        (
            "export.otlp.traces_endpoint",
            one.export.otlp.traces_endpoint == other.export.otlp.traces_endpoint,
        ),
        ("metrics.endpoint", one.metrics.endpoint == other.metrics.endpoint),
        ("export.fan_out", one.export.fan_out == other.export.fan_out),
        ("export.zipkin", one.export.zipkin == other.export.zipkin),
        ("export.proxy", one.export.proxy == other.export.proxy),
        (
            "redaction.hash_key",
            one.redaction.hash_key == other.redaction.hash_key,
        ),
    ] {
        if !is_same {
            keys.push(key.to_owned());
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// `layer` as YAML, each value with its origin; secrets are masked by their own serialisation.
pub(super) fn yaml(layer: &Layer, origins: &Origins) -> String {
    let mut text = String::new();
    visit(layer, &mut |entry| {
        let (depth, lines) = match entry {
            Entry::Section { depth, name } => (depth, format!("{name}:\n")),
            Entry::Leaf {
                depth,
                path,
                name,
                value,
            } => {
                let pair = serde_yaml_ng::Mapping::from_iter([(name.into(), value.clone())]);
                let lines = serde_yaml_ng::to_string(&pair).unwrap_or_default();
                let origin = origins.get(path).unwrap_or(&Origin::Default);
                let (first, rest) = lines.split_once('\n').unwrap_or((&lines, ""));
                (depth, format!("{first}  # {origin}\n{rest}"))
            }
        };
        for line in lines.lines() {
            text.push_str(&format!("{:width$}{line}\n", "", width = 2 * depth));
        }
    });
    text
}

/// Every key there is, such as `capture.hooks`, from the schema.
pub(super) fn keys() -> Vec<String> {
    fn walk(root: &serde_json::Value, node: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
        let target = node["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        let node = target.and_then(|target| root.pointer(target)).unwrap_or(node);
        let Some(properties) = node["properties"].as_object() else {
            return keys.push(path.to_owned());
        };
        for (name, child) in properties {
            walk(root, child, &join(path, name), keys);
        }
    }
    let schema = schemars::schema_for!(Layer).to_value();
    let mut keys = Vec::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

enum Entry<'a> {
    Section {
        depth: usize,
        name: &'a str,
    },
    Leaf {
        depth: usize,
        path: &'a str,
        name: &'a str,
        value: &'a serde_yaml_ng::Value,
    },
}

/// Sections that say something, and their keys, in the order of the schema.
fn visit(layer: &Layer, found: &mut dyn FnMut(Entry<'_>)) {
    fn walk(map: &serde_yaml_ng::Mapping, path: &str, depth: usize, found: &mut dyn FnMut(Entry<'_>)) {
        for (name, value) in map {
            let Some(name) = name.as_str() else { continue };
            let path = join(path, name);
            match value.as_mapping() {
                // Headers are one value: a source replaces all of them.
                Some(section) if !["export.otlp.headers", "metrics.headers"].contains(&&*path) => {
                    if !section.is_empty() {
                        found(Entry::Section { depth, name });
                        walk(section, &path, depth + 1, found);
                    }
                }
                _ => found(Entry::Leaf {
                    depth,
                    path: &path,
                    name,
                    value,
                }),
            }
        }
    }
    // Every type of a layer serialises; were one not to, nothing would be shown of it.
    if let Ok(serde_yaml_ng::Value::Mapping(map)) = serde_yaml_ng::to_value(layer) {
        walk(&map, "", 0, found);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
