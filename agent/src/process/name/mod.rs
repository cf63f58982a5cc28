//! The name a person would give to a process, from its command line.
//!
//! Arguments may be secrets. What is taken as a name is only what its place says to be one: the script that an
//! interpreter runs (if there is such a file), a module, a jar, a class, an application of an application server.

mod java;
mod python;
mod script;

use super::root::Root;
use super::runtime::Family;
use std::path::{Component, Path, PathBuf};

/// Longer is no name.
const MAX_NAME: usize = 128;

/// How a process was started.
pub(super) struct Invocation<'a> {
    /// File name of the executable.
    pub(super) executable: &'a str,
    pub(super) family: Family,
    /// With the command itself as the first.
    pub(super) arguments: &'a [String],
    /// Working directory.
    pub(super) directory: Option<&'a Path>,
    pub(super) root: Option<&'a Root>,
}

/// The name, if the command line suggests one.
pub(super) fn infer(invocation: &Invocation<'_>) -> Option<String> {
    let words = split_title(invocation);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let arguments = words.get(1..).unwrap_or_default();
    let name = match title(invocation, &words) {
        Some(name) => Some(name),
        None => match invocation.family {
            Family::Python | Family::PyPy => python::name(invocation, arguments),
            Family::Node => script::node(invocation, arguments),
            Family::Ruby => script::ruby(invocation, arguments),
            Family::Perl => script::perl(invocation, arguments),
            Family::Php => script::php(invocation, arguments),
            Family::Shell => script::shell(invocation, arguments),
            Family::DotNet => script::dotnet(arguments),
            Family::Erlang => script::erlang(arguments),
            Family::Java => java::name(arguments),
            Family::MultiCall => words.first().and_then(|word| stem(Path::new(word), &[])),
            Family::Native => Some(invocation.executable.to_owned()),
        },
    };
    name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control))
}

/// PM2 and others write `node /srv/app.js` over the arguments as one: words again.
fn split_title(invocation: &Invocation<'_>) -> Vec<String> {
    match invocation.arguments {
        [title] if title.contains(' ') => {
            let first = title.split(' ').next().unwrap_or_default();
            let program = first.rsplit('/').next().unwrap_or_default();
            if Family::of(program) == invocation.family && invocation.family != Family::Native {
                return title.split_whitespace().map(str::to_owned).collect();
            }
            invocation.arguments.to_vec()
        }
        arguments => arguments.to_vec(),
    }
}

/// The name in a title that an interpreted program gave itself: `gunicorn: worker [blog]`, `puma 6.4.0 (tcp://...) [shop]`,
/// `celeryd: ...`, `next-server (v14)`. A native program's own file name is better than its title.
fn title(invocation: &Invocation<'_>, words: &[&str]) -> Option<String> {
    let [title] = words else { return None };
    if !title.contains(' ') || matches!(invocation.family, Family::Native | Family::Java) {
        return None;
    }
    let bracketed = title
        .trim_end()
        .strip_suffix(']')
        .and_then(|start| Some(start.rsplit_once('[')?.1));
    if let Some(name) = bracketed.and_then(python::application) {
        return Some(name);
    }
    let first = title.split(' ').next()?.trim_end_matches(':');
    stem(Path::new(first), &[])
}

/// File name without one of the extensions.
fn stem(path: &Path, extensions: &[&str]) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = extensions
        .iter()
        .find_map(|extension| name.strip_suffix(extension)?.strip_suffix('.'));
    Some(stem.filter(|stem| !stem.is_empty()).unwrap_or(name).to_owned())
}

/// Name of the folder that a project lies in. Deployments by release (`shop/releases/20260102`, `shop/current`) are
/// named after what was released.
fn folder(path: &Path) -> Option<String> {
    let mut path = path;
    loop {
        let name = path.file_name()?.to_str()?;
        let release = name.bytes().all(|byte| byte.is_ascii_digit());
        if !release && !matches!(name, "releases" | "current" | "src") {
            return Some(name.to_owned());
        }
        path = path.parent()?;
    }
}

impl Invocation<'_> {
    /// `path` from the process's working directory, without `.` and `..`.
    fn absolute(&self, path: &str) -> Option<PathBuf> {
        let mut absolute = PathBuf::from("/");
        for part in self.directory.unwrap_or(Path::new("/")).join(path).components() {
            match part {
                Component::Normal(name) => absolute.push(name),
                Component::ParentDir => drop(absolute.pop()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        (self.directory.is_some() || path.starts_with('/')).then_some(absolute)
    }

    /// The first of `words` that is a script: a file that exists, or, where it does not or we may not look, at least the
    /// name of one. Another word may be an option's value that we do not know as such, and could be a secret.
    fn script(&self, words: &[&str], extensions: &[&str]) -> Option<PathBuf> {
        let named = |path: &Path| {
            path.extension()
                .and_then(|it| it.to_str())
                .is_some_and(|it| extensions.contains(&it))
        };
        words
            .iter()
            .filter(|word| !word.starts_with('-'))
            .find_map(|word| {
                let path = self.absolute(word).or_else(|| Some(PathBuf::from(word)))?;
                let exists = self.root.is_some_and(|root| root.has(&path));
                (exists || named(&path)).then_some(path)
            })
    }
}

#[cfg(test)]
mod tests;
