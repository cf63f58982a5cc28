//! SIGHUP: the configuration is read again, and what can change while requests are captured does.

use crate::config::environment::Environment;
use crate::config::layer::Layer;
use crate::config::{self, Config, Resolved};
use crate::kubernetes;
use crate::naming;
use crate::pipeline::Rules;
use crate::process::watch::Filter;
use crate::process::{Proc, SdkRules};
use crate::run::{self, RunError};
use crate::sample;
use crate::trace::sampling::Policy;
use ring::digest;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Keys that can change, or what they begin with. For each, [`Change`] says what of a running pipeline is replaced.
const CHANGEABLE: &[&str] = &[
    "watch.pid",
    "watch.exe",
    "watch.container",
    "kubernetes.watch_by_default",
    "watch.include",
    "watch.exclude",
    "http.",
    "messaging.captured_headers",
    "baggage.",
    "routes.",
    "spans.",
    "redaction.",
    "limits.",
    "output.open_after",
    "sampling.",
    "sdk.",
];

/// The key of the configuration whose file may change while its name does not.
const KEY_FILE: &str = "redaction.hash_key_file";

/// Tells one content of a file from another, and does not tell the content.
type Fingerprint = [u8; 32];

/// Changes that wait to be made; each signal makes one, and waits for it.
const WAITING: usize = 1;

/// Where a configuration comes from.
#[derive(Debug)]
pub struct Origin {
    /// The file that was named on the command line.
    pub path: Option<PathBuf>,
    /// The environment, which does not change.
    pub environment: Environment,
    /// Flags.
    pub flags: Layer,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    /// The file cannot be read, or a value cannot be taken.
    pub fn read(&self) -> Result<Resolved, config::Error> {
        config::read(self.path.as_deref(), &self.environment, self.flags.clone())
    }
}

/// All that is replaced at once, between two turns of the pipeline.
#[derive(Debug)]
pub struct Change {
    /// Which processes are watched; `None` where that is as it was.
    pub filter: Option<Filter>,
    /// What becomes of exchanges.
    pub rules: Rules,
    /// When streams that are open are shown.
    pub open_after: Option<Duration>,
    /// Which traces are kept; `None` where that is as it was.
    pub sampling: Option<Policy>,
    /// Which traces are kept, if there are rules for that; `None` where that is as it was.
    pub tail: Option<Option<sample::rules::Rules>>,
    /// What is left to services' own SDKs; `None` where that is as it was.
    pub sdk: Option<SdkRules>,
}

/// A change, and who waits for it.
pub type Ordered = (Change, oneshot::Sender<()>);

/// The way of changes to the pipeline.
#[must_use]
pub fn channel() -> (SyncSender<Ordered>, Receiver<Ordered>) {
    sync_channel(WAITING)
}

/// Reads again and changes.
#[derive(Debug)]
pub struct Reload {
    origin: Origin,
    /// As it was when capture began.
    begun: Resolved,
    /// As it is.
    current: Resolved,
    /// What the file with the key for hashes held then.
    key: Option<Fingerprint>,
    orders: SyncSender<Ordered>,
    no_redact: bool,
    has_command: bool,
}

/// Why all stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What was read cannot be taken.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// It could not be run with.
    #[error("{0}")]
    Run(RunError),
    /// Nobody takes changes any more.
    #[error("the pipeline does not answer")]
    Gone,
}

/// What has changed, by keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In force now.
    pub changed: Vec<String>,
    /// In force at the next start.
    pub left: Vec<String>,
    /// What the configuration's reader warns of.
    pub warnings: Vec<String>,
}

impl Reload {
    /// Of a run that began with `begun`.
    #[must_use]
    pub fn new(
        origin: Origin,
        begun: Resolved,
        orders: SyncSender<Ordered>,
        no_redact: bool,
        has_command: bool,
    ) -> Self {
        Self {
            key: fingerprint(&begun.config),
            origin,
            current: begun.clone(),
            begun,
            orders,
            no_redact,
            has_command,
        }
    }

    /// Reads the configuration again, and makes what can change change.
    ///
    /// # Errors
    /// Then all is as it was.
    pub async fn run(&mut self) -> Result<Outcome, ReloadError> {
        let read = self.origin.read()?;
        let mut outcome = outcome(&self.begun, &self.current, &read);
        let key = fingerprint(&read.config);
        let name = KEY_FILE.to_owned();
        if key != self.key && !outcome.changed.contains(&name) {
            outcome.changed.push(name);
        }
        if !outcome.changed.is_empty() {
            check(&read.config, self.has_command).map_err(ReloadError::Run)?;
            let (done, is_done) = oneshot::channel();
            let change = self
                .change(&read.config, &outcome.changed)
                .map_err(ReloadError::Run)?;
            self.orders
                .try_send((change, done))
                .map_err(|_| ReloadError::Gone)?;
            is_done.await.map_err(|_| ReloadError::Gone)?;
            self.current = read;
            self.key = key;
        }
        Ok(outcome)
    }

    fn change(&self, config: &Config, changed: &[String]) -> Result<Change, RunError> {
        // Of the one key that the kernel half knows as well, what it began with.
        let propagate = self.begun.config.propagate.clone();
        let config = &Config {
            propagate,
            ..config.clone()
        };
        let in_cluster = kubernetes::is_wanted(&self.begun.config.kubernetes);
        let has = |prefix: &str| changed.iter().any(|key| key.starts_with(prefix));
        Ok(Change {
            filter: (has("watch.") || has("kubernetes.")).then(|| run::filter(config, in_cluster)),
            rules: run::rules(config, self.no_redact, true)?,
            open_after: config.output.open_after,
            sampling: match has("sampling.") {
                true => Some(naming::sampling(config)?),
                false => None,
            },
            tail: has("sampling.tail.").then(|| run::tail(config)).transpose()?,
            sdk: has("sdk.").then(|| SdkRules::new(&config.sdk)),
        })
    }
}

/// Of the file with the key for hashes; `None` where there is none, or it cannot be read, which is said where it is needed.
fn fingerprint(config: &Config) -> Option<Fingerprint> {
    let content = std::fs::read(config.redaction.hash_key_file.as_ref()?).ok()?;
    digest::digest(&digest::SHA256, &content).as_ref().try_into().ok()
}

/// Whether it can be run with.
fn check(config: &Config, has_command: bool) -> Result<(), RunError> {
    if has_command && let Some(filters) = run::filters_of_processes(&config.watch) {
        return Err(RunError::Filters(filters));
    }
    match config.watch.pids.iter().find(|pid| !Proc::host().has(**pid)) {
        Some(pid) => Err(RunError::NoProcess(*pid)),
        None => Ok(()),
    }
}

fn outcome(begun: &Resolved, current: &Resolved, read: &Resolved) -> Outcome {
    let can_change = |key: &String| CHANGEABLE.iter().any(|prefix| key.starts_with(prefix));
    Outcome {
        changed: current.differences(read).into_iter().filter(can_change).collect(),
        // Against what is in force, which of these is that of the start.
        left: begun
            .differences(read)
            .into_iter()
            .filter(|key| !can_change(key))
            .collect(),
        warnings: read.warnings.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Case {
        reload: Reload,
        changes: Receiver<Ordered>,
        path: PathBuf,
    }

    fn case(name: &str, text: &str) -> Case {
        let path = std::env::temp_dir().join(format!("spanwire-reload-{name}-{}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        let origin = Origin {
            path: Some(path.clone()),
            environment: Environment::new(),
            flags: Layer::default(),
        };
        let begun = origin.read().unwrap();
        let (orders, changes) = channel();
        Case {
            reload: Reload::new(origin, begun, orders, false, false),
            changes,
            path,
        }
    }

    impl Case {
        /// Reloads from `text`, and does as the pipeline does.
        async fn reload(&mut self, text: &str) -> (Result<Outcome, String>, Option<Change>) {
            fs::write(&self.path, text).unwrap();
            let changes = &self.changes;
            let pipeline = async {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                    if let Ok((change, done)) = changes.try_recv() {
                        let _ = done.send(());
                        return Some(change);
                    }
                }
                None
            };
            let (outcome, change) = tokio::join!(self.reload.run(), pipeline);
            (outcome.map_err(|error| error.to_string()), change)
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_can_change_does_and_what_cannot_is_named_each_time() {
        let mut case = case("keys", "limits: {attribute_count: 5}\n");
        let text = "limits: {attribute_count: 6}\noutput: {open_after: 3s}\ncapture: {ring_buffer: 16M}\n";
        let (outcome, change) = case.reload(text).await;
        let outcome = outcome.unwrap();
        assert_eq!(
            outcome.changed,
            keys(&["limits.attribute_count", "output.open_after"])
        );
        assert_eq!(outcome.left, keys(&["capture.ring_buffer"]));
        let change = change.expect("a change");
        assert_eq!(change.rules.limits.attributes, 6);
        assert_eq!(change.open_after, Some(Duration::from_secs(3)));
        assert!(change.filter.is_none() && change.sdk.is_none());
        assert!(change.sampling.is_none() && change.tail.is_none());
        // The same again: nothing to do, and still what is left.
        let (outcome, change) = case.reload(text).await;
        let outcome = outcome.unwrap();
        assert_eq!(
            (outcome.changed, outcome.left),
            (vec![], keys(&["capture.ring_buffer"]))
        );
        assert!(change.is_none());
        // And back: a key that is gone is a change as well.
        let (outcome, change) = case.reload("").await;
        let outcome = outcome.unwrap();
        assert_eq!(
            outcome.changed,
            keys(&["limits.attribute_count", "output.open_after"])
        );
        assert_eq!(outcome.left, keys(&[]));
        assert_eq!(change.expect("a change").rules.limits.attributes, 128);
    }

    #[tokio::test]
    async fn which_traces_are_kept_can_change() {
        let mut case = case("sampling", "");
        let text = "sampling: {sampler: traceidratio, ratio: 0.5}\n";
        let (outcome, change) = case.reload(text).await;
        let expect = keys(&["sampling.ratio", "sampling.sampler"]);
        assert_eq!(outcome.unwrap().changed, expect);
        let policy = change.expect("a change").sampling.expect("another policy");
        assert!(!policy.parent_based);
        assert_eq!(policy.ratio, 0.5);
    }

    #[tokio::test]
    async fn what_the_kernel_half_carries_on_stays_as_it_began() {
        let mut case = case("carried", "propagate: {correlation: x-request-id}\n");
        let text = "propagate: {baggage: true, correlation: none}\nlimits: {attribute_count: 5}\n";
        let (outcome, change) = case.reload(text).await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.changed, keys(&["limits.attribute_count"]));
        assert_eq!(
            outcome.left,
            keys(&["propagate.baggage", "propagate.correlation"])
        );
        // Where the kernel half makes ids, spans say so, and nowhere else.
        let spans = change.expect("a change").rules.spans;
        assert_eq!(spans.made_id(), Some("x-request-id"));
    }

    #[tokio::test]
    async fn another_key_in_the_same_file_is_a_change() {
        let key = std::env::temp_dir().join(format!("spanwire-reload-key-{}", std::process::id()));
        fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let text = format!("redaction: {{hash_key_file: {}}}\n", key.display());
        let mut case = case("key", &text);
        let (outcome, change) = case.reload(&text).await;
        assert_eq!(outcome.unwrap(), Outcome::default());
        assert!(change.is_none());
        fs::write(&key, "fedcba9876543210fedcba9876543210").unwrap();
        for expect in [keys(&["redaction.hash_key_file"]), vec![]] {
            let (outcome, change) = case.reload(&text).await;
            assert_eq!(outcome.unwrap().changed, expect);
            assert_eq!(change.is_some(), !expect.is_empty());
        }
        fs::remove_file(&key).unwrap();
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing() {
        let mut case = case("bad", "limits: {attribute_count: 5}\n");
        for (text, expect) in [
            (
                "limits: {attribute_count: x}\n",
                "wrong value for `limits.attribute_count` at ",
            ),
            ("limit: {}\n", "did you mean `limits`?"),
            ("redaction: {hash_key_file: /nowhere/key}\n", "/nowhere/key"),
            (
                "watch: {pid: [4000000000]}\nlimits: {attribute_count: 7}\n",
                "there is no process 4000000000 to watch",
            ),
        ] {
            let (outcome, change) = case.reload(text).await;
            let error = outcome.unwrap_err();
            assert!(error.contains(expect), "{error}");
            assert!(change.is_none());
        }
        fs::remove_file(&case.path).unwrap();
        let error = case.reload.run().await.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read the configuration file "),
            "{error}"
        );
        // Against what is in force, not against what was refused.
        let (outcome, _) = case.reload("limits: {attribute_count: 5}\n").await;
        assert_eq!(outcome.unwrap(), Outcome::default());
    }

    #[test]
    fn every_key_that_can_change_is_a_key() {
        let schema = serde_json::to_string(&schemars::schema_for!(Layer)).unwrap();
        for key in CHANGEABLE {
            let last = key.trim_end_matches('.').rsplit('.').next().unwrap();
            assert!(schema.contains(&format!("\"{last}\"")), "{key}");
        }
    }
}
