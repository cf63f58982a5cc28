//! Engines that run containers, by the API that Docker and Podman have on a Unix socket: names, images and labels of the
//! containers that processes are in. What is found is put into [`Containers`], where the rest reads it.
//!
//! Who may connect to such a socket is as good as root. So nothing but `GET` is ever sent, and what comes back is taken for
//! what it is: an engine may be slow, away, wrong or started again, and no process and no span waits for it.

mod client;
mod inspect;
mod trouble;

use crate::config;
use crate::health::{Counter, Health};
use crate::process::{Answer, Containers};
use client::{Client, Failure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use trouble::{Trouble, delays};

/// Where Docker and Podman have their sockets, unless somebody has said otherwise.
const EXPECTED: [&str; 3] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];

/// Where Docker's own clients look first.
const DOCKER_HOST: &str = "DOCKER_HOST";

/// Containers that are asked for at a time.
const QUESTIONS: usize = 4;

/// Containers that wait for an answer, at most.
const WAITING: usize = 4_096;

/// How often it is looked whether there is an engine more.
const LOOK: Duration = Duration::from_secs(10);

/// How often engines are asked what containers are called: one may be renamed while it runs. Not more often, since Podman's service
/// may be started for each question.
const NAMES: Duration = Duration::from_secs(60);

/// Containers whose names are asked for together.
const TOGETHER: usize = 16;

/// Containers are asked for, until this is dropped.
#[derive(Debug)]
pub struct Engines {
    _task: JoinSet<()>,
}

impl Engines {
    /// Begins to ask for what is looked for in `containers`. That an engine is not there is no error: it may yet come.
    ///
    /// `None` where nobody is to be asked.
    #[must_use]
    pub fn start(
        config: &config::Containers,
        containers: &Arc<Containers>,
        health: &Arc<Health>,
    ) -> Option<Self> {
        let paths = sockets(
            config.sockets.as_deref(),
            std::env::var(DOCKER_HOST).ok().as_deref(),
        );
        if paths.is_empty() {
            return None;
        }
        for path in config.sockets.iter().flatten().filter(|path| !path.exists()) {
            tracing::warn!(
                "`containers.sockets`: there is no {} yet; it is asked when it comes",
                path.display()
            );
        }
        let asker = Asker {
            engines: paths
                .into_iter()
                .map(|path| Engine {
                    trouble: Trouble::new(&path, Arc::clone(health)),
                    client: Client::new(path),
                })
                .collect(),
            containers: Arc::clone(containers),
            health: Arc::clone(health),
            places: Semaphore::new(QUESTIONS),
        };
        let mut task = JoinSet::new();
        task.spawn(run(Arc::new(asker)));
        Some(Self { _task: task })
    }
}

/// Sockets that are asked, in order.
fn sockets(named: Option<&[PathBuf]>, docker_host: Option<&str>) -> Vec<PathBuf> {
    if let Some(named) = named {
        return named.to_vec();
    }
    let of_docker = docker_host.and_then(|host| {
        let path = host.strip_prefix("unix://").filter(|path| path.starts_with('/'));
        if path.is_none() && !host.is_empty() {
            tracing::debug!(
                "{DOCKER_HOST} is no Unix socket of this host, and is not asked for its containers"
            );
        }
        path
    });
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in of_docker.into_iter().chain(EXPECTED) {
        if !paths.iter().any(|known| known == Path::new(path)) {
            paths.push(path.into());
        }
    }
    paths
}

struct Engine {
    client: Client,
    trouble: Trouble,
}

struct Asker {
    engines: Vec<Engine>,
    containers: Arc<Containers>,
    health: Arc<Health>,
    places: Semaphore,
}

/// What came of asking all engines.
enum Outcome {
    /// It can be put into the table.
    Final(Answer),
    /// More may be had later, than this.
    Later(Answer),
}

async fn run(asker: Arc<Asker>) {
    let mut there = asker.there();
    let mut questions = JoinSet::new();
    // Whether somebody has wanted it again since.
    let mut asked = HashMap::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renaming = JoinSet::new();
    renaming.spawn(Arc::clone(&asker).follow_names());
    loop {
        tokio::select! {
            wanted = asker.containers.wanted() => {
                for id in wanted {
                    if let Some(is_wanted_again) = asked.get_mut(&id) {
                        *is_wanted_again = true;
                    } else if asked.len() >= WAITING {
                        asker.health.add(Counter::ContainersUnasked, 1);
                        asker.containers.put(&id, Answer::Nobodys);
                    } else {
                        asked.insert(id.clone(), false);
                        questions.spawn(Arc::clone(&asker).ask(id));
                    }
                }
            }
            Some(Ok(id)) = questions.join_next() => {
                if asked.remove(&id) == Some(true) {
                    asked.insert(id.clone(), false);
                    questions.spawn(Arc::clone(&asker).ask(id));
                }
            }
            _ = look.tick() => {
                let now = asker.there();
                let is_new = now.iter().any(|engine| !there.contains(engine));
                there = now;
                if is_new {
                    asker.containers.ask_again();
                }
            }
        }
    }
}

impl Asker {
    /// Has those asked for again that are called otherwise than they were.
    async fn follow_names(self: Arc<Self>) {
        loop {
            sleep(NAMES).await;
            let named = self.containers.named();
            let mut asked = Vec::new();
            for engine in &self.engines {
                let Some(socket) = engine.client.socket().filter(|socket| !asked.contains(socket)) else {
                    continue;
                };
                asked.push(socket);
                for some in named.chunks(TOGETHER) {
                    let ids: Vec<&str> = some.iter().map(|(id, _)| id.as_str()).collect();
                    match engine.client.names(&ids).await {
                        Ok(names) => self.containers.ask_for(renamed(some, &names)),
                        Err(Failure::Absent) => break,
                        Err(failure) => {
                            engine.trouble.met(&failure);
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Sockets that are there, each once: one may have many names.
    fn there(&self) -> Vec<client::SocketId> {
        let mut there = Vec::new();
        for engine in &self.engines {
            if let Some(id) = engine.client.socket()
                && !there.contains(&id)
            {
                there.push(id);
            }
        }
        there
    }

    /// Asks for a container until all is known that can be, or nobody looks for it any more.
    async fn ask(self: Arc<Self>, id: String) -> String {
        let (mut delays, mut is_counted) = (delays(), false);
        while self.containers.remembers(&id) {
            let Ok(place) = self.places.acquire().await else {
                break;
            };
            let (outcome, cut) = self.ask_all(&id).await;
            drop(place);
            if cut > 0 && !std::mem::replace(&mut is_counted, true) {
                self.health.add(Counter::ContainersCut, cut);
            }
            match outcome {
                Outcome::Final(answer) => {
                    self.containers.put(&id, answer);
                    break;
                }
                Outcome::Later(answer) => self.containers.put(&id, answer),
            }
            delays.wait().await;
        }
        id
    }

    /// Asks one engine after the other. Beside what came of it, how much of that there was no room for.
    async fn ask_all(&self, id: &str) -> (Outcome, u64) {
        let (mut asked, mut has_failed) = (Vec::new(), false);
        for engine in &self.engines {
            let Some(socket) = engine.client.socket() else {
                continue;
            };
            if asked.contains(&socket) {
                continue;
            }
            asked.push(socket);
            match engine.client.container(id).await {
                Ok(Some(inspected)) => {
                    let answer = Answer::Told(Arc::new(inspected.container));
                    let outcome = match inspected.missing {
                        None => {
                            engine.trouble.over();
                            Outcome::Final(answer)
                        }
                        Some(failure) => {
                            engine.trouble.met(&failure);
                            Outcome::Later(answer)
                        }
                    };
                    return (outcome, inspected.cut);
                }
                Ok(None) => engine.trouble.over(),
                // It went between the look and the question.
                Err(Failure::Absent) => {}
                Err(failure) => {
                    engine.trouble.met(&failure);
                    has_failed = true;
                }
            }
        }
        let outcome = match has_failed {
            true => Outcome::Later(Answer::Late),
            false => Outcome::Final(Answer::Nobodys),
        };
        (outcome, 0)
    }
}

/// Ids of those that are listed, but no longer by the name that is known.
fn renamed(known: &[(String, String)], listed: &[(String, Vec<String>)]) -> Vec<String> {
    let is_called = |id: &String, name: &String| {
        let other = listed.iter().find(|(listed, _)| listed == id);
        other.is_none_or(|(_, names)| names.contains(name))
    };
    let renamed = known.iter().filter(|(id, name)| !is_called(id, name));
    renamed.map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests;
