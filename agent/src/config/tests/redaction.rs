//! What is taken out of spans.

use super::*;

#[test]
fn print_shows_what_the_set_comes_to() {
    let yaml = from("redaction: {set: strict, kept_keys: [my_token]}\n", &[], "")
        .unwrap()
        .yaml();
    let start = yaml.find("redaction:").unwrap();
    let section = &yaml[start..yaml.find("output:").unwrap()];
    let begins = "\
redaction:
  set: strict  # from spanwire.yaml
  shapes:  # by redaction.set
  - card
  - email
";
    assert!(section.starts_with(begins), "{section}");
    for line in [
        "  - opaque\n",
        "  keys:  # by redaction.set\n",
        "  - '*token'\n",
        "  kept_keys:  # from spanwire.yaml\n  - my_token\n",
        "  all_query_values: true  # by redaction.set\n",
        "  sql_literals: true  # by redaction.set\n",
    ] {
        assert!(section.contains(line), "{line} in {section}");
    }
    let again = from(&yaml, &[], "").unwrap();
    assert_eq!(
        again.yaml().replace("# by redaction.set", "# from spanwire.yaml"),
        yaml.replace("# by redaction.set", "# from spanwire.yaml")
            .replace("# default", "# from spanwire.yaml")
    );
}

#[test]
fn what_is_not_set_follows_from_the_set() {
    let redaction = |text: &str, variables: &[_]| from(text, variables, "").unwrap().config.redaction;
    let none = redaction("", &[("SPANWIRE_REDACTION", "none")]);
    assert_eq!(
        (none.shapes, none.keys, none.sql_literals),
        (Some(vec![]), Some(vec![]), Some(false))
    );
    let few = redaction(
        "redaction: {set: none, shapes: [card], extra_keys: [my_key]}\n",
        &[],
    );
    assert_eq!(
        (few.shapes, few.all_query_values),
        (Some(vec![Shape::Card]), Some(false))
    );
    let strict = redaction("", &[("SPANWIRE_REDACTION", "strict")]);
    assert!(strict.shapes.unwrap().contains(&Shape::UniqueId) && strict.all_query_values == Some(true));
}

#[test]
fn what_is_wrong_says_where_and_what_is_allowed() {
    let wrong = |text: &str, variables: &[_]| from(text, variables, "").unwrap_err().to_string();
    for (text, expect) in [
        (
            "redaction:\n  set: strickt\n",
            "wrong value for `redaction.set` at spanwire.yaml:2: `strickt` is not one of strict, standard, none; did you \
             mean `strict`?",
        ),
        (
            "redaction:\n  shapes: [card, emial]\n",
            "wrong value for `redaction.shapes[1]` at spanwire.yaml:2: `emial` is not one of card, email, iban, jwt, \
             credentials, phone, long_hex, api_key, user_information, unique_id, number, opaque; did you mean `email`?",
        ),
        (
            "redaction:\n  rules:\n    - atributes: [url.path]\n      action: drop\n",
            "unknown key `atributes` at spanwire.yaml:3, did you mean `attributes`?",
        ),
        (
            "redaction:\n  rules:\n    - attributes: [url.path]\n      action: replace\n      pattern: 'a('\n",
            "wrong value for `redaction.rules[0].pattern` at spanwire.yaml:5: `a(` is not a regular expression: unclosed \
             group",
        ),
        (
            "redaction: {rules: [{attributes: [url.path], action: replace}]}\n",
            "`redaction.rules` (from spanwire.yaml) has a rule (the one at place 1) that replaces, and has no `pattern` \
             that says what",
        ),
        (
            "redaction: {rules: [{attributes: [url.path], action: keep}, {attributes: [url.path], action: hash}]}\n",
            "`redaction.rules` (from spanwire.yaml) has a rule (the one at place 2) that hashes, and there is no key: set \
             `redaction.hash_key_file` or SPANWIRE_HASH_KEY",
        ),
        (
            "redaction: {rules: [{attributes: [span.name], action: drop}]}\n",
            "`redaction.rules` (from spanwire.yaml) has a rule (the one at place 1) that drops `span.name`, which each \
             span has; use `replace`",
        ),
        (
            "redaction: {keys: ['*']}\n",
            "wrong value for `redaction.keys[0]` at spanwire.yaml:1: `*` is not a name such as `password` or `*token`: it \
             needs letters or digits, and `*` only in front",
        ),
    ] {
        assert_eq!(wrong(text, &[]), expect);
    }
    let short = wrong("", &[("SPANWIRE_HASH_KEY", "hunter2")]);
    assert_eq!(
        short,
        "`redaction.hash_key` (from $SPANWIRE_HASH_KEY) has less than 16 characters"
    );
    let file = "redaction: {hash_key_file: /key}\n";
    let both = wrong(file, &[("SPANWIRE_HASH_KEY", "0123456789abcdef")]);
    let expect = "`redaction.hash_key_file` (from spanwire.yaml) does not go with `redaction.hash_key` \
                  (SPANWIRE_HASH_KEY); leave one of them out";
    assert_eq!(both, expect);
}

#[test]
fn the_key_for_hashes_is_never_shown() {
    let key = "hunter2-hunter2-hunter2";
    let resolved = from("", &[("SPANWIRE_HASH_KEY", key)], "").unwrap();
    assert!(
        resolved
            .yaml()
            .contains("hash_key: '********'  # from $SPANWIRE_HASH_KEY")
    );
    assert!(!format!("{:?}", resolved.config).contains("hunter2"));
    let wrong = from("redaction: {hash_key: [hunter2]}\n", &[], "")
        .unwrap_err()
        .to_string();
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let wrong = from("redaction: {hash_key: \"hunter2\\n\"}\n", &[], "")
        .unwrap_err()
        .to_string();
    assert!(!wrong.contains("hunter2"), "{wrong}");
}
