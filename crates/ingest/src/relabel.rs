//! Relabelling as Prometheus 3 does it: a list of rules that rewrite, keep or drop a label set.
//!
//! Owns: the eleven actions, their validation and defaults. Does not own: reading rules from files (the binary's
//! configuration) and the meaning of `__meta_*` labels (discovery).

mod md5;
#[cfg(test)]
mod tests;

use model::{Error, Labels, LabelsBuilder, Result, anchored_regex};
use regex::Regex;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets the target label to the expanded replacement if the regex matches.
    Replace,
    /// Drops everything that does not match.
    Keep,
    /// Drops everything that matches.
    Drop,
    /// Keeps what has the source value in the target label.
    KeepEqual,
    /// Drops what has the source value in the target label.
    DropEqual,
    /// Sets the target label to a hash of the source value, modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to the names the replacement gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source value in lower case.
    Lowercase,
    /// Sets the target label to the source value in upper case.
    Uppercase,
}

impl Action {
    /// Every action with its name in configuration files.
    pub const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    /// The action called `name`, in any case of letters as Prometheus reads it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, a)| a)
    }

    /// Its name in configuration files.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, a)| *a == self).map_or("", |(n, _)| n)
    }
}

/// A rule as written; `None` is "not given", for which [`Rule::new`] puts Prometheus' default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleConfig {
    /// Labels whose values are joined to the source value.
    pub source_labels: Option<Vec<String>>,
    /// Between the joined values; default `;`.
    pub separator: Option<String>,
    /// Anchored regular expression; default `(.*)`.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: Option<u64>,
    /// Label to write; may contain `$1` for `replace`.
    pub target_label: Option<String>,
    /// Value to write; default `$1`.
    pub replacement: Option<String>,
    /// Default `replace`.
    pub action: Option<Action>,
}

const REGEX_DEFAULT: &str = "(.*)";

/// One checked rule, ready to run.
#[derive(Debug, Clone)]
pub struct Rule {
    config: RuleConfig,
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    regex_is_default: bool,
    modulus: u64,
    target_label: String,
    replacement: String,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Rule {
    /// Checks a rule and compiles its regex.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) naming the field Prometheus would refuse, too.
    ///
    /// Source: Prometheus configuration reference, `relabel_config`.
    pub fn new(config: RuleConfig) -> Result<Self> {
        let action = config.action.unwrap_or(Action::Replace);
        let name = action.as_str();
        let target_label = config.target_label.clone().unwrap_or_default();
        let replacement = config.replacement.clone().unwrap_or_else(|| "$1".to_owned());
        let separator = config.separator.clone().unwrap_or_else(|| ";".to_owned());
        let modulus = config.modulus.unwrap_or(0);
        let source_labels = config.source_labels.clone().unwrap_or_default();
        let pattern = config.regex.clone().unwrap_or_else(|| REGEX_DEFAULT.to_owned());
        let regex = anchored_regex(&pattern).map_err(|e| e.context("regex"))?;
        let regex_is_default = pattern == REGEX_DEFAULT;
        let separator_is_default = separator == ";";
        let replacement_is_default = replacement == "$1";

        let invalid = |what: String| Err(Error::invalid(what));
        if action == Action::HashMod && modulus == 0 {
            return invalid(format!("{name} needs a modulus above 0"));
        }
        let writes = matches!(
            action,
            Action::Replace
                | Action::HashMod
                | Action::Lowercase
                | Action::Uppercase
                | Action::KeepEqual
                | Action::DropEqual
        );
        if writes && target_label.is_empty() {
            return invalid(format!("{name} needs a target_label"));
        }
        if writes
            && action != Action::Replace
            && target_label.contains('$')
            && action != Action::KeepEqual
            && action != Action::DropEqual
        {
            return invalid(format!("target_label {target_label:?} of {name} may not contain $"));
        }
        if matches!(action, Action::Lowercase | Action::Uppercase) && !replacement_is_default {
            return invalid(format!("{name} takes no replacement"));
        }
        if action == Action::LabelMap && replacement.is_empty() {
            return invalid("replacement of labelmap may not be empty".to_owned());
        }
        if matches!(action, Action::KeepEqual | Action::DropEqual)
            && !(regex_is_default && modulus == 0 && separator_is_default && replacement_is_default)
        {
            return invalid(format!("{name} takes only source_labels and target_label"));
        }
        if matches!(action, Action::LabelDrop | Action::LabelKeep)
            && !(source_labels.is_empty()
                && target_label.is_empty()
                && modulus == 0
                && separator_is_default
                && replacement_is_default)
        {
            return invalid(format!("{name} takes only regex"));
        }
        Ok(Self {
            config,
            action,
            source_labels,
            separator,
            regex,
            regex_is_default,
            modulus,
            target_label,
            replacement,
        })
    }

    /// The rule as written, with every default filled in.
    pub fn effective(&self) -> RuleConfig {
        RuleConfig {
            source_labels: Some(self.source_labels.clone()),
            separator: Some(self.separator.clone()),
            regex: Some(self.config.regex.clone().unwrap_or_else(|| REGEX_DEFAULT.to_owned())),
            modulus: Some(self.modulus),
            target_label: Some(self.target_label.clone()),
            replacement: Some(self.replacement.clone()),
            action: Some(self.action),
        }
    }

    /// Applies the rule; `false` means the set is dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let source = self.source(labels);
        match self.action {
            Action::Drop => return !self.regex.is_match(&source),
            Action::Keep => return self.regex.is_match(&source),
            Action::DropEqual => return labels.get(&self.target_label) != source,
            Action::KeepEqual => return labels.get(&self.target_label) == source,
            Action::Replace => self.replace(labels, &source),
            Action::Lowercase => labels.set(&self.target_label, &source.to_lowercase()),
            Action::Uppercase => labels.set(&self.target_label, &source.to_uppercase()),
            Action::HashMod => {
                let hash = md5::last_half(source.as_bytes()) % self.modulus;
                labels.set(&self.target_label, &hash.to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut source = String::new();
        for (i, name) in self.source_labels.iter().enumerate() {
            if i > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name));
        }
        source
    }

    fn replace(&self, labels: &mut LabelsBuilder, source: &str) {
        if self.regex_is_default
            && !self.target_label.contains('$')
            && !self.replacement.contains('$')
        {
            labels.set(&self.target_label, &self.replacement);
            return;
        }
        let Some(captures) = self.regex.captures(source) else { return };
        let mut target = String::new();
        captures.expand(&self.target_label, &mut target);
        if target.is_empty() {
            return;
        }
        let mut value = String::new();
        captures.expand(&self.replacement, &mut value);
        labels.set(&target, &value);
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let before: Vec<(String, String)> =
            labels.pairs().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        for (name, value) in before {
            if let Some(captures) = self.regex.captures(&name) {
                let mut target = String::new();
                captures.expand(&self.replacement, &mut target);
                if !target.is_empty() {
                    labels.set(&target, &value);
                }
            }
        }
    }
}

/// Runs `rules` in order over `labels`; `false` means the set is dropped.
pub fn apply(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// Runs `rules` over finished labels; `None` when they are dropped. Without rules, the same allocation comes back.
pub fn apply_to(rules: &[Rule], labels: &Labels) -> Option<Labels> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.to_builder();
    apply(rules, &mut builder).then(|| builder.build())
}
