//! The server as clients meet it, friendly ones and others.

use super::*;
use crate::metrics::report::{Asked, Question, Report, Waiting, channel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

struct Setting {
    address: SocketAddr,
    vitals: Arc<Vitals>,
    asked: Option<Asked>,
    _server: Server,
}

/// A server on a free port.
fn setting() -> Setting {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (questions, asked) = channel();
    let vitals = Arc::new(Vitals::default());
    let sources = Sources {
        health: Arc::default(),
        vitals: Arc::clone(&vitals),
        questions,
        waiting: Box::new(Waiting::default),
        exports: Arc::default(),
    };
    let server = Server::start(&[Address::Tcp(address)], Arc::new(sources)).unwrap();
    Setting {
        address,
        vitals,
        asked: Some(asked),
        _server: server,
    }
}

impl Setting {
    /// Answers questions as the pipeline would.
    fn answer(&mut self) {
        let asked = self.asked.take().unwrap();
        std::thread::spawn(move || {
            for _ in 0..500 {
                while let Some(Question::Report(answer)) = asked.next() {
                    let _ = answer.send(Report {
                        events: vec![("bytes", 42)],
                        ..Report::default()
                    });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }

    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        received(stream).await
    }

    async fn ask(&self, path: &str, fields: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n").as_bytes())
            .await
    }
}

async fn received(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn life_is_the_pipeline_s_and_not_the_server_s() {
    let setting = setting();
    let now = Clock::now().monotonic();
    assert!(setting.ask("/livez", "").await.starts_with("HTTP/1.1 200 "));
    assert!(setting.ask("/readyz", "").await.starts_with("HTTP/1.1 503 "));
    setting.vitals.beat(now);
    setting.vitals.set_ready(true);
    let answer = setting.ask("/readyz", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"),
        "{answer}"
    );
    setting.vitals.beat(now.saturating_sub(20_000_000_000).max(1));
    for path in ["/livez", "/readyz"] {
        let answer = setting.ask(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.contains("has not looked at the ring buffer for 20 s"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let mut setting = setting();
    setting.answer();
    let answer = setting.ask("/metrics", "").await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(
        answer.contains("\nspanwire_events_total{kind=\"bytes\"} 42\n"),
        "{answer}"
    );
    let answer = setting
        .ask(
            "/metrics?x=y",
            "accept: application/openmetrics-text; version=1.0.0\r\n",
        )
        .await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn a_pipeline_that_hangs_takes_nothing_from_the_rest() {
    let mut setting = setting();
    // Gone, and hanging: the latter takes the time that is allowed for an answer.
    drop(setting.asked.take());
    let answer = setting.ask("/metrics", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("spanwire_pipeline_answers 0\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed() {
    let setting = setting();
    assert!(setting.ask("/", "").await.starts_with("HTTP/1.1 404 "));
    // Who runs what is not told to whoever comes by.
    assert!(
        setting
            .ask("/services?all", "")
            .await
            .starts_with("HTTP/1.1 403 ")
    );
    let answer = setting
        .send(b"POST /metrics HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nab")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"),
        "{answer}"
    );
    for wrong in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
    ] {
        let answer = setting.send(wrong).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[tokio::test]
async fn huge_heads_are_refused_before_they_are_here() {
    let setting = setting();
    let mut stream = TcpStream::connect(setting.address).await.unwrap();
    let mut sent = 0;
    let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
    // It ends the connection long before this has been taken.
    while sent < 64 << 20 && stream.write_all(&[b'a'; 4096]).await.is_ok() {
        sent += 4096;
    }
    assert!(sent < 64 << 20, "{sent}");
    let many = "x: y\r\n".repeat(HEAD_FIELDS + 1);
    let answer = setting.ask("/livez", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn many_that_say_nothing_are_turned_away_and_counted_and_gone_after_a_while() {
    let mut setting = setting();
    setting.answer();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS + 8 {
        idle.push(TcpStream::connect(setting.address).await.unwrap());
    }
    let mut turned_away = 0;
    for stream in idle.iter_mut().rev().take(8) {
        // It ends at once, and not with the time for a head.
        turned_away += usize::from(timeout(HEAD_WITHIN / 2, stream.read(&mut [0])).await.is_ok());
    }
    assert_eq!(turned_away, 8);
    // Those that stay silent lose their place.
    for stream in &mut idle {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let answer = setting.ask("/metrics", "").await;
    assert!(
        answer.contains("\nspanwire_metrics_connections_refused_total 8\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_unix_socket_is_its_owner_s_replaces_what_was_left_and_goes_with_the_server() {
    let path = std::env::temp_dir().join(format!("spanwire-metrics-{}.sock", std::process::id()));
    let sources = || Sources {
        health: Arc::default(),
        vitals: Arc::default(),
        questions: channel().0,
        waiting: Box::new(Waiting::default),
        exports: Arc::default(),
    };
    let _ = fs::remove_file(&path);
    // What one that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::start(&[Address::Unix(path.clone())], Arc::new(sources())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n")
        .await
        .unwrap();
    assert!(received(stream).await.starts_with("HTTP/1.1 200 "));
    drop(server);
    assert!(!path.exists());
    // What is no socket is left alone.
    fs::write(&path, "precious").unwrap();
    let error = Server::start(&[Address::Unix(path.clone())], Arc::new(sources())).unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(path).unwrap();
}
