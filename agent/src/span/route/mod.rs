//! `http.route` of requests that a service is asked: by templates of the configuration, else learnt.

mod learnt;
mod segment;
mod template;

use super::{Attribute, Kind, Span, Value, semconv as name};
use crate::config::globs;
use globset::GlobSet;
use hashbrown::HashMap;
use learnt::{Full, Learnt};
use smol_str::{SmolStr, SmolStrBuilder};
pub use template::{NoTemplate, Template};

/// Services whose routes are learnt.
const SERVICES: usize = 256;

/// Templates, and the services that they are for; for all, if that is empty.
#[derive(Clone, Debug)]
pub struct Templates {
    /// Names of services.
    pub services: GlobSet,
    /// Templates, of which the first that fits is taken.
    pub routes: Vec<Template>,
}

/// Tells routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    templates: Vec<Templates>,
    /// Routes that are learnt of one service; 0 where none are.
    limit: usize,
    learnt: HashMap<SmolStr, Learnt>,
    missed: u64,
}

impl Routes {
    /// By `templates`; else learnt, at most `limit` of a service.
    #[must_use]
    pub fn new(templates: Vec<Templates>, limit: usize) -> Self {
        Self {
            templates,
            limit,
            ..Self::default()
        }
    }

    /// Takes what `former` has learnt, where as many may be learnt of a service: names of spans stay as they were.
    pub fn learn_on(&mut self, former: &mut Self) {
        self.missed += former.take_missed();
        if self.limit == former.limit {
            self.learnt = std::mem::take(&mut former.learnt);
        }
    }

    /// Requests without a route since this was last asked, because there are as many as are kept.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Gives the span of a request that was received its route, and is named after that, if it has one.
    pub fn tell(&mut self, span: &mut Span) {
        if span.kind != Kind::Server || self.templates.is_empty() && self.limit == 0 {
            return;
        }
        let (mut path, mut status) = (None, None);
        for attribute in &span.attributes {
            match (&*attribute.key, &attribute.value) {
                (name::URL_PATH, Value::Text(text)) => path = Some(text),
                (name::HTTP_RESPONSE_STATUS_CODE, Value::Integer(code)) => status = Some(*code),
                _ => {}
            }
        }
        let Some(path) = path else { return };
        let Some(route) = self.route(span.resource.service_name(), path, status) else {
            return;
        };
        let mut named = SmolStrBuilder::new();
        for part in [&*span.name, " ", &*route] {
            named.push_str(part);
        }
        span.name = named.finish();
        span.attributes.push(Attribute {
            key: name::HTTP_ROUTE.into(),
            value: Value::Text(route),
        });
    }

    fn route(&mut self, service: &str, path: &str, status: Option<i64>) -> Option<SmolStr> {
        let here = self
            .templates
            .iter()
            .filter(|templates| globs::fits(&templates.services, Some(service)));
        let template = here
            .flat_map(|templates| &templates.routes)
            .find(|route| route.fits(path));
        if let Some(template) = template {
            return Some(template.text().clone());
        }
        if self.limit == 0 {
            return None;
        }
        if self.learnt.len() >= SERVICES && !self.learnt.contains_key(service) {
            self.missed += 1;
            return None;
        }
        // What is not there, or is asked for wrongly, may be asked for by any name.
        let learns = status.is_some_and(|status| !(400..500).contains(&status));
        let learnt = self
            .learnt
            .entry(SmolStr::new(service))
            .or_insert_with(|| Learnt::new(self.limit));
        learnt.route(path, learns).unwrap_or_else(|Full| {
            self.missed += 1;
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use globset::{Glob, GlobSetBuilder};

    fn routes() -> Routes {
        let for_cart = GlobSetBuilder::new()
            .add(Glob::new("cart*").unwrap())
            .build()
            .unwrap();
        let templates = |services, routes: &[&str]| Templates {
            services,
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
        };
        let all = templates(GlobSet::empty(), &["/files/**"]);
        Routes::new(vec![templates(for_cart, &["/c/{cart}", "/c/*/x"]), all], 2)
    }

    #[test]
    fn what_was_learnt_is_known_to_those_who_replace_it_where_as_much_may_be_learnt() {
        let mut former = routes();
        for path in ["/orders/1", "/more", "/still/more"] {
            former.route("shop", path, Some(200));
        }
        let mut same = routes();
        same.learn_on(&mut former.clone());
        assert_eq!(
            same.route("shop", "/orders/2", Some(404)).as_deref(),
            Some("/orders/{id}")
        );
        assert_eq!(same.take_missed(), 1);
        let mut other = Routes::new(Vec::new(), 3);
        other.learn_on(&mut former);
        assert_eq!(other.route("shop", "/orders/2", Some(404)), None);
    }

    #[test]
    fn templates_go_before_what_is_learnt() {
        let mut routes = routes();
        for (service, path, expect) in [
            ("cart-1", "/c/abc", Some("/c/{cart}")),
            ("shop", "/c/abc", Some("/c/abc")),
            ("shop", "/files/a/b", Some("/files/**")),
            ("shop", "/orders/1", Some("/orders/{id}")),
            ("shop", "/more", None),
        ] {
            assert_eq!(
                routes.route(service, path, Some(200)).as_deref(),
                expect,
                "{service} {path}"
            );
        }
        assert_eq!((routes.take_missed(), routes.take_missed()), (1, 0));
        assert_eq!(routes.route("other", "/x", Some(404)), None);
        assert_eq!(routes.route("other", "/x", None), None);
        assert_eq!(routes.take_missed(), 0);
    }

    #[test]
    fn services_are_bounded() {
        let mut routes = Routes::new(Vec::new(), 1);
        let found =
            (0..SERVICES + 9).filter(|number| routes.route(&format!("s{number}"), "/", Some(200)).is_some());
        assert_eq!(found.count(), SERVICES);
        assert_eq!(routes.take_missed(), 9);
    }
}
