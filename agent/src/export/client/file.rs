//! A file of requests, one a line, as the collector's file exporter writes it. When it is full, it becomes `NAME.1`, what was
//! that `NAME.2`, and so on.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;

use super::{Accepted, Failure};
use crate::export::form::Request;
use crate::export::settings::{Rotation, SettingsError};

/// Spans in it are for its owner alone.
const MODE: u32 = 0o600;

/// Bytes that are looked at in one piece in search of the end of a line.
const WINDOW: u64 = 64 * 1024;

/// See the module.
pub(super) struct Client(Arc<Mutex<Writer>>);

impl Client {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn new(path: &Path, rotation: Rotation) -> Result<Self, SettingsError> {
        let mut writer = Writer {
            path: path.to_owned(),
            rotation,
            open: None,
        };
        writer.file().map_err(|source| SettingsError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(Arc::new(Mutex::new(writer))))
    }

    /// Disks are slow: it is written in a thread for that.
    pub(super) async fn send(&self, request: &Request) -> Result<Accepted, Failure> {
        let (writer, bytes) = (Arc::clone(&self.0), request.bytes.clone());
        let written = tokio::task::spawn_blocking(move || {
            // What a panic left behind is put right before the next line.
            writer.lock().unwrap_or_else(PoisonError::into_inner).line(&bytes)
        });
        let written = written
            .await
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        written
            .map(|()| Accepted::default())
            .map_err(|error| Failure::unreachable(error.to_string()))
    }
}

struct Writer {
    path: PathBuf,
    rotation: Rotation,
    /// With its size, all of it whole lines.
    open: Option<(File, u64)>,
}

impl Writer {
    /// Writes all of a line, or nothing.
    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64 + 1;
        let (_, size) = self.file()?;
        if size > 0 && size + length > self.rotation.max_size {
            self.open = None;
            self.rotate()?;
        }
        let (mut file, size) = self.file()?;
        let written = file.write_all(bytes).and_then(|()| file.write_all(b"\n"));
        match written {
            Ok(()) => self.open = Some((file, size + length)),
            Err(_) => {
                // Where that fails as well, it is done when the file is opened.
                self.open = file.set_len(size).is_ok().then_some((file, size));
            }
        }
        written
    }

    /// The file that is called so now: others may have moved it.
    fn file(&mut self) -> io::Result<(File, u64)> {
        if let Some((file, size)) = &self.open {
            let (ours, named) = (file.metadata()?, fs::symlink_metadata(&self.path));
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                return Ok((file.try_clone()?, *size));
            }
        }
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let size = whole_lines(&file, metadata.len())?;
        if size < metadata.len() {
            // A line that we were killed in.
            file.set_len(size)?;
        }
        self.open = Some((file.try_clone()?, size));
        Ok((file, size))
    }

    fn rotate(&self) -> io::Result<()> {
        let older = |number: u32| -> PathBuf {
            let mut name = OsString::from(&self.path);
            name.push(format!(".{number}"));
            name.into()
        };
        for number in (1..self.rotation.max_files.saturating_sub(1)).rev() {
            match fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.rotation.max_files > 1 {
            fs::rename(&self.path, older(1))
        } else {
            fs::remove_file(&self.path)
        }
    }
}

/// Bytes up to the end of the last line that has one.
fn whole_lines(file: &File, size: u64) -> io::Result<u64> {
    let mut end = size;
    while end > 0 {
        let begin = end.saturating_sub(WINDOW);
        let mut window = vec![0; usize::try_from(end - begin).unwrap_or_default()];
        file.read_exact_at(&mut window, begin)?;
        if let Some(at) = memchr::memrchr(b'\n', &window) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::Tmpfs;
    use std::os::unix::fs::symlink;

    fn writer(path: &Path, max_size: u64, max_files: u32) -> Writer {
        Writer {
            path: path.to_owned(),
            rotation: Rotation { max_size, max_files },
            open: None,
        }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| error.kind().to_string())
    }

    #[test]
    fn full_files_are_kept_up_to_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        let mut files = writer(&path, 10, 3);
        for line in [
            "aaaa",
            "bbbb",
            "cccc",
            "a line that is longer",
            "dddd",
            "eeee",
            "ffff",
        ] {
            files.line(line.as_bytes()).unwrap();
        }
        let older = |number: u32| text(&folder.path().join(format!("traces.jsonl.{number}")));
        assert_eq!(text(&path), "ffff\n");
        assert_eq!(
            (older(1).as_str(), older(2).as_str()),
            ("dddd\neeee\n", "a line that is longer\n")
        );
        assert_eq!(older(3), "entity not found");
        // The same file goes on after a restart.
        writer(&path, 10, 3).line(b"gggg").unwrap();
        assert_eq!(text(&path), "ffff\ngggg\n");
        writer(&path, 10, 1).line(b"hhhh").unwrap();
        assert_eq!(
            (text(&path).as_str(), older(1).as_str()),
            ("hhhh\n", "dddd\neeee\n")
        );
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_line_that_was_cut_is_taken_back_and_a_file_that_was_moved_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        for (before, expect) in [("{}\n{\"a", "{}\nx\n"), ("{\"a", "x\n"), ("{}\n", "{}\nx\n")] {
            fs::write(&path, before).unwrap();
            writer(&path, 100, 2).line(b"x").unwrap();
            assert_eq!(text(&path), expect);
        }
        let long = "y".repeat(200_000);
        fs::write(&path, format!("{{}}\n{long}")).unwrap();
        let mut file = writer(&path, 100, 2);
        file.line(b"x").unwrap();
        assert_eq!(text(&path), "{}\nx\n");
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        file.line(b"z").unwrap();
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("{}\nx\n", "z\n"));
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (link, victim) = (folder.path().join("link"), folder.path().join("victim"));
        fs::write(&victim, "precious\n").unwrap();
        symlink(&victim, &link).unwrap();
        let rotation = Rotation {
            max_size: 9,
            max_files: 2,
        };
        for path in [
            &link,
            folder.path(),
            Path::new("/dev/null"),
            Path::new("/absent/file"),
        ] {
            assert!(
                matches!(Client::new(path, rotation), Err(SettingsError::File { .. })),
                "{}",
                path.display()
            );
        }
        assert_eq!(text(&victim), "precious\n");
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let Some(disk) = Tmpfs::mount("64k") else {
            eprintln!("skipped: no file system can be mounted here");
            return;
        };
        let path = disk.path().join("traces.jsonl");
        let mut file = writer(&path, 1 << 20, 2);
        let line = "x".repeat(9_999);
        let error = (0..9).find_map(|_| file.line(line.as_bytes()).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(text(&path), format!("{line}\n").repeat(6));
        file.line(b"short").unwrap();
        assert!(text(&path).ends_with("x\nshort\n"));
    }
}
