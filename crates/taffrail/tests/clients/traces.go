// A program that sends a trace by the OpenTelemetry SDK and its exporters for Jaeger. Arguments: agent or collector;
// host:port or URL; service name. Prints the trace's id.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/jaeger"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	endpoint := jaeger.WithCollectorEndpoint(jaeger.WithEndpoint(os.Args[2]))
	if os.Args[1] == "agent" {
		host, port, err := net.SplitHostPort(os.Args[2])
		check(err)
		endpoint = jaeger.WithAgentEndpoint(jaeger.WithAgentHost(host), jaeger.WithAgentPort(port))
	}
	exporter, err := jaeger.New(endpoint)
	check(err)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", os.Args[3]))),
	)
	tracer := provider.Tracer("demo")
	ctx, parent := tracer.Start(context.Background(), "checkout", trace.WithSpanKind(trace.SpanKindServer))
	parent.SetAttributes(attribute.Int("items", 3))
	_, child := tracer.Start(ctx, "charge card", trace.WithSpanKind(trace.SpanKindClient))
	child.RecordError(fmt.Errorf("declined"))
	child.SetStatus(codes.Error, "card declined")
	child.End()
	parent.End()
	check(provider.Shutdown(context.Background()))
	fmt.Println(parent.SpanContext().TraceID())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
