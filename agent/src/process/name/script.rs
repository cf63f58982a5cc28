//! Interpreters of scripts other than Python.

use super::{Invocation, folder, stem};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Options of an interpreter that matter for finding the script.
struct Grammar {
    /// Those whose value is the next word.
    valued: &'static [&'static str],
    /// Those whose value is the program's text: there is no script then.
    code: &'static [&'static str],
    extensions: &'static [&'static str],
}

/// The words from the script on, or from what may be it.
fn positional<'a>(arguments: &'a [&'a str], grammar: &Grammar) -> Option<&'a [&'a str]> {
    let mut at = 0;
    while let Some(&argument) = arguments.get(at) {
        if grammar.code.contains(&argument) {
            return None;
        }
        match argument {
            "--" => return arguments.get(at + 1..),
            _ if grammar.valued.contains(&argument) => at += 2,
            _ if argument.starts_with('-') => at += 1,
            _ => return arguments.get(at..),
        }
    }
    None
}

fn find(invocation: &Invocation<'_>, arguments: &[&str], grammar: &Grammar) -> Option<PathBuf> {
    invocation.script(positional(arguments, grammar)?, grammar.extensions)
}

/// Node, Bun, Deno: the nearest `package.json` that has a name.
pub(super) fn node(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let grammar = Grammar {
        valued: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
            "--env-file-if-exists",
            "--inspect-port",
            "--debug-port",
            "--title",
            "--icu-data-dir",
            "--preload",
            "--config",
            "--import-map",
            "--cert",
            "-c",
        ],
        code: &["-e", "--eval", "-p", "--print", "-pe"],
        extensions: &["js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx"],
    };
    let words = positional(arguments, &grammar)?;
    let words = match (invocation.executable, words) {
        ("bun" | "deno", ["run" | "serve" | "start", rest @ ..]) => positional(rest, &grammar)?,
        _ => words,
    };
    let script = invocation.script(words, grammar.extensions)?;
    // A tool out of node_modules works for the project that it is installed in.
    let project = script
        .ancestors()
        .find(|path| path.file_name().is_some_and(|name| name == "node_modules"));
    let project = project
        .and_then(Path::parent)
        .and_then(|path| package_name(invocation, path));
    if let Some(name) = project.or_else(|| package_name(invocation, script.parent()?)) {
        return Some(name);
    }
    let name = stem(&script, grammar.extensions)?;
    if name == "index" {
        script.parent().and_then(folder).or(Some(name))
    } else {
        Some(name)
    }
}

fn package_name(invocation: &Invocation<'_>, start: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Package {
        name: Option<String>,
    }

    start.ancestors().take(16).find_map(|path| {
        let text = invocation.root?.read(&path.join("package.json"), 1 << 20)?;
        serde_json::from_slice::<Package>(&text)
            .ok()?
            .name
            .filter(|name| !name.is_empty())
    })
}

/// Ruby: application servers go by the folder of their application.
pub(super) fn ruby(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let grammar = Grammar {
        valued: &["-r", "-I", "-C", "-E"],
        code: &["-e"],
        extensions: &["rb", "ru"],
    };
    let name = stem(&find(invocation, arguments, &grammar)?, grammar.extensions)?;
    match name.as_str() {
        "puma" | "unicorn" | "rails" | "rackup" | "thin" | "sidekiq" | "rake" | "bundle" => {
            invocation.directory.and_then(folder).or(Some(name))
        }
        _ => Some(name),
    }
}

pub(super) fn perl(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let grammar = Grammar {
        valued: &["-I"],
        code: &["-e", "-E", "-ne", "-pe", "-nE", "-we"],
        extensions: &["pl", "psgi"],
    };
    stem(&find(invocation, arguments, &grammar)?, grammar.extensions)
}

/// PHP: Laravel's `artisan` is named after its project.
pub(super) fn php(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let grammar = Grammar {
        valued: &["-d", "-c", "-z", "-S", "-t"],
        code: &["-r", "-B", "-R", "-E"],
        extensions: &["php", "phar"],
    };
    if arguments.contains(&"-S") {
        return invocation.directory.and_then(folder);
    }
    let script = find(invocation, arguments, &grammar)?;
    let name = stem(&script, grammar.extensions)?;
    match name.as_str() {
        "artisan" | "index" => script.parent().and_then(folder).or(Some(name)),
        _ => Some(name),
    }
}

pub(super) fn shell(invocation: &Invocation<'_>, arguments: &[&str]) -> Option<String> {
    let grammar = Grammar {
        valued: &["-o", "+o", "-O", "--rcfile", "--init-file"],
        code: &["-c", "-ec", "-xc", "-exc", "-lc", "-ic"],
        extensions: &["sh", "bash", "zsh"],
    };
    stem(&find(invocation, arguments, &grammar)?, grammar.extensions)
}

/// .NET: the assembly.
pub(super) fn dotnet(arguments: &[&str]) -> Option<String> {
    let assembly = arguments
        .iter()
        .find(|argument| !argument.starts_with('-') && argument.ends_with(".dll"))?;
    stem(Path::new(assembly), &["dll"])
}

/// Erlang: the node's name, before the host.
pub(super) fn erlang(arguments: &[&str]) -> Option<String> {
    let at = arguments
        .iter()
        .position(|argument| matches!(*argument, "-sname" | "-name"))?;
    let node = arguments.get(at + 1)?.split('@').next()?;
    Some(node.to_owned())
}
