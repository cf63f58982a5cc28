//! What a process's owner declared for telemetry, in its environment.

use crate::config::pairs;

/// Attributes beyond this number are left out: an environment may hold megabytes.
pub(super) const MAX_ATTRIBUTES: usize = 128;

/// The part of a process's environment that is meant to be exported. Nothing else of it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`; none where it cannot be decoded.
    pub attributes: Vec<(String, String)>,
}

impl Declared {
    /// Takes up an environment variable if it is one of the two.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if value.is_empty() {
            return;
        }
        match name {
            "OTEL_SERVICE_NAME" => self.service_name = Some(value.to_owned()),
            "OTEL_RESOURCE_ATTRIBUTES" => {
                let mut attributes = pairs::parse(value).unwrap_or_default();
                attributes.retain(|(_, value)| !value.is_empty());
                attributes.truncate(MAX_ATTRIBUTES);
                self.attributes = attributes;
            }
            _ => {}
        }
    }

    /// The service's name: the variable of its own goes before the attribute.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        let attribute = self
            .attributes
            .iter()
            .find(|(key, _)| key == "service.name")
            .map(|(_, value)| value.as_str());
        self.service_name.as_deref().or(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[&str], service: Option<&str>, attributes: &[(&str, &str)]) {
        let mut declared = Declared::default();
        for variable in variables {
            let (name, value) = variable.split_once('=').unwrap();
            declared.note(name, value);
        }
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        assert_eq!(
            (declared.service(), &declared.attributes),
            (service, &attributes),
            "{variables:?}"
        );
    }

    #[test]
    fn two_variables_and_their_order() {
        check(
            &["PATH=/bin", "OTEL_EXPORTER_OTLP_HEADERS=key=hunter2"],
            None,
            &[],
        );
        check(&["OTEL_SERVICE_NAME=shop"], Some("shop"), &[]);
        check(&["OTEL_SERVICE_NAME="], None, &[]);
        let attributes = "OTEL_RESOURCE_ATTRIBUTES=service.name=cart,service.version=1%2C2,empty=";
        let pairs = [("service.name", "cart"), ("service.version", "1,2")];
        check(&[attributes], Some("cart"), &pairs);
        check(&[attributes, "OTEL_SERVICE_NAME=shop"], Some("shop"), &pairs);
        check(&["OTEL_RESOURCE_ATTRIBUTES=service.name=cart,oops"], None, &[]);
        check(&["XOTEL_SERVICE_NAME=shop", "OTEL_SERVICE_NAMES=shop"], None, &[]);
    }
}
