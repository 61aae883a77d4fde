//! Alerting: rules and their evaluation, the states of alerts, whom they are told.
//!
//! Owns:
//! - rules as data ([`rule`]), one evaluation of one rule and what it remembers between two ([`evaluate`]);
//! - conditions on labels ([`matcher`]), the routes made of them ([`route`]), times in which those are muted ([`time_interval`]);
//! - whom notifications go to ([`receiver`]);
//! - what templates of rules and notifications can do ([`expand`]).
//!
//! Will own silences, inhibition and notifiers. Does not own: YAML (`taffrail`), when rules are evaluated and where their samples
//! go; it never scrapes, stores or speaks HTTP. Synchronous: whoever has a clock drives it.

pub mod evaluate;
pub mod expand;
pub mod matcher;
pub mod receiver;
pub mod route;
pub mod rule;
pub mod time_interval;
