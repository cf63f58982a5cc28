//! What real clients and RabbitMQ 3.10 said to each other, compared with what the clients say that they did.
//!
//! `golden/recorded/NAME` is what a proxy wrote: `>` or `<` for the client's or the server's turn to speak, the length
//! (four bytes, big-endian), the bytes. `NAME.log` has a line of each message, as the client's own code saw it come and
//! go: operation, exchange, routing key and queue, delivery tag, message id, body size, and what became of it.

use super::golden::*;
use super::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The pieces of a recording.
fn recording(mut file: &[u8]) -> Conversation {
    let mut conversation = Vec::new();
    while let Some((&[mark, ref length @ ..], rest)) = file.split_first_chunk::<5>() {
        let (data, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let flow = match mark {
            b'>' => Flow::Request,
            _ => Flow::Response,
        };
        conversation.push((flow, data.to_vec()));
        file = rest;
    }
    conversation
}

/// Each with its name and the lines of its log, in alphabetical order.
fn recordings() -> Vec<(PathBuf, Conversation, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/amqp/golden/recorded");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_none_or(|end| end != "log"));
    let all: Vec<_> = files
        .map(|path| {
            let log = fs::read_to_string(path.with_added_extension("log")).unwrap();
            let mut lines: Vec<_> = log.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            let conversation = recording(&fs::read(&path).unwrap());
            (path, conversation, lines)
        })
        .collect();
    assert!(all.len() >= 7);
    all
}

#[test]
fn messages_are_what_the_client_sent_and_got() {
    for (path, conversation, log) in recordings() {
        assert_eq!(read(pieces(&conversation)), log, "{}", path.display());
        assert_eq!(opening(&conversation[0].1), Opening::Client);
    }
}

#[test]
fn neither_cuts_nor_the_order_of_the_directions_matter() {
    for (path, conversation, log) in recordings() {
        for length in [1, 7, 1448] {
            let cut = conversation
                .iter()
                .flat_map(|(flow, data)| data.chunks(length).map(|part| (*flow, bytes(part))));
            assert_eq!(read(cut), log, "{} in parts of {length}", path.display());
        }
        for first in [Flow::Request, Flow::Response] {
            let (ahead, behind): (Vec<_>, Vec<_>) =
                pieces(&conversation).partition(|(flow, _)| *flow == first);
            assert_eq!(
                read(ahead.into_iter().chain(behind)),
                log,
                "{} {first:?}",
                path.display()
            );
        }
    }
}

/// Which message it is, without what is said of its end and its queue.
fn identity(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (operation, to) = (words.next()?, words.next()?);
    let rest: Vec<_> = words.collect();
    let ids = if operation == "Publish" {
        &rest[..2]
    } else {
        &rest[..3]
    };
    let to: Vec<_> = to.splitn(3, ':').take(2).collect();
    Some(format!("{operation} {} {}", to.join(":"), ids.join(" ")))
}

/// Queues and ends may be unknown, but nothing comes out that did not happen, and all that came whole comes out.
#[test]
fn joined_late_nothing_is_made_up() {
    for (path, conversation, log) in recordings() {
        for from in 1..conversation.len() {
            let joined = late().into_iter().chain(pieces(&conversation).skip(from));
            let lines = read(joined);
            for line in lines.iter().filter(|line| !line.starts_with("Incomplete")) {
                let end = |line: &str| line.rsplit(' ').next().map(str::to_owned);
                let known = log.iter().filter(|logged| identity(logged) == identity(line));
                let right = known.clone().any(|logged| {
                    logged == line
                        || line.ends_with("Unseen")
                        || line.starts_with("Publish") && line.ends_with("Content")
                        || line.contains(":? ") && end(logged) == end(line)
                });
                assert!(right, "{} from {from}: {line}", path.display());
            }
        }
    }
}

#[test]
fn frames_are_known_by_themselves() {
    for (path, conversation, _) in recordings() {
        for (flow, data) in &conversation[1..] {
            let seen = frames(data);
            assert!(seen.is_none_or(|seen| seen == *flow), "{}", path.display());
        }
    }
}

#[test]
fn context_and_properties_are_reached() {
    let (_, conversation, _) = recordings()
        .into_iter()
        .find(|(path, ..)| path.ends_with("pika_confirm"))
        .unwrap();
    let out = outcomes(pieces(&conversation));
    let first = out.iter().find_map(|outcome| match outcome {
        Outcome::Exchange(exchange) if exchange.operation == Operation::Deliver => Some(exchange),
        _ => None,
    });
    let content = &first.unwrap().content;
    let context = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(content.header("traceparent"), Some(context.as_slice()));
    let properties = content.properties();
    assert_eq!(properties.correlation_id, Some(b"c".as_slice()));
    let Some(Value::Table(deep)) = properties.headers.unwrap().get(b"deep") else {
        panic!()
    };
    let Some(Value::Array(list)) = deep.get(b"l") else {
        panic!()
    };
    let list: Vec<_> = list.collect();
    assert_eq!(
        list[1..],
        [Value::Text(b"two"), Value::Void, Value::Boolean(true)]
    );
}
