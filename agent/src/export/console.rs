//! Traces as trees on the terminal.
//!
//! Spans of a trace come in any order, children mostly first, so a trace waits until its root has ended and nothing
//! more came for a moment. What waits is bounded in number and in time; what comes later is shown by itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::line::Lines;
pub use super::line::{Look, Width};
use crate::redact::Redacted;
use crate::span::{Span, SpanId, TraceId, semconv as name};

/// Quiet time after which a trace whose root ended is shown.
const QUIET: Duration = Duration::from_millis(150);

/// Quiet time after which a trace is shown though its root was not seen: it began on another host, or before us.
const QUIET_ROOTLESS: Duration = Duration::from_secs(2);

/// Longest that a trace waits, however many spans keep coming.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Most spans that wait; beyond that the oldest traces are shown as they are.
const MOST_SPANS: usize = 8192;

/// Traces remembered as shown, to know a late span from a new trace.
const REMEMBERED: usize = 4096;

/// Deepest level that is drawn; what lies deeper stays at that level.
const DEEPEST: usize = 32;

/// Writes traces to `out`.
#[derive(Debug)]
pub struct Tree<W> {
    out: W,
    lines: Lines,
    open: HashMap<TraceId, Open>,
    /// Open traces, oldest first.
    order: VecDeque<TraceId>,
    waiting: usize,
    shown: HashSet<TraceId>,
    /// Those of `shown`, oldest first.
    shown_order: VecDeque<TraceId>,
}

#[derive(Debug)]
struct Open {
    spans: Vec<Redacted>,
    has_root: bool,
    since: Instant,
    last: Instant,
}

impl Open {
    fn is_due(&self, now: Instant) -> bool {
        let quiet = if self.has_root { QUIET } else { QUIET_ROOTLESS };
        now - self.last >= quiet || now - self.since >= LONGEST_WAIT
    }
}

impl<W: Write> Tree<W> {
    /// Traces will look like `look` on `out`.
    pub fn new(out: W, look: Look) -> Self {
        Self {
            out,
            lines: Lines::new(look),
            open: HashMap::new(),
            order: VecDeque::new(),
            waiting: 0,
            shown: HashSet::new(),
            shown_order: VecDeque::new(),
        }
    }

    /// Takes spans that ended; shows the late ones among them, and the oldest traces when too many wait.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, spans: Vec<Redacted>, now: Instant) -> io::Result<()> {
        for redacted in spans {
            let span = redacted.span();
            // What is open comes again, with the rest of its trace.
            let branch = match span.attributes.first() {
                Some(first) if first.key == name::OPEN => Some("open "),
                _ => self.shown.contains(&span.trace_id).then_some("late "),
            };
            if let Some(branch) = branch {
                let line = self.lines.line(span, branch);
                writeln!(self.out, "{line}")?;
                continue;
            }
            let is_root = span.parent.is_none();
            let trace_id = span.trace_id;
            let open = self.open.entry(trace_id).or_insert_with(|| {
                self.order.push_back(trace_id);
                Open {
                    spans: Vec::new(),
                    has_root: false,
                    since: now,
                    last: now,
                }
            });
            open.has_root |= is_root;
            open.last = now;
            open.spans.push(redacted);
            self.waiting += 1;
            while self.waiting > MOST_SPANS {
                self.show_oldest()?;
            }
        }
        self.out.flush()
    }

    /// Shows the traces that are due. To be called every now and then, as often as a delay would be noticed.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn tick(&mut self, now: Instant) -> io::Result<()> {
        let open = &self.open;
        let (due, order) = self
            .order
            .drain(..)
            .partition(|trace| open.get(trace).is_none_or(|open| open.is_due(now)));
        self.order = order;
        let due: VecDeque<TraceId> = due;
        for trace in due {
            self.show(trace)?;
        }
        self.out.flush()
    }

    /// Shows all that waits.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(&mut self) -> io::Result<()> {
        while !self.order.is_empty() {
            self.show_oldest()?;
        }
        self.out.flush()
    }

    fn show_oldest(&mut self) -> io::Result<()> {
        match self.order.pop_front() {
            Some(trace) => self.show(trace),
            None => Ok(()),
        }
    }

    fn show(&mut self, trace: TraceId) -> io::Result<()> {
        let Some(open) = self.open.remove(&trace) else {
            return Ok(());
        };
        self.waiting -= open.spans.len();
        self.shown.insert(trace);
        self.shown_order.push_back(trace);
        if self.shown_order.len() > REMEMBERED
            && let Some(forgotten) = self.shown_order.pop_front()
        {
            self.shown.remove(&forgotten);
        }
        for (span, branch) in arrange(open.spans.iter().map(Redacted::span).collect()) {
            let line = self.lines.line(span, &branch);
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

/// Spans in the order of the tree, each with what draws its branch. All of `spans` are there, once each, whatever their
/// parents say.
fn arrange(mut spans: Vec<&Span>) -> Vec<(&Span, String)> {
    spans.sort_by_key(|span| span.start);
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<SpanId, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        match span.parent.filter(|parent| ids.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut arranged = Vec::with_capacity(spans.len());
    let mut placed = vec![false; spans.len()];
    // A stack of its own: a chain of parents may be longer than ours.
    let mut stack: Vec<(usize, String, String)> = Vec::new();
    // Behind the roots come all others: those of a circle have no root, and are shown nevertheless.
    for top in roots.into_iter().chain(0..spans.len()) {
        // The parent was not seen here: that it is no root is shown.
        let lead = if spans[top].parent.is_some() { "… " } else { "" };
        stack.push((top, lead.to_owned(), String::new()));
        while let Some((index, branch, below)) = stack.pop() {
            if std::mem::replace(&mut placed[index], true) {
                continue;
            }
            arranged.push((spans[index], branch));
            let children = children.remove(&spans[index].span_id).unwrap_or_default();
            let last = children.len().saturating_sub(1);
            let deepest = below.chars().count() >= 3 * DEEPEST;
            for (position, child) in children.into_iter().enumerate().rev() {
                let (turn, line) = if position == last {
                    ("└─ ", "   ")
                } else {
                    ("├─ ", "│  ")
                };
                let further = if deepest {
                    below.clone()
                } else {
                    format!("{below}{line}")
                };
                stack.push((child, format!("{below}{turn}"), further));
            }
        }
    }
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sample::{redacted, resource, span};
    use crate::span::{Kind, UnixNanoseconds};

    fn tree() -> Tree<Vec<u8>> {
        let mut tree = Tree::new(Vec::new(), Look::default());
        tree.lines = Lines::in_utc(Look::default());
        tree
    }

    /// Span `id` of trace 1, child of `parent`, that begins `start` microseconds after the first.
    fn node(id: u8, parent: Option<u8>, start: u64) -> Span {
        let mut node = span(1, id, &resource("shop"));
        node.parent = parent.map(|parent| SpanId([parent; 8]));
        node.start = UnixNanoseconds(node.start.0 + 1_000 * start);
        node.attributes[1] = crate::span::Attribute {
            key: "url.path".into(),
            value: crate::span::Value::Text(format!("/{id}").into()),
        };
        node
    }

    fn shape(spans: &[Span]) -> Vec<String> {
        let label = |(span, branch): (&Span, String)| format!("{branch}{}", span.span_id.0[0]);
        arrange(spans.iter().collect()).into_iter().map(label).collect()
    }

    fn text(tree: &mut Tree<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut tree.out)).unwrap()
    }

    #[test]
    fn children_hang_below_their_parents_in_order_of_time() {
        let spans = [
            node(4, Some(2), 30),
            node(3, Some(1), 40),
            node(1, None, 0),
            node(2, Some(1), 10),
            node(5, Some(2), 20),
        ];
        assert_eq!(shape(&spans), ["1", "├─ 2", "│  ├─ 5", "│  └─ 4", "└─ 3"]);
    }

    #[test]
    fn no_span_is_missing_whatever_its_parent_says() {
        for (spans, expected) in [
            (vec![node(1, Some(1), 0)], vec!["… 1"]),
            (
                vec![node(1, Some(2), 0), node(2, Some(1), 1)],
                vec!["… 1", "└─ 2"],
            ),
            (
                vec![node(1, Some(9), 0), node(2, Some(1), 1)],
                vec!["… 1", "└─ 2"],
            ),
            (vec![node(1, None, 0), node(1, None, 1)], vec!["1", "1"]),
            (
                vec![node(1, None, 0), node(2, None, 1), node(3, Some(1), 2)],
                vec!["1", "└─ 3", "2"],
            ),
        ] {
            assert_eq!(shape(&spans), expected);
        }
    }

    #[test]
    fn a_chain_of_any_length_is_drawn_in_bounded_width() {
        let shop = resource("shop");
        let chain: Vec<Span> = (0..5_000u64)
            .map(|index| {
                let mut link = span(1, 1, &shop);
                link.span_id = SpanId((index + 1).to_be_bytes());
                link.parent = (index > 0).then(|| SpanId(index.to_be_bytes()));
                link.start = UnixNanoseconds(link.start.0 + index);
                link
            })
            .collect();
        let arranged = arrange(chain.iter().collect());
        assert_eq!(arranged.len(), 5_000);
        assert!(
            arranged
                .iter()
                .all(|(_, branch)| branch.chars().count() <= 3 * (DEEPEST + 1))
        );
    }

    #[test]
    fn a_trace_is_shown_when_its_root_ended_and_it_is_quiet() {
        let (mut tree, begin) = (tree(), Instant::now());
        let mut child = node(2, Some(1), 100);
        child.kind = Kind::Client;
        tree.push(vec![redacted(child)], begin).unwrap();
        tree.tick(begin + QUIET).unwrap();
        assert_eq!(text(&mut tree), "");
        tree.push(vec![redacted(node(1, None, 0))], begin + QUIET)
            .unwrap();
        tree.tick(begin + QUIET).unwrap();
        assert_eq!(text(&mut tree), "");
        tree.tick(begin + 2 * QUIET).unwrap();
        assert_eq!(
            text(&mut tree),
            "05:43:45.123    1.50 ms  200  shop      ← GET /1  10.0.0.2\n\
             05:43:45.123    1.40 ms  200  shop      └─ → GET /2\n"
        );
        tree.push(vec![redacted(node(3, Some(1), 300))], begin + 3 * QUIET)
            .unwrap();
        assert_eq!(
            text(&mut tree),
            "05:43:45.123    1.20 ms  200  shop      late ← GET /3  10.0.0.2\n"
        );
    }

    #[test]
    fn a_trace_without_a_root_or_without_a_rest_is_shown_in_the_end() {
        let (mut tree, begin) = (tree(), Instant::now());
        tree.push(vec![redacted(node(2, Some(1), 0))], begin).unwrap();
        tree.tick(begin + QUIET_ROOTLESS).unwrap();
        assert_eq!(
            text(&mut tree),
            "05:43:45.123    1.50 ms  200  shop      … ← GET /2  10.0.0.2\n"
        );

        let mut tree = self::tree();
        let mut now = begin;
        while now - begin < LONGEST_WAIT {
            tree.push(vec![redacted(node(1, None, 0))], now).unwrap();
            tree.tick(now).unwrap();
            assert_eq!(text(&mut tree), "");
            now += QUIET / 2;
        }
        tree.tick(now).unwrap();
        assert_ne!(text(&mut tree), "");
    }

    #[test]
    fn what_waits_is_bounded_and_shown_at_the_end() {
        let (mut tree, now) = (tree(), Instant::now());
        let shop = resource("shop");
        let count = MOST_SPANS + 10;
        for index in 0..count {
            let mut one = span(1, 1, &shop);
            one.trace_id = TraceId((index as u128 + 1).to_be_bytes());
            tree.push(vec![redacted(one)], now).unwrap();
        }
        assert_eq!(text(&mut tree).lines().count(), 10);
        tree.finish().unwrap();
        assert_eq!(text(&mut tree).lines().count(), MOST_SPANS);
        assert!(tree.open.is_empty() && tree.waiting == 0);
        assert!(tree.shown.len() <= REMEMBERED && tree.shown_order.len() <= REMEMBERED);
    }
}
