//! Alertmanagers of others: found as scrape targets are, told of alerts by HTTP.
//!
//! Owns: discovery, relabelling of addresses, the request. Does not own: which alerts, what they look like, queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::relabel;
use model::{Clock, Error, ErrorKind, LabelsBuilder, Result};
use reqwest::{Url, header};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{ScrapeJob, TargetGroup};
use super::discovery::{self, Update};
use super::docker_sd::DockerApi;
use super::http::{Http, post};

/// Updates waiting for the owner; discoveries wait when it is full.
const UPDATES_MAX: usize = 64;
/// Path of alerts, behind the prefix of an Alertmanager.
const ALERTS_PATH: &str = "/api/v2/alerts";

/// A block of Alertmanagers.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How they are found and reached: discoveries, `relabel`, `scheme` and `http` count; `metrics_path` is what stands before
    /// `/api/v2/alerts`, `scrape_timeout_ms` the time a request may take. Names are unique.
    pub job: ScrapeJob,
    /// Rules for alerts that go there.
    pub alert_relabel: Vec<relabel::Rule>,
}

/// One Alertmanager.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where alerts are posted.
    pub url: Url,
    /// The block it comes from.
    pub config: Arc<Config>,
}

/// All Alertmanagers that are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoints {
    /// By URL, each once.
    pub active: Vec<Arc<Endpoint>>,
    /// URLs of those that relabelling took out.
    pub dropped: Vec<String>,
}

/// The running discovery.
#[derive(Debug)]
pub struct Handle {
    configs: watch::Sender<Vec<Config>>,
    endpoints: watch::Receiver<Endpoints>,
    http: Arc<Http>,
}

/// Starts to look for the Alertmanagers of `configs` on the current tokio runtime, until `cancel` fires. `docker` as for
/// [`spawn`](super::spawn).
pub fn spawn(
    version: &str,
    configs: Vec<Config>,
    clock: Arc<dyn Clock>,
    docker: Option<DockerApi>,
    cancel: CancellationToken,
) -> Handle {
    let http = Arc::new(Http::new(version, clock.clone()));
    let (configs, wanted) = watch::channel(configs);
    let (found, endpoints) = watch::channel(Endpoints::default());
    let finder = Finder {
        clock,
        docker,
        http: http.clone(),
        cancel,
        generation: 0,
        updates: mpsc::channel(UPDATES_MAX),
        blocks: Vec::new(),
        found,
    };
    tokio::spawn(finder.run(wanted));
    Handle { configs, endpoints, http }
}

impl Handle {
    /// Replaces the blocks; those that did not change go on undisturbed.
    pub fn reload(&self, configs: Vec<Config>) {
        self.configs.send_replace(configs);
    }

    /// The Alertmanagers, as they come and go.
    pub fn endpoints(&self) -> watch::Receiver<Endpoints> {
        self.endpoints.clone()
    }

    /// What sends to them.
    pub fn client(&self) -> Client {
        Client { http: self.http.clone() }
    }
}

/// Sends to Alertmanagers.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<Http>,
}

impl Client {
    /// Posts `alerts`, a list in the JSON of Alertmanager's API version 2.
    ///
    /// # Errors
    /// When no answer comes within the block's time, or it is not 2xx.
    pub async fn post(&self, endpoint: &Endpoint, alerts: Bytes) -> Result<()> {
        let job = &endpoint.config.job;
        let headers = |request: reqwest::RequestBuilder| {
            request.header(header::CONTENT_TYPE, "application/json").body(alerts)
        };
        let exchange = async {
            let response = post(&self.http, &job.http, &endpoint.url, headers).await?;
            match response.status() {
                status if status.is_success() => Ok(()),
                status => Err(Error::invalid(format!("bad response status {status}"))),
            }
        };
        let timeout = Duration::from_millis(job.scrape_timeout_ms);
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
            let why = format!("no answer within {} ms", job.scrape_timeout_ms);
            Err(Error::new(ErrorKind::Busy, why))
        })
    }
}

struct Block {
    config: Arc<Config>,
    generation: u64,
    discovery: CancellationToken,
    groups: BTreeMap<usize, Vec<TargetGroup>>,
}

struct Finder {
    clock: Arc<dyn Clock>,
    docker: Option<DockerApi>,
    http: Arc<Http>,
    cancel: CancellationToken,
    generation: u64,
    updates: (mpsc::Sender<Update>, mpsc::Receiver<Update>),
    blocks: Vec<Block>,
    found: watch::Sender<Endpoints>,
}

impl Finder {
    async fn run(mut self, mut wanted: watch::Receiver<Vec<Config>>) {
        let cancel = self.cancel.clone();
        let configs = wanted.borrow_and_update().clone();
        self.reload(configs);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = wanted.changed() => {
                    let configs = wanted.borrow_and_update().clone();
                    self.http.clear();
                    self.reload(configs);
                }
                Some(update) = self.updates.1.recv() => self.take(update),
            }
        }
    }

    fn reload(&mut self, configs: Vec<Config>) {
        let mut old = std::mem::take(&mut self.blocks);
        for config in configs {
            match old.iter().position(|block| *block.config == config) {
                Some(at) => self.blocks.push(old.swap_remove(at)),
                None => self.start(config),
            }
        }
        old.iter().for_each(|block| block.discovery.cancel());
        self.publish();
    }

    fn start(&mut self, config: Config) {
        self.generation += 1;
        let discovery = self.cancel.child_token();
        let job = Arc::new(config.job.clone());
        discovery::start(discovery::Start {
            job: &job,
            generation: self.generation,
            updates: &self.updates.0,
            docker: self.docker.as_ref(),
            cancel: &discovery,
            tasks: &TaskTracker::new(),
            clock: &self.clock,
            http: &self.http,
        });
        let groups = BTreeMap::from([(0, config.job.static_targets.clone())]);
        let (config, generation) = (Arc::new(config), self.generation);
        self.blocks.push(Block { config, generation, discovery, groups });
    }

    fn take(&mut self, update: Update) {
        let block = self.blocks.iter_mut().find(|block| block.generation == update.generation);
        // What goes wrong is logged where it goes wrong; what was found before stays.
        let (Some(block), Ok(groups)) = (block, update.groups) else { return };
        block.groups.insert(update.provider, groups);
        self.publish();
    }

    fn publish(&self) {
        let (mut active, mut dropped) = (Vec::new(), BTreeSet::new());
        for block in &self.blocks {
            let groups = block.groups.values().flatten();
            for (own, shared) in groups.flat_map(|g| g.targets.iter().map(|own| (own, &g.labels))) {
                match endpoint(&block.config, own, shared) {
                    Ok(Found::Active(url)) => {
                        active.push(Arc::new(Endpoint { url, config: block.config.clone() }));
                    }
                    Ok(Found::Dropped(url)) => {
                        dropped.insert(url);
                    }
                    Err(error) => tracing::warn!(%error, "an Alertmanager cannot be reached"),
                }
            }
        }
        active.sort_by(|a, b| a.url.cmp(&b.url));
        active.dedup_by(|a, b| a.url == b.url);
        let found = Endpoints { active, dropped: dropped.into_iter().collect() };
        self.found.send_if_modified(|known| {
            let is_new = *known != found;
            *known = found;
            is_new
        });
    }
}

enum Found {
    Active(Url),
    Dropped(String),
}

fn endpoint(
    config: &Config,
    own: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> Result<Found> {
    let mut labels = LabelsBuilder::default();
    let path = format!("{}{ALERTS_PATH}", config.job.metrics_path.trim_end_matches('/'));
    labels.set("__scheme__", &config.job.scheme);
    labels.set("__alerts_path__", &path);
    for (name, value) in shared.iter().chain(own) {
        labels.set(name, value);
    }
    let before = labels.clone();
    if !relabel::apply(&config.job.relabel, &mut labels) {
        return Ok(Found::Dropped(url(&before)?.to_string()));
    }
    url(&labels).map(Found::Active)
}

fn url(labels: &LabelsBuilder) -> Result<Url> {
    let (scheme, address) = (labels.get("__scheme__"), labels.get("__address__"));
    if address.is_empty() || address.contains('/') {
        return Err(Error::invalid(format!("{address:.200?} is not a host and port")));
    }
    let path = labels.get("__alerts_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{address}{slash}{path}");
    let parsed = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.ok_or_else(|| Error::invalid(format!("{text:.200?} is no address of HTTP")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let rule = |target: &str, regex: &str, action| relabel::RuleConfig {
            source_labels: Some(vec!["__address__".to_owned()]),
            target_label: Some(target.to_owned()),
            regex: Some(regex.to_owned()),
            replacement: Some("${1}".to_owned()),
            action: Some(action),
            ..relabel::RuleConfig::default()
        };
        let rules = [
            rule("x", "gone:.*", relabel::Action::Drop),
            rule("__address__", "(.*):1", relabel::Action::Replace),
        ];
        let mut job = ScrapeJob::new("a");
        job.metrics_path = "/prefix/".to_owned();
        job.relabel = rules.map(|rule| relabel::Rule::new(rule).unwrap()).into();
        let config = Config { job, alert_relabel: Vec::new() };
        let shown = |address: &str, scheme: &str| {
            let own = BTreeMap::from([("__address__".to_owned(), address.to_owned())]);
            let shared = BTreeMap::from([("__scheme__".to_owned(), scheme.to_owned())]);
            match endpoint(&config, &own, &shared) {
                Ok(Found::Active(url)) => url.to_string(),
                Ok(Found::Dropped(url)) => format!("dropped {url}"),
                Err(e) => e.to_string(),
            }
        };
        assert_eq!(shown("a:9093", "https"), "https://a:9093/prefix/api/v2/alerts");
        assert_eq!(shown("b:1", "http"), "http://b/prefix/api/v2/alerts");
        assert_eq!(shown("gone:9", "http"), "dropped http://gone:9/prefix/api/v2/alerts");
        assert!(shown("a/b", "http").contains("not a host and port"));
        assert!(shown("a b", "http").contains("no address of HTTP"));
        assert!(shown("a", "ftp").contains("no address of HTTP"));
    }
}
