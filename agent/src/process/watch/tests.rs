use super::*;
use crate::config::environment::Environment;
use crate::config::layer::Layer;
use crate::config::{File, resolve};
use crate::process::annotation::INSTRUMENT;
use crate::process::{Container, Namespace, Owner as PodOwner, Pod, PodContainer};

const OWN: u32 = 99;
const ID: &str = "abc123def456";

fn process(pid: u32, executable: Option<&str>) -> Glance {
    let name = executable.and_then(|path| path.rsplit('/').next());
    Glance {
        pid,
        executable: executable.map(Into::into),
        name: name.unwrap_or("short").into(),
        container: None,
        is_container_awaited: false,
        pod: None,
        is_in_pod: false,
        command_line: None,
        units: Vec::new(),
        ports: Vec::new(),
    }
}

fn in_container(name: Option<&str>, image: Option<&str>, labels: &[(&str, &str)]) -> Glance {
    Glance {
        container: Some(Container {
            id: ID.into(),
            name: name.map(Into::into),
            image: image.map(Into::into),
            labels: pairs(labels),
            ..Container::default()
        }),
        ..process(5, Some("/usr/bin/web"))
    }
}

fn pairs(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

/// As a file says it below `watch:`, in the form of flows.
fn filter(watch: &str) -> Filter {
    let file = File {
        name: "test.yaml".into(),
        text: format!("watch: {{{watch}}}\n"),
    };
    let resolved = resolve(Some(&file), &Environment::new(), Layer::default()).expect(watch);
    Filter::new(&resolved.config.watch, OWN)
}

fn check(watch: &str, process: &Glance, expect: &Why) {
    assert_eq!(filter(watch).decide(process).why, *expect, "{watch} {process:?}");
}

#[test]
fn everything_but_spanwire_itself() {
    assert!(!filter("").is_selective());
    check("", &process(5, None), &Why::Everything);
    check("", &process(OWN, None), &Why::Own);
    check("pid: [99]", &process(OWN, None), &Why::Own);
    check("include: [{executables: ['*']}]", &process(OWN, None), &Why::Own);
}

#[test]
fn one_of_each_flat_key_has_to_fit() {
    let watch = "pid: [5, 6], exe: [nginx, /opt/*/server]";
    assert!(filter(watch).is_selective());
    let flat = Why::Flat(vec!["watch.pid", "watch.exe"]);
    check(watch, &process(5, Some("/usr/sbin/nginx")), &flat);
    check(watch, &process(6, Some("/opt/shop/server")), &flat);
    check(watch, &process(7, Some("/usr/sbin/nginx")), &Why::NotAskedFor);
    check(watch, &process(5, Some("/usr/bin/node")), &Why::NotAskedFor);
    check(watch, &process(5, Some("/opt/a/b/server")), &Why::NotAskedFor);
}

#[test]
fn without_a_path_the_short_name_is_matched() {
    check("exe: ['sho*']", &process(5, None), &Why::Flat(vec!["watch.exe"]));
    check("exe: [/**]", &process(5, None), &Why::NotAskedFor);
}

#[test]
fn containers_by_name_or_beginning_of_the_id() {
    let web = in_container(Some("web"), None, &[]);
    let flat = |wanted: &str| {
        filter(&format!("container: [{wanted}]"))
            .decide(&web)
            .is_watched()
    };
    let selected = |wanted: &str| {
        filter(&format!("include: [{{containers: ['{wanted}']}}]"))
            .decide(&web)
            .is_watched()
    };
    for (wanted, fits) in [
        ("web", true),
        ("we", false),
        ("abc1", true),
        ("abc", false),
        (ID, true),
        ("bc123", false),
    ] {
        assert_eq!((flat(wanted), selected(wanted)), (fits, fits), "{wanted}");
    }
    assert!(selected("w*") && !flat("w*"));
    assert!(!filter("container: [web]").decide(&process(5, None)).is_watched());
}

#[test]
fn an_exclusion_goes_before_whatever_selects() {
    let watch =
        "pid: [5], include: [{executables: ['*']}], exclude: [{executables: [sshd]}, {executables: [cron]}]";
    check(watch, &process(5, Some("/usr/sbin/cron")), &Why::Excluded(1));
    check(
        watch,
        &process(5, Some("/usr/sbin/nginx")),
        &Why::Flat(vec!["watch.pid"]),
    );
    check(watch, &process(6, Some("/usr/sbin/nginx")), &Why::Included(0));
    // Alone, it leaves all others.
    let watch = "exclude: [{executables: [sshd]}]";
    assert!(filter(watch).is_selective());
    check(watch, &process(6, Some("/usr/sbin/nginx")), &Why::Everything);
    check(watch, &process(6, Some("/usr/sbin/sshd")), &Why::Excluded(0));
}

#[test]
fn the_first_selector_that_fits_says_what_holds() {
    let watch = "include: [{executables: [web], service_name: first, sample: 0.5, redaction: strict}, \
                 {executables: ['w*'], service_name: second, propagate: [http1]}, {executables: [x]}]";
    let filter = filter(watch);
    let own = |executable: &str| filter.decide(&process(5, Some(executable))).own;
    let first = own("/web").unwrap();
    assert_eq!(first.service_name.as_deref(), Some("first"));
    assert_eq!((first.sample, first.propagate), (Some(0.5), None));
    assert_eq!(first.redaction, Some(RuleSet::Strict));
    let second = own("/wb").unwrap();
    assert_eq!(second.service_name.as_deref(), Some("second"));
    assert_eq!(second.propagate, Some(spanwire_ebpf::propagate::HTTP1));
    assert_eq!(own("/x"), None);
    assert_eq!(own("/y"), None);
}

#[test]
fn all_given_kinds_of_a_selector_have_to_fit() {
    let watch = "include: [{executables: [python3], command_lines: ['*gunicorn*'], ports: [8000-8010], units: [shop]}]";
    let fits = Glance {
        command_line: Some("/usr/bin/python3 /usr/bin/gunicorn shop:app".into()),
        ports: vec![22, 8003],
        units: vec!["shop.service".into(), "system.slice".into()],
        ..process(5, Some("/usr/bin/python3"))
    };
    check(watch, &fits, &Why::Included(0));
    let others = [
        Glance {
            name: "node".into(),
            executable: Some("/usr/bin/node".into()),
            ..fits.clone()
        },
        Glance {
            command_line: Some("/usr/bin/python3 app.py".into()),
            ..fits.clone()
        },
        Glance {
            command_line: None,
            ..fits.clone()
        },
        Glance {
            ports: vec![8011],
            ..fits.clone()
        },
        Glance {
            ports: Vec::new(),
            ..fits.clone()
        },
        Glance {
            units: vec!["shop.scope".into()],
            ..fits.clone()
        },
        Glance {
            units: Vec::new(),
            ..fits.clone()
        },
    ];
    for other in others {
        check(watch, &other, &Why::NotAskedFor);
    }
}

#[test]
fn units_with_and_without_what_they_end_with() {
    let nginx = Glance {
        units: vec!["nginx.service".into(), "system-web.slice".into()],
        ..process(5, None)
    };
    for (wanted, fits) in [
        ("nginx", true),
        ("nginx.service", true),
        ("ngi*", true),
        ("system-web.slice", true),
        ("system-web", false),
        ("*.scope", false),
    ] {
        let decision = filter(&format!("include: [{{units: ['{wanted}']}}]")).decide(&nginx);
        assert_eq!(decision.is_watched(), fits, "{wanted}");
    }
}

#[test]
fn images_in_every_way_that_people_name_them() {
    let check = |image: &str, wanted: &str, fits: bool| {
        let decision = filter(&format!("include: [{{images: ['{wanted}']}}]")).decide(&in_container(
            None,
            Some(image),
            &[],
        ));
        assert_eq!(decision.is_watched(), fits, "{image} {wanted}");
    };
    let image = "registry:5000/shop/cart:1.2";
    for wanted in [
        image,
        "registry:5000/shop/cart",
        "cart:1.2",
        "cart",
        "registry:5000/*",
        "*/cart*",
        "cart:1.*",
    ] {
        check(image, wanted, true);
        check(&format!("{image}@sha256:0123"), wanted, true);
    }
    for wanted in [
        "registry",
        "shop/cart",
        "cart:1.3",
        "car",
        "registry:5000/other/*",
    ] {
        check(image, wanted, false);
    }
    check("localhost:5000/web", "web", true);
    check("localhost:5000/web", "localhost", false);
    assert!(
        !filter("include: [{images: ['*']}]")
            .decide(&in_container(None, None, &[]))
            .is_watched()
    );
}

#[test]
fn every_label_that_is_asked_for_has_to_fit() {
    let check = |wanted: &str, fits: bool| {
        let labelled = in_container(None, None, &[("team", "blue"), ("tier", "7")]);
        let decision = filter(&format!("include: [{{container_labels: {{{wanted}}}}}]")).decide(&labelled);
        assert_eq!(decision.is_watched(), fits, "{wanted}");
    };
    check("team: blue", true);
    check("team: 'bl*', tier: 7", true);
    check("team: blue, tier: 8", false);
    check("owner: '*'", false);
    check("team: '*'", true);
}

fn in_pod() -> Glance {
    let namespace = Namespace {
        name: "shop".into(),
        ..Namespace::default()
    };
    let owner = |kind: &str, name: &str| PodOwner {
        kind: kind.into(),
        name: name.into(),
        ..PodOwner::default()
    };
    let pod = Pod {
        uid: "1".into(),
        name: "cart-5d8f-x2k".into(),
        namespace: Arc::new(namespace),
        labels: pairs(&[("app", "cart"), ("track", "stable")]),
        annotations: pairs(&[("trace", "yes")]),
        owners: vec![owner("ReplicaSet", "cart-5d8f"), owner("Deployment", "cart")],
        containers: vec![PodContainer {
            id: Some(ID.into()),
            name: "server".into(),
            ..PodContainer::default()
        }],
        ..Pod::default()
    };
    Glance {
        pod: Some(Arc::new(pod)),
        ..in_container(None, None, &[])
    }
}

#[test]
fn what_kubernetes_says_of_a_pod() {
    let check = |wanted: &str, fits: bool| {
        let filter = filter(&format!("include: [{{kubernetes: {{{wanted}}}}}]"));
        assert!(filter.asks().container);
        assert_eq!(filter.decide(&in_pod()).is_watched(), fits, "{wanted}");
        assert!(!filter.decide(&process(5, None)).is_watched(), "{wanted}");
    };
    check("namespaces: [shop]", true);
    check("namespaces: [other, 'sh*']", true);
    check("namespaces: [other]", false);
    check("labels: {app: cart}", true);
    check("labels: {app: cart, track: canary}", false);
    check("annotations: {trace: 'y*'}", true);
    check("annotations: {trace: no}", false);
    check("owners: [cart]", true);
    check("owners: [Deployment/cart]", true);
    check("owners: ['ReplicaSet/*']", true);
    check("owners: [StatefulSet/cart, 'Job/*']", false);
    check("pods: ['cart-*']", true);
    check("pods: [cart]", false);
    check("containers: [server]", true);
    check("containers: [sidecar]", false);
    check(
        "namespaces: [shop], labels: {app: cart}, owners: [cart], containers: [server]",
        true,
    );
    check(
        "namespaces: [shop], labels: {app: cart}, owners: [cart], containers: [sidecar]",
        false,
    );
}

#[test]
fn nothing_is_read_that_nobody_asks_for() {
    let asks = |watch: &str| filter(watch).asks().clone();
    assert_eq!(
        asks("pid: [1], exe: [nginx], include: [{executables: [x]}]"),
        Asks::default()
    );
    assert!(asks("container: [web]").container && asks("exclude: [{images: [x]}]").container);
    assert!(asks("exclude: [{command_lines: [x]}]").command_line);
    assert!(asks("include: [{units: [x]}]").units);
    let ports = asks("include: [{ports: [80]}], exclude: [{ports: [90-95]}]").ports;
    let expect = [(80, 80), (90, 95)].map(|(first, last)| PortRange { first, last });
    assert_eq!(*ports, expect);
    assert!(!asks("include: [{ports: [80]}]").ports.is_empty());
    assert_eq!(asks("exe: [x]"), Asks::default());
}

#[test]
fn why_in_words() {
    let said = |watch: &str, process: &Glance| filter(watch).decide(process).why.to_string();
    let nginx = process(5, Some("/usr/sbin/nginx"));
    assert_eq!(said("", &nginx), "all is watched that nothing excludes");
    assert_eq!(said("pid: [5], exe: [nginx]", &nginx), "watch.pid, watch.exe");
    assert_eq!(
        said("include: [{executables: [x]}, {executables: [nginx]}]", &nginx),
        "watch.include[1]"
    );
    assert_eq!(
        said("exclude: [{executables: [nginx]}]", &nginx),
        "excluded by watch.exclude[0]"
    );
    assert_eq!(said("exe: [x]", &nginx), "not asked for");
    assert_eq!(said("", &process(OWN, None)), "own process");
}

#[test]
fn a_command_line_is_not_told_to_logs() {
    let secret = Glance {
        command_line: Some("server --token hunter2".into()),
        ..process(5, None)
    };
    assert!(!format!("{secret:?}").contains("hunter2"));
}

#[test]
fn in_a_cluster_annotations_decide_and_then_whoever_is_named() {
    let pod = |annotation: Option<&str>| {
        let annotations = annotation.map(|value| (INSTRUMENT.to_owned(), value.to_owned()));
        Some(Arc::new(Pod {
            annotations: annotations.into_iter().collect(),
            ..Pod::default()
        }))
    };
    let check = |filter: &Filter, pod: Option<Arc<Pod>>, expect: Why| {
        let process = Glance {
            pod,
            ..process(5, Some("/usr/sbin/nginx"))
        };
        assert_eq!(filter.decide(&process).why, expect, "{filter:?} {process:?}");
    };
    let off = filter("").in_cluster(false);
    assert!(off.is_selective());
    check(&off, None, Why::NotAskedFor);
    check(&off, pod(None), Why::NotAskedFor);
    check(&off, pod(Some("true")), Why::Annotated);
    check(&off, pod(Some("false")), Why::NotByAnnotation);
    let on = filter("").in_cluster(true);
    check(&on, None, Why::NotAskedFor);
    check(&on, pod(None), Why::ByDefault);
    check(&on, pod(Some("false")), Why::NotByAnnotation);
    check(&on, pod(Some("yes")), Why::NotByAnnotation);
    let named = filter("exe: [nginx]").in_cluster(false);
    check(&named, None, Why::Flat(vec!["watch.exe"]));
    check(&named, pod(None), Why::Flat(vec!["watch.exe"]));
    check(&named, pod(Some("false")), Why::NotByAnnotation);
    let others = filter("exe: [node]").in_cluster(true);
    check(&others, pod(None), Why::NotAskedFor);
    check(&others, pod(Some("true")), Why::Annotated);
    // What the configuration's owner excludes, nobody else includes.
    let excluding = filter("exclude: [{executables: [nginx]}]").in_cluster(true);
    check(&excluding, pod(Some("true")), Why::Excluded(0));
    let but = filter("exclude: [{executables: [node]}]").in_cluster(false);
    check(&but, pod(None), Why::NotAskedFor);
    check(&but, pod(Some("true")), Why::Annotated);
    // Without a cluster an annotation is nothing.
    check(&filter(""), pod(Some("false")), Why::Everything);
    for why in [Why::Annotated, Why::ByDefault] {
        assert!(Decision { why, own: None }.is_watched());
    }
    for why in [Why::NotByAnnotation, Why::NotAskedFor] {
        assert!(!Decision { why, own: None }.is_watched());
    }
}

#[test]
fn a_pod_of_which_nothing_is_known_is_not_watched() {
    let unknown = Glance {
        is_in_pod: true,
        ..process(5, Some("/usr/sbin/nginx"))
    };
    for watch in ["", "exe: [nginx]", "include: [{executables: [nginx]}]"] {
        let filter = filter(watch).in_cluster(true);
        assert_eq!(filter.decide(&unknown).why, Why::UnknownPod, "{watch}");
        assert!(!filter.decide(&unknown).is_watched(), "{watch}");
    }
    // Without a cluster nobody will ever know.
    assert_eq!(filter("").decide(&unknown).why, Why::Everything);
}

#[test]
fn what_may_be_excluded_waits_until_its_container_is_known() {
    let awaited = Glance {
        is_container_awaited: true,
        ..in_container(None, None, &[])
    };
    let watch = "exclude: [{container_labels: {team: red}}]";
    check(watch, &awaited, &Why::UnknownContainer);
    check(watch, &in_container(None, None, &[]), &Why::Everything);
    let red = in_container(Some("web"), None, &[("team", "red")]);
    check(watch, &red, &Why::Excluded(0));
    // Where no exclusion depends on it, nobody waits.
    check("exclude: [{executables: [sshd]}]", &awaited, &Why::Everything);
    check("include: [{executables: [web]}]", &awaited, &Why::Included(0));
}
