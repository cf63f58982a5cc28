//! Engines that answer, and engines that do not: servers on Unix sockets, well-behaved or hostile.

use super::*;
use crate::process::Container;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// How a question for names begins.
const LIST: &str = "/containers/json?filters=%7B%22id%22%3A%5B%22";

const ID: &str = "8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a8f2b8a7a3d0d4b7a";

/// A socket of one test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("spanwire-engine-{}-{number}.sock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that is left behind in the temporary folder is no reason to fail.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a server does with one request.
enum Does {
    /// Writes this, and closes.
    Says(String),
    /// Writes this, and nothing more.
    Stalls(&'static str),
    /// Writes a head, and then a body without an end.
    Floods(&'static str),
}

/// A server on a socket, until it is dropped.
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    /// It does what `answer` says of each request's path and its number.
    fn start(place: &Place, answer: impl Fn(&str, usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(&place.0).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { asked, _task: task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: UnixStream,
    answer: Arc<impl Fn(&str, usize) -> Does>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let line = request.lines().next().unwrap().to_owned();
    assert!(request.contains(crate::export::USER_AGENT), "{request}");
    let path = line
        .strip_prefix("GET ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let path = path.expect("nothing but GET is sent").to_owned();
    let number = {
        let mut asked = asked.lock().unwrap();
        asked.push(path.clone());
        asked.len()
    };
    match answer(&path, number) {
        Does::Says(text) => drop(stream.write_all(text.as_bytes()).await),
        Does::Stalls(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            // Until the other end goes.
            let _ = stream.read_u8().await;
        }
        Does::Floods(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        }
    }
}

fn response(status: &str, body: &str) -> Does {
    let length = body.len();
    Does::Says(format!(
        "HTTP/1.1 {status}\r\nServer: Docker/27.3.1 (linux)\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn web(id: &str) -> Does {
    response(
        "200 OK",
        &format!(r#"{{"Id":"{id}","Name":"/web","Config":{{"Image":"shop/web:1"}}}}"#),
    )
}

struct Case {
    containers: Arc<Containers>,
    health: Arc<Health>,
    _engines: Engines,
}

fn case(places: &[&Place]) -> Case {
    let (containers, health) = (Arc::<Containers>::default(), Arc::<Health>::default());
    let config = config::Containers {
        sockets: Some(places.iter().map(|place| place.0.clone()).collect()),
        labels: Vec::new(),
    };
    Case {
        _engines: Engines::start(&config, &containers, &health).unwrap(),
        containers,
        health,
    }
}

impl Case {
    /// Looks for a container until the answer is one that is asked for. Time is the runtime's, which passes while nobody works.
    async fn until(&self, id: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        loop {
            let answer = self.containers.look(id);
            if wanted(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn answer(&self, id: &str) -> Answer {
        self.until(id, |answer| *answer != Answer::Awaited).await
    }

    async fn name(&self, id: &str) -> Option<String> {
        let is_told = |answer: &Answer| matches!(answer, Answer::Told(_));
        match self.until(id, is_told).await {
            Answer::Told(container) => container.name.clone(),
            _ => None,
        }
    }

    fn failed(&self) -> u64 {
        self.health.value(Counter::ContainersFailed)
    }
}

#[tokio::test]
async fn a_container_is_asked_for_once_and_its_image_with_it() {
    let place = Place::new();
    let server = Server::start(&place, |path, _| match path.strip_prefix("/containers/") {
        Some(rest) => response(
            "200 OK",
            &format!(
                r#"{{"Id":"{}","Name":"/web","Image":"sha256:ab","Config":{{"Image":"shop/web:1","Labels":{{"a":"b"}}}}}}"#,
                rest.strip_suffix("/json").unwrap()
            ),
        ),
        None => response(
            "200 OK",
            r#"{"RepoTags":["shop/web:1"],"RepoDigests":["shop/web@sha256:cd"]}"#,
        ),
    });
    let case = case(&[&place]);
    let Answer::Told(container) = case.answer(ID).await else {
        panic!("it is told")
    };
    let expect = Container {
        id: ID.into(),
        name: Some("web".into()),
        image: Some("shop/web:1".into()),
        image_id: Some("sha256:ab".into()),
        image_tags: vec!["shop/web:1".into()],
        image_digests: vec!["shop/web@sha256:cd".into()],
        runtime: Some("docker".into()),
        runtime_version: Some("27.3.1".into()),
        labels: [("a".into(), "b".into())].into(),
        ..Container::default()
    };
    assert_eq!(*container, expect);
    for _ in 0..10 {
        assert_eq!(case.answer(ID).await, Answer::Told(Arc::new(expect.clone())));
    }
    let paths = [
        format!("/containers/{ID}/json"),
        "/images/sha256:ab/json".to_owned(),
    ];
    assert_eq!(server.asked(), paths);
    assert_eq!(case.failed(), 0);
}

#[tokio::test]
async fn what_one_engine_does_not_know_another_is_asked_for() {
    let (docker, podman) = (Place::new(), Place::new());
    let none = r#"{"message":"No such container"}"#;
    let first = Server::start(&docker, move |_, _| response("404 Not Found", none));
    let second = Server::start(&podman, move |path, _| match path.contains(ID) {
        true => web(ID),
        false => response("404 Not Found", none),
    });
    let case = case(&[&docker, &podman]);
    assert_eq!(case.name(ID).await.as_deref(), Some("web"));
    assert_eq!(case.answer(&"0".repeat(64)).await, Answer::Nobodys);
    assert_eq!((first.asked().len(), second.asked().len()), (2, 2));
    assert_eq!(case.failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_renamed_is_asked_for_again_and_no_other_is() {
    let (place, down) = (Place::new(), Place::new());
    let other = "1".repeat(64);
    let ids = [ID.to_owned(), other.clone()];
    let server = Server::start(&place, move |path, number| {
        let name = |id: &str| match id == ID && number > 4 {
            true => "renamed",
            false => "web",
        };
        if let Some(id) = ids.iter().find(|id| path.contains(&format!("/{id}/"))) {
            let name = name(id);
            return response("200 OK", &format!(r#"{{"Id":"{id}","Name":"/{name}"}}"#));
        }
        assert!(path.starts_with(LIST), "{path}");
        assert!(ids.iter().all(|id| path.contains(id.as_str())), "{path}");
        let listed = ids.each_ref().map(|id| {
            let name = name(id);
            format!(r#"{{"Id":"{id}","Names":["/other/alias","/{name}"]}}"#)
        });
        response("200 OK", &format!("[{}]", listed.join(",")))
    });
    // One that is away is no reason not to ask the other.
    drop(UnixListener::bind(&down.0).unwrap());
    let case = case(&[&down, &place]);
    for id in [ID, &other] {
        assert_eq!(case.name(id).await.as_deref(), Some("web"));
    }
    let is_renamed =
        |answer: &Answer| matches!(answer, Answer::Told(it) if it.name.as_deref() == Some("renamed"));
    let began = tokio::time::Instant::now();
    case.until(ID, is_renamed).await;
    assert!(began.elapsed() > NAMES);
    assert_eq!(case.name(&other).await.as_deref(), Some("web"));
    sleep(3 * NAMES).await;
    let asked = server.asked();
    let times = |id: &str| {
        asked
            .iter()
            .filter(|path| path.contains(&format!("/{id}/")))
            .count()
    };
    assert_eq!((times(ID), times(&other)), (2, 1), "{asked:?}");
}

#[tokio::test]
async fn one_socket_by_two_names_is_asked_once() {
    let (place, link) = (Place::new(), Place::new());
    let server = Server::start(&place, |_, _| response("404 Not Found", "{}"));
    std::os::unix::fs::symlink(&place.0, &link.0).unwrap();
    let case = case(&[&place, &link]);
    assert_eq!(case.answer(ID).await, Answer::Nobodys);
    assert_eq!(server.asked().len(), 1);
}

/// Whatever a hostile engine does the first times, it is counted, the container is known to be late, and it is asked again
/// until it answers.
async fn recovers(first: impl Fn() -> Does + Send + Sync + 'static) {
    const TIMES: usize = 2;
    let place = Place::new();
    let server = Server::start(&place, move |_, number| match number <= TIMES {
        true => first(),
        false => web(ID),
    });
    let case = case(&[&place]);
    assert_eq!(case.answer(ID).await, Answer::Late);
    assert_eq!(case.name(ID).await.as_deref(), Some("web"));
    assert_eq!(case.failed(), TIMES as u64);
    assert_eq!(server.asked().len(), TIMES + 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_is_asked_again_until_it_answers() {
    recovers(|| response("500 Internal Server Error", r#"{"message":"database is locked"}"#)).await;
    recovers(|| response("503 Service Unavailable", "")).await;
    recovers(|| response("403 Forbidden", "")).await;
    recovers(|| response("301 Moved Permanently", "")).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stalls_is_left_after_a_while_and_asked_again() {
    recovers(|| Does::Stalls("")).await;
    recovers(|| Does::Stalls("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n")).await;
    recovers(|| Does::Stalls("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{")).await;
    recovers(|| Does::Stalls("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"Id\"\r\n")).await;
}

#[tokio::test]
async fn an_engine_that_sends_more_than_is_read_is_left_and_asked_again() {
    recovers(|| Does::Floods("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")).await;
    recovers(|| Does::Floods("HTTP/1.1 200 OK\r\n\r\n")).await;
    recovers(|| Does::Floods("HTTP/1.1 200 OK\r\nX: ")).await;
    recovers(|| {
        let fields = "X: y\r\n".repeat(1_000);
        Does::Says(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_lies_is_not_believed_and_asked_again() {
    recovers(|| Does::Says(String::new())).await;
    recovers(|| Does::Says("SSH-2.0-OpenSSH_9.2\r\n".into())).await;
    recovers(|| Does::Says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}".into())).await;
    recovers(|| Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}".into())).await;
    recovers(|| Does::Says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}".into())).await;
    recovers(|| Does::Says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".into())).await;
    recovers(|| response("200 OK", "<html>")).await;
    recovers(|| web(&"0".repeat(64))).await;
    recovers(|| response("200 OK", &"[".repeat(500_000))).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_for_one_container_answers_for_others() {
    let place = Place::new();
    let _server = Server::start(&place, |path, _| match path.contains(ID) {
        true => Does::Stalls(""),
        false => web(&"1".repeat(64)),
    });
    let case = case(&[&place]);
    let _ = case.containers.look(ID);
    assert_eq!(case.name(&"1".repeat(64)).await.as_deref(), Some("web"));
    assert_eq!(case.answer(ID).await, Answer::Late);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_or_comes_later_is_asked_when_it_is_there() {
    let (down, later) = (Place::new(), Place::new());
    // A socket that nobody listens at any more.
    drop(UnixListener::bind(&down.0).unwrap());
    let case = case(&[&down, &later]);
    assert_eq!(case.answer(ID).await, Answer::Late);
    assert!(case.failed() > 0);
    std::fs::remove_file(&down.0).unwrap();
    case.until(ID, |answer| *answer == Answer::Nobodys).await;
    let failed = case.failed();
    let _server = Server::start(&later, |_, _| web(ID));
    assert_eq!(case.name(ID).await.as_deref(), Some("web"));
    assert_eq!(case.failed(), failed);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_known_though_nothing_is_of_its_image() {
    let body = format!(r#"{{"Id":"{ID}","Name":"/web","Image":"sha256:ab"}}"#);
    for (status, asked) in [("404 Not Found", 2), ("403 Forbidden", 2), ("500 Oh", 4)] {
        let (place, body) = (Place::new(), body.clone());
        let server = Server::start(&place, move |path, number| match path.starts_with("/images/") {
            true if number <= 2 => response(status, ""),
            true => response("200 OK", r#"{"RepoDigests":["web@sha256:cd"]}"#),
            false if path.starts_with(LIST) => response("200 OK", "[]"),
            false => response("200 OK", &body),
        });
        let case = case(&[&place]);
        assert_eq!(case.name(ID).await.as_deref(), Some("web"));
        if asked > 2 {
            let has_digest =
                |answer: &Answer| matches!(answer, Answer::Told(it) if !it.image_digests.is_empty());
            case.until(ID, has_digest).await;
        }
        sleep(Duration::from_secs(600)).await;
        let paths = server.asked();
        let single = paths.iter().filter(|path| !path.starts_with(LIST));
        assert_eq!(single.count(), asked, "{status}");
    }
}

#[test]
fn engines_are_expected_where_they_usually_are_and_where_docker_looks() {
    let paths = |host: Option<&str>| sockets(None, host);
    let usual = EXPECTED.map(PathBuf::from).to_vec();
    assert_eq!(paths(None), usual);
    assert_eq!(paths(Some("tcp://10.0.0.1:2375")), usual);
    assert_eq!(paths(Some("")), usual);
    assert_eq!(paths(Some("unix:///run/docker.sock")).len(), usual.len());
    assert_eq!(paths(Some("unix:///a.sock"))[0], Path::new("/a.sock"));
    assert_eq!(
        sockets(Some(&["/b.sock".into()]), Some("unix:///a.sock")),
        [Path::new("/b.sock")]
    );
    assert_eq!(sockets(Some(&[]), None), [""; 0].map(PathBuf::from));
}
