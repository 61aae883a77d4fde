//! Where spans come from: the container that their sender runs in, and this host, where their resource does not say so.
//!
//! A container is known by its id (`container.id`, or `host.name` where that is the id's first digits, as Docker has it by
//! default), otherwise by the address that the request came from, unless somebody may have passed on what others made.
//! Nothing that was sent is changed. Does not own: which containers there are (`collect`).

use std::net::IpAddr;
use std::sync::Arc;

use collect::container::ContainerState;
use http::{HeaderMap, header};
use model::{AttributeValue, Attributes, Resource, SpanGroup};

use crate::Host;

/// Digits of a container's id that programs show at least.
const ID_DIGITS_MIN: usize = 12;
const ID_DIGITS: usize = 64;

/// What programs call themselves that pass on spans of others.
const RELAYS: [&str; 7] =
    ["collector", "alloy", "agent", "vector", "fluent", "logstash", "telegraf"];

/// Address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address of who made what a request brings; `None` when it may have been passed on.
pub(crate) fn maker(peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
    let agent = headers.get(header::USER_AGENT).map(|value| value.as_bytes().to_ascii_lowercase());
    let agent = agent.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let is_relay = RELAYS.iter().any(|relay| agent.contains(relay))
        || headers.contains_key("x-forwarded-for")
        || headers.contains_key("forwarded");
    peer.filter(|_| !is_relay).map(|peer| peer.0.to_canonical())
}

/// Says on the resources of `groups` which container they are of, and that it is on this host.
pub(crate) fn infer(host: &dyn Host, maker: Option<IpAddr>, groups: &mut [SpanGroup]) {
    // Who sends the spans of several processes at once has collected them.
    let is_same = |two: &[SpanGroup]| {
        Arc::ptr_eq(&two[0].resource, &two[1].resource) || two[0].resource == two[1].resource
    };
    let maker = maker.filter(|_| groups.windows(2).all(is_same));
    let mut last: Option<(Arc<Resource>, Arc<Resource>)> = None;
    for group in groups {
        // Neighbours share their resource.
        let said = match &last {
            Some((theirs, said)) if Arc::ptr_eq(theirs, &group.resource) => Arc::clone(said),
            _ => match container(host, maker, &group.resource.attributes) {
                Some(container) => Arc::new(with(&group.resource, &container, host.host_name())),
                None => Arc::clone(&group.resource),
            },
        };
        last = Some((std::mem::replace(&mut group.resource, Arc::clone(&said)), said));
    }
}

fn container(
    host: &dyn Host,
    maker: Option<IpAddr>,
    attributes: &Attributes,
) -> Option<ContainerState> {
    match text(attributes, "container.id") {
        // One that is not known runs elsewhere.
        Some(id) => host.container_of_id(id).filter(|_| id.len() >= ID_DIGITS_MIN),
        None => {
            let is_id = |name: &&str| {
                (ID_DIGITS_MIN..=ID_DIGITS).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_hexdigit())
            };
            let named = text(attributes, "host.name").filter(is_id);
            let named = named.and_then(|id| host.container_of_id(id));
            named.or_else(|| host.container_at(maker?))
        }
    }
}

fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.iter().find_map(|(known, value)| match value {
        AttributeValue::String(text) if **known == *name && !text.is_empty() => Some(&**text),
        _ => None,
    })
}

/// `resource`, and what of `container` it does not say.
fn with(resource: &Resource, container: &ContainerState, host_name: &str) -> Resource {
    let mut resource = resource.clone();
    let pairs = [
        ("container.id", container.id.as_str()),
        ("container.name", &container.name),
        ("compose_project", &container.compose_project),
        ("compose_service", &container.compose_service),
        ("host.name", host_name),
    ];
    for (name, value) in pairs {
        let is_said = resource.attributes.iter().any(|(known, _)| **known == *name);
        if !is_said && !value.is_empty() {
            resource.attributes.push((name.into(), AttributeValue::String(value.to_owned())));
        }
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_made_nothing_of_what_they_send() {
        let check = |name: &'static str, value: &str, is_maker: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let peer = Some(Peer("::ffff:172.17.0.2".parse().unwrap()));
            let maker = maker(peer, &headers);
            assert_eq!(maker, is_maker.then(|| "172.17.0.2".parse().unwrap()), "{name}: {value}");
        };
        check("user-agent", "OTel-OTLP-Exporter-Python/1.37.0", true);
        check("user-agent", "OpenTelemetry Collector Contrib/0.130.0 (linux/amd64)", false);
        check("user-agent", "Alloy/v1.5.1", false);
        check("x-forwarded-for", "10.0.0.1", false);
        check("accept", "*/*", true);
        assert_eq!(maker(None, &HeaderMap::new()), None);
    }
}
