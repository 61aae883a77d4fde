//! Reads `alertmanager.yml` as it is and turns it into an [`alert::config::Config`].
//!
//! Owns: every key Alertmanager knows (`keys.rs`), its defaults and refusals (`routes.rs`, `intervals.rs`, `globals.rs`,
//! `integrations.rs`), and what is made of files that Alertmanager would refuse: an integration that cannot work is
//! switched off by name, a key that means nothing is warned of, and times over midnight mean both sides of it. With
//! [`Options::strict`] nothing of that: what Alertmanager refuses is refused, and what it takes is taken. Does not own:
//! sending anything, the content of template files. All mistakes are told at once.

mod fields;
mod globals;
mod integrations;
mod intervals;
mod keys;
mod placeholders;
mod receivers;
mod routes;
#[cfg(test)]
mod tests;

use std::path::Path;

use alert::config::Config;
use alert::expand::alertmanager::Templates;
use alert::matcher::Syntax;
use alert::notify::default_templates;
use alert::route::Route;

use crate::prometheus_yml::node::{Node, Placed, Value};
use crate::prometheus_yml::{Environment, dump, expand, mistake, schema};
use crate::test_rules::glob;
use crate::yaml::ConfigError;

use self::globals::Globals;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Judges exactly as Alertmanager does.
    pub strict: bool,
    /// How matchers and names of labels are read.
    pub syntax: Syntax,
}

/// What a file says, and what is remarkable about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says, without the integrations that are switched off.
    pub config: Config,
    /// Integrations that cannot work; warned of, too.
    pub switched_off: Vec<SwitchedOff>,
    /// The file itself, without comments and secrets.
    pub yaml: String,
    /// What has no effect, is switched off, or is read in a way that its writer may not expect; with places.
    pub warnings: Vec<ConfigError>,
}

/// An integration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchedOff {
    /// Name of its receiver.
    pub receiver: String,
    /// `slack[0]`: its kind and its place among those of its kind in the file.
    pub integration: String,
    /// Why, and what to write instead.
    pub reason: String,
}

/// After how long an alert that does not say when it ends is over, milliseconds.
const RESOLVE_TIMEOUT_MS: u64 = 5 * 60_000;

/// What is found while a file is read.
struct Reading<'a> {
    options: Options,
    /// Relative paths start here.
    dir: &'a Path,
    env: Environment<'a>,
    file: String,
    mistakes: Vec<Placed>,
    warnings: Vec<Placed>,
}

/// Reads the file `text` that lies at `path`; relative paths in it start from its folder. `env` looks up environment
/// variables, which stand as `${VAR}` or `${VAR:-default}` in values unless the reading is strict.
///
/// # Errors
/// All mistakes, each with its place; no mistake of content is told of a file that is no YAML.
pub fn load(
    path: &Path,
    text: &str,
    options: Options,
    env: Environment<'_>,
) -> Result<Loaded, Vec<ConfigError>> {
    let place = |placed| mistake(path, text, placed);
    let mut reading = Reading {
        options,
        dir: path.parent().unwrap_or(Path::new("")),
        env,
        file: path.display().to_string(),
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(says_nothing) {
        return Err(vec![place((1, "no route provided in config".to_owned()))]);
    }
    let root = Node::parse(text).map_err(|placed| vec![place(placed)])?;
    let read = reading.config(root);
    let Reading { mut mistakes, mut warnings, .. } = reading;
    mistakes.sort_by_key(|(line, _)| *line);
    warnings.sort_by_key(|(line, _)| *line);
    match read {
        Some((config, switched_off, yaml)) if mistakes.is_empty() => {
            let warnings = warnings.into_iter().map(place).collect();
            Ok(Loaded { config, switched_off, yaml, warnings })
        }
        _ => Err(mistakes.into_iter().map(place).collect()),
    }
}

/// Reads the template files of `config`, on top of the default templates.
///
/// # Errors
/// Each file that cannot be read, and each that is no template, in Go's words.
pub fn templates(config: &Config) -> Result<Templates, Vec<ConfigError>> {
    let (mut templates, mut mistakes) = (default_templates(), Vec::new());
    for path in config.templates.iter().flat_map(|pattern| glob(Path::new(""), Path::new(pattern)))
    {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let added = match std::fs::read_to_string(&path) {
            Ok(text) => templates.add(&name.unwrap_or_default(), &text).map_err(|e| {
                let message = e.message().to_owned();
                ConfigError::whole_file(&path, message)
            }),
            Err(e) => Err(ConfigError::whole_file(&path, format!("cannot read: {e}"))),
        };
        mistakes.extend(added.err());
    }
    if mistakes.is_empty() { Ok(templates) } else { Err(mistakes) }
}

/// Patterns of template files that no file matches.
pub fn missing_templates(config: &Config) -> Vec<&str> {
    let is_missing = |pattern: &&str| glob(Path::new(""), Path::new(pattern)).is_empty();
    config.templates.iter().map(String::as_str).filter(is_missing).collect()
}

/// Whether `text` is an `alertmanager.yml`: it has keys, at the start of a line, that no other file has.
pub fn looks_like_alertmanager(text: &str) -> bool {
    const KEYS: [&str; 5] =
        ["route:", "receivers:", "inhibit_rules:", "mute_time_intervals:", "time_intervals:"];
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    // Collectors of OpenTelemetry have receivers, too.
    KEYS.iter().any(|key| has(key)) && !(has("service:") && has("exporters:"))
}

impl Reading<'_> {
    /// All of the file; `None` with mistakes only.
    fn config(&mut self, mut root: Node) -> Option<(Config, Vec<SwitchedOff>, String)> {
        self.expand_all(&mut root);
        self.walk("alertmanager.yml", &root);
        let globals = Globals::read(self, root.get("global"));
        let receivers = self.receivers(&root, &globals);
        let time_intervals = self.time_intervals(&root);
        let inhibit_rules = self.inhibit_rules(&root);
        let route = self.root_route(&root, &receivers.names, &time_intervals);
        let templates = root.texts_of("templates").into_iter();
        let config = Config {
            resolve_timeout_ms: globals.resolve_timeout_ms.unwrap_or(RESOLVE_TIMEOUT_MS),
            templates: templates
                .map(|path| self.dir.join(path).to_string_lossy().into_owned())
                .collect(),
            route: Route::new(route?),
            receivers: receivers.found,
            inhibit_rules,
            time_intervals,
        };
        Some((config, receivers.switched_off, dump::file(&placeholders::masked(root))))
    }

    /// Checks `node` against the object called `name`. A key that means nothing is only warned of in the file as a whole, in
    /// receivers and in what is global: who mistypes a route must not wonder where alerts went.
    fn walk(&mut self, name: &str, node: &Node) {
        for mistake in self.mistakes_of(name, node) {
            let (line, why) = mistake.placed;
            let is_lenient = match (name, mistake.unknown_in.as_deref()) {
                ("global", Some(_)) => true,
                ("alertmanager.yml" | "receiver", Some(object)) => object == name,
                _ => false,
            };
            if is_lenient && !self.options.strict {
                self.warnings.push((line, format!("{why}; it is not read")));
            } else {
                self.mistakes.push((line, why));
            }
        }
    }

    fn mistakes_of(&mut self, name: &str, node: &Node) -> Vec<schema::Mistake> {
        let mut notes = Vec::new();
        let tables = [keys::OBJECTS, schema::OBJECTS];
        let mistakes = schema::Walk {
            tables: &tables,
            file: &self.file,
            notes: &mut notes,
            check: &keys::check,
        }
        .mistakes(name, node, false);
        for note in notes {
            self.warnings.push((note.line, format!("{}: {}", note.key, note.text())));
        }
        mistakes
    }

    /// Expands variables in all but integrations and what is global, which are looked at one by one.
    fn expand_all(&mut self, root: &mut Node) {
        if self.options.strict {
            return;
        }
        let Value::Map(entries) = &mut root.value else { return };
        for (key, value) in entries {
            if !matches!(key.name.as_str(), "global" | "receivers") {
                self.mistakes.extend(self.expand(value).err());
            }
        }
    }

    /// Expands the variables in `node`.
    fn expand(&self, node: &mut Node) -> Result<(), Placed> {
        if self.options.strict { Ok(()) } else { expand::expand(node, self.env, false) }
    }
}

/// The line of the value of `key`, or of `node` itself.
fn line_of(node: &Node, key: &str) -> usize {
    node.get_or_null(key).map_or(node.line, |value| value.line.max(node.line))
}

/// The line on which `key` itself stands.
fn key_line(node: &Node, key: &str) -> usize {
    let found = node.entries().iter().find(|(k, _)| k.name == key);
    found.map_or(node.line, |(key, _)| key.line)
}
