//! Lives of processes, in a made procfs.

use super::super::fake::{FakeProc, FakeProcess};
use super::*;
use crate::span::Value;

fn table(fake: &FakeProc) -> Table {
    Table::new(Proc::at(fake.path()), vec![])
}

fn text(resource: &Resource, key: &str) -> String {
    let found = resource.attributes.iter().find(|attribute| attribute.key == key);
    match found.map(|attribute| &attribute.value) {
        Some(Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    }
}

fn name(table: &mut Table, pid: u32) -> String {
    text(&table.resource(pid), "service.name")
}

fn is_marked(table: &mut Table, pid: u32) -> bool {
    text(&table.resource(pid), "spanwire.process.incomplete") == "Some(Boolean(true))"
}

fn server() -> FakeProcess<'static> {
    FakeProcess::default()
}

fn other() -> FakeProcess<'static> {
    FakeProcess {
        executable: "/usr/bin/other",
        comm: "other",
        arguments: &["other"],
        ..server()
    }
}

#[test]
fn a_process_is_read_once_and_again_after_exec() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = table(&fake);
    let first = table.resource(100);
    assert_eq!(text(&first, "service.name"), "server");
    fake.add(&other());
    assert!(
        Arc::ptr_eq(&first, &table.resource(100)),
        "read again without need"
    );
    table.on_exec(100);
    assert_eq!(name(&mut table, 100), "other");
    assert_eq!(
        text(&table.resource(100), "service.instance.id"),
        text(&first, "service.instance.id")
    );
    assert!(table.has(100) && !table.has(200));
}

#[test]
fn an_ended_process_is_known_for_its_last_spans() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = table(&fake);
    let first = table.resource(100);
    fake.remove(100);
    table.on_exit(100);
    table.on_exit(100);
    assert!(Arc::ptr_eq(&first, &table.resource(100)));
    for pid in 1000..1000 + REMEMBERED as u32 {
        table.on_fork(1, pid);
        table.on_exit(pid);
    }
    assert_eq!(name(&mut table, 100), "unknown_service");
    assert!(table.entries.len() <= REMEMBERED + 2, "{}", table.entries.len());
}

#[test]
fn an_id_that_is_used_again_is_another_process() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = table(&fake);
    let first = table.resource(100);
    table.on_exit(100);
    table.on_fork(1, 100);
    fake.add(&FakeProcess {
        start: 9000,
        ..other()
    });
    assert_eq!(name(&mut table, 100), "other");
    assert_ne!(
        text(&table.resource(100), "service.instance.id"),
        text(&first, "service.instance.id")
    );
    // The end of the first life does not take the second one along.
    for pid in 1000..1001 + REMEMBERED as u32 {
        table.on_fork(1, pid);
        table.on_exit(pid);
    }
    assert_eq!(name(&mut table, 100), "other");
}

#[test]
fn a_process_that_was_gone_before_it_was_read_is_named_by_its_event() {
    let fake = FakeProc::new();
    let mut table = table(&fake);
    table.on_exec(100);
    table.note_comm(100, "curl");
    table.on_exit(100);
    assert_eq!(
        (name(&mut table, 100), is_marked(&mut table, 100)),
        ("curl".into(), true)
    );
    assert_eq!(table.resource(100).pid, 100);
    table.note_comm(101, "wget");
    assert_eq!(name(&mut table, 101), "wget");
    // What was found missing is not looked for again.
    fake.add(&server());
    assert_eq!(name(&mut table, 100), "curl");
}

#[test]
fn a_zombie_still_has_its_short_name() {
    let fake = FakeProc::new();
    fake.add(&FakeProcess {
        state: 'Z',
        comm: "curl",
        ..server()
    });
    let mut table = table(&fake);
    assert_eq!(
        (name(&mut table, 100), is_marked(&mut table, 100)),
        ("curl".into(), true)
    );
}

#[test]
fn a_child_without_a_program_of_its_own_is_what_its_parent_is() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = table(&fake);
    table.on_fork(100, 200);
    assert_eq!(
        (name(&mut table, 200), is_marked(&mut table, 200)),
        ("server".into(), true)
    );
    assert_eq!(text(&table.resource(200), "process.pid"), "Some(Integer(200))");
    // After exec it is not, nor when the parent has become something else since.
    table.on_fork(100, 201);
    table.on_exec(201);
    table.note_comm(201, "curl");
    assert_eq!(name(&mut table, 201), "curl");
    table.on_fork(100, 202);
    table.on_exec(100);
    assert_eq!(name(&mut table, 202), "unknown_service");
}

#[test]
fn ends_that_nobody_told_are_found() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = table(&fake);
    let first = table.resource(100);
    for pid in 1000..1000 + 3 * SWEEP as u32 {
        table.on_fork(1, pid);
    }
    assert!(
        table.entries.len() < SWEEP + 2 * REMEMBERED,
        "{}",
        table.entries.len()
    );
    assert!(Arc::ptr_eq(&first, &table.resource(100)), "what lives is kept");
}

#[test]
fn shared_attributes_are_everyone_s() {
    let fake = FakeProc::new();
    fake.add(&server());
    let mut table = Table::new(Proc::at(fake.path()), vec![("zone".into(), "a".into())]);
    assert_eq!(text(&table.resource(100), "zone"), "a");
    assert_eq!(text(&table.resource(101), "zone"), "a");
}

#[test]
fn what_a_selector_says_goes_before_annotations_and_those_before_the_environment() {
    use super::super::{Namespace, Pod, Pods};
    const UID: &str = "3f0c2a8e-7f5b-4a57-9f57-3a8c3d6f1b2a";
    let fake = FakeProc::new();
    fake.add(&FakeProcess {
        cgroup: &format!("0::/kubepods/burstable/pod{UID}\n"),
        environment: &["OTEL_SERVICE_NAME=declared"],
        ..server()
    });
    let pods = Arc::new(Pods::default());
    let proc = Proc::at(fake.path()).knowing(Arc::clone(&pods));
    let mut table = Table::new(proc, vec![]).propagating(
        Policy {
            protocols: 0b11,
            breaks_fionread: false,
        },
        0b11,
    );
    let annotate = |annotations: &[(&str, &str)]| {
        let annotations = annotations
            .iter()
            .map(|(key, value)| (format!("spanwire.dev/{key}"), (*value).to_owned()));
        pods.put(Pod {
            uid: UID.into(),
            namespace: Arc::new(Namespace::default()),
            annotations: annotations.collect(),
            ..Pod::default()
        });
    };
    let mut found = |own: Option<Own>| {
        table.on_place(100);
        table.follow(100, own.map(Arc::new));
        let resource = table.resource(100);
        let name = text(&resource, "service.name");
        (name, resource.own.sample, table.propagates(100))
    };
    let own = Own {
        service_name: Some("selected".into()),
        sample: Some(0.25),
        propagate: Some(0b01),
        redaction: None,
    };
    let silent = Own {
        service_name: None,
        sample: None,
        propagate: None,
        redaction: Some(crate::config::RuleSet::Strict),
    };
    annotate(&[]);
    assert_eq!(found(None), ("declared".into(), None, 0b11));
    assert_eq!(found(Some(own.clone())), ("selected".into(), Some(0.25), 0b01));
    annotate(&[
        ("service-name", "annotated"),
        ("sample", "0.5"),
        ("propagate", "false"),
    ]);
    assert_eq!(found(None), ("annotated".into(), Some(0.5), 0));
    assert_eq!(found(Some(silent)), ("annotated".into(), Some(0.5), 0));
    // Nobody has more done to a service than its owner lets.
    assert_eq!(found(Some(own)), ("selected".into(), Some(0.25), 0));
}
