//! Routes that configuration names.

use smol_str::SmolStr;

/// A route such as `/orders/{id}/files/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: SmolStr,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Name(SmolStr),
    /// `{name}` or `*`: any one that is not empty.
    Any,
    /// `**`: all that follow.
    Rest,
}

/// A text that is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a route begins with `/`, and its segments are names, `{{id}}`, `*`, or `**` at the end")]
pub struct NoTemplate;

impl std::str::FromStr for Template {
    type Err = NoTemplate;

    fn from_str(text: &str) -> Result<Self, NoTemplate> {
        let segments = text.strip_prefix('/').ok_or(NoTemplate)?.split('/');
        let last = segments.clone().count() - 1;
        let segment = |(index, segment): (usize, &str)| match segment {
            "**" => (index == last).then_some(Segment::Rest),
            "*" => Some(Segment::Any),
            _ => match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => (!name.is_empty() && !name.contains(['{', '}'])).then_some(Segment::Any),
                None => (!segment.contains(['{', '}', '*', '?'])).then(|| Segment::Name(segment.into())),
            },
        };
        let segments = segments.enumerate().map(segment).collect::<Option<_>>();
        Ok(Self {
            text: text.into(),
            segments: segments.ok_or(NoTemplate)?,
        })
    }
}

impl Template {
    /// The route, as it was written.
    #[must_use]
    pub fn text(&self) -> &SmolStr {
        &self.text
    }

    /// Whether it is the route of `path`.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut path = path.split('/');
        for segment in &self.segments {
            let fits = match (segment, path.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Any, Some(here)) => !here.is_empty(),
                (Segment::Name(name), Some(here)) => name == here,
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        path.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_whole_paths() {
        for (template, fitting, others) in [
            ("/", &["/"][..], &["", "/a", "//"][..]),
            (
                "/orders/{id}",
                &["/orders/1", "/orders/a-b"],
                &["/orders", "/orders/", "/orders/1/", "/Orders/1"],
            ),
            ("/a/*/b", &["/a/x/b"], &["/a/b", "/a/x/y/b"]),
            (
                "/files/**",
                &["/files", "/files/", "/files/a/b"],
                &["/filesystem", "/"],
            ),
            ("/**", &["/", "/a/b"], &["*", ""]),
        ] {
            let template: Template = template.parse().unwrap();
            assert!(fitting.iter().all(|path| template.fits(path)), "{template:?}");
            assert!(!others.iter().any(|path| template.fits(path)), "{template:?}");
        }
        for text in ["", "orders", "/a/**/b", "/{}", "/a{b}", "/{a", "/a*"] {
            assert_eq!(text.parse::<Template>(), Err(NoTemplate), "{text}");
        }
    }
}
