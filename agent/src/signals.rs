//! The signals that end spanwire or have it read its configuration again, and where each comes from.

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::{io, thread};
use tokio::sync::mpsc::{Receiver, channel};

/// SIGINT, SIGTERM and SIGHUP, from the moment of [`Signals::listen`] on.
#[derive(Debug)]
pub struct Signals(Receiver<Received>);

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// The terminal sent it (Ctrl-C, or it was closed), and so to all of the foreground's process group and not to spanwire
    /// alone.
    pub typed: bool,
}

impl Received {
    /// It asks for the configuration to be read again, and is not from a terminal that was closed, which is an end.
    #[must_use]
    pub fn is_reload(&self) -> bool {
        self.signal == Signal::HUP && !self.typed
    }
}

impl Signals {
    /// Takes the signals over from the system's defaults. SIGHUP stays ignored where it was when we were started.
    ///
    /// # Errors
    /// The system refuses handlers or a thread.
    pub fn listen() -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM])?;
        // nohup(1): it is to outlive its terminal.
        if !is_ignored(SIGHUP) {
            signals.add_signal(SIGHUP)?;
        }
        let (sender, receiver) = channel(8);
        thread::Builder::new()
            .name("spanwire-signals".to_owned())
            .spawn(move || {
                for origin in &mut signals {
                    let received = Received {
                        signal: match origin.signal {
                            SIGINT => Signal::INT,
                            SIGHUP => Signal::HUP,
                            _ => Signal::TERM,
                        },
                        typed: origin.cause == Cause::Kernel,
                    };
                    if sender.blocking_send(received).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self(receiver))
    }

    /// The next one, were it years.
    pub async fn next(&mut self) -> Received {
        match self.0.recv().await {
            Some(received) => received,
            None => std::future::pending().await,
        }
    }

    /// One that came already, and is no reason to read the configuration that has just been read.
    pub fn pending(&mut self) -> Option<Received> {
        std::iter::from_fn(|| self.0.try_recv().ok()).find(|received| !received.is_reload())
    }
}

/// Whether whoever started us had a signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (signal - 1) & 1 == 1)
}
