//! Attributes of the container that a process is in (semantic conventions, resource/container).

use super::super::Container;
use super::Merged;
use super::image::Image;
use crate::span::{Attribute, Value, semconv};
use globset::GlobMatcher;

impl Container {
    /// Puts in what is known beside its id and name.
    pub(super) fn describe(&self, merged: &mut Merged) {
        let (name, tags) = self.names();
        merged.maybe("container.image.name", name);
        merged.list("container.image.tags", &tags);
        merged.maybe("container.image.id", self.image_id.as_deref());
        let digests: Vec<&str> = self.image_digests.iter().map(String::as_str).collect();
        merged.list("container.image.repo_digests", &digests);
        merged.maybe("container.runtime.name", self.runtime.as_deref());
        merged.maybe("container.runtime.version", self.runtime_version.as_deref());
    }

    /// The image's name, and its tags by that name: that which was asked for, then others.
    fn names(&self) -> (Option<&str>, Vec<&str>) {
        let asked = self.image.as_deref().filter(|image| !self.is_id(image));
        let others = || self.image_tags.iter().map(|it| Image::of(it));
        let asked = asked.map(Image::of).or_else(|| others().next());
        let Some(asked) = asked else {
            return (None, Vec::new());
        };
        let mut tags: Vec<&str> = asked.tag.into_iter().collect();
        for other in others().filter(|other| other.name == asked.name) {
            tags.extend(other.tag.filter(|tag| !tags.contains(tag)));
        }
        (Some(asked.name), tags)
    }

    /// Whether the image was asked for by its id, or by how that begins.
    fn is_id(&self, image: &str) -> bool {
        const SHORTEST: usize = 4;
        let begin = image.strip_prefix("sha256:").unwrap_or(image);
        let is_hash = begin.len() >= SHORTEST && begin.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = self.image_id.as_deref().unwrap_or_default();
        let id = id.strip_prefix("sha256:").unwrap_or(id);
        is_hash && (begin.len() == 64 || id.starts_with(begin))
    }
}

/// Adds those labels of a container that are `wanted`.
pub(in crate::process) fn label(
    attributes: &mut Vec<Attribute>,
    container: Option<&Container>,
    wanted: &[GlobMatcher],
) {
    let labels = container.into_iter().flat_map(|it| &it.labels);
    for (key, value) in labels.filter(|(key, _)| wanted.iter().any(|glob| glob.is_match(key))) {
        let key = format!("{}{key}", semconv::CONTAINER_LABEL);
        if attributes.iter().all(|attribute| attribute.key != key) {
            attributes.push(Attribute {
                key: key.into(),
                value: Value::Text(value.into()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: Option<&str>, tags: &[&str]) -> (Option<String>, Vec<String>) {
        let container = Container {
            image: image.map(str::to_owned),
            image_id: Some(format!("sha256:3f5a{}", "0".repeat(60))),
            image_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Container::default()
        };
        let (name, tags) = container.names();
        let tags = tags.into_iter().map(str::to_owned);
        (name.map(str::to_owned), tags.collect())
    }

    #[test]
    fn an_image_has_the_name_that_it_was_asked_for_by_and_all_its_tags_by_that_name() {
        let check = |image: Option<&str>, tags: &[&str], expect: Option<&str>, expected: &[&str]| {
            let expected = expected.iter().map(|tag| (*tag).to_owned()).collect();
            assert_eq!(
                names(image, tags),
                (expect.map(str::to_owned), expected),
                "{image:?}"
            );
        };
        check(Some("nginx"), &["nginx:latest"], Some("nginx"), &["latest"]);
        check(
            Some("r:5000/shop/web:1.2"),
            &["r:5000/shop/web:latest", "other:1", "r:5000/shop/web:1.2"],
            Some("r:5000/shop/web"),
            &["1.2", "latest"],
        );
        // The tag has gone to another image since.
        check(Some("web:1"), &[], Some("web"), &["1"]);
        check(Some("web@sha256:ab"), &["web:2"], Some("web"), &["2"]);
        let hash = format!("sha256:3f5a{}", "0".repeat(60));
        for id in [hash.as_str(), &hash[7..], "3f5a", "sha256:3f5a0"] {
            check(Some(id), &["web:3"], Some("web"), &["3"]);
            check(Some(id), &[], None, &[]);
        }
        check(Some("cafe"), &[], Some("cafe"), &[]);
        check(None, &[], None, &[]);
    }

    #[test]
    fn only_labels_that_are_asked_for_become_attributes() {
        let labels = [
            ("com.shop.team", "blue"),
            ("com.shop.tier", "1"),
            ("password", "x"),
        ];
        let container = Container {
            labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
            ..Container::default()
        };
        let check = |wanted: &[&str], expect: &[&str]| {
            let globs = wanted
                .iter()
                .map(|it| globset::Glob::new(it).unwrap().compile_matcher());
            let mut attributes = Vec::new();
            label(&mut attributes, Some(&container), &globs.collect::<Vec<_>>());
            let keys = attributes.iter().map(|attribute| &*attribute.key);
            assert_eq!(keys.collect::<Vec<_>>(), expect);
        };
        check(&[], &[]);
        check(
            &["com.shop.*"],
            &["container.label.com.shop.team", "container.label.com.shop.tier"],
        );
        check(&["com.shop.team", "*team"], &["container.label.com.shop.team"]);
        check(&["team"], &[]);
    }
}
