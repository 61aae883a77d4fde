"""An application that sends a line by the library its argument names. Arguments: fluent, gelf-udp, gelf-tcp or beats; the
port to send to."""

import logging
import sys

library, port = sys.argv[1], int(sys.argv[2])

if library == "fluent":
    from fluent import event, sender

    sender.setup("shop", host="127.0.0.1", port=port, nanosecond_precision=True)
    event.Event("orders", {"message": "card declined", "order": {"id": 42}})
    problem = sender.get_global_sender().last_error
    sender.close()
    if problem:
        sys.exit(str(problem))
elif library.startswith("gelf"):
    from pygelf import GelfTcpHandler, GelfUdpHandler

    options = {"host": "127.0.0.1", "port": port, "include_extra_fields": True, "_app": library}
    handler = GelfTcpHandler(**options) if library == "gelf-tcp" else GelfUdpHandler(chunk_size=100, **options)
    logger = logging.getLogger("demo")
    logger.addHandler(handler)
    logger.error("card declined", extra={"order_id": 42})
    handler.close()
else:
    import datetime

    from pylogbeat import PyLogBeatClient

    now = datetime.datetime.now(datetime.timezone.utc)
    document = {"message": "card declined", "service": {"name": "py-beats"}, "order": {"id": 42}}
    # Equal events of one moment would be one that was sent twice.
    times = [now, now + datetime.timedelta(milliseconds=1)]
    # Returns once the events are acknowledged.
    with PyLogBeatClient("127.0.0.1", port, timeout=60, ssl_enable=False) as client:
        client.send([{"@timestamp": time.isoformat(), **document} for time in times])
