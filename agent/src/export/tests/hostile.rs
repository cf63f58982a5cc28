//! Fake endpoints that do what they can to be in the way. Of each: memory stays bounded, each span is exported or counted, and
//! a good endpoint in its place is used without a restart.

use std::pin::Pin;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

use super::tls::{Files, secured, serve_on};
use super::*;

/// What is done with a connection.
type Act = fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// More than this is never taken off a connection: what lies in its buffers, and what is read in one piece.
const MOST_TAKEN: usize = 32 << 20;

const CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Writes the same until nobody takes it.
async fn endlessly(mut stream: TcpStream, begin: &str, part: &[u8]) {
    let mut taken = begin.len();
    if stream.write_all(begin.as_bytes()).await.is_err() {
        return;
    }
    while stream.write_all(part).await.is_ok() {
        taken += part.len();
        assert!(taken < MOST_TAKEN, "the client reads on and on");
    }
}

fn nothing(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
}

fn closes(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { drop(stream) })
}

fn resets(mut stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let _ = stream.read(&mut [0; 100]).await;
        stream.set_zero_linger().unwrap();
    })
}

fn says_503(mut stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut bytes = vec![0; 64 * 1024];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            let _ = stream
                .write_all(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    })
}

/// A byte now and then, of a head that never ends in time.
fn dribbles(mut stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: one that takes its time"
            .iter()
            .cycle()
        {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

fn says_noise(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(endlessly(stream, "\0\u{1}\u{2}", &CHUNK))
}

fn has_no_end_of_head(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(endlessly(
        stream,
        "HTTP/1.1 200 OK\r\n",
        b"a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
    ))
}

fn has_no_end_of_body(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(endlessly(stream, "HTTP/1.1 503 x\r\n\r\n", &CHUNK))
}

fn claims_a_large_body(stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(endlessly(
        stream,
        "HTTP/1.1 503 x\r\ncontent-length: 99999999999999\r\n\r\n",
        &CHUNK,
    ))
}

const ACTS: [(&str, Act); 9] = [
    ("nothing", nothing),
    ("closes", closes),
    ("resets", resets),
    ("says 503", says_503),
    ("dribbles", dribbles),
    ("says noise", says_noise),
    ("has no end of head", has_no_end_of_head),
    ("has no end of body", has_no_end_of_body),
    ("claims a large body", claims_a_large_body),
];

fn hasty(address: SocketAddr, protocol: Protocol) -> Settings {
    Settings {
        timeout: Duration::from_millis(150),
        export_timeout: Duration::from_millis(200),
        ..settings(&format!("http://{address}/v1/traces"), protocol)
    }
}

/// Everything that was pushed is exported or counted as lost.
fn accounted(health: &Health) -> u64 {
    counts(health).iter().sum()
}

async fn good(address: SocketAddr, protocol: Protocol) {
    let listener = TcpListener::bind(address).await.unwrap();
    if protocol == Protocol::Grpc {
        let service = TraceServiceServer::new(Grpc::new(&[Ok(taken())]));
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    } else {
        tokio::spawn(serve_http(listener, Http::new(&[OK])));
    }
}

#[tokio::test]
async fn whatever_an_endpoint_does_spans_are_accounted_for_and_a_good_one_is_used_again() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for (name, act) in ACTS {
            let (listener, address) = listen().await;
            let hostile = tokio::spawn(async move {
                let mut held = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    held.spawn(act(stream));
                }
            });
            let (handle, health) = start(hasty(address, protocol));
            handle.push(&spans(120));
            // By the timeout, or at once where it is refused for good.
            until(name, || counts(&health) == [0, 120, 0]).await;
            hostile.abort();
            let _ = hostile.await;
            good(address, protocol).await;
            let mut pushed = 120;
            until(name, || {
                if accounted(&health) == pushed && counts(&health)[0] == 0 {
                    handle.push(&spans(50));
                    pushed += 50;
                }
                counts(&health)[0] > 0
            })
            .await;
            assert_eq!(handle.shutdown(LIMIT).await, 0);
            assert_eq!(accounted(&health), pushed, "{name}");
        }
    }
}

#[tokio::test]
async fn with_a_spool_whatever_an_endpoint_does_costs_no_span() {
    // But for what is refused for good, which no waiting changes.
    for (name, act) in ACTS.into_iter().filter(|(name, _)| *name != "says noise") {
        let folder = tempfile::tempdir().unwrap();
        let (listener, address) = listen().await;
        let hostile = tokio::spawn(async move {
            let mut held = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.spawn(act(stream));
            }
        });
        let health = Arc::new(Health::default());
        let spool = crate::export::settings::Spool {
            directory: folder.path().join("spool"),
            max_size: 16 << 20,
            max_age: Duration::from_hours(1),
            fsync: crate::export::settings::Fsync::Never,
            rate: 0,
        };
        let to = vec![hasty(address, Protocol::HttpProtobuf)];
        let handle = Exporter::start(to, Some(&spool), &health).unwrap();
        handle.push(&spans(120));
        until(name, || health.value(Counter::SpoolStored) == 120).await;
        hostile.abort();
        let _ = hostile.await;
        good(address, Protocol::HttpProtobuf).await;
        until(name, || counts(&health) == [120, 0, 0]).await;
        handle.shutdown(LIMIT).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_late_or_has_no_end_takes_nothing_from_its_status() {
    fn late(mut stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _ = stream.read(&mut [0; 64 * 1024]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
                .await;
            std::future::pending::<()>().await;
        })
    }
    fn endless(mut stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _ = stream.read(&mut [0; 64 * 1024]).await;
            endlessly(stream, "HTTP/1.1 200 OK\r\n\r\n", &CHUNK).await;
        })
    }
    for act in [late as Act, endless] {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(act(stream));
            }
        });
        let (handle, health) = start(hasty(address, Protocol::HttpProtobuf));
        handle.push(&spans(50));
        until("it is taken", || counts(&health) == [50, 0, 0]).await;
        handle.shutdown(LIMIT).await;
    }

    let large = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 0,
            error_message: "x".repeat(1 << 20),
        }),
    };
    let (collector, settings) = grpc(&[Ok(large)]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(50));
    handle.shutdown(LIMIT).await;
    assert_eq!((counts(&health), collector.requests()), ([50, 0, 0], 1));
}

/// A listener for the second server in one place: the first one's port is free once it has seen its last connection.
fn again(address: SocketAddr) -> std::net::TcpListener {
    for _ in 0..2000 {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("{address} is never free");
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused_until_it_is_renewed() {
    let (expired, valid) = (Files::valid_until("expired", 2020), Files::new("renewed"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The one that has expired is vouched for by the same authority as the client's settings say.
    serve_on(listener, &expired, &[], 2);
    let (handle, health) = start(Settings {
        timeout: Duration::from_secs(2),
        ..secured(&expired, address, Protocol::HttpProtobuf)
    });
    handle.push(&spans(50));
    let _files = tokio::task::spawn_blocking(move || {
        let listener = again(address);
        for file in ["authority", "client", "client-key"] {
            expired.put(file, &valid.text(file));
        }
        serve_on(listener, &valid, &[], usize::MAX);
        // Both sets of files are there to the end.
        (expired, valid)
    })
    .await
    .unwrap();
    until("it is exported after the renewal", || {
        counts(&health) == [50, 0, 0]
    })
    .await;
    handle.shutdown(LIMIT).await;
}

#[tokio::test]
async fn a_server_of_another_protocol_gets_nothing() {
    let files = Files::new("alpn");
    for protocols in [&["http/1.1"][..], &[]] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve_on(listener, &files, protocols, usize::MAX);
        let (handle, health) = start(Settings {
            timeout: Duration::from_millis(500),
            export_timeout: Duration::from_millis(700),
            ..secured(&files, address, Protocol::Grpc)
        });
        handle.push(&spans(50));
        until("it is given up", || counts(&health) == [0, 50, 0]).await;
        handle.shutdown(LIMIT).await;
    }
}
