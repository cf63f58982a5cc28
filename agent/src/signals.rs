//! The signals that end spanwire, and where each comes from.

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use std::{io, thread};
use tokio::sync::mpsc::{Receiver, channel};

/// SIGINT and SIGTERM, from the moment of [`Signals::listen`] on.
#[derive(Debug)]
pub struct Signals(Receiver<Received>);

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// The terminal sent it (Ctrl-C), and so to all of the foreground's process group and not to spanwire alone.
    pub typed: bool,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    ///
    /// # Errors
    /// The system refuses handlers or a thread.
    pub fn listen() -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM])?;
        let (sender, receiver) = channel(8);
        thread::Builder::new()
            .name("spanwire-signals".to_owned())
            .spawn(move || {
                for origin in &mut signals {
                    let received = Received {
                        signal: if origin.signal == SIGINT {
                            Signal::INT
                        } else {
                            Signal::TERM
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

    /// One that came already.
    pub fn pending(&mut self) -> Option<Received> {
        self.0.try_recv().ok()
    }
}
