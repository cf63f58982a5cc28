//! Following a resource of the API server: a list, and what changes after it, over and over, whatever happens in between.
//!
//! A watch goes on where the last one ended, by the resource version that bookmarks keep young, so that neither its end (every few
//! minutes) nor that of a connection costs a list. Only where the server no longer knows that version (410) all is asked for
//! again. Lists are asked of the server's cache (`resourceVersion=0`), since every node asks.

use super::trouble::{self, Trouble};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

/// Longest wait for an answer that is not a watch.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// How long a watch is asked to last: by the server's own rule up to 5 minutes. Of many nodes, they end one by one.
const SHORTEST: u32 = 230;
const SPREAD: u64 = 60;

/// A bookmark comes once a minute: a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(150);

/// A watch that ends earlier has failed, even if nobody says so.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// After so many failures in a row all is asked for again: what cannot be read may be what comes next.
const FAILURES: u32 = 5;

/// `410 Gone`: what a watch was to go on from is no longer known.
const GONE: u16 = 410;

/// What was told of a resource.
#[derive(Clone, Debug)]
pub(super) enum Change<K> {
    /// All there is, or with [`Begins::Now`] that something may have been missed. Nothing else is there.
    All(Vec<K>),
    /// It is so now.
    Put(K),
    /// It is no longer there.
    Gone(K),
}

/// With what following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// With all there is.
    All,
    /// With the next change: what there is costs nothing.
    Now,
}

/// What is followed.
pub(super) struct Followed<K> {
    /// Where.
    pub(super) api: Api<K>,
    /// In the words of people.
    pub(super) what: &'static str,
    /// Which of them.
    pub(super) fields: Option<String>,
    /// With what it begins.
    pub(super) begins: Begins,
}

/// How a watch ended.
enum End {
    /// It is to go on.
    Over,
    /// The version is not known any more.
    Expired,
    /// Nobody listens.
    Unheard,
}

impl<K> Followed<K>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    /// Tells what is and what changes, as long as anybody listens.
    pub(super) async fn follow<T>(
        self,
        tell: Sender<T>,
        as_told: impl Fn(Change<K>) -> T,
        mut trouble: Trouble,
    ) {
        let mut delays = trouble::delays();
        let mut is_expired = false;
        loop {
            let (all, mut version) = match self.list(is_expired).await {
                Ok(listed) => listed,
                Err(error) => {
                    trouble.met(self.what, &error);
                    delays.wait().await;
                    continue;
                }
            };
            trouble.over(self.what);
            if tell.send(as_told(Change::All(all))).await.is_err() {
                return;
            }
            let mut failures = 0;
            loop {
                let (before, began) = (version.clone(), Instant::now());
                match self.watch(&mut version, &tell, &as_told).await {
                    Ok(End::Unheard) => return,
                    Ok(End::Expired) => {
                        trouble.restarted();
                        is_expired = true;
                        delays.wait().await;
                        break;
                    }
                    Ok(End::Over) if version != before || began.elapsed() > TOO_SHORT => {
                        trouble.over(self.what);
                        delays = trouble::delays();
                        failures = 0;
                        is_expired = false;
                        continue;
                    }
                    Ok(End::Over) => {}
                    Err(error) => trouble.met(self.what, &error),
                }
                // Of a server that is away, what it was asked for is still what counts.
                failures = if version == before { failures + 1 } else { 0 };
                delays.wait().await;
                if failures >= FAILURES && self.answers().await {
                    trouble.restarted();
                    break;
                }
            }
        }
    }

    /// All, and the version it is of: what the server has at hand, unless that `is_expired`.
    async fn list(&self, is_expired: bool) -> Result<(Vec<K>, String), String> {
        let params = ListParams {
            field_selector: self.fields.clone(),
            ..ListParams::default()
        };
        let params = match self.begins {
            Begins::All if is_expired => params,
            Begins::All => params.match_any(),
            Begins::Now => params.limit(1),
        };
        let listed = timeout(ANSWER, self.api.list(&params)).await;
        let listed = listed
            .map_err(|_| "no answer".to_owned())?
            .map_err(|error| error.to_string())?;
        let version = listed.metadata.resource_version.unwrap_or_default();
        let items = match self.begins {
            Begins::All => listed.items,
            Begins::Now => Vec::new(),
        };
        Ok((items, version))
    }

    /// Whether the server is there at all, told by the smallest list.
    async fn answers(&self) -> bool {
        let params = ListParams {
            field_selector: self.fields.clone(),
            ..ListParams::default().match_any().limit(1)
        };
        matches!(timeout(ANSWER, self.api.list(&params)).await, Ok(Ok(_)))
    }

    async fn watch<T>(
        &self,
        version: &mut String,
        tell: &Sender<T>,
        as_told: &impl Fn(Change<K>) -> T,
    ) -> Result<End, String> {
        let spread = below(SPREAD);
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(SHORTEST + spread),
            bookmarks: true,
            ..WatchParams::default()
        };
        let stream = match timeout(ANSWER, self.api.watch(&params, version)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(kube::Error::Api(status))) if status.code == GONE => return Ok(End::Expired),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer".to_owned()),
        };
        let mut stream = std::pin::pin!(stream);
        loop {
            let event = match timeout(SILENCE, stream.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(End::Over),
                Err(_) => return Err("the watch fell silent".to_owned()),
            };
            let (object, is_there) = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, true),
                Ok(WatchEvent::Deleted(object)) => (object, false),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(WatchEvent::Error(status)) if status.code == GONE => return Ok(End::Expired),
                Ok(WatchEvent::Error(status)) => return Err(status.message),
                Err(kube::Error::Api(status)) if status.code == GONE => return Ok(End::Expired),
                Err(error) => return Err(error.to_string()),
            };
            if let Some(newer) = object.resource_version() {
                *version = newer;
            }
            let change = match is_there {
                true => Change::Put(object),
                false => Change::Gone(object),
            };
            if tell.send(as_told(change)).await.is_err() {
                return Ok(End::Unheard);
            }
        }
    }
}

/// A number below `limit`, another on each node.
fn below(limit: u64) -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    u32::try_from(RandomState::new().hash_one(()) % limit).unwrap_or_default()
}
