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
        /// An option of TCP, for what carries none of the others, to hosts that run spanwire, too
        Tcp = "tcp",
    }
}

choice! {
    /// Whether the id by which people find a request in logs is carried on.
    pub enum Correlation {
        /// It is not
        None = "none",
        /// It is, and where none came, one is made as `x-request-id`
        RequestId = "x-request-id",
        /// It is, and where none came, one is made as `x-correlation-id`
        CorrelationId = "x-correlation-id",
    }
}

choice! {
    /// Which traces are kept: the samplers of OpenTelemetry's specification.
    pub enum Sampler {
        /// All
        AlwaysOn = "always_on",
        /// None
        AlwaysOff = "always_off",
        /// A part of all, told by the trace's id
        TraceIdRatio = "traceidratio",
        /// Those that others keep, and all that begin here
        ParentBasedAlwaysOn = "parentbased_always_on",
        /// Those that others keep, and none that begins here
        ParentBasedAlwaysOff = "parentbased_always_off",
        /// Those that others keep, and of those that begin here a part
        ParentBasedTraceIdRatio = "parentbased_traceidratio",
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
        /// JSON over HTTP/1.1
        HttpJson = "http/json",
    }
}

choice! {
    /// Compression of OTLP requests.
    pub enum Compression {
        /// None
        None = "none",
        /// gzip
        Gzip = "gzip",
        /// Zstandard, which the collector takes, and other endpoints may not
        Zstd = "zstd",
    }
}

choice! {
    /// When what is in the spool is made safe against a power failure.
    pub enum Fsync {
        /// With each request
        Always = "always",
        /// Once a second
        Interval = "interval",
        /// When the kernel finds time
        Never = "never",
    }
}

choice! {
    /// What is taken out of spans.
    pub enum RuleSet {
        /// Secrets, and all that could be the id of a person or a thing
        Strict = "strict",
        /// Secrets: what looks like one, what is called one, literals in SQL
        Standard = "standard",
        /// Nothing but what other keys name
        None = "none",
    }
}

choice! {
    /// What a value looks like that is taken out.
    pub enum Shape {
        /// Card numbers with the right check digit
        Card = "card",
        /// E-mail addresses
        Email = "email",
        /// IBANs with the right check digits
        Iban = "iban",
        /// JSON Web Tokens
        Jwt = "jwt",
        /// What follows `Bearer`, `Basic` or `Negotiate`
        Credentials = "credentials",
        /// Telephone numbers: with `+` and country code, or as in North America
        Phone = "phone",
        /// Hexadecimal numbers of 128 bits and more
        LongHex = "long_hex",
        /// Keys that begin as those of well-known services do, and private keys
        ApiKey = "api_key",
        /// User and password in URLs
        UserInformation = "user_information",
        /// UUIDs and ULIDs
        UniqueId = "unique_id",
        /// Numbers of six digits and more, and segments of paths that are numbers
        Number = "number",
        /// Words of 20 characters and more that mix upper case, lower case and digits
        Opaque = "opaque",
    }
}

choice! {
    /// What a rule does with the attributes that it names.
    pub enum Action {
        /// Leaves them as they are: what is taken out of all others stays
        Keep = "keep",
        /// Takes them away
        Drop = "drop",
        /// Puts their HMAC-SHA-256 in their place, in hexadecimal
        Hash = "hash",
        /// Leaves two characters at each end
        Mask = "mask",
        /// Replaces what `pattern` matches by `with`
        Replace = "replace",
    }
}

choice! {
    /// What a span is about.
    pub enum Traffic {
        /// HTTP of any version
        Http = "http",
        /// gRPC
        Grpc = "grpc",
        /// PostgreSQL
        Postgresql = "postgresql",
        /// AMQP
        Amqp = "amqp",
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
