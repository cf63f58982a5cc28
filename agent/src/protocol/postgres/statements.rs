//! What names stand for: prepared statements and portals, as far as the server has confirmed them.

use super::message::{Bind, Name, Parse, Target};
use super::{Limits, Text};
use hashbrown::HashMap;
use smol_str::SmolStr;
use std::sync::Arc;

/// Portals of one transaction whose statements are known; over it, none is. A session has one, or a few.
const PORTALS: usize = 128;

/// What an Execute executes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    /// Name of the statement; `None` where it has none, or where that is not known.
    pub(super) statement: Option<SmolStr>,
    /// `None` where it was prepared unseen.
    pub(super) text: Option<Arc<Text>>,
}

impl Bound {
    /// A Query's text.
    pub(super) fn of(text: Arc<Text>) -> Self {
        Self {
            statement: None,
            text: Some(text),
        }
    }
}

#[derive(Debug)]
struct Prepared {
    text: Arc<Text>,
    /// When it was last used, by the count of uses.
    used: u64,
}

/// The statements and portals of one session.
#[derive(Debug)]
pub(super) struct Statements {
    prepared: HashMap<Name, Prepared>,
    portals: HashMap<Name, Bound>,
    /// Bytes of names and texts of `prepared`.
    bytes: usize,
    uses: u64,
    limits: Limits,
}

impl Statements {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            prepared: HashMap::new(),
            portals: HashMap::new(),
            bytes: 0,
            uses: 0,
            limits,
        }
    }

    /// ParseComplete. A name that was not seen may be any.
    pub(super) fn parsed(&mut self, parse: Option<Parse>) {
        let Some(Parse { name, text }) = parse else {
            return self.clear();
        };
        self.forget(&name);
        self.uses += 1;
        self.bytes += cost(&name, &text);
        let used = self.uses;
        self.prepared.insert(name, Prepared { text, used });
        while self.prepared.len() > self.limits.statements || self.bytes > self.limits.statement_bytes {
            self.make_room();
        }
    }

    /// BindComplete.
    pub(super) fn bound(&mut self, bind: Option<Bind>) {
        let Some(Bind { portal, statement }) = bind else {
            return self.portals.clear();
        };
        if self.portals.len() >= PORTALS {
            self.portals.clear();
        }
        let bound = self.named(&statement);
        self.portals.insert(portal, bound);
    }

    /// CloseComplete, or a Close that may have been.
    pub(super) fn closed(&mut self, target: Option<&Target>) {
        match target {
            Some(Target::Statement(name)) => self.forget(name),
            Some(Target::Portal(name)) => {
                self.portals.remove(name);
            }
            None => {}
        }
    }

    /// What `portal` executes.
    pub(super) fn portal(&self, portal: Option<&Name>) -> Bound {
        portal
            .and_then(|portal| self.portals.get(portal))
            .cloned()
            .unwrap_or_default()
    }

    /// What binding the statement `name` makes a portal execute.
    pub(super) fn named(&mut self, name: &Name) -> Bound {
        self.uses += 1;
        let used = self.uses;
        let text = self.prepared.get_mut(name).map(|prepared| {
            prepared.used = used;
            Arc::clone(&prepared.text)
        });
        Bound {
            statement: shown(name),
            text,
        }
    }

    /// A Query ends the unnamed ones.
    pub(super) fn end_unnamed(&mut self) {
        self.forget(&[]);
        self.portals.remove(&[][..]);
    }

    /// A transaction's end ends its portals.
    pub(super) fn end_portals(&mut self) {
        self.portals.clear();
    }

    pub(super) fn forget(&mut self, name: &[u8]) {
        if let Some((name, prepared)) = self.prepared.remove_entry(name) {
            self.bytes -= cost(&name, &prepared.text);
        }
    }

    /// Nothing that was known is certain any more.
    pub(super) fn clear(&mut self) {
        self.prepared.clear();
        self.portals.clear();
        self.bytes = 0;
    }

    /// Forgets an eighth of the statements, and one at least: those that were used longest ago.
    fn make_room(&mut self) {
        let mut used: Vec<u64> = self.prepared.values().map(|prepared| prepared.used).collect();
        used.sort_unstable();
        let last = used.get(used.len() / 8).copied().unwrap_or(u64::MAX);
        self.prepared.retain(|_, prepared| prepared.used > last);
        self.bytes = self
            .prepared
            .iter()
            .map(|(name, prepared)| cost(name, &prepared.text))
            .sum();
    }
}

/// A statement's name as it is shown.
pub(super) fn shown(name: &Name) -> Option<SmolStr> {
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into())
}

fn cost(name: &[u8], text: &Text) -> usize {
    name.len() + text.bytes.len()
}
