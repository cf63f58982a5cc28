//! What the pipeline knows, told when it is asked: the question travels through a channel that the pipeline looks at once a
//! turn, so that it counts in plain fields.

use super::family::Family;
use crate::kernel::events::Event;
use crate::services::Survey;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most questions that wait; more are refused.
const WAITING: usize = 16;

/// Longest that is waited for an answer. A turn of the pipeline takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What of something is used, of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What it is.
    pub name: &'static str,
    /// Used.
    pub used: u64,
    /// Of so many.
    pub capacity: u64,
}

/// What waits to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// In queues, in spans.
    pub queues: Vec<Fill>,
    /// In the spool, in bytes, of all endpoints together; `None` where there is no spool.
    pub spool: Option<Fill>,
    /// In the spool, in spans.
    pub spooled: u64,
}

/// A program in the kernel: how often it ran, and for how long, while the kernel counted that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Runs.
    pub runs: u64,
    /// Time of all runs together.
    pub time: Duration,
}

/// Spans that are held until it is decided whether they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub spans: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Most bytes.
    pub most: u64,
}

/// What the pipeline knows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Records of the kernel half, by kind.
    pub events: Vec<(&'static str, u64)>,
    /// The kernel half's counters, by name.
    pub kernel: Vec<(&'static str, u64)>,
    /// Programs in the kernel; empty where the kernel does not count their runs.
    pub programs: Vec<Program>,
    /// Maps and tables, by entries.
    pub tables: Vec<Fill>,
    /// The ring buffer, in bytes.
    pub ring: Option<Fill>,
    /// What is held for tail sampling, where that is done.
    pub held: Option<Held>,
    /// Processes by state.
    pub processes: Vec<(&'static str, u64)>,
    /// What was seen of requests.
    pub requests: Vec<Family>,
}

/// A question, with the way of its answer.
#[derive(Debug)]
pub enum Question {
    /// How it goes.
    Report(oneshot::Sender<Report>),
    /// Whom it watches.
    Survey(oneshot::Sender<Survey>),
}

impl Question {
    /// Nobody waits for the answer any more.
    fn is_moot(&self) -> bool {
        match self {
            Self::Report(answer) => answer.is_closed(),
            Self::Survey(answer) => answer.is_closed(),
        }
    }
}

/// Where questions are put.
#[derive(Clone, Debug)]
pub struct Questions(SyncSender<Question>);

/// Where they come out.
#[derive(Debug)]
pub struct Asked(Receiver<Question>);

/// Both ends.
#[must_use]
pub fn channel() -> (Questions, Asked) {
    let (sender, receiver) = sync_channel(WAITING);
    (Questions(sender), Asked(receiver))
}

impl Questions {
    /// Asks. `None` where the pipeline is gone, has too many questions before it, or does not answer.
    pub async fn ask(&self) -> Option<Report> {
        self.put(Question::Report).await
    }

    /// Asks whom it watches. `None` as above.
    pub async fn survey(&self) -> Option<Survey> {
        self.put(Question::Survey).await
    }

    async fn put<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(question(answer)).ok()?;
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

impl Asked {
    /// The next question that is there, if whoever asked still waits.
    #[must_use]
    pub fn next(&self) -> Option<Question> {
        loop {
            match self.0.try_recv() {
                Ok(question) if question.is_moot() => {}
                Ok(question) => return Some(question),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
        }
    }
}

/// Records of the kernel half by kind.
#[derive(Debug, Default)]
pub struct Events([u64; KINDS.len()]);

const KINDS: [&str; 10] = [
    "opened",
    "bytes",
    "end",
    "gap",
    "end_of_stream",
    "closed",
    "fork",
    "exec",
    "exit",
    "listens",
];

impl Events {
    /// Counts one.
    pub fn count(&mut self, event: &Event<'_>) {
        let kind = match event {
            Event::Opened { .. } => 0,
            Event::Bytes { .. } => 1,
            Event::End { .. } => 2,
            Event::Gap { .. } => 3,
            Event::EndOfStream { .. } => 4,
            Event::Closed { .. } => 5,
            Event::Fork { .. } => 6,
            Event::Exec { .. } => 7,
            Event::Exit { .. } => 8,
            Event::Listens { .. } => 9,
        };
        self.0[kind] += 1;
    }

    /// How many there were of each kind.
    #[must_use]
    pub fn by_kind(&self) -> Vec<(&'static str, u64)> {
        KINDS.into_iter().zip(self.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_refused_or_given_up() {
        let (questions, asked) = channel();
        let answering = tokio::spawn({
            let questions = questions.clone();
            async move { questions.ask().await }
        });
        tokio::task::yield_now().await;
        let Question::Report(answer) = asked.next().expect("a question") else {
            panic!("another question");
        };
        let report = Report {
            events: vec![("opened", 3)],
            ..Report::default()
        };
        assert!(answer.send(report).is_ok());
        assert_eq!(answering.await.unwrap().unwrap().events, [("opened", 3)]);
        // Nobody answers: given up, and then no longer worth an answer.
        assert!(questions.ask().await.is_none());
        assert!(asked.next().is_none());
        drop(asked);
        assert!(questions.ask().await.is_none());
    }
}
