use super::*;
use crate::config::environment::Environment;
use crate::config::{File, RuleSet};
use crate::span::example::example;
use crate::span::{Link, OwnRules, Resource, SpanId, TraceId};
use std::sync::Arc;

fn redacted(key: &'static str, value: Value, rules: &Rules) -> Value {
    let mut redactor = Redactor::new(rules.clone());
    let mut span = span();
    let key = key.into();
    span.attributes.push(Attribute { key, value });
    let Redacted(mut span) = redactor.span(span);
    span.attributes.pop().expect("the attribute").value
}

fn span() -> Span {
    Span {
        resource: Arc::new(Resource {
            own: OwnRules::default(),
            pid: 1,
            attributes: [("service.name", "cart"), ("service.namespace", "shop")]
                .map(|(key, value)| Attribute {
                    key: key.into(),
                    value: Value::Text(value.into()),
                })
                .into(),
        }),
        ..example()
    }
}

/// Rules of a configuration file.
fn rules(text: &str) -> Rules {
    let file = File {
        name: "spanwire.yaml".into(),
        text: text.into(),
    };
    let resolved = config::resolve(Some(&file), &Environment::new(), config::layer::Layer::default());
    Rules::new(&resolved.expect("a configuration").config.redaction).expect("rules")
}

fn text(key: &'static str, text: &str, rules: &Rules) -> String {
    match redacted(key, Value::Text(text.into()), rules) {
        Value::Text(text) => text.into(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn urls_lose_credentials_and_signatures() {
    let rules = Rules::default();
    let url = "http://user:pass@e.com/?sig=abc";
    assert_eq!(
        text("url.full", url, &rules),
        "http://REDACTED:REDACTED@e.com/?sig=REDACTED"
    );
    assert_eq!(text("url.query", "a=1&sig=abc", &rules), "a=1&sig=REDACTED");
    let agent = "http://REDACTED@e.com/?sig=REDACTED";
    assert_eq!(text("user_agent.original", url, &rules), agent);
    assert_eq!(text("url.full", url, &Rules::none()), url);
}

#[test]
fn sql_loses_its_literals_unless_it_may_keep_them() {
    let statement = "SELECT 'secret' FROM \"jane@example.com\" WHERE password = $1";
    let bare = "SELECT ? FROM \"REDACTED\" WHERE password = $1";
    for (rules, expected) in [(Rules::default(), bare), (Rules::none(), statement)] {
        assert_eq!(text("db.query.text", statement, &rules), expected);
    }
    let keeps = rules("redaction: {sql_literals: false}");
    let shown = text(
        "db.query.text",
        "SELECT 'jane@example.com', 'x', password='y'",
        &keeps,
    );
    assert_eq!(shown, "SELECT 'REDACTED', 'x', password='REDACTED'");
}

#[test]
fn texts_are_cut_by_characters() {
    let rules = Rules {
        value_length: Some(3),
        ..Rules::default()
    };
    for (long, expected) in [
        ("abc", "abc"),
        ("abcd", "abc"),
        ("äöü", "äöü"),
        ("äöüß", "äöü"),
        ("", ""),
    ] {
        assert_eq!(text("url.path", long, &rules), expected);
    }
    let texts = Value::Texts(["abcd", "x"].map(str::to_owned).into());
    let cut = Value::Texts(["abc", "x"].map(str::to_owned).into());
    assert_eq!(redacted("http.request.header.a", texts, &rules), cut);
    let number = Value::Integer(80_000);
    assert_eq!(redacted("server.port", number.clone(), &rules), number);
}

#[test]
fn a_secret_is_replaced_before_it_could_be_cut_in_two() {
    let rules = Rules {
        value_length: Some(28),
        ..Rules::default()
    };
    let cut = text("url.full", "http://user:pass@e.com/", &rules);
    assert_eq!(cut, "http://REDACTED:REDACTED@e.c");
}

#[test]
fn names_of_headers_tell_what_their_values_are() {
    let rules = Rules::default();
    let hex = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(text("http.request.header.x-request-id", hex, &rules), hex);
    assert_eq!(text("messaging.message.id", hex, &rules), hex);
    assert_eq!(text("http.request.header.x-trace", hex, &rules), "REDACTED");
    let mail = text("http.request.header.x-request-id", "for-jane@example.com", &rules);
    assert_eq!(mail, "REDACTED");
    for name in [
        "http.request.header.authorization",
        "messaging.header.apiKey",
        "http.response.header.set-cookie",
    ] {
        assert_eq!(text(name, "x", &rules), "REDACTED");
        assert_eq!(text(name, "x", &Rules::none()), "x");
    }
}

#[test]
fn names_that_came_with_a_request_tell_it_too() {
    let attribute = |key: &str, text: &str| Attribute {
        key: key.to_owned().into(),
        value: Value::Text(text.into()),
    };
    let mut one = span();
    one.attributes = vec![
        attribute("access_token", "x"),
        attribute("user.mail", "jane@example.com"),
        attribute("tier", "gold"),
    ];
    let Redacted(one) = Redactor::default().span(one);
    let expect = [
        attribute("access_token", "REDACTED"),
        attribute("user.mail", "REDACTED"),
        attribute("tier", "gold"),
    ];
    assert_eq!(one.attributes, expect);
}

#[test]
fn what_a_span_says_of_itself_is_redacted_too() {
    let mut one = span();
    one.name = "publish jane@example.com".into();
    one.status = Status::Error("no user jane@example.com: password=hunter2".into());
    one.state = "rojo=00f067aa0ba902b7f067aa0ba902b700,congo=jane@example.com".into();
    one.link = Some(Box::new(Link {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        state: "congo=jane@example.com".into(),
    }));
    let Redacted(one) = Redactor::default().span(one);
    assert_eq!(one.name, "publish REDACTED");
    assert_eq!(
        one.status,
        Status::Error("no user REDACTED: password=REDACTED".into())
    );
    assert_eq!(one.state, "rojo=00f067aa0ba902b7f067aa0ba902b700");
    assert_eq!(one.link.expect("the link").state, "");
}

#[test]
fn strict_takes_ids_and_all_values_of_queries() {
    let strict = rules("redaction: {set: strict}");
    for (key, value, expect) in [
        ("url.path", "/orders/12/items", "/orders/REDACTED/items"),
        (
            "url.path",
            "/o/0f8fad5b-d9cb-469f-a165-70867728950e",
            "/o/REDACTED",
        ),
        ("url.query", "page=1&a=&b", "page=REDACTED&a=&b"),
        ("user_agent.original", "job 123456", "job REDACTED"),
        ("http.request.header.x-request-id", "123456", "123456"),
        ("url.path", "/d/Zm9vYmFyMTIzNDU2Nzg5MA3x", "/d/REDACTED"),
        ("server.address", "ip-10-0-0-1234567", "ip-10-0-0-1234567"),
    ] {
        assert_eq!(text(key, value, &strict), expect, "{key}");
    }
    assert_eq!(RuleSet::None.shapes(), []);
    let none = rules("redaction: {set: none}");
    assert!(none.are_none() && Rules::none().are_none() && !strict.are_none());
}

#[test]
fn rules_for_attributes_go_first_and_in_order() {
    let said = rules(
        "redaction:
  hash_key: 0123456789abcdef
  rules:
    - {attributes: [url.query], services: ['web*'], action: keep}
    - {attributes: [url.query], namespaces: [shop], action: mask}
    - {attributes: [http.request.header.x-user], action: hash}
    - {attributes: ['http.request.header.*'], protocols: [grpc], action: drop}
    - {attributes: [url.path], action: replace, pattern: '/v(\\d+)/', with: '/v-$1-/'}
    - {attributes: [user_agent.original], action: keep}
",
    );
    for (key, value, expect) in [
        ("url.query", "token=secret", "to********et"),
        ("url.path", "/v12/jane@example.com", "/v-12-/REDACTED"),
        ("user_agent.original", "jane@example.com", "jane@example.com"),
        ("http.request.header.x-other", "jane@example.com", "REDACTED"),
        (
            "http.request.header.x-user",
            "jane",
            "170c373234e049e31ddb953c1f28840b2b7a8a3778dcbb2ef3b4edbd756ea1fa",
        ),
    ] {
        assert_eq!(text(key, value, &said), expect, "{key}");
    }
}

#[test]
fn an_attribute_that_is_dropped_is_not_there() {
    let said = rules("redaction: {rules: [{attributes: ['http.*', span.status.message], action: drop}]}");
    let mut one = span();
    one.status = Status::Error("why".into());
    for key in ["http.request.body.size", "url.path"] {
        let value = Value::Integer(1);
        let key = key.into();
        one.attributes.push(Attribute { key, value });
    }
    let Redacted(one) = Redactor::new(said).span(one);
    let keys: Vec<_> = one.attributes.iter().map(|attribute| &*attribute.key).collect();
    assert_eq!((keys, one.status), (vec!["url.path"], Status::Error("".into())));
}

#[test]
fn a_key_is_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let said = format!(
        "redaction: {{hash_key_file: {}, rules: [{{attributes: [url.path], action: hash}}]}}",
        path.display()
    );
    let file = File {
        name: String::new(),
        text: said.clone(),
    };
    let section = || {
        let resolved = config::resolve(Some(&file), &Environment::new(), config::layer::Layer::default());
        resolved.expect("a configuration").config.redaction
    };
    assert!(matches!(Rules::new(&section()), Err(RuleError::KeyFile { .. })));
    std::fs::write(&path, "0123456789abcde\n").expect("a file");
    assert!(matches!(Rules::new(&section()), Err(RuleError::ShortKey(_))));
    std::fs::write(&path, "0123456789abcdef\n").expect("a file");
    let hashed = text("url.path", "jane", &rules(&said));
    let expect = "170c373234e049e31ddb953c1f28840b2b7a8a3778dcbb2ef3b4edbd756ea1fa";
    assert_eq!(hashed, expect);
}

#[test]
fn labels_of_containers_are_redacted_as_what_came_by_the_wire_and_the_rest_of_a_resource_is_not() {
    let label = |key: &str, value: &str| Attribute {
        key: format!("container.label.{key}").into(),
        value: Value::Text(value.into()),
    };
    let mut one = span();
    let own = |value: &str| Attribute {
        key: "service.version".into(),
        value: Value::Text(value.into()),
    };
    let mut attributes = one.resource.attributes.clone();
    attributes.push(own("jane@example.com"));
    attributes.extend([
        label("team", "blue"),
        label("db.password", "hunter2"),
        label("owner", "jane@example.com"),
        label("tier", "gold"),
        label("secret-tier", "gone"),
    ]);
    one.resource = Arc::new(Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes,
    });
    let mut redactor = Redactor::new(rules(
        "redaction:
  rules:
    - {attributes: [container.label.secret-tier], namespaces: [shop], action: drop}
    - {attributes: [container.label.tier], protocols: [grpc], action: drop}
    - {attributes: [container.label.tier], action: mask}
",
    ));
    let Redacted(first) = redactor.span(one.clone());
    let texts = first.resource.attributes.iter().map(|it| match &it.value {
        Value::Text(text) => format!("{}={text}", it.key),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        texts.collect::<Vec<_>>(),
        [
            "service.name=cart",
            "service.namespace=shop",
            "service.version=jane@example.com",
            "container.label.team=blue",
            "container.label.db.password=REDACTED",
            "container.label.owner=REDACTED",
            "container.label.tier=****",
        ]
    );
    // All spans of a process have one resource, before and after.
    let Redacted(second) = redactor.span(one);
    assert!(Arc::ptr_eq(&first.resource, &second.resource));
    let bare = span();
    let resource = Arc::clone(&bare.resource);
    assert!(Arc::ptr_eq(&resource, &redactor.span(bare).0.resource));
}
