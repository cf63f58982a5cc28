//! Where frames begin behind a loss.

use super::Flow;
use super::fields::Fields;
use super::frame::{HEADER, Header, Kind};
use super::head::Head;
use super::hpack::Decoder;

/// What frames in a row have to weigh. Each is one, and a head two: it decodes, and has the right pseudo-header field.
const PROOF: u32 = 3;

/// Most places that are looked at again when more bytes are there. Few bytes look like a frame's header by chance.
const CANDIDATES: usize = 64;

/// Bytes of one direction since its frames were lost.
#[derive(Debug)]
pub(super) struct Search<S> {
    bytes: Vec<u8>,
    /// Stamps, and the places from which they hold.
    stamps: Vec<(usize, S)>,
    /// Places from which frames may be in a row, as far as can be seen.
    candidates: Vec<usize>,
}

/// Bytes from where frames were found, in parts of one stamp each.
pub(super) struct Found<S> {
    bytes: Vec<u8>,
    stamps: Vec<(usize, S)>,
    from: usize,
}

impl<S: Copy> Search<S> {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            stamps: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Adds `data`; `Some` where it completes the proof. Of what came before, `limit` bytes are kept.
    pub(super) fn push(&mut self, flow: Flow, stamp: S, data: &[u8], limit: usize) -> Option<Found<S>> {
        let scanned = self.bytes.len();
        self.stamps.push((scanned, stamp));
        self.bytes.extend_from_slice(data);
        let places = self.candidates.iter().copied().chain(scanned..self.bytes.len());
        let mut candidates = Vec::new();
        for place in places {
            match prove(flow, &self.bytes[place..]) {
                Proof::No => {}
                Proof::Perhaps => candidates.push(place),
                Proof::Yes => {
                    return Some(Found {
                        bytes: std::mem::take(&mut self.bytes),
                        stamps: std::mem::take(&mut self.stamps),
                        from: place,
                    });
                }
            }
        }
        let excess = candidates.len().saturating_sub(CANDIDATES);
        candidates.drain(..excess);
        self.candidates = candidates;
        self.drop_front(limit);
        None
    }

    /// No more will come, and this is HTTP/2: frames in a row up to the very end, of them a head, are proof enough.
    pub(super) fn end(&mut self, flow: Flow) -> Option<Found<S>> {
        let bytes = &self.bytes;
        let is_proof = |place: &usize| is_whole(&bytes[*place..]) && has_head(flow, &bytes[*place..]);
        let from = self.candidates.iter().copied().find(is_proof)?;
        Some(Found {
            bytes: std::mem::take(&mut self.bytes),
            stamps: std::mem::take(&mut self.stamps),
            from,
        })
    }

    /// Drops what is before the first candidate, and whatever is over `limit`.
    fn drop_front(&mut self, limit: usize) {
        let length = self.bytes.len();
        let over = length.saturating_sub(limit);
        self.candidates.retain(|place| *place >= over);
        let front = self.candidates.first().copied().unwrap_or(length);
        self.bytes.drain(..front);
        self.candidates.iter_mut().for_each(|place| *place -= front);
        // The last stamp before the front holds at the front.
        let stale = self
            .stamps
            .partition_point(|(from, _)| *from <= front)
            .saturating_sub(1);
        self.stamps.drain(..stale);
        for (from, _) in &mut self.stamps {
            *from = from.saturating_sub(front);
        }
    }
}

impl<S: Copy> Found<S> {
    /// The bytes, with their stamps.
    pub(super) fn parts(&self) -> impl Iterator<Item = (S, &[u8])> {
        let ends = self.stamps.iter().skip(1).map(|(from, _)| *from);
        let ends = ends.chain([self.bytes.len()]);
        self.stamps.iter().zip(ends).filter_map(|((from, stamp), end)| {
            let part = self.bytes.get((*from).max(self.from)..end)?;
            (!part.is_empty()).then_some((*stamp, part))
        })
    }
}

/// Tells which direction of an HTTP/2 connection `data` is from, joined at a frame's first byte; `None` where that
/// cannot be told from it. Takes several frames in a row, of them a head.
#[must_use]
pub fn recognise(data: &[u8]) -> Option<Flow> {
    [Flow::Request, Flow::Response]
        .into_iter()
        .find(|flow| has_head(*flow, data) && prove(*flow, data) == Proof::Yes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    No,
    /// So far, but there are too few.
    Perhaps,
    Yes,
}

/// Whether frames in a row begin with the first of `bytes`.
fn prove(flow: Flow, bytes: &[u8]) -> Proof {
    let mut weight = 0;
    let mut open = None;
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::parse(header);
        let continues = header.kind == Kind::Continuation;
        if !header.is_usual() || !may_send(flow, &header) || open != continues.then_some(header.stream) {
            return Proof::No;
        }
        let payload = behind.get(..header.length as usize);
        weight += match payload {
            Some(payload) => match weigh(flow, &header, payload) {
                Some(weight) => weight,
                None => return Proof::No,
            },
            None => 1,
        };
        if weight >= PROOF {
            return Proof::Yes;
        }
        let begins = matches!(
            header.kind,
            Kind::Headers | Kind::PushPromise | Kind::Continuation
        );
        open = (begins && !header.ends_headers()).then_some(header.stream);
        let Some(payload) = payload else {
            return Proof::Perhaps;
        };
        rest = &behind[payload.len()..];
    }
    Proof::Perhaps
}

/// Whether that side opens or answers such streams (RFC 9113, sections 5.1.1 and 8.4).
fn may_send(flow: Flow, header: &Header) -> bool {
    let by_client = header.stream % 2 == 1;
    match header.kind {
        Kind::Data | Kind::Headers | Kind::Continuation => by_client || flow == Flow::Response,
        Kind::PushPromise => by_client && flow == Flow::Response,
        _ => true,
    }
}

/// What a whole frame counts; `None` where its payload is not what its header says.
fn weigh(flow: Flow, header: &Header, payload: &[u8]) -> Option<u32> {
    match header.kind {
        Kind::Headers if header.ends_headers() => {
            let head = decode(header, payload)?;
            Some(if is_of(flow, &head) { 2 } else { 1 })
        }
        Kind::WindowUpdate => (payload != [0; 4] && payload.first()? & 0x80 == 0).then_some(1),
        _ => Some(1),
    }
}

fn decode(header: &Header, payload: &[u8]) -> Option<Head> {
    let mut decoder = Decoder::new(1 << 12);
    decoder.forget();
    let mut fields = Fields::new(1 << 12);
    decoder
        .decode(header.fragment(payload, false)?, &mut fields)
        .ok()?;
    Some(Head::new(fields))
}

fn is_of(flow: Flow, head: &Head) -> bool {
    match flow {
        Flow::Request => head.is_of_request(),
        Flow::Response => head.status().is_some(),
    }
}

/// Whether the last frame from the first of `bytes` on ends with them.
fn is_whole(mut rest: &[u8]) -> bool {
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let Some(behind) = behind.get(Header::parse(header).length as usize..) else {
            return false;
        };
        rest = behind;
    }
    rest.is_empty()
}

/// Whether the frames from the first of `bytes` on hold a head of that direction.
fn has_head(flow: Flow, mut rest: &[u8]) -> bool {
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::parse(header);
        let Some(payload) = behind.get(..header.length as usize) else {
            return false;
        };
        if header.kind == Kind::Headers && decode(&header, payload).is_some_and(|head| is_of(flow, &head)) {
            return true;
        }
        rest = &behind[payload.len()..];
    }
    false
}
