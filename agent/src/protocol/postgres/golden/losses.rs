//! Joined late, bytes lost, bytes not copied, limits.

use super::*;

const LOST: Piece<'_> = Piece::Gap { length: 0 };

fn one() -> Vec<u8> {
    [columns(), rows(1), done("SELECT 1"), ready(b'I')].concat()
}

fn extended(statement: &str) -> Vec<u8> {
    [bind("", statement), execute(""), sync()].concat()
}

/// Reads `turns` with a loss of unknown length at the beginning of both directions.
fn joined(turns: &[(Flow, Vec<u8>)]) -> Vec<String> {
    let late = [(Flow::Request, LOST), (Flow::Response, LOST)];
    read(
        late.into_iter()
            .chain(turns.iter().map(|(flow, data)| (*flow, bytes(data)))),
    )
}

#[test]
fn joined_between_two_statements() {
    let conversation = turns([
        query("SELECT 1"),
        one(),
        extended("s"),
        [bare("2"), rows(3), done("SELECT 3"), ready(b'I')].concat(),
    ]);
    let expect = [
        "Q SELECT 1 -> SELECT returned 1 Idle",
        "E s: ? -> SELECT returned 3 Idle",
    ];
    assert_eq!(joined(&conversation), expect);
    assert_eq!(joined(&conversation[2..]), expect[1..]);
}

#[test]
fn joined_within_an_answer() {
    let mut conversation = turns([query("SELECT 1"), one()]);
    conversation.insert(
        0,
        (Flow::Response, [rows(2), done("SELECT 9"), ready(b'I')].concat()),
    );
    let expect = ["ResponseWithoutRequest", "Q SELECT 1 -> SELECT returned 1 Idle"];
    assert_eq!(joined(&conversation), expect);
    // Within a row, so that no frame is to be found there.
    conversation[0].1.drain(..7);
    assert_eq!(joined(&conversation), expect[1..]);
}

#[test]
fn joined_within_a_batch_nothing_is_told_that_is_in_doubt() {
    // The answers are those of two executions, of which the second one was seen.
    let conversation = turns([
        extended("s"),
        [
            bare("2"),
            done("UPDATE 1"),
            bare("2"),
            done("UPDATE 2"),
            ready(b'I'),
        ]
        .concat(),
        extended("s"),
        [bare("2"), done("UPDATE 3"), ready(b'I')].concat(),
    ]);
    assert_eq!(
        joined(&conversation),
        [
            "Incomplete",
            "ResponseWithoutRequest",
            "E s: ? -> UPDATE affected 3 Idle"
        ]
    );
}

#[test]
fn an_error_in_a_batch_that_began_unseen_is_not_given_to_what_was_seen() {
    let batch = || [bind("", "s"), execute(""), sync()].concat();
    let failed = || [error("23505"), ready(b'I')].concat();
    assert_eq!(
        joined(&turns([batch(), failed(), batch(), failed()])),
        ["Incomplete", "E s: ? -> error 23505"]
    );
}

#[test]
fn an_answer_too_many_tells_that_the_beginning_was_none() {
    // A query that was not seen was in flight, too.
    let conversation = turns([query("SELECT 1"), one().repeat(2), query("SELECT 2"), one()]);
    assert_eq!(
        joined(&conversation),
        [
            "Incomplete",
            "ResponseWithoutRequest",
            "Q SELECT 2 -> SELECT returned 1 Idle"
        ]
    );
}

#[test]
fn a_client_that_does_not_wait_is_not_guessed_at() {
    let conversation = turns([
        query("SELECT 1"),
        Vec::new(),
        query("SELECT 2"),
        one().repeat(2),
        query("SELECT 3"),
        one(),
    ]);
    let told = joined(&conversation);
    assert!(told.iter().all(|line| !line.starts_with('Q')), "{told:?}");
}

#[test]
fn a_loss_takes_what_is_around_it_and_no_more() {
    for flow in [Flow::Request, Flow::Response] {
        let conversation = turns([
            startup(),
            welcome(),
            [parse("s", "SELECT 1"), bind("", "s"), execute(""), sync()].concat(),
            [bare("12"), rows(1), done("SELECT 1"), ready(b'I')].concat(),
            query("SELECT 2"),
            one(),
            extended("s"),
            [bare("2"), rows(1), done("SELECT 1"), ready(b'I')].concat(),
        ]);
        let mut pieces: Vec<_> = conversation
            .iter()
            .map(|(flow, data)| (*flow, bytes(data)))
            .collect();
        let lost = if flow == Flow::Request { 4 } else { 5 };
        pieces[lost] = (flow, LOST);
        let last = match flow {
            // A name may stand for another text by now.
            Flow::Request => "E s: ? -> SELECT returned 1 Idle",
            Flow::Response => "E s: SELECT 1 -> SELECT returned 1 Idle",
        };
        let around = match flow {
            Flow::Request => "ResponseWithoutRequest",
            Flow::Response => "Incomplete",
        };
        assert_eq!(
            read(pieces),
            ["E s: SELECT 1 -> SELECT returned 1 Idle", around, last]
        );
    }
}

#[test]
fn a_loss_within_a_body_is_none_around_it() {
    let head = |data: Vec<u8>, keep: usize| (data[..keep].to_vec(), (data.len() - keep) as u64);
    let (asked, asked_lost) = head(query("SELECT a FROM t WHERE b = 'long'"), 20);
    let (row, row_lost) = head(rows(1), 7);
    let (end, end_lost) = head(done("SELECT 2"), 8);
    let (failed, failed_lost) = head(error("22012"), 9);
    let opening = turns([startup(), welcome()]);
    let lost = |flow, length| (flow, Piece::Gap { length });
    let mut pieces: Vec<_> = opening.iter().map(|(flow, data)| (*flow, bytes(data))).collect();
    let (start, finish) = ([columns(), rows(1)].concat(), ready(b'I'));
    pieces.extend([
        (Flow::Request, bytes(&asked)),
        lost(Flow::Request, asked_lost),
        (Flow::Response, bytes(&start)),
        (Flow::Response, bytes(&row)),
        lost(Flow::Response, row_lost),
        (Flow::Response, bytes(&end)),
        lost(Flow::Response, end_lost),
        (Flow::Response, bytes(&finish)),
    ]);
    let again = query("SELECT 1/0");
    pieces.extend([
        (Flow::Request, bytes(&again)),
        (Flow::Response, bytes(&failed)),
        lost(Flow::Response, failed_lost),
        (Flow::Response, bytes(&finish)),
    ]);
    assert_eq!(
        read(pieces),
        [
            "Q SELECT a FROM t... -> returned 2 Idle",
            "Q SELECT 1/0 -> error ? Idle"
        ]
    );
}

#[test]
fn names_that_were_lost_leave_no_old_text_behind() {
    let conversation = turns([
        startup(),
        welcome(),
        [parse("", "SELECT 1"), bind("", ""), execute(""), sync()].concat(),
        [bare("12"), rows(1), done("SELECT 1"), ready(b'I')].concat(),
    ]);
    let mut pieces: Vec<_> = conversation
        .iter()
        .map(|(flow, data)| (*flow, bytes(data)))
        .collect();
    let parse = parse("", "SELECT 2");
    let rest = extended("");
    let answer = [bare("12"), rows(1), done("SELECT 1"), ready(b'I')].concat();
    pieces.extend([
        (Flow::Request, bytes(&parse[..5])),
        (
            Flow::Request,
            Piece::Gap {
                length: parse.len() as u64 - 5,
            },
        ),
        (Flow::Request, bytes(&rest)),
        (Flow::Response, bytes(&answer)),
    ]);
    let expect = [
        "E SELECT 1 -> SELECT returned 1 Idle",
        "E ? -> SELECT returned 1 Idle",
    ];
    assert_eq!(read(pieces), expect);
}

#[test]
fn rows_that_were_not_copied_are_counted() {
    let conversation = turns([startup(), welcome(), query("TABLE t"), columns()]);
    let mut pieces: Vec<_> = conversation
        .iter()
        .map(|(flow, data)| (*flow, bytes(data)))
        .collect();
    let row = rows(1);
    let elided = |wire, content| {
        let last = false;
        (Flow::Response, Piece::Elided { wire, content, last })
    };
    let end = [done("SELECT 8"), ready(b'I')].concat();
    pieces.extend([
        (Flow::Response, bytes(&row[..5])),
        elided(row.len() as u64 - 5, 0),
        elided(3 * row.len() as u64, 3),
        (Flow::Response, bytes(&row[..8])),
        elided(4 * row.len() as u64 - 8, 3),
        (Flow::Response, bytes(&end)),
    ]);
    assert_eq!(read(pieces), ["Q TABLE t -> SELECT returned 8 Idle"]);
}

#[test]
fn rows_that_a_client_copies_in_are_none_that_it_gets() {
    let conversation = turns([
        startup(),
        welcome(),
        query("COPY t FROM STDIN"),
        frame(b'G', b"\0\0\0"),
    ]);
    let mut pieces: Vec<_> = conversation
        .iter()
        .map(|(flow, data)| (*flow, bytes(data)))
        .collect();
    let row = frame(b'd', b"1\n");
    let copied = Piece::Elided {
        wire: 3 * row.len() as u64,
        content: 3,
        last: false,
    };
    let [copy_done, end] = [bare("c"), [done("COPY 3"), ready(b'I')].concat()];
    pieces.extend([
        (Flow::Request, copied),
        (Flow::Request, bytes(&copy_done)),
        (Flow::Response, bytes(&end)),
    ]);
    assert_eq!(read(pieces), ["Q COPY t FROM STDIN -> COPY affected 3 Idle"]);
}

#[test]
fn marks_number_the_exchanges_and_end_a_search() {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let long = query("SELECT 1");
    for flow in [Flow::Request, Flow::Response] {
        connection.read(flow, (), LOST, &mut out);
    }
    // Its second half is in another piece, so nothing but the mark proves it.
    let (first, second) = long.split_at(9);
    let first = Piece::Bytes {
        data: first,
        starts: Some(41),
    };
    connection.read(Flow::Request, (), first, &mut out);
    connection.read(Flow::Request, (), bytes(second), &mut out);
    connection.read(Flow::Response, (), bytes(&one()), &mut out);
    connection.close((), Close::Closed, &mut out);
    match &out[..] {
        [Outcome::Exchange(exchange)] => assert_eq!(exchange.ordinal, 41),
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_is_bounded() {
    let limits = Limits {
        text: 16,
        statements: 2,
        statement_bytes: 64,
        in_flight: 1000,
        deferred: 1000,
    };
    let (mut connection, mut out) = (Connection::new(limits), Vec::new());
    let mut read = |flow, data: &[u8]| connection.read(flow, (), bytes(data), &mut out);
    read(Flow::Request, &startup());
    read(Flow::Response, &welcome());
    for name in ["a", "b", "c"] {
        let text = format!("SELECT '{name}', 'more than fits'");
        read(Flow::Request, &[parse(name, &text), sync()].concat());
        read(Flow::Response, &[bare("1"), ready(b'I')].concat());
    }
    for name in ["a", "b", "c"] {
        read(Flow::Request, &extended(name));
        read(
            Flow::Response,
            &[bare("2"), done("SELECT 0"), ready(b'I')].concat(),
        );
    }
    read(Flow::Request, &query("SELECT 'more than fits'"));
    read(Flow::Response, &one());
    for _ in 0..100 {
        read(Flow::Request, &query("SELECT 1"));
    }
    assert!(connection.in_flight() < 8);
    let lines: Vec<_> = out.iter().map(line).collect();
    assert_eq!(lines[0], "E a: ? -> SELECT returned 0 Idle");
    assert!(lines[2].starts_with("E c: SELECT 'c', 'm"), "{}", lines[2]);
    assert!(lines[2].contains("..."));
    assert_eq!(lines[3], "Q SELECT 'more tha... -> SELECT returned 1 Idle");
    assert!(lines[4..].contains(&"TooManyInFlight".to_owned()));
    assert_eq!(lines.len() + connection.in_flight(), 4 + 100);
}

#[test]
fn an_answer_that_fits_nothing_takes_what_is_in_flight_along() {
    let conversation = turns([
        startup(),
        welcome(),
        [unnamed("SELECT 1"), sync()].concat(),
        [bare("13"), done("SELECT 1"), ready(b'I')].concat(),
        query("SELECT 2"),
        one(),
        b"nonsense".to_vec(),
    ]);
    let pieces = conversation.iter().map(|(flow, data)| (*flow, bytes(data)));
    assert_eq!(
        read(pieces),
        [
            "Unparsed(Order)",
            "Unparsed(Frame)",
            "Q SELECT 2 -> SELECT returned 1 Idle",
        ]
    );
}
