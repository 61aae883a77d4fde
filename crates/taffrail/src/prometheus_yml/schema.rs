//! Every key Prometheus 3 knows, with its type and what this release does about it, and the walk that checks a file.
//!
//! The table is text: `key:type`, separated by blanks. Types are `str`, `int`, `num`, `float`, `bool`, `dur`, `godur`, `size`, `any`,
//! `{object}`, `[type]` for lists and `<type>` for maps with free keys. A key behind `-` is read and not needed, one
//! behind `~` is not supported yet; `+object` takes in all keys of another object.
//!
//! Source: Prometheus 3 configuration reference.

use collect::scrape::parse_duration;

use super::node::{Key, Node, Placed, Value, parse_bool};
use super::{Note, NoteKind};

/// Objects by name.
pub(crate) type Table = &'static [(&'static str, &'static str)];

pub(crate) const OBJECTS: Table = &[
    (
        "the file",
        "global:{global} -runtime:{runtime} rule_files:[str] scrape_config_files:[str] scrape_configs:[{job}] \
        alerting:{alerting} remote_write:[{remote_write}] ~remote_read:[{remote_read}] -storage:{storage} \
        ~tracing:{tracing} otlp:{otlp}",
    ),
    ("the scrape config file", "scrape_configs:[{job}]"),
    (
        "global",
        "scrape_interval:dur scrape_timeout:dur evaluation_interval:dur rule_query_offset:dur \
        external_labels:<str> ~query_log_file:str ~scrape_failure_log_file:str +limits",
    ),
    (
        "limits",
        "scrape_protocols:[str] body_size_limit:size sample_limit:int label_limit:int \
        label_name_length_limit:int label_value_length_limit:int target_limit:int keep_dropped_targets:int \
        metric_name_validation_scheme:str metric_name_escaping_scheme:str extra_scrape_metrics:bool \
        scrape_native_histograms:bool always_scrape_classic_histograms:bool \
        convert_classic_histograms_to_nhcb:bool scrape_classic_histograms:bool",
    ),
    ("runtime", "gogc:int"),
    (
        "job",
        "job_name:str scrape_interval:dur scrape_timeout:dur metrics_path:str scheme:str params:<[str]> \
        honor_labels:bool honor_timestamps:bool track_timestamps_staleness:bool enable_compression:bool \
        ~scrape_failure_log_file:str fallback_scrape_protocol:str native_histogram_bucket_limit:int \
        native_histogram_min_bucket_factor:float relabel_configs:[{relabel}] metric_relabel_configs:[{relabel}] \
        +limits +http +sd",
    ),
    (
        "relabel",
        "source_labels:[str] separator:str regex:str modulus:int target_label:str replacement:str action:str",
    ),
    (
        "http",
        "basic_auth:{basic_auth} authorization:{authorization} oauth2:{oauth2} bearer_token:str \
        bearer_token_file:str follow_redirects:bool enable_http2:bool tls_config:{tls} \
        http_headers:<{http_header}> +proxy",
    ),
    (
        "proxy",
        "proxy_url:str no_proxy:str proxy_from_environment:bool proxy_connect_header:<[str]>",
    ),
    (
        "basic_auth",
        "username:str username_file:str ~username_ref:str password:str password_file:str ~password_ref:str",
    ),
    ("authorization", "type:str credentials:str credentials_file:str ~credentials_ref:str"),
    (
        "oauth2",
        "client_id:str client_secret:str client_secret_file:str ~client_secret_ref:str scopes:[str] \
        token_url:str endpoint_params:<str> tls_config:{tls} client_certificate_key_id:str \
        client_certificate_key:str client_certificate_key_file:str ~client_certificate_key_ref:str \
        signature_algorithm:str grant_type:str iss:str audience:str claims:<any> +proxy",
    ),
    (
        "tls",
        "ca:str ca_file:str ~ca_ref:str cert:str cert_file:str ~cert_ref:str key:str key_file:str ~key_ref:str \
        server_name:str insecure_skip_verify:bool min_version:str max_version:str",
    ),
    ("http_header", "values:[str] secrets:[str] files:[str]"),
    (
        "sd",
        "static_configs:[{static}] file_sd_configs:[{file_sd}] docker_sd_configs:[{docker_sd}] \
        ~azure_sd_configs:[{azure_sd}] ~consul_sd_configs:[{consul_sd}] \
        ~digitalocean_sd_configs:[{plain_sd}] ~dockerswarm_sd_configs:[{dockerswarm_sd}] \
        ~dns_sd_configs:[{dns_sd}] ~ec2_sd_configs:[{ec2_sd}] ~eureka_sd_configs:[{eureka_sd}] \
        ~gce_sd_configs:[{gce_sd}] ~hetzner_sd_configs:[{hetzner_sd}] http_sd_configs:[{http_sd}] \
        ~ionos_sd_configs:[{ionos_sd}] ~kubernetes_sd_configs:[{kubernetes_sd}] ~kuma_sd_configs:[{kuma_sd}] \
        ~lightsail_sd_configs:[{lightsail_sd}] ~linode_sd_configs:[{linode_sd}] \
        ~marathon_sd_configs:[{marathon_sd}] ~nerve_sd_configs:[{nerve_sd}] ~nomad_sd_configs:[{nomad_sd}] \
        ~oci_sd_configs:[{oci_sd}] ~openstack_sd_configs:[{openstack_sd}] ~outscale_sd_configs:[{outscale_sd}] \
        ~ovhcloud_sd_configs:[{ovhcloud_sd}] ~puppetdb_sd_configs:[{puppetdb_sd}] \
        ~scaleway_sd_configs:[{scaleway_sd}] ~serverset_sd_configs:[{nerve_sd}] \
        ~stackit_sd_configs:[{stackit_sd}] ~triton_sd_configs:[{triton_sd}] ~uyuni_sd_configs:[{uyuni_sd}] \
        ~vultr_sd_configs:[{plain_sd}] ~aws_sd_configs:[{aws_sd}]",
    ),
    ("static", "targets:[str] labels:<str>"),
    ("file_sd", "files:[str] refresh_interval:dur"),
    ("refresh", "port:int refresh_interval:dur"),
    ("filter", "name:str values:[str]"),
    (
        "docker_sd",
        "host:str host_networking_host:str match_first_network:bool filters:[{filter}] +refresh +http",
    ),
    ("dockerswarm_sd", "host:str role:str filters:[{filter}] +refresh +http"),
    ("plain_sd", "+refresh +http"),
    (
        "azure_sd",
        "environment:str authentication_method:str subscription_id:str tenant_id:str client_id:str \
        client_secret:str resource_group:str +refresh +http",
    ),
    (
        "consul_sd",
        "server:str path_prefix:str token:str datacenter:str namespace:str partition:str scheme:str \
        username:str password:str services:[str] tags:[str] filter:str health_filter:str node_meta:<str> \
        tag_separator:str allow_stale:bool refresh_interval:dur +http",
    ),
    ("dns_sd", "names:[str] type:str +refresh"),
    (
        "ec2_sd",
        "region:str endpoint:str access_key:str secret_key:str profile:str role_arn:str external_id:str \
        filters:[{filter}] +refresh +http",
    ),
    (
        "lightsail_sd",
        "region:str endpoint:str access_key:str secret_key:str profile:str role_arn:str \
        external_id:str +refresh +http",
    ),
    (
        "aws_sd",
        "role:str region:str endpoint:str access_key:str secret_key:str profile:str role_arn:str \
        external_id:str filters:[{filter}] clusters:[str] request_concurrency:int +refresh +http",
    ),
    ("eureka_sd", "server:str refresh_interval:dur +http"),
    ("gce_sd", "project:str zone:str filter:str tag_separator:str +refresh"),
    ("hetzner_sd", "role:str label_selector:str +refresh +http"),
    ("http_sd", "url:str refresh_interval:dur +http"),
    ("ionos_sd", "datacenter_id:str +refresh +http"),
    (
        "kubernetes_sd",
        "api_server:str role:str kubeconfig_file:str namespaces:{kubernetes_namespaces} \
        selectors:[{kubernetes_selector}] attach_metadata:{kubernetes_metadata} +http",
    ),
    ("kubernetes_namespaces", "own_namespace:bool names:[str]"),
    ("kubernetes_selector", "role:str label:str field:str"),
    ("kubernetes_metadata", "node:bool namespace:bool"),
    ("kuma_sd", "server:str client_id:str refresh_interval:dur fetch_timeout:dur +http"),
    ("linode_sd", "region:str tag_separator:str +refresh +http"),
    ("marathon_sd", "servers:[str] auth_token:str auth_token_file:str refresh_interval:dur +http"),
    ("nerve_sd", "servers:[str] paths:[str] timeout:dur"),
    (
        "nomad_sd",
        "allow_stale:bool namespace:str refresh_interval:dur region:str server:str tag_separator:str +http",
    ),
    (
        "oci_sd",
        "auth:str region:str tenancy:str user:str fingerprint:str key_file:str key_passphrase:str \
        key_passphrase_file:str compartments:[str] +refresh +http",
    ),
    (
        "openstack_sd",
        "role:str region:str identity_endpoint:str username:str userid:str password:str \
        domain_name:str domain_id:str project_name:str project_id:str application_credential_name:str \
        application_credential_id:str application_credential_secret:str all_tenants:bool availability:str \
        tls_config:{tls} +refresh",
    ),
    (
        "outscale_sd",
        "region:str endpoint:str access_key:str secret_key:str secret_key_file:str +refresh +http",
    ),
    (
        "ovhcloud_sd",
        "application_key:str application_secret:str consumer_key:str service:str endpoint:str \
        refresh_interval:dur",
    ),
    ("puppetdb_sd", "url:str query:str include_parameters:bool +refresh +http"),
    (
        "scaleway_sd",
        "access_key:str secret_key:str secret_key_file:str project_id:str role:str zone:str api_url:str \
        name_filter:str tags_filter:[str] +refresh +http",
    ),
    (
        "stackit_sd",
        "project:str region:str endpoint:str service_account_key:str service_account_key_path:str \
        private_key:str private_key_path:str credentials_file_path:str +refresh +http",
    ),
    (
        "triton_sd",
        "account:str role:str dns_suffix:str endpoint:str groups:[str] version:int tls_config:{tls} +refresh",
    ),
    (
        "uyuni_sd",
        "server:str username:str password:str entitlement:str separator:str +refresh +http",
    ),
    ("alerting", "alert_relabel_configs:[{relabel}] alertmanagers:[{alertmanager}]"),
    (
        "alertmanager",
        "timeout:dur api_version:str path_prefix:str scheme:str relabel_configs:[{relabel}] \
        alert_relabel_configs:[{relabel}] ~sigv4:{sigv4} +http +sd",
    ),
    (
        "sigv4",
        "region:str access_key:str secret_key:str profile:str role_arn:str external_id:str use_fips_sts_endpoint:bool service_name:str",
    ),
    (
        "remote_write",
        "url:str protobuf_message:str remote_timeout:dur headers:<str> write_relabel_configs:[{relabel}] \
        name:str send_exemplars:bool send_native_histograms:bool ~round_robin_dns:bool ~sigv4:{sigv4} \
        ~azuread:<any> ~google_iam:<any> metadata_config:{metadata_config} queue_config:{queue_config} +http",
    ),
    ("metadata_config", "send:bool send_interval:dur max_samples_per_send:int"),
    (
        "queue_config",
        "-capacity:int max_shards:int min_shards:int max_samples_per_send:int batch_send_deadline:dur \
        min_backoff:dur max_backoff:dur retry_on_http_429:bool sample_age_limit:dur",
    ),
    (
        "remote_read",
        "url:str name:str required_matchers:<str> remote_timeout:dur headers:<str> read_recent:bool \
        filter_external_labels:bool chunked_read_limit:int +http",
    ),
    ("storage", "tsdb:{tsdb} exemplars:{exemplars}"),
    (
        "tsdb",
        "out_of_order_time_window:dur stale_series_compaction_threshold:float retention:{retention} \
        chunk_encoding:{chunk_encoding}",
    ),
    ("retention", "time:dur size:size percentage:float"),
    ("chunk_encoding", "floats:str"),
    ("exemplars", "max_exemplars:int"),
    (
        "tracing",
        "client_type:str endpoint:str sampling_fraction:float insecure:bool headers:<str> compression:str \
        timeout:dur tls_config:{tls}",
    ),
    (
        "otlp",
        "promote_resource_attributes:[str] promote_all_resource_attributes:bool \
        ignore_resource_attributes:[str] translation_strategy:str keep_identifying_resource_attributes:bool \
        convert_histograms_to_nhcb:bool promote_scope_metadata:bool label_name_underscore_sanitization:bool \
        label_name_preserve_multiple_underscores:bool",
    ),
];

/// Walks a file; collects notes on the way.
pub(crate) struct Walk<'a> {
    /// Where objects are looked up, in this order.
    pub(crate) tables: &'a [Table],
    pub(crate) file: &'a str,
    pub(crate) notes: &'a mut Vec<Note>,
    /// Called for each object after its keys and values are known to be well-formed.
    pub(crate) check: &'a dyn Fn(&str, &Node) -> Result<(), Placed>,
}

/// What is wrong in a file.
pub(crate) struct Mistake {
    pub(crate) placed: Placed,
    /// The object that has no such key, of which some readers only warn.
    pub(crate) unknown_in: Option<String>,
}

impl Walk<'_> {
    /// Checks `node` against the object called `name`; the first mistake. Inside a key that is noted as a whole, notes are
    /// `silent`.
    pub(crate) fn object(&mut self, name: &str, node: &Node, silent: bool) -> Result<(), Placed> {
        match self.mistakes(name, node, silent).into_iter().next() {
            Some(mistake) => Err(mistake.placed),
            None => Ok(()),
        }
    }

    /// Checks as [`Walk::object`] does; all mistakes.
    pub(crate) fn mistakes(&mut self, name: &str, node: &Node, silent: bool) -> Vec<Mistake> {
        let mut found = Found(Vec::new());
        self.walk(name, node, silent, &mut found);
        found.0
    }

    fn walk(&mut self, name: &str, node: &Node, silent: bool, found: &mut Found) {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return,
            _ => return found.add(node.line, format!("{name} must be a mapping")),
        };
        let before = found.0.len();
        let fields = fields(self.tables, name);
        for (key, value) in entries {
            let Some(field) = fields.iter().find(|f| f.name == key.name) else {
                let placed = (key.line, unknown_key(key, name, &fields));
                found.0.push(Mistake { placed, unknown_in: Some(name.to_owned()) });
                continue;
            };
            if let Some(kind) = field.note.filter(|_| !silent) {
                self.notes.push(Note {
                    file: self.file.to_owned(),
                    line: key.line,
                    key: key.name.clone(),
                    kind,
                });
            }
            self.value(&key.name, field.shape, value, silent || field.note.is_some(), found);
        }
        if found.0.len() == before
            && let Err((line, why)) = (self.check)(name, node)
        {
            found.add(line, why);
        }
    }

    fn value(&mut self, key: &str, shape: &str, node: &Node, silent: bool, found: &mut Found) {
        if node.value == Value::Null {
            return;
        }
        if let Some(item) = inside(shape, '[', ']') {
            let Value::List(items) = &node.value else {
                return found.add(node.line, format!("{key} must be a list"));
            };
            for item_node in items {
                if item_node.value == Value::Null {
                    let line = item_node.line.max(node.line);
                    found.add(line, format!("{key} has an empty or null item"));
                } else {
                    self.value(key, item, item_node, silent, found);
                }
            }
        } else if let Some(object) = inside(shape, '{', '}') {
            self.walk(object, node, silent, found);
        } else if let Some(item) = inside(shape, '<', '>') {
            let Value::Map(entries) = &node.value else {
                return found.add(node.line, format!("{key} must be a mapping"));
            };
            entries.iter().for_each(|(k, v)| self.value(&k.name, item, v, silent, found));
        } else if let Err((line, why)) = scalar(key, shape, node) {
            found.add(line, why);
        }
    }
}

struct Found(Vec<Mistake>);

impl Found {
    fn add(&mut self, line: usize, why: String) {
        self.0.push(Mistake { placed: (line, why), unknown_in: None });
    }
}

fn scalar(key: &str, shape: &str, node: &Node) -> Result<(), Placed> {
    if shape == "any" {
        return Ok(());
    }
    let Some(text) = node.text() else {
        return Err((node.line, format!("{key} must be a single value")));
    };
    let (fits, what) = match shape {
        "int" => (text.parse::<i64>().is_ok_and(|n| n >= 0), "a whole number from 0"),
        "num" => (text.parse::<i64>().is_ok(), "a whole number"),
        "float" => (text.parse::<f64>().is_ok(), "a number"),
        "bool" => (parse_bool(text).is_some(), "true or false"),
        "dur" => (parse_duration(text).is_some(), "a duration such as 15s or 1h30m"),
        "godur" => (go_duration_ms(text).is_some(), "a duration of Go such as 15s, 1.5h or 1h30m"),
        "size" => (parse_size(text).is_some(), "a size with its unit, such as 100MB"),
        _ => (true, "a text"),
    };
    if fits { Ok(()) } else { Err((node.line, format!("{key} must be {what}, not {text:?}"))) }
}

fn inside(shape: &str, open: char, close: char) -> Option<&str> {
    shape.strip_prefix(open)?.strip_suffix(close)
}

struct Field {
    name: &'static str,
    shape: &'static str,
    note: Option<NoteKind>,
}

fn fields(tables: &[Table], object: &str) -> Vec<Field> {
    let rows = tables.iter().flat_map(|table| table.iter());
    let spec = rows.into_iter().find(|(name, _)| *name == object).map_or("", |(_, spec)| *spec);
    let mut found = Vec::new();
    for word in spec.split_whitespace() {
        if let Some(other) = word.strip_prefix('+') {
            found.extend(fields(tables, other));
            continue;
        }
        let (word, note) = match word.as_bytes().first() {
            Some(b'-') => (&word[1..], Some(NoteKind::NotNeeded)),
            Some(b'~') => (&word[1..], Some(NoteKind::NotSupportedYet)),
            _ => (word, None),
        };
        if let Some((name, shape)) = word.split_once(':') {
            found.push(Field { name, shape, note });
        }
    }
    found
}

fn unknown_key(key: &Key, object: &str, fields: &[Field]) -> String {
    // What is not like it at all was not meant.
    let nearest = fields
        .iter()
        .map(|field| (strsim::jaro_winkler(field.name, &key.name), field.name))
        .filter(|(nearness, _)| *nearness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint =
        nearest.map(|(_, name)| format!("; the nearest known key is {name:?}")).unwrap_or_default();
    format!("unknown key {:?} in {object}{hint}", key.name)
}

/// Milliseconds of a duration of Go, which is not negative.
pub(crate) fn go_duration_ms(text: &str) -> Option<u64> {
    model::go_duration_ns(text).ok().filter(|ns| *ns >= 0.0).map(|ns| (ns / 1e6) as u64)
}

/// Bytes of a size such as `15MB`; units are powers of 1024, as in Prometheus. A bare `0` is no limit.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B'))?;
    let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|u| *u == unit)?;
    number.parse::<u64>().ok()?.checked_mul(1024_u64.checked_pow(u32::try_from(power).ok()?)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{OBJECTS, Table, fields, inside};

    #[test]
    fn every_word_of_the_table_is_well_formed() {
        check(&[OBJECTS]);
    }

    /// Tables are text; a slip in one would only show as a wrong error for some user.
    pub(crate) fn check(tables: &[Table]) {
        const SCALARS: [&str; 9] =
            ["str", "int", "num", "float", "bool", "dur", "godur", "size", "any"];
        let rows = || tables.iter().flat_map(|table| table.iter());
        let known = |name: &str| rows().any(|(n, _)| *n == name);
        for (object, spec) in rows() {
            for word in spec.split_whitespace().filter_map(|w| w.strip_prefix('+')) {
                assert!(known(word), "{object}: +{word}");
            }
            let words = spec.split_whitespace().filter(|w| !w.starts_with('+'));
            assert!(words.clone().all(|w| w.contains(':')), "{object}");
            for field in fields(tables, object) {
                let mut shape = field.shape;
                while let Some(item) = inside(shape, '[', ']').or_else(|| inside(shape, '<', '>')) {
                    shape = item;
                }
                let fits = inside(shape, '{', '}').map_or(SCALARS.contains(&shape), known);
                assert!(fits, "{object}.{}: {}", field.name, field.shape);
            }
        }
    }
}
