//! Versions and descriptions of language runtimes that take long to find out: read by a thread of its own, while the process goes by what is known.

use super::{Identity, Languages, Proc, Runtime};
use crate::health::{Counter, Health};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Processes that wait to be looked at.
const WAITING: usize = 256;

/// Files of which is remembered what was found in them.
const REMEMBERED: usize = 1_024;

/// The thread, until it is dropped.
#[derive(Debug)]
pub struct Runtimes {
    asked: SyncSender<Arc<Identity>>,
    told: Arc<Told>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Told {
    found: Mutex<Vec<(Arc<Identity>, Runtime)>>,
    /// Whether there is anything in `found`.
    is_any: AtomicBool,
}

impl Runtimes {
    /// Starts the thread, which reads processes of `proc`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(proc: Proc, health: &Arc<Health>) -> io::Result<Self> {
        let (asked, questions) = sync_channel(WAITING);
        let told = Arc::<Told>::default();
        let answers = Arc::clone(&told);
        std::thread::Builder::new()
            .name("spanwire-runtimes".to_owned())
            .spawn(move || answer(&proc, &questions, &answers))?;
        Ok(Self {
            asked,
            told,
            health: Arc::clone(health),
        })
    }

    /// Has the runtime of a process looked for, if not all is known of it.
    pub(super) fn ask(&self, identity: &Arc<Identity>) {
        let is_known = identity.runtime.as_ref().is_some_and(Runtime::is_complete);
        if !is_known && self.asked.try_send(Arc::clone(identity)).is_err() {
            self.health.add(Counter::RuntimesUnread, 1);
        }
    }

    /// What was found since this was last asked.
    pub(super) fn take(&self) -> Vec<(Arc<Identity>, Runtime)> {
        if !self.told.is_any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.told.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(proc: &Proc, questions: &Receiver<Arc<Identity>>, told: &Told) {
    let mut languages = Languages::default();
    for identity in questions {
        if languages.len() > REMEMBERED {
            languages = Languages::default();
        }
        if let Some(runtime) = languages.runtime(proc, &identity)
            && Some(&runtime) != identity.runtime.as_ref()
        {
            let mut found = told.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((identity, runtime));
            told.is_any.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::fake::Folder;
    use super::*;
    use crate::span::Value;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    /// Ended with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn version(table: &mut Table, pid: u32) -> Option<String> {
        let resource = table.resource(pid);
        let mut attributes = resource.attributes.iter();
        let version = attributes.find(|it| it.key == "process.runtime.version")?;
        match &version.value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_version_that_is_in_the_executable_alone_comes_to_the_resource() {
        let folder = Folder::new();
        let python = std::fs::canonicalize("/usr/bin/python3").expect("Python");
        // Where it lies, there is no header beside it.
        std::fs::create_dir_all(folder.path("bin")).expect("a folder");
        let copy = folder.path("bin").join(python.file_name().expect("a name"));
        std::fs::copy(&python, &copy).expect("a copy");
        let code = "import sys; print(sys.version.split()[0], flush=True); sys.stdin.read()";
        let mut child = Command::new(copy)
            .args(["-c", code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its version");
        let running = Running(child);
        let pid = running.0.id();
        let health = Arc::<Health>::default();
        let runtimes = Runtimes::start(Proc::host(), &health).expect("a thread");
        let mut table = Table::new(Proc::host(), vec![]).looking(runtimes);
        assert_eq!(version(&mut table, pid), None);
        let before = table.resource(pid);
        while version(&mut table, pid).is_none() {
            std::thread::sleep(Duration::from_millis(5));
            table.follow_runtimes();
        }
        assert_eq!(version(&mut table, pid).as_deref(), Some(line.trim()));
        // Nothing else of it is another.
        assert_eq!(table.resource(pid).attributes.len(), before.attributes.len() + 1);
        assert_eq!(health.value(Counter::RuntimesUnread), 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let (asked, _questions) = sync_channel(1);
        let runtimes = Runtimes {
            asked,
            told: Arc::default(),
            health: Arc::default(),
        };
        let identity = Arc::new(Proc::host().identity(std::process::id()).expect("this process"));
        runtimes.ask(&identity);
        assert_eq!(runtimes.health.value(Counter::RuntimesUnread), 0);
        runtimes.ask(&identity);
        assert_eq!(runtimes.health.value(Counter::RuntimesUnread), 1);
    }
}
