//! What is known of every container right now, in memory, for the UI and the other parts of this collector.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ingest::docker::api;
use parking_lot::RwLock;

/// One container as last seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerState {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image as given at creation.
    pub image: String,
    /// Image id.
    pub image_id: String,
    /// The runtime's word: `created`, `running`, `paused`, `restarting`, `exited`, `dead`, or one not known yet.
    pub state: String,
    /// `starting`, `healthy`, `unhealthy`, or `""` without a health check.
    pub health: String,
    /// Unix milliseconds, UTC.
    pub created_ms: i64,
    /// Unix milliseconds of the last start.
    pub started_ms: Option<i64>,
    /// Unix milliseconds of the last end.
    pub finished_ms: Option<i64>,
    /// Exit code of the last run that ended; `None` while the first one goes on.
    pub exit_code: Option<i64>,
    /// Whether the last run that ended was killed for lack of memory.
    pub oom_killed: bool,
    /// Restarts by the restart policy.
    pub restart_count: u64,
    /// Compose project, or `""`.
    pub compose_project: String,
    /// Compose service, or `""`.
    pub compose_service: String,
    /// Memory limit in bytes, 0 for none.
    pub memory_limit_bytes: u64,
    /// CPU limit in cores, 0 for none.
    pub cpu_limit_cores: f64,
    /// Main process in the host's namespace while it runs.
    pub pid: Option<u32>,
    /// Whether its output goes through a terminal.
    pub tty: bool,
    /// Addresses on its networks, as of its last start.
    pub addresses: Vec<IpAddr>,
    /// Bytes after which its log goes on in a new file; `None` when it does not.
    pub log_rotates_at_bytes: Option<u64>,
}

impl ContainerState {
    /// Whether its main process lives (also while paused).
    pub fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    pub(crate) fn from_inspected(inspected: &api::Inspected) -> Self {
        let state = &inspected.state;
        let ms = |text: &str| api::decode_time_ns(text).map(|ns| ns.div_euclid(1_000_000));
        let label = |name: &str| inspected.config.labels.get(name).cloned().unwrap_or_default();
        let finished_ms = ms(&state.finished_at);
        let health = state.health.as_ref().map_or("", |h| h.status.as_str());
        Self {
            id: inspected.id.clone(),
            name: inspected.name.trim_start_matches('/').to_owned(),
            image: inspected.config.image.clone(),
            image_id: inspected.image.clone(),
            state: state.status.clone(),
            health: if health == "none" { String::new() } else { health.to_owned() },
            created_ms: ms(&inspected.created).unwrap_or(0),
            started_ms: ms(&state.started_at),
            finished_ms,
            exit_code: finished_ms.filter(|_| !state.running).map(|_| state.exit_code),
            oom_killed: state.oom_killed,
            restart_count: u64::try_from(inspected.restart_count).unwrap_or(0),
            compose_project: label(api::COMPOSE_PROJECT),
            compose_service: label(api::COMPOSE_SERVICE),
            memory_limit_bytes: u64::try_from(inspected.host_config.memory).unwrap_or(0),
            cpu_limit_cores: inspected.cpu_limit_cores(),
            pid: u32::try_from(state.pid).ok().filter(|&pid| pid > 0 && state.running),
            tty: inspected.config.tty,
            addresses: inspected.addresses(),
            log_rotates_at_bytes: inspected.host_config.log_config.rotates_at_bytes(),
        }
    }
}

/// How the connection to the daemon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerState {
    /// Connected, the registry is current.
    Connected,
    /// No daemon answers; it is tried again all the time.
    Unavailable,
    /// The socket may not be opened.
    Denied,
    /// Containers are not watched, by configuration.
    Off,
}

impl DockerState {
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Off => "off",
        }
    }
}

/// Connection state for the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerStatus {
    /// How it stands.
    pub state: DockerState,
    /// What is wrong and what to do, or the engine's version.
    pub message: String,
    /// The endpoint asked.
    pub endpoint: String,
}

/// All containers, and the state of the connection.
#[derive(Debug)]
pub struct Registry {
    containers: RwLock<BTreeMap<String, ContainerState>>,
    status: RwLock<DockerStatus>,
}

impl Registry {
    /// An empty registry in `state`.
    pub fn new(state: DockerState, endpoint: &str, message: &str) -> Self {
        Self {
            containers: RwLock::default(),
            status: RwLock::new(DockerStatus {
                state,
                message: message.to_owned(),
                endpoint: endpoint.to_owned(),
            }),
        }
    }

    /// All containers, sorted by name, then id.
    pub fn snapshot(&self) -> Vec<ContainerState> {
        let mut all: Vec<_> = self.containers.read().values().cloned().collect();
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        all
    }

    /// One container by full id.
    pub fn get(&self, id: &str) -> Option<ContainerState> {
        self.containers.read().get(id).cloned()
    }

    /// The one container whose id begins with `digits`.
    pub fn of_id(&self, digits: &str) -> Option<ContainerState> {
        let containers = self.containers.read();
        let mut found =
            containers.range(digits.to_owned()..).take_while(|(id, _)| id.starts_with(digits));
        let (_, first) = found.next()?;
        found.next().is_none().then(|| first.clone())
    }

    /// The running container that has `address` on one of its networks.
    pub fn at(&self, address: IpAddr) -> Option<ContainerState> {
        let containers = self.containers.read();
        let has = |c: &&ContainerState| c.is_running() && c.addresses.contains(&address);
        containers.values().find(has).cloned()
    }

    /// How the connection stands.
    pub fn docker_status(&self) -> DockerStatus {
        self.status.read().clone()
    }

    pub(crate) fn set_status(&self, state: DockerState, message: &str) {
        let mut status = self.status.write();
        if status.state != state {
            match state {
                DockerState::Connected => {
                    tracing::info!(endpoint = %status.endpoint, message, "docker connected")
                }
                _ => {
                    tracing::warn!(endpoint = %status.endpoint, message, "docker {}", state.as_str())
                }
            }
        }
        status.state = state;
        message.clone_into(&mut status.message);
    }

    pub(crate) fn put(&self, container: ContainerState) {
        self.containers.write().insert(container.id.clone(), container);
    }

    pub(crate) fn modify(&self, id: &str, change: impl FnOnce(&mut ContainerState)) {
        if let Some(container) = self.containers.write().get_mut(id) {
            change(container);
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.containers.write().remove(id);
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.containers.read().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_by_what_is_unique_to_them() {
        let registry = Registry::new(DockerState::Connected, "", "");
        for (id, address, pid) in [
            ("ab12", "172.17.0.2", Some(1)),
            ("ab13", "172.17.0.3", None),
            ("cd14", "fd00::4", Some(2)),
        ] {
            let addresses = vec![address.parse().expect("an address")];
            registry.put(ContainerState { id: id.into(), pid, addresses, ..Default::default() });
        }
        let by_id = |digits: &str| registry.of_id(digits).map(|c| c.id).unwrap_or_default();
        assert_eq!([by_id("ab12"), by_id("c"), by_id("ab1"), by_id("b")], ["ab12", "cd14", "", ""]);
        let at = |address: &str| {
            let found = registry.at(address.parse().expect("an address"));
            found.map(|c| c.id).unwrap_or_default()
        };
        // One that does not run has no address any more.
        assert_eq!([at("172.17.0.2"), at("172.17.0.3"), at("fd00::4")], ["ab12", "", "cd14"]);
    }
}
