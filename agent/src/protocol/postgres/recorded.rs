//! What real clients and PostgreSQL 15 said to each other, compared with PostgreSQL's own log.
//!
//! `golden/recorded/NAME` is what a proxy wrote: `>` or `<` for the client's or the server's turn to speak, the length
//! (four bytes, big-endian), the bytes. `NAME.log` is what the backend wrote under `log_statement = all`, in its order:
//! `Q` for a Query, `E` for an Execute, or `?` for an error of what was not executed; then the statement's name, the
//! SQLSTATE, and the text.

use super::golden::{bytes, line, read};
use super::*;
use crate::connection::piece::Piece;
use std::fs;
use std::path::{Path, PathBuf};

/// The pieces of a recording.
fn pieces(mut recording: &[u8]) -> Vec<(Flow, &[u8])> {
    let mut pieces = Vec::new();
    while let Some((&[mark, ref length @ ..], rest)) = recording.split_first_chunk::<5>() {
        let (data, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let flow = if mark == b'>' {
            Flow::Request
        } else {
            Flow::Response
        };
        pieces.push((flow, data));
        recording = rest;
    }
    pieces
}

fn outcomes<'a>(pieces: impl IntoIterator<Item = (Flow, Piece<'a>)>) -> Vec<Outcome<()>> {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    for (flow, piece) in pieces {
        connection.read(flow, (), piece, &mut out);
    }
    connection.close((), Close::Closed, &mut out);
    out
}

/// As the log has it.
fn logged(exchange: &Exchange<()>) -> [String; 4] {
    let request = &exchange.request;
    let response = exchange.response.as_ref().unwrap();
    let code = response.failure.as_ref().map(|failure| failure.code().unwrap());
    let text = request.text.as_ref().unwrap();
    let kind = match request.protocol {
        Protocol::Simple => "Q",
        Protocol::Extended => "E",
    };
    [
        kind.to_owned(),
        request.statement.as_deref().unwrap_or_default().to_owned(),
        code.unwrap_or_default().to_owned(),
        String::from_utf8(text.bytes.to_vec()).unwrap(),
    ]
}

fn log(text: &str) -> Vec<[String; 4]> {
    let field = |field: &str| {
        field
            .replace("\\n", "\n")
            .replace("\\t", "\t")
            .replace("\\\\", "\\")
    };
    let entry = |line: &str| -> [String; 4] {
        let fields: Vec<_> = line.splitn(4, '\t').map(field).collect();
        fields.try_into().unwrap()
    };
    text.lines().map(entry).collect()
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/postgres/golden/recorded");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_none_or(|end| end != "log"))
        .collect()
}

#[test]
fn exchanges_are_what_the_server_logged() {
    for path in recordings() {
        let recording = fs::read(&path).unwrap();
        let mut expect = log(&fs::read_to_string(path.with_added_extension("log")).unwrap()).into_iter();
        for outcome in outcomes(
            pieces(&recording)
                .into_iter()
                .map(|(flow, data)| (flow, bytes(data))),
        ) {
            let exchange = match outcome {
                Outcome::Exchange(exchange) => exchange,
                // Never executed, and so not in the log.
                Outcome::Lost(Reason::Skipped) => continue,
                Outcome::Lost(reason) => panic!("{}: {reason:?}", path.display()),
            };
            let said = logged(&exchange);
            let entry = expect.find(|entry| entry[0] != "?" || entry[2..] == said[2..]);
            let mut entry = entry.unwrap_or_else(|| panic!("{}: {said:?} is not in the log", path.display()));
            if entry[0] == "?" {
                entry[..2].clone_from_slice(&said[..2]);
            }
            assert_eq!(said, entry, "{}", path.display());
            let database = exchange
                .session
                .as_ref()
                .and_then(|session| session.database.as_deref());
            assert_eq!(database, Some("postgres"));
        }
        // What is left was not to be executed.
        assert!(expect.all(|entry| entry[0] == "?"), "{}", path.display());
    }
    assert!(recordings().len() >= 10);
}

#[test]
fn each_byte_alone_gives_the_same() {
    for path in recordings() {
        let recording = fs::read(&path).unwrap();
        let pieces = pieces(&recording);
        let whole = read(pieces.iter().map(|(flow, data)| (*flow, bytes(data))));
        let single = pieces
            .iter()
            .flat_map(|(flow, data)| data.chunks(1).map(|byte| (*flow, bytes(byte))));
        assert_eq!(read(single), whole, "{}", path.display());
    }
}

/// Texts may be missing, but nothing comes out that did not happen; and where the client had just been answered, what
/// comes next is seen.
#[test]
fn joined_late_nothing_is_made_up() {
    for path in recordings() {
        let recording = fs::read(&path).unwrap();
        let pieces = pieces(&recording);
        let whole = outcomes(pieces.iter().map(|(flow, data)| (*flow, bytes(data))));
        let whole: Vec<_> = whole
            .iter()
            .filter(|it| matches!(it, Outcome::Exchange(_)))
            .map(line)
            .collect();
        for from in 1..pieces.len() {
            let late = [Flow::Request, Flow::Response].map(|flow| (flow, Piece::Gap { length: 0 }));
            let rest = pieces[from..].iter().map(|(flow, data)| (*flow, bytes(data)));
            let told = outcomes(late.into_iter().chain(rest));
            let told: Vec<_> = told
                .iter()
                .filter(|it| matches!(it, Outcome::Exchange(_)))
                .map(line)
                .collect();
            // They are the last ones, in order, perhaps without their texts.
            for (told, happened) in told.iter().rev().zip(whole.iter().rev()) {
                let answer = |line: &str| line.split_once(" ->").map(|(_, answer)| answer.to_owned());
                assert!(
                    told == happened || told.contains('?') && answer(told) == answer(happened),
                    "{} from {from}: {told} instead of {happened}",
                    path.display()
                );
            }
            let (before, after) = (pieces[from - 1], pieces[from]);
            if before.0 == Flow::Response
                && before.1.ends_with(b"Z\0\0\0\x05I")
                && after.1.first() == Some(&b'Q')
            {
                let lines = read(pieces[..from].iter().map(|(flow, data)| (*flow, bytes(data))));
                let happened = lines.iter().filter(|line| line.starts_with(['Q', 'E'])).count();
                assert_eq!(
                    told.len(),
                    whole.len() - happened,
                    "{} from {from}",
                    path.display()
                );
            }
        }
    }
}
