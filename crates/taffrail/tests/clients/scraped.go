// A process instrumented with client_golang, scraped; says where.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "go_app_requests_total", Help: "Requests."}, []string{"code"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "go_app_latency_seconds", Help: "Latency.", NativeHistogramBucketFactor: 1.1,
	})
	sizes := prometheus.NewSummary(prometheus.SummaryOpts{Name: "go_app_size_bytes", Help: "Sizes.", Objectives: map[float64]float64{0.5: 0.05}})
	registry.MustRegister(requests, latency, sizes)
	requests.WithLabelValues("200").(prometheus.ExemplarAdder).AddWithExemplar(41, prometheus.Labels{"trace_id": "def456"})
	for _, seconds := range []float64{0, 0.001, 0.2, 0.2, 3, -1} {
		latency.Observe(seconds)
	}
	sizes.Observe(100)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	go func() { _ = http.Serve(listener, handler) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	_, _ = io.ReadAll(os.Stdin)
}
