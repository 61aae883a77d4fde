//! Alerting: rules and their evaluation, the states of alerts, whom they are told.
//!
//! Owns:
//! - rules as data ([`rule`]), one evaluation of one rule and what it remembers between two ([`evaluate`]);
//! - groups of rules ([`group`]) and when they are evaluated ([`schedule`]);
//! - the seam behind which alerts of rules are told ([`sink`]);
//! - conditions on labels ([`matcher`]), the routes made of them ([`route`]), times in which those are muted ([`time_interval`]);
//! - whom notifications go to ([`receiver`]);
//! - what templates of rules and notifications can do ([`expand`]).
//!
//! Will own silences, inhibition and notifiers. Does not own: YAML (`taffrail`), threads, where the samples of rules go; it
//! never scrapes, stores or speaks HTTP. Synchronous: whoever has a clock drives it.

pub mod evaluate;
pub mod expand;
pub mod group;
pub mod matcher;
pub mod receiver;
pub mod route;
pub mod rule;
pub mod schedule;
pub mod sink;
pub mod time_interval;
