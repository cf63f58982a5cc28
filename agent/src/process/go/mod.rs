//! Go programs: where the kernel half finds goroutines, and who sends for whom.

mod functions;
mod prologue;

use super::elf::Sections;
use super::probe::{Place, Probe};
use functions::Functions;
use spanwire_ebpf::{Runtime, unit};
use std::fs::File;
use std::ops::Range;

/// No table of functions that is longer is read: Kubernetes' largest program has one of 30 MB.
const LONGEST_TABLE: u64 = 128 << 20;

/// Where `moduledata` has `text` (runtime/symtab.go, Go 1.26).
const MODULE_TEXT: u64 = 176;

/// First method of a `net.Conn` that is a TCP connection.
const CLOSE: &str = "net.(*TCPConn).Close";
/// In the goroutine that asks: its connection's other goroutine sends.
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// The same of gRPC. What is put in here has the same address where it is taken out, which is what tells that the arguments are
/// those that are known.
const ASKED: &str = "google.golang.org/grpc/internal/transport.(*controlBuffer).executeAndPut";
/// Where it is taken out.
const BEGINS: &str = "google.golang.org/grpc/internal/transport.(*loopyWriter).clientHeaderHandler";
/// The same, before 1.81.
const ORIGINATE: &str = "google.golang.org/grpc/internal/transport.(*loopyWriter).originateStream";

/// In the goroutine that reads streams of gRPC.
const READS: &str = "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams";
/// In the goroutine that handles a stream of gRPC, one of its own or a worker.
const HANDLES: &str = "google.golang.org/grpc.(*Server).handleStream";
/// In the goroutine that handles a stream of HTTP/2: of what comes with Go, and of what Go has it from.
const RUNS: [&str; 2] = [
    "net/http.(*http2serverConn).runHandler",
    "golang.org/x/net/http2.(*serverConn).runHandler",
];

/// What is of no use without each other, or nearly so.
const ASKING: [Place; 3] = [
    Place::GoStreamAsked,
    Place::GoStreamBegins,
    Place::GoStreamBeginsThird,
];
/// What tells who handles a stream.
const HANDLING: [Place; 2] = [Place::GoStreamHandled, Place::GoHandlerRuns];

/// What of Go's own structures the kernel half reads, in bytes: measured.
#[derive(Clone, Copy)]
struct Layout {
    /// `runtime.g.goid`
    id: u32,
    /// `runtime.g.parentGoid`
    parent: u32,
    /// `net/http.persistConn.conn`
    connection: u32,
    /// `net.netFD.pfd.Sysfd`
    descriptor: u32,
}

impl Layout {
    /// Of a version such as `go1.26.8`; `None` where it is not known.
    fn of(version: &str) -> Option<Self> {
        let minor = version.strip_prefix("go1.")?.split('.').next()?;
        // With 1.23.12, 1.24.11, 1.25.5 and 1.26.8.
        let (id, parent) = match minor {
            "23" | "24" => (160, 280),
            "25" => (152, 272),
            "26" => (152, 280),
            _ => return None,
        };
        Some(Self {
            id,
            parent,
            connection: 80,
            descriptor: 16,
        })
    }
}

/// What the kernel half has to know of a program of this version.
pub(super) fn runtime(version: &str) -> Runtime {
    match Layout::of(version) {
        Some(layout) => Runtime {
            unit: unit::GOROUTINE,
            goroutine_id: layout.id,
            goroutine_parent: layout.parent,
            ..Runtime::default()
        },
        None => Runtime::default(),
    }
}

/// The same with what hand-overs need, and where they are seen; `None` where the program has none, or cannot be read.
pub(super) fn hand_overs(version: &str, executable: File) -> Option<(Runtime, Vec<Probe>)> {
    let layout = Layout::of(version)?;
    let sections = Sections::read(executable)?;
    let table = sections.named(".gopclntab")?;
    let table = sections.content(table, LONGEST_TABLE)?;
    let functions = Functions::parse(&table)?;
    let [
        close,
        round_trip,
        asked,
        begins,
        originate,
        reads,
        handles,
        runs,
        runs_too,
    ] = functions.find([
        CLOSE, ROUND_TRIP, ASKED, BEGINS, ORIGINATE, READS, HANDLES, RUNS[0], RUNS[1],
    ]);
    texts(&sections, &functions).find_map(|text| {
        // Where a function does not begin as it should, it is not there: the text is another.
        let probed = |function: &Option<Range<u64>>| {
            let start = text.checked_add(function.as_ref()?.start)?;
            Some(start + prologue::behind(&sections.at(start, prologue::LONGEST)?)?)
        };
        let mut runtime = runtime(version);
        runtime.descriptor = layout.descriptor;
        // How far it is from the probe in a function; 0 where it is not there, or the function is not.
        let to_close = |function| {
            let close = text.checked_add(close.as_ref()?.start)?;
            i32::try_from(close.wrapping_sub(probed(function)?).cast_signed()).ok()
        };
        runtime.close = to_close(&round_trip).unwrap_or_default();
        if runtime.close != 0 {
            runtime.connection = layout.connection;
        }
        runtime.close_stream = to_close(&handles).unwrap_or_default();
        let places = [
            (Place::GoRoundTrip, &round_trip),
            (Place::GoStreamAsked, &asked),
            (Place::GoStreamBegins, &begins),
            (Place::GoStreamBeginsThird, &originate),
            (Place::GoStreamsRead, &reads),
            (Place::GoStreamHandled, &handles),
            (Place::GoHandlerRuns, &runs),
            (Place::GoHandlerRuns, &runs_too),
        ];
        let probes = places.into_iter().filter_map(|(place, function)| {
            let offset = sections.offset(probed(function)?)?;
            Some(Probe { place, offset })
        });
        let mut probes: Vec<_> = probes.collect();
        let has = |places: &[Place]| probes.iter().any(|probe| places.contains(&probe.place));
        if !(has(&[Place::GoStreamAsked]) && has(&[Place::GoStreamBegins, Place::GoStreamBeginsThird])) {
            probes.retain(|probe| !ASKING.contains(&probe.place));
        }
        runtime.streams = probes.iter().any(|probe| HANDLING.contains(&probe.place)).into();
        (!probes.is_empty()).then_some((runtime, probes))
    })
}

/// Addresses from which functions may count their offsets. Which it is, is said in several places, in none of them always:
/// behind C code it is not where the section begins, and what is relocated is not in the file.
fn texts(sections: &Sections, functions: &Functions<'_>) -> impl Iterator<Item = u64> {
    let module = sections
        .named(".go.module")
        .and_then(|module| sections.at(module.address + MODULE_TEXT, 8))
        .and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    let section = sections.named(".text").map(|text| text.address);
    [functions.text(), module, section]
        .into_iter()
        .flatten()
        .filter(|text| *text != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goroutines_are_found_where_they_were_measured() {
        assert_eq!(runtime("go1.26.8").unit, unit::GOROUTINE);
        assert_eq!(runtime("go1.25").goroutine_parent, 272);
        assert_eq!(runtime("go1.23.1").goroutine_id, 160);
        for version in ["go1.2", "go1.22.12", "go1.261", "devel", ""] {
            assert_eq!(runtime(version).unit, unit::UNKNOWN, "{version}");
        }
    }

    #[test]
    fn this_test_has_no_functions_of_go() {
        let open = || File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(hand_overs("go1.26.8", open()).is_none());
        assert!(hand_overs("go1.20", open()).is_none());
    }
}
