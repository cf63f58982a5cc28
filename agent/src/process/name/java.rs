//! Java: the jar, or the main class. The launcher's options are those of the `java` command's manual.

use super::stem;
use std::path::Path;

/// Options whose value is the next argument.
const VALUED: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--limit-modules",
    "--add-reads",
    "--add-exports",
    "--add-opens",
    "--patch-module",
    "--enable-native-access",
    "--source",
    "-d",
    "--describe-module",
];
/// Classes that only start others, with the name of what they start where that is always the same.
const LAUNCHERS: &[(&str, Option<&str>)] = &[
    ("org.apache.catalina.startup.Bootstrap", Some("tomcat")),
    ("org.springframework.boot.loader.JarLauncher", None),
    ("org.springframework.boot.loader.launch.JarLauncher", None),
    ("org.springframework.boot.loader.PropertiesLauncher", None),
    ("org.springframework.boot.loader.launch.PropertiesLauncher", None),
];
/// System properties in which an application names itself.
const NAMES: &[&str] = &["-Dotel.service.name=", "-Dspring.application.name="];
/// Names of classes that say nothing.
const GENERIC: &[&str] = &[
    "Main",
    "App",
    "Application",
    "Launcher",
    "Bootstrap",
    "Server",
    "MainKt",
    "AppKt",
    "ApplicationKt",
];

pub(super) fn name(arguments: &[&str]) -> Option<String> {
    let mut main = None;
    let mut own = None;
    let mut at = 0;
    while let Some(&argument) = arguments.get(at) {
        at += 1;
        match argument {
            "-jar" => {
                main = arguments
                    .get(at)
                    .and_then(|jar| stem(Path::new(jar), &["jar", "war"]))
                    .map(|stem| unversioned(&stem));
                break;
            }
            "-m" | "--module" => {
                main = arguments
                    .get(at)
                    .and_then(|module| module.split('/').next())
                    .map(str::to_owned);
                break;
            }
            _ if VALUED.contains(&argument) => at += 1,
            _ if argument.starts_with('-') => {
                let value = NAMES.iter().find_map(|start| argument.strip_prefix(start));
                own = own.or(value.filter(|value| !value.is_empty()));
            }
            // Arguments out of a file: what it says is unknown here.
            _ if argument.starts_with('@') => {}
            _ => {
                main = class(argument);
                break;
            }
        }
    }
    own.map(str::to_owned).or(main)
}

fn class(class: &str) -> Option<String> {
    if class.ends_with(".java") {
        return stem(Path::new(class), &["java"]);
    }
    if let Some((_, name)) = LAUNCHERS.iter().find(|(launcher, _)| *launcher == class) {
        return name.map(str::to_owned);
    }
    let is_name = |part: &str| {
        part.chars()
            .all(|it| it.is_alphanumeric() || matches!(it, '_' | '$'))
            && !part.is_empty()
    };
    if !class.split('.').all(is_name) {
        return None;
    }
    let mut parts = class.rsplit('.');
    let last = parts.next()?;
    let telling = if GENERIC.contains(&last) {
        parts.next().unwrap_or(last)
    } else {
        last
    };
    Some(telling.to_owned())
}

/// `orders-1.2.3-SNAPSHOT` is `orders`: all instances of a service have one name, whatever their version.
fn unversioned(stem: &str) -> String {
    let version = stem
        .match_indices('-')
        .find(|(at, _)| stem[at + 1..].starts_with(|it: char| it.is_ascii_digit()));
    version
        .filter(|(at, _)| *at > 0)
        .map_or(stem, |(at, _)| &stem[..at])
        .to_owned()
}
