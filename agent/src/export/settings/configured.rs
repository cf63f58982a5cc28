//! Settings out of the configuration.

use std::time::Duration;

use super::{Compression, Fsync, Protocol, Proxy, Rotation, Settings, Signal, Spool, Tls};
use crate::config::{self, Config};
use crate::export::queue::Limits;

/// No timeout at all would keep a batch for ever that an endpoint has swallowed.
const LONGEST: Duration = Duration::from_hours(1);

/// The endpoints that the configuration names.
#[must_use]
pub fn endpoints(config: &Config) -> Vec<Settings> {
    let export = &config.export;
    let otlp = export.otlp.iter().map(otlp);
    let zipkin = export.zipkin.iter().map(|zipkin| Settings {
        timeout: zipkin.timeout.unwrap_or(LONGEST),
        ..Settings::new(zipkin.url.clone(), Protocol::Zipkin)
    });
    let file = export.file.iter().map(|file| {
        let rotation = Rotation {
            max_size: file.max_size,
            max_files: file.max_files,
        };
        Settings::new(file.path.clone(), Protocol::File(rotation))
    });
    otlp.chain(zipkin)
        .chain(file)
        .map(|settings| with_what_all_share(settings, config))
        .collect()
}

/// Where metrics go, if the configuration wants them sent. There is no JSON of them: who takes that takes protobuf, too.
#[must_use]
pub fn metrics(config: &Config) -> Option<Settings> {
    let settings = otlp(&config.metrics.export.as_ref()?.otlp);
    let protocol = match settings.protocol {
        Protocol::HttpJson => Protocol::HttpProtobuf,
        protocol => protocol,
    };
    let settings = Settings {
        signal: Signal::Metrics,
        protocol,
        ..settings
    };
    Some(with_what_all_share(settings, config))
}

fn otlp(otlp: &config::Otlp) -> Settings {
    Settings {
        headers: otlp
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        headers_file: otlp.headers_file.clone(),
        timeout: otlp.timeout.unwrap_or(LONGEST),
        compression: match otlp.compression {
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Zstd => Compression::Zstd,
        },
        tls: Tls {
            certificate: otlp.certificate.clone(),
            client_certificate: otlp.client.as_ref().map(|client| client.certificate.clone()),
            client_key: otlp.client.as_ref().map(|client| client.key.clone()),
        },
        ..Settings::new(
            otlp.url.clone(),
            match otlp.protocol {
                config::Protocol::Grpc => Protocol::Grpc,
                config::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
                config::Protocol::HttpJson => Protocol::HttpJson,
            },
        )
    }
}

fn with_what_all_share(settings: Settings, config: &Config) -> Settings {
    let (proxy, batch) = (&config.export.proxy, &config.batch);
    Settings {
        export_timeout: batch.export_timeout.unwrap_or(LONGEST),
        proxy: Proxy {
            http: proxy.http.clone(),
            https: proxy.https.clone(),
            except: proxy.except.clone(),
        },
        limits: Limits {
            queue_size: batch.max_queue_size,
            batch_size: batch.max_export_batch_size,
            batch_bytes: batch.max_export_batch_bytes,
            schedule_delay: batch.schedule_delay,
        },
        ..settings
    }
}

/// The spool that the configuration names, if it names one.
#[must_use]
pub fn spool(config: &Config) -> Option<Spool> {
    let spool = config.export.spool.as_ref()?;
    Some(Spool {
        directory: spool.directory.clone(),
        max_size: spool.max_size,
        max_age: spool.max_age,
        fsync: match spool.fsync {
            config::Fsync::Always => Fsync::Always,
            config::Fsync::Interval => Fsync::Interval,
            config::Fsync::Never => Fsync::Never,
        },
        rate: spool.rate,
    })
}
