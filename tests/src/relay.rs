//! What stands between a client and a server of TCP, and may cut all connections.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::port;

/// Hands on bytes both ways, for as long as the test's process lives; what is there is cut where it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Stands in front of `server`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let (listener, address) = port::listener()?;
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        std::thread::spawn({
            let streams = Arc::clone(&streams);
            move || accept(&listener, server, &streams)
        });
        Ok(Self { address, streams })
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

fn accept(listener: &TcpListener, server: SocketAddr, streams: &Mutex<Vec<TcpStream>>) {
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
        std::thread::spawn(move || hand_on(near, far));
        std::thread::spawn(move || hand_on(far_too, near_too));
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
