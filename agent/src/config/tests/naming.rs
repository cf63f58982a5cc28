//! What spans are called, and which are left out.

use super::*;

#[test]
fn what_is_wrong_says_where_and_what_is_allowed() {
    let wrong = |text: &str| from(text, &[], "").unwrap_err().to_string();
    for (text, expect) in [
        (
            "routes:\n  templates:\n    - paths: [orders]\n",
            "wrong value for `routes.templates[0].paths[0]` at spanwire.yaml:3: `orders` is not a route: a route begins with \
             `/`, and its segments are names, `{id}`, `*`, or `**` at the end",
        ),
        (
            "routes: {max_per_service: 5000}\n",
            "`routes.max_per_service` (from spanwire.yaml) is 5000; the most is 4096",
        ),
        (
            "spans:\n  drop: [{services: [cart]}]\n",
            "`spans.drop` (from spanwire.yaml) has a rule (the one at place 1) that drops all that a service does: give \
             `paths` or `user_agents`, or use `watch`",
        ),
        (
            "spans: {rename: [{pattern: a, name: ' '}]}\n",
            "`spans.rename` (from spanwire.yaml) has a rule (the one at place 1) whose `name` is empty",
        ),
        (
            "baggage:\n  attributes: ['a b']\n",
            "wrong value for `baggage.attributes[0]` at spanwire.yaml:2: `a b` is not the name of an entry of baggage",
        ),
    ] {
        assert_eq!(wrong(text), expect);
    }
}

#[test]
fn the_environment_says_it_too() {
    let variables = [
        ("SPANWIRE_LEARN_ROUTES", "false"),
        ("SPANWIRE_BAGGAGE", "tenant, user.tier"),
    ];
    let config = of_variables(&variables).config;
    assert_eq!(
        (config.routes.learn, config.baggage),
        (Some(false), vec!["tenant".into(), "user.tier".into()])
    );
}
