//! How often wrong annotations are complained of: whoever may annotate may do so each second, and whoever starts pods, too.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Within this time, there are so many complaints of one object, and so many of all.
const WITHIN: Duration = Duration::from_secs(3_600);
const OF_ONE: u32 = 8;
const OF_ALL: u32 = 120;

/// What becomes of a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is said.
    Yes,
    /// It is said, and that it is the last one of this object for a while.
    LastOfOne,
    /// It is said, and that it is the last one of all.
    LastOfAll,
    /// It is counted.
    No,
}

/// Complaints of the last hour. No more objects are remembered than were complained of in it.
#[derive(Debug)]
pub(super) struct Restraint {
    since: Instant,
    by_object: HashMap<String, u32>,
    all: u32,
}

impl Restraint {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            by_object: HashMap::new(),
            all: 0,
        }
    }

    /// Whether a complaint of the object with this UID is said.
    pub(super) fn admit(&mut self, uid: &str) -> Said {
        if self.since.elapsed() >= WITHIN {
            *self = Self::new();
        }
        if self.all >= OF_ALL {
            return Said::No;
        }
        let of_one = self.by_object.entry(uid.to_owned()).or_default();
        if *of_one >= OF_ONE {
            return Said::No;
        }
        *of_one += 1;
        self.all += 1;
        match (self.all, *of_one) {
            (OF_ALL, _) => Said::LastOfAll,
            (_, OF_ONE) => Said::LastOfOne,
            _ => Said::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_and_all_of_them_are_complained_of_so_often_an_hour() {
        let mut restraint = Restraint::new();
        let mut of = |uid: &str, count: u32| (0..count).map(|_| restraint.admit(uid)).collect::<Vec<_>>();
        let said = of("u1", OF_ONE + 2);
        assert_eq!(said[..7], [Said::Yes; 7]);
        assert_eq!(said[7..], [Said::LastOfOne, Said::No, Said::No]);
        assert_eq!(of("u2", 1), [Said::Yes]);
        let mut said = Vec::new();
        for number in 0..1_000 {
            said.extend(of(&format!("p{number}"), 1));
        }
        let yes = said.iter().filter(|it| **it == Said::Yes).count();
        assert_eq!(yes, (OF_ALL - OF_ONE - 2) as usize);
        assert_eq!(said[yes], Said::LastOfAll);
        assert!(said[yes + 1..].iter().all(|it| *it == Said::No));
        assert!(restraint.by_object.len() <= OF_ALL as usize);
        tokio::time::advance(WITHIN).await;
        assert_eq!(restraint.admit("u1"), Said::Yes);
    }
}
