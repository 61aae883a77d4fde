"""A batch job that pushes with prometheus-client. Arguments: address."""

import sys

from prometheus_client import CollectorRegistry, Gauge, delete_from_gateway, push_to_gateway, pushadd_to_gateway

address = sys.argv[1]
registry = CollectorRegistry()
Gauge("backup_bytes", "Bytes of the last backup.", registry=registry).set(1e9)
Gauge("backup_files", "Files of the last backup.", registry=registry).set(12)
push_to_gateway(address, job="backup", registry=registry, grouping_key={"path": "/var/lib", "db": ""})

# Adding replaces only what has the same name.
more = CollectorRegistry()
Gauge("backup_files", "Files of the last backup.", registry=more).set(13)
pushadd_to_gateway(address, job="backup", registry=more, grouping_key={"path": "/var/lib", "db": ""})

gone = CollectorRegistry()
Gauge("gone_value", "Deleted at once.", registry=gone).set(1)
push_to_gateway(address, job="gone", registry=gone)
delete_from_gateway(address, job="gone")
