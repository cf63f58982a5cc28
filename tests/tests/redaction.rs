//! The corpus of secrets, and of what only looks like them, through each place of a request where a value can be, and to each
//! output.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{self, Hooks, Options};
use spanwire_tests::port;
use spanwire_tests::receiver::Receiver;
use spanwire_tests::session::{Protocol, Session};
use spanwire_tests::wire::{self, Round, Talk, amqp, http1, http2, postgres};

spanwire_tests::live!(
    what_is_secret_is_in_no_output,
    what_is_not_secret_stays_as_it_is,
    live_traffic_leaves_no_secret_either,
);

const CORPUS: &str = include_str!("../corpus/redaction.tsv");

/// A value of the corpus.
#[derive(Clone, Debug)]
struct Value {
    kind: &'static str,
    text: String,
    /// What of it must not be seen; nothing where all of it has to stay.
    secrets: Vec<String>,
}

fn values() -> Vec<Value> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &'static str| {
        let (kind, value) = line.split_once('\t').expect("a tab");
        let value = value.replace('¦', "");
        let text = value.replace("[[", "").replace("]]", "");
        let marked = value.split("[[").skip(1).filter_map(|part| part.split_once("]]"));
        let marked: Vec<_> = marked.map(|(secret, _)| secret.to_owned()).collect();
        let secrets = match (kind.starts_with('+'), marked.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![text.clone()],
            (true, false) => marked,
        };
        let kind = &kind[1..];
        Value { kind, text, secrets }
    };
    lines.map(value).collect()
}

/// Percent-encoded but for letters and digits.
fn encoded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

fn only(text: &str, more: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
}

/// A place where a value can be.
struct Place {
    name: &'static str,
    /// Whether it can be there at all.
    fits: fn(&Value) -> bool,
    talks: fn(&[Value]) -> Vec<Talk>,
}

/// One connection of HTTP/1, a request for each value.
fn requests(values: &[Value], round: impl Fn(&str) -> Round) -> Vec<Talk> {
    vec![values.iter().map(|value| round(&value.text)).collect()]
}

fn session(values: &[Value], round: impl Fn(&str) -> Round) -> Vec<Talk> {
    let rounds = values.iter().map(|value| round(&value.text));
    vec![[postgres::startup("shop")].into_iter().chain(rounds).collect()]
}

fn messages(values: &[Value], round: impl Fn(&str) -> Round) -> Vec<Talk> {
    let rounds = values.iter().map(|value| round(&value.text));
    vec![amqp::opening().into_iter().chain(rounds).collect()]
}

/// Where numbers are what it is for.
fn is_no_number(value: &Value) -> bool {
    !matches!(value.kind, "long_hex" | "phone")
}

/// Of headers, what is around a value does not count.
fn is_trimmed(value: &Value) -> bool {
    value.text.trim() == value.text
}

const TOKEN: &str = "!#$%&'*+-.^_`|~";

const PLACES: &[Place] = &[
    Place {
        name: "a segment of a path",
        fits: |_| true,
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", &format!("/a/{}/b", encoded(text)), "host: e.com\r\n", "")
            })
        },
    },
    Place {
        name: "a value of a query",
        fits: |_| true,
        talks: |values| {
            requests(values, |text| {
                http1::round(
                    "GET",
                    &format!("/?q={}&b=2", encoded(text)),
                    "host: e.com\r\n",
                    "",
                )
            })
        },
    },
    Place {
        name: "a query as it is",
        fits: |value| only(&value.text, "-._~!$'()*,;:@/?=+"),
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", &format!("/?{text}"), "host: e.com\r\n", "")
            })
        },
    },
    Place {
        name: "a user agent",
        fits: is_trimmed,
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", "/", &format!("host: e.com\r\nuser-agent: {text}\r\n"), "")
            })
        },
    },
    Place {
        name: "a header of a request",
        fits: is_trimmed,
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", "/", &format!("host: e.com\r\nx-any: {text}\r\n"), "")
            })
        },
    },
    Place {
        name: "a URL in a header",
        fits: |_| true,
        talks: |values| {
            let referer = |text: &str| {
                format!(
                    "host: e.com\r\nreferer: https://e.com/?q={}&b=2\r\n",
                    encoded(text)
                )
            };
            requests(values, |text| http1::round("GET", "/", &referer(text), ""))
        },
    },
    Place {
        name: "a header of a response",
        fits: is_trimmed,
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", "/", "host: e.com\r\n", &format!("x-any: {text}\r\n"))
            })
        },
    },
    Place {
        name: "a correlation id",
        fits: |value| is_trimmed(value) && is_no_number(value),
        talks: |values| {
            requests(values, |text| {
                http1::round(
                    "GET",
                    "/",
                    &format!("host: e.com\r\nx-request-id: {text}\r\n"),
                    "",
                )
            })
        },
    },
    Place {
        name: "a method",
        fits: |value| only(&value.text, TOKEN),
        talks: |values| requests(values, |text| http1::round(text, "/", "host: e.com\r\n", "")),
    },
    Place {
        name: "the name of a host",
        fits: |value| only(&value.text, "-._") && is_no_number(value),
        talks: |values| {
            requests(values, |text| {
                http1::round("GET", "/", &format!("host: {text}\r\n"), "")
            })
        },
    },
    Place {
        name: "tracestate",
        fits: |value| only(&value.text, "-._~!$'()*;:@/?+") && is_no_number(value),
        talks: |values| {
            let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
            let fields = |text: &str| format!("host: e.com\r\n{parent}tracestate: congo={text}\r\n");
            requests(values, |text| http1::round("GET", "/", &fields(text), ""))
        },
    },
    Place {
        name: "a path of HTTP/2",
        fits: |_| true,
        talks: |values| {
            let targets = values
                .iter()
                .map(|value| format!("/a/{0}?q={0}", encoded(&value.text)));
            vec![http2::requests(&targets.collect::<Vec<_>>())]
        },
    },
    Place {
        name: "a method of gRPC",
        fits: |_| true,
        talks: |values| {
            let calls = values
                .iter()
                .map(|value| (format!("/shop.Stock/{}", encoded(&value.text)), String::new()));
            vec![http2::calls(&calls.collect::<Vec<_>>())]
        },
    },
    Place {
        name: "an error of gRPC",
        fits: |_| true,
        talks: |values| {
            let calls = values
                .iter()
                .map(|value| ("/shop.Stock/Get".to_owned(), encoded(&value.text)));
            vec![http2::calls(&calls.collect::<Vec<_>>())]
        },
    },
    Place {
        name: "a literal",
        fits: |value| !value.secrets.is_empty() && !value.text.contains('\''),
        talks: |values| {
            session(values, |text| {
                postgres::query(&format!("SELECT '{}'", text.replace('\'', "''")))
            })
        },
    },
    Place {
        name: "a comment",
        fits: |value| !value.secrets.is_empty(),
        talks: |values| session(values, |text| postgres::query(&format!("SELECT a /* {text} */"))),
    },
    Place {
        name: "a name in a statement",
        fits: |value| value.kind != "key",
        talks: |values| {
            session(values, |text| {
                postgres::query(&format!("SELECT a FROM \"{}\"", text.replace('"', "\"\"")))
            })
        },
    },
    Place {
        name: "the name of a statement",
        fits: |_| true,
        talks: |values| session(values, postgres::prepared),
    },
    Place {
        name: "a database",
        fits: |_| true,
        talks: |values| {
            let session = |value: &Value| vec![postgres::startup(&value.text), postgres::query("SELECT a")];
            values.iter().map(session).collect()
        },
    },
    Place {
        name: "a routing key",
        fits: |value| value.text.len() < 256,
        talks: |values| messages(values, |text| amqp::publish("shop", text, "", "")),
    },
    Place {
        name: "an exchange",
        fits: |value| value.text.len() < 256,
        talks: |values| messages(values, |text| amqp::publish(text, "", "", "")),
    },
    Place {
        name: "a header of a message",
        fits: |_| true,
        talks: |values| messages(values, |text| amqp::publish("shop", "key", text, "")),
    },
    Place {
        name: "the id of a message",
        fits: |value| value.text.len() < 256 && is_no_number(value),
        talks: |values| messages(values, |text| amqp::publish("shop", "key", "", text)),
    },
];

/// Places that only a server tells of, and so no capture.
const SERVERS: &[Place] = &[Place {
    name: "a scheme that a proxy names",
    fits: |value| only(&value.text, "+-."),
    talks: |values| {
        requests(values, |text| {
            http1::round(
                "GET",
                "/",
                &format!("host: e.com\r\nx-forwarded-proto: {text}\r\n"),
                "",
            )
        })
    },
}];

impl Place {
    fn of(&self, values: &[Value]) -> Vec<Value> {
        values
            .iter()
            .filter(|value| (self.fits)(value))
            .cloned()
            .collect()
    }
}

const SETTINGS: &str = "
http:
  captured_request_headers: [x-any, referer, x-request-id]
  captured_response_headers: [x-any]
messaging:
  captured_headers: [x-any]
";

/// What comes out somewhere of what a capture holds: its name, and all text of it, that of the log apart.
type Output = (&'static str, fn(&Path, &[&str]) -> Result<[String; 2]>);

/// Every way out of spanwire. A new one takes a line.
const OUTPUTS: &[Output] = &[
    ("OTLP JSON", |folder, flags| {
        replay(folder, &[&["--output", "otlp-json"], flags].concat(), "")
    }),
    ("the terminal", |folder, flags| {
        replay(folder, &[&["--output", "tree"], flags].concat(), "")
    }),
    ("the log", |folder, flags| {
        replay(folder, &[&["--output", "none", "--stats"], flags].concat(), "")
    }),
    ("OTLP", |folder, flags| {
        let receiver = Receiver::start()?;
        let export = format!(
            "export: {{otlp: {{endpoint: 'http://{}'}}}}\nbatch: {{max_queue_size: 100000}}\n",
            receiver.http
        );
        let said = replay(folder, &[&["--output", "none"], flags].concat(), &export)?;
        Ok([format!("{:?}", receiver.spans()?), said.concat()])
    }),
];

/// Standard output and standard error, with all that can be logged, of a replay of `capture.pcap` in `folder`.
fn replay(folder: &Path, flags: &[&str], more_settings: &str) -> Result<[String; 2]> {
    let settings = folder.join("spanwire.yaml");
    std::fs::write(&settings, format!("{SETTINGS}{more_settings}"))?;
    let mut command = Command::new(agent::binary()?);
    command
        .arg("replay")
        .arg("--config")
        .arg(&settings)
        .args(flags)
        .arg(folder.join("capture.pcap"));
    command.env("RUST_LOG", "trace").env_remove("SPANWIRE_BIN");
    let output = command.output()?;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{err}");
    Ok([out, err])
}

/// The forms in which a text may be found: as it is, encoded, and within a JSON or Rust string.
fn forms(text: &str) -> BTreeSet<String> {
    let quoted = serde_json::to_string(text).expect("a text");
    let debug = format!("{text:?}");
    let inner = |text: &str| text[1..text.len() - 1].to_owned();
    [text.to_owned(), encoded(text), inner(&quoted), inner(&debug)].into()
}

fn what_is_secret_is_in_no_output() -> Result<()> {
    let values: Vec<_> = values()
        .into_iter()
        .filter(|value| !value.secrets.is_empty())
        .collect();
    ensure!(values.len() > 200, "{}", values.len());
    let folder = tempfile::tempdir()?;
    let mut leaks = Vec::new();
    for place in PLACES {
        let values = place.of(&values);
        std::fs::write(
            folder.path().join("capture.pcap"),
            wire::pcap(&(place.talks)(&values)),
        )?;
        // It would be there: else the test shows nothing.
        let (_, json) = OUTPUTS[0];
        let [bare, _] = json(folder.path(), &["--no-redact"])?;
        let shows = |text: &str, secret: &String| forms(secret).iter().any(|form| text.contains(form));
        for value in &values {
            ensure!(
                value.secrets.iter().all(|it| shows(&bare, it)),
                "{}: {value:?} is not there",
                place.name
            );
        }
        for (name, output) in OUTPUTS {
            let shown = output(folder.path(), &[])?.concat();
            for value in &values {
                if value.secrets.iter().any(|it| shows(&shown, it)) {
                    leaks.push(format!(
                        "{} of {} in {name}: {}",
                        value.kind, place.name, value.text
                    ));
                }
            }
        }
    }
    ensure!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    Ok(())
}

fn what_is_not_secret_stays_as_it_is() -> Result<()> {
    let values: Vec<_> = values()
        .into_iter()
        .filter(|value| value.secrets.is_empty())
        .collect();
    ensure!(values.len() > 200, "{}", values.len());
    let folder = tempfile::tempdir()?;
    for place in PLACES {
        let values = place.of(&values);
        std::fs::write(
            folder.path().join("capture.pcap"),
            wire::pcap(&(place.talks)(&values)),
        )?;
        for (name, output) in &OUTPUTS[..2] {
            let [bare, shown] = [&["--no-redact"][..], &[]].map(|flags| output(folder.path(), flags));
            let ([bare, _], [shown, _]) = (bare?, shown?);
            ensure!(bare.lines().count() == shown.lines().count());
            for (bare, shown) in bare.lines().zip(shown.lines()) {
                let at = bare
                    .bytes()
                    .zip(shown.bytes())
                    .take_while(|(one, other)| one == other)
                    .count();
                let around = |text: &str| {
                    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..text.len().min(at + 60)])
                        .into_owned()
                };
                ensure!(
                    bare == shown,
                    "{} in {name}: {} became {}",
                    place.name,
                    around(bare),
                    around(shown)
                );
            }
        }
    }
    Ok(())
}

fn live_traffic_leaves_no_secret_either() -> Result<()> {
    let values: Vec<_> = values()
        .into_iter()
        .filter(|value| !value.secrets.is_empty())
        .collect();
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("spanwire.yaml");
    std::fs::write(&settings, SETTINGS)?;
    let (listener, address) = port::listener()?;
    let options = Options::bare([
        "run",
        "--output",
        "otlp-json",
        "--hooks",
        Hooks::Socket.name(),
        "-vv",
        "--config",
    ]);
    let options = options
        .flag(&settings)
        .port(address.port())
        .environment("RUST_LOG", "trace");
    let session = Session::exporting(Protocol::Grpc, options)?;
    let mut asked = 0;
    for place in PLACES.iter().chain(SERVERS) {
        let values = place.of(&values);
        asked += values.len();
        wire::converse(&listener, address, &(place.talks)(&values)).context(place.name)?;
    }
    let seen = session.finish(asked)?;
    // The client's end of each, and the server's where it is not a broker's.
    ensure!(
        seen.spans.len() > asked,
        "{} spans of {asked} requests",
        seen.spans.len()
    );
    let told = seen.finished.stdout.join("\n");
    let shown = format!("{:?}\n{told}\n{}", seen.spans, seen.finished.message());
    for value in &values {
        for secret in &value.secrets {
            ensure!(
                !forms(secret).iter().any(|form| shown.contains(form)),
                "{value:?}"
            );
        }
    }
    Ok(())
}
