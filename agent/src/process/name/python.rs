//! Python: scripts, modules, and the applications that application servers are given.

use super::{Invocation, folder, stem};
use std::path::Path;

/// Application servers, which take `MODULE:OBJECT`.
const SERVERS: &[&str] = &[
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
];
/// Their options without a value: what follows one of these is not its value.
const SWITCHES: &[&str] = &[
    "--reload",
    "--factory",
    "--preload",
    "--daemon",
    "-D",
    "--proxy-headers",
    "--use-colors",
];
/// Programs that take an application as `--app` or `-A`.
const TAKE_APP: &[&str] = &["flask", "celery", "quart"];
/// Parts of a module's path that say nothing.
const GENERIC: &[&str] = &["wsgi", "asgi", "main", "app", "application", "server", "__main__"];

pub(super) fn name(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let mut at = 0;
    while let Some(&argument) = arguments.get(at) {
        at += 1;
        let rest = arguments.get(at..).unwrap_or_default();
        match argument {
            "-X" | "-W" | "--check-hash-based-pycs" => at += 1,
            "-" => return None,
            _ if argument.starts_with("--") => {}
            _ if argument.starts_with('-') => {
                // Options of one letter may stand together; these take the rest, or the next word.
                match argument
                    .find(['c', 'm', 'X', 'W'])
                    .map(|found| argument.split_at(found))
                {
                    None => {}
                    Some((_, option)) if option.starts_with('m') => {
                        let attached = Some(&option[1..]).filter(|module| !module.is_empty());
                        let (module, rest) = match attached {
                            Some(module) => (module, rest),
                            None => (*rest.first()?, rest.get(1..).unwrap_or_default()),
                        };
                        return program(invocation, module, rest);
                    }
                    Some((_, option)) if option.starts_with('c') => return None,
                    Some(_) => {}
                }
            }
            _ => {
                let script = invocation.script(&arguments[at - 1..], &["py", "pyc", "pyz", "pyw"])?;
                let name = stem(&script, &["py", "pyc", "pyz", "pyw"])?;
                return match name.as_str() {
                    "manage" | "__main__" => folder(script.parent()?).or(Some(name)),
                    _ => program(invocation, &name, rest),
                };
            }
        }
    }
    None
}

/// `program` is a script's name, or a module's: an application server goes by the name of its application.
fn program(invocation: &Invocation<'_>, program: &str, arguments: &[&str]) -> Option<String> {
    let in_folder = || invocation.directory.and_then(folder);
    if SERVERS.contains(&program) {
        return served(arguments)
            .or_else(in_folder)
            .or_else(|| Some(program.to_owned()));
    }
    if TAKE_APP.contains(&program) {
        let given = arguments
            .iter()
            .enumerate()
            .find_map(|(at, argument)| match *argument {
                "--app" | "-A" => arguments.get(at + 1).copied(),
                _ => argument.strip_prefix("--app="),
            });
        return given
            .and_then(application)
            .or_else(in_folder)
            .or_else(|| Some(program.to_owned()));
    }
    Some(program.to_owned()).filter(|name| is_module(name) || Path::new(name).components().count() == 1)
}

/// The application among a server's arguments: never a word behind an option, since it may be that one's value, and a
/// value may be a secret.
fn served(arguments: &[&str]) -> Option<String> {
    let is_application = |argument: &str| match argument.split_once(':') {
        Some((module, object)) => {
            is_module(module) && object.starts_with(|it: char| it.is_alphabetic() || it == '_')
        }
        None => false,
    };
    let is_value = |at: usize| {
        at.checked_sub(1).is_some_and(|before| {
            arguments[before].starts_with('-') && !SWITCHES.contains(&arguments[before])
        })
    };
    let found = arguments
        .iter()
        .enumerate()
        .find(|(at, argument)| is_application(argument) && !is_value(*at));
    application(found?.1)
}

/// The telling part of `package.module:object`, or of a script's path.
pub(super) fn application(text: &str) -> Option<String> {
    let module = text.split(':').next().unwrap_or(text).trim();
    if module.contains('/') || module.ends_with(".py") {
        return stem(Path::new(module), &["py"]);
    }
    let mut module = module;
    while let Some((start, end)) = module.rsplit_once('.') {
        if !GENERIC.contains(&end) {
            break;
        }
        module = start;
    }
    is_module(module).then(|| module.to_owned())
}

fn is_module(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|it: char| it.is_alphabetic() || it == '_')
            && part
                .chars()
                .all(|it| it.is_alphanumeric() || matches!(it, '_' | '-'))
    };
    text.split('.').all(is_name)
}
