"""A process instrumented with prometheus-client, scraped; says on which port."""

import sys
import time

from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary, start_http_server

requests = Counter("py_requests", "Requests.", ["code"])
requests.labels("200").inc(7, exemplar={"trace_id": "abc123"})
requests.labels("500").inc(2)
Gauge("py_queue_length", "Jobs waiting.").set(-3.5)
latency = Histogram("py_latency_seconds", "Latency.", buckets=(0.1, 0.5, 1))
for seconds in (0.05, 0.3, 0.3, 0.7, 4):
    latency.observe(seconds)
Summary("py_size_bytes", "Sizes.").observe(512)
Info("py_build", "Build.").info({"version": "1.2.3", "quote": 'a"b\\c\nd'})
Enum("py_state", "State.", states=["up", "down"]).state("down")

server, _ = start_http_server(0, addr="127.0.0.1")
print(server.server_port, flush=True)
sys.stdin.read()
