//! Every key Promtail 3 knows, and what of them is refused.
//!
//! The table has the notation of `prometheus_yml::schema`, whose objects it shares.

use crate::prometheus_yml::node::{Node, Placed};
use crate::prometheus_yml::rules;
use crate::prometheus_yml::schema::Table;

/// The object that is the whole file.
pub(super) const FILE: &str = "promtail.yml";

pub(super) const OBJECTS: Table = &[
    (
        FILE,
        "-global:any -server:any -client:{client} -clients:[{client}] positions:{positions} \
        scrape_configs:[{scrape_config}] target_config:{target_config} limits_config:{limits_config} \
        -options:any -tracing:any -wal:any",
    ),
    (
        "client",
        "url:str headers:<str> batchwait:str batchsize:int basic_auth:{basic_auth} external_labels:<str> \
        backoff_config:any drop_rate_limited_batches:bool tenant_id:str timeout:str \
        stream_lag_labels:any name:str follow_redirects:bool enable_http2:bool \
        bearer_token:str bearer_token_file:str oauth2:{oauth2} authorization:{authorization} \
        tls_config:{tls} http_headers:<{http_header}> +proxy",
    ),
    ("positions", "filename:str -sync_period:str -ignore_invalid_yaml:bool"),
    ("target_config", "-sync_period:str stdin:bool"),
    (
        "limits_config",
        "readline_rate_enabled:bool readline_rate:float readline_burst:int readline_rate_drop:bool \
        max_streams:int max_line_size:str max_line_size_truncate:bool",
    ),
    (
        "scrape_config",
        "job_name:str pipeline_stages:[{stage}] encoding:str decompression:{decompression} \
        journal:{journal} syslog:{syslog} loki_push_api:{loki_push_api} relabel_configs:[{relabel}] \
        gelf:{gelf} windows_events:any kafka:any gcplog:any azure_event_hubs:any cloudflare:any \
        heroku_drain:any docker:any \
        static_configs:[{static}] file_sd_configs:[{file_sd}] docker_sd_configs:[{docker_sd}] \
        ~consul_sd_configs:[{consul_sd}] ~consulagent_sd_configs:[any] ~dns_sd_configs:[{dns_sd}] \
        ~kubernetes_sd_configs:[{kubernetes_sd}] ~http_sd_configs:[{http_sd}] \
        ~azure_sd_configs:[{azure_sd}] ~digitalocean_sd_configs:[{plain_sd}] \
        ~dockerswarm_sd_configs:[{dockerswarm_sd}] ~ec2_sd_configs:[{ec2_sd}] ~gce_sd_configs:[{gce_sd}] \
        ~marathon_sd_configs:[{marathon_sd}] ~nerve_sd_configs:[{nerve_sd}] \
        ~openstack_sd_configs:[{openstack_sd}] ~serverset_sd_configs:[{nerve_sd}] \
        ~triton_sd_configs:[{triton_sd}]",
    ),
    ("decompression", "enabled:bool format:str initial_delay:str"),
    ("journal", "json:bool max_age:str path:str matches:str labels:<str>"),
    (
        "syslog",
        "listen_address:str listen_protocol:str idle_timeout:str label_structured_data:bool \
        use_incoming_timestamp:bool use_rfc5424_message:bool max_message_length:int syslog_format:str \
        ~raw_format_options:any -rfc3164_default_to_current_year:bool labels:<str> tls_config:{tls}",
    ),
    ("gelf", "listen_address:str labels:<str> use_incoming_timestamp:bool"),
    ("loki_push_api", "server:{push_server} labels:<str> use_incoming_timestamp:bool"),
    (
        "push_server",
        "http_listen_address:str http_listen_port:int ~http_tls_config:any ~grpc_tls_config:any \
        ~http_path_prefix:str -grpc_listen_port:any -grpc_listen_address:any grpc_listen_network:any \
        grpc_listen_conn_limit:any http_listen_network:any http_listen_conn_limit:any \
        register_instrumentation:any graceful_shutdown_timeout:any http_server_read_timeout:any \
        http_server_read_header_timeout:any http_server_write_timeout:any http_server_idle_timeout:any \
        http_log_closed_connections_without_response_enabled:any proxy_protocol_enabled:any \
        report_grpc_codes_in_instrumentation_label_enabled:any grpc_server_max_recv_msg_size:any \
        grpc_server_max_send_msg_size:any grpc_server_max_concurrent_streams:any \
        grpc_server_max_connection_idle:any grpc_server_max_connection_age:any \
        grpc_server_max_connection_age_grace:any grpc_server_keepalive_time:any \
        grpc_server_keepalive_timeout:any grpc_server_min_time_between_pings:any \
        grpc_server_ping_without_stream_allowed:any grpc_server_num_workers:any log_format:any log_level:any \
        log_source_ips_enabled:any log_source_ips_full:any log_source_ips_header:any \
        log_source_ips_regex:any log_request_headers:any log_request_at_info_level_enabled:any \
        log_request_exclude_headers_list:any profiling_enabled:any enable_runtime_reload:any reload:any \
        health_check_target:any external_url:any disable:any",
    ),
    (
        "stage",
        "docker:{empty} cri:{cri} json:{json_stage} logfmt:{logfmt_stage} regex:{regex_stage} \
        replace:{replace_stage} template:{template_stage} timestamp:{timestamp_stage} \
        output:{output_stage} labels:<str> labeldrop:[str] labelallow:[str] static_labels:<str> \
        structured_metadata:<str> non_indexed_labels:<str> metrics:<{metric}> match:{match_stage} \
        drop:{drop_stage} limit:{limit_stage} multiline:{multiline_stage} pack:{pack_stage} \
        sampling:{sampling_stage} tenant:{tenant_stage} decolorize:{empty} \
        eventlogmessage:{eventlogmessage_stage} geoip:any",
    ),
    ("empty", ""),
    ("cri", "max_partial_lines:int max_partial_line_size:str max_partial_line_size_truncate:bool"),
    ("json_stage", "expressions:<str> source:str drop_malformed:bool"),
    ("logfmt_stage", "mapping:<str> source:str"),
    ("regex_stage", "expression:str source:str"),
    ("replace_stage", "expression:str source:str replace:str"),
    ("template_stage", "source:str template:str"),
    (
        "timestamp_stage",
        "source:str format:str fallback_formats:[str] location:str action_on_failure:str",
    ),
    ("output_stage", "source:str"),
    (
        "metric",
        "type:str description:str source:str prefix:str max_idle_duration:str config:{metric_config}",
    ),
    ("metric_config", "value:str action:str match_all:bool count_entry_bytes:bool buckets:[float]"),
    (
        "match_stage",
        "pipeline_name:str selector:str action:str drop_counter_reason:str stages:[{stage}]",
    ),
    (
        "drop_stage",
        "source:any separator:str value:str expression:str older_than:str longer_than:str \
        drop_counter_reason:str",
    ),
    ("limit_stage", "rate:float burst:int drop:bool by_label_name:str max_distinct_labels:int"),
    ("multiline_stage", "firstline:str max_wait_time:str max_lines:int"),
    ("pack_stage", "labels:[str] ingest_timestamp:bool"),
    ("sampling_stage", "rate:float drop_counter_reason:str"),
    ("tenant_stage", "label:str source:str value:str"),
    ("eventlogmessage_stage", "source:str drop_invalid_labels:bool overwrite_existing:bool"),
];

/// Targets that cannot be read, and why.
const REFUSED: [(&str, &str); 7] = [
    ("windows_events", "Windows' event log is read on Windows only"),
    ("kafka", "Kafka is not read"),
    ("gcplog", "Google Cloud's logs are not read"),
    ("azure_event_hubs", "Azure's event hubs are not read"),
    ("cloudflare", "Cloudflare's logs are not read"),
    ("heroku_drain", "Heroku's drains are not received"),
    ("docker", "use docker_sd_configs"),
];

/// What Promtail demands beyond the types of keys, and what is not supported.
pub(super) fn check(name: &str, node: &Node) -> Result<(), Placed> {
    match name {
        "scrape_config" => {
            for (key, _) in node.entries() {
                if let Some((name, why)) = REFUSED.into_iter().find(|(name, _)| *name == key.name) {
                    return Err((key.line, format!("{name} is not supported: {why}")));
                }
            }
            Ok(())
        }
        "stage" => match node.entries() {
            [(key, _)] if key.name == "geoip" => {
                let why = "geoip is not supported: addresses are not looked up";
                Err((key.line, why.to_owned()))
            }
            [_] => Ok(()),
            [] => Err((node.line, "a stage must have one key, its name".to_owned())),
            [_, (key, _), ..] => Err((
                key.line,
                format!("a stage must have one key; {:?} is a second one", key.name),
            )),
        },
        "target_config" if node.bool_of("stdin") == Some(true) => {
            Err((node.line, "stdin is not supported: there is no standard input".to_owned()))
        }
        _ if OBJECTS.iter().any(|(own, _)| *own == name) => Ok(()),
        _ => rules::check(name, node),
    }
}
