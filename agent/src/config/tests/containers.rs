//! `containers`, key by key.

use super::*;

#[test]
fn engines_are_those_of_the_host_unless_some_are_named_or_none() {
    let sockets = |text: &str| from(text, &[], "").unwrap().config.containers.sockets;
    assert_eq!(sockets(""), None);
    assert_eq!(sockets("containers: {labels: [team]}\n"), None);
    assert_eq!(sockets("containers: {sockets: []}\n"), Some(vec![]));
    assert_eq!(sockets("containers: {sockets: [none]}\n"), Some(vec![]));
    assert_eq!(
        sockets("containers: {sockets: [/a.sock, 'unix:///b.sock']}\n"),
        Some(vec!["/a.sock".into(), "/b.sock".into()])
    );
    let variables = [
        ("SPANWIRE_CONTAINER_SOCKETS", "none"),
        ("SPANWIRE_CONTAINER_LABELS", "team, com.shop.*"),
    ];
    let config = from("containers: {sockets: [/a.sock]}\n", &variables, "")
        .unwrap()
        .config;
    assert_eq!(config.containers.sockets, Some(vec![]));
    let labels = config.containers.labels.iter().map(ToString::to_string);
    assert_eq!(labels.collect::<Vec<_>>(), ["team", "com.shop.*"]);
}

#[test]
fn what_is_no_socket_is_refused_with_what_would_be_one() {
    let refused = |text: &str| from(text, &[], "").unwrap_err().to_string();
    for value in ["docker.sock", "tcp://127.0.0.1:2375", "ssh://host", "''"] {
        let error = refused(&format!("containers:\n  sockets: [{value}]\n"));
        assert!(
            error.contains("containers.sockets")
                && error.contains(":2")
                && error.contains("/var/run/docker.sock"),
            "{error}"
        );
    }
    let error = refused(&format!("containers:\n  sockets: [/{}]\n", "x".repeat(107)));
    assert!(
        error.contains("108 bytes long") && error.contains("107 at most"),
        "{error}"
    );
    let error = refused("containers: {sockets: [none, /a.sock]}\n");
    assert!(
        error.starts_with("`containers.sockets` (") && error.contains("has `none` beside"),
        "{error}"
    );
    let error = refused("containers: {labels: ['']}\n");
    assert!(error.contains("containers.labels"), "{error}");
    let error = refused("containers: {socket: [/a]}\n");
    assert!(error.contains("sockets"), "{error}");
}
