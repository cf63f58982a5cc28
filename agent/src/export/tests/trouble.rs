//! Endpoints that refuse, throttle, hang, or are not there.

use std::{cell::RefCell, rc::Rc, sync::Once};

use super::*;

thread_local! {
    /// What the test of this thread logs.
    static LINES: Lines = Lines::default();
}

/// What is logged, kept.
#[derive(Clone, Default)]
struct Lines(Rc<RefCell<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What this thread logs from now on.
///
/// One subscriber for all threads: while there is just one of a scope of its own, a thread that comes by a log line
/// first and has none switches that line off for all (`tracing_core::callsite`, `Rebuilder::JustOne`).
fn log() -> Lines {
    static GLOBAL: Once = Once::new();
    GLOBAL.call_once(|| {
        tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(|| LINES.with(Lines::clone))
            .init();
        // A line that a thread came by between the subscriber's making and its becoming everyone's.
        tracing::callsite::rebuild_interest_cache();
    });
    LINES.with(|lines| {
        lines.0.borrow_mut().clear();
        lines.clone()
    })
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let (collector, settings) = grpc(&[Err(Status::unavailable("soon")), Ok(taken())]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(5));
    until("a second attempt", || counts(&health) == [5, 0, 0]).await;
    assert_eq!(collector.received(), vec![vec![("shop".to_owned(), 5)]; 2]);
    handle.shutdown(LIMIT).await;

    for throttled in [
        "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 429 x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (collector, settings) = http(&[throttled, OK]).await;
        let (handle, health) = start(settings);
        handle.push(&spans(5));
        until("a second attempt", || counts(&health) == [5, 0, 0]).await;
        assert_eq!(collector.requests(), 2);
        handle.shutdown(LIMIT).await;
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    let (collector, settings) = grpc(&[Err(Status::invalid_argument("no")), Ok(taken())]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(5));
    until("a refusal", || counts(&health) == [0, 5, 0]).await;
    handle.push(&spans(3));
    handle.shutdown(LIMIT).await;
    assert_eq!((collector.requests(), counts(&health)), (2, [3, 5, 0]));

    let (collector, settings) = http(&["HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", OK]).await;
    let (handle, health) = start(settings);
    handle.push(&spans(5));
    until("a refusal", || counts(&health) == [0, 5, 0]).await;
    handle.push(&spans(3));
    handle.shutdown(LIMIT).await;
    assert_eq!((collector.requests(), counts(&health)), (2, [3, 5, 0]));
}

#[tokio::test]
async fn an_endpoint_that_wants_to_be_left_alone_is() {
    let (collector, settings) = http(&[
        "HTTP/1.1 429 x\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
        OK,
    ])
    .await;
    let (handle, health) = start(settings);
    handle.push(&spans(50));
    until("the first batch is given up", || counts(&health)[1] == 50).await;
    handle.push(&spans(250));
    // What is not sent waits in the bounded queue, and no request was made for it.
    assert_eq!((collector.requests(), counts(&health)), (1, [0, 50, 50]));
    // The end is the last chance.
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!(counts(&health), [200, 50, 50]);
}

#[tokio::test]
async fn an_absent_endpoint_costs_bounded_memory_and_is_found_when_it_comes() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let (listener, address) = listen().await;
        drop(listener);
        let (handle, health) = start(settings(&format!("http://{address}/v1/traces"), protocol));
        for _ in 0..10 {
            handle.push(&spans(100));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // 200 wait, 50 are in hand.
        assert_eq!(counts(&health), [0, 0, 750]);
        let listener = TcpListener::bind(address).await.unwrap();
        match protocol {
            Protocol::Grpc => {
                let service = TraceServiceServer::new(Grpc::new(&[Ok(taken())]));
                let incoming = TcpIncoming::from(listener);
                tokio::spawn(
                    Server::builder()
                        .add_service(service)
                        .serve_with_incoming(incoming),
                );
            }
            _ => {
                tokio::spawn(serve_http(listener, Http::new(&[OK])));
            }
        }
        until("all that waited is exported", || counts(&health) == [250, 0, 750]).await;
        assert_eq!(handle.shutdown(LIMIT).await, 0);
    }
}

#[tokio::test]
async fn a_shutdown_without_an_endpoint_tries_each_batch_once_and_counts() {
    let (listener, address) = listen().await;
    drop(listener);
    let (handle, health) = start(settings(&format!("http://{address}"), Protocol::Grpc));
    handle.push(&spans(120));
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!(counts(&health), [0, 120, 0]);
}

#[tokio::test]
async fn an_endpoint_that_hangs_loses_batches_by_the_timeout() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        // Connections are taken by the kernel and never answered.
        let (_listener, address) = listen().await;
        let (timeout, export_timeout) = (Duration::from_millis(30), Duration::from_millis(60));
        let settings = Settings {
            timeout,
            export_timeout,
            ..settings(&format!("http://{address}"), protocol)
        };
        let (handle, health) = start(settings);
        handle.push(&spans(60));
        until("both batches time out", || counts(&health) == [0, 60, 0]).await;
        handle.shutdown(LIMIT).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_while_the_endpoint_hangs_and_every_span_is_accounted_for() {
    let (_listener, address) = listen().await;
    let (handle, health) = start(settings(&format!("http://{address}"), Protocol::HttpProtobuf));
    handle.push(&spans(230));
    assert_eq!(handle.shutdown(Duration::from_millis(100)).await, 200);
    assert_eq!(counts(&health), [0, 200, 30]);
}

#[tokio::test]
async fn an_outage_is_one_line_and_its_end_another() {
    let lines = log();
    let refused = Err(Status::unauthenticated("no token"));
    let (_collector, settings) = grpc(&[refused.clone(), refused.clone(), refused, Ok(taken())]).await;
    let endpoint = settings.endpoint.clone();
    let (handle, health) = start(settings);
    handle.push(&spans(200));
    handle.shutdown(LIMIT).await;
    assert_eq!(counts(&health), [50, 150, 0]);
    let text = lines.text();
    // How long it took is the machine's affair.
    let (before, after) = text.split_once(" again after ").unwrap();
    let text = format!("{before} again after N {}", after.split_once(' ').unwrap().1);
    assert_eq!(
        text.lines().map(str::trim_start).collect::<Vec<_>>(),
        [
            format!(
                "WARN {endpoint} refuses spans: Unauthenticated: no token; they are dropped and counted until it \
                 takes them (check endpoint, protocol and headers)"
            ),
            format!("INFO exporting to {endpoint} again after N s; 150 spans were lost meanwhile"),
        ]
    );
}

/// In a clock that jumps while nothing happens: on a connection that is never answered, nothing does.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_named_while_it_does_and_at_the_end() {
    let lines = log();
    let (_listener, address) = listen().await;
    let endpoint = format!("http://{address}/v1/traces");
    let (handle, _) = start(settings(&endpoint, Protocol::HttpProtobuf));
    handle.push(&spans(50));
    let silence = format!("{endpoint} has not answered for 3 s");
    until("the warning", || lines.text().contains(&silence)).await;
    assert_eq!(handle.shutdown(Duration::from_secs(1)).await, 50);
    let text = lines.text();
    let lost = format!("50 spans could not be exported in time and are lost: {endpoint} did not take them");
    assert!(text.contains(&lost), "{text}");
    assert_eq!(text.matches("has not answered").count(), 1, "{text}");
}
