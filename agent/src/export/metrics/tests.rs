//! Families in, requests out.

use super::*;
use crate::metrics::exponential::Exponential;
use crate::metrics::family::Service;
use crate::span::{Attribute, OwnRules, SpanId, TraceId, UnixNanoseconds};

fn own() -> Arc<Resource> {
    let name = Attribute {
        key: "service.name".into(),
        value: span::Value::Text("spanwire".into()),
    };
    Arc::new(Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes: vec![name],
    })
}

fn service(name: &str) -> Arc<Service> {
    Arc::new(Service::of(&Resource {
        own: OwnRules::default(),
        pid: 1,
        attributes: vec![Attribute {
            key: "service.name".into(),
            value: span::Value::Text(name.into()),
        }],
    }))
}

/// Observations of 0.5 so far.
fn durations(count: u64, start: u64, is_exponential: bool) -> Family {
    let mut exponential = Exponential::default();
    for _ in 0..count {
        exponential.add(0.5);
    }
    let exemplar = Exemplar {
        value: 0.5,
        time: UnixNanoseconds(count),
        trace_id: TraceId([3; 16]),
        span_id: SpanId([4; 8]),
    };
    let mut family = Family::new("http.server.request.duration", Kind::Histogram, "s", "Help.");
    family.points.push(Point {
        service: Some(service("shop")),
        labels: vec![("http.response.status_code".into(), span::Value::Integer(200))],
        start,
        value: Value::Histogram(Box::new(Distribution {
            bounds: &[0.1, 1.0],
            counts: vec![0, count, 0],
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            sum: count as f64 * 0.5,
            exemplars: vec![None, Some(exemplar), None],
            exponential: is_exponential.then_some(exponential),
        })),
    });
    family
}

fn counter(count: u64) -> Family {
    Family::new("spanwire.spans", Kind::Counter, "{span}", "Help.")
        .with([("kind", "built")], Value::Count(count))
}

fn metrics(request: &ExportMetricsServiceRequest) -> Vec<(String, Metric)> {
    let resources = request.resource_metrics.iter();
    resources
        .flat_map(|resource| {
            let name = resource
                .resource
                .as_ref()
                .and_then(|it| it.attributes.first()?.value.clone()?.value);
            let Some(any_value::Value::StringValue(name)) = name else {
                panic!("no name")
            };
            assert_eq!(resource.scope_metrics.len(), 1);
            let metrics = resource.scope_metrics[0].metrics.iter();
            metrics.map(move |metric| (name.clone(), metric.clone()))
        })
        .collect()
}

#[test]
fn each_service_is_a_resource_and_the_rest_is_spanwire_s() {
    let batch = Batch::new(own(), Temporality::Cumulative);
    let families = [counter(5), durations(3, 77, false)];
    let (request, _) = batch.request(&families, 1000);
    // As it goes over the wire.
    let request = ExportMetricsServiceRequest::decode(&*request.encode_to_vec()).unwrap();
    let metrics = metrics(&request);
    let names: Vec<_> = metrics
        .iter()
        .map(|(service, metric)| (&**service, &*metric.name, &*metric.unit))
        .collect();
    assert_eq!(
        names,
        [
            ("spanwire", "spanwire.spans", "{span}"),
            ("shop", "http.server.request.duration", "s")
        ]
    );
    let Some(metric::Data::Sum(sum)) = &metrics[0].1.data else {
        panic!("{metrics:?}")
    };
    assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
    let Some(metric::Data::Histogram(histogram)) = &metrics[1].1.data else {
        panic!("{metrics:?}")
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano, point.count),
        (77, 1000, 3)
    );
    assert_eq!(
        (&*point.bucket_counts, &*point.explicit_bounds),
        (&[0, 3, 0][..], &[0.1, 1.0][..])
    );
    assert_eq!(point.sum, Some(1.5));
    assert_eq!(point.exemplars[0].trace_id, [3; 16]);
    let status = point.attributes[0].value.clone().unwrap().value;
    assert_eq!(status, Some(any_value::Value::IntValue(200)));
}

#[test]
fn deltas_begin_where_the_last_one_that_was_taken_ended() {
    for is_exponential in [false, true] {
        let mut batch = Batch::new(own(), Temporality::Delta);
        let count = |batch: &Batch, count, start, now| {
            let (request, state) = batch.request(&[durations(count, start, is_exponential)], now);
            let metrics = metrics(&request);
            let (temporality, point) = match metrics[0].1.data.clone() {
                Some(metric::Data::Histogram(it)) => {
                    let point = &it.data_points[0];
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    (
                        it.aggregation_temporality,
                        (point.start_time_unix_nano, point.count, point.exemplars.len()),
                    )
                }
                Some(metric::Data::ExponentialHistogram(it)) => {
                    let point = &it.data_points[0];
                    let buckets = point.positive.clone().unwrap();
                    assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), point.count);
                    (
                        it.aggregation_temporality,
                        (point.start_time_unix_nano, point.count, point.exemplars.len()),
                    )
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(temporality, AggregationTemporality::Delta as i32);
            (point, state)
        };
        let (point, state) = count(&batch, 3, 77, 1000);
        assert_eq!(point, (77, 3, 1));
        batch.taken(state);
        // Not taken: the next one has it.
        let (point, _) = count(&batch, 5, 77, 2000);
        assert_eq!(point, (1000, 2, 1));
        let (point, state) = count(&batch, 9, 77, 3000);
        assert_eq!(point, (1000, 6, 1));
        batch.taken(state);
        let (point, state) = count(&batch, 9, 77, 4000);
        assert_eq!(point, (3000, 0, 0));
        batch.taken(state);
        // Given up, and begun anew.
        assert_eq!(count(&batch, 1, 4500, 5000).0, (4500, 1, 1));
    }
}

#[test]
fn low_memory_is_delta_for_requests_alone() {
    let batch = Batch::new(own(), Temporality::LowMemory);
    let (request, _) = batch.request(&[counter(5), durations(3, 77, false)], 1000);
    let temporalities: Vec<_> = metrics(&request)
        .into_iter()
        .map(|(_, metric)| match metric.data {
            Some(metric::Data::Sum(sum)) => sum.aggregation_temporality,
            Some(metric::Data::Histogram(histogram)) => histogram.aggregation_temporality,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        temporalities,
        [
            AggregationTemporality::Cumulative as i32,
            AggregationTemporality::Delta as i32
        ]
    );
}
