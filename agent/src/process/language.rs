//! The language that a process is written in, and the version of what runs it: from its executable and from the libraries in its
//! memory, so that an interpreter is found under whatever name it runs, and in whatever it is embedded.
//!
//! It may read tens of megabytes, so it is for whoever asks about services, and not for the thread that captures. What is in a file
//! is looked for once.

use super::elf::Sections;
use super::probe::FileId;
use super::root::Root;
use super::{Identity, Proc, Runtime, runtime};
use regex::bytes::Regex;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Of a section so much is looked through; that of Node.js has 45 MB.
const MAX_SCAN: u64 = 128 << 20;
/// Most files in the memory of a process.
const MAX_FILES: usize = 4_096;

/// What a version looks like in constant data: texts of C end with a NUL.
static PYTHON: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?-u)\x00(3\.1?\d\.\d{1,2}(?:(?:a|b|rc)\d+)?\+?)\x00"));
static NODE: LazyLock<Regex> = LazyLock::new(|| expression(r"(?-u)/node-v(\d+\.\d+\.\d+)[-.]"));
static RUBY: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"(?-u)\x00(ruby \d+\.\d+\.\d+[ p][^\x00+]{0,200}\) \[[^\x00\]]{1,60}\])\x00")
});
static PHP: LazyLock<Regex> = LazyLock::new(|| expression(r"(?-u)X-Powered-By: PHP/(\d+\.\d+\.\d+)"));
static HOTSPOT: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?-u)\x00((?:OpenJDK|Java HotSpot\(TM\)) [ -'*-~]{1,60} \([!-'*-~]{1,120}\) for linux-[0-9a-z]{1,20} JRE \([!-'*-~]{1,120}\))",
    )
});
static OTP: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?-u)Erlang/OTP (\d{1,4})(?: \[[A-Z0-9 ]{1,40}\])?%s \[erts-"));
static RUSTC: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?-u)rustc version (\d+\.\d+\.\d+[-a-z0-9.]*)"));
static RUST_SOURCE: LazyLock<Regex> = LazyLock::new(|| expression(r"(?-u)(/rustc/[0-9a-f]{40}/library/)"));

/// What an executable exports that is linked with an interpreter.
static EMBEDDED: [(&str, &str, &LazyLock<Regex>); 4] = [
    ("_PyRuntime", "cpython", &PYTHON),
    ("node_module_register", "nodejs", &NODE),
    ("ruby_init", "ruby", &RUBY),
    ("php_module_startup", "php", &PHP),
];

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("an expression")
}

/// What was found in files.
#[derive(Debug, Default)]
pub struct Languages(HashMap<(FileId, &'static str), Option<String>>);

/// What there is of a process.
struct Program<'a> {
    executable: PathBuf,
    /// Files in its memory.
    files: Vec<PathBuf>,
    root: Option<&'a Root>,
}

impl Languages {
    /// The language of a process, and its version where that can be told. `None` where its executable cannot be read.
    pub fn of(&mut self, proc: &Proc, identity: &Identity) -> Option<Runtime> {
        self.found(proc, identity, true)
    }

    /// The same, where there is a runtime: what is compiled to run by itself has none.
    pub(super) fn runtime(&mut self, proc: &Proc, identity: &Identity) -> Option<Runtime> {
        self.found(proc, identity, false)
    }

    /// Of how many files it is remembered what was found.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn found(&mut self, proc: &Proc, identity: &Identity, compiled: bool) -> Option<Runtime> {
        if let Some(runtime) = identity.runtime.as_ref().filter(|it| it.is_complete()) {
            return Some(runtime.clone());
        }
        let root = proc.root_of(identity.pid);
        let program = Program {
            executable: identity.executable.clone()?,
            files: proc.mapped(identity.pid, MAX_FILES),
            root: root.as_ref(),
        };
        let open = || proc.executable(identity.pid);
        let found = self.interpreter(&program, &open);
        let named = || identity.runtime.clone();
        let found = found.or_else(named).or_else(|| self.embedded(&open));
        match found {
            None if compiled => self.compiled(&program, &open()?),
            found => found,
        }
    }

    /// A runtime in a library, else in the executable that is called like it.
    fn interpreter(&mut self, program: &Program<'_>, open: &dyn Fn() -> Option<File>) -> Option<Runtime> {
        if let Some(library) = program.library("libjvm.so") {
            // HOME/lib/server/libjvm.so, of Java 8 HOME/jre/lib/amd64/server/libjvm.so
            let home = library.ancestors().nth(3)?;
            let text = |path: &str| program.root?.text(&home.join(path), runtime::MAX_TEXT);
            let release = ["release", "../release", "../../release"]
                .iter()
                .find_map(|it| text(it));
            let file = program.root.and_then(|root| root.open(library));
            let machine = file.and_then(|file| self.text(file, ".rodata", "java", &HOTSPOT));
            return Some(runtime::java_with(
                &release.unwrap_or_default(),
                machine.as_deref(),
            ));
        }
        if let Some(library) = program.library("libcoreclr.so") {
            return Some(runtime::dot_net(library.parent().and_then(folder_of_version)));
        }
        let name = program.executable.file_name()?.to_str()?;
        if name.starts_with("beam.") {
            // .../erts-13.1.5/bin/beam.smp
            let erts = program.executable.ancestors().nth(2).and_then(Path::file_name);
            let erts = erts.and_then(|erts| erts.to_str()?.strip_prefix("erts-"));
            let otp = open().and_then(|file| self.text(file, ".data", "otp", &OTP));
            return Some(runtime::beam(otp.as_deref(), erts));
        }
        for (begin, library, name_of_runtime, pattern) in [
            ("node", "libnode.so", "nodejs", &NODE),
            ("python", "libpython", "cpython", &PYTHON),
            ("ruby", "libruby", "ruby", &RUBY),
            ("php", "libphp", "php", &PHP),
        ] {
            let file = match program.library(library) {
                Some(path) => program.root.and_then(|root| root.open(path)),
                None if name.starts_with(begin) => open(),
                None => continue,
            };
            let text = file.and_then(|file| self.text(file, ".rodata", name_of_runtime, pattern));
            return Some(Runtime::told(name_of_runtime, text));
        }
        None
    }

    /// An interpreter in an executable of any name, by what it has for modules that are loaded into it.
    fn embedded(&mut self, executable: &dyn Fn() -> Option<File>) -> Option<Runtime> {
        let file = executable()?;
        let key = (FileId::from(&file.metadata().ok()?), "symbols");
        let known = self.0.get(&key).cloned();
        let symbol = known.unwrap_or_else(|| {
            let names = EMBEDDED.each_ref().map(|(symbol, ..)| *symbol);
            let addresses = Sections::read(file).and_then(|sections| sections.exported(names));
            let found = addresses.and_then(|addresses| addresses.iter().position(Option::is_some));
            let symbol = found.map(|at| names[at].to_owned());
            self.0.insert(key, symbol.clone());
            symbol
        })?;
        let (_, name, pattern) = EMBEDDED.iter().find(|(known, ..)| *known == symbol)?;
        let text = executable().and_then(|file| self.text(file, ".rodata", name, pattern));
        Some(Runtime::told(name, text))
    }

    /// What the compiler has left.
    fn compiled(&mut self, program: &Program<'_>, executable: &File) -> Option<Runtime> {
        let again = || executable.try_clone().ok();
        if let Some(version) = self.text(again()?, ".comment", "rust", &RUSTC) {
            return Some(Runtime::new("rust", Some(version)));
        }
        // Panics name the standard library's source.
        let is_rust = self.text(again()?, ".rodata", "rust", &RUST_SOURCE).is_some();
        let name = match program.library("libstdc++.so").is_some() {
            _ if is_rust => "rust",
            true => "c++",
            false => "c/c++",
        };
        Some(Runtime::new(name, None))
    }

    /// The first group of `pattern` in a section of a file.
    fn text(
        &mut self,
        file: File,
        section: &'static str,
        what: &'static str,
        pattern: &Regex,
    ) -> Option<String> {
        let id = FileId::from(&file.metadata().ok()?);
        let key = (id, if section == ".comment" { section } else { what });
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        let found = Sections::read(file).and_then(|sections| {
            let section = sections.named(section)?;
            sections.find(section, MAX_SCAN, pattern)
        });
        self.0.insert(key, found.clone());
        found
    }
}

impl Program<'_> {
    /// The first library whose file name begins so.
    fn library(&self, begin: &str) -> Option<&Path> {
        let begins = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(begin) && name.contains(".so"))
        };
        self.files.iter().find(begins).map(PathBuf::as_path)
    }
}

/// `8.0.11`, of `.../Microsoft.NETCore.App/8.0.11`.
fn folder_of_version(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    name.starts_with(|first: char| first.is_ascii_digit())
        .then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
