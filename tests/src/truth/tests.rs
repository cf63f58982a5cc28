use super::*;
use crate::span::Attributes;

const ORDER: &str = "
CLIENT load GET: /order/ID
  SERVER front GET: /order/ID
    ? CLIENT front GET: /stock/ID
      SERVER stock GET: /stock/ID
    CLIENT front SELECT: SELECT 'ID'
";

/// The spans of request `number` under [`ORDER`], with ids by their places.
fn spans(number: usize) -> Vec<Span> {
    let places = [
        (Kind::Client, "load", "GET", "/order/", ""),
        (Kind::Server, "front", "GET", "/order/", "1"),
        (Kind::Client, "front", "GET", "/stock/", "2"),
        (Kind::Server, "stock", "GET", "/stock/", "3"),
        (Kind::Client, "front", "SELECT", "", "2"),
    ];
    let spans = (1..)
        .zip(places)
        .map(|(place, (kind, service, name, path, parent))| {
            let id = format!("ID-order-1-{number}");
            let (key, subject) = match path {
                "" => ("db.query.text", format!("SELECT '{id}'")),
                path => ("url.path", format!("{path}{id}")),
            };
            Span {
                resource: Attributes::from([("service.name".to_owned(), service.into())]),
                scope: String::new(),
                schema: String::new(),
                trace_id: format!("{number:08}"),
                span_id: format!("{number}-{place}"),
                parent: match parent {
                    "" => String::new(),
                    parent => format!("{number}-{parent}"),
                },
                state: String::new(),
                kind,
                name: name.to_owned(),
                start: place,
                end: place,
                attributes: Attributes::from([(key.to_owned(), subject.into())]),
                events: Vec::new(),
                links: Vec::new(),
                error: false,
                description: String::new(),
            }
        });
    spans.collect()
}

/// The spans of requests 0 and 1, changed by `change`, are held against [`ORDER`].
fn check(change: impl FnOnce(&mut Vec<Span>)) -> Result<Report> {
    let shape = Shape::parse(ORDER)?;
    let expected = [0, 1].map(|number| (format!("ID-order-1-{number}"), &shape));
    let mut spans = [spans(0), spans(1)].concat();
    change(&mut spans);
    let report = report(&spans, &BTreeMap::from(expected), &["RESET"])?;
    report.all_right()?;
    Ok(report)
}

/// Why it is refused.
fn refused(change: impl FnOnce(&mut Vec<Span>)) -> String {
    check(change).unwrap_err().to_string()
}

#[test]
fn whole_trees() {
    let report = check(|_| ()).unwrap();
    let tally = Tally {
        requests: 2,
        right: 2,
        whole: 2,
        spans: 10,
        ..Tally::default()
    };
    assert_eq!(report.levels(), BTreeMap::from([(1, tally)]));
}

#[test]
fn a_parent_that_may_be_left_out() {
    let report = check(|spans| {
        spans[2].parent.clear();
        spans[2].trace_id = "2".repeat(8);
        spans[3].trace_id = "2".repeat(8);
    });
    let tally = report.unwrap().levels()[&1];
    assert_eq!((tally.whole, tally.right, tally.open), (2, 1, 1));
}

#[test]
fn a_parent_that_is_due() {
    let said = refused(|spans| {
        spans[4].parent.clear();
        spans[4].trace_id = "2".repeat(8);
    });
    assert!(
        said.contains(
            "1 of 2 requests wholly right; spans: 1 without a parent, 0 with a wrong one (0 not as inferred), 0 missing"
        ),
        "{said}"
    );
    assert!(
        said.contains("\n  22222222 0-5 CLIENT front SELECT: SELECT 'ID' -- Without"),
        "{said}"
    );
}

#[test]
fn wrong_parents() {
    let changes: [fn(&mut Vec<Span>); 8] = [
        // Of another request, with its trace and without.
        |spans| spans[2].parent = "1-2".into(),
        |spans| {
            spans[2].parent = "1-2".into();
            spans[2].trace_id = spans[5].trace_id.clone();
        },
        // Another of the same request.
        |spans| spans[2].parent = "0-1".into(),
        |spans| spans[3].parent = "0-5".into(),
        // None that there is.
        |spans| spans[3].parent = "9-9".into(),
        // In another trace.
        |spans| spans[4].trace_id = "2".repeat(8),
        // Two trees in one trace.
        |spans| spans[4].parent.clear(),
        // Where there should be none.
        |spans| spans[0].parent = "0-2".into(),
    ];
    for change in changes {
        let said = refused(change);
        assert!(said.contains("1 of 2 requests wholly right"), "{said}");
        assert!(said.contains("-- Wrong, its parent is "), "{said}");
    }
}

#[test]
fn a_wrong_parent_is_certain_unless_it_says_otherwise() {
    let mut spans = spans(0);
    let shape = Shape::parse(ORDER).unwrap();
    let expected = BTreeMap::from([("ID-order-1-0".to_owned(), &shape)]);
    spans[3].parent = "0-5".into();
    spans[4].parent = "0-1".into();
    spans[4].attributes.insert(INFERRED.to_owned(), true.into());
    let report = report(&spans, &expected, &[]).unwrap();
    let tally = report.levels()[&1];
    assert_eq!((tally.wrong, tally.certain, tally.right), (2, 1, 0));
    assert!(report.example().unwrap().contains("-- Wrong"));
}

#[test]
fn two_requests_in_one_trace() {
    let said = refused(|spans| {
        for span in &mut spans[5..] {
            span.trace_id = "0".repeat(8);
        }
    });
    assert!(said.contains("0 of 2 requests wholly right"), "{said}");
}

#[test]
fn missing_and_surplus_spans() {
    let said = refused(|spans| drop(spans.remove(3)));
    assert!(said.contains("1 missing"), "{said}");
    assert!(said.contains("missing: SERVER stock GET: /stock/ID"), "{said}");
    let said = refused(|spans| drop(spans.drain(..5)));
    assert!(said.contains("5 missing"), "{said}");
    let said = refused(|spans| {
        let mut again = spans[4].clone();
        again.span_id = "0-6".into();
        spans.push(again);
    });
    assert!(said.contains("1 too many"), "{said}");
    let said = refused(|spans| {
        let other = spans[4].attributes.get_mut("db.query.text").unwrap();
        *other = "SELECT 1".into();
    });
    assert!(
        said.contains("1 spans of no request, such as CLIENT front SELECT: SELECT 1"),
        "{said}"
    );
}

#[test]
fn spans_that_nobody_asked_for() {
    let change = |spans: &mut Vec<Span>| {
        let mut reset = spans[4].clone();
        reset.span_id = "0-6".into();
        let text = reset.attributes.get_mut("db.query.text").unwrap();
        *text = "RESET ALL".into();
        spans.push(reset);
    };
    assert!(check(change).is_ok());
}

#[test]
fn shapes_that_are_none() {
    for text in [
        "  CLIENT a b: c",
        "CLIENT a b: c\n    SERVER a b: c",
        "CLIENT a b: c\n  CLIENT a b: c",
    ] {
        assert!(Shape::parse(text).is_err(), "{text}");
    }
}
