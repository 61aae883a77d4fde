//! Our own API: the state of containers and of this process, as the UI and the CLI show it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use collect::container::ContainerState;
use http::StatusCode;
use serde::Serialize;

use crate::{App, error};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    id: &'a str,
    name: &'a str,
    image: &'a str,
    image_id: &'a str,
    state: &'a str,
    health: &'a str,
    created_at_ms: i64,
    started_at_ms: Option<i64>,
    finished_at_ms: Option<i64>,
    exit_code: Option<i64>,
    oom_killed: bool,
    restart_count: u64,
    compose_project: Option<&'a str>,
    compose_service: Option<&'a str>,
    memory_limit_bytes: Option<u64>,
    cpu_limit_cores: Option<f64>,
}

fn container(state: &ContainerState) -> Container<'_> {
    let known = |text: &str| !text.is_empty();
    Container {
        id: &state.id,
        name: &state.name,
        image: &state.image,
        image_id: &state.image_id,
        state: &state.state,
        health: if state.health.is_empty() { "none" } else { &state.health },
        created_at_ms: state.created_ms,
        started_at_ms: state.started_ms,
        finished_at_ms: state.finished_ms,
        exit_code: state.exit_code,
        oom_killed: state.oom_killed,
        restart_count: state.restart_count,
        compose_project: Some(state.compose_project.as_str()).filter(|t| known(t)),
        compose_service: Some(state.compose_service.as_str()).filter(|t| known(t)),
        memory_limit_bytes: (state.memory_limit_bytes > 0).then_some(state.memory_limit_bytes),
        cpu_limit_cores: (state.cpu_limit_cores > 0.0).then_some(state.cpu_limit_cores),
    }
}

pub(crate) async fn containers(State(app): State<Arc<App>>) -> Response {
    let states = app.host.containers();
    let containers: Vec<Container<'_>> = states.iter().map(container).collect();
    error::json(StatusCode::OK, serde_json::json!({ "containers": containers }).to_string())
}

pub(crate) async fn status(State(app): State<Arc<App>>) -> Response {
    let mut status = app.host.status();
    if let Some(status) = status.as_object_mut() {
        status.insert("receivedLogs".to_owned(), app.receivers.lines.status());
    }
    error::json(StatusCode::OK, status.to_string())
}
