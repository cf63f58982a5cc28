//! Requests that are not worth a trace, such as those of probes.

use crate::config::globs;
use crate::protocol::Request;
use crate::span::Resource;
use globset::GlobSet;
use std::sync::Arc;

/// Requests that are left out, with all that is done for them: what fits each list that is not empty.
#[derive(Clone, Debug)]
pub struct DropRule {
    /// Names of services, of either end.
    pub services: GlobSet,
    /// Paths, without query.
    pub paths: GlobSet,
    /// User agents.
    pub user_agents: GlobSet,
}

/// Which requests are left out.
#[derive(Clone, Debug, Default)]
pub struct DropRules {
    rules: Arc<[DropRule]>,
    /// How often they were replaced.
    edition: u32,
}

/// The rules that are for one service, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applicable {
    bits: u64,
    edition: u32,
}

impl DropRules {
    /// Those. More than 64 are not followed.
    #[must_use]
    pub fn new(rules: Vec<DropRule>) -> Self {
        Self {
            rules: rules.into_iter().take(64).collect(),
            edition: 0,
        }
    }

    /// In place of `former`: what those were applicable to, these are not.
    #[must_use]
    pub fn replacing(self, former: &Self) -> Self {
        Self {
            edition: former.edition.wrapping_add(1),
            ..self
        }
    }

    /// Those that are for the service of `resource`, which is asked for only where that matters.
    pub fn of(&self, resource: impl FnOnce() -> Arc<Resource>) -> Applicable {
        let edition = self.edition;
        if self.rules.iter().all(|rule| rule.services.is_empty()) {
            let bits = u64::MAX;
            return Applicable { bits, edition };
        }
        let resource = resource();
        let is_for = |rule: &DropRule| globs::fits(&rule.services, Some(resource.service_name()));
        let numbered = self.rules.iter().enumerate();
        let bits = numbered.map(|(number, rule)| u64::from(is_for(rule)) << number);
        Applicable {
            bits: bits.fold(0, |all, bit| all | bit),
            edition,
        }
    }

    /// Whether one of them is for `request`.
    #[must_use]
    pub fn take(&self, rules: Applicable, request: Request<'_>) -> bool {
        if self.rules.is_empty() || rules.edition != self.edition {
            return false;
        }
        let target = match request {
            Request::Http1(head) => Some(head.target()),
            Request::Http2(head) => head.path(),
            Request::Postgres(_) | Request::Amqp(_) => return false,
        };
        let path = target.and_then(|target| target.split(|byte| *byte == b'?').next());
        let fits = |patterns: &GlobSet, text: Option<&[u8]>| {
            globs::fits(patterns, text.and_then(|text| std::str::from_utf8(text).ok()))
        };
        // Nearly all are told by the user agent: it is looked for once.
        let mut agent = None;
        let here = self
            .rules
            .iter()
            .enumerate()
            .filter(|(number, _)| rules.bits >> number & 1 == 1);
        here.map(|(_, rule)| rule).any(|rule| {
            fits(&rule.paths, path) && {
                rule.user_agents.is_empty()
                    || fits(
                        &rule.user_agents,
                        *agent.get_or_insert_with(|| request.user_agent()),
                    )
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connection::piece::Piece;
    use crate::protocol::http1::Flow;
    use crate::protocol::{Connection, Protocol};
    use globset::Glob;

    fn globs(patterns: &[&str]) -> GlobSet {
        let patterns = patterns
            .iter()
            .map(|pattern| Glob::new(pattern).expect("a pattern"));
        globs::compiled("", patterns).expect("patterns")
    }

    /// A rule for requests of all services.
    pub(crate) fn rule(paths: &[&str], user_agents: &[&str]) -> DropRule {
        DropRule {
            services: GlobSet::empty(),
            paths: globs(paths),
            user_agents: globs(user_agents),
        }
    }

    /// Shows a request with this head of HTTP/1.
    pub(crate) fn asked<T>(head: &str, look: impl FnOnce(Request<'_>) -> T) -> T {
        let mut connection = Connection::new(Protocol::Http1);
        let piece = Piece::Bytes {
            data: head.as_bytes(),
            starts: None,
        };
        connection.read(Flow::Request, 1_u64, piece, &mut Vec::new());
        look(connection.request(|_| true).expect("an open request"))
    }

    #[test]
    fn a_rule_is_for_what_fits_each_of_its_lists() {
        let rules = DropRules::new(vec![
            rule(&["/health", "/live*"], &["probe/*"]),
            rule(&["/metrics"], &[]),
        ]);
        let every = rules.of(|| unreachable!());
        for (path, agent, expect) in [
            ("/health", "probe/1", true),
            ("/health?deep=1", "probe/1", true),
            ("/livez", "probe/1", true),
            ("/health", "curl/8", false),
            ("/healthy", "probe/1", false),
            ("/metrics", "curl/8", true),
            ("/", "probe/1", false),
        ] {
            let head = format!("GET {path} HTTP/1.1\r\nuser-agent: {agent}\r\n\r\n");
            assert_eq!(
                asked(&head, |request| rules.take(every, request)),
                expect,
                "{path} {agent}"
            );
        }
        let bare = "GET /health HTTP/1.1\r\n\r\n";
        assert!(!asked(bare, |request| rules.take(every, request)));
        assert!(!asked(bare, |request| DropRules::default().take(every, request)));
    }

    #[test]
    fn a_rule_may_be_for_some_services() {
        let of_cart = DropRule {
            services: globs(&["cart*"]),
            ..rule(&["/x"], &[])
        };
        let rules = DropRules::new(vec![of_cart]);
        let resource = |service: &str| {
            let value = crate::span::Value::Text(service.into());
            let key = "service.name".into();
            let attributes = vec![crate::span::Attribute { key, value }];
            Arc::new(Resource {
                own: crate::span::OwnRules::default(),
                pid: 1,
                attributes,
            })
        };
        for (service, expect) in [("cart-1", true), ("shop", false)] {
            let here = rules.of(|| resource(service));
            let taken = asked("GET /x HTTP/1.1\r\n\r\n", |request| rules.take(here, request));
            assert_eq!(taken, expect, "{service}");
        }
    }
}
