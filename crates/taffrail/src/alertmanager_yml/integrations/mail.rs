//! E-mail.

use std::collections::BTreeMap;

use alert::receiver::{Email, EmailThreads, Kind, SmartHost};
use model::http::Secret;

use super::super::fields::Fields;
use super::super::globals::Globals;
use super::super::line_of;
use crate::prometheus_yml::http;
use crate::prometheus_yml::node::{Node, Placed};

pub(super) fn email(f: &Fields<'_>, globals: &Globals) -> Result<Kind, Placed> {
    let mut it = Email::default();
    let own = |key: &str, global: &str| -> Option<String> {
        let own = f.given(key).filter(|text| !text.is_empty());
        own.or_else(|| globals.text(global)).map(str::to_owned)
    };
    f.put_all([("to", &mut it.to), ("html", &mut it.html), ("text", &mut it.text)]);
    if it.to.is_empty() {
        return f.wrong("missing to address in email config");
    }
    it.headers = headers(f)?;
    let Some(smarthost) = own("smarthost", "smtp_smarthost") else {
        return f.wrong("no global SMTP smarthost set");
    };
    let wrong = |why| (line_of(f.node, "smarthost"), why);
    it.smarthost = match host_port(&smarthost).map_err(wrong)? {
        // Alertmanager looks at ports when it sends.
        (host, port) if f.strict => {
            SmartHost { host: host.to_owned(), port: port_number(port).unwrap_or(0) }
        }
        (host, port) => {
            SmartHost { host: host.to_owned(), port: port_number(port).map_err(wrong)? }
        }
    };
    let Some(from) = own("from", "smtp_from") else {
        return f.wrong("no global SMTP from set");
    };
    it.from = from;
    it.hello = own("hello", "smtp_hello").unwrap_or(it.hello);
    it.auth_username = own("auth_username", "smtp_auth_username").unwrap_or_default();
    it.auth_identity = own("auth_identity", "smtp_auth_identity").unwrap_or_default();
    it.auth_password = secret(f, globals, "auth_password")?;
    it.auth_secret = secret(f, globals, "auth_secret")?;
    it.require_tls = f
        .node
        .bool_of("require_tls")
        .or_else(|| globals.bool("smtp_require_tls"))
        .unwrap_or(it.require_tls);
    it.force_implicit_tls =
        f.node.bool_of("force_implicit_tls").or_else(|| globals.bool("smtp_force_implicit_tls"));
    if let Some(node) = f.node.get("tls_config").or_else(|| globals.get("smtp_tls_config")) {
        it.tls = http::tls(node, f.dir);
    }
    it.threading =
        f.object("threading").map(|threading| threads(&threading)).transpose()?.flatten();
    Ok(Kind::Email(Box::new(it)))
}

/// The integration's own, or the global one.
fn secret(f: &Fields<'_>, globals: &Globals, key: &str) -> Result<Option<Secret>, Placed> {
    match f.secret(key, &format!("{key}_file"))? {
        Some(own) => Ok(Some(own)),
        None => globals.secret(&format!("smtp_{key}")),
    }
}

/// Headers by names as `Message-Id`, none of which is there twice.
fn headers(f: &Fields<'_>) -> Result<BTreeMap<String, String>, Placed> {
    let mut headers = BTreeMap::new();
    for (key, value) in f.node.get("headers").map(Node::entries).unwrap_or_default() {
        let name = canonical(&key.name);
        let text = value.text().unwrap_or("").to_owned();
        if headers.insert(name.clone(), text).is_some() {
            return Err((key.line, format!("duplicate header {name:?} in email config")));
        }
    }
    Ok(headers)
}

/// `message-id` as `Message-Id`.
fn canonical(name: &str) -> String {
    let mut at_start = true;
    let upper = |c: char| {
        let was_at_start = std::mem::replace(&mut at_start, c == '-');
        if was_at_start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    name.chars().map(upper).collect()
}

/// Splits `host:port`, the host in brackets when it is an address of IPv6.
pub(in super::super) fn host_port(text: &str) -> Result<(&str, &str), String> {
    let wrong = |why: &str| format!("address {text}: {why}");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("missing port in address"))?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(|| wrong("missing ']' in address"))?,
        None if host.contains(':') => return Err(wrong("too many colons in address")),
        None => host,
    };
    if port.is_empty() {
        return Err(wrong("port cannot be empty"));
    }
    Ok((host, port))
}

/// A port by its number or by the name that mail servers have for it.
fn port_number(port: &str) -> Result<u16, String> {
    match port {
        "smtp" => Ok(25),
        "smtps" | "submissions" => Ok(465),
        "submission" => Ok(587),
        _ => port.parse().map_err(|_| format!("port {port:?} must be a number up to 65535")),
    }
}

fn threads(f: &Fields<'_>) -> Result<Option<EmailThreads>, Placed> {
    if !f.bool("enabled", false) {
        return Ok(None);
    }
    match f.given("thread_by_date").unwrap_or("") {
        "" | "daily" => Ok(Some(EmailThreads::Daily)),
        "none" => Ok(Some(EmailThreads::Forever)),
        other => f.wrong(format!(
            "invalid threading.thread_by_date value {other:?}; must be daily or none"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_servers_have_a_host_and_a_port() {
        let check = |text: &str, expected: Result<(&str, &str), &str>| {
            assert_eq!(
                host_port(text).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e)
            );
        };
        check("localhost:25", Ok(("localhost", "25")));
        check("[::1]:587", Ok(("::1", "587")));
        check(":25", Ok(("", "25")));
        check("localhost", Err("address localhost: missing port in address"));
        check("localhost:", Err("address localhost:: port cannot be empty"));
        check("::1:25", Err("address ::1:25: too many colons in address"));
        assert_eq!((port_number("smtp"), port_number("2525")), (Ok(25), Ok(2525)));
        assert!(port_number("x").is_err() && port_number("65536").is_err());
    }

    #[test]
    fn names_of_headers_have_one_form() {
        assert_eq!(canonical("x-priority-ID"), "X-Priority-Id");
    }
}
