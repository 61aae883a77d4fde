//! `taffrail routes`: the tree of an `alertmanager.yml`'s routes, and which receivers an alert goes to, in amtool's form.
//!
//! Owns: reading the file and printing. Does not own: matching (`alert::route`), what of the file is remarkable, which
//! `taffrail check` says.

use std::io::Write;
use std::path::Path;

use alert::config::Config;
use alert::matcher::{Op, Syntax};
use alert::route::Route;
use anyhow::{Context as _, Result, bail};
use model::Labels;

use crate::alertmanager_yml::{self, Options};
use crate::cli::{RoutesShowArgs, RoutesTestArgs};
use crate::config::{self, Overrides};
use crate::expand::Environment;

/// Prints the tree of routes.
///
/// # Errors
/// The mistakes of the file; when the answer cannot be printed.
pub fn show(args: &RoutesShowArgs, env: Environment<'_>, out: &mut impl Write) -> Result<bool> {
    let config = load(&args.config_file, env)?;
    let mut tree = String::from(".\n");
    let shown = |route: &Route| {
        let goes_on = if route.continues { "  continue: true" } else { "" };
        Some(format!("{}{goes_on}  receiver: {}", name(route), route.receiver))
    };
    draw(&config.route, &shown, "", true, &mut tree);
    writeln!(out, "Routing tree:\n{tree}")?;
    Ok(true)
}

/// Prints the receivers that an alert with the given labels goes to; false when they are not those expected.
///
/// # Errors
/// The mistakes of the file and of the labels; when the answer cannot be printed.
pub fn test(args: &RoutesTestArgs, env: Environment<'_>, out: &mut impl Write) -> Result<bool> {
    let config = load(&args.config_file, env)?;
    let labels = labels(&args.labels)?;
    let found = config.route.matching(&labels);
    if args.tree {
        let mut tree = String::from(".\n");
        let shown = |route: &Route| {
            if found.iter().any(|other| other.id == route.id) {
                return Some(format!("{}  receiver: {}", name(route), route.receiver));
            }
            let inner = format!("{}/", route.id);
            found.iter().any(|other| other.id.starts_with(&inner)).then(|| name(route))
        };
        draw(&config.route, &shown, "", true, &mut tree);
        writeln!(out, "Matching routes:\n{tree}\n")?;
    }
    let receivers: Vec<&str> = found.iter().map(|route| route.receiver.as_str()).collect();
    let receivers = receivers.join(",");
    writeln!(out, "{receivers}")?;
    match &args.verify_receivers {
        Some(expected) if *expected != receivers => {
            writeln!(out, "WARNING: Expected receivers did not match resolved receivers.")?;
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Reads an `alertmanager.yml`, or the one that a `taffrail.yml` names.
fn load(file: &Path, env: Environment<'_>) -> Result<Config> {
    let read = |file: &Path| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let mut path = file.to_owned();
    let mut text = read(file)?;
    if !alertmanager_yml::looks_like_alertmanager(&text)
        && let Ok(config) =
            config::load(&Overrides { config: Some(path.clone()), ..Overrides::default() }, env)
        && let Some(other) = config.alertmanager
    {
        text = read(&other)?;
        path = other;
    }
    match alertmanager_yml::load(&path, &text, Options::default(), env) {
        Ok(loaded) => Ok(loaded.config),
        Err(mistakes) => {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            bail!("{}", mistakes.join("\n"))
        }
    }
}

/// Labels written as `name=value`.
fn labels(texts: &[String]) -> Result<Labels> {
    let mut pairs = Vec::new();
    for text in texts {
        let matcher = Syntax::Fallback.parse_one(text).map_err(|e| anyhow::anyhow!("{e}"))?;
        if matcher.op() != Op::Equal {
            bail!("label {text:?}: labels must be specified as key=value pairs");
        }
        pairs.push((matcher.name().to_owned(), matcher.value().to_owned()));
    }
    // Of labels with one name the last one counts.
    let mut builder = Labels::default().to_builder();
    pairs.iter().for_each(|(name, value)| builder.set(name, value));
    Ok(builder.build())
}

/// The matchers, by which a route is known.
fn name(route: &Route) -> String {
    match route.matchers.0.is_empty() {
        true => "default-route".to_owned(),
        false => route.matchers.to_string(),
    }
}

/// Adds a route, behind `prefix`, and those inside of it; `shown` says how, and hides a route with all inside of it.
fn draw(
    route: &Route,
    shown: &dyn Fn(&Route) -> Option<String>,
    prefix: &str,
    is_last: bool,
    out: &mut String,
) {
    let Some(line) = shown(route) else { return };
    // Blanks that do not break, where amtool has them.
    let (own, inner) =
        if is_last { ("└── ", "    ") } else { ("├── ", "│\u{a0}\u{a0} ") };
    out.push_str(&format!("{prefix}{own}{line}\n"));
    let inside: Vec<&Route> = route.routes.iter().filter(|route| shown(route).is_some()).collect();
    let prefix = format!("{prefix}{inner}");
    for (i, route) in inside.iter().enumerate() {
        draw(route, shown, &prefix, i + 1 == inside.len(), out);
    }
}
