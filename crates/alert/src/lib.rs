//! Alerting: rules and their evaluation, the states of alerts, whom they are told.
//!
//! Owns:
//! - rules as data ([`rule`]), one evaluation of one rule and what it remembers between two ([`evaluate`]);
//! - groups of rules ([`group`]) and when they are evaluated ([`schedule`]);
//! - the seam behind which alerts of rules are told ([`sink`]);
//! - conditions on labels ([`matcher`]), the routes made of them ([`route`]), times in which those are muted ([`time_interval`]);
//! - alerts as they are handed over ([`active`]), what keeps them silent ([`inhibit`], [`silence`]), and their way through
//!   groups ([`dispatch`]) and what was told before ([`notification_log`]) into the [`outbox`];
//! - whom notifications go to ([`receiver`]), and all of that as a configuration ([`config`]);
//! - what receivers are told and what their answers mean ([`notify`]);
//! - records of what is remembered ([`record`]);
//! - what templates of rules and notifications can do ([`expand`]).
//!
//! Does not own: YAML (`taffrail`), threads, where the samples of rules go; it never scrapes, stores or speaks HTTP.
//! Synchronous: whoever has a clock drives it.

pub mod active;
pub mod config;
pub mod dispatch;
pub mod evaluate;
pub mod expand;
pub mod group;
pub mod inhibit;
pub mod matcher;
pub mod notification_log;
pub mod notify;
pub mod outbox;
pub mod receiver;
pub mod record;
pub mod route;
pub mod rule;
pub mod schedule;
pub mod silence;
pub mod sink;
pub mod time_interval;
