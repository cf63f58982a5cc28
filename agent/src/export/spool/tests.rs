//! Spools that are cut, damaged, full, foreign, killed.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use proptest::prelude::*;

use super::super::form::Request;
use super::super::sample::Tmpfs;
use super::*;

/// A spool's only segment, in bytes.
fn only_segment(path: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = segments(path);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path.join("spool/one")).unwrap();
    let mut found: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn settings(path: &Path) -> Settings {
    Settings {
        directory: path.join("spool"),
        max_size: 16 << 20,
        max_age: Duration::from_hours(1),
        fsync: Fsync::Never,
        rate: 0,
    }
}

fn open(settings: &Settings) -> (Store, Arc<Health>) {
    let health = Arc::new(Health::default());
    let directory = opened(&settings.directory);
    let folder = directory.folder("one").unwrap();
    (
        Store::open(folder, settings.clone(), health.clone()).unwrap(),
        health,
    )
}

/// Opens a directory that was closed just now: what another test starts has its lock until it runs its program.
fn opened(path: &Path) -> Arc<Directory> {
    for _ in 0..1000 {
        match Directory::open(path) {
            Err(SpoolError::InUse { .. }) => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays in use", path.display());
}

/// A request that zstd makes no smaller, of as many spans as its number.
fn request(number: u8, size: usize) -> Request {
    let mut state = u64::from(number) + 1;
    let bytes = (0..size).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    Request {
        spans: number.into(),
        bytes: bytes.collect(),
    }
}

/// Everything that is to be sent, which is then done.
fn all(store: &mut Store) -> Vec<Request> {
    std::iter::from_fn(|| {
        let stored = store.oldest()?;
        store.done(&stored);
        Some(stored.request)
    })
    .collect()
}

#[test]
fn what_was_stored_comes_back_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let requests: Vec<Request> = (1..=9).map(|number| request(number, 100)).collect();
    let (mut store, health) = open(&settings);
    for request in &requests[..6] {
        store.append(request).unwrap();
    }
    let first = store.oldest().unwrap();
    assert_eq!(first.request, requests[0]);
    // What could not be sent is the oldest again.
    assert!(store.keep(&first));
    let first = store.oldest().unwrap();
    store.done(&first);
    assert_eq!(health.value(Counter::SpoolStored), 21);
    drop(store);
    let (mut store, health) = open(&settings);
    assert_eq!((health.value(Counter::SpoolFound), store.waiting()), (20, 20));
    for request in &requests[6..] {
        store.append(request).unwrap();
    }
    assert_eq!(all(&mut store), requests[1..]);
    assert_eq!((store.waiting(), store.bytes()), (0, 0));
    drop(store);
    let (mut store, _) = open(&settings);
    assert_eq!((all(&mut store), segments(folder.path())), (vec![], vec![]));
}

#[test]
fn a_cut_at_any_byte_takes_only_what_it_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let requests: Vec<Request> = (1..=4)
        .map(|number| request(number, 20 + usize::from(number)))
        .collect();
    let (mut store, _) = open(&settings);
    let ends: Vec<u64> = requests
        .iter()
        .map(|request| {
            store.append(request).unwrap();
            store.bytes()
        })
        .collect();
    drop(store);
    let file = only_segment(folder.path());
    let whole = fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let (mut store, health) = open(&settings);
        let kept = ends.iter().filter(|end| **end <= cut as u64).count();
        assert_eq!(all(&mut store), requests[..kept], "{cut}");
        // What a header is left of is known to the span.
        let begin = kept.checked_sub(1).map_or(0, |last| ends[last]);
        let left = cut as u64 - begin;
        let lost = if left >= record::HEADER as u64 {
            requests[kept].spans
        } else {
            0
        };
        let gaps = u64::from((1..record::HEADER as u64).contains(&left));
        let counted = (
            health.value(Counter::SpansSpoolDamaged),
            health.value(Counter::SpoolGaps),
        );
        assert_eq!(counted, (lost, gaps), "{cut}");
        // And what comes behind is stored as ever.
        store.append(&requests[0]).unwrap();
        assert_eq!(all(&mut store), requests[..1]);
        for left in segments(folder.path()) {
            fs::remove_file(left).unwrap();
        }
    }
}

#[test]
fn a_bit_that_flips_anywhere_never_changes_what_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let requests: Vec<Request> = (1..=3).map(|number| request(number, 20)).collect();
    let (mut store, _) = open(&settings);
    let mut ends = vec![0];
    for request in &requests {
        store.append(request).unwrap();
        ends.push(usize::try_from(store.bytes()).unwrap());
    }
    drop(store);
    let file = only_segment(folder.path());
    let whole = fs::read(&file).unwrap();
    for bit in 0..whole.len() * 8 {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        let mut flipped = whole.clone();
        flipped[byte] ^= mask;
        fs::write(&file, &flipped).unwrap();
        let (mut store, health) = open(&settings);
        let found = all(&mut store);
        let hit = ends.iter().filter(|end| **end <= byte).count() - 1;
        let in_state = byte - ends[hit] == usize::try_from(record::STATE).unwrap();
        let mut expect = requests.clone();
        if !in_state {
            expect.remove(hit);
        }
        assert_eq!(found, expect, "{bit}");
        let counted = health.value(Counter::SpansSpoolDamaged) + health.value(Counter::SpoolGaps);
        assert_eq!(counted > 0, !in_state, "{bit}");
        drop(store);
        let _ = fs::remove_file(&file);
    }
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_size: 10_000,
        ..settings(folder.path())
    };
    let (mut store, health) = open(&settings);
    let requests: Vec<Request> = (1..=100).map(|number| request(number, 500)).collect();
    for request in &requests {
        store.append(request).unwrap();
        assert!(store.bytes() <= 10_000);
    }
    let found = all(&mut store);
    assert_eq!(found, requests[requests.len() - found.len()..]);
    let (kept, lost): (u64, u64) = (
        found.iter().map(|request| request.spans).sum(),
        health.value(Counter::SpansSpoolFull),
    );
    assert_eq!(kept + lost, 5050);
    assert!(found.len() >= 12, "{}", found.len());
    let larger = request(1, 20_000);
    assert!(store.append(&larger).is_err());
}

#[test]
fn what_is_being_sent_while_it_is_dropped_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    for is_delivered in [true, false] {
        let (mut store, health) = open(&settings(folder.path()));
        store.append(&request(3, 10)).unwrap();
        store.append(&request(4, 10)).unwrap();
        let sending = store.oldest().unwrap();
        assert!(store.drop_oldest() && !store.drop_oldest());
        assert_eq!(health.value(Counter::SpansSpoolFull), 4);
        store.append(&request(5, 10)).unwrap();
        if is_delivered {
            store.done(&sending);
        } else {
            assert!(!store.keep(&sending));
        }
        let lost = if is_delivered { 4 } else { 7 };
        assert_eq!(health.value(Counter::SpansSpoolFull), lost);
        assert_eq!(all(&mut store), [request(5, 10)]);
    }
}

#[test]
fn what_is_too_old_is_counted_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_age: Duration::from_millis(200),
        ..settings(folder.path())
    };
    let (mut store, health) = open(&settings);
    store.append(&request(3, 10)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    store.append(&request(4, 10)).unwrap();
    assert_eq!(all(&mut store), [request(4, 10)]);
    assert_eq!(health.value(Counter::SpansSpoolExpired), 3);
}

#[test]
fn a_large_spool_is_many_files_of_which_few_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&settings(folder.path()));
    let requests: Vec<Request> = (1..=15).map(|number| request(number, 1 << 20)).collect();
    for request in &requests {
        store.append(request).unwrap();
    }
    assert_eq!(segments(folder.path()).len(), 5);
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let here = folder.path().canonicalize().unwrap();
    let open = links
        .filter_map(|link| fs::read_link(link.unwrap().path()).ok())
        .filter(|file| file.starts_with(&here) && file.extension().is_some_and(|end| end == "spool"));
    assert!(open.count() <= 2);
    assert_eq!(all(&mut store), requests);
    assert_eq!(segments(folder.path()).len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model: what was stored, less what was sent, whatever restarts come in between.
    #[test]
    fn stores_sends_and_restarts_in_any_order_lose_nothing(acts in proptest::collection::vec(0u8..4, 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let (mut store, _) = open(&settings);
        let (mut model, mut number) = (std::collections::VecDeque::new(), 0);
        for act in acts {
            match act {
                0 | 1 => {
                    number += 1;
                    model.push_back(request(number, usize::from(number) * 7));
                    store.append(model.back().unwrap()).unwrap();
                }
                2 => {
                    let stored = store.oldest();
                    prop_assert_eq!(stored.as_ref().map(|stored| &stored.request), model.front());
                    if let Some(stored) = stored {
                        store.done(&stored);
                        model.pop_front();
                    }
                }
                _ => {
                    drop(store);
                    store = open(&settings).0;
                }
            }
            prop_assert_eq!(store.waiting(), model.iter().map(|request| request.spans).sum::<u64>());
        }
        prop_assert_eq!(all(&mut store), Vec::from(model));
    }

    /// Bytes that nobody wrote are no requests, and nothing panics on them.
    #[test]
    fn a_file_of_anything_is_read_to_its_end(
        parts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        drop(open(&settings));
        let mut bytes = Vec::new();
        let mut expect = Vec::new();
        for (is_record, part) in parts {
            if is_record {
                let request = Request { spans: 1, bytes: Bytes::from(part) };
                bytes.extend_from_slice(&record::record(&request, std::time::SystemTime::now()).unwrap());
                expect.push(request);
            } else {
                bytes.extend_from_slice(&part);
            }
        }
        fs::write(settings.directory.join("one/0000000000000000.spool"), &bytes).unwrap();
        let (mut store, _) = open(&settings);
        prop_assert_eq!(all(&mut store), expect);
    }
}

#[test]
fn a_directory_that_others_have_a_hand_in_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let refusal = |path: &Path| Directory::open(path).unwrap_err();
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o1777, 0o720, 0o702] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, SpoolError::NotOurs { .. }), "{error}");
        assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let opened = Directory::open(&path).unwrap();
    assert!(matches!(refusal(&path), SpoolError::InUse { .. }));
    drop(opened);
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(refusal(&link), SpoolError::NoDirectory { .. }));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(refusal(&file), SpoolError::NoDirectory { .. }));
    // One endpoint's folder may be no link, either.
    symlink(folder.path(), path.join("one")).unwrap();
    let opened = Directory::open(&path).unwrap();
    assert!(matches!(
        opened.folder("one"),
        Err(SpoolError::NoDirectory { .. })
    ));
    drop(opened);
    // To give a directory away takes root.
    if chown(&path, Some(4711), None).is_ok() {
        let error = refusal(&path).to_string();
        assert!(error.contains("belongs to uid 4711"), "{error}");
    }
}

#[test]
fn it_is_made_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        directory: folder.path().join("var/lib/spool"),
        ..settings(folder.path())
    };
    let (mut store, _) = open(&settings);
    store.append(&request(1, 10)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&settings.directory), 0o700);
    assert_eq!(mode(&settings.directory.join("one")), 0o700);
    assert_eq!(
        mode(&settings.directory.join("one/0000000000000000.spool")),
        0o600
    );
    // A link in a segment's place is not followed.
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    drop(store);
    symlink(&victim, settings.directory.join("one/00000000000000ff.spool")).unwrap();
    let (mut store, _) = open(&settings);
    assert_eq!(all(&mut store), [request(1, 10)]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_full_disk_takes_nothing_of_what_is_stored_and_is_used_again_when_there_is_room() {
    let Some(disk) = Tmpfs::mount("256k") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let (mut store, _) = open(&settings(disk.path()));
    let mut kept = Vec::new();
    let error = loop {
        let request = request(u8::try_from(kept.len() + 1).unwrap(), 10_000);
        match store.append(&request) {
            Ok(()) => kept.push(request),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    assert!((20..=26).contains(&kept.len()), "{}", kept.len());
    // Half a record would be a torn one.
    drop(store);
    let (mut store, health) = open(&settings(disk.path()));
    assert_eq!(all(&mut store), kept);
    assert_eq!(
        health.value(Counter::SpansSpoolDamaged) + health.value(Counter::SpoolGaps),
        0
    );
    store.append(&request(1, 10_000)).unwrap();
    assert_eq!(all(&mut store).len(), 1);
}

/// What `a_killed_process_has_stored_what_it_said_so_of` starts again and again, and kills: it stores requests, and says so of
/// each.
#[test]
#[ignore = "to be started by another test"]
fn a_process_that_stores_until_it_is_killed() {
    let Some(path) = std::env::var_os("SPANWIRE_TEST_SPOOL") else {
        return;
    };
    let (mut store, _) = open(&settings(Path::new(&path)));
    for number in 1..=u8::MAX {
        let request = request(number, 1 + usize::from(number) * 400);
        store.append(&request).unwrap();
        println!("stored {number}");
        if number % 3 == 0 {
            let oldest = store.oldest().unwrap();
            store.done(&oldest);
            println!("sent {}", oldest.request.spans);
        }
    }
}

#[test]
fn a_killed_process_has_stored_what_it_said_so_of() {
    let test = "export::spool::tests::a_process_that_stores_until_it_is_killed";
    for round in 0_u64..12 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("SPANWIRE_TEST_SPOOL", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        // Killed in the middle of whatever comes behind that many lines.
        let mut said: Vec<String> = lines
            .by_ref()
            .filter(|line| line.contains("stored ") || line.contains("sent "))
            .take(usize::try_from(1 + round * round).unwrap())
            .collect();
        std::thread::sleep(Duration::from_micros(137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines);
        let numbers = |what: &str| -> Vec<u8> {
            let numbers = said
                .iter()
                .filter_map(|line| line.split(what).nth(1)?.trim().parse().ok());
            numbers.collect()
        };
        let (stored, sent) = (numbers("stored "), numbers("sent "));
        let (mut store, health) = open(&settings(folder.path()));
        let found: Vec<u8> = all(&mut store)
            .into_iter()
            .map(|found| {
                let number = u8::try_from(found.spans).unwrap();
                assert_eq!(found, request(number, 1 + usize::from(number) * 400));
                number
            })
            .collect();
        // One more may have been written, or sent, than was said.
        let expect: Vec<u8> = stored
            .iter()
            .copied()
            .filter(|number| !sent.contains(number))
            .collect();
        let without = |list: &[u8]| {
            list.iter()
                .copied()
                .filter(|number| expect.contains(number))
                .collect::<Vec<_>>()
        };
        let missing: Vec<u8> = expect
            .iter()
            .copied()
            .filter(|number| !found.contains(number))
            .collect();
        assert!(
            missing.len() <= 1 && missing.iter().all(|number| *number == expect[0]),
            "{missing:?}"
        );
        assert!(
            without(&found).windows(2).all(|pair| pair[0] < pair[1]),
            "{found:?}"
        );
        assert!(found.len() <= expect.len() + 1, "{found:?} {expect:?}");
        assert!(health.value(Counter::SpoolGaps) <= 1);
    }
}
