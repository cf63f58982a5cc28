//! What injection into the traffic of other services needs, and what stands in its way.

use super::Context;
use super::finding::Outcome;
use super::privileges::Capability::{Bpf, NetAdmin, SysAdmin};
use crate::kernel::bpf::{AttachType, Failure, Map, MapType, Program, ProgramType, attached};
use crate::kernel::cgroup;
use crate::kernel::header_option::{self, HeaderOptionError};
use crate::kernel::sockhash::{Behaviour, SockhashError, Trial};
use std::fs::File;
use std::os::fd::AsFd as _;

/// One behaviour of a socket that is in a sockhash.
pub(super) fn enrolled(context: &Context, which: fn(&Behaviour) -> &Trial) -> Outcome {
    match context.sockhash() {
        Ok(behaviour) => match which(behaviour) {
            Trial::Same => Outcome::works("as without a sockhash"),
            Trial::Differs(how) => Outcome::fails(how.clone()),
            Trial::Unclear(how) => Outcome::unknown(format!("fails without a sockhash too: {how}"))
                .remedy("try again when the machine is less busy; is the loopback interface up?"),
        },
        Err(SockhashError::Refused(failure)) => context.refused(failure, &[Bpf, NetAdmin]),
        Err(error @ SockhashError::Sockets(_)) => {
            Outcome::unknown(error.to_string()).remedy("bring the loopback interface up")
        }
    }
}

/// An option in a header of TCP.
pub(super) fn header_option(context: &Context) -> Outcome {
    match header_option::self_test() {
        Ok(()) => Outcome::works("an option that is put into a SYN arrives"),
        Err(HeaderOptionError::Refused(failure)) => context.refused(&failure, &[Bpf, NetAdmin]),
        Err(error @ HeaderOptionError::Sockets(_)) => {
            Outcome::unknown(error.to_string()).remedy("bring the loopback interface up")
        }
        Err(error @ (HeaderOptionError::Cgroup(_) | HeaderOptionError::Missing)) => {
            Outcome::fails(error.to_string())
        }
    }
}

/// A program of somebody else that redirects or rewrites what sockets send.
struct Redirector {
    id: u32,
    text: String,
}

/// Programs on this host that work with a sockmap. Those of spanwire itself are not counted.
fn redirectors() -> Result<Vec<Redirector>, Failure> {
    let mut found = Vec::new();
    let mut after = 0;
    while let Some(id) = Program::next_id(after)? {
        after = id;
        // Gone in the meantime.
        let Ok(info) = Program::by_id(id).and_then(|program| program.info()) else {
            continue;
        };
        let maps = info.maps.iter().filter_map(|&map| Map::info_of(map).ok());
        let sockmaps = [MapType::SockMap as u32, MapType::SockHash as u32];
        let sockmap = maps
            .filter(|(kind, _)| sockmaps.contains(kind))
            .map(|(_, name)| name)
            .next();
        if let Some(text) = redirects(info.kind, &info.name, sockmap.as_deref()) {
            found.push(Redirector {
                id,
                text: format!("{text} (id {id})"),
            });
        }
    }
    Ok(found)
}

/// How to call a program that works with a sockmap; `None` for one that does not, and for spanwire's own.
fn redirects(kind: u32, name: &str, sockmap: Option<&str>) -> Option<String> {
    let kinds = [
        (ProgramType::SockOps, "sock_ops"),
        (ProgramType::SkMsg, "sk_msg"),
        (ProgramType::SkSkb, "sk_skb"),
    ];
    let (kind, word) = kinds.into_iter().find(|(known, _)| *known as u32 == kind)?;
    // sock_ops programs have other uses, such as tuning; the other two have none.
    if name.starts_with("spanwire") || (kind == ProgramType::SockOps && sockmap.is_none()) {
        return None;
    }
    let with = sockmap
        .map(|map| format!(" with sockmap `{map}`"))
        .unwrap_or_default();
    Some(format!("{word} program `{name}`{with}"))
}

/// [`redirectors`], in words.
pub(super) fn names() -> Vec<String> {
    let found = redirectors().unwrap_or_default();
    found.into_iter().map(|one| one.text).collect()
}

pub(super) fn other_sockmaps(context: &Context) -> Outcome {
    let found = match redirectors() {
        Ok(found) if found.is_empty() => {
            return Outcome::works("no sock_ops, sk_msg or sk_skb program of others");
        }
        Ok(found) => found,
        Err(failure) => return context.refused(&failure, &[SysAdmin]),
    };
    let on_root = cgroup::root().ok().and_then(|root| File::open(root.path).ok());
    let on_root = on_root
        .and_then(|root| attached(root.as_fd(), AttachType::SockOps).ok())
        .unwrap_or_default();
    let texts = found.iter().map(|one| {
        let place = if on_root.contains(&one.id) {
            " on the cgroup root"
        } else {
            ""
        };
        format!("{}{place}", one.text)
    });
    Outcome::fails(format!("there is {}", texts.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_works_with_sockmaps_of_others_counts() {
        let cases: &[(u32, &str, Option<&str>, Option<&str>)] = &[
            (
                13,
                "bpf_sockops",
                Some("sock_ops_map"),
                Some("sock_ops program `bpf_sockops` with sockmap `sock_ops_map`"),
            ),
            (13, "tcp_rto", None, None),
            (16, "redirect", None, Some("sk_msg program `redirect`")),
            (
                14,
                "parser",
                Some("m"),
                Some("sk_skb program `parser` with sockmap `m`"),
            ),
            (16, "spanwire_inject", Some("spanwire_sockets"), None),
            (6, "xdp", Some("m"), None),
        ];
        for (kind, name, sockmap, expected) in cases {
            assert_eq!(redirects(*kind, name, *sockmap).as_deref(), *expected, "{name}");
        }
    }
}
