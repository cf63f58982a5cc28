//! Headers of each request: those of the settings, and those of a file, where secrets do not show in a process list.

use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::export::settings::{Settings, SettingsError};

/// All of them. Tokens travel in these: never to be logged, nor kept in a compression table.
pub(super) fn headers(settings: &Settings) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::with_capacity(settings.headers.len());
    for (name, value) in &settings.headers {
        let (name, value) = pair(name, value).ok_or_else(|| SettingsError::Header { name: name.clone() })?;
        headers.append(name, value);
    }
    if let Some(path) = &settings.headers_file {
        read(path, &mut headers)?;
    }
    Ok(headers)
}

/// As curl has it in `--header @FILE`: a header a line. Empty lines and those that begin with `#` count for nothing.
fn read(path: &Path, headers: &mut HeaderMap) -> Result<(), SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let found = line
            .split_once(':')
            .and_then(|(name, value)| pair(name.trim(), value.trim()));
        let (name, value) = found.ok_or_else(|| SettingsError::HeaderLine {
            path: path.to_owned(),
            line: index + 1,
        })?;
        headers.insert(name, value);
    }
    Ok(())
}

fn pair(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::settings::Protocol;

    fn check(text: &str, expect: Result<&[(&str, &str)], usize>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        fs::write(&path, text).unwrap();
        let settings = Settings {
            headers: vec![("X-Tenant".to_owned(), "blue".to_owned())],
            headers_file: Some(path),
            ..Settings::new("http://localhost", Protocol::Grpc)
        };
        let found = headers(&settings);
        match (found, expect) {
            (Ok(found), Ok(expect)) => {
                let expect = expect
                    .iter()
                    .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                    .collect::<HeaderMap>();
                assert_eq!(found, expect);
                assert!(found.values().all(HeaderValue::is_sensitive));
            }
            (Err(SettingsError::HeaderLine { line, .. }), Err(expect)) => assert_eq!(line, expect),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn a_file_has_a_header_a_line_and_goes_before_the_settings() {
        check("", Ok(&[("x-tenant", "blue")]));
        check(
            "# from the vault\n\nAuthorization: Bearer a:b \r\n",
            Ok(&[("x-tenant", "blue"), ("authorization", "Bearer a:b")]),
        );
        check("x-tenant: red", Ok(&[("x-tenant", "red")]));
        check("\nhunter2", Err(2));
        check("a b: c", Err(1));
        check("a: b\u{1}", Err(1));
    }

    #[test]
    fn what_is_wrong_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        fs::write(&path, "hunter2").unwrap();
        let settings = Settings {
            headers_file: Some(path),
            ..Settings::new("http://localhost", Protocol::Grpc)
        };
        let error = headers(&settings).unwrap_err().to_string();
        assert!(
            error.starts_with("line 1 of ") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
