//! Alerts on their way to the Alertmanagers of `prometheus.yml`: a bounded queue and a task for each, so that one that
//! hangs delays no other.
//!
//! A request that fails is not repeated: every alert that matters still comes again within a minute, with its state of
//! then. What a queue has no room for is lost from its front, and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alert::sink::{AlertSink, PostableAlert};
use bytes::Bytes;
use collect::scrape::alertmanager::{Client, Config, Endpoint, Endpoints, Handle};
use ingest::relabel;
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use server::Figure;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Alerts that wait for one Alertmanager at most, as many as in Prometheus.
const QUEUE_MAX: usize = 10_000;
/// Alerts of a request at most, as many as in Prometheus 3.
const PER_REQUEST: usize = 256;
/// Trouble with an Alertmanager is logged when it begins, and again after so many failed requests.
const LOG_EVERY: u64 = 100;

/// Sends alerts to the Alertmanagers of others.
#[derive(Debug)]
pub(crate) struct Sender {
    handle: Handle,
    endpoints: watch::Receiver<Endpoints>,
    queues: RwLock<Vec<Arc<Queue>>>,
    /// Of Alertmanagers that are not there any more.
    dropped_before: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    endpoint: Arc<Endpoint>,
    alerts: Mutex<VecDeque<Arc<PostableAlert>>>,
    wake: Notify,
    stop: CancellationToken,
    sent: AtomicU64,
    errors: AtomicU64,
    dropped: AtomicU64,
}

impl Sender {
    /// Starts on the current tokio runtime, until `cancel` fires.
    pub(crate) fn start(handle: Handle, cancel: CancellationToken) -> Arc<Self> {
        let sender = Arc::new(Self {
            endpoints: handle.endpoints(),
            handle,
            queues: RwLock::default(),
            dropped_before: AtomicU64::new(0),
        });
        let mut endpoints = sender.endpoints.clone();
        let following = sender.clone();
        tokio::spawn(cancel.clone().run_until_cancelled_owned(async move {
            loop {
                let found = endpoints.borrow_and_update().active.clone();
                following.follow(&found, &cancel);
                if endpoints.changed().await.is_err() {
                    return;
                }
            }
        }));
        sender
    }

    /// Replaces the blocks of `alerting.alertmanagers`.
    pub(crate) fn reload(&self, configs: Vec<Config>) {
        self.handle.reload(configs);
    }

    /// URLs to which alerts are sent, and those that relabelling took out.
    pub(crate) fn urls(&self) -> (Vec<String>, Vec<String>) {
        let found = self.endpoints.borrow();
        let active = found.active.iter().map(|endpoint| endpoint.url.to_string()).collect();
        (active, found.dropped.clone())
    }

    fn follow(&self, found: &[Arc<Endpoint>], cancel: &CancellationToken) {
        let mut queues = self.queues.write();
        queues.retain(|queue| {
            let stays = found.iter().any(|endpoint| **endpoint == *queue.endpoint);
            if !stays {
                queue.stop.cancel();
                self.dropped_before
                    .fetch_add(queue.dropped.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            stays
        });
        for endpoint in found {
            if queues.iter().any(|queue| *queue.endpoint == **endpoint) {
                continue;
            }
            let queue = Arc::new(Queue {
                endpoint: endpoint.clone(),
                alerts: Mutex::default(),
                wake: Notify::new(),
                stop: cancel.child_token(),
                sent: AtomicU64::new(0),
                errors: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            });
            let stop = queue.stop.clone();
            let work = queue.clone().work(self.handle.client());
            tokio::spawn(stop.run_until_cancelled_owned(work));
            queues.push(queue);
        }
    }

    /// Figures under Prometheus' names.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let queues = self.queues.read().clone();
        let mut all = Vec::new();
        let of = |queue: &Queue| vec![("alertmanager", queue.endpoint.url.to_string())];
        let mut by_queue = |name, kind, help, value: fn(&Queue) -> u64| {
            all.extend(queues.iter().map(|queue| Figure {
                name,
                kind,
                help,
                labels: of(queue),
                value: value(queue) as f64,
            }));
        };
        by_queue("prometheus_notifications_sent_total", "counter", "Alerts sent.", |q| {
            q.sent.load(Ordering::Relaxed)
        });
        by_queue(
            "prometheus_notifications_errors_total",
            "counter",
            "Alerts in requests that failed.",
            |q| q.errors.load(Ordering::Relaxed),
        );
        by_queue(
            "prometheus_notifications_queue_length",
            "gauge",
            "Alerts that wait to be sent.",
            |q| q.alerts.lock().len() as u64,
        );
        let dropped = queues.iter().map(|queue| queue.dropped.load(Ordering::Relaxed)).sum::<u64>()
            + self.dropped_before.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            (
                "prometheus_notifications_dropped_total",
                "counter",
                "Alerts that were not sent: their request failed, or their queue was full.",
                dropped as f64,
            ),
            (
                "prometheus_notifications_queue_capacity",
                "gauge",
                "Alerts that may wait for one Alertmanager.",
                QUEUE_MAX as f64,
            ),
            (
                "prometheus_notifications_alertmanagers_discovered",
                "gauge",
                "Alertmanagers that alerts are sent to.",
                queues.len() as f64,
            ),
        ] {
            all.push(Figure { name, kind, help, labels: Vec::new(), value });
        }
        all
    }
}

impl AlertSink for Sender {
    fn send(&self, alerts: &[PostableAlert]) {
        let queues = self.queues.read();
        if queues.is_empty() {
            return;
        }
        for alert in alerts.iter().cloned().map(Arc::new) {
            queues.iter().for_each(|queue| queue.push(&alert));
        }
    }
}

impl Queue {
    fn push(&self, alert: &Arc<PostableAlert>) {
        let rules = &self.endpoint.config.alert_relabel;
        let alert = match relabel::apply_to(rules, &alert.labels) {
            None => return,
            Some(labels) if labels == alert.labels => alert.clone(),
            Some(labels) => Arc::new(PostableAlert { labels, ..(**alert).clone() }),
        };
        let mut alerts = self.alerts.lock();
        if alerts.len() >= QUEUE_MAX {
            alerts.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        alerts.push_back(alert);
        drop(alerts);
        self.wake.notify_one();
    }

    async fn work(self: Arc<Self>, client: Client) {
        let mut failed_requests = 0_u64;
        loop {
            let batch: Vec<Arc<PostableAlert>> = {
                let mut alerts = self.alerts.lock();
                let count = alerts.len().min(PER_REQUEST);
                alerts.drain(..count).collect()
            };
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let count = batch.len() as u64;
            match client.post(&self.endpoint, body(&batch)).await {
                Ok(()) => {
                    self.sent.fetch_add(count, Ordering::Relaxed);
                    if failed_requests > 0 {
                        tracing::info!(url = %self.endpoint.url, "alerts are sent again");
                    }
                    failed_requests = 0;
                }
                Err(error) => {
                    self.errors.fetch_add(count, Ordering::Relaxed);
                    self.dropped.fetch_add(count, Ordering::Relaxed);
                    if failed_requests.is_multiple_of(LOG_EVERY) {
                        tracing::warn!(url = %self.endpoint.url, %error, "alerts are not sent");
                    }
                    failed_requests += 1;
                }
            }
        }
    }
}

/// Alerts in the JSON of Alertmanager's API version 2.
fn body(alerts: &[Arc<PostableAlert>]) -> Bytes {
    let one = |alert: &Arc<PostableAlert>| {
        let labels: BTreeMap<&str, &str> = alert.labels.iter().collect();
        json!({
            "labels": labels,
            "annotations": alert.annotations,
            "startsAt": time(alert.starts_ms),
            "endsAt": time(alert.ends_ms),
            "generatorURL": alert.generator_url,
        })
    };
    Bytes::from(serde_json::Value::from_iter(alerts.iter().map(one)).to_string())
}

fn time(t_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(t_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    #[test]
    fn alerts_are_written_as_alertmanagers_read_them() {
        let alert = PostableAlert {
            labels: Labels::from_pairs([("alertname", "A"), ("x", "é\"")]),
            annotations: BTreeMap::from([("empty".to_owned(), String::new())]),
            starts_ms: 1_435_781_460_250,
            ends_ms: 1_435_781_700_000,
            generator_url: "http://here/graph?g0.expr=x&g0.tab=1".to_owned(),
        };
        assert_eq!(
            body(&[Arc::new(alert)]),
            "[{\"annotations\":{\"empty\":\"\"},\"endsAt\":\"2015-07-01T20:15:00Z\",\
             \"generatorURL\":\"http://here/graph?g0.expr=x&g0.tab=1\",\"labels\":{\"alertname\":\"A\",\"x\":\"é\\\"\"},\
             \"startsAt\":\"2015-07-01T20:11:00.25Z\"}]"
        );
    }
}
