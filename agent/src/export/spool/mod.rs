//! The spool: requests on disk while an endpoint is away, oldest first when it is back.
//!
//! What [`Spool::store`] has said yes to outlives a SIGKILL at any moment, and a power failure as [`Fsync`] has it. It is sent
//! at least once: where the agent dies between the endpoint's answer and the note of it, or an answer is lost, the endpoint gets
//! the request again. What is on disk is what would have been sent, redacted and encoded.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::form::Request;
use crate::health::{Counter, Health};
pub(crate) use directory::Directory;
pub use directory::SpoolError;
use store::Store;
pub(crate) use store::Stored;

mod directory;
mod record;
mod segment;
mod store;
#[cfg(test)]
mod tests;

/// When what was written is made safe against a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// With each request.
    Always,
    /// Once a second.
    Interval,
    /// When the kernel finds time.
    Never,
}

/// A spool's place and bounds; these are each endpoint's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory, ours alone.
    pub directory: PathBuf,
    /// Most bytes on the disk.
    pub max_size: u64,
    /// Longest that a request waits.
    pub max_age: Duration,
    /// When it is safe.
    pub fsync: Fsync,
    /// Most bytes a second, before compression, that are sent of it; 0 is no limit.
    pub rate: u64,
}

/// How much is in a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Spans that wait.
    pub spans: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Most bytes.
    pub max_bytes: u64,
}

/// One endpoint's spool. Disks are slow: all that is done with one is done in a thread for that.
pub(super) struct Spool {
    store: Arc<Mutex<Store>>,
    /// As it was when something was last done with it.
    size: Arc<Mutex<Size>>,
    /// Something was stored.
    pub(super) stored: Notify,
    health: Arc<Health>,
    path: PathBuf,
    /// Whether it failed the last time, which is said once.
    has_failed: Mutex<bool>,
}

impl Spool {
    /// That of the endpoint whose folder is called `name`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(
        directory: &Arc<Directory>,
        name: &str,
        settings: &Settings,
        health: &Arc<Health>,
    ) -> Result<Self, SpoolError> {
        let folder = directory.folder(name)?;
        let path = folder.path.clone();
        let store = Store::open(folder, settings.clone(), Arc::clone(health));
        let store = store.map_err(|source| SpoolError::System {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            size: Arc::new(Mutex::new(store.size())),
            store: Arc::new(Mutex::new(store)),
            stored: Notify::new(),
            health: Arc::clone(health),
            path,
            has_failed: Mutex::new(false),
        })
    }

    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Store) -> T + Send + 'static) -> Option<T> {
        let (store, known) = (Arc::clone(&self.store), Arc::clone(&self.size));
        let done = tokio::task::spawn_blocking(move || {
            // What a panic left is read as a damaged file would be.
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let done = act(&mut store);
            *known.lock().unwrap_or_else(PoisonError::into_inner) = store.size();
            done
        });
        done.await.ok()
    }

    /// Stores a request; `false` where it cannot be, which is counted, and said once.
    pub(super) async fn store(&self, request: &Request) -> bool {
        let request = request.clone();
        let stored = self.with(move |store| store.append(&request)).await;
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        match stored {
            Some(Ok(())) => {
                *has_failed = false;
                self.stored.notify_one();
                true
            }
            Some(Err(error)) => {
                self.health.add(Counter::SpoolFailures, 1);
                if !std::mem::replace(&mut *has_failed, true) {
                    warn!(
                        "cannot keep spans in {}: {error}; they wait in memory",
                        self.path.display()
                    );
                }
                false
            }
            None => false,
        }
    }

    /// The oldest request, if there is one. It stays until it is [`done`](Self::done).
    pub(super) async fn oldest(&self) -> Option<Stored> {
        self.with(Store::oldest).await.flatten()
    }

    /// It need not be sent any more.
    pub(super) async fn done(&self, stored: Stored) {
        self.with(move |store| store.done(&stored)).await;
    }

    /// It could not be sent now.
    pub(super) async fn keep(&self, stored: Stored) {
        self.with(move |store| store.keep(&stored)).await;
    }

    /// Gives up the oldest requests for the sake of new ones; `false` where there are none.
    pub(super) async fn drop_oldest(&self) -> bool {
        self.with(Store::drop_oldest).await.unwrap_or(false)
    }

    /// Makes safe what is due, or all.
    pub(super) async fn sync(&self, all: bool) {
        self.with(move |store| store.sync(all)).await;
    }

    /// How much is in it.
    pub(super) fn size(&self) -> Size {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
