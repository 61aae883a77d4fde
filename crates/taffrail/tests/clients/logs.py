"""An application that sends its lines by the library its argument names. Arguments: loki, otlp-http, otlp-grpc or
elasticsearch; the address to send to."""

import logging
import sys

library, address = sys.argv[1:]

if library == "loki":
    import logging_loki

    handler = logging_loki.LokiHandler(url=address, tags={"app": "py-loki"}, version="1")
    logger = logging.getLogger("demo")
    logger.addHandler(handler)
    # The handler calls this when the server does not answer with 204.
    handler.handleError = lambda record: sys.exit("the push failed")
    logger.error("card declined", extra={"tags": {"region": "eu"}})
elif library.startswith("otlp"):
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    if library == "otlp-grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

        exporter = OTLPLogExporter(endpoint=address, insecure=True)
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        exporter = OTLPLogExporter(endpoint=address)
    resource = Resource.create({"service.name": f"py-{library}", "host.name": "box"})
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.getLogger("demo.shop")
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.warning("card declined", extra={"order.id": 42})
    if not provider.force_flush():
        sys.exit("the export failed")
    provider.shutdown()
else:
    from datetime import datetime, timedelta, timezone

    from elasticsearch import Elasticsearch, helpers

    client = Elasticsearch(address)
    assert client.info()["version"]["number"].startswith("8.")
    now = datetime.now(timezone.utc)
    document = {"@timestamp": now.isoformat(), "message": "card declined", "order": {"id": 42}}
    actions = [{"_index": "py-shop", "_source": document}, {"_index": "py-shop", "_source": {"plain": True}}]
    assert helpers.bulk(client, actions) == (2, [])
    # The same document with the same time would be one that was sent again.
    later = {**document, "@timestamp": (now + timedelta(milliseconds=1)).isoformat()}
    assert client.index(index="py-shop", document=later)["result"] == "created"
