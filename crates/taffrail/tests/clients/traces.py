"""A program that sends a trace by a library. Arguments: library, endpoint, service name. Prints the trace's id.

`steady` sends many batches by OTLP over gRPC, each until it is acknowledged, and prints a line for each that is.
"""

import sys
import time

library, endpoint, service = sys.argv[1:]


def opentelemetry(exporter):
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("demo", "1.0")
    other = SpanContext(trace_id=7, span_id=9, is_remote=True)
    with tracer.start_as_current_span(
        "checkout", kind=SpanKind.SERVER, links=[Link(other, {"why": "retry"})]
    ) as parent:
        parent.set_attribute("http.route", "/checkout")
        parent.set_attribute("items", 3)
        parent.set_attribute("price", 9.5)
        parent.set_attribute("paid", False)
        parent.set_attribute("tags", ["a", "b"])
        with tracer.start_as_current_span("charge card", kind=SpanKind.CLIENT) as child:
            child.record_exception(ValueError("declined"))
            child.set_status(Status(StatusCode.ERROR, "card declined"))
        print(trace.format_trace_id(parent.get_span_context().trace_id))
    if not provider.force_flush():
        sys.exit("the export failed")
    provider.shutdown()


def jaeger():
    from jaeger_client import Config

    host, port = endpoint.split(":")
    agent = {"reporting_host": host, "reporting_port": int(port)}
    config = {
        "sampler": {"type": "const", "param": 1},
        "local_agent": agent,
        "generate_128bit_trace_id": True,
    }
    tracer = Config(config=config, service_name=service).new_tracer()
    with tracer.start_span("checkout", tags={"span.kind": "server", "items": 3}) as parent:
        with tracer.start_span("charge card", child_of=parent) as child:
            child.set_tag("error", True)
            child.log_kv({"event": "declined", "code": 51})
        print(f"{parent.trace_id:032x}")
    closing = tracer.close()
    while not closing.done():
        time.sleep(0.01)


def zipkin(encoding):
    import requests
    from py_zipkin import Encoding, Kind
    from py_zipkin.transport import BaseTransportHandler
    from py_zipkin.zipkin import zipkin_client_span, zipkin_span

    content_types = {
        "V1_JSON": "application/json",
        "V2_JSON": "application/json",
        "V2_PROTO3": "application/x-protobuf",
    }

    class Transport(BaseTransportHandler):
        def get_max_payload_bytes(self):
            return None

        def send(self, payload):
            headers = {"Content-Type": content_types[encoding]}
            answer = requests.post(endpoint, data=payload, headers=headers, timeout=60)
            if answer.status_code != 202:
                sys.exit(f"{answer.status_code}: {answer.text}")

    with zipkin_span(
        service_name=service,
        span_name="checkout",
        transport_handler=Transport(),
        sample_rate=100,
        kind=Kind.SERVER,
        encoding=Encoding[encoding],
        use_128bit_trace_id=True,
        binary_annotations={"items": "3"},
    ) as parent:
        with zipkin_client_span(service_name=service, span_name="charge card") as child:
            child.update_binary_annotations({"error": "card declined"})
        print(parent.zipkin_attrs.trace_id)


def steady():
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult, SpanExporter, SimpleSpanProcessor

    class Keeping(SpanExporter):
        def __init__(self):
            self.spans = []

        def export(self, spans):
            self.spans.extend(spans)
            return SpanExportResult.SUCCESS

    keeping = Keeping()
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(keeping))
    tracer = provider.get_tracer("demo")
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=2)
    for batch in range(200):
        with tracer.start_as_current_span(f"batch {batch}") as parent:
            for number in range(9):
                tracer.start_span(f"step {number}").end()
        while exporter.export(keeping.spans) is not SpanExportResult.SUCCESS:
            time.sleep(0.05)
        keeping.spans.clear()
        print(f"{parent.get_span_context().trace_id:032x}", flush=True)


match library:
    case "otlp-http":
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        opentelemetry(OTLPSpanExporter(endpoint=endpoint, compression=Compression.Gzip))
    case "otlp-grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        opentelemetry(OTLPSpanExporter(endpoint=endpoint, insecure=True))
    case "jaeger":
        jaeger()
    case "steady":
        steady()
    case encoding:
        zipkin(encoding)
