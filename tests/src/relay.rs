//! What stands between a client and a server of TCP, and may cut all connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::port;

/// Hands on bytes both ways, for as long as the test's process lives; what is there is cut where it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    answered: Arc<AtomicU64>,
}

impl Relay {
    /// Stands in front of `server`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let (listener, address) = port::listener()?;
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let answered = Arc::<AtomicU64>::default();
        std::thread::spawn({
            let (streams, answered) = (Arc::clone(&streams), Arc::clone(&answered));
            move || accept(&listener, server, &streams, &answered)
        });
        Ok(Self {
            address,
            streams,
            answered,
        })
    }

    /// Bytes that the server has sent.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Cuts the connections that there are; returns how many streams that were.
    pub fn cut(&self) -> usize {
        let streams = std::mem::take(&mut *self.streams.lock().expect("no holder panics"));
        // Those that are over already are none.
        let cut = streams.iter().map(|stream| stream.shutdown(Shutdown::Both));
        cut.filter(Result::is_ok).count()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn accept(
    listener: &TcpListener,
    server: SocketAddr,
    streams: &Mutex<Vec<TcpStream>>,
    answered: &Arc<AtomicU64>,
) {
    for near in listener.incoming().map_while(Result::ok) {
        let Ok(far) = TcpStream::connect(server) else {
            continue;
        };
        let ends = [&near, &far].map(TcpStream::try_clone);
        let [Ok(near_too), Ok(far_too)] = ends else {
            continue;
        };
        let copies = [near.try_clone(), far.try_clone()];
        streams
            .lock()
            .expect("no holder panics")
            .extend(copies.into_iter().flatten());
        let answered = Arc::clone(answered);
        std::thread::spawn(move || hand_on(near, far, &AtomicU64::default()));
        std::thread::spawn(move || hand_on(far_too, near_too, &answered));
    }
}

/// Until either end is done; `count` grows by what was handed on.
fn hand_on(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
        count.fetch_add(length as u64, Ordering::AcqRel);
    }
    let _ = to.shutdown(Shutdown::Write);
}
