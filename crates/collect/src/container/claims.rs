//! Jobs that take over the logs of containers: `docker_sd_configs` of a `promtail.yml`.
//!
//! Owns: which job a container's log belongs to, under which labels. A container is asked about before its log is opened, so
//! that no line is stored under other labels first; the answer holds until its name or the jobs change. Does not own: the
//! discovery's labels ([`crate::scrape`]), reading logs ([`super::logs`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ingest::relabel::{self, Rule};
use model::{Clock, ErrorKind, Labels, LabelsBuilder};
use tokio::sync::{Mutex, watch};

use crate::lines::Treatment;
use crate::scrape::docker_sd::discover;
use crate::scrape::{DockerApi, DockerSd};

const ID: &str = "__meta_docker_container_id";
const STREAM: &str = "__meta_docker_container_log_stream";
const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// A stream must have a label to be found by.
const NAMELESS: (&str, &str) = ("service_name", "unknown_service");

/// A job that takes over logs.
#[derive(Debug, Clone)]
pub struct ClaimJob {
    /// Its name.
    pub name: String,
    /// Which containers, all of the engine that is watched.
    pub discovery: Vec<DockerSd>,
    /// What makes labels of `__meta_docker_…`, and may drop containers and outputs.
    pub relabel: Vec<Rule>,
    /// What becomes of the lines.
    pub treatment: Arc<Treatment>,
    /// By container, up to which Unix time in nanoseconds another program read it.
    pub read_until_ns: Arc<HashMap<String, i64>>,
}

/// The jobs, which may change.
#[derive(Debug)]
pub struct Claims {
    jobs: watch::Sender<Arc<Jobs>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { jobs: watch::Sender::new(Arc::default()) }
    }
}

impl Claims {
    /// From now on these jobs take over logs; of several the first that wants a container gets it.
    pub fn set(&self, jobs: Vec<ClaimJob>) {
        let known = |job| Known { job, found: Mutex::default() };
        self.jobs.send_replace(Arc::new(Jobs { all: jobs.into_iter().map(known).collect() }));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Jobs>> {
        self.jobs.subscribe()
    }
}

/// The jobs at one time.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    job: ClaimJob,
    found: Mutex<Option<Found>>,
}

/// What a job's discovery found.
#[derive(Debug)]
struct Found {
    /// When it was asked, on the monotonic clock.
    asked_ns: i64,
    /// Labels of the containers by id.
    containers: HashMap<String, BTreeMap<String, String>>,
}

/// A container's log that a job takes over.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Labels of stdout and stderr; without any when the output is dropped.
    pub(crate) streams: [Labels; 2],
    pub(crate) treatment: Arc<Treatment>,
    pub(crate) read_until_ns: Option<i64>,
}

impl Jobs {
    /// The claim on container `id`, by an engine's answer no older than `since_ns` (monotonic).
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while the engine cannot be asked.
    pub(crate) async fn claim(
        &self,
        id: &str,
        since_ns: i64,
        api: &DockerApi,
        clock: &dyn Clock,
    ) -> model::Result<Option<Claim>> {
        for known in &self.all {
            let Some(labels) = known.labels_of(id, since_ns, api, clock).await? else { continue };
            let streams = STREAMS.map(|stream| stream_labels(&known.job, &labels, stream));
            if streams.iter().any(|stream| !stream.is_empty()) {
                let read_until_ns = known.job.read_until_ns.get(id).copied();
                let treatment = Arc::clone(&known.job.treatment);
                return Ok(Some(Claim { streams, treatment, read_until_ns }));
            }
        }
        Ok(None)
    }
}

impl Known {
    /// What the discovery says of a container; followers that ask at the same time share one answer.
    async fn labels_of(
        &self,
        id: &str,
        since_ns: i64,
        api: &DockerApi,
        clock: &dyn Clock,
    ) -> model::Result<Option<BTreeMap<String, String>>> {
        let mut found = self.found.lock().await;
        if found.as_ref().is_none_or(|found| found.asked_ns < since_ns) {
            *found = Some(self.ask(api, clock).await?);
        }
        Ok(found.as_ref().and_then(|found| found.containers.get(id).cloned()))
    }

    async fn ask(&self, api: &DockerApi, clock: &dyn Clock) -> model::Result<Found> {
        let (asked_ns, mut containers) = (clock.monotonic_ns(), HashMap::new());
        for discovery in &self.job.discovery {
            let groups = match discover(discovery, api, true).await {
                Ok(groups) => groups,
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) => {
                    tracing::warn!(job = %self.job.name, %error, "containers cannot be discovered");
                    continue;
                }
            };
            for labels in groups.into_iter().flat_map(|group| group.targets) {
                if let Some(id) = labels.get(ID).cloned() {
                    // A container with several networks or ports is several targets with one log.
                    containers.entry(id).or_insert(labels);
                }
            }
        }
        Ok(Found { asked_ns, containers })
    }
}

/// Labels of one output of a container; none when the job does not want it.
fn stream_labels(job: &ClaimJob, labels: &BTreeMap<String, String>, stream: &str) -> Labels {
    let mut builder = LabelsBuilder::default();
    for (name, value) in labels {
        builder.set(name, value);
    }
    builder.set(STREAM, stream);
    if !relabel::apply(&job.relabel, &mut builder) {
        return Labels::default();
    }
    builder.retain(|name| !name.starts_with("__"));
    if builder.pairs().next().is_none() {
        builder.set(NAMELESS.0, NAMELESS.1);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use ingest::relabel::{Action, RuleConfig};
    use model::{Error, ManualClock};

    use super::*;

    fn rule(action: Action, source: &str, regex: &str, target: Option<&str>) -> Rule {
        let config = RuleConfig {
            source_labels: Some(vec![source.to_owned()]),
            regex: Some(regex.to_owned()),
            target_label: target.map(str::to_owned),
            action: Some(action),
            ..RuleConfig::default()
        };
        Rule::new(config).unwrap()
    }

    fn job(relabel: Vec<Rule>) -> ClaimJob {
        let discovery = DockerSd {
            host: "unix:///var/run/docker.sock".to_owned(),
            port: 80,
            host_networking_host: "localhost".to_owned(),
            match_first_network: true,
            filters: vec![("label".to_owned(), vec!["a".to_owned()])],
            refresh_interval_ms: 60_000,
        };
        ClaimJob {
            name: "j".to_owned(),
            discovery: vec![discovery],
            relabel,
            treatment: Arc::new(Treatment::plain(true)),
            read_until_ns: Arc::new(HashMap::from([("c2".to_owned(), 7)])),
        }
    }

    #[tokio::test]
    async fn the_first_job_that_wants_a_container_gets_it() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let api: DockerApi = Arc::new(move |_, path: String| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            let container = |id: &str| {
                format!(
                    r#"{{"Id":"{id}","Names":["/{id}-name"],"NetworkSettings":{{"Networks":{{"n":{{"NetworkID":"n"}}}}}}}}"#
                )
            };
            async move {
                if call == 0 {
                    return Err(Error::new(ErrorKind::Busy, "away"));
                }
                let list = format!("[{},{}]", container("c1"), container("c2"));
                let body =
                    if path.starts_with("/containers/json?all=1") { list } else { "[]".into() };
                Ok(Bytes::from(body))
            }
            .boxed()
        });
        let name = "__meta_docker_container_name";
        let jobs = Claims::default();
        jobs.set(vec![
            job(vec![rule(Action::Keep, name, "/c1.*", None)]),
            job(vec![
                rule(Action::Drop, STREAM, "stderr", None),
                rule(Action::Replace, name, "/(.*)", Some("container")),
            ]),
        ]);
        let jobs = Arc::clone(&jobs.subscribe().borrow());
        let clock = ManualClock::at_ms(1);
        let claim = |id: &'static str| jobs.claim(id, 0, &api, &clock);
        assert_eq!(claim("c1").await.unwrap_err().kind(), ErrorKind::Busy);
        let first = claim("c1").await.unwrap().unwrap();
        assert_eq!(first.streams[0].get("service_name"), Some("unknown_service"));
        let second = claim("c2").await.unwrap().unwrap();
        assert_eq!(second.streams[0].to_string(), r#"{container="c2-name"}"#);
        assert!(second.streams[1].is_empty());
        assert_eq!((first.read_until_ns, second.read_until_ns), (None, Some(7)));
        assert!(claim("c3").await.unwrap().is_none());
        // One answer of each job serves all who asked before.
        assert_eq!(calls.load(Ordering::SeqCst), 1 + 2 * 3);
    }
}
