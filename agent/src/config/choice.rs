//! Values that are one word out of a few: the same words in the file, the environment and the flags.

/// An enum whose variants are words, parsed alike by serde, clap and `FromStr`.
macro_rules! choice {
    (
        $(#[$about:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema, clap::ValueEnum,
        )]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] #[value(name = $word)] $variant,)+ }

        impl $name {
            /// All words, as they are written.
            pub const WORDS: &[&str] = &[$($word,)+];
        }

        impl std::str::FromStr for $name {
            type Err = super::value::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(super::value::Invalid::choice(text, Self::WORDS)),
                }
            }
        }
    };
}

choice! {
    /// Which set of kernel hooks captures.
    pub enum Hooks {
        /// The first set of those below that loads on this kernel
        Auto = "auto",
        /// Socket tracepoints: nothing is paid by what is no socket operation
        Socket = "socket",
        /// fentry/fexit or kprobes on the socket operations
        Trampoline = "trampoline",
        /// System call tracepoints: load everywhere, and tax every system call of the host
        Syscall = "syscall",
    }
}

choice! {
    /// What is written to standard output.
    pub enum Format {
        /// Finished traces as trees, for people
        Tree = "tree",
        /// One OTLP ExportTraceServiceRequest in JSON a line, as the collector's file exporter writes it
        OtlpJson = "otlp-json",
        /// Nothing
        None = "none",
    }
}

choice! {
    /// When the tree has colours.
    pub enum Color {
        /// When standard output is a terminal and NO_COLOR is not set
        Auto = "auto",
        /// Also into a pipe or a file
        Always = "always",
        /// Never
        Never = "never",
    }
}

choice! {
    /// Into what outgoing requests trace context is put.
    pub enum Injected {
        /// None; beside others, these count
        None = "none",
        /// A header of HTTP/1
        Http1 = "http1",
        /// A field of HTTP/2, gRPC included
        Http2 = "http2",
        /// An entry of the headers of an AMQP message
        Amqp = "amqp",
        /// A comment behind a statement that is sent as a simple query of PostgreSQL
        Sql = "sql",
    }
}

choice! {
    /// What SDKs make spans of.
    pub enum Covered {
        /// Requests of HTTP, gRPC included
        Http = "http",
        /// Statements
        Database = "database",
        /// Messages
        Messaging = "messaging",
    }
}

choice! {
    /// Level of the diagnostics that the programs in the kernel write.
    pub enum KernelLog {
        /// Silent, at no cost
        Off = "off",
        /// What should not happen
        Error = "error",
        /// What is lost
        Warn = "warn",
        /// Connections
        Info = "info",
        /// Messages
        Debug = "debug",
        /// Each read and write
        Trace = "trace",
    }
}

choice! {
    /// Transport of OTLP.
    pub enum Protocol {
        /// Protobuf over HTTP/1.1
        HttpProtobuf = "http/protobuf",
        /// Protobuf over gRPC
        Grpc = "grpc",
    }
}

choice! {
    /// Compression of OTLP requests.
    pub enum Compression {
        /// None
        None = "none",
        /// gzip
        Gzip = "gzip",
    }
}

choice! {
    /// Since when the values of a metric are.
    pub enum Temporality {
        /// The start of spanwire, or of the series
        Cumulative = "cumulative",
        /// The last export
        Delta = "delta",
        /// The last export, of metrics of requests alone
        LowMemory = "lowmemory",
    }
}

choice! {
    /// Into which buckets durations are counted for OTLP.
    pub enum Histograms {
        /// Those that the semantic conventions name
        Explicit = "explicit_bucket_histogram",
        /// Exponential ones, as fine as fits into 160 of them
        Exponential = "base2_exponential_bucket_histogram",
    }
}
