//! `watch.include` and `watch.exclude`.

use super::*;

#[test]
fn every_key_of_a_selector_is_taken_and_printed() {
    let text = "\
watch:
  include:
    - executables: [nginx, '/opt/**']
      command_lines: ['*gunicorn*']
      ports: [80, 8000-8999]
      units: [nginx.service]
      containers: ['web-*']
      images: [ghcr.io/shop/*]
      container_labels: {team: blue}
      kubernetes:
        namespaces: [shop]
        labels: {app: 7}
        annotations: {trace: 'yes'}
        owners: [Deployment/cart]
        pods: ['cart-*']
        containers: [server]
      service_name: front
      sample: 0.25
      propagate: [http1]
      redaction: strict
  exclude:
    - units: ['user@*']
";
    let found = from(text, &[], "").unwrap();
    let [include] = &*found.config.watch.include else {
        panic!("{:?}", found.config.watch);
    };
    assert_eq!(include.executables.len(), 2);
    assert_eq!(include.kubernetes.labels["app"].to_string(), "7");
    assert_eq!(
        include.service_name.as_ref().map(ToString::to_string).as_deref(),
        Some("front")
    );
    assert_eq!(found.config.watch.exclude.len(), 1);
    // What is printed is the same configuration.
    let printed = found.yaml();
    let again = from(&printed, &[], "").expect(&printed);
    assert_eq!(again.config.watch, found.config.watch);
    assert!(printed.contains("include:  # "), "{printed}");
}

#[test]
fn what_is_wrong_with_a_selector_is_said_with_its_place() {
    let check = |text: &str, expect: &str| {
        let error = from(text, &[], "").expect_err(text).to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(
        "watch:\n  include:\n    - executable: [x]\n",
        ":3, did you mean `executables`?",
    );
    check(
        "watch:\n  include:\n    - executables: [x]\n      sample: 2\n",
        "wrong value for `watch.include[0].sample` at ",
    );
    check(
        "watch:\n  include:\n    - executables: [x]\n    - ports: [0]\n",
        "wrong value for `watch.include[1].ports[0]` at ",
    );
    check(
        "watch:\n  include:\n    - kubernetes: {namespace: [x]}\n",
        "did you mean `namespaces`?",
    );
    check(
        "watch: {include: [{executables: [x], service_name: ' '}]}\n",
        "a service's name is not empty",
    );
    // What holds for a selection has no meaning where nothing is watched.
    check(
        "watch: {exclude: [{executables: [x], sample: 1}]}\n",
        "unknown key `sample`",
    );
    check(
        "watch: {include: [{executables: [x]}, {service_name: all}]}\n",
        "`watch.include` (",
    );
    check(
        "watch: {exclude: [{}]}\n",
        "has a selector (the one at place 1) that fits every process",
    );
}
