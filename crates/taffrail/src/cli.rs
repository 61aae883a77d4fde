//! The command line: what can be typed, with examples. Carrying it out is `main`'s, [`crate::run`]'s and
//! [`crate::client`]'s.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;

/// One process for container observability.
#[derive(Debug, Parser)]
#[command(
    name = "taffrail",
    version,
    about = "Metrics, logs and events of this host and its containers, in one process.",
    long_about = "Metrics, logs and events of this host and its containers, in one process.\n\nWithout a command, taffrail runs: it finds \
                  the container engine and the host, stores what they say, and serves UI and APIs on http://127.0.0.1:7245.",
    after_help = "Examples:\n  taffrail                                  watch this host and its containers\n  \
                  taffrail run --config taffrail.yml        the same, with a configuration file\n  \
                  taffrail query 'sum by (name) (rate(container_cpu_usage_seconds_total[1m]))'\n  \
                  taffrail logs -f web                      follow the logs of container web\n  \
                  taffrail check taffrail.yml prometheus.yml",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do; `run` when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`, so that they work without naming it.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `args`, the program's name first, with options of `run` that stand before a command behind it: `taffrail --data-dir X run`
/// is `taffrail run --data-dir X`. Whether the command has such options is for it to say.
pub fn arranged(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut command = &Cli::command();
    let takes_value = |arg: &str| {
        let (name, value) = arg.split_once('=').map_or((arg, None), |(n, v)| (n, Some(v)));
        let is_it = |known: &clap::Arg| match name.strip_prefix("--") {
            Some(long) => known.get_long() == Some(long),
            None => name.strip_prefix('-').and_then(|n| n.chars().next()) == known.get_short(),
        };
        let is_attached = value.is_some() || (!name.starts_with("--") && name.len() > 2);
        let known = name.starts_with('-') && command.get_arguments().any(is_it);
        known.then_some(!is_attached)
    };
    let mut first = 1;
    while let Some(takes_next) = args.get(first).and_then(|arg| takes_value(arg.to_str()?)) {
        first += 1 + usize::from(takes_next);
    }
    let mut behind = first;
    while let Some(inner) = args.get(behind).and_then(|name| command.find_subcommand(name)) {
        command = inner;
        behind += 1;
    }
    if behind > first {
        args[1..behind].rotate_left(first - 1);
    }
    args
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect, store and serve (the default).
    #[command(
        after_help = "Examples:\n  taffrail run\n  taffrail run --config /etc/taffrail/taffrail.yml\n  \
                            taffrail run --data-dir ./data --listen 127.0.0.1:9090 --retention 30d --disk-limit 50GiB"
    )]
    Run(RunArgs),
    /// Ask a running Taffrail with PromQL.
    #[command(
        after_help = "Examples:\n  taffrail query up\n  taffrail query 'rate(node_cpu_seconds_total{mode=\"user\"}[5m])' --since 1h --step 1m\n  \
                            taffrail query 'topk(5, container_memory_working_set_bytes)' --output json"
    )]
    Query(QueryArgs),
    /// Print or follow container logs.
    #[command(
        after_help = "Examples:\n  taffrail logs web                          the last lines of container web\n  \
                            taffrail logs -f web                       follow it\n  \
                            taffrail logs web -i -e error -C 3          errors and what is around them\n  \
                            taffrail logs web --fields level,trace_id   with labels and fields in front\n  \
                            taffrail logs web --raw -n 0 --since 1d > web.log  all lines, byte for byte\n  \
                            taffrail logs '{compose_project=\"shop\"} |= \"error\" | json' --since 6h --limit 500\n  \
                            taffrail logs -f '{job=\"nginx\"}' -o json | jq -c '.streams[]'\n\n\
                      Without such a container the exit code is 1. Levels are coloured on a terminal, unless NO_COLOR is set."
    )]
    Logs(Box<LogsArgs>),
    /// Show one trace: a waterfall of its spans, what it waited for and where it failed.
    #[command(after_help = "Examples:\n  taffrail trace 4bf92f3577b34da6a3ce929d0e0e4736\n  \
                            taffrail trace 4bf92f3577b34da6a3ce929d0e0e4736 --logs      and what was logged meanwhile\n  \
                            taffrail trace 4bf92f3577b34da6a3ce929d0e0e4736 --events --attributes\n\n\
                      Full bars are what the trace waited for (its critical path), light ones ran beside it. In front of a span, ! is an error,\n\
                      * a part of the critical path, ? a warning, which stands below. Without such a trace the exit code is 1.")]
    Trace(TraceArgs),
    /// Find traces with TraceQL, show its metrics, or say what is different about some traces.
    #[command(
        after_help = "Examples:\n  taffrail traces                                          the newest traces\n  \
                            taffrail traces '{ resource.service.name = \"cart\" && duration > 1s }' --since 6h\n  \
                            taffrail traces '{ status = error } >> { name = \"SELECT\" }' -n 5 -o json\n  \
                            taffrail traces '{} | rate() by (resource.service.name)' --since 3h --step 5m\n  \
                            taffrail traces compare '{ name = \"GET /cart\" }' --slower 500ms\n\n\
                      `taffrail trace ID` shows one of them."
    )]
    Traces(Box<TracesArgs>),
    /// Show which metrics, labels and values make the series, or what dropping some would break.
    #[command(
        after_help = "Examples:\n  taffrail cardinality\n  taffrail cardinality '{job=\"shop\"}' --since 12h --limit 5\n  \
                            taffrail cardinality --drop 'http_request_duration_seconds_bucket{handler=\"/health\"}'"
    )]
    Cardinality(CardinalityArgs),
    /// Say how long which log lines are kept, and what the rules of a configuration file would remove.
    #[command(
        after_help = "Examples:\n  taffrail retention                          the rules in force, and what they keep\n  \
                            taffrail retention --config new.yml         what other rules would keep and remove"
    )]
    Retention(RetentionArgs),
    /// List series by selector.
    #[command(
        after_help = "Examples:\n  taffrail series up\n  taffrail series 'node_cpu_seconds_total{mode=\"user\"}' --since 1d --limit 20"
    )]
    Series(SeriesArgs),
    /// List label names, or the values of one label.
    #[command(
        after_help = "Examples:\n  taffrail labels\n  taffrail labels job\n  taffrail labels instance --match 'up{job=\"node\"}'"
    )]
    Labels(LabelsArgs),
    /// Say whether a running Taffrail is well; exits 1 when not.
    #[command(
        after_help = "Examples:\n  taffrail health\n  taffrail health --server http://10.0.0.5:7245 --output json"
    )]
    Health(HealthArgs),
    /// Try out where notifications go.
    #[command(
        after_help = "Examples:\n  taffrail notify test --config.file alertmanager.yml --receiver team-x"
    )]
    Notify {
        /// What of them.
        #[command(subcommand)]
        what: NotifyCommand,
    },
    /// Bring in samples of Prometheus or of OpenMetrics files; a second run goes on where the first one stopped.
    #[command(
        after_help = "Examples:\n  taffrail import tsdb /var/lib/prometheus                      into the running Taffrail\n  \
                            taffrail import tsdb /var/lib/prometheus --dry-run            say what would come in\n  \
                            taffrail import tsdb /var/lib/prometheus --data-dir ./data    into a stopped one\n  \
                            taffrail import openmetrics history.om"
    )]
    Import {
        /// Where samples come from.
        #[command(subcommand)]
        source: ImportSource,
    },
    /// Read configuration files and report each file's mistakes; exits 2 when there is one.
    #[command(
        after_help = "Examples:\n  taffrail check taffrail.yml\n  taffrail check prometheus.yml --output json\n  \
                      taffrail check alertmanager.yml --strict"
    )]
    Check(CheckArgs),
    /// Show the routes of an `alertmanager.yml`, and which receivers an alert goes to.
    #[command(after_help = "Examples:\n  taffrail routes show --config.file alertmanager.yml\n  \
                            taffrail routes test --config.file alertmanager.yml severity=critical team=db")]
    Routes {
        /// What is asked.
        #[command(subcommand)]
        what: RoutesCommand,
    },
    /// Run unit tests for rules.
    #[command(
        after_help = "Examples:\n  taffrail test rules alerts_test.yml\n  taffrail test rules tests/*.yml --run Disk --diff"
    )]
    Test {
        /// What is tested.
        #[command(subcommand)]
        what: TestCommand,
    },
}

/// What is asked about routes.
#[derive(Debug, Clone, Subcommand)]
pub enum RoutesCommand {
    /// Print the tree of routes.
    #[command(after_help = "Examples:\n  taffrail routes show --config.file alertmanager.yml")]
    Show(RoutesShowArgs),
    /// Print the receivers that an alert goes to, from top to bottom.
    #[command(
        after_help = "Examples:\n  taffrail routes test --config.file alertmanager.yml severity=critical\n  \
                      taffrail routes test --config.file alertmanager.yml --tree severity=critical\n  \
                      taffrail routes test --config.file alertmanager.yml --verify.receivers=pager,chat severity=critical"
    )]
    Test(RoutesTestArgs),
}

/// Options of `routes show`.
#[derive(Debug, Clone, Args)]
pub struct RoutesShowArgs {
    /// An `alertmanager.yml`, or a `taffrail.yml` that names one.
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: PathBuf,
}

/// Options of `routes test`.
#[derive(Debug, Clone, Args)]
pub struct RoutesTestArgs {
    /// An `alertmanager.yml`, or a `taffrail.yml` that names one.
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: PathBuf,
    /// The receivers that are expected, with commas between them; when it goes to others the exit code is 1.
    #[arg(long = "verify.receivers", value_name = "NAMES")]
    pub verify_receivers: Option<String>,
    /// Print the routes that match, too.
    #[arg(long)]
    pub tree: bool,
    /// The alert's labels.
    #[arg(value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

/// What `test` tests.
#[derive(Debug, Clone, Subcommand)]
pub enum TestCommand {
    /// Rules, by the files that `promtool test rules` runs; exits 1 when a test fails.
    #[command(after_help = "Examples:\n  taffrail test rules alerts_test.yml\n  \
                            taffrail test rules tests/*.yml --run Disk --diff\n  \
                            taffrail test rules alerts_test.yml --output json")]
    Rules(TestRulesArgs),
}

/// What of notifications.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Tell a receiver of alertmanager.yml of a test alert, once, and say what became of it; exits 1 when not all is well.
    #[command(
        after_help = "Examples:\n  taffrail notify test --config.file alertmanager.yml --receiver team-x\n  \
                            taffrail notify test --config.file alertmanager.yml --receiver team-x --integration slack[1] --label team=x\n  \
                            taffrail notify test --config.file alertmanager.yml --receiver pager --resolved   ends what a test began"
    )]
    Test(NotifyTestArgs),
}

/// Options of `notify test`.
#[derive(Debug, Clone, Args)]
pub struct NotifyTestArgs {
    /// The file with the receiver.
    #[arg(long = "config.file", value_name = "FILE", default_value = "alertmanager.yml")]
    pub config_file: PathBuf,
    /// Name of the receiver.
    #[arg(long, value_name = "NAME")]
    pub receiver: String,
    /// Only this integration of it, such as `email[0]`.
    #[arg(long, value_name = "KIND[N]")]
    pub integration: Option<String>,
    /// Say that the alert is over.
    #[arg(long)]
    pub resolved: bool,
    /// Labels of the alert, beside `alertname` and `severity`.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Where links of the message lead.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7245")]
    pub external_url: String,
}

/// Options of `test rules`.
#[derive(Debug, Clone, Args)]
pub struct TestRulesArgs {
    /// Files of unit tests; paths of rule files in them start from their folders.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only tests whose names match a regular expression; several: that match any of them.
    #[arg(long, value_name = "REGEX")]
    pub run: Vec<String>,
    /// Print the lines that differ instead of what was expected and what was there.
    #[arg(long)]
    pub diff: bool,
    /// Take no offence at keys that rules do not have.
    #[arg(long)]
    pub ignore_unknown_fields: bool,
    /// Allow experimental functions of PromQL.
    #[arg(long)]
    pub experimental: bool,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Options of `run`.
#[derive(Debug, Default, Clone, Args)]
pub struct RunArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "TAFFRAIL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory of all stored data [default: /var/lib/taffrail for root, else ~/.local/share/taffrail].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of HTTP and UI [default: 127.0.0.1:7245].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// How long metrics and logs are kept [default: 15d].
    #[arg(long, value_name = "DURATION")]
    pub retention: Option<String>,
    /// Memory to stay below [default: the cgroup's limit].
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// Disk for stored data; the oldest goes first [default: no limit].
    #[arg(long, value_name = "SIZE")]
    pub disk_limit: Option<String>,
}

impl From<RunArgs> for Overrides {
    fn from(args: RunArgs) -> Self {
        let RunArgs { config, data_dir, listen, retention, memory_limit, disk_limit } = args;
        Self { config, data_dir, listen, retention, memory_limit, disk_limit }
    }
}

/// How to reach a running Taffrail, and how to print.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Address of the running Taffrail.
    #[arg(
        long,
        value_name = "URL",
        env = "TAFFRAIL_SERVER",
        default_value = "http://127.0.0.1:7245"
    )]
    pub server: String,
    /// File whose first line is the bearer token to send.
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The tenant whose log lines are meant, several with `|` between them, where the server has tenants.
    #[arg(long, value_name = "NAME", env = "TAFFRAIL_TENANT")]
    pub tenant: Option<String>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs; the API's answer.
    Json,
}

/// Options of `query`.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// PromQL expression.
    pub expression: String,
    /// Moment to evaluate at: Unix seconds or RFC 3339 [default: now].
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub time: Option<String>,
    /// Evaluate over a range that began this long ago.
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// Distance of points in a range [default: a 60th of it].
    #[arg(long, value_name = "DURATION", requires = "since")]
    pub step: Option<String>,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with logs beside printing them.
#[derive(Debug, Clone, Subcommand)]
pub enum LogsCommand {
    /// Count lines by pattern: what they say once numbers, ids and other values are taken out.
    #[command(
        after_help = "Examples:\n  taffrail logs patterns web                            what container web says, and how often\n  \
                            taffrail logs patterns web --since 10m --new          what it says now and did not the day before\n  \
                            taffrail logs patterns '{app=\"shop\"} |= \"error\"' --since 6h --output json\n\n\
                            A container that is called `patterns` is '{container=\"patterns\"}'. A pattern can be used in queries:\n  \
                            taffrail logs '{container=\"web\"} | __pattern__=\"user <_> logged in\"'"
    )]
    Patterns(LogPatternsArgs),
}

/// Options of `logs patterns`.
#[derive(Debug, Clone, Args)]
pub struct LogPatternsArgs {
    /// Container name, or a LogQL query of a selector and filters [default: all containers].
    pub query: Option<String>,
    /// How far back to count.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Only patterns that did not come before that.
    #[arg(long)]
    pub new: bool,
    /// How far back before that a pattern must not have come to be new.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub lookback: String,
    /// Distance of counts [default: a 250th of --since, at least 10s].
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// Most patterns.
    #[arg(short = 'n', long, value_name = "PATTERNS", default_value_t = 50)]
    pub limit: usize,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `logs`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LogsArgs {
    /// What else to do with logs.
    #[command(subcommand)]
    pub command: Option<LogsCommand>,
    /// Container name, or a LogQL query that starts with `{` [default: all containers].
    pub query: Option<String>,
    /// Keep printing new lines.
    #[arg(short, long)]
    pub follow: bool,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Begin at this moment instead: Unix seconds or RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub from: Option<String>,
    /// End before this moment [default: now].
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub to: Option<String>,
    /// Only lines that match a regular expression; several: that match any of them.
    #[arg(short = 'e', long, value_name = "REGEX")]
    pub grep: Vec<String>,
    /// No lines that match a regular expression.
    #[arg(long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// Take upper and lower case for the same in --grep and --exclude.
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Print so many lines of the same stream before and after each line.
    #[arg(short = 'C', long, value_name = "LINES", default_value_t = 0, conflicts_with = "follow")]
    pub context: usize,
    /// Labels and fields to print in front of lines, with commas between.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Print lines as they came, byte for byte, and nothing else.
    #[arg(long)]
    pub raw: bool,
    /// No colours, also on a terminal.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_color: bool,
    /// Most lines from the past, the newest ones; 0 for all [default: 100].
    #[arg(short = 'n', long, value_name = "LINES")]
    pub limit: Option<usize>,
    /// Print times in front of lines.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `trace`.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Id of the trace: up to 32 hexadecimal digits.
    pub id: String,
    /// Print its log lines below it.
    #[arg(long)]
    pub logs: bool,
    /// Print what happened during spans.
    #[arg(long)]
    pub events: bool,
    /// Print attributes of spans.
    #[arg(long)]
    pub attributes: bool,
    /// Most spans; 0 for all.
    #[arg(short = 'n', long, value_name = "SPANS", default_value_t = 1_000)]
    pub limit: usize,
    /// Columns to fill [default: those of the terminal].
    #[arg(long, value_name = "COLUMNS")]
    pub width: Option<usize>,
    /// No colours, also on a terminal.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_color: bool,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with traces beside finding them.
#[derive(Debug, Clone, Subcommand)]
pub enum TracesCommand {
    /// Say what is different about some traces: in which services and spans time was added, and which attributes they have.
    #[command(
        after_help = "Examples:\n  taffrail traces compare '{ name = \"GET /cart\" }' --slower 500ms         the slow ones with the others\n  \
                            taffrail traces compare '{ status = ok }' '{ status = error }' --since 6h\n  \
                            taffrail traces compare '{}' '{}' --since 10m --baseline-from 2026-01-02T10:00:00Z --baseline-to 2026-01-02T11:00:00Z\n\n\
                            Time is that of spans without their children, for each trace on average; a call counts for the service called."
    )]
    Compare(CompareArgs),
}

/// Options of `traces compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// TraceQL searches: of the usual traces and of those to explain; with --slower one of both.
    #[arg(required = true, num_args = 1..=2, value_name = "QUERY")]
    pub queries: Vec<String>,
    /// Explain traces that took at least so long by those that were faster.
    #[arg(long, value_name = "DURATION")]
    pub slower: Option<String>,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Begin at this moment instead: Unix seconds or RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub from: Option<String>,
    /// End before this moment [default: now].
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Look for the usual traces from this moment on [default: the same time].
    #[arg(long, value_name = "TIME", conflicts_with = "slower")]
    pub baseline_from: Option<String>,
    /// Look for the usual traces before this moment [default: the same time].
    #[arg(long, value_name = "TIME", conflicts_with = "slower")]
    pub baseline_to: Option<String>,
    /// Most traces of each kind, the newest ones.
    #[arg(long, value_name = "TRACES", default_value_t = 500)]
    pub traces: usize,
    /// Rows of each list.
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 10)]
    pub limit: usize,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `traces`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct TracesArgs {
    /// What else to do with traces.
    #[command(subcommand)]
    pub command: Option<TracesCommand>,
    /// TraceQL, a search or a metric [default: all traces].
    pub query: Option<String>,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Begin at this moment instead: Unix seconds or RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub from: Option<String>,
    /// End before this moment [default: now].
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Distance of a metric's points [default: a 100th of the time].
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// Most traces, the newest ones.
    #[arg(short = 'n', long, value_name = "TRACES", default_value_t = 20)]
    pub limit: usize,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `cardinality`.
#[derive(Debug, Clone, Args)]
pub struct CardinalityArgs {
    /// Selector of the series to look at [default: all].
    #[arg(conflicts_with = "drop")]
    pub selector: Option<String>,
    /// Say what dropping the series of this selector would break.
    #[arg(long, value_name = "SELECTOR")]
    pub drop: Option<String>,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "3h")]
    pub since: String,
    /// Rows of each list.
    #[arg(short = 'n', long, value_name = "ROWS", default_value_t = 10)]
    pub limit: usize,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `retention`.
#[derive(Debug, Clone, Args)]
pub struct RetentionArgs {
    /// Configuration file with the rules to look at [default: the rules in force].
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Traces, by service, instead of log streams.
    #[arg(long)]
    pub traces: bool,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `series`.
#[derive(Debug, Clone, Args)]
pub struct SeriesArgs {
    /// Selectors, such as `up{job="node"}`; series of any are listed.
    #[arg(required = true, value_name = "SELECTOR")]
    pub selectors: Vec<String>,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Most series to list; 0 lists all.
    #[arg(short = 'n', long, value_name = "SERIES", default_value_t = 1000)]
    pub limit: usize,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `labels`.
#[derive(Debug, Clone, Args)]
pub struct LabelsArgs {
    /// Label whose values to list [default: the names of all labels].
    pub name: Option<String>,
    /// Only of series of this selector.
    #[arg(long = "match", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Options of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Where and how.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What `import` reads.
#[derive(Debug, Clone, Subcommand)]
pub enum ImportSource {
    /// A Prometheus data directory: its blocks, and the head from its write-ahead log.
    Tsdb {
        /// Prometheus' `--storage.tsdb.path`, or any directory with blocks in it; nothing in it is changed.
        dir: PathBuf,
        /// Leave out what is not in blocks yet.
        #[arg(long)]
        no_head: bool,
        /// Where samples go.
        #[command(flatten)]
        target: ImportTarget,
    },
    /// OpenMetrics text with a time on every sample, as `promtool tsdb create-blocks-from openmetrics` reads it.
    Openmetrics {
        /// Files, read in this order.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where samples go.
        #[command(flatten)]
        target: ImportTarget,
    },
}

impl ImportSource {
    /// Where samples go.
    pub fn target(&self) -> &ImportTarget {
        match self {
            Self::Tsdb { target, .. } | Self::Openmetrics { target, .. } => target,
        }
    }
}

/// Where `import` writes: into a running Taffrail, unless a data directory or its configuration is named.
#[derive(Debug, Clone, Args)]
pub struct ImportTarget {
    /// Address of the running Taffrail.
    #[arg(
        long,
        value_name = "URL",
        env = "TAFFRAIL_SERVER",
        default_value = "http://127.0.0.1:7245"
    )]
    pub server: String,
    /// File whose first line is the bearer token to send.
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Write into this data directory instead; no process may be using it.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write into the data directory of this configuration file, under its settings.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With --data-dir or --config: keep samples this long [default: 15d]. Give the running Taffrail the same, or it
    /// deletes them again.
    #[arg(long, value_name = "DURATION")]
    pub retention: Option<String>,
    /// Say what would be imported, and what is too old, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Start over instead of going on where an earlier run stopped.
    #[arg(long)]
    pub again: bool,
    /// File that remembers how far it came [default: in the data directory, or ~/.local/state/taffrail/import].
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Ways to read matchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Feature {
    /// As before Alertmanager 0.27.
    ClassicMode,
    /// By the UTF-8 grammar alone.
    #[value(name = "utf8-strict-mode")]
    Utf8StrictMode,
}

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// `taffrail.yml`, `prometheus.yml`, `promtail.yml`, `alertmanager.yml` and rule files, known by their content.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Judge an `alertmanager.yml` exactly as Alertmanager does: no variables, no integration switched off.
    #[arg(long)]
    pub strict: bool,
    /// How matchers and names of labels of an `alertmanager.yml` are read, as Alertmanager's flag says it.
    #[arg(long, value_name = "FEATURE", value_enum)]
    pub enable_feature: Option<Feature>,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_command_has_examples() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has no examples", sub.get_name());
        }
    }

    #[test]
    fn options_before_a_command_are_its_own() {
        let check = |typed: &str, expected: &str| {
            let args = arranged(typed.split(' ').map(OsString::from));
            let args: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
            assert_eq!(args.join(" "), expected);
        };
        check("t --data-dir X run", "t run --data-dir X");
        check(
            "t -c a.yml --listen=:1 run --retention 1d",
            "t run -c a.yml --listen=:1 --retention 1d",
        );
        check("t -ca.yml import tsdb dir --quiet", "t import tsdb -ca.yml dir --quiet");
        check("t --config run run", "t run --config run");
        check("t --data-dir X query up -- --config", "t query --data-dir X up -- --config");
        for kept in [
            "t",
            "t run",
            "t --data-dir X",
            "t --data-dir",
            "t --help run",
            "t --nope X run",
            "t - run",
            "t logs run",
        ] {
            check(kept, kept);
        }
        let parse =
            |typed: &str| Cli::try_parse_from(arranged(typed.split(' ').map(OsString::from)));
        let Ok(Cli { command: Some(Command::Run(run)), .. }) = parse("t --data-dir X run -c a.yml")
        else {
            panic!()
        };
        assert_eq!((run.data_dir, run.config), (Some("X".into()), Some("a.yml".into())));
        let refused = parse("t --data-dir X query up").unwrap_err().to_string();
        assert!(
            refused.contains("unexpected argument '--data-dir'") && refused.contains("t query"),
            "{refused}"
        );
    }
}
