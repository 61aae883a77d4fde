//! The `otlp` block: how OTLP metrics become series. Its values were checked when the file was read.

use std::collections::BTreeSet;

use ingest::otlp::names::Strategy;
use ingest::otlp::translate::{Config, Promote};

use super::node::Node;

/// Settings of the block, with Prometheus' defaults for what it does not say.
pub(super) fn settings(node: Option<&Node>) -> Config {
    let defaults = Config::default();
    let Some(node) = node else { return defaults };
    let flag = |key: &str, default: bool| node.bool_of(key).unwrap_or(default);
    let names = |key: &str| -> BTreeSet<String> {
        node.texts_of(key).into_iter().map(|text| text.trim().to_owned()).collect()
    };
    Config {
        strategy: node
            .text_of("translation_strategy")
            .and_then(Strategy::from_name)
            .unwrap_or(defaults.strategy),
        promote: if flag("promote_all_resource_attributes", false) {
            Promote::AllBut(names("ignore_resource_attributes"))
        } else {
            Promote::These(names("promote_resource_attributes"))
        },
        keep_identifying: flag("keep_identifying_resource_attributes", defaults.keep_identifying),
        custom_buckets: flag("convert_histograms_to_nhcb", defaults.custom_buckets),
        promote_scope: flag("promote_scope_metadata", defaults.promote_scope),
        key_before_underscore: flag(
            "label_name_underscore_sanitization",
            defaults.key_before_underscore,
        ),
        keep_underscores: flag(
            "label_name_preserve_multiple_underscores",
            defaults.keep_underscores,
        ),
    }
}
