//! The containers on this host, as engines have told. Written by a task, read by the thread that captures, which asks for a container
//! by looking for it.

use super::Container;
use super::cgroup;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Containers that are remembered. Where there are more, those that nobody has looked for longest make room, and are asked for
/// again when somebody does.
const REMEMBERED: usize = 4_096;

/// Containers by id.
#[derive(Debug, Default)]
pub struct Containers {
    state: Mutex<State>,
    /// Whether there is anything in `changed`.
    has_changed: AtomicBool,
    /// There is something in `wanted`.
    is_wanted: Notify,
    looks: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<String, Known>,
    /// Those that somebody looks for and nobody was asked for yet: each is in `known`, too.
    wanted: Vec<String>,
    /// Those that are no longer what they were, and whether more is known of them now.
    changed: HashMap<String, bool>,
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    /// When it was last looked for, as a count of looks.
    looked: u64,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: it is being asked for.
    Awaited,
    /// Whoever was to tell cannot be asked, and is asked again.
    Late,
    /// No engine knows it.
    Nobodys,
    /// This.
    Told(Arc<Container>),
}

impl Containers {
    /// What is known of the container with an id; it is asked for where that is nothing.
    #[must_use]
    pub fn look(&self, id: &str) -> Answer {
        let looked = self.looks.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if let Some(known) = state.known.get_mut(id) {
            known.looked = looked;
            return known.answer.clone();
        }
        state.make_room();
        let known = Known {
            answer: Answer::Awaited,
            looked,
        };
        state.known.insert(id.to_owned(), known);
        state.wanted.push(id.to_owned());
        drop(state);
        self.is_wanted.notify_one();
        Answer::Awaited
    }

    /// What is to be asked for, as soon as that is anything.
    pub async fn wanted(&self) -> Vec<String> {
        loop {
            let wanted = std::mem::take(&mut self.state().wanted);
            if !wanted.is_empty() {
                return wanted;
            }
            self.is_wanted.notified().await;
        }
    }

    /// Whether anybody has looked for a container lately enough that it is remembered.
    #[must_use]
    pub fn remembers(&self, id: &str) -> bool {
        self.state().known.contains_key(id)
    }

    /// A container is this from now on. Its processes are told of only if that is anything new.
    pub fn put(&self, id: &str, answer: Answer) {
        let mut state = self.state();
        let Some(known) = state.known.get_mut(id) else {
            return;
        };
        if matches!((&known.answer, &answer), (Answer::Told(_), Answer::Late)) {
            return;
        }
        let was_awaited = known.answer == Answer::Awaited;
        let is_told = known.answer != answer && matches!(answer, Answer::Told(_));
        known.answer = answer;
        // Who waits for an answer decides anew as soon as it is known that there is none, too.
        if is_told || was_awaited {
            state.changed.insert(id.to_owned(), is_told);
            self.has_changed.store(true, Ordering::Release);
        }
    }

    /// There is an engine more: it is asked for what no other knows.
    pub fn ask_again(&self) {
        let is_unknown = |known: &Known| known.answer == Answer::Nobodys;
        let state = self.state();
        let unknown = state.known.iter().filter(|(_, known)| is_unknown(known));
        let unknown: Vec<String> = unknown.map(|(id, _)| id.clone()).collect();
        drop(state);
        self.ask_for(unknown);
    }

    /// These are asked for once more, as far as they are remembered.
    pub fn ask_for(&self, ids: Vec<String>) {
        let mut state = self.state();
        let waiting: HashSet<String> = state.wanted.iter().cloned().collect();
        let ids = ids.into_iter().filter(|id| !waiting.contains(id));
        let ids: Vec<String> = ids.filter(|id| state.known.contains_key(id)).collect();
        state.wanted.extend(ids);
        drop(state);
        self.is_wanted.notify_one();
    }

    /// Those that an engine has told of, by id, with their names.
    #[must_use]
    pub fn named(&self) -> Vec<(String, String)> {
        let state = self.state();
        let named = state.known.iter().filter_map(|(id, known)| match &known.answer {
            Answer::Told(container) => Some((id.clone(), container.name.clone()?)),
            _ => None,
        });
        named.collect()
    }

    /// What has changed since this was last asked.
    pub(super) fn take_changed(&self) -> HashMap<String, bool> {
        if !self.has_changed.swap(false, Ordering::Acquire) {
            return HashMap::new();
        }
        std::mem::take(&mut self.state().changed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets a quarter go at once, so that this is done once in a while and not each time.
    fn make_room(&mut self) {
        if self.known.len() < REMEMBERED {
            return;
        }
        let mut looks: Vec<u64> = self.known.values().map(|known| known.looked).collect();
        let (_, oldest, _) = looks.select_nth_unstable(REMEMBERED / 4);
        let oldest = *oldest;
        self.known.retain(|_, known| known.looked >= oldest);
        let known = &self.known;
        self.wanted.retain(|id| known.contains_key(id));
        self.changed.retain(|id, _| known.contains_key(id));
    }
}

/// Whether a process with these control groups is in one of these containers, and whether more is known of that now.
pub(super) fn concern(changed: &HashMap<String, bool>, cgroups: &[String]) -> Option<bool> {
    changed.get(cgroup::container_id(cgroups)?).copied()
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeProc;
    use super::super::proc::Proc;
    use super::super::watch::Asks;
    use super::*;

    const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

    fn told(name: &str) -> Answer {
        Answer::Told(Arc::new(Container {
            id: ID.into(),
            name: Some(name.into()),
            ..Container::default()
        }))
    }

    #[tokio::test]
    async fn a_container_is_asked_for_once_however_often_it_is_looked_for() {
        let containers = Containers::default();
        assert_eq!(containers.look(ID), Answer::Awaited);
        assert_eq!(containers.look(ID), Answer::Awaited);
        assert_eq!(containers.wanted().await, [ID]);
        containers.put(ID, told("web"));
        assert_eq!(containers.look(ID), told("web"));
        assert!(containers.state().wanted.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_knew_is_asked_for_again_when_there_is_another_engine() {
        let containers = Containers::default();
        let other = "0".repeat(64);
        let _ = (containers.look(ID), containers.look(&other));
        assert_eq!(containers.wanted().await.len(), 2);
        containers.put(ID, Answer::Nobodys);
        containers.put(&other, told("other"));
        assert_eq!(containers.named(), [(other, "other".to_owned())]);
        containers.ask_again();
        assert_eq!(containers.wanted().await, [ID]);
        assert_eq!(containers.look(ID), Answer::Nobodys);
        containers.ask_for(vec![ID.into(), "1".repeat(64)]);
        containers.ask_for(vec![ID.into()]);
        assert_eq!(containers.wanted().await, [ID]);
    }

    #[tokio::test]
    async fn however_many_there_are_no_more_are_remembered_and_those_in_use_are() {
        let containers = Containers::default();
        let _ = containers.look(ID);
        for number in 0..3 * REMEMBERED {
            let _ = containers.look(&format!("{number:064x}"));
            let _ = containers.look(ID);
        }
        assert!(containers.remembers(ID));
        assert!(!containers.remembers(&format!("{:064x}", 0)));
        assert!(containers.state().known.len() <= REMEMBERED);
        assert!(containers.wanted().await.len() <= REMEMBERED);
        // What is told of one that is forgotten takes no room.
        containers.put(&format!("{:064x}", 0), told("late"));
        assert!(!containers.remembers(&format!("{:064x}", 0)));
    }

    #[test]
    fn processes_of_a_container_are_told_once_of_each_change_and_of_nothing_else() {
        let fake = FakeProc::new();
        fake.add_in(100, &format!("/docker/{ID}"));
        fake.add_in(200, "/system.slice/ssh.service");
        let containers = Arc::new(Containers::default());
        let proc = Proc::at(fake.path()).asking(Arc::clone(&containers));
        let asks = Asks {
            container: true,
            ..Asks::default()
        };
        let name = |pid| proc.glance(pid, &asks).unwrap().container.and_then(|it| it.name);
        assert_eq!(proc.changed(), []);
        assert_eq!((name(100), name(200)), (None, None));
        containers.put(ID, told("web"));
        assert_eq!(proc.changed(), [(100, true)]);
        assert_eq!((name(100).as_deref(), name(200)), (Some("web"), None));
        containers.put(ID, told("web"));
        assert_eq!(proc.changed(), []);
        containers.put(ID, told("renamed"));
        assert_eq!(proc.changed(), [(100, true)]);
        // An engine that is away for a while takes nothing of what it has told.
        containers.put(ID, Answer::Late);
        assert_eq!((proc.changed(), name(100).as_deref()), (vec![], Some("renamed")));
    }

    #[test]
    fn that_nobody_knows_a_container_is_told_to_who_waited_for_it() {
        let containers = Containers::default();
        let _ = containers.look(ID);
        containers.put(ID, Answer::Late);
        assert_eq!(containers.take_changed(), HashMap::from([(ID.to_owned(), false)]));
        containers.put(ID, Answer::Nobodys);
        assert_eq!(containers.take_changed(), HashMap::new());
    }
}
