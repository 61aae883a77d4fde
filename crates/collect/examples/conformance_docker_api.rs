//! Decodes recorded answers of the Docker Engine API and cgroup files and compares with what the projects that recorded
//! them expect.
//!
//! `conformance_docker_api DIR`, where DIR is the topic `docker-api` of the test data.

#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(clippy::disallowed_methods, reason = "lays fixtures out as /proc and /sys")]

#[path = "conformance/suite.rs"]
mod suite;

use std::path::Path;
use std::process::ExitCode;

use collect::container::cgroup::{Location, Roots};
use ingest::docker::{Usage, api, cgroup};
use serde_json::Value;

use suite::{Suite, files};

fn main() -> ExitCode {
    let mut suite = Suite::new("docker-api");
    let Some(dir) = Suite::dir() else {
        println!("docker-api: no files; give the directory of the topic");
        return ExitCode::FAILURE;
    };
    for file in files(&dir) {
        let shown = file.strip_prefix(&dir).unwrap_or(&file).display().to_string();
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Ok(bytes) = std::fs::read(&file) else { continue };
        match name {
            "expected_metrics.yaml" => expected_metrics(&mut suite, &shown, &file, &bytes),
            "expected.out" => expected_lines(&mut suite, &shown, &file, &bytes),
            "list.json" | "containers.json" => list(&mut suite, &shown, &bytes),
            "container.json" => inspect(&mut suite, &shown, &bytes),
            name if name.starts_with("inspect") => inspect(&mut suite, &shown, &bytes),
            name if name.starts_with("stats") => stats(&mut suite, &shown, &bytes),
            "info.json" => info(&mut suite, &shown, &bytes),
            "docker-info-errors.json.golden" => suite.skip("text of a client without daemon"),
            name if name.starts_with("docker-info") => info(&mut suite, &shown, &bytes),
            "docker-events-json.golden" => events(&mut suite, &shown, &bytes),
            "json.golden" => version(&mut suite, &shown, &bytes),
            "cgroup.controllers" => fluent_bit(&mut suite, &shown, &file),
            "memory.stat" => cgroup_v2(&mut suite, &shown, &file),
            "swagger.yaml" => suite.skip("a schema, no recorded answer"),
            "disk.json" | "nodes.json" | "services.json" | "tasks.json" => {
                suite.skip("swarm and disk usage endpoints are never called");
            }
            "docker-events-default.golden" | "docker-events-json-template.golden" => {
                suite.skip("text made by the docker command line");
            }
            _ => {}
        }
    }
    suite.finish()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn list(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    let raw = json(bytes);
    match api::decode_list(bytes) {
        Ok((listed, unreadable)) => {
            suite.check(&format!("{shown} unreadable"), unreadable, 0);
            let want = raw.as_array().map_or(0, Vec::len);
            suite.check(&format!("{shown} count"), listed.len(), want);
            for (container, raw) in listed.iter().zip(raw.as_array().into_iter().flatten()) {
                suite.check(&format!("{shown} id"), container.id.as_str(), text(raw, "/Id"));
                suite.check(
                    &format!("{shown} state"),
                    container.state.as_str(),
                    text(raw, "/State"),
                );
            }
        }
        Err(error) => suite.fail(&format!("{shown}: {error}")),
    }
}

fn inspect(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    let raw = json(bytes);
    match api::decode_inspect(bytes) {
        Ok(container) => {
            suite.check(&format!("{shown} id"), container.id.as_str(), text(&raw, "/Id"));
            let state = container.state.status.as_str();
            suite.check(&format!("{shown} state"), state, text(&raw, "/State/Status"));
            let pid = raw.pointer("/State/Pid").and_then(Value::as_i64).unwrap_or(0);
            suite.check(&format!("{shown} pid"), container.state.pid, pid);
            let health = container.state.health.as_ref().map_or("", |h| h.status.as_str());
            suite.check(&format!("{shown} health"), health, text(&raw, "/State/Health/Status"));
            let debug = format!("{container:?}");
            let env = raw.pointer("/Config/Env").and_then(Value::as_array);
            let leaked = env.into_iter().flatten().filter_map(Value::as_str);
            let leaked = leaked.filter(|entry| debug.contains(entry)).count();
            suite.check(&format!("{shown} environment kept"), leaked, 0);
        }
        Err(error) => suite.fail(&format!("{shown}: {error}")),
    }
}

fn stats(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    let raw = json(bytes);
    let number = |pointer: &str| raw.pointer(pointer).and_then(Value::as_u64);
    match api::decode_stats(bytes) {
        Ok(usage) => {
            let want = number("/cpu_stats/cpu_usage/total_usage");
            suite.check(&format!("{shown} cpu"), usage.cpu_usage_ns, want);
            suite.check(
                &format!("{shown} memory"),
                usage.memory_usage,
                number("/memory_stats/usage"),
            );
            suite.check(&format!("{shown} pids"), usage.threads, number("/pids_stats/current"));
            let networks = raw.pointer("/networks").and_then(Value::as_object);
            let want = networks.map_or(0, serde_json::Map::len);
            suite.check(&format!("{shown} interfaces"), usage.interfaces.len(), want);
        }
        Err(error) => suite.fail(&format!("{shown}: {error}")),
    }
}

fn info(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    let raw = json(bytes);
    match api::decode_info(bytes) {
        Ok(info) => {
            suite.check(&format!("{shown} name"), info.name.as_str(), text(&raw, "/Name"));
            let want = text(&raw, "/ServerVersion");
            suite.check(&format!("{shown} version"), info.server_version.as_str(), want);
            let want = raw.pointer("/ContainersRunning").and_then(Value::as_i64).unwrap_or(0);
            suite.check(&format!("{shown} running"), info.containers_running, want);
        }
        Err(error) => suite.fail(&format!("{shown}: {error}")),
    }
}

fn events(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let raw = json(line);
        match api::decode_event(line) {
            Ok(event) => {
                suite.check(
                    &format!("{shown} action"),
                    event.action.as_str(),
                    text(&raw, "/Action"),
                );
                suite.check(&format!("{shown} id"), event.id.as_str(), text(&raw, "/Actor/ID"));
                let want = raw.get("timeNano").and_then(Value::as_i64).unwrap_or(0);
                suite.check(&format!("{shown} time"), event.t_ns, want);
            }
            Err(error) => suite.fail(&format!("{shown}: {error}")),
        }
    }
}

fn version(suite: &mut Suite, shown: &str, bytes: &[u8]) {
    let raw = json(bytes);
    let server = raw.get("Server").map(Value::to_string).unwrap_or_default();
    match api::decode_version(server.as_bytes()) {
        Ok(version) => {
            suite.check(
                &format!("{shown} version"),
                version.version.as_str(),
                text(&raw, "/Server/Version"),
            );
            let want = text(&raw, "/Server/ApiVersion");
            suite.check(&format!("{shown} API"), version.api_version.as_str(), want);
        }
        Err(error) => suite.fail(&format!("{shown}: {error}")),
    }
}

/// One data point of an expected metric: its value and the attributes by which series differ.
fn points(metric: &Value) -> Vec<(f64, &Value)> {
    ["/sum/dataPoints", "/gauge/dataPoints"]
        .iter()
        .filter_map(|pointer| metric.pointer(pointer)?.as_array())
        .flatten()
        .map(|point| {
            let integer = point.get("asInt");
            let value =
                integer.and_then(|v| v.as_str().map_or_else(|| v.as_f64(), |s| s.parse().ok()));
            (value.or_else(|| point.get("asDouble")?.as_f64()).unwrap_or(f64::NAN), point)
        })
        .collect()
}

fn attribute(point: &Value, key: &str) -> String {
    let attributes = point.get("attributes").and_then(Value::as_array);
    let found = attributes.into_iter().flatten().find(|a| text(a, "/key") == key);
    found.map_or_else(String::new, |a| text(a, "/value/stringValue").to_owned())
}

/// The collector's docker receiver: recorded answers beside the metrics it expects of them.
fn expected_metrics(suite: &mut Suite, shown: &str, file: &Path, bytes: &[u8]) {
    let expected: Result<Value, _> = serde_saphyr::from_str(&String::from_utf8_lossy(bytes));
    let Ok(expected) = expected else {
        suite.fail(&format!("{shown}: cannot be read as YAML"));
        return;
    };
    let beside = |name: &str| std::fs::read(file.with_file_name(name)).unwrap_or_default();
    let (Ok(usage), Ok(container)) =
        (api::decode_stats(&beside("stats.json")), api::decode_inspect(&beside("container.json")))
    else {
        suite.fail(&format!("{shown}: the recorded answers beside it cannot be read"));
        return;
    };
    let resource = expected.pointer("/resourceMetrics/0/resource").unwrap_or(&Value::Null);
    let name = container.name.trim_start_matches('/').to_owned();
    suite.check(&format!("{shown} name"), name, attribute(resource, "container.name"));
    let metrics = expected.pointer("/resourceMetrics/0/scopeMetrics/0/metrics");
    for metric in metrics.and_then(Value::as_array).into_iter().flatten() {
        let name = text(metric, "/name");
        for (want, point) in points(metric) {
            match our_value(name, point, &usage, &container) {
                Known::Value(got) => suite.check_number(&format!("{shown} {name}"), got, want),
                Known::NotOurs(reason) => suite.skip(&format!("{reason} ({name})")),
            }
        }
    }
}

enum Known {
    Value(Option<f64>),
    NotOurs(&'static str),
}

fn our_value(name: &str, point: &Value, usage: &Usage, container: &api::Inspected) -> Known {
    let plain = |value: Option<u64>| Known::Value(value.map(|v| v as f64));
    let v2 = usage.memory_file_dirty.is_some();
    let short = name.strip_prefix("container.").unwrap_or(name);
    match short {
        "cpu.usage.total" => plain(usage.cpu_usage_ns),
        "cpu.usage.usermode" => plain(usage.cpu_user_ns),
        "cpu.usage.kernelmode" => plain(usage.cpu_system_ns),
        "cpu.throttling_data.periods" => plain(usage.cfs_periods),
        "cpu.throttling_data.throttled_periods" => plain(usage.cfs_throttled_periods),
        "cpu.throttling_data.throttled_time" => plain(usage.cfs_throttled_ns),
        "cpu.limit" => Known::Value(Some(container.cpu_limit_cores())),
        "restarts" => Known::Value(Some(container.restart_count as f64)),
        "memory.usage.total" => plain(usage.memory_working_set()),
        // The receiver writes 0 for what the answer leaves out.
        "memory.usage.max" => plain(usage.memory_max_usage.or(Some(0))),
        "memory.fails" => plain(usage.memory_failcnt.or(Some(0))),
        "memory.total_cache" | "memory.file" => plain(usage.memory_cache),
        "memory.total_rss" | "memory.anon" => plain(usage.memory_rss),
        "memory.total_mapped_file" => plain(usage.memory_mapped_file),
        "memory.total_inactive_file" => plain(usage.memory_inactive_file),
        "memory.total_active_file" => plain(usage.memory_active_file),
        "memory.inactive_file" if v2 => plain(usage.memory_inactive_file),
        "memory.active_file" if v2 => plain(usage.memory_active_file),
        "memory.pgfault" => plain(usage.page_faults),
        "memory.pgmajfault" => plain(usage.page_faults_major),
        "memory.total_pgfault" => plain(usage.page_faults_hierarchy),
        "memory.total_pgmajfault" => plain(usage.page_faults_major_hierarchy),
        "pids.count" => plain(usage.threads),
        "pids.limit" => plain(usage.threads_max),
        _ if short.starts_with("network.io.usage.") => Known::Value(network(short, point, usage)),
        _ if short.starts_with("blockio.") => {
            match attribute(point, "operation").to_ascii_lowercase().as_str() {
                "read" | "write" => Known::Value(block_io(short, point, usage)),
                _ => Known::NotOurs("only reads and writes are produced"),
            }
        }
        "cpu.utilization" | "memory.percent" => Known::NotOurs("derived: a query computes it"),
        "cpu.usage.system" | "cpu.logical.count" => {
            Known::NotOurs("of the host, not the container")
        }
        "cpu.usage.percpu" => Known::NotOurs("per CPU: cAdvisor's default is the total"),
        "uptime" => Known::NotOurs("derived: container_start_time_seconds"),
        _ => Known::NotOurs("no such metric in cAdvisor"),
    }
}

fn network(short: &str, point: &Value, usage: &Usage) -> Option<f64> {
    let name = attribute(point, "interface");
    let interface = usage.interfaces.iter().find(|i| i.name == name)?;
    let column =
        ["bytes", "packets", "errors", "dropped"].iter().position(|c| short.ends_with(c))?;
    let columns = if short.contains(".rx_") { interface.receive } else { interface.transmit };
    columns.get(column).map(|v| *v as f64)
}

fn block_io(short: &str, point: &Value, usage: &Usage) -> Option<f64> {
    let number = |key: &str| attribute(point, key).parse::<u32>().ok();
    let (major, minor) = (number("device_major")?, number("device_minor")?);
    let io = usage.devices.iter().find(|d| (d.major, d.minor) == (major, minor))?;
    let bytes = short.ends_with("io_service_bytes_recursive");
    let value = match (attribute(point, "operation").to_ascii_lowercase().as_str(), bytes) {
        ("read", true) => io.read_bytes,
        ("write", true) => io.write_bytes,
        ("read", false) => io.reads,
        ("write", false) => io.writes,
        _ => return None,
    };
    Some(value as f64)
}

/// Telegraf's line protocol: `measurement,tags field=1u,field=2i time`.
fn expected_lines(suite: &mut Suite, shown: &str, file: &Path, bytes: &[u8]) {
    let data = file.with_file_name("data");
    let recorded = files(&data)
        .into_iter()
        .find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("stats_")));
    let stats = recorded.and_then(|f| std::fs::read(f).ok()).unwrap_or_default();
    let Ok(usage) = api::decode_stats(&stats) else {
        suite.fail(&format!("{shown}: the recorded stats beside it cannot be read"));
        return;
    };
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some(rest) = line.strip_prefix("docker_container_mem,") else {
            suite.skip("telegraf's own measurements of daemon and containers");
            continue;
        };
        let fields = rest.split(' ').nth(1).unwrap_or("");
        for (name, value) in fields.split(',').filter_map(|field| field.split_once('=')) {
            let got = match name {
                "usage" => usage.memory_usage,
                "max_usage" => usage.memory_max_usage,
                "fail_count" => usage.memory_failcnt,
                "total_rss" => usage.memory_rss,
                "total_cache" => usage.memory_cache,
                "total_mapped_file" => usage.memory_mapped_file,
                "pgfault" => usage.page_faults,
                "pgmajfault" => usage.page_faults_major,
                "total_pgfault" => usage.page_faults_hierarchy,
                "total_pgmajfault" => usage.page_faults_major_hierarchy,
                _ => {
                    suite.skip("no such metric in cAdvisor (telegraf docker_container_mem)");
                    continue;
                }
            };
            let want: f64 = value.trim_end_matches(['u', 'i']).parse().unwrap_or(f64::NAN);
            suite.check_number(&format!("{shown} {name}"), got.map(|v| v as f64), want);
        }
    }
}

/// A directory of cgroup v2 files: every file that is read must say something, and numbers must be those in the file.
fn cgroup_v2(suite: &mut Suite, shown: &str, file: &Path) {
    let Some(dir) = file.parent() else { return };
    for known in cgroup::V2 {
        let Ok(text) = std::fs::read_to_string(dir.join(known.name)) else {
            suite.skip(&format!("{shown}: no file {}", known.name));
            continue;
        };
        let mut usage = Usage::default();
        known.apply(&text, &mut usage);
        let said = usage != Usage::default();
        suite.check(&format!("{shown} {} says something", known.name), said, true);
        let number: Option<u64> = text.trim().parse().ok();
        let got = match known.name {
            "memory.current" => usage.memory_usage,
            "memory.peak" => usage.memory_max_usage,
            "memory.max" => usage.memory_limit,
            "memory.swap.current" => usage.memory_swap,
            "pids.current" => usage.threads,
            "pids.max" => usage.threads_max,
            _ => continue,
        };
        suite.check(&format!("{shown} {}", known.name), got, number);
    }
}

/// Fluent Bit's cgroup v2 tree, laid out as `/sys` with a `/proc` that points into it.
fn fluent_bit(suite: &mut Suite, shown: &str, file: &Path) {
    let (Some(tree), Ok(work)) = (file.parent(), tempfile::tempdir()) else { return };
    let roots = Roots { proc: work.path().join("proc"), sys: work.path().join("sys") };
    let laid = std::fs::create_dir_all(roots.sys.join("fs")).and_then(|()| {
        std::os::unix::fs::symlink(std::path::absolute(tree)?, roots.sys.join("fs/cgroup"))
    });
    if let Err(error) = laid {
        suite.fail(&format!("{shown}: cannot lay the tree out: {error}"));
        return;
    }
    let scopes = std::fs::read_dir(tree.join("system.slice")).into_iter().flatten();
    for (pid, scope) in (1_u32..).zip(scopes.filter_map(Result::ok)) {
        let scope_name = scope.file_name().to_string_lossy().into_owned();
        let id = scope_name.trim_start_matches("docker-").trim_end_matches(".scope");
        let process = roots.proc.join(pid.to_string());
        // As a process in another cgroup namespace sees it, so that the place has to be found by the id.
        let line = if pid == 1 {
            format!("0::/system.slice/{scope_name}\n")
        } else {
            "0::/../x\n".to_owned()
        };
        let written = std::fs::create_dir_all(&process)
            .and_then(|()| std::fs::write(process.join("cgroup"), line));
        if let Err(error) = written {
            suite.fail(&format!("{shown}: cannot lay {scope_name} out: {error}"));
            continue;
        }
        let mut usage = Usage::default();
        let read = Location::find(&roots, pid, id)
            .and_then(|location| location.read(&mut usage, &mut Vec::new()).map(|()| location));
        match read {
            Ok(location) => {
                let path = format!("/system.slice/{scope_name}");
                suite.check(&format!("{scope_name} path"), location.path, path);
                let number = |name: &str| {
                    std::fs::read_to_string(scope.path().join(name)).ok()?.trim().parse().ok()
                };
                let want: Option<u64> = number("memory.current");
                suite.check(&format!("{scope_name} memory"), usage.memory_usage, want);
                let want = Some(number("memory.max").unwrap_or(0));
                suite.check(&format!("{scope_name} limit"), usage.memory_limit, want);
                let text =
                    std::fs::read_to_string(scope.path().join("cpu.stat")).unwrap_or_default();
                let us: Option<u64> = text
                    .lines()
                    .find_map(|line| line.strip_prefix("usage_usec "))
                    .and_then(|n| n.trim().parse().ok());
                suite.check(
                    &format!("{scope_name} cpu"),
                    usage.cpu_usage_ns,
                    us.map(|us| us * 1000),
                );
            }
            Err(error) => suite.fail(&format!("{scope_name}: {error}")),
        }
    }
}
