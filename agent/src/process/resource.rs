//! Resource attributes of one process, to the letter of the semantic conventions.

mod container;
mod image;
mod kubernetes;

use super::{Host, Identity, Runtime};
use crate::span::{Attribute, Value};
pub(super) use container::label;
use kubernetes::Place;
pub use kubernetes::service_of;
use uuid::Uuid;

/// Namespace for `service.instance.id`, from the conventions (resource/service).
const INSTANCES: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

/// Marks what was made out of an event alone: the process was gone before it was read.
const INCOMPLETE: &str = "spanwire.process.incomplete";

/// The attributes of a process, each key once. `shared` are those that all processes get.
///
/// Where sources disagree, what the service's owner declared in its environment goes before what spanwire's owner
/// configured, and that before what was found out; what made the spans is not for either to say.
#[must_use]
pub fn attributes(identity: &Identity, host: &Host, shared: &[(String, String)]) -> Vec<Attribute> {
    let mut merged = Merged::with_telemetry();
    merged.service(identity, shared);
    merged.text("service.instance.id", instance_id(identity, host));
    merged.process(identity);
    merged.host(host);
    merged.attributes
}

/// The same attributes with another `service.name`.
pub(super) fn named(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    let mut attributes = attributes.to_vec();
    let value = Value::Text(name.into());
    match attributes.iter_mut().find(|it| it.key == "service.name") {
        Some(attribute) => attribute.value = value,
        None => attributes.push(Attribute {
            key: "service.name".into(),
            value,
        }),
    }
    attributes
}

/// The same attributes with what has been found of its language runtime since.
pub(super) fn running(attributes: &[Attribute], runtime: &Runtime) -> Vec<Attribute> {
    let mut attributes = attributes.to_vec();
    let version = runtime.version.as_deref();
    let texts = [
        ("process.runtime.name", Some(runtime.name)),
        ("process.runtime.version", version),
        ("process.runtime.description", runtime.description.as_deref()),
    ];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
        if attributes.iter().all(|attribute| attribute.key != key) {
            let attribute = Attribute {
                key: key.into(),
                value: Value::Text(text.into()),
            };
            // Labels of containers come last.
            attributes.insert(0, attribute);
        }
    }
    attributes
}

/// The attributes of a child of `parent` that ran the same program and was gone before it was read. When it started is
/// not known, and so no id of the instance is made.
pub(super) fn of_child(
    pid: u32,
    parent: &Identity,
    host: &Host,
    shared: &[(String, String)],
) -> Vec<Attribute> {
    let child = Identity {
        pid,
        parent: parent.pid,
        ..parent.clone()
    };
    let mut merged = Merged::with_telemetry();
    merged.service(&child, shared);
    merged.set(INCOMPLETE, Value::Boolean(true));
    merged.process(&child);
    merged.host(host);
    merged.attributes
}

/// The attributes of a process that was gone before it was read: what an event said, and a mark.
pub(super) fn of_event(
    pid: u32,
    comm: Option<&str>,
    host: &Host,
    shared: &[(String, String)],
) -> Vec<Attribute> {
    let mut merged = Merged::with_telemetry();
    merged.text(
        "service.name",
        comm.map_or_else(|| "unknown_service".to_owned(), name_of_executable),
    );
    merged.pairs(shared);
    merged.integer("process.pid", pid);
    merged.maybe("process.executable.name", comm);
    merged.set(INCOMPLETE, Value::Boolean(true));
    merged.host(host);
    merged.attributes
}

/// The attributes of what a capture file holds. It knows no process, and not whose packets they are: the name is the one
/// that the specification has for that (resource SDK, "service.name").
pub(super) fn of_capture(shared: &[(String, String)]) -> Vec<Attribute> {
    let mut merged = Merged::with_telemetry();
    merged.text("service.name", "unknown_service");
    merged.pairs(shared);
    merged.attributes
}

/// `service.name`: what it was declared to be, else the nearest thing that a person gave a name to.
fn service_name(identity: &Identity) -> String {
    if let Some(place) = Place::of(identity) {
        let declared = || identity.declared.service().map(str::to_owned);
        let wished = place.wished_name().or_else(declared);
        return wished.unwrap_or_else(|| place.service_name().to_owned());
    }
    let container = identity
        .container
        .as_ref()
        .and_then(|it| it.service.as_deref().or(it.name.as_deref()));
    let found = identity
        .declared
        .service()
        .or(identity.unit.as_deref())
        .or(container)
        .or(identity.name.as_deref());
    found.map_or_else(
        || format!("unknown_service:{}", identity.executable_name()),
        str::to_owned,
    )
}

/// A program's own name is the service's, an interpreter's is not.
fn name_of_executable(name: &str) -> String {
    use super::runtime::Family;
    match Family::of(name) {
        Family::Native | Family::MultiCall => name.to_owned(),
        _ => format!("unknown_service:{name}"),
    }
}

/// Stable for the life of the process: one host, one boot, one id at one start time is one process.
fn instance_id(identity: &Identity, host: &Host) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let source = format!(
        "{}/{}/{}/{}",
        part(&host.id),
        part(&host.boot),
        identity.pid,
        identity.start
    );
    Uuid::new_v5(&INSTANCES, source.as_bytes()).to_string()
}

/// The first value that a key gets is the one it keeps.
struct Merged {
    attributes: Vec<Attribute>,
}

impl Merged {
    /// `telemetry.sdk.*` is what captured the data, and its language: spanwire, in Rust, and not the language of the
    /// service (`process.runtime.name` says that). The name `opentelemetry` is reserved for that project's own.
    /// `telemetry.distro.*` is the agent that instruments without the service's doing, which is spanwire again.
    fn with_telemetry() -> Self {
        let mut merged = Self {
            attributes: Vec::with_capacity(24),
        };
        merged.text("telemetry.sdk.name", "spanwire");
        merged.text("telemetry.sdk.language", "rust");
        merged.text("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
        merged.text("telemetry.distro.name", "spanwire");
        merged.text("telemetry.distro.version", env!("CARGO_PKG_VERSION"));
        merged
    }

    fn set(&mut self, key: impl Into<std::borrow::Cow<'static, str>>, value: Value) {
        let key = key.into();
        if self.attributes.iter().all(|attribute| attribute.key != key) {
            self.attributes.push(Attribute { key, value });
        }
    }

    fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.set(key, Value::Text(value.into().into()));
    }

    fn maybe(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn integer(&mut self, key: &'static str, value: u32) {
        self.set(key, Value::Integer(value.into()));
    }

    fn list(&mut self, key: &'static str, texts: &[&str]) {
        if !texts.is_empty() {
            let texts = texts.iter().map(|text| (*text).to_owned());
            self.set(key, Value::Texts(texts.collect()));
        }
    }

    /// What names the service. Its pod's annotations are its owner's word, too, if not as near to it as its environment.
    fn service(&mut self, identity: &Identity, shared: &[(String, String)]) {
        let place = Place::of(identity);
        self.text("service.name", service_name(identity));
        self.pairs(&identity.declared.attributes);
        if let Some(place) = &place {
            place.declare(self);
        }
        self.pairs(shared);
        if let Some(place) = &place {
            place.service(self);
        } else {
            let project = identity.container.as_ref().and_then(|it| it.project.as_deref());
            self.maybe("service.namespace", project);
        }
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.set(key.clone(), Value::Text(value.clone().into()));
        }
    }

    /// `process.command_args`, `process.command_line` and `process.command` are left out: arguments may be secrets, and a
    /// process may write them over the first one, too.
    fn process(&mut self, identity: &Identity) {
        self.integer("process.pid", identity.pid);
        self.integer("process.parent_pid", identity.parent);
        self.text("process.executable.name", identity.executable_name());
        self.maybe(
            "process.executable.path",
            identity.executable.as_deref().and_then(|path| path.to_str()),
        );
        self.maybe("process.owner", identity.owner.as_deref());
        if let Some(runtime) = &identity.runtime {
            self.text("process.runtime.name", runtime.name);
            self.maybe("process.runtime.version", runtime.version.as_deref());
            self.maybe("process.runtime.description", runtime.description.as_deref());
        }
        if let Some(container) = &identity.container {
            self.text("container.id", container.id.as_str());
            self.maybe("container.name", container.name.as_deref());
        }
        if let Some(place) = Place::of(identity) {
            place.place(self);
        }
        if let Some(container) = &identity.container {
            container.describe(self);
        }
    }

    fn host(&mut self, host: &Host) {
        self.maybe("host.name", host.name.as_deref());
        self.maybe("host.id", host.id.as_deref());
        self.text("host.arch", host.arch);
        self.text("os.type", "linux");
    }
}

#[cfg(test)]
mod tests;
