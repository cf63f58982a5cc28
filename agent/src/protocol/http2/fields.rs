//! Header fields of one block, in one piece of memory.

/// Half-open range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    end: u32,
}

impl Range {
    fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// As many fields as most heads have.
const USUAL: usize = 12;

/// What a field costs beside its text, of the limit.
const OVERHEAD: usize = 16;

/// Fields in order, of which names or values may be unknown: see [`super::hpack`].
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fields {
    raw: Vec<u8>,
    fields: Vec<(Option<Range>, Option<Range>)>,
    limit: usize,
    cut: bool,
}

impl Fields {
    /// No fields yet; `limit` bytes are kept of them at most, each charged 16 on top.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            raw: Vec::new(),
            fields: Vec::new(),
            limit,
            cut: false,
        }
    }

    /// The same, with memory for the fields of a block of `length` bytes.
    pub(super) fn of_block(length: usize, limit: usize) -> Self {
        Self {
            // Most of them are indexes, or coded by Huffman.
            raw: Vec::with_capacity((2 * length + 64).min(limit)),
            fields: Vec::with_capacity(USUAL),
            ..Self::new(limit)
        }
    }

    /// Adds a field, unless that is over the limit.
    pub(super) fn push(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let length = |text: Option<&[u8]>| text.map_or(0, <[u8]>::len);
        if self.cost() + length(name) + length(value) + OVERHEAD > self.limit {
            self.cut = true;
        }
        if self.cut {
            return;
        }
        let field = (self.keep(name), self.keep(value));
        self.fields.push(field);
    }

    /// The rest is missing.
    pub(super) fn cut_here(&mut self) {
        self.cut = true;
    }

    /// Whether fields are missing at the end.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Bytes kept, with each field's overhead.
    pub(super) fn cost(&self) -> usize {
        self.raw.len() + self.fields.len() * OVERHEAD
    }

    /// Gives back what it does not need, where that is much: no field will be added.
    pub(super) fn shrink(&mut self) {
        self.raw.shrink_to(2 * self.raw.len());
        self.fields.shrink_to(2 * self.fields.len());
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, Option<&[u8]>)> {
        let text = |range: &Option<Range>| range.map(|range| range.of(&self.raw));
        self.fields
            .iter()
            .map(move |(name, value)| (text(name), text(value)))
    }

    fn keep(&mut self, text: Option<&[u8]>) -> Option<Range> {
        let start = self.raw.len();
        self.raw.extend_from_slice(text?);
        let [start, end] = [start, self.raw.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        Some(Range { start, end })
    }
}
