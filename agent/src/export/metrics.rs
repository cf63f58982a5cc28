//! Metrics to an OTLP endpoint, all of them each time (opentelemetry-proto 1.x, `metrics_service.proto`).
//!
//! What was not taken is not tried again by itself: the next export has it all. That is so with delta temporality, too: what
//! an export begins from is the last one that was taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as OtlpExemplar, ExponentialHistogram, ExponentialHistogramDataPoint,
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exemplar, exponential_histogram_data_point::Buckets, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};

use super::client::Client;
use super::form::Request;
use super::settings::{Settings, SettingsError};
use crate::metrics::family::{Distribution, Exemplar, Family, Kind, Point, Value};
use crate::metrics::results::Results;
use crate::span::semconv::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};
use crate::span::{self, Resource};

/// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Everything since the start.
    #[default]
    Cumulative,
    /// Counters and histograms since the last export.
    Delta,
    /// The same of requests alone, of which nothing is to be remembered.
    LowMemory,
}

/// How often, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// From one export to the next.
    pub interval: Duration,
    /// Longest that one takes.
    pub timeout: Duration,
    /// Since when values are.
    pub temporality: Temporality,
}

/// Exports on their own, until it is told to end.
#[derive(Debug)]
pub struct Handle {
    end: oneshot::Sender<Vec<Family>>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Exports what `gather` gives, in a task of its own. To be called in a tokio runtime.
    ///
    /// # Errors
    /// What of the settings cannot work.
    pub fn start<F>(
        settings: &Settings,
        cadence: Cadence,
        own: Arc<Resource>,
        results: Arc<Results>,
        gather: impl Fn() -> F + Send + 'static,
    ) -> Result<Self, SettingsError>
    where
        F: Future<Output = Vec<Family>> + Send,
    {
        let mut periodic = Periodic {
            client: Client::new(settings.clone())?,
            endpoint: settings.shown(),
            cadence,
            batch: Batch::new(own, cadence.temporality),
            results,
            is_away: false,
        };
        let (end, mut ending) = oneshot::channel::<Vec<Family>>();
        let task = tokio::spawn(async move {
            let mut ticks = interval_at(Instant::now() + cadence.interval, cadence.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        let families = gather().await;
                        periodic.export(&families).await;
                    }
                    last = &mut ending => {
                        if let Ok(families) = last {
                            periodic.export(&families).await;
                        }
                        return;
                    }
                }
            }
        });
        Ok(Self { end, task })
    }

    /// Exports `last`, for `limit` at most.
    pub async fn finish(self, last: Vec<Family>, limit: Duration) {
        let _ = self.end.send(last);
        let mut task = self.task;
        if timeout(limit, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Periodic {
    client: Client,
    endpoint: String,
    cadence: Cadence,
    batch: Batch,
    results: Arc<Results>,
    is_away: bool,
}

impl Periodic {
    async fn export(&mut self, families: &[Family]) {
        let (request, state) = self.batch.request(families, now());
        let request = Request {
            spans: 0,
            bytes: request.encode_to_vec().into(),
        };
        let ends = Instant::now() + self.cadence.timeout;
        let problem = match self.client.send(&request, ends).await {
            Ok(accepted) => {
                self.batch.taken(state);
                self.results.taken();
                if std::mem::take(&mut self.is_away) {
                    info!("exporting metrics to {} again", self.endpoint);
                }
                if accepted.rejected > 0 {
                    warn!(
                        "{} took metrics, but {} points of them: {:?}",
                        self.endpoint, accepted.rejected, accepted.message
                    );
                }
                return;
            }
            Err(failure) => failure.message,
        };
        self.results.failed();
        if !std::mem::replace(&mut self.is_away, true) {
            warn!(
                "cannot export metrics to {}: {problem}; the next export has them all",
                self.endpoint
            );
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Families to requests, and what was taken last.
struct Batch {
    own: Arc<Resource>,
    temporality: Temporality,
    /// When spanwire's own counters began.
    began: u64,
    last: State,
}

/// What an export was made of, by series.
#[derive(Default)]
struct State {
    time: u64,
    points: HashMap<String, Point>,
}

impl Batch {
    fn new(own: Arc<Resource>, temporality: Temporality) -> Self {
        Self {
            own,
            temporality,
            began: now(),
            last: State::default(),
        }
    }

    fn taken(&mut self, state: State) {
        self.last = state;
    }

    /// One request with all of `families`, by resource, and what is to be remembered once it is taken.
    fn request(&self, families: &[Family], now: u64) -> (ExportMetricsServiceRequest, State) {
        let mut state = State {
            time: now,
            points: HashMap::new(),
        };
        let mut resources: Vec<(Option<&str>, ResourceMetrics)> = Vec::new();
        let mut by_service: HashMap<_, usize> = HashMap::new();
        for family in families {
            let mut groups: Vec<(usize, Vec<&Point>)> = Vec::new();
            let mut group_of = HashMap::new();
            for point in &family.points {
                let service = point.service.as_deref();
                let key = service.map(|service| (&*service.name, service.namespace.as_deref()));
                let at = *by_service.entry(key).or_insert_with(|| {
                    let attributes = service.map_or(&self.own.attributes, |service| &service.attributes);
                    resources.push((key.map(|(name, _)| name), resource(attributes)));
                    resources.len() - 1
                });
                let group = *group_of.entry(at).or_insert_with(|| {
                    groups.push((at, Vec::new()));
                    groups.len() - 1
                });
                groups[group].1.push(point);
            }
            for (at, points) in groups {
                let metric = self.metric(family, &points, now, &mut state);
                resources[at].1.scope_metrics[0].metrics.push(metric);
            }
        }
        let request = ExportMetricsServiceRequest {
            resource_metrics: resources.into_iter().map(|(_, resource)| resource).collect(),
        };
        (request, state)
    }

    fn metric(&self, family: &Family, points: &[&Point], now: u64, state: &mut State) -> Metric {
        let of_requests = points.iter().any(|point| point.start != 0);
        let is_delta = family.kind != Kind::Gauge
            && match self.temporality {
                Temporality::Cumulative => false,
                Temporality::Delta => true,
                Temporality::LowMemory => of_requests,
            };
        let temporality = match is_delta {
            true => AggregationTemporality::Delta,
            false => AggregationTemporality::Cumulative,
        };
        let mut numbers = Vec::new();
        let mut histograms = Vec::new();
        let mut exponentials = Vec::new();
        for point in points {
            let began = if point.start == 0 { self.began } else { point.start };
            let mut value = point.value.clone();
            let mut start = began;
            if is_delta {
                let key = format!(
                    "{} {:?} {:?}",
                    family.name,
                    point.service.as_ref().map(|it| (&it.name, &it.namespace)),
                    point.labels
                );
                // One that began anew has nothing before it.
                if let Some(last) = self
                    .last
                    .points
                    .get(&key)
                    .filter(|last| last.start == point.start)
                {
                    value = since(&value, &last.value);
                    start = self.last.time;
                }
                state.points.insert(key, (*point).clone());
            }
            let attributes: Vec<_> = point
                .labels
                .iter()
                .map(|(key, value)| key_value(key, value))
                .collect();
            match value {
                Value::Count(count) => {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    numbers.push(number(
                        attributes,
                        (start, now),
                        number_data_point::Value::AsInt(count),
                    ));
                }
                Value::Number(value) => {
                    numbers.push(number(
                        attributes,
                        (start, now),
                        number_data_point::Value::AsDouble(value),
                    ));
                }
                Value::Histogram(distribution) => match distribution.exponential {
                    None => histograms.push(explicit(attributes, (start, now), &distribution)),
                    Some(_) => exponentials.push(exponential(attributes, (start, now), &distribution)),
                },
            }
        }
        let aggregation_temporality = temporality.into();
        let data = match family.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers }),
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: numbers,
                aggregation_temporality,
                is_monotonic: true,
            }),
            Kind::Histogram if exponentials.is_empty() => metric::Data::Histogram(Histogram {
                data_points: histograms,
                aggregation_temporality,
            }),
            Kind::Histogram => metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: exponentials,
                aggregation_temporality,
            }),
        };
        Metric {
            name: family.name.to_owned(),
            description: family.help.to_owned(),
            unit: family.unit.to_owned(),
            metadata: Vec::new(),
            data: Some(data),
        }
    }
}

/// What a value has grown by.
fn since(value: &Value, last: &Value) -> Value {
    match (value, last) {
        (Value::Count(value), Value::Count(last)) => Value::Count(value.saturating_sub(*last)),
        (Value::Number(value), Value::Number(last)) => Value::Number((value - last).max(0.0)),
        (Value::Histogram(value), Value::Histogram(last)) => {
            let counts = value.counts.iter().zip(&last.counts);
            Value::Histogram(Box::new(Distribution {
                bounds: value.bounds,
                counts: counts.map(|(value, last)| value.saturating_sub(*last)).collect(),
                sum: (value.sum - last.sum).max(0.0),
                exemplars: value
                    .exemplars
                    .iter()
                    .enumerate()
                    .map(|(bucket, exemplar)| {
                        exemplar.filter(|exemplar| last.exemplars.get(bucket) != Some(&Some(*exemplar)))
                    })
                    .collect(),
                exponential: match (&value.exponential, &last.exponential) {
                    (Some(value), Some(last)) => Some(value.since(last)),
                    (value, _) => value.clone(),
                },
            }))
        }
        _ => value.clone(),
    }
}

fn resource(attributes: &[span::Attribute]) -> ResourceMetrics {
    let attributes = attributes.iter();
    ResourceMetrics {
        resource: Some(OtlpResource {
            attributes: attributes
                .map(|attribute| key_value(&attribute.key, &attribute.value))
                .collect(),
            ..OtlpResource::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: SCOPE_NAME.to_owned(),
                version: SCOPE_VERSION.to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics: Vec::new(),
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    }
}

fn key_value(key: &str, value: &span::Value) -> KeyValue {
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let any = |value| AnyValue { value: Some(value) };
    let value = match value {
        span::Value::Text(value) => text(value),
        span::Value::Integer(value) => any_value::Value::IntValue(*value),
        span::Value::Boolean(value) => any_value::Value::BoolValue(*value),
        span::Value::Texts(values) => any_value::Value::ArrayValue(ArrayValue {
            values: values.iter().map(|value| any(text(value))).collect(),
        }),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn number(
    attributes: Vec<KeyValue>,
    (start, time): (u64, u64),
    value: number_data_point::Value,
) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn exemplars(distribution: &Distribution) -> Vec<OtlpExemplar> {
    let one = |exemplar: &Exemplar| OtlpExemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: exemplar.time.0,
        span_id: exemplar.span_id.0.to_vec(),
        trace_id: exemplar.trace_id.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    };
    distribution.exemplars.iter().flatten().map(one).collect()
}

fn explicit(
    attributes: Vec<KeyValue>,
    (start, time): (u64, u64),
    distribution: &Distribution,
) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: distribution.counts.iter().sum(),
        sum: Some(distribution.sum),
        bucket_counts: distribution.counts.clone(),
        explicit_bounds: distribution.bounds.to_vec(),
        exemplars: exemplars(distribution),
        ..HistogramDataPoint::default()
    }
}

fn exponential(
    attributes: Vec<KeyValue>,
    (start, time): (u64, u64),
    distribution: &Distribution,
) -> ExponentialHistogramDataPoint {
    let histogram = distribution.exponential.clone().unwrap_or_default();
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: distribution.counts.iter().sum(),
        sum: Some(distribution.sum),
        scale: histogram.scale,
        zero_count: histogram.zeros,
        positive: Some(Buckets {
            offset: histogram.offset,
            bucket_counts: histogram.counts.into(),
        }),
        exemplars: exemplars(distribution),
        ..ExponentialHistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests;
