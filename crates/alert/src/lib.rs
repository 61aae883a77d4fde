//! Alerting: rules and their evaluation, the states of alerts.
//!
//! Owns: rules as data ([`rule`]), one evaluation of one rule and what it remembers between two ([`evaluate`]), what
//! templates of rules and notifications can do ([`expand`]), conditions on labels ([`matcher`]). Will own routing, silences and notifiers. Does not own: YAML
//! (`taffrail`), when rules are evaluated and where their samples go; it never scrapes, stores or speaks HTTP.
//! Synchronous: whoever has a clock drives it.

pub mod evaluate;
pub mod expand;
pub mod matcher;
pub mod rule;
