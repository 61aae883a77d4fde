//! Alerting: rule evaluation, alert state, routing, silences, notifiers and their templates.
//!
//! Owns nothing yet: this release stores and queries, it does not alert. The room exists so that the direction of
//! data (query → alert → notifiers) is fixed from the start. It will never scrape, store samples or speak HTTP itself.
