//! Probes in programs and libraries: one set a file, however many processes run it.

use crate::process::{FileId, Place, Probed};
use aya::Ebpf;
use aya::programs::ProgramError;
use aya::programs::uprobe::{UProbe, UProbeLinkId, UProbeScope};
use std::collections::{HashMap, VecDeque};
use std::iter;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Files that have probes at a time. Each probe is a descriptor, and a breakpoint in each process that runs the file.
const FILES: usize = 512;

/// The program of the kernel half for a place.
const fn program(place: Place) -> &'static str {
    match place {
        Place::GoRoundTrip => "go_round_trip",
        Place::GoStreamAsked => "go_stream_asked",
        Place::GoStreamBegins => "go_stream_begins",
        Place::GoStreamBeginsThird => "go_stream_begins_third",
        Place::GoStreamsRead => "go_streams_read",
        Place::GoStreamHandled => "go_stream_handled",
        Place::GoHandlerRuns => "go_handler_runs",
        Place::PythonContextCopied => "python_context_copied",
        Place::PythonContextFreed => "python_context_freed",
        Place::PythonContextLeft => "python_context_left",
        Place::NodeCallbackBegins => "node_callback_begins",
        Place::NodeMicrotasksBegin => "node_microtasks_begin",
        Place::NodeMicrotasksEnd => "node_microtasks_end",
        Place::NodePromiseResolved => "node_promise_resolved",
        Place::HaProxyStreamMade => "haproxy_stream_made",
        Place::HaProxyStreamRuns => "haproxy_stream_runs",
        Place::HaProxyCheckRuns => "haproxy_check_runs",
    }
}

/// Files with probes.
#[derive(Default)]
pub(super) struct Probes {
    files: HashMap<FileId, Vec<(Place, UProbeLinkId)>>,
    /// From the first that was attached to the last.
    order: VecDeque<FileId>,
    /// It was said that they are refused.
    is_said: bool,
}

impl Probes {
    /// Puts the probes of a file in place, where that has none. Returns how many were refused.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, probed: &Probed) -> u64 {
        if self.files.contains_key(&probed.id) {
            return 0;
        }
        while self.order.len() >= FILES {
            self.detach_oldest(ebpf);
        }
        // The file itself, whatever has its name by now.
        let path = format!("/proc/self/fd/{}", probed.file.as_raw_fd());
        let (mut links, mut refused) = (Vec::new(), 0);
        for probe in &*probed.probes {
            match attach(ebpf, program(probe.place), probe.offset, Path::new(&path)) {
                Ok(link) => {
                    tracing::debug!(
                        "probe {:?} at {:#x} of {:?}",
                        probe.place,
                        probe.offset,
                        probed.file
                    );
                    links.push((probe.place, link));
                }
                Err(error) => {
                    tracing::debug!("no probe {:?} at {:#x}: {error}", probe.place, probe.offset);
                    refused += 1;
                    self.say(&error);
                }
            }
        }
        // Where it was refused it is not tried again.
        self.files.insert(probed.id, links);
        self.order.push_back(probed.id);
        refused
    }

    /// Once: whoever is refused one is most often refused all.
    fn say(&mut self, error: &ProgramError) {
        if !std::mem::replace(&mut self.is_said, true) {
            let error: &dyn std::error::Error = error;
            let reasons = iter::successors(Some(error), |error| error.source());
            let reasons: Vec<_> = reasons.map(ToString::to_string).collect();
            tracing::warn!(
                "functions of programs are not probed ({}): in Go, Python, Node.js and HAProxy some requests are without their \
                 parent; some kernels ask for CAP_SYS_ADMIN, and `capture.probes: false` does without",
                reasons.join(": ")
            );
        }
    }

    fn detach_oldest(&mut self, ebpf: &mut Ebpf) {
        let Some(id) = self.order.pop_front() else { return };
        for (place, link) in self.files.remove(&id).unwrap_or_default() {
            let detached = found(ebpf, program(place)).and_then(|program| program.detach(link));
            if let Err(error) = detached {
                tracing::debug!("cannot take a probe {place:?} out: {error}");
            }
        }
    }
}

fn attach(
    ebpf: &mut Ebpf,
    name: &'static str,
    offset: u64,
    file: &Path,
) -> Result<UProbeLinkId, ProgramError> {
    let program = found(ebpf, name)?;
    if program.fd().is_err() {
        program.load()?;
    }
    program.attach(offset, file, UProbeScope::AllProcesses)
}

fn found<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}
