//! Many small cases under one spanwire, each with a listener of its own: a start costs the kernel's verifier more
//! than a second, a case takes milliseconds.

use std::net::TcpListener;

use anyhow::{Context, Result};

use crate::agent::{Hooks, Options};
use crate::expect::Expected;
use crate::port;
use crate::session::Session;

/// Makes its exchanges over a listener that is watched, and says what spans they are.
pub type Case = fn(TcpListener) -> Result<Vec<Expected>>;

/// Runs all cases one after the other, then compares the spans of all together. Paths tell whose a span is.
///
/// # Errors
/// A case fails, or the spans are not exactly those of all cases.
pub fn exactly(hooks: Hooks, cases: &[(&str, Case)]) -> Result<()> {
    let mut options = Options::run(hooks);
    let mut listeners = Vec::new();
    for _ in cases {
        let (listener, address) = port::listener()?;
        options = options.port(address.port());
        listeners.push(listener);
    }
    let session = Session::start(options)?;
    let mut expected = Vec::new();
    for ((name, case), listener) in cases.iter().zip(listeners) {
        expected.extend(case(listener).with_context(|| (*name).to_owned())?);
    }
    session.finish(expected.len())?.exactly(&expected)
}

/// The named functions as the `cases` of [`exactly`].
#[macro_export]
macro_rules! cases {
    ($($case:ident),+ $(,)?) => { &[$((stringify!($case), $case as $crate::cases::Case)),+] };
}
