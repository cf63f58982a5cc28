//! The command line: what it takes, what `--help` teaches, and the statuses that scripts can rely on.

use crate::config::Listen;
use crate::config::choice::{Color, Format, Hooks, Injected, KernelLog};
use crate::config::layer::{Capture, Layer, Messaging, Output, Propagate, Watch};
use crate::config::value::{Pattern, Period, PortRange, Size};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Termination};

const STATUSES: &str = "\
Exit status:
  0  all went well
  1  capture cannot run here: privileges or kernel (`spanwire check` says which)
  2  wrong flag, or wrong configuration
  3  another spanwire already runs on this host
  4  it failed while running
With `-- COMMAND`, the command's own status is passed on (128 + N when signal N ended it);
126 when it cannot be executed, 127 when it is not found. SIGINT and SIGTERM are passed on to it;
a second one ends spanwire alone, with status 128 + N.";

// Lines of at most 98 columns: clap wraps at 100, and would break an example in two.
const EXAMPLES: &str = "\
Examples:
  sudo spanwire run                             every service on this host, as trees
  sudo spanwire run --exe nginx --exe 'node*'   just these two
  sudo spanwire run --port 8000-8999            just what goes to or comes from these ports
  sudo spanwire run -- python3 app.py           start a program, watch it, end with it
  sudo OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 spanwire run
                                                export as well
  spanwire replay shop.pcap                     what a capture file holds
  spanwire check                                what works here, and what root would add";

const RUN_EXAMPLES: &str = "\
Filters:
  Values of one filter are alternatives, different filters must all fit:
  `--exe nginx --exe node --port 8080` watches what is called nginx or node, on port 8080.
  Without any, everything is watched but spanwire itself. A filter here replaces the one of the
  same name in the file or the environment.

Configuration:
  Defaults < file (--config) < environment < flags; `spanwire config print` shows the outcome.
  OTEL_EXPORTER_OTLP_*, OTEL_TRACES_EXPORTER, OTEL_BSP_*, OTEL_RESOURCE_ATTRIBUTES,
  OTEL_SDK_DISABLED, OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS and the span limits mean what
  OpenTelemetry's specification says, but that without an endpoint or an exporter nothing is
  exported. OTEL_SERVICE_NAME is each service's own: spanwire takes it from the environment of
  the process it watches.

Examples:
  sudo spanwire run                                    all there is, as trees
  sudo spanwire run --output otlp-json > traces.jsonl  one ExportTraceServiceRequest a line
  sudo spanwire run --pid 1234 --pid 5678              two processes
  sudo spanwire run --exe '/opt/shop/**'               all programs below a folder
  sudo spanwire run --container web --port 80          one container's port
  sudo spanwire run --config spanwire.yaml --output none
  sudo spanwire run -- ./server --listen :8080         a program, for as long as it runs";

const REPLAY_EXAMPLES: &str = "\
Examples:
  tcpdump -i any -w shop.pcap port 8080 ; spanwire replay shop.pcap
  spanwire replay --output otlp-json shop.pcapng.gz > traces.jsonl
  tcpdump -U -w - | spanwire replay --stats -";

const REPLAY_STATUSES: &str = "\
Exit status:
  0  the file was read to its end, also where that end cuts a packet
  1  no capture, damaged, or of an unknown link type; what came before is shown
  2  wrong flag, or wrong configuration
  4  it failed otherwise";

const STATUS_STATUSES: &str = "\
Exit status:
  0  it runs, and told
  2  wrong flag
  3  none runs that would answer there
  4  it runs, and does not tell: it is another user's, or hangs";

/// Distributed traces out of what services put on the wire: nothing is changed in them, nothing restarted.
#[derive(Debug, Parser)]
#[command(name = "spanwire", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUSES}"))]
#[command(propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Capture, show and export
    #[command(after_long_help = format!("{RUN_EXAMPLES}\n\n{STATUSES}"))]
    Run(Box<Run>),
    /// Show what the spanwire that runs on this host has seen, lost and cost
    ///
    /// It asks at the Unix socket beside the lock (`metrics.listen: [unix]`, the default), which is its owner's alone.
    #[command(after_long_help = STATUS_STATUSES)]
    Status {
        /// Where it tells its metrics, where that is not the default: unix:/PATH, or an address with a port
        #[arg(long, value_name = "ADDRESS")]
        address: Option<Listen>,
    },
    /// Show the processes that the spanwire that runs on this host watches, and why
    ///
    /// For each: the name of its service, its runtime, the pod, container or unit it is in, the ports it listens on, what it was seen
    /// to speak, and whether contexts are injected into its requests. It asks at the Unix socket beside the lock.
    #[command(after_long_help = STATUS_STATUSES)]
    Services {
        /// Show processes that are not watched, too, and why not
        #[arg(long)]
        all: bool,
        /// One JSON document
        #[arg(long)]
        json: bool,
        /// Where it answers, where that is not the default: unix:/PATH
        #[arg(long, value_name = "ADDRESS")]
        address: Option<Listen>,
    },
    /// Say line by line what this kernel and these privileges allow
    #[command(after_long_help = STATUSES)]
    Check {
        /// Form of the answer
        #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
        output: CheckOutput,
    },
    /// Show and export what a capture file holds; needs no privileges
    #[command(after_long_help = format!("{REPLAY_EXAMPLES}\n\n{REPLAY_STATUSES}"))]
    Replay(Box<Replay>),
    /// Check, show or describe the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    ///
    /// For bash: `spanwire completions bash > /etc/bash_completion.d/spanwire`
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page
    ///
    /// `spanwire man | man -l -`; `spanwire man run` for that of a command
    Man {
        /// The command to describe; spanwire as a whole when left out
        command: Vec<String>,
    },
}

/// `spanwire run`.
#[derive(Debug, Args)]
pub struct Run {
    /// All that can be configured by flags.
    #[command(flatten)]
    pub settings: Settings,
    /// Show credentials and literals in SQL, and texts of up to 1,024 characters whatever the limit says
    #[arg(long)]
    pub no_redact: bool,
    /// A program to start; only it and what it starts are watched, and spanwire ends with it
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `spanwire replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Capture file, pcap or pcapng, also compressed with gzip; `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Configuration file (YAML) [env: SPANWIRE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to write to standard output [default: tree] [env: SPANWIRE_OUTPUT]
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Format>,
    /// When the tree has colours [default: auto] [env: SPANWIRE_COLOR]
    #[arg(long, value_enum, value_name = "WHEN")]
    color: Option<Color>,
    /// Show credentials and literals in SQL, and texts of up to 1,024 characters whatever the limit says
    #[arg(long)]
    pub no_redact: bool,
    /// Say on standard error what was in the file, and what of it came to nothing
    #[arg(long)]
    pub stats: bool,
}

impl Replay {
    /// What the flags say, as a layer of the configuration.
    #[must_use]
    pub fn layer(&self) -> Layer {
        Layer {
            output: Output {
                format: self.output,
                color: self.color,
                open_after: None,
            },
            ..Layer::default()
        }
    }
}

/// `spanwire config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file; exit status 0 or 2
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the effective configuration, each value with its origin, secrets masked
    Print {
        /// The same flags as `run` has.
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Print the JSON schema of the file, for editors
    ///
    /// With `# yaml-language-server: $schema=PATH` on the file's first line, editors complete and check it.
    Schema,
}

/// Form of what `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// A line for each feature
    Text,
    /// One JSON document
    Json,
}

/// The part of the configuration that flags can set.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Configuration file (YAML) [env: SPANWIRE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Watch this process, and children that it forks from then on (those from before are not) while they run its program
    #[arg(long, value_name = "PID", help_heading = "Filters")]
    pid: Vec<NonZeroU32>,
    /// Watch executables by name, or by path with `*` and `**`
    #[arg(long, value_name = "GLOB", help_heading = "Filters")]
    exe: Vec<Pattern>,
    /// Watch TCP connections with this port, or one of this range, at either end
    #[arg(long, value_name = "PORT|FROM-TO", help_heading = "Filters")]
    port: Vec<PortRange>,
    /// Watch a container by its name or the beginning of its id
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    container: Vec<String>,

    /// What to write to standard output [default: tree] [env: SPANWIRE_OUTPUT]
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Output")]
    output: Option<Format>,
    /// When the tree has colours [default: auto] [env: SPANWIRE_COLOR]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Output")]
    color: Option<Color>,
    /// Show streams of HTTP/2 and gRPC that are open for so long, again each time that passes [env: SPANWIRE_OPEN_AFTER]
    #[arg(long, value_name = "TIME", help_heading = "Output")]
    open_after: Option<Period>,

    /// Where to tell metrics and health: unix, unix:/PATH, none, or an address with a port; may be given several times
    /// [default: unix] [env: SPANWIRE_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS", help_heading = "Output")]
    listen: Vec<Listen>,

    /// Make spans at the broker's end of connections, too: without this, of RabbitMQ's clients on other hosts nothing is
    /// shown here [env: SPANWIRE_BROKER_SPANS]
    #[arg(long, help_heading = "Capture")]
    broker_spans: bool,

    /// Put trace context into what watched clients send [default: none] [env: SPANWIRE_PROPAGATE]
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        value_delimiter = ',',
        help_heading = "Capture"
    )]
    propagate: Vec<Injected>,

    /// Which kernel hooks to use [default: auto] [env: SPANWIRE_HOOKS]
    #[arg(long, value_enum, value_name = "SET", help_heading = "Capture")]
    hooks: Option<Hooks>,
    /// Buffer between kernel and agent, rounded up to a power of two [default: 8M] [env: SPANWIRE_RING_BUFFER]
    #[arg(long, value_name = "SIZE", help_heading = "Capture")]
    ring_buffer: Option<Size>,
    /// Connections followed at a time [default: 65536] [env: SPANWIRE_MAX_CONNECTIONS]
    #[arg(long, value_name = "NUMBER", help_heading = "Capture")]
    max_connections: Option<NonZeroU32>,
    /// Diagnostics from the programs in the kernel [default: off] [env: SPANWIRE_KERNEL_LOG]
    #[arg(long, value_enum, value_name = "LEVEL", help_heading = "Capture")]
    kernel_log: Option<KernelLog>,
}

impl Settings {
    /// What the flags say, as a layer of the configuration.
    #[must_use]
    pub fn layer(&self) -> Layer {
        fn given<T: Clone>(values: &[T]) -> Option<Vec<T>> {
            (!values.is_empty()).then(|| values.to_vec())
        }
        Layer {
            watch: Watch {
                pid: given(&self.pid),
                exe: given(&self.exe),
                port: given(&self.port),
                container: given(&self.container),
                ..Watch::default()
            },
            capture: Capture {
                hooks: self.hooks,
                ring_buffer: self.ring_buffer,
                max_connections: self.max_connections,
                kernel_log: self.kernel_log,
                ..Capture::default()
            },
            messaging: Messaging {
                broker_spans: self.broker_spans.then_some(true),
                ..Messaging::default()
            },
            propagate: Propagate {
                headers: given(&self.propagate),
                ..Propagate::default()
            },
            output: Output {
                format: self.output,
                color: self.color,
                open_after: self.open_after,
            },
            metrics: crate::config::metrics::Section {
                listen: given(&self.listen),
                ..Default::default()
            },
            ..Layer::default()
        }
    }
}

/// How spanwire ends. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Success,
    /// Capture cannot run here: privileges or kernel.
    CannotCapture,
    /// What was to be replayed is no capture, or damaged.
    CannotReplay,
    /// Wrong flag, or wrong configuration. (clap itself ends with this status, too.)
    Usage,
    /// Another spanwire already runs on this host.
    AlreadyRunning,
    /// None runs whose status could be shown.
    NotRunning,
    /// It failed while running.
    Failed,
    /// The status of the command that was run, or that a shell would give for how it went.
    Command(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CannotCapture | Self::CannotReplay => 1,
            Self::Usage => 2,
            Self::AlreadyRunning | Self::NotRunning => 3,
            Self::Failed => 4,
            Self::Command(status) => status,
        }
    }

    /// Passes on how a command ended, as a shell would: its own status, or 128 + the signal that ended it.
    #[must_use]
    pub fn of(command: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (command.code(), command.signal()) {
            (Some(code), _) => Self::Command(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Self::of_signal(signal.unwrap_or(i32::MAX)),
        }
    }

    /// What a shell says of a program that this signal ended.
    #[must_use]
    pub fn of_signal(signal: i32) -> Self {
        Self::Command(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX))
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.status().into()
    }
}

/// Writes completions for `shell`.
///
/// # Errors
/// `out` cannot be written to.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "spanwire", &mut text);
    out.write_all(&text)
}

/// Writes the manual page of spanwire, or of the command that `path` leads to; where there is none, `err` says so.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn man(path: &[String], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let mut page = &command;
    for word in path {
        let Some(next) = page.find_subcommand(word) else {
            writeln!(err, "error: spanwire has no command `{}`", path.join(" "))?;
            return Ok(Exit::Usage);
        };
        page = next;
    }
    let name = page.get_display_name().unwrap_or("spanwire").to_owned();
    clap_mangen::Man::new(page.clone())
        .title(name)
        .source(concat!("spanwire ", env!("CARGO_PKG_VERSION")))
        .render(out)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn run(line: &str) -> Run {
        match Cli::try_parse_from(line.split_whitespace())
            .unwrap_or_else(|error| panic!("{error}"))
            .command
        {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_are_not_broken_in_two() {
        for line in [STATUSES, EXAMPLES, RUN_EXAMPLES]
            .iter()
            .flat_map(|text| text.lines())
        {
            assert!(line.len() <= 98, "{line}");
        }
    }

    #[test]
    fn flags_become_a_layer_and_silence_stays_silence() {
        assert_eq!(run("spanwire run").settings.layer(), Layer::default());
        let layer = run(
            "spanwire run --pid 1 --pid 2 --exe nginx --port 80 --port 90-95 --container web --output otlp-json \
             --color never --hooks syscall --ring-buffer 64K --max-connections 100 --kernel-log debug",
        )
        .settings
        .layer();
        let text = "watch: {pid: [1, 2], exe: [nginx], port: [80, 90-95], container: [web]}\n\
                    output: {format: otlp-json, color: never}\n\
                    capture: {hooks: syscall, ring_buffer: 64K, max_connections: 100, kernel_log: debug}\n";
        assert_eq!(layer, serde_yaml_ng::from_str(text).unwrap());
    }

    #[test]
    fn a_command_keeps_its_own_flags() {
        let run = run("spanwire run --port 80 -- python3 app.py --port 81 -q");
        assert_eq!(run.command, ["python3", "app.py", "--port", "81", "-q"]);
        assert_eq!(run.settings.port, ["80".parse().unwrap()]);
    }

    #[test]
    fn wrong_flags_say_what_is_right() {
        assert!(refused("spanwire run --port 90-80").contains("did you mean `80-90`?"));
        assert!(refused("spanwire run --port http").contains("is not a port from 1 to 65535"));
        assert!(refused("spanwire run --hooks sokcet").contains("socket"));
        assert!(refused("spanwire run --outptu none").contains("--output"));
        assert!(refused("spanwire run --pid 0").contains("--pid"));
        assert!(refused("spanwire run --ring-buffer big").contains("such as 65536, 512K or 8M"));
        assert!(refused("spanwire run --exe [").contains("is not a pattern"));
        assert!(refused("spanwire run -q -v").contains("cannot be used with"));
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        let named = [
            Exit::Success,
            Exit::CannotCapture,
            Exit::Usage,
            Exit::AlreadyRunning,
            Exit::Failed,
        ];
        for (number, exit) in named.into_iter().enumerate() {
            assert_eq!(usize::from(exit.status()), number);
            assert!(STATUSES.contains(&format!("\n  {number}  ")));
        }
        assert_eq!(Exit::of(ExitStatus::from_raw(7 << 8)), Exit::Command(7));
        assert_eq!(Exit::of(ExitStatus::from_raw(9)), Exit::Command(137));
    }

    #[test]
    fn completions_and_manual_pages_know_the_flags() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            completions(*shell, &mut text).unwrap();
            assert!(
                String::from_utf8(text).unwrap().contains("ring-buffer"),
                "{shell}"
            );
        }
        let page = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|word| (*word).to_owned()).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let exit = man(&path, &mut out, &mut err).unwrap();
            (exit, String::from_utf8([out, err].concat()).unwrap())
        };
        assert!(page(&[]).1.contains(".TH spanwire 1"));
        let (_, run) = page(&["run"]);
        assert!(
            run.contains(".TH spanwire-run 1  \"spanwire ") && run.contains("ring\\-buffer"),
            "{run}"
        );
        assert!(page(&["config", "print"]).1.contains("spanwire-config-print"));
        let (exit, said) = page(&["repeat"]);
        assert_eq!(exit, Exit::Usage);
        assert!(said.contains("no command `repeat`"), "{said}");
        assert!(page(&["replay"]).1.contains("no\\-redact"));
    }
}
