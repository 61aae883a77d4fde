"""A process instrumented with the OpenTelemetry SDK. Arguments: http or grpc, endpoint, service name."""

import sys

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

protocol, endpoint, service = sys.argv[1:]
temporality = {}
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    # Counters as differences: the receiver adds them up.
    delta = AggregationTemporality.DELTA
    temporality = {Counter: delta, ObservableCounter: delta, Histogram: delta}
    exporter = OTLPMetricExporter(endpoint=endpoint, preferred_temporality=temporality)

reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
provider = MeterProvider(
    metric_readers=[reader],
    resource=Resource.create(
        {
            "service.name": service,
            "service.namespace": "shop",
            "service.instance.id": "i-1",
            "deployment.environment": "test",
        }
    ),
    views=[View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation())],
)
meter = provider.get_meter("demo", "1.0")
served = meter.create_counter("http.server.requests", unit="1", description="Requests served.")
duration = meter.create_histogram(
    "http.server.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 0.5, 1.0]
)
size = meter.create_histogram("payload.size", unit="By")
waiting = meter.create_up_down_counter("queue.length")
meter.create_observable_gauge(
    "room.temperature", [lambda _: [Observation(21.5, {"room": "a"})]], unit="Cel"
)

for flush in range(2):
    served.add(3, {"http.status_code": 200})
    for seconds in (0.05, 0.3, 0.7, 4):
        duration.record(seconds)
    for size_bytes in (1, 10, 100, 1000):
        size.record(size_bytes)
    waiting.add(2)
    if not provider.force_flush():
        sys.exit("the export failed")
provider.shutdown()
