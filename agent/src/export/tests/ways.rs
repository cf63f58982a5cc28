//! The ways to an endpoint: forms, compressions, sockets, proxies, files that change, several endpoints at a time.

use std::path::PathBuf;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use super::*;
use crate::export::settings::{Proxy, Rotation};

/// A fake server over HTTP that keeps each request, head and body, and gives the same answer to all.
#[derive(Clone)]
struct Keeper {
    answer: &'static str,
    requests: Arc<Mutex<Vec<Kept>>>,
}

/// Head and body.
type Kept = (String, Vec<u8>);

impl Keeper {
    fn new(answer: &'static str) -> Self {
        let requests = Arc::default();
        Self { answer, requests }
    }

    fn requests(&self) -> Vec<Kept> {
        self.requests.lock().unwrap().clone()
    }

    async fn on_tcp(&self) -> SocketAddr {
        let (listener, address) = listen().await;
        let keeper = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keeper.clone().serve(stream));
            }
        });
        address
    }

    fn on_socket(&self, path: &std::path::Path) {
        let listener = UnixListener::bind(path).unwrap();
        let keeper = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keeper.clone().serve(stream));
            }
        });
    }

    async fn serve(self, mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let head = loop {
                if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                    break bytes.drain(..end + 4).collect::<Vec<u8>>();
                }
                stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
            };
            let head = String::from_utf8(head).unwrap();
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            while bytes.len() < length {
                stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
            }
            self.requests
                .lock()
                .unwrap()
                .push((head, bytes.drain(..length).collect()));
            stream.write_all(self.answer.as_bytes()).await.ok()?;
        }
    }
}

fn number_of_spans(body: &[u8]) -> usize {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    request
        .resource_spans
        .iter()
        .map(|group| group.scope_spans[0].spans.len())
        .sum()
}

#[tokio::test]
async fn json_and_zipkin_are_sent_as_json() {
    let partial = concat!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 58\r\n\r\n",
        r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":""}}"#
    );
    for (protocol, path, answer, expect) in [
        (Protocol::HttpJson, "/v1/traces", OK, [5, 0, 0]),
        (Protocol::HttpJson, "/v1/traces", partial, [3, 2, 0]),
        (
            Protocol::Zipkin,
            "/api/v2/spans",
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            [5, 0, 0],
        ),
    ] {
        let keeper = Keeper::new(answer);
        let address = keeper.on_tcp().await;
        let (handle, health) = start(settings(&format!("http://{address}{path}"), protocol));
        handle.push(&spans(5));
        handle.shutdown(LIMIT).await;
        assert_eq!(counts(&health), expect);
        let (head, body) = keeper.requests().remove(0);
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let spans = match protocol {
            Protocol::Zipkin => &body,
            _ => &body["resourceSpans"][0]["scopeSpans"][0]["spans"],
        };
        assert_eq!(spans.as_array().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn zstd_is_what_both_transports_can_send() {
    let keeper = Keeper::new(OK);
    let address = keeper.on_tcp().await;
    let (handle, health) = start(Settings {
        compression: Compression::Zstd,
        ..settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf)
    });
    handle.push(&spans(9));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [9, 0, 0]);
    let (head, body) = keeper.requests().remove(0);
    assert!(head.contains("content-encoding: zstd\r\n"), "{head}");
    assert_eq!(number_of_spans(&zstd::decode_all(&*body).unwrap()), 9);

    let (listener, address) = listen().await;
    let collector = Grpc::new(&[Ok(taken())]);
    // It takes nothing else.
    let service = TraceServiceServer::new(collector.clone()).accept_compressed(CompressionEncoding::Zstd);
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (handle, health) = start(Settings {
        compression: Compression::Zstd,
        ..settings(&format!("http://{address}"), Protocol::Grpc)
    });
    handle.push(&spans(9));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [9, 0, 0]);
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let keeper = Keeper::new(OK);
    keeper.on_socket(&path);
    let (handle, health) = start(settings(
        &format!("unix:{}", path.display()),
        Protocol::HttpProtobuf,
    ));
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [5, 0, 0]);
    let head = keeper.requests()[0].0.to_lowercase();
    assert!(
        head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("\r\nhost: localhost\r\n"),
        "{head}"
    );

    let path = folder.path().join("grpc.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let collector = Grpc::new(&[Ok(taken())]);
    let server = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let (handle, health) = start(settings(&format!("unix://{}", path.display()), Protocol::Grpc));
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!((counts(&health), collector.requests()), ([5, 0, 0], 1));
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_an_endpoint_that_is_away() {
    let settings = settings("unix:/absent/otlp.sock", Protocol::HttpProtobuf);
    let (handle, health) = start(settings);
    handle.push(&spans(5));
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!(counts(&health), [0, 5, 0]);
}

/// A fake proxy: forwards nothing, and hands each connection to the endpoint once it was asked for one.
async fn tunnel(endpoint: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (listener, address) = listen().await;
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                        return;
                    }
                }
                kept.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut onward = TcpStream::connect(endpoint).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn grpc_goes_through_a_proxy_by_a_tunnel() {
    let (collector, to) = grpc(&[Ok(taken())]).await;
    let endpoint = to.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let (proxy, asked) = tunnel(endpoint).await;
    let (handle, health) = start(Settings {
        proxy: Proxy {
            http: Some(format!("http://me:secret@{proxy}")),
            ..Proxy::default()
        },
        // Nobody's name: only the proxy knows where that is.
        ..settings("http://collector.invalid:4317", Protocol::Grpc)
    });
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!((counts(&health), collector.requests()), ([5, 0, 0], 1));
    let asked = asked.lock().unwrap()[0].to_lowercase();
    assert!(
        asked.starts_with("connect collector.invalid:4317 http/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("proxy-authorization: basic bwu6c2vjcmv0\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_proxy_forwards_plain_http_and_exceptions_go_direct() {
    let keeper = Keeper::new(OK);
    let proxy = keeper.on_tcp().await;
    let through = |except: &str| Settings {
        proxy: Proxy {
            http: Some(format!("me:secret@{proxy}")),
            https: None,
            except: except.to_owned(),
        },
        export_timeout: Duration::from_millis(200),
        ..settings("http://collector.invalid:4318/v1/traces", Protocol::HttpProtobuf)
    };
    let (handle, health) = start(through("example.com"));
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [5, 0, 0]);
    let head = keeper.requests()[0].0.to_lowercase();
    assert!(
        head.starts_with("post http://collector.invalid:4318/v1/traces http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: basic bwu6c2vjcmv0\r\n"),
        "{head}"
    );
    let (handle, health) = start(through(".invalid"));
    handle.push(&spans(5));
    handle.shutdown(LIMIT).await;
    assert_eq!((counts(&health), keeper.requests().len()), ([0, 5, 0], 1));
}

#[tokio::test]
async fn headers_of_a_file_are_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("headers");
    let put = |text: &str| {
        // As what rotates secrets does it: a new file in the place of the old one.
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    put("Authorization: Bearer one");
    let keeper = Keeper::new(OK);
    let address = keeper.on_tcp().await;
    let (handle, health) = start(Settings {
        headers_file: Some(file.clone()),
        ..settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf)
    });
    for (number, text) in ["", "Authorization: Bearer two", "no header at all"]
        .into_iter()
        .enumerate()
    {
        if !text.is_empty() {
            put(text);
        }
        handle.push(&spans(5));
        until("exported", || counts(&health)[0] == 5 * (number as u64 + 1)).await;
    }
    let tokens: Vec<bool> = keeper
        .requests()
        .iter()
        .map(|(head, _)| head.contains("Bearer two"))
        .collect();
    // What cannot be used leaves what was before in force.
    assert_eq!(tokens, [false, true, true]);
    handle.shutdown(LIMIT).await;
}

#[tokio::test]
async fn a_slow_endpoint_holds_up_no_other() {
    let (_nobody_answers, slow) = listen().await;
    let (collector, fast) = http(&[OK]).await;
    let json = Keeper::new(OK);
    let address = json.on_tcp().await;
    let health = Arc::new(Health::default());
    let endpoints = vec![
        settings(&format!("http://{slow}"), Protocol::HttpProtobuf),
        fast,
        settings(&format!("http://{address}/v1/traces"), Protocol::HttpJson),
    ];
    let handle = Exporter::start(endpoints, None, &health).unwrap();
    for _ in 0..8 {
        handle.push(&spans(50));
        let before = collector.requests();
        until("the others go on", || collector.requests() > before).await;
    }
    until("all is exported to two", || {
        health.value(Counter::SpansExported) == 800
    })
    .await;
    assert_eq!(json.requests().len(), 8);
    // 50 in hand and 200 in the queue of the slow one.
    assert_eq!(health.value(Counter::SpansQueueFull), 150);
    assert_eq!(handle.shutdown(Duration::from_millis(50)).await, 250);
}

#[tokio::test]
async fn what_is_refused_as_too_large_is_split_until_it_is_taken() {
    let refusal = Err(Status::resource_exhausted(
        "grpc: received message larger than max (9 vs. 5)",
    ));
    let (collector, to) = grpc(&[refusal.clone(), refusal, Ok(taken())]).await;
    let (handle, health) = start(to);
    handle.push(&spans(50));
    handle.shutdown(LIMIT).await;
    let sizes: Vec<usize> = collector.received().iter().map(|request| request[0].1).collect();
    assert_eq!((sizes, counts(&health)), (vec![50, 25, 12, 13, 25], [50, 0, 0]));

    let (collector, to) = http(&["HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n"]).await;
    let (handle, health) = start(to);
    handle.push(&spans(3));
    handle.shutdown(LIMIT).await;
    // A span that is too large by itself is lost.
    assert_eq!((collector.requests(), counts(&health)), (5, [0, 3, 0]));
}

#[tokio::test]
async fn a_file_has_a_request_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traces.jsonl");
    let rotation = Rotation {
        max_size: 1 << 20,
        max_files: 2,
    };
    let (handle, health) = start(settings(path.to_str().unwrap(), Protocol::File(rotation)));
    handle.push(&spans(70));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [70, 0, 0]);
    let text = std::fs::read_to_string(&path).unwrap();
    let sizes: Vec<usize> = text
        .lines()
        .map(|line| {
            let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
            request.resource_spans[0].scope_spans[0].spans.len()
        })
        .collect();
    assert_eq!(sizes, [50, 20]);
}
