// A process instrumented with the OpenTelemetry SDK. Arguments: http (JSON) or proto, url, service name.
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { OTLPMetricExporter as Json } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as Proto } from "@opentelemetry/exporter-metrics-otlp-proto";

const [, , protocol, url, service] = process.argv;
const exporter = protocol === "proto" ? new Proto({ url }) : new Json({ url });
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
const provider = new MeterProvider({
  resource: resourceFromAttributes({ "service.name": service }),
  readers: [reader],
});
const meter = provider.getMeter("demo");
const orders = meter.createCounter("orders", { unit: "{order}", description: "Orders." });
const latency = meter.createHistogram("latency", { unit: "ms" });
orders.add(5, { region: "eu" });
latency.record(12);
latency.record(90);
await provider.forceFlush();
await provider.shutdown();
