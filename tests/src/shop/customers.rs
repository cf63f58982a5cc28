//! Who buys in the shop: a few orders a second, most of them ordinary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Of each customer, between two orders.
const PAUSE: Duration = Duration::from_millis(700);

/// At a time.
const COUNT: u64 = 2;

/// What is ordered, how many, and what comes of it.
const ORDERS: [(&str, u32, u16); 10] = [
    ("tea", 2, 201),
    ("kettle", 1, 201),
    ("cup", 4, 201),
    // Appraised, which takes a while.
    ("vase", 1, 201),
    ("tea", 1, 201),
    // Sold out.
    ("unicorn", 1, 409),
    ("cup", 2, 201),
    // Not in the catalogue.
    ("dragon", 1, 404),
    ("tea", 6, 201),
    // A division by zero.
    ("kettle", 0, 502),
];

/// Customers, until they are dropped.
#[derive(Debug)]
pub struct Customers {
    threads: Vec<JoinHandle<Result<()>>>,
    are_gone: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

impl Customers {
    /// They begin to order at `front`.
    #[must_use]
    pub fn come(front: SocketAddr) -> Self {
        let (are_gone, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..COUNT).map(|number| {
            let (are_gone, served) = (are_gone.clone(), served.clone());
            std::thread::spawn(move || {
                std::thread::sleep(PAUSE * u32::try_from(number)? / u32::try_from(COUNT)?);
                let mut connection = None;
                // Not the same at the same time.
                for (sku, quantity, due) in ORDERS.iter().cycle().skip(usize::try_from(number * 3)?) {
                    if are_gone.load(Ordering::Relaxed) {
                        break;
                    }
                    let stream = match connection.take() {
                        Some(stream) => stream,
                        None => TcpStream::connect(front).context("the front is closed")?,
                    };
                    let (status, stream) = order(stream, sku, *quantity)
                        .with_context(|| format!("an order of {quantity} {sku}"))?;
                    ensure!(
                        status == *due,
                        "an order of {quantity} {sku}: {status}, not {due}"
                    );
                    connection = Some(stream);
                    served.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
                Ok(())
            })
        });
        Self {
            threads: threads.collect(),
            are_gone,
            served,
        }
    }

    /// How many orders have been answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// All of them are still ordering.
    ///
    /// # Errors
    /// An order was not answered as it should have been.
    pub fn ensure_content(&mut self) -> Result<()> {
        while let Some(at) = self.threads.iter().position(JoinHandle::is_finished) {
            let ended = self.threads.swap_remove(at).join();
            ended.ok().context("a customer panicked")??;
        }
        Ok(())
    }
}

impl Drop for Customers {
    fn drop(&mut self) {
        self.are_gone.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The status that an order is answered with.
fn order(mut stream: TcpStream, sku: &str, quantity: u32) -> Result<(u16, TcpStream)> {
    let body = format!(r#"{{"sku":"{sku}","quantity":{quantity}}}"#);
    let host = stream.peer_addr()?;
    let length = body.len();
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("answered with {line:?}"))?;
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "half an answer");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let read = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    ensure!(read == length, "{read} bytes of {length}");
    drop(reader);
    Ok((status, stream))
}
