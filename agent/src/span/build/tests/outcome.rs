//! Status and `error.type`.

use super::*;

#[test]
fn status_codes_are_errors_by_kind() {
    for (code, server_error, client_error) in [
        (200, false, false),
        (304, false, false),
        (404, false, true),
        (500, true, true),
        (599, true, true),
        (999, true, true),
    ] {
        for (row, is_error) in [(server("/", &[]), server_error), (client("/", &[]), client_error)] {
            let row = Row {
                response: Some((code, true)),
                ..row
            };
            let text = code.to_string();
            check(&row, &[("error.type", is_error.then_some(text.as_str()))]);
            let expected = if is_error {
                Status::Error("".into())
            } else {
                Status::Unset
            };
            assert_eq!(row.span().status, expected, "{code}");
            check(&row, &[("http.response.status_code", Some(text.as_str()))]);
        }
    }
}

#[test]
fn an_exchange_without_its_response_says_how_it_ended() {
    for (close, response, error, description) in [
        (
            Close::Closed,
            None,
            "connection_closed",
            "connection closed before the response",
        ),
        (
            Close::Closed,
            Some((200, false)),
            "connection_closed",
            "connection closed in the middle of the response",
        ),
        (
            Close::Reset,
            None,
            "connection_reset",
            "connection reset before the response",
        ),
        (
            Close::Reset,
            Some((200, false)),
            "connection_reset",
            "connection reset in the middle of the response",
        ),
        (
            Close::TimedOut,
            None,
            "connection_timeout",
            "connection timed out before the response",
        ),
        (
            Close::TimedOut,
            Some((200, false)),
            "connection_timeout",
            "connection timed out in the middle of the response",
        ),
        (
            Close::Stopped,
            None,
            "spanwire_stopped",
            "spanwire stopped before the response",
        ),
        (
            Close::Stopped,
            Some((200, false)),
            "spanwire_stopped",
            "spanwire stopped in the middle of the response",
        ),
        (Close::Reset, Some((503, false)), "503", ""),
    ] {
        let row = Row {
            ending: Ending::Close(close),
            response,
            ..server("/", &[])
        };
        check(&row, &[("error.type", Some(error))]);
        assert_eq!(row.span().status, Status::Error(description.into()));
    }
}

#[test]
fn a_response_that_ended_with_its_connection_is_no_error() {
    let row = Row {
        ending: Ending::Close(Close::Closed),
        ..client("/", &[])
    };
    check(&row, &[("error.type", None)]);
    assert_eq!(row.span().status, Status::Unset);
}

#[test]
fn an_upgrade_is_no_error() {
    for (method, target, code) in [("GET", "/ws", 101), ("CONNECT", "e.com:443", 200)] {
        let row = Row {
            method,
            response: Some((code, true)),
            ending: Ending::Upgraded,
            ..client(target, &[])
        };
        check(&row, &[("error.type", None)]);
        assert_eq!(row.span().status, Status::Unset);
    }
}
