//! Spans to standard output, from a thread of its own: a reader that is slow, or a terminal that is stopped, holds up
//! nothing else.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::warn;

use super::console::{Look, Tree};
use super::json;
use crate::health::{Counter, Health};
use crate::redact::Redacted;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Traces as trees, for people.
    Tree(Look),
    /// OTLP/JSON, a request a line.
    OtlpJson,
}

/// Most spans that wait for the writer.
const MOST_WAITING: usize = 16_384;

/// How often the tree looks for traces that are due.
const TICK: Duration = Duration::from_millis(50);

/// Spans on their way to standard output.
#[derive(Debug)]
pub struct Stdout {
    sender: Sender<Vec<Redacted>>,
    waiting: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
    done: watch::Receiver<bool>,
    health: Arc<Health>,
}

impl Stdout {
    /// Starts the thread that writes `format` to `out`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(format: Format, out: impl Write + Send + 'static, health: Arc<Health>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let (finished, done) = watch::channel(false);
        let waiting = Arc::new(AtomicUsize::new(0));
        let gone = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            receiver,
            waiting: waiting.clone(),
        };
        let flag = gone.clone();
        thread::Builder::new()
            .name("spanwire-stdout".to_owned())
            .spawn(move || {
                let out = BufWriter::new(out);
                let result = match format {
                    Format::Tree(look) => writer.tree(Tree::new(out, look)),
                    Format::OtlpJson => writer.json(out),
                };
                if let Err(error) = result {
                    flag.store(true, Ordering::Release);
                    // Whoever reads has seen enough (`| head`): that is no error.
                    if error.kind() != ErrorKind::BrokenPipe {
                        warn!("cannot write spans to standard output: {error}; no more are shown");
                    }
                }
                finished.send_replace(true);
            })?;
        Ok(Self {
            sender,
            waiting,
            gone,
            done,
            health,
        })
    }

    /// Takes spans to be shown. Never waits: when too many wait already, or the reader is gone, they are counted.
    pub fn push(&self, spans: Vec<Redacted>) {
        let count = spans.len();
        let waiting = self.waiting.fetch_add(count, Ordering::AcqRel);
        let fits = waiting + count <= MOST_WAITING && !self.gone.load(Ordering::Acquire);
        if !fits || self.sender.send(spans).is_err() {
            self.waiting.fetch_sub(count, Ordering::AcqRel);
            self.health.add(Counter::SpansNotShown, count as u64);
        }
    }

    /// Spans that wait, and how many can.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.load(Ordering::Acquire), MOST_WAITING)
    }

    /// Ends when nothing more can be written: the reader of the pipe is gone.
    pub async fn closed(&self) {
        // A sender that is gone means a thread that is gone.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }

    /// Writes what waits, for `limit` at most.
    pub async fn finish(self, limit: Duration) {
        let Self {
            sender,
            mut done,
            waiting,
            health,
            ..
        } = self;
        drop(sender);
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done)).await;
        health.add(Counter::SpansNotShown, waiting.load(Ordering::Acquire) as u64);
    }
}

struct Writer {
    receiver: Receiver<Vec<Redacted>>,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    fn tree(&self, mut tree: Tree<impl Write>) -> io::Result<()> {
        loop {
            match self.receiver.recv_timeout(TICK) {
                Ok(spans) => {
                    let count = spans.len();
                    tree.push(spans, Instant::now())?;
                    self.waiting.fetch_sub(count, Ordering::AcqRel);
                }
                Err(RecvTimeoutError::Timeout) => tree.tick(Instant::now())?,
                Err(RecvTimeoutError::Disconnected) => return tree.finish(),
            }
        }
    }

    fn json(&self, mut out: impl Write) -> io::Result<()> {
        while let Ok(spans) = self.receiver.recv() {
            json::write(&spans, &mut out)?;
            // Whoever reads a pipe wants each line when it is there.
            out.flush()?;
            self.waiting.fetch_sub(spans.len(), Ordering::AcqRel);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::export::sample::spans;

    const LIMIT: Duration = Duration::from_secs(20);

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn all_that_was_pushed_is_written_at_the_end() {
        for (format, lines) in [(Format::Tree(Look::default()), 7), (Format::OtlpJson, 2)] {
            let (out, health) = (Shared::default(), Arc::new(Health::default()));
            let stdout = Stdout::start(format, out.clone(), health.clone()).unwrap();
            stdout.push(spans(3));
            stdout.push(spans(7).split_off(3));
            stdout.finish(LIMIT).await;
            let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert_eq!(health.value(Counter::SpansNotShown), 0);
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_ends_it_quietly() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in [Format::Tree(Look::default()), Format::OtlpJson] {
            let health = Arc::new(Health::default());
            let stdout = Stdout::start(format, Broken, health.clone()).unwrap();
            stdout.push(spans(3));
            tokio::time::timeout(LIMIT, stdout.closed()).await.unwrap();
            stdout.push(spans(2));
            assert_eq!(health.value(Counter::SpansNotShown), 2);
            stdout.finish(LIMIT).await;
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_costs_spans_not_memory() {
        struct Stuck(SyncSender<()>, Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.try_send(());
                self.1.recv().ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (entered, has_entered) = sync_channel(1);
        let (release, released) = sync_channel(0);
        let health = Arc::new(Health::default());
        let stdout = Stdout::start(Format::OtlpJson, Stuck(entered, released), health.clone()).unwrap();
        stdout.push(spans(100));
        has_entered.recv().unwrap();
        for _ in 0..200 {
            stdout.push(spans(100));
        }
        let lost = health.value(Counter::SpansNotShown);
        assert_eq!(lost, (201 * 100 - MOST_WAITING as u64).next_multiple_of(100));
        drop(release);
        stdout.finish(LIMIT).await;
        assert_eq!(health.value(Counter::SpansNotShown), lost);
    }
}
