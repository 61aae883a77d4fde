//! The command `taffrail`: reads the command line, hands over, and turns outcomes into exit codes.
//!
//! 0: done and well. 1: it failed, or something is not well. 2: the command line or a file is wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use taffrail::cli::{
    self, Cli, Command, LogsCommand, NotifyCommand, RoutesCommand, TestCommand, TracesCommand,
};
use taffrail::{check, client, config, import, notify, routes, run, test_rules};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages. A process that mostly waits then holds three times the memory it uses (56 MB
    // instead of 20 MB, watching 20 containers). Where the kernel refuses, nothing is lost but that.
    let _best_effort = rustix::thread::disable_transparent_huge_pages(true);
    // The one TLS provider; must be there before any client is built.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail("BUG: a TLS provider was installed before main", 1);
    }
    let cli = Cli::parse_from(cli::arranged(std::env::args_os()));
    let command = cli.command.unwrap_or(Command::Run(cli.run));
    let mut out = std::io::stdout().lock();
    let outcome = match command {
        Command::Run(args) => {
            drop(out);
            return match config::load(&args.into(), &environment) {
                Ok(config) => run::run(config)
                    .map_or_else(|error| fail(&chain(&error), 1), |()| ExitCode::SUCCESS),
                Err(mistake) => fail(&mistake.to_string(), 2),
            };
        }
        Command::Check(args) => {
            return check::check(&args, &environment, &mut out)
                .map_or_else(|e| fail(&format!("{e:#}"), 1), ExitCode::from);
        }
        Command::Routes { what: RoutesCommand::Show(args) } => {
            routes::show(&args, &environment, &mut out)
        }
        Command::Routes { what: RoutesCommand::Test(args) } => {
            routes::test(&args, &environment, &mut out)
        }
        Command::Test { what: TestCommand::Rules(args) } => test_rules::test_rules(&args, &mut out),
        Command::Query(args) => block_on(client::query(&args, &mut out)).map(|()| true),
        Command::Logs(args) => match &args.command {
            Some(LogsCommand::Patterns(args)) => {
                block_on(client::log_patterns::patterns(args, &mut out)).map(|()| true)
            }
            None => block_on(client::logs::logs(&args, &mut out)).map(|()| true),
        },
        Command::Trace(args) => {
            block_on(client::traces::waterfall::trace(&args, &mut out)).map(|()| true)
        }
        Command::Traces(args) => match &args.command {
            Some(TracesCommand::Compare(args)) => {
                block_on(client::traces::compare::compare(args, &mut out)).map(|()| true)
            }
            None => block_on(client::traces::traces(&args, &mut out)).map(|()| true),
        },
        Command::Notify { what: NotifyCommand::Test(args) } => {
            block_on(notify::trial::test(&args, &environment, &mut out))
        }
        Command::Import { source } => block_on(import::import(&source, &environment, &mut out)),
        Command::Cardinality(args) => {
            block_on(client::cardinality::cardinality(&args, &mut out)).map(|()| true)
        }
        Command::Retention(args) => {
            block_on(client::retention::retention(&args, &environment, &mut out)).map(|()| true)
        }
        Command::Series(args) => block_on(client::series::series(&args, &mut out)).map(|()| true),
        Command::Labels(args) => block_on(client::series::labels(&args, &mut out)).map(|()| true),
        Command::Health(args) => block_on(client::health(&args, &mut out)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // `taffrail logs | head` closes the pipe; that is not a failure.
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => fail(&chain(&error), 1),
    }
}

/// The error and its causes; errors of the operating system already end in theirs.
fn chain(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !out.ends_with(&cause) {
            out.push_str(if out.is_empty() { "" } else { ": " });
            out.push_str(&cause);
        }
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn fail(message: &str, code: u8) -> ExitCode {
    // Nothing is left to do when even standard error is gone.
    let _best_effort = writeln!(std::io::stderr(), "taffrail: {message}");
    ExitCode::from(code)
}
