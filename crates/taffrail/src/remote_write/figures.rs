//! Figures of remote write: our own, and those of Prometheus that dashboards and alerts ask for.

use std::sync::atomic::{AtomicU64, Ordering};

use server::Figure;

use super::{RemoteWrite, Running};

/// Everything there is to say.
pub(crate) fn figures(remote_write: &RemoteWrite) -> Vec<Figure> {
    let mut out = Vec::new();
    let Some(Running { spool, senders }) = remote_write.running.get() else { return out };
    let mut add = |name, kind, help, labels: Vec<(&'static str, String)>, value: f64| {
        out.push(Figure { name, kind, help, labels, value });
    };
    let (bytes, bytes_max) = spool.bytes();
    add(
        "taffrail_remote_write_queue_bytes",
        "gauge",
        "Bytes of the queue on disk.",
        vec![],
        bytes as f64,
    );
    add(
        "taffrail_remote_write_queue_limit_bytes",
        "gauge",
        "Bytes at which the oldest samples of the queue are dropped.",
        vec![],
        bytes_max as f64,
    );
    add(
        "taffrail_remote_write_queue_refused_batches_total",
        "counter",
        "Stored batches that could not be queued.",
        vec![],
        spool.stats().refused as f64,
    );
    let newest_s = spool.newest_ms().max(0) as f64 / 1e3;
    add(
        "prometheus_remote_storage_highest_timestamp_in_seconds",
        "gauge",
        "Newest time of a queued sample.",
        vec![],
        newest_s,
    );
    add(
        "prometheus_remote_storage_samples_in_total",
        "counter",
        "Samples queued.",
        vec![],
        spool.samples_in() as f64,
    );
    for (id, remote) in senders.figures() {
        let labels = || vec![("remote_name", remote.name.clone()), ("url", remote.url.clone())];
        let mut counter = |name, help, of: &AtomicU64| {
            add(name, "counter", help, labels(), of.load(Ordering::Relaxed) as f64);
        };
        counter(
            "prometheus_remote_storage_samples_total",
            "Samples acknowledged.",
            &remote.samples,
        );
        counter(
            "prometheus_remote_storage_histograms_total",
            "Histograms acknowledged.",
            &remote.histograms,
        );
        counter(
            "prometheus_remote_storage_exemplars_total",
            "Exemplars acknowledged.",
            &remote.exemplars,
        );
        counter(
            "prometheus_remote_storage_metadata_total",
            "Metadata acknowledged.",
            &remote.metadata,
        );
        counter("prometheus_remote_storage_bytes_total", "Bytes sent, compressed.", &remote.bytes);
        counter(
            "prometheus_remote_storage_samples_failed_total",
            "Samples and histograms the receiver refused for good.",
            &remote.failed,
        );
        counter(
            "prometheus_remote_storage_samples_retried_total",
            "Samples and histograms sent again.",
            &remote.retried,
        );
        counter(
            "taffrail_remote_write_damaged_batches_total",
            "Queued batches that could not be read.",
            &remote.damaged,
        );
        for (reason, of) in [
            ("dropped_series", &remote.dropped_relabelled),
            ("too_old", &remote.dropped_old),
            ("histograms_off", &remote.dropped_histograms),
        ] {
            let mut labels = labels();
            labels.push(("reason", reason.to_owned()));
            let help = "Samples and histograms that were not sent on purpose.";
            add(
                "prometheus_remote_storage_samples_dropped_total",
                "counter",
                help,
                labels,
                of.load(Ordering::Relaxed) as f64,
            );
        }
        add(
            "taffrail_remote_write_lost_samples_total",
            "counter",
            "Samples and histograms dropped unsent because the queue was full.",
            labels(),
            spool.lost(&id) as f64,
        );
        add(
            "taffrail_remote_write_queue_batches",
            "gauge",
            "Batches in the queue that are not acknowledged.",
            labels(),
            spool.behind(&id) as f64,
        );
        let sent_ms = remote.newest_sent_ms.load(Ordering::Relaxed);
        let (least, most, samples) = remote.bounds;
        for (name, help, value) in [
            (
                "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
                "Newest time of an acknowledged sample.",
                sent_ms.max(0) as f64 / 1e3,
            ),
            (
                "prometheus_remote_storage_samples_pending",
                "Samples under way.",
                remote.pending.load(Ordering::Relaxed) as f64,
            ),
            (
                "prometheus_remote_storage_shards",
                "Requests side by side.",
                remote.shards.load(Ordering::Relaxed) as f64,
            ),
            (
                "prometheus_remote_storage_shards_desired",
                "Requests side by side that the backlog asks for.",
                remote.shards.load(Ordering::Relaxed) as f64,
            ),
            (
                "prometheus_remote_storage_shards_min",
                "Requests side by side at least.",
                least as f64,
            ),
            ("prometheus_remote_storage_shards_max", "Requests side by side at most.", most as f64),
            (
                "prometheus_remote_storage_max_samples_per_send",
                "Samples of a request at most.",
                samples as f64,
            ),
        ] {
            add(name, "gauge", help, labels(), value);
        }
        for (name, value) in [
            (
                "prometheus_remote_storage_sent_batch_duration_seconds_sum",
                remote.request_ms.load(Ordering::Relaxed) as f64 / 1e3,
            ),
            (
                "prometheus_remote_storage_sent_batch_duration_seconds_count",
                remote.requests.load(Ordering::Relaxed) as f64,
            ),
        ] {
            add(name, "counter", "Requests answered, and how long they took.", labels(), value);
        }
    }
    out
}
