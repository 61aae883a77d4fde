//! Receivers: their names, and what becomes of each of their integrations.

use std::collections::BTreeSet;

use alert::expand::alertmanager::Templates;
use alert::receiver::{Integration, Receiver};

use super::fields::Fields;
use super::globals::Globals;
use super::{Reading, SwitchedOff, integrations, key_line, keys, line_of};
use crate::prometheus_yml::node::{Key, Node, Placed, Value};

/// Integrations that Alertmanager does not have.
const OWN: [&str; 2] = ["matrix", "ntfy"];

/// All receivers of a file.
#[derive(Default)]
pub(super) struct Receivers {
    pub(super) found: Vec<Receiver>,
    pub(super) switched_off: Vec<SwitchedOff>,
    /// Names that routes may use.
    pub(super) names: BTreeSet<String>,
}

impl Reading<'_> {
    pub(super) fn receivers(&mut self, root: &Node, globals: &Globals) -> Receivers {
        let mut all = Receivers::default();
        for node in root.get("receivers").map(Node::items).unwrap_or_default() {
            self.walk("receiver", node);
            let name = node.text_of("name").unwrap_or("");
            if name.is_empty() {
                self.mistakes.push((key_line(node, "name"), "missing name in receiver".to_owned()));
            } else if !all.names.insert(name.to_owned()) {
                let why = format!("notification config name {name:?} is not unique");
                self.mistakes.push((line_of(node, "name"), why));
            }
            let mut receiver = Receiver { name: name.to_owned(), integrations: Vec::new() };
            for (key, list) in node.entries() {
                let Some(kind) = key.name.strip_suffix("_configs") else { continue };
                if self.options.strict && OWN.contains(&kind) {
                    let why =
                        format!("unknown key {:?} in receiver: Alertmanager has none", key.name);
                    self.mistakes.push((key.line, why));
                }
                for (place, item) in list.items().iter().enumerate() {
                    match self.integration(kind, item, globals) {
                        Ok(integration) => receiver.integrations.extend(integration),
                        Err((line, reason)) if !self.options.strict => {
                            let integration = format!("{kind}[{place}]");
                            let why = format!(
                                "receiver {name:?}: {integration} is switched off: {reason}"
                            );
                            self.warnings.push((line, why));
                            let receiver = name.to_owned();
                            all.switched_off.push(SwitchedOff { receiver, integration, reason });
                        }
                        Err(mistake) => self.mistakes.push(mistake),
                    }
                }
            }
            let has_some = all.switched_off.iter().any(|off| off.receiver == receiver.name);
            if receiver.integrations.is_empty() && has_some {
                let why = format!("receiver {name:?} has nothing left: its alerts are told nobody");
                self.warnings.push((node.line, why));
            }
            all.found.push(receiver);
        }
        all
    }

    /// One integration; `None` when mistakes in it were noted, or its kind was.
    fn integration(
        &mut self,
        kind: &str,
        item: &Node,
        globals: &Globals,
    ) -> Result<Option<Integration>, Placed> {
        if !integrations::is_known(kind) {
            return Ok(None);
        }
        if item.value == Value::Null {
            return Err((item.line, format!("{kind}_configs has an empty or null item")));
        }
        let mut item = item.clone();
        self.expand(&mut item)?;
        if !self.options.strict {
            self.take_what_is_meant(kind, &mut item);
        }
        let mut is_wrong = false;
        for mistake in self.mistakes_of(kind, &item) {
            let (line, why) = mistake.placed;
            if self.options.strict {
                self.mistakes.push((line, why));
                is_wrong = true;
            } else if mistake.unknown_in.is_some() {
                self.warnings.push((line, format!("{why}; it is not read")));
            } else {
                return Err((line, why));
            }
        }
        if is_wrong {
            return Ok(None);
        }
        let dir = globals.dir();
        let fields = Fields { node: &item, dir, strict: self.options.strict };
        let found = integrations::read(kind, &fields, globals)?;
        if !self.options.strict {
            self.check_templates(&item);
        }
        Ok(Some(found))
    }

    /// Gives keys that people write the names that are meant.
    fn take_what_is_meant(&mut self, kind: &str, item: &mut Node) {
        let Value::Map(entries) = &mut item.value else { return };
        let has = |entries: &[(Key, Node)], name: &str| entries.iter().any(|(k, _)| k.name == name);
        for at in 0..entries.len() {
            let key = entries[at].0.clone();
            let Some(meant) = keys::meant(kind, &key.name) else { continue };
            let (object, right) = (kind, meant.right);
            let why = format!("there is no key {:?} in {object}: read as {right}", key.name);
            self.warnings.push((key.line, why));
            match (key.name.as_str(), meant.key) {
                ("subject", headers) => {
                    let (_, value) = entries.remove(at);
                    let line = value.line;
                    let subject = (Key { line, name: "Subject".to_owned() }, value);
                    match entries.iter_mut().find(|(k, _)| k.name == headers) {
                        Some((_, Node { value: Value::Map(others), .. })) => others.push(subject),
                        _ => {
                            let value = Value::Map(vec![subject]);
                            let key = Key { line, name: headers.to_owned() };
                            entries.push((key, Node { line, value }));
                        }
                    }
                    // What stands behind has moved.
                    return self.take_what_is_meant(kind, item);
                }
                (name, meant) if !has(entries, meant) => {
                    entries[at].0.name = meant.to_owned();
                    // A text is meant to be the whole message.
                    if name == "body" && !has(entries, "html") {
                        let html = Key { line: key.line, name: "html".to_owned() };
                        entries.push((html, Node { line: key.line, value: Value::Null }));
                    }
                }
                _ => {}
            }
        }
    }

    /// Warns of texts that are no templates: they would be sent with the error in them.
    pub(super) fn check_templates(&mut self, node: &Node) {
        match &node.value {
            Value::Text(text) if text.contains("{{") => {
                if let Err(e) = Templates::new().check(text) {
                    self.warnings.push((node.line, e.message().to_owned()));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.check_templates(item)),
            Value::Map(entries) => {
                entries.iter().for_each(|(_, value)| self.check_templates(value))
            }
            _ => {}
        }
    }
}
