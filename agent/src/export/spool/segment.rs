//! A file of records, one behind the other. What is damaged is stepped over, to the next header that is right.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::record::{DONE, HEADER, Header, MAGIC, STATE};

/// Bytes that are looked at in one piece in search of a header.
const WINDOW: usize = 64 * 1024;

/// What is at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record, all of whose bytes are there.
    Record(Header),
    /// The beginning of a record whose end was never written; nothing comes behind it.
    Torn(Header),
    /// No record, up to this place.
    Damaged(u64),
    /// Nothing more.
    End,
}

/// What is at `offset` in the first `size` bytes of `file`.
///
/// # Errors
/// Those of reading.
pub(super) fn step(file: &File, offset: u64, size: u64) -> io::Result<Step> {
    let left = size.saturating_sub(offset);
    if left == 0 {
        return Ok(Step::End);
    }
    if left < HEADER as u64 {
        return Ok(Step::Damaged(size));
    }
    match header(file, offset)? {
        Some(header) if header.size() <= left => Ok(Step::Record(header)),
        Some(header) => Ok(Step::Torn(header)),
        None => Ok(Step::Damaged(search(file, offset + 1, size)?)),
    }
}

fn header(file: &File, offset: u64) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Header::read(&bytes))
}

/// The next header from `offset` on, or `size`.
fn search(file: &File, mut offset: u64, size: u64) -> io::Result<u64> {
    let mut window = vec![0; WINDOW];
    while size - offset >= HEADER as u64 {
        let length = usize::try_from(size - offset).map_or(WINDOW, |left| left.min(WINDOW));
        let bytes = &mut window[..length];
        file.read_exact_at(bytes, offset)?;
        for at in memchr::memmem::find_iter(bytes, &MAGIC) {
            let place = offset + at as u64;
            if size - place >= HEADER as u64 && header(file, place)?.is_some() {
                return Ok(place);
            }
        }
        // The magic may lie across the end of the window.
        offset += (length - (MAGIC.len() - 1)) as u64;
    }
    Ok(size)
}

/// The content of the record at `offset`.
///
/// # Errors
/// Those of reading.
pub(super) fn content(file: &File, offset: u64, header: &Header) -> io::Result<Vec<u8>> {
    let mut content = vec![0; header.length as usize];
    file.read_exact_at(&mut content, offset + HEADER as u64)?;
    Ok(content)
}

/// Says of the record at `offset` that it need not be sent any more.
///
/// # Errors
/// Those of writing.
pub(super) fn finish(file: &File, offset: u64) -> io::Result<()> {
    file.write_all_at(&[DONE], offset + STATE)
}
