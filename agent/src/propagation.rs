//! Whether contexts are injected, and into whose requests: what is wished for, as far as this kernel bears it.

use crate::config::{Correlation, Injected, Propagate};
use crate::kernel::inspect;
use crate::kernel::load::{Capture, LoadError, Options};
use crate::kernel::sockhash::{self, Trial};
use crate::process::Policy;
use spanwire_ebpf::carried::carries;
use spanwire_ebpf::propagate;

/// What may be injected into, and why it is less than was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// For each process that has no rule of its own.
    pub policy: Policy,
    /// What may be injected into at all, as bits of [`propagate`]: rules of single processes, too.
    pub loaded: u32,
    /// Why there is no injection, or not into all processes.
    pub restraint: Option<String>,
}

/// Tries what this kernel does with enrolled sockets, unless nothing is to be injected: after `headers`, and where processes have
/// rules of their own, after these.
#[must_use]
pub fn settle<'a>(headers: &[Injected], own: impl Iterator<Item = &'a [Injected]>) -> Settled {
    let common = bits(headers);
    let protocols = own.fold(common, |protocols, own| protocols | bits(own));
    if protocols == 0 {
        return Settled::default();
    }
    // An option is beside what is sent: no socket need be enrolled for it.
    let options = protocols & propagate::TCP;
    if protocols == options {
        return Settled {
            policy: Policy {
                protocols: common,
                breaks_fionread: false,
            },
            loaded: protocols,
            restraint: None,
        };
    }
    let nothing = |why: String| Settled {
        policy: Policy {
            protocols: common & options,
            breaks_fionread: false,
        },
        loaded: options,
        restraint: Some(format!("no context is injected: {why}")),
    };
    let others = inspect::redirectors();
    if !others.is_empty() {
        // Two programs on one socket: the second is refused, or the first is in the way.
        return nothing(format!("there is {}", others.join(", ")));
    }
    let behaviour = match sockhash::self_test() {
        Ok(behaviour) => behaviour,
        Err(error) => return nothing(error.to_string()),
    };
    if !behaviour.harmless() {
        return nothing(
            "this kernel does something else with sockets in a sockhash; see `spanwire check`".into(),
        );
    }
    let breaks_fionread = behaviour.fionread != Trial::Same;
    let restraint = "into requests of Python, Node, Ruby, Perl, PHP, Go, HAProxy and curl alone: this kernel answers \
                     FIONREAD on enrolled sockets with 0";
    Settled {
        policy: Policy {
            protocols: common,
            breaks_fionread,
        },
        loaded: protocols,
        restraint: breaks_fionread.then(|| format!("contexts are injected {restraint}")),
    }
}

/// What goes on beside a context, as bits of [`carries`].
#[must_use]
pub const fn carried(wishes: &Propagate) -> u32 {
    let baggage = if wishes.baggage { carries::BAGGAGE } else { 0 };
    baggage
        | match wishes.correlation {
            Correlation::None => 0,
            Correlation::RequestId => carries::REQUEST_ID,
            Correlation::CorrelationId => carries::CORRELATION_ID,
        }
}

/// Loads the kernel half, with what goes on beside contexts where this kernel bears that, and says so where it does not.
///
/// # Errors
/// As [`Capture::load`].
pub fn load(options: &mut Options) -> Result<Capture, LoadError> {
    if options.carried == 0 {
        return Capture::load(options);
    }
    let refusal = match Capture::load(options) {
        Ok(mut capture) => match capture.propagation().refusal() {
            None => return Ok(capture),
            Some(refusal) => refusal.to_owned(),
        },
        Err(LoadError::Hooks(refusals)) => match refusals.last() {
            Some((set, refusal)) => format!("{}: {refusal}", set.name()),
            None => return Err(LoadError::Hooks(refusals)),
        },
        Err(error) => return Err(error),
    };
    options.carried = 0;
    let mut capture = Capture::load(options)?;
    // Where nothing is injected at all, that is said.
    if capture.propagation().refusal().is_none() {
        tracing::warn!("neither baggage nor ids are carried on: this kernel refuses it: {refusal}");
    }
    Ok(capture)
}

/// As which header ids are made.
#[must_use]
pub const fn made_id(wishes: &Propagate) -> Option<&'static str> {
    match wishes.correlation {
        Correlation::None => None,
        Correlation::RequestId => Some("x-request-id"),
        Correlation::CorrelationId => Some("x-correlation-id"),
    }
}

/// As bits of [`propagate`].
pub(crate) fn bits(headers: &[Injected]) -> u32 {
    headers.iter().fold(0, |bits, header| {
        bits | match header {
            Injected::None => 0,
            Injected::Http1 => propagate::HTTP1,
            Injected::Http2 => propagate::HTTP2,
            Injected::Amqp => propagate::AMQP,
            Injected::Sql => propagate::SQL,
            Injected::Tcp => propagate::TCP,
        }
    })
}
