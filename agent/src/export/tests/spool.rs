//! Endpoints that are away, with a spool: nothing is lost while it has room.

use std::path::Path;

use super::*;
use crate::export::sample::Tmpfs;
use crate::export::settings::{Fsync, Spool};

fn spool(path: &Path) -> Spool {
    Spool {
        directory: path.join("spool"),
        max_size: 16 << 20,
        max_age: Duration::from_hours(1),
        fsync: Fsync::Interval,
        rate: 0,
    }
}

fn start(settings: &Settings, spool: &Spool) -> (Handle, Arc<Health>) {
    let health = Arc::new(Health::default());
    let handle = Exporter::start(vec![settings.clone()], Some(spool), &health).unwrap();
    (handle, health)
}

/// Pushes `count` spans in pieces, as soon as the queue has room for one: no more than 50 in hand and 100 in the queue are
/// neither stored nor exported.
async fn push(handle: &Handle, health: &Health, count: u64) {
    for pushed in (0..count).step_by(50) {
        let gone = || health.value(Counter::SpoolStored) + health.value(Counter::SpansExported);
        until("room", || gone() + 150 >= pushed).await;
        handle.push(&spans(50));
    }
    assert_eq!(health.value(Counter::SpansQueueFull), 0);
}

/// An address that nobody listens on now.
async fn absent() -> SocketAddr {
    listen().await.1
}

async fn serve(address: SocketAddr) -> Http {
    let collector = Http::new(&[OK]);
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(serve_http(listener, collector.clone()));
    collector
}

#[tokio::test]
async fn an_outage_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = absent().await;
    let to = settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf);
    let (handle, health) = start(&to, &spool(folder.path()));
    push(&handle, &health, 2000).await;
    until("all is stored", || health.value(Counter::SpoolStored) == 2000).await;
    let collector = serve(address).await;
    until("all that was stored is exported", || {
        counts(&health) == [2000, 0, 0]
    })
    .await;
    // It is there again: what is new takes the short way.
    handle.push(&spans(50));
    until("what is new is exported", || counts(&health) == [2050, 0, 0]).await;
    assert_eq!(health.value(Counter::SpoolStored), 2000);
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!((health.value(Counter::SpoolLeft), collector.requests()), (0, 41));
}

#[tokio::test]
async fn what_an_end_leaves_is_sent_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let address = absent().await;
    let to = settings(&format!("http://{address}"), Protocol::Grpc);
    let (handle, health) = start(&to, &spool(folder.path()));
    handle.push(&spans(130));
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!(
        (counts(&health), health.value(Counter::SpoolLeft)),
        ([0, 0, 0], 130)
    );

    let collector = Grpc::new(&[Ok(taken())]);
    let listener = TcpListener::bind(address).await.unwrap();
    let server = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (handle, health) = start(&to, &spool(folder.path()));
    assert_eq!(health.value(Counter::SpoolFound), 130);
    handle.push(&spans(20));
    // An end waits for what the endpoint takes.
    assert_eq!(handle.shutdown(LIMIT).await, 0);
    assert_eq!(
        (counts(&health), health.value(Counter::SpoolLeft)),
        ([150, 0, 0], 0)
    );
}

#[tokio::test]
async fn an_endpoint_that_hangs_at_the_end_costs_no_span() {
    let (_nobody_answers, address) = listen().await;
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let folder = tempfile::tempdir().unwrap();
        let to = settings(&format!("http://{address}"), protocol);
        let (handle, health) = start(&to, &spool(folder.path()));
        handle.push(&spans(180));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(handle.shutdown(Duration::from_secs(1)).await, 0);
        assert_eq!(
            (counts(&health), health.value(Counter::SpoolLeft)),
            ([0, 0, 0], 180)
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_takes_its_time_does_not_fill_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (_nobody_answers, address) = listen().await;
    let to = settings(&format!("http://{address}"), Protocol::HttpProtobuf);
    let (handle, health) = start(&to, &spool(folder.path()));
    // One attempt lasts for ten seconds; what comes meanwhile would fill the queue several times.
    push(&handle, &health, 1500).await;
    assert_eq!(counts(&health), [0, 0, 0]);
    assert_eq!(handle.shutdown(Duration::from_secs(1)).await, 0);
    assert_eq!(health.value(Counter::SpoolLeft), 1500);
}

#[tokio::test]
async fn the_oldest_go_first_at_their_rate_while_new_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let address = absent().await;
    let to = settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf);
    let slowly = Spool {
        rate: 100_000,
        ..spool(folder.path())
    };
    let (handle, health) = start(&to, &slowly);
    for id in 1..=20 {
        let shop = resource("shop");
        handle.push(&[redacted(span(id, id, &shop))]);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    until("all is stored", || health.value(Counter::SpoolStored) == 20).await;
    let collector = serve(address).await;
    until("the first is exported", || counts(&health)[0] > 0).await;
    let stock = resource("stock");
    handle.push(&[redacted(span(99, 99, &stock))]);
    let ids = || -> Vec<u8> {
        let requests = collector.requests.lock().unwrap();
        let groups = requests.iter().flat_map(|(request, _)| &request.resource_spans);
        groups
            .map(|group| group.scope_spans[0].spans[0].span_id[0])
            .collect()
    };
    until("the new one is exported", || ids().contains(&99)).await;
    assert!(ids().len() < 21, "it came last: {:?}", ids());
    until("all are exported", || counts(&health)[0] == 21).await;
    let old: Vec<u8> = ids().into_iter().filter(|id| *id != 99).collect();
    assert!(old.is_sorted(), "{old:?}");
    handle.shutdown(LIMIT).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let address = absent().await;
    let to = settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf);
    let (handle, health) = start(&to, &spool(folder.path()));
    handle.push(&spans(50));
    until("it is stored", || health.value(Counter::SpoolStored) == 50).await;
    let collector = Http::new(&["HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n"]);
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(serve_http(listener, collector.clone()));
    until("it is refused", || counts(&health) == [0, 50, 0]).await;
    handle.push(&spans(50));
    until("so is what is new", || counts(&health) == [0, 100, 0]).await;
    handle.shutdown(LIMIT).await;
    assert_eq!((collector.requests(), health.value(Counter::SpoolLeft)), (2, 0));
}

#[tokio::test]
async fn what_is_too_large_is_split_out_of_the_spool_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let address = absent().await;
    let to = settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf);
    let (handle, health) = start(&to, &spool(folder.path()));
    handle.push(&spans(50));
    until("it is stored", || health.value(Counter::SpoolStored) == 50).await;
    let collector = Http::new(&["HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n", OK]);
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(serve_http(listener, collector.clone()));
    until("both halves are exported", || counts(&health) == [50, 0, 0]).await;
    let sizes: Vec<usize> = collector.received().iter().map(|request| request[0].1).collect();
    assert_eq!(sizes, [50, 25, 25]);
    handle.shutdown(LIMIT).await;
}

#[tokio::test]
async fn a_spool_that_cannot_be_used_is_an_error_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path());
    std::fs::create_dir(&spool.directory).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&spool.directory, open).unwrap();
    let to = settings("http://localhost:1", Protocol::Grpc);
    let health = Arc::new(Health::default());
    let error = Exporter::start(vec![to], Some(&spool), &health).unwrap_err();
    assert!(matches!(error, SettingsError::Spool(_)), "{error}");
}

#[tokio::test]
async fn where_the_disk_is_full_memory_is_used_and_then_the_oldest_go() {
    let Some(disk) = Tmpfs::mount("96k") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let address = absent().await;
    let to = settings(&format!("http://{address}/v1/traces"), Protocol::HttpProtobuf);
    let (handle, health) = start(&to, &spool(disk.path()));
    let mut pushed = 0;
    while health.value(Counter::SpansSpoolFull) == 0 {
        handle.push(&spans(50));
        pushed += 50;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(health.value(Counter::SpoolFailures) > 0);
    let collector = serve(address).await;
    let accounted = || {
        let lost = [
            Counter::SpansSpoolFull,
            Counter::SpansQueueFull,
            Counter::SpansExportFailed,
        ];
        let lost: u64 = lost.iter().map(|counter| health.value(*counter)).sum();
        lost + health.value(Counter::SpansExported)
    };
    until("each span is exported or counted", || accounted() == pushed).await;
    let received: usize = collector
        .received()
        .iter()
        .flatten()
        .map(|(_, spans)| spans)
        .sum();
    assert_eq!(received as u64, health.value(Counter::SpansExported));
    handle.shutdown(LIMIT).await;
}
