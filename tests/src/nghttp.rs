//! nghttp, the client of nghttp2: frames as others do not send them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tempfile::NamedTempFile;

use crate::calls::Request;
use crate::child::{self, Child};

/// Ways of asking: many streams at once, padding, with and without priorities, heads in several frames.
const WAYS: [&[&str]; 7] = [
    &["-m", "10"],
    &["-b", "200"],
    &["--no-dep"],
    &["-p", "200"],
    &["--no-rfc7540-pri"],
    &["--continuation"],
    &["-m", "3", "-b", "255", "--no-dep"],
];

/// Ways of sending content: padded, of a length that is not said, with trailers, after the server has agreed.
const POSTS: [&[&str]; 4] = [
    &["-b", "100"],
    &["--no-content-length"],
    &["--trailer", "checked: yes"],
    &["--expect-continue"],
];

/// What a path is answered with: status and bytes of content.
type Answer = (&'static str, i64, i64);

/// Asks an nginx whose file `large` has a megabyte for all that it has, in all ways.
///
/// # Errors
/// nghttp fails, or was answered otherwise.
pub fn of_nginx(address: SocketAddr) -> Result<Vec<Request>> {
    let answers = [
        ("/missing?q=1", 404, 153),
        ("/nothing", 204, 0),
        ("/large", 200, 1 << 20),
    ];
    let mut requests = Vec::new();
    // The header table is emptied, and grows again.
    for way in WAYS.into_iter().chain([&["-c", "0", "-c", "4096"][..]]) {
        requests.extend(call(address, way, "GET", 0, &answers)?);
    }
    Ok(requests)
}

/// Asks `go/shelf` in all ways, those with content too, and by an upgrade from HTTP/1.1.
///
/// # Errors
/// nghttp fails, or was answered otherwise.
pub fn of_go(address: SocketAddr) -> Result<Vec<Request>> {
    const LENGTH: usize = 70_000;
    let answers = [
        ("/item/1?length=7", 200, 7),
        ("/item/2?length=70000", 200, 70_000),
    ];
    let mut requests = Vec::new();
    for way in WAYS.into_iter().chain([&["-u"][..], &["-u", "-m", "5"]]) {
        requests.extend(call(address, way, "GET", 0, &answers)?);
    }
    let file = NamedTempFile::new()?;
    std::fs::write(&file, vec![b'n'; LENGTH])?;
    let path = file.path().display().to_string();
    for way in POSTS {
        let way = [way, &["-d", &path]].concat();
        requests.extend(call(address, &way, "POST", LENGTH as i64, &answers)?);
    }
    Ok(requests)
}

fn call(
    address: SocketAddr,
    way: &[&str],
    method: &str,
    sent: i64,
    answers: &[Answer],
) -> Result<Vec<Request>> {
    let mut command = child::command("nghttp");
    command.args(["-n", "-s"]).args(way);
    command.args(answers.iter().map(|(path, ..)| format!("http://{address}{path}")));
    let said = Child::spawn(command)?.succeed()?;
    let mut requests = Vec::new();
    // Lines of `id responseEnd requestStart process code size path`.
    for line in said.iter().skip_while(|line| !line.starts_with("id ")).skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let answer = answers.iter().find(|(path, ..)| fields.last() == Some(path));
        let Some(&(path, status, received)) = answer else {
            continue;
        };
        ensure!(fields.get(4) == Some(&&*status.to_string()), "{line}");
        requests.push(Request {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            sent,
            received,
        });
    }
    ensure!(requests.len() >= answers.len(), "{way:?}: {said:#?}");
    Ok(requests)
}
