//! What of a span says who sent it.

use model::{AttributeValue, Attributes};

use crate::spans::{take, text_of};

/// Names the attribute of the resource that the service's name was taken from.
const SERVICE_SOURCE: &str = "otlp.service.name.source";

/// Attributes that describe resources in OpenTelemetry's conventions, which exporters to Zipkin turn into tags.
const OF_RESOURCES: [&str; 11] = [
    "deployment.environment",
    "deployment.environment.name",
    "opencensus.exporterversion",
    "opencensus.resourcetype",
    "opencensus.starttime",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "process.pid",
    "process.owner",
];
/// The same, by the word they begin with.
const OF_RESOURCES_BEGIN: [&str; 14] = [
    "aws.ecs.",
    "aws.eks.",
    "aws.log.",
    "cloud.",
    "container.",
    "device.",
    "host.",
    "k8s.",
    "os.",
    "process.command",
    "process.executable.",
    "process.runtime.",
    "telemetry.",
    "webengine.",
];

fn is_of_resource(name: &str) -> bool {
    OF_RESOURCES.contains(&name) || OF_RESOURCES_BEGIN.iter().any(|begin| name.starts_with(begin))
}

/// Takes what describes the resource out of `tags`.
pub(super) fn resource(service: String, tags: &mut Attributes) -> Vec<(String, String)> {
    let source = take(tags, SERVICE_SOURCE).and_then(text_of);
    let source = source.filter(|source| !source.is_empty());
    let mut resource = Vec::new();
    if !service.is_empty() {
        resource.push((source.unwrap_or_else(|| "service.name".to_owned()), service));
    }
    tags.retain_mut(|(name, value)| match value {
        AttributeValue::String(text) if is_of_resource(name) => {
            let value = std::mem::take(text);
            match resource.iter_mut().find(|(known, _)| **known == **name) {
                Some((_, known)) => *known = value,
                None => resource.push((name.to_string(), value)),
            }
            false
        }
        _ => true,
    });
    resource
}
