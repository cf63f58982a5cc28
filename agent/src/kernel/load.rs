//! Loads the kernel half, with the first hook set that this kernel takes.

use super::btf::{Btf, BtfError, VMLINUX};
use super::diagnostics::Diagnostics;
use super::events::ConnectionId;
use super::offsets::{self, MissingField};
use super::probes::Probes;
use super::propagation::{self, Propagation};
use super::ring::Ring;
use crate::process::Probed;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf, SockHash};
use aya::programs::{FEntry, FExit, ProgramError, RawTracePoint, SkMsg, SockOps};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use ipnet::IpNet;
use log::LevelFilter;
use rustix::process::{Resource, Rlimit, setrlimit};
use spanwire_ebpf::{
    CONNECTION_BORN, CONNECTION_RESPONSES, CONNECTION_SIZE, Counter, Globals, Runtime, propagate,
};
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::mem::offset_of;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::thread::{self, ScopedJoinHandle};
use thiserror::Error;

mod cost;
mod watch;

pub use cost::{Runs, measure_programs};
use cost::{capacity, skips};

/// The kernel half, for kernels with `bpf_loop` (5.17) and for those before.
static OBJECT_LOOP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spanwire-bpf-loop"));
static OBJECT_BOUNDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/spanwire-bpf-bounded"));

/// Where the hooks are (DESIGN.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookSet {
    /// Tracepoints of the socket layer.
    Socket,
    /// fentry and fexit of the socket operations.
    Trampoline,
    /// The return of every system call.
    Syscall,
}

impl HookSet {
    /// All sets, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Socket, Self::Trampoline, Self::Syscall];

    /// Name, as `--hooks` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Trampoline => "trampoline",
            Self::Syscall => "syscall",
        }
    }
}

impl Display for HookSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which processes are watched before the agent names any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Every one but spanwire itself.
    Everything,
    /// None; [`Capture::set_watched`] adds.
    Nothing,
    /// Children of spanwire itself, and their descendants.
    Children,
}

/// What to capture, and with how much memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hook sets to try, in this order.
    pub hooks: Vec<HookSet>,
    /// Size of the ring buffer in bytes: a power of two, and whole pages.
    pub ring_buffer: u32,
    /// Connections that are followed at a time.
    pub max_connections: u32,
    /// Where not empty, only connections with a local or remote port in one of these.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Which processes.
    pub watch: Watch,
    /// Whether brokers of AMQP are watched, and not their clients alone.
    pub broker_spans: bool,
    /// Into which protocols contexts are injected, as bits of [`mod@propagate`]: where there are any, sockets can be enrolled.
    pub propagate: u32,
    /// Addresses whose contexts are not taken over.
    pub refused: Vec<IpNet>,
    /// Which traces are kept that begin in processes of which nothing is known: [`spanwire_ebpf::sampling::word`].
    pub sampling: u64,
    /// Up to which level the programs write diagnostics.
    pub log: LevelFilter,
}

impl Options {
    /// Room for options of TCP: next to none where there are none.
    const fn options(&self) -> u32 {
        if self.propagate & propagate::TCP == 0 {
            1
        } else {
            OPTIONS
        }
    }

    /// Room for who has connected sockets that are enrolled: next to none where none are.
    const fn connectors(&self) -> u32 {
        if self.propagate & !propagate::TCP == 0 {
            1
        } else {
            CONNECTORS
        }
    }
}

/// Why the kernel half is not running.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No BTF.
    #[error("cannot read the kernel's type information: {0}")]
    Btf(#[from] BtfError),
    /// A kernel that is not known.
    #[error(transparent)]
    Field(#[from] MissingField),
    /// The object could not be prepared, or its maps not made.
    #[error("cannot create the BPF maps: {}", chain(.0))]
    Object(#[source] EbpfError),
    /// A map could not be used.
    #[error("cannot use a BPF map: {}", chain(.0))]
    Map(#[from] MapError),
    /// The diagnostics could not be set up.
    #[error("cannot read diagnostics from the kernel: {0}")]
    Log(#[from] aya_log::Error),
    /// No hook set loads.
    #[error("no hook set loads on this kernel:{}", refusals(.0))]
    Hooks(Vec<(HookSet, Refusal)>),
}

/// Why one hook set cannot be used.
#[derive(Debug, Error)]
#[error("{program}: {}", chain(.source))]
pub struct Refusal {
    /// The program that the kernel did not take.
    pub program: &'static str,
    /// What it said.
    pub source: ProgramError,
}

/// An error with what caused it, without the verifier's log, which is for `--verbose`.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let one = error.to_string();
        let one = one
            .split("Verifier output")
            .next()
            .unwrap_or_default()
            .trim_end_matches([' ', '.', ':']);
        if !text.ends_with(one) {
            text += if text.is_empty() { "" } else { ": " };
            text += one;
        }
        next = error.source();
    }
    text
}

fn refusals(refusals: &[(HookSet, Refusal)]) -> String {
    refusals
        .iter()
        .map(|(set, refusal)| format!("\n  {set}: {refusal}"))
        .collect()
}

/// How a program is attached.
enum Hook {
    RawTracepoint(&'static str),
    FEntry(&'static str),
    FExit(&'static str),
    SkMsg,
    SockOps,
}

/// A program, where it is attached, and whether the set is of use without it.
struct Program {
    name: &'static str,
    hook: Hook,
    required: bool,
}

const fn tracepoint(name: &'static str, tracepoint: &'static str, required: bool) -> Program {
    Program {
        name,
        hook: Hook::RawTracepoint(tracepoint),
        required,
    }
}

const fn fentry(name: &'static str, function: &'static str, required: bool) -> Program {
    Program {
        name,
        hook: Hook::FEntry(function),
        required,
    }
}

const fn fexit(name: &'static str, function: &'static str, required: bool) -> Program {
    Program {
        name,
        hook: Hook::FExit(function),
        required,
    }
}

/// Programs that every set needs: the ends of sockets, and the life of processes.
const ALWAYS: &[Program] = &[
    tracepoint("inet_sock_set_state", "inet_sock_set_state", true),
    tracepoint("process_fork", "sched_process_fork", true),
    tracepoint("process_exec", "sched_process_exec", true),
    tracepoint("process_exit", "sched_process_exit", true),
];

const SOCKET: &[Program] = &[
    tracepoint("sock_send_length", "sock_send_length", true),
    tracepoint("sock_recv_length", "sock_recv_length", true),
    // From about 6.16. Without it a send's time is that of its end.
    tracepoint("tcp_sendmsg_locked", "tcp_sendmsg_locked", false),
];

const TRAMPOLINE: &[Program] = &[
    fexit("inet_sendmsg_ends", "inet_sendmsg", true),
    fexit("inet_recvmsg_ends", "inet_recvmsg", true),
    fentry("inet_sendmsg_begins", "inet_sendmsg", true),
    // A kernel without IPv6, or with Unix sockets in a module that is not loaded.
    fexit("inet6_sendmsg_ends", "inet6_sendmsg", false),
    fexit("inet6_recvmsg_ends", "inet6_recvmsg", false),
    fentry("inet6_sendmsg_begins", "inet6_sendmsg", false),
    fexit("unix_stream_sendmsg_ends", "unix_stream_sendmsg", false),
    fexit("unix_stream_recvmsg_ends", "unix_stream_recvmsg", false),
    // Up to 6.4.
    fexit("inet_sendpage_ends", "inet_sendpage", false),
    fexit("tcp_splice_read_ends", "tcp_splice_read", false),
];

const SYSCALL: &[Program] = &[tracepoint("sys_exit", "sys_exit", true)];

/// Programs that inject, in the order in which they are attached: no socket is enrolled before its sends have where to go.
const PROPAGATE: &[Program] = &[
    Program {
        name: "spanwire_inject",
        hook: Hook::SkMsg,
        required: false,
    },
    Program {
        name: "spanwire_enrol",
        hook: Hook::SockOps,
        required: false,
    },
];

/// What puts contexts into options of TCP.
const TCP_OPTION: Program = Program {
    name: "spanwire_option",
    hook: Hook::SockOps,
    required: false,
};

/// Before a send, where a set sees none: without one of these nobody is told in an option.
const LOCKED: &[Program] = &[tracepoint("tcp_sendmsg_locked", "tcp_sendmsg_locked", false)];
const BEGINS: &[Program] = &[
    fentry("inet_sendmsg_begins", "inet_sendmsg", false),
    fentry("inet6_sendmsg_begins", "inet6_sendmsg", false),
];

/// Connections on which contexts may be sent in options of TCP, and contexts that came so and wait, at a time.
const OPTIONS: u32 = 16_384;

/// Sockets that were enrolled when they were connected, at a time: as many as can be enrolled at all.
const CONNECTORS: u32 = 65_536;

/// The kernel half, loaded and attached. Dropping it takes everything out of the kernel, and so does the end of the
/// process, however it comes.
pub struct Capture {
    /// `None` once the hooks are out.
    ebpf: Option<Ebpf>,
    ring: Option<Ring>,
    ring_buffer: u32,
    set: HookSet,
    processes: Array<MapData, u64>,
    questions: Array<MapData, u32>,
    thresholds: Array<MapData, u64>,
    connections: HashMap<MapData, u64, [u8; CONNECTION_SIZE]>,
    /// Who has connected sockets that were enrolled then.
    connectors: HashMap<MapData, u64, u32>,
    counters: PerCpuArray<MapData, u64>,
    runtimes: HashMap<MapData, u32, [u8; size_of::<Runtime>()]>,
    propagation: Propagation,
    /// Into which protocols contexts are injected, as bits of [`mod@propagate`].
    propagates: u32,
    probes: Probes,
    log: Option<EbpfLogger<Diagnostics>>,
    skipped: u64,
    /// Most entries of connections, runtimes and sockets.
    capacities: [u32; 3],
}

impl Capture {
    /// Loads and attaches the first hook set of `options` that this kernel takes.
    ///
    /// # Errors
    /// Why none could be used.
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        // Before 5.11 maps count as locked memory; where that may not be raised, it is most often not needed either.
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
            tracing::debug!("cannot raise the limit of locked memory: {error}");
        }
        let btf = Btf::load(VMLINUX)?;
        let mut globals = offsets::globals(&btf)?;
        globals.filter_ports = u32::from(!options.ports.is_empty());
        globals.broker_spans = u32::from(options.broker_spans);
        globals.propagates = options.propagate;
        globals.refuses = u32::from(!options.refused.is_empty());
        globals.instance = instance();
        globals.wake_at = options.ring_buffer / 4;
        if options.watch == Watch::Children {
            globals.parent_of_watched = std::process::id();
        }
        let object = if btf.helper("loop").is_some() {
            OBJECT_LOOP
        } else {
            OBJECT_BOUNDED
        };
        let has_locked = btf.tracepoint_id("tcp_sendmsg_locked").is_some();
        // Before there is a second thing that takes as much memory.
        drop(btf);
        let mut refusals = Vec::new();
        for set in &options.hooks {
            let before = match set {
                _ if options.propagate & propagate::TCP == 0 => &[],
                HookSet::Trampoline => &[],
                _ if !has_locked => BEGINS,
                HookSet::Socket => &[],
                HookSet::Syscall => LOCKED,
            };
            match Self::load_set(*set, before, object, &globals, options)? {
                Ok(capture) => return Ok(capture),
                Err(refusal) => refusals.push((*set, refusal)),
            }
        }
        Err(LoadError::Hooks(refusals))
    }

    /// Whether each hook set could be used here, by loading and attaching it for a moment with next to no memory.
    #[must_use]
    pub fn try_all() -> Vec<(String, Result<(), String>)> {
        let attempt = |set| {
            let options = Options {
                hooks: vec![set],
                ring_buffer: 64 * 1024,
                max_connections: 64,
                ports: Vec::new(),
                watch: Watch::Nothing,
                broker_spans: false,
                propagate: 0,
                refused: Vec::new(),
                sampling: 0,
                log: LevelFilter::Off,
            };
            match Self::load(&options) {
                Ok(_) => Ok(()),
                Err(LoadError::Hooks(refusals)) => Err(refusals
                    .iter()
                    .map(|(_, refusal)| refusal.to_string())
                    .collect::<Vec<_>>()
                    .join("; ")),
                Err(error) => Err(error.to_string()),
            }
        };
        HookSet::ALL
            .iter()
            .map(|set| (set.name().to_owned(), attempt(*set)))
            .collect()
    }

    fn load_set(
        set: HookSet,
        before: &[Program],
        object: &[u8],
        globals: &Globals,
        options: &Options,
    ) -> Result<Result<Self, Refusal>, LoadError> {
        // aya-log numbers its levels as the log crate does.
        let log_level = options.log as u8;
        let mut loader = EbpfLoader::new();
        loader
            // What it has read of the kernel's types is for relocations, of which there are none: tens of megabytes.
            .btf(None)
            .override_global("GLOBALS", bytes_of(globals), true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("EVENTS", options.ring_buffer)
            .map_max_entries("CONNECTIONS", options.max_connections)
            .map_max_entries("CONNECTORS", options.connectors())
            .map_max_entries("OFFERS", options.options())
            .map_max_entries("HEARD", options.options())
            .map_max_entries(
                "REFUSED",
                u32::try_from(options.refused.len().max(1)).unwrap_or(u32::MAX),
            );
        let mut ebpf = loader.load(object).map_err(LoadError::Object)?;
        let processes = Array::try_from(take(&mut ebpf, "PROCESSES")?)?;
        let questions = Array::try_from(take(&mut ebpf, "QUESTIONS")?)?;
        let mut ports = Array::<_, u64>::try_from(take(&mut ebpf, "PORTS")?)?;
        for (index, word) in port_bits(&options.ports)
            .iter()
            .enumerate()
            .filter(|(_, word)| **word != 0)
        {
            ports.set(u32::try_from(index).unwrap_or(u32::MAX), *word, 0)?;
        }
        let mut refused = LpmTrie::<_, [u8; 16], u32>::try_from(take(&mut ebpf, "REFUSED")?)?;
        for range in &options.refused {
            let (length, address) = mapped(*range);
            refused.insert(&Key::new(length, address), 1, 0)?;
        }
        let mut thresholds = Array::<_, u64>::try_from(take(&mut ebpf, "THRESHOLDS")?)?;
        thresholds.set(0, options.sampling, 0)?;
        let capacities = ["CONNECTIONS", "RUNTIMES", "SOCKETS"].map(|name| capacity(&ebpf, name));
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?;
        let connections = HashMap::try_from(take(&mut ebpf, "CONNECTIONS")?)?;
        let connectors = HashMap::try_from(take(&mut ebpf, "CONNECTORS")?)?;
        let runtimes = HashMap::try_from(take(&mut ebpf, "RUNTIMES")?)?;
        let sockets = SockHash::try_from(take(&mut ebpf, "SOCKETS")?)?;
        let log = match options.log {
            LevelFilter::Off => None,
            _ => Some(EbpfLogger::init_with_logger(&mut ebpf, Diagnostics)?),
        };
        let mut capture = Self {
            ebpf: None,
            ring: None,
            ring_buffer: options.ring_buffer,
            set,
            processes,
            questions,
            thresholds,
            connections,
            connectors,
            counters,
            runtimes,
            propagation: Propagation::new(sockets),
            propagates: options.propagate,
            probes: Probes::default(),
            log,
            skipped: 0,
            capacities,
        };
        let hooks = match set {
            HookSet::Socket => SOCKET,
            HookSet::Trampoline => TRAMPOLINE,
            HookSet::Syscall => SYSCALL,
        };
        let injecting = if options.propagate & !propagate::TCP == 0 {
            &[]
        } else {
            PROPAGATE
        };
        let tells = (options.propagate & propagate::TCP != 0).then_some(&TCP_OPTION);
        let programs: Vec<_> = ALWAYS
            .iter()
            .chain(injecting)
            .chain(tells)
            .chain(before)
            .chain(hooks)
            .collect();
        let mut loaded = load_all(&mut ebpf, &programs);
        let mut sees_sends = false;
        // The hooks last: what they see must find all else in place.
        for program in programs {
            let result = loaded
                .remove(program.name)
                .unwrap_or(Err(ProgramError::NotLoaded));
            let propagation = &mut capture.propagation;
            if let Err(source) = result.and_then(|()| attach(&mut ebpf, program, propagation)) {
                tracing::trace!("{}: {source}", program.name);
                let refusal = format!("{}: {}", program.name, chain(&source));
                if program.name == TCP_OPTION.name {
                    propagation.refuse_options(refusal);
                } else if matches!(program.hook, Hook::SkMsg | Hook::SockOps) {
                    propagation.refuse(refusal);
                }
                if program.required {
                    return Ok(Err(Refusal {
                        program: program.name,
                        source,
                    }));
                }
                tracing::debug!("optional hook {} is not there: {}", program.name, chain(&source));
            } else if matches!(program.name, "tcp_sendmsg_locked" | "inet_sendmsg_begins") {
                sees_sends = true;
            }
        }
        if tells.is_some() && !sees_sends {
            capture.propagation.refuse_options(no_send(set));
        }
        // The ring buffer last: it is as large, and what is in it by now waits there.
        give_back_memory();
        capture.ring = Some(Ring::new(RingBuf::try_from(take(&mut ebpf, "EVENTS")?)?));
        capture.ebpf = Some(ebpf);
        // Hooks take milliseconds each to come into force, in which a process that was watched would be seen to ask and not to
        // be answered.
        if options.watch == Watch::Everything {
            capture.watch_all(true, std::process::id())?;
        }
        Ok(Ok(capture))
    }

    /// What injects contexts.
    pub const fn propagation(&mut self) -> &mut Propagation {
        &mut self.propagation
    }

    /// Size of the ring buffer in bytes.
    #[must_use]
    pub const fn ring_buffer(&self) -> u32 {
        self.ring_buffer
    }

    /// The hook set that is in use.
    #[must_use]
    pub const fn hook_set(&self) -> HookSet {
        self.set
    }

    /// Takes all hooks out of the kernel. What they wrote stays in the ring buffer, and the counters stay.
    pub fn detach(&mut self) {
        if let Some(ebpf) = self.ebpf.take() {
            // As when they were put in: they go one by one.
            if let Err(error) = self.watch_all(false, std::process::id()) {
                tracing::debug!("processes are watched to the last: {error}");
            }
            self.skipped = ebpf.programs().filter_map(|(_, program)| skips(program)).sum();
        }
    }

    /// The ring buffer; `None` the second time.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// Writes the diagnostics that have come since, as log records.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// How many final responses the kernel half has seen on a connection; `None` where it knows the connection no more.
    #[must_use]
    pub fn responses(&self, connection: ConnectionId) -> Option<u32> {
        let value = self.connections.get(&connection.sock, 0).ok()?;
        let born = value.get(CONNECTION_BORN..)?.first_chunk()?;
        let responses = value.get(CONNECTION_RESPONSES..)?.first_chunk()?;
        (u64::from_ne_bytes(*born) == connection.born).then(|| u32::from_ne_bytes(*responses))
    }

    /// Tells which traces are kept that begin in processes of a slot: [`spanwire_ebpf::sampling::word`].
    ///
    /// # Errors
    /// Where the map refuses.
    pub fn set_threshold(&mut self, slot: u32, word: u64) -> Result<(), MapError> {
        self.thresholds.set(slot, word, 0)
    }

    /// Tells what handles requests in a process.
    ///
    /// # Errors
    /// Where the map refuses: it is full.
    pub fn set_runtime(&mut self, pid: u32, runtime: Runtime) -> Result<(), MapError> {
        let mut value = [0; size_of::<Runtime>()];
        value.copy_from_slice(bytes_of(&runtime));
        self.runtimes.insert(pid, value, 0)
    }

    /// Nothing handles requests in a process that matters, and no context is injected into what it sends.
    pub fn clear_runtime(&mut self, pid: u32) {
        // Most have none.
        let _ = self.runtimes.remove(&pid);
    }

    /// The slots of thresholds by which some process is decided of. `None` where the map cannot be read, or changes as fast.
    #[must_use]
    pub fn slots_in_use(&self) -> Option<HashSet<u32>> {
        const AT: usize = offset_of!(Runtime, sampling);
        // Where an entry goes meanwhile, the kernel begins again.
        let mut left = 2 * self.capacities[1] as usize;
        let mut slots = HashSet::new();
        for entry in &self.runtimes {
            left = left.checked_sub(1)?;
            let (_, value) = entry.ok()?;
            let slot = value.get(AT..)?.first_chunk()?;
            slots.insert(u32::from_ne_bytes(*slot));
        }
        Some(slots)
    }

    /// Puts the probes of a file in place. What is refused is done without; returns how many that are.
    pub fn probe(&mut self, probed: &Probed) -> u64 {
        let ebpf = self.ebpf.as_mut();
        ebpf.map_or(0, |ebpf| self.probes.attach(ebpf, probed))
    }

    /// The kernel half's counters, summed over all CPUs, in the order of [`Counter::ALL`].
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, MapError> {
        let mut counters = Vec::with_capacity(Counter::ALL.len());
        for (index, counter) in Counter::ALL.iter().enumerate() {
            let values = self.counters.get(&u32::try_from(index).unwrap_or(u32::MAX), 0)?;
            counters.push((*counter, values.iter().sum()));
        }
        Ok(counters)
    }
}

/// Why contexts are taken out of options of TCP and not put there.
fn no_send(set: HookSet) -> String {
    format!("hook set {set} has nothing before a send here; those of other hosts are taken over")
}

/// Returns to the system what loading took: the kernel's types and the object, some 16 MiB, which glibc would keep.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "a call of glibc's"))]
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A number that other spanwires hardly have. Not 0.
fn instance() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    u32::try_from(random >> 32).unwrap_or_default().max(1)
}

/// Loads each program, in a thread of its own: the verifier takes most of the time until spanwire is ready, and works on
/// as many programs at once as there are processors.
fn load_all(ebpf: &mut Ebpf, programs: &[&Program]) -> BTreeMap<&'static str, Result<(), ProgramError>> {
    let btf = OnceLock::new();
    thread::scope(|scope| {
        let btf = &btf;
        let threads: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(name, found)| {
                let program = programs.iter().find(|program| program.name == name)?;
                Some((program.name, scope.spawn(move || load(found, program, btf))))
            })
            .collect();
        let result = |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or(Err(ProgramError::NotLoaded));
        threads
            .into_iter()
            .map(|(name, thread)| (name, result(thread)))
            .collect()
    })
}

/// `btf` is read by the first that needs it.
fn load(
    found: &mut aya::programs::Program,
    program: &Program,
    btf: &OnceLock<Option<aya::Btf>>,
) -> Result<(), ProgramError> {
    let btf = || {
        let read = btf.get_or_init(|| aya::Btf::from_sys_fs().ok());
        read.as_ref().ok_or(ProgramError::NotLoaded)
    };
    match program.hook {
        Hook::RawTracepoint(_) => <&mut RawTracePoint>::try_from(found)?.load(),
        Hook::FEntry(function) => <&mut FEntry>::try_from(found)?.load(function, btf()?),
        Hook::FExit(function) => <&mut FExit>::try_from(found)?.load(function, btf()?),
        Hook::SkMsg => <&mut SkMsg>::try_from(found)?.load(),
        Hook::SockOps => <&mut SockOps>::try_from(found)?.load(),
    }
}

fn attach(ebpf: &mut Ebpf, program: &Program, propagation: &Propagation) -> Result<(), ProgramError> {
    let found = ebpf.program_mut(program.name).ok_or(ProgramError::NotLoaded)?;
    match program.hook {
        Hook::RawTracepoint(name) => <&mut RawTracePoint>::try_from(found)?.attach(name).map(drop),
        Hook::FEntry(_) => <&mut FEntry>::try_from(found)?.attach().map(drop),
        Hook::FExit(_) => <&mut FExit>::try_from(found)?.attach().map(drop),
        Hook::SkMsg => propagation.attach(found.try_into()?),
        Hook::SockOps => propagation::watch_connects(found.try_into()?),
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName {
        name: name.to_owned(),
    })
}

/// Length of the prefix, and the address, IPv4 as IPv6 maps it.
fn mapped(range: IpNet) -> (u32, [u8; 16]) {
    match range {
        IpNet::V4(range) => (
            96 + u32::from(range.prefix_len()),
            range.network().to_ipv6_mapped().octets(),
        ),
        IpNet::V6(range) => (u32::from(range.prefix_len()), range.network().octets()),
    }
}

/// One bit a port.
fn port_bits(ports: &[RangeInclusive<u16>]) -> Vec<u64> {
    let mut bits = vec![0; 65_536 / 64];
    for port in ports.iter().cloned().flatten() {
        bits[usize::from(port / 64)] |= 1 << (port % 64);
    }
    bits
}

/// What both halves know, in the shape that the kernel half has it in.
trait Shared: Copy {}
impl Shared for Globals {}
impl Shared for Runtime {}

#[expect(unsafe_code, reason = "it is written as the bytes that it is")]
fn bytes_of<T: Shared>(value: &T) -> &[u8] {
    // SAFETY: `repr(C)`, of fields of 32 bits only, so without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
