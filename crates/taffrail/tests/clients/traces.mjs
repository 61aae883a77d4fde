// A process that sends a trace by the OpenTelemetry SDK. Arguments: json, proto, grpc or zipkin; url; service name. Prints the trace's id.
import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [, , protocol, url, service] = process.argv;
const exporters = {
  json: ["@opentelemetry/exporter-trace-otlp-http", "OTLPTraceExporter"],
  proto: ["@opentelemetry/exporter-trace-otlp-proto", "OTLPTraceExporter"],
  grpc: ["@opentelemetry/exporter-trace-otlp-grpc", "OTLPTraceExporter"],
  zipkin: ["@opentelemetry/exporter-zipkin", "ZipkinExporter"],
};
const [name, kind] = exporters[protocol];
const Exporter = (await import(name))[kind];
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": service }),
  spanProcessors: [new BatchSpanProcessor(new Exporter({ url }))],
});
const tracer = provider.getTracer("demo", "1.0");
const other = { traceId: "7".padStart(32, "0"), spanId: "9".padStart(16, "0"), traceFlags: 1 };
const parent = tracer.startSpan("checkout", {
  kind: SpanKind.SERVER,
  attributes: { items: 3, price: 9.5, paid: false, tags: ["a", "b"] },
  links: [{ context: other, attributes: { why: "retry" } }],
});
const inside = trace.setSpan(context.active(), parent);
const child = tracer.startSpan("charge card", { kind: SpanKind.CLIENT }, inside);
child.recordException(new Error("declined"));
child.setStatus({ code: SpanStatusCode.ERROR, message: "card declined" });
child.end();
parent.end();
await provider.forceFlush();
await provider.shutdown();
console.log(parent.spanContext().traceId);
