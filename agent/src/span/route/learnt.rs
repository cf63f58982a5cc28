//! Routes that are concluded from the paths that a service answers.
//!
//! A path is a way down a tree, a segment a step. A segment that looks like an id is `{id}`; any other is taken for a name, until
//! a place has had too many of them: then it is `{id}`, too, for good, but for those names that come again and again. So each
//! segment of a path may become `{id}` once, and never goes back; and the same requests in the same order give the same routes.

use super::segment::is_id;
use hashbrown::HashMap;
use memchr::{memchr, memchr_iter};
use smol_str::{SmolStr, SmolStrBuilder};

/// Names that one place may have until they are ids.
const NAMES: usize = 32;

/// A name that has come so often by then is one.
const OFTEN: u32 = 16;

/// Segments of a path that has a route.
const DEPTH: usize = 24;

/// Places for each route that is kept.
const PLACES: usize = 4;

/// What stands for an id.
const ID: &str = "{id}";

/// There are as many routes as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The routes of one service.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    root: Place,
    routes: usize,
    places: usize,
    limit: usize,
}

/// Where a path may go on, or end.
#[derive(Clone, Debug, Default)]
struct Place {
    names: HashMap<SmolStr, Place>,
    id: Option<Box<Place>>,
    /// There were too many names.
    is_settled: bool,
    route: Option<SmolStr>,
    seen: u32,
}

impl Learnt {
    /// No route yet, and at most `limit`.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            root: Place::default(),
            routes: 0,
            places: 0,
            limit,
        }
    }

    /// The route of `path`, `None` where it is not known. Where the answer says that there is something, it is `learns`.
    pub(super) fn route(&mut self, path: &str, learns: bool) -> Result<Option<SmolStr>, Full> {
        let Some(segments) = path.strip_prefix('/') else {
            return Ok(None);
        };
        if memchr_iter(b'/', segments.as_bytes()).nth(DEPTH - 1).is_some() {
            return Ok(None);
        }
        let most = self.limit * PLACES;
        let mut place = &mut self.root;
        for segment in segments.split('/').map(without_parameters) {
            place.seen = place.seen.saturating_add(1);
            let is_known = place.names.contains_key(segment);
            let is_name = is_known || !is_id(segment) && !place.is_settled;
            if is_name && !is_known {
                if !learns {
                    return Ok(None);
                }
                if place.names.len() == NAMES {
                    self.routes -= place.settle(&mut self.places);
                }
            }
            let is_name = is_known || is_name && !place.is_settled;
            let is_new = !is_known && (is_name || place.id.is_none());
            if is_new {
                if !learns {
                    return Ok(None);
                }
                if self.places >= most {
                    return Err(Full);
                }
                self.places += 1;
            }
            place = match is_name {
                true => place.names.entry(SmolStr::new(segment)).or_default(),
                false => place.id.get_or_insert_default(),
            };
        }
        place.seen = place.seen.saturating_add(1);
        if let Some(route) = &place.route {
            return Ok(Some(route.clone()));
        }
        if !learns {
            return Ok(None);
        }
        if self.routes >= self.limit {
            return Err(Full);
        }
        self.routes += 1;
        let route = self.text(segments);
        self.mark(segments, &route);
        Ok(Some(route))
    }

    /// The route of a path whose places are there.
    fn text(&self, segments: &str) -> SmolStr {
        let mut text = SmolStrBuilder::new();
        let mut place = Some(&self.root);
        for segment in segments.split('/').map(without_parameters) {
            let name = place.and_then(|place| place.names.get(segment));
            text.push('/');
            text.push_str(if name.is_some() { segment } else { ID });
            place = name.or_else(|| place?.id.as_deref());
        }
        text.finish()
    }

    fn mark(&mut self, segments: &str, route: &SmolStr) {
        let mut place = &mut self.root;
        for segment in segments.split('/').map(without_parameters) {
            let is_name = place.names.contains_key(segment);
            place = match is_name {
                true => place.names.entry(SmolStr::new(segment)).or_default(),
                false => place.id.get_or_insert_default(),
            };
        }
        place.route = Some(route.clone());
    }
}

impl Place {
    /// From now on, names are ids, but those that came often. Takes what goes off `places`; returns how many routes went.
    fn settle(&mut self, places: &mut usize) -> usize {
        self.is_settled = true;
        let mut routes = 0;
        self.names.retain(|_, place| {
            let stays = place.seen >= OFTEN;
            if !stays {
                let (all, ends) = place.size();
                *places -= all;
                routes += ends;
            }
            stays
        });
        routes
    }

    /// Places below and including this one, and routes that end at them.
    fn size(&self) -> (usize, usize) {
        let below = self.names.values().chain(self.id.as_deref()).map(Self::size);
        let own = (1, usize::from(self.route.is_some()));
        below.fold(own, |(places, routes), (more, ends)| {
            (places + more, routes + ends)
        })
    }
}

/// A segment without its parameters (RFC 3986, section 3.3), such as `;jsessionid=1`.
fn without_parameters(segment: &str) -> &str {
    memchr(b';', segment.as_bytes()).map_or(segment, |end| &segment[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn learnt(paths: &[&str]) -> Vec<Option<String>> {
        let mut learnt = Learnt::new(200);
        let route = |path: &&str| learnt.route(path, true).unwrap().map(String::from);
        paths.iter().map(route).collect()
    }

    #[test]
    fn ids_are_told_by_their_look() {
        let paths = [
            "/",
            "/orders",
            "/orders/12",
            "/orders/12/items/7f9c2ba4",
            "/a/",
            "/x;v=1/y",
            "*",
            "",
        ];
        let routes = [
            "/",
            "/orders",
            "/orders/{id}",
            "/orders/{id}/items/{id}",
            "/a/",
            "/x/y",
        ];
        let routes = routes
            .map(|route| Some(route.to_owned()))
            .into_iter()
            .chain([None, None]);
        assert_eq!(learnt(&paths), routes.collect::<Vec<_>>());
        assert_eq!(learnt(&[&"/a".repeat(25)]), [None]);
    }

    #[test]
    fn too_many_names_at_one_place_are_ids_and_stay_so() {
        let mut learnt = Learnt::new(200);
        for _ in 0..OFTEN {
            assert_eq!(learnt.route("/users/me", true), Ok(Some("/users/me".into())));
        }
        let name = |number: usize| {
            format!(
                "/users/{}",
                "abcdefghijklmnopqrstuvwxyz"[number % 26..].repeat(number / 26 + 1)
            )
        };
        for number in 0..NAMES - 1 {
            let path = name(number);
            assert_eq!(learnt.route(&path, true), Ok(Some(path.as_str().into())));
        }
        for number in (0..100).chain(0..100) {
            let path = name(number + NAMES);
            assert_eq!(
                learnt.route(&path, true),
                Ok(Some("/users/{id}".into())),
                "{path}"
            );
        }
        assert_eq!(learnt.route(&name(0), true), Ok(Some("/users/{id}".into())));
        assert_eq!(learnt.route("/users/me", true), Ok(Some("/users/me".into())));
        assert_eq!(learnt.route("/users", true), Ok(Some("/users".into())));
        assert_eq!(learnt.routes, 3);
    }

    #[test]
    fn what_is_not_found_teaches_nothing() {
        let mut learnt = Learnt::new(200);
        assert_eq!(learnt.route("/wp-admin", false), Ok(None));
        assert_eq!(learnt.route("/orders/1", true), Ok(Some("/orders/{id}".into())));
        assert_eq!(learnt.route("/orders/2", false), Ok(Some("/orders/{id}".into())));
        assert_eq!((learnt.routes, learnt.places), (1, 2));
    }

    #[test]
    fn there_are_as_many_routes_as_may_be_and_those_stay() {
        let mut learnt = Learnt::new(2);
        for path in ["/a", "/b"] {
            assert_eq!(learnt.route(path, true), Ok(Some(path.into())));
        }
        assert_eq!(learnt.route("/c", true), Err(Full));
        assert_eq!(learnt.route("/a", true), Ok(Some("/a".into())));
    }

    proptest::proptest! {
        #[test]
        fn a_path_never_gets_a_route_back(
            paths in proptest::collection::vec("(/([a-d]{1,3}|[0-9]{1,3}|)){0,4}", 0..400)
        ) {
            let mut learnt = Learnt::new(40);
            let mut again = Learnt::new(40);
            let mut routes: BTreeMap<&str, Vec<SmolStr>> = BTreeMap::new();
            for path in &paths {
                let route = learnt.route(path, true);
                proptest::prop_assert_eq!(&route, &again.route(path, true));
                if let Ok(Some(route)) = route {
                    let known = routes.entry(path).or_default();
                    if known.last() != Some(&route) {
                        proptest::prop_assert!(!known.contains(&route), "{path}: {known:?} {route}");
                        known.push(route);
                    }
                }
                let (places, ends) = learnt.root.size();
                proptest::prop_assert_eq!((places - 1, ends), (learnt.places, learnt.routes));
                proptest::prop_assert!(learnt.routes <= 40 && learnt.places <= 160);
            }
        }
    }
}
