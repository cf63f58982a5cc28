//! Each flow of messages, from a connection's first byte.

use super::*;

#[test]
fn opening() {
    let ssl = || packet(b"\x04\xd2\x16\x2f");
    let gss = || packet(b"\x04\xd2\x16\x30");
    let refused = || b"N".to_vec();
    let select = || query("SELECT 1");
    let one = || [columns(), rows(1), done("SELECT 1"), ready(b'I')].concat();
    let expect = ["Q SELECT 1 -> SELECT returned 1 Idle"];
    check(&turns([startup(), welcome(), select(), one()]), &expect);
    check(
        &turns([ssl(), refused(), startup(), welcome(), select(), one()]),
        &expect,
    );
    let both = [
        gss(),
        refused(),
        ssl(),
        refused(),
        startup(),
        welcome(),
        select(),
        one(),
    ];
    check(&turns(both), &expect);
    let tls = b"\x16\x03\x01\0\x05hello".to_vec();
    check(
        &turns([ssl(), b"S".to_vec(), tls.clone(), tls.clone()]),
        &["Encrypted"],
    );
    check(&turns([gss(), b"G".to_vec(), tls]), &["Encrypted"]);
    check(&turns([ssl(), error("08P01")]), &[]);
    check(&turns([packet(b"\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02")]), &[]);
    check(&turns([b"GET / HTTP/1.1\r\n".to_vec()]), &["Unparsed(Startup)"]);
    check(&turns([packet(b"\0\x02\0\0old")]), &["Unparsed(Startup)"]);
}

#[test]
fn authentication_is_stepped_over() {
    let ask = |kind: u8, rest: &[u8]| frame(b'R', &[&[0, 0, 0, kind][..], rest].concat());
    let password = |body: &[u8]| frame(b'p', body);
    let sasl = [
        startup(),
        [notice(), ask(10, b"SCRAM-SHA-256\0\0")].concat(),
        password(b"SCRAM-SHA-256\0\0\0\0\x06secret"),
        ask(11, b"secret"),
        password(b"secret"),
        [ask(12, b"secret"), welcome()].concat(),
        query("SELECT 1"),
        [columns(), rows(1), done("SELECT 1"), ready(b'I')].concat(),
        bare("X"),
    ];
    check(&turns(sasl), &["Q SELECT 1 -> SELECT returned 1 Idle"]);
    let refused = [
        startup(),
        ask(5, b"salt"),
        password(b"md5secret\0"),
        error("28P01"),
    ];
    check(&turns(refused), &[]);
    let negotiated = [
        startup(),
        [frame(b'v', b"\0\0\0\0\0\0\0\0"), welcome()].concat(),
        query("BEGIN"),
        [done("BEGIN"), ready(b'T')].concat(),
    ];
    check(&turns(negotiated), &["Q BEGIN -> BEGIN Open"]);
}

#[test]
fn the_session_is_what_the_startup_message_says() {
    let session = |body: &[u8]| {
        let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
        let welcome = [frame(b'R', &[0; 4]), ready(b'I'), done("BEGIN"), ready(b'T')].concat();
        for (flow, data) in [
            (Flow::Request, packet(body)),
            (Flow::Request, query("BEGIN")),
            (Flow::Response, welcome),
        ] {
            connection.read(flow, (), bytes(&data), &mut out);
        }
        match &out[..] {
            [Outcome::Exchange(exchange)] => Session::clone(exchange.session.as_ref().unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let expect = |user: &str, database: &str, application: Option<&str>| Session {
        user: Some(user.into()),
        database: Some(database.into()),
        application: application.map(Into::into),
    };
    assert_eq!(session(b"\0\x03\0\0user\0me\0\0"), expect("me", "me", None));
    assert_eq!(
        session(b"\0\x03\0\0database\0shop\0user\0me\0options\0-c x\0application_name\0psql\0\0"),
        expect("me", "shop", Some("psql"))
    );
}

#[test]
fn simple_queries() {
    check_session(
        [
            query("SELECT 1; INSERT INTO t VALUES (1), (2); COMMIT"),
            [
                columns(),
                rows(1),
                done("SELECT 1"),
                notice(),
                done("INSERT 0 2"),
                frame(b'A', b"\0\0\0\x01channel\0\0"),
                done("COMMIT"),
                ready(b'I'),
            ]
            .concat(),
            query(""),
            [bare("I"), ready(b'I')].concat(),
            query("SELECT 1/0; SELECT 2"),
            [columns(), error("22012"), ready(b'E')].concat(),
            query("CREATE TABLE a AS SELECT 1"),
            [done("SELECT 1"), ready(b'I')].concat(),
            query("LISTEN channel"),
            [
                done("LISTEN"),
                frame(b'S', b"a\0b\0"),
                ready(b'I'),
                frame(b'A', b"\0\0\0\x01channel\0\0"),
            ]
            .concat(),
        ],
        &[
            "Q SELECT 1; INSERT INTO t VALUES (1), (2); COMMIT -> COMMIT returned 1 affected 2 Idle",
            "Q  -> Idle",
            "Q SELECT 1/0; SELECT 2 -> returned 0 error 22012 Failed",
            "Q CREATE TABLE a AS SELECT 1 -> SELECT returned 0 Idle",
            "Q LISTEN channel -> LISTEN Idle",
        ],
    );
}

#[test]
fn function_calls_are_no_statements() {
    let call = frame(b'F', b"\0\0\0\x01\0\0\0\0\0\0\0\0");
    check_session(
        [
            call.clone(),
            [frame(b'V', b"\0\0\0\0"), ready(b'I')].concat(),
            call,
            [error("42883"), ready(b'I')].concat(),
            query("BEGIN"),
            [done("BEGIN"), ready(b'T')].concat(),
        ],
        &["Q BEGIN -> BEGIN Open"],
    );
}

#[test]
fn extended_queries() {
    check_session(
        [
            [unnamed("SELECT $1"), sync()].concat(),
            [bare("12"), columns(), rows(2), done("SELECT 2"), ready(b'I')].concat(),
            [parse("s", "UPDATE t SET a = $1"), describe('S', "s"), sync()].concat(),
            [
                bare("1"),
                frame(b't', b"\0\x01\0\0\0\x17"),
                bare("n"),
                ready(b'I'),
            ]
            .concat(),
            [bind("", "s"), execute(""), bind("", "s"), execute(""), sync()].concat(),
            [
                bare("2"),
                done("UPDATE 1"),
                bare("2"),
                done("UPDATE 0"),
                ready(b'I'),
            ]
            .concat(),
            [close('S', "s"), sync()].concat(),
            [bare("3"), ready(b'I')].concat(),
            [bind("", "unseen"), execute(""), sync()].concat(),
            [bare("2"), done("SELECT 0"), ready(b'I')].concat(),
            [parse("", ""), bind("", ""), execute(""), sync()].concat(),
            [bare("12I"), ready(b'I')].concat(),
        ],
        &[
            "E SELECT $1 -> SELECT returned 2 Idle",
            "E s: UPDATE t SET a = $1 -> UPDATE affected 1",
            "E s: UPDATE t SET a = $1 -> UPDATE affected 0 Idle",
            "E unseen: ? -> SELECT returned 0 Idle",
            "E  -> Idle",
        ],
    );
}

#[test]
fn portals_in_pieces() {
    check_session(
        [
            [
                parse("s", "SELECT a FROM t"),
                bind("p", "s"),
                execute("p"),
                bare("H"),
            ]
            .concat(),
            [bare("12"), rows(2), bare("s")].concat(),
            [execute("p"), bare("H")].concat(),
            [rows(2), bare("s")].concat(),
            [execute("p"), close('P', "p"), execute("p"), sync()].concat(),
            [rows(1), done("SELECT 1"), bare("3"), error("34000"), ready(b'I')].concat(),
            [execute("p"), sync()].concat(),
            [error("34000"), ready(b'I')].concat(),
        ],
        &[
            "E s: SELECT a FROM t -> returned 2 suspended",
            "E s: SELECT a FROM t -> returned 2 suspended",
            "E s: SELECT a FROM t -> SELECT returned 1",
            "E ? -> error 34000",
            "E ? -> error 34000",
        ],
    );
}

#[test]
fn a_name_means_what_the_server_has_confirmed() {
    check_session(
        [
            [parse("s", "SELECT 1"), sync()].concat(),
            [bare("1"), ready(b'I')].concat(),
            // The name is taken: the old text stays.
            [parse("s", "SELECT 2"), bind("", "s"), execute(""), sync()].concat(),
            [error("42P05"), ready(b'I')].concat(),
            [bind("", "s"), execute(""), sync()].concat(),
            [bare("2"), rows(1), done("SELECT 1"), ready(b'I')].concat(),
            // SQL may give the name away, too.
            query("DEALLOCATE s; PREPARE s AS SELECT 3"),
            [done("DEALLOCATE"), done("PREPARE"), ready(b'I')].concat(),
            [bind("", "s"), execute(""), sync()].concat(),
            [bare("2"), rows(1), done("SELECT 1"), ready(b'I')].concat(),
            // A Query ends the unnamed statement.
            [parse("", "SELECT 4"), sync()].concat(),
            [bare("1"), ready(b'I')].concat(),
            query("BEGIN"),
            [done("BEGIN"), ready(b'T')].concat(),
            [bind("", ""), execute(""), sync()].concat(),
            [error("26000"), ready(b'E')].concat(),
        ],
        &[
            "E s: SELECT 2 -> error 42P05",
            "E s: SELECT 1 -> SELECT returned 1 Idle",
            "Q DEALLOCATE s; PREPARE s AS SELECT 3 -> PREPARE Idle",
            "E s: ? -> SELECT returned 1 Idle",
            "Q BEGIN -> BEGIN Open",
            "E ? -> error 26000",
        ],
    );
}

#[test]
fn pipelines() {
    let insert = |n: u32| [unnamed(&format!("INSERT {n}"))].concat();
    check_session(
        [
            [insert(1), insert(2), sync(), insert(3), sync(), query("SELECT 4")].concat(),
            [
                bare("12n"),
                done("INSERT 0 1"),
                bare("12n"),
                done("INSERT 0 1"),
                ready(b'I'),
                bare("12n"),
                done("INSERT 0 1"),
                ready(b'I'),
                columns(),
                rows(1),
                done("SELECT 1"),
                ready(b'I'),
            ]
            .concat(),
        ],
        &[
            "E INSERT 1 -> INSERT affected 1",
            "E INSERT 2 -> INSERT affected 1 Idle",
            "E INSERT 3 -> INSERT affected 1 Idle",
            "Q SELECT 4 -> SELECT returned 1 Idle",
        ],
    );
}

#[test]
fn an_error_skips_to_sync() {
    let insert = |n: u32| unnamed(&format!("INSERT {n}"));
    check_session(
        [
            // In Execute.
            [
                insert(1),
                insert(2),
                insert(3),
                query("SELECT 4"),
                sync(),
                insert(5),
                sync(),
            ]
            .concat(),
            [
                bare("12n"),
                done("INSERT 0 1"),
                bare("12n"),
                error("23505"),
                ready(b'I'),
                bare("12n"),
                done("INSERT 0 1"),
                ready(b'I'),
            ]
            .concat(),
            // In Parse: it is the first Execute's.
            [insert(6), insert(7), sync()].concat(),
            [error("42601"), ready(b'I')].concat(),
            // In Bind.
            [insert(8), sync()].concat(),
            [bare("1"), error("22P02"), ready(b'I')].concat(),
            // Nothing was to be executed.
            [parse("s", "nonsense"), describe('S', "s"), sync()].concat(),
            [error("42601"), ready(b'I')].concat(),
            // At the commit: it is the last Execute's.
            [insert(9), insert(10), sync()].concat(),
            [
                bare("12n"),
                done("INSERT 0 1"),
                bare("12n"),
                done("INSERT 0 1"),
                error("23503"),
                ready(b'I'),
            ]
            .concat(),
        ],
        &[
            "E INSERT 1 -> INSERT affected 1",
            "E INSERT 2 -> error 23505",
            "Skipped",
            "Skipped",
            "E INSERT 5 -> INSERT affected 1 Idle",
            "E INSERT 6 -> error 42601",
            "Skipped",
            "E INSERT 8 -> error 22P02",
            "E INSERT 9 -> INSERT affected 1",
            "E INSERT 10 -> INSERT affected 1 error 23503 Idle",
        ],
    );
}

#[test]
fn copy() {
    let data = || frame(b'd', b"secret\n").repeat(3);
    let format = || b"\0\0\x01\0\0";
    check_session(
        [
            query("COPY t FROM STDIN"),
            frame(b'G', format()),
            [data(), bare("c")].concat(),
            [done("COPY 3"), ready(b'I')].concat(),
            query("COPY t TO STDOUT"),
            [
                frame(b'H', format()),
                data(),
                bare("c"),
                done("COPY 3"),
                ready(b'I'),
            ]
            .concat(),
            query("COPY t FROM STDIN"),
            frame(b'G', format()),
            [data(), frame(b'f', b"secret\0")].concat(),
            [error("57014"), ready(b'I')].concat(),
            // libpq: the Sync behind Execute is ignored, the one behind CopyDone is not.
            [unnamed("COPY u FROM STDIN"), sync()].concat(),
            [bare("12n"), frame(b'G', format())].concat(),
            [data(), bare("c"), sync()].concat(),
            [done("COPY 3"), ready(b'I')].concat(),
            [unnamed("COPY u FROM STDIN"), sync()].concat(),
            [bare("12n"), frame(b'G', format()), error("22P04")].concat(),
            [data(), bare("c"), sync()].concat(),
            ready(b'I'),
            [unnamed("COPY u TO STDOUT"), sync()].concat(),
            [
                bare("12n"),
                frame(b'H', format()),
                data(),
                bare("c"),
                done("COPY 3"),
                ready(b'I'),
            ]
            .concat(),
        ],
        &[
            "Q COPY t FROM STDIN -> COPY affected 3 Idle",
            "Q COPY t TO STDOUT -> COPY returned 3 Idle",
            "Q COPY t FROM STDIN -> error 57014 Idle",
            "E COPY u FROM STDIN -> COPY affected 3 Idle",
            "E COPY u FROM STDIN -> error 22P04",
            "E COPY u TO STDOUT -> COPY returned 3 Idle",
        ],
    );
}

#[test]
fn replication_is_stepped_over() {
    let both = || [frame(b'd', b"k-secret").repeat(2), bare("c")].concat();
    check_session(
        [
            query("IDENTIFY_SYSTEM"),
            [columns(), rows(1), done("IDENTIFY_SYSTEM"), ready(b'I')].concat(),
            query("START_REPLICATION 0/0"),
            [frame(b'W', b"\0\0\0"), frame(b'd', b"w-secret").repeat(9)].concat(),
            both(),
            [both(), done("START_STREAMING"), ready(b'I')].concat(),
        ],
        &[
            "Q IDENTIFY_SYSTEM -> IDENTIFY_SYSTEM returned 1 Idle",
            "Q START_REPLICATION 0/0 -> START_STREAMING Idle",
        ],
    );
}

#[test]
fn the_end_of_a_connection() {
    check_session(
        [
            [unnamed("SELECT 1"), sync(), query("SELECT 2")].concat(),
            [bare("12"), columns(), rows(1)].concat(),
        ],
        &["E SELECT 1 -> returned 1 Closed", "Q SELECT 2 -> nothing Closed"],
    );
    check_session(
        [query("SELECT pg_sleep(9)"), error("57P01")],
        &["Q SELECT pg_sleep(9) -> error 57P01 Closed"],
    );
    check_session([bare("X"), error("57P01")], &[]);
}

#[test]
fn stamps_are_those_of_execute_and_its_answer() {
    let (mut connection, mut out) = (Connection::new(Limits::default()), Vec::new());
    let pieces = [
        (Flow::Request, startup()),
        (Flow::Response, welcome()),
        (Flow::Request, [parse("", "SELECT 1"), bind("", "")].concat()),
        (Flow::Request, execute("")[..3].to_vec()),
        (Flow::Request, [&execute("")[3..], &sync()].concat()),
        (Flow::Response, bare("12")),
        (Flow::Response, rows(1)),
        (Flow::Response, done("SELECT 1")),
        (Flow::Response, ready(b'I')),
    ];
    for (stamp, (flow, data)) in pieces.iter().enumerate() {
        connection.read(*flow, stamp, bytes(data), &mut out);
    }
    let [Outcome::Exchange(exchange)] = &out[..] else {
        panic!("{out:?}")
    };
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((exchange.request.first, exchange.request.last), (3, 4));
    assert_eq!((response.first, response.last, exchange.ended), (6, 7, 7));
}
