//! Who may do what: roles, bearer tokens, and the checks that keep other people's web pages out.
//!
//! On loopback nobody has to log in: requests without a token get [`Access::anonymous`]. Such an open door must not be
//! reachable through a browser on some other page, so the `Host` header must name this server (DNS rebinding) and a
//! changing or streaming request must not come from a foreign `Origin`.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, StatusCode, header};

use crate::tenants::{Tenant, Tenants};

/// What a route asks for, and what a principal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing; only whether it lives and is ready, without detail: probes of orchestrators have no token.
    Open,
    /// Read everything.
    Viewer,
    /// Read, and change what is shared (dashboards, silences).
    Editor,
    /// Everything, including reload.
    Admin,
    /// Write data only.
    Ingest,
}

impl Role {
    /// Whether a principal with this role may use a route that needs `required`.
    pub fn allows(self, required: Self) -> bool {
        match required {
            Self::Open => true,
            Self::Viewer => matches!(self, Self::Viewer | Self::Editor | Self::Admin),
            Self::Editor => matches!(self, Self::Editor | Self::Admin),
            Self::Admin => self == Self::Admin,
            Self::Ingest => matches!(self, Self::Ingest | Self::Admin),
        }
    }

    /// Lower-case name, as configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Ingest => "ingest",
        }
    }
}

/// A bearer token and what it is good for.
#[derive(Clone)]
pub struct Token {
    /// The secret; compared in constant time, never printed.
    secret: Box<[u8]>,
    role: Role,
    tenant: Option<Tenant>,
}

impl Token {
    /// A token that grants `role`.
    pub fn new(secret: &str, role: Role) -> Self {
        Self { secret: secret.as_bytes().into(), role, tenant: None }
    }

    /// The same token, for log lines of `tenant` alone.
    pub fn of_tenant(self, tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), ..self }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.role.as_str())
    }
}

/// The access rules of one server.
#[derive(Debug, Clone)]
pub struct Access {
    /// Role of requests without a token; `None` when a token is required.
    pub anonymous: Option<Role>,
    /// Accepted tokens.
    pub tokens: Vec<Token>,
    /// Host names (without port) under which this server may be addressed, beside loopback names and IP addresses it
    /// listens on.
    pub host_names: Vec<String>,
    /// Whose log lines requests are about.
    pub tenants: Tenants,
}

/// Who a request comes from, as far as that matters behind the door.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The tenant of its token.
    pub(crate) tenant: Option<Tenant>,
}

impl Access {
    /// Checks one request against the role its route needs.
    ///
    /// # Errors
    /// 401 without a usable token, 403 when its role does not suffice or the request comes through a foreign page, 421
    /// for a foreign `Host`; with the message for the body.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        required: Role,
        changes_state: bool,
    ) -> Result<Caller, (StatusCode, String)> {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
        if !self.host_is_ours(host) {
            return Err((
                StatusCode::MISDIRECTED_REQUEST,
                format!("host {host:?} is not served here; add it to server.host_names"),
            ));
        }
        if changes_state && let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            let same = origin.split_once("://").is_some_and(|(_, o)| o == host);
            if !same {
                return Err((
                    StatusCode::FORBIDDEN,
                    format!("origin {origin:?} is not this server"),
                ));
            }
        }
        if required == Role::Open {
            return Ok(Caller::default());
        }
        let token = match credentials(headers) {
            Some(Credentials::Bearer(secret)) => Some(
                self.token_of(secret)
                    .ok_or_else(|| (StatusCode::UNAUTHORIZED, "unknown token".to_owned()))?,
            ),
            // Shippers may send a user that is not ours where none is needed.
            Some(Credentials::Password(secret)) => self.token_of(&secret),
            None => None,
        };
        match token.map(|token| token.role).or(self.anonymous) {
            Some(role) if role.allows(required) => {
                Ok(Caller { tenant: token.and_then(|token| token.tenant.clone()) })
            }
            Some(role) => Err((
                StatusCode::FORBIDDEN,
                format!("role {} may not do this; it needs {}", role.as_str(), required.as_str()),
            )),
            None => Err((StatusCode::UNAUTHORIZED, "a bearer token is required".to_owned())),
        }
    }

    /// All tokens are compared, each in constant time, so that the answer's timing tells nothing.
    fn token_of(&self, secret: &[u8]) -> Option<&Token> {
        let mut found = None;
        for token in &self.tokens {
            if equal_in_constant_time(&token.secret, secret) {
                found = Some(token);
            }
        }
        found
    }

    fn host_is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split_once(']').map_or("", |(ip, _)| ip),
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        // An IP address cannot be rebound by DNS. No Host at all is HTTP/1.0 tooling, which browsers are not.
        host.is_empty()
            || name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.host_names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

/// A token, as a request carries it.
enum Credentials<'a> {
    /// `Authorization: Bearer TOKEN`
    Bearer(&'a [u8]),
    /// `Authorization: Basic …` with the token as password and any user, or Elasticsearch's `ApiKey …` with any id.
    Password(Vec<u8>),
}

fn credentials(headers: &HeaderMap) -> Option<Credentials<'_>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, secret) = (value.get(..space)?, value.get(space + 1..)?);
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Credentials::Bearer(secret));
    }
    let is_pair = scheme.eq_ignore_ascii_case(b"basic") || scheme.eq_ignore_ascii_case(b"apikey");
    let pair = ingest::otlp::unbase64(std::str::from_utf8(secret).ok().filter(|_| is_pair)?)?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(Credentials::Password(pair.get(colon + 1..)?.to_vec()))
}

pub(crate) fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let mut difference = u8::from(a.len() != b.len());
    for (i, byte) in b.iter().enumerate() {
        difference |= byte ^ a.get(i % a.len().max(1)).copied().unwrap_or(0);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, pairs: &[(&str, &str)], role: Role, changes: bool) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        access.check(&headers, role, changes).map_or_else(|(status, _)| status.as_u16(), |_| 200)
    }

    #[test]
    fn hosts_origins_and_tokens() {
        let open = Access {
            anonymous: Some(Role::Admin),
            tokens: vec![],
            host_names: vec!["box.lan".into()],
            tenants: Tenants::default(),
        };
        for host in ["localhost:7245", "127.0.0.1:7245", "[::1]:7245", "box.lan", "BOX.lan:1"] {
            assert_eq!(check(&open, &[("host", host)], Role::Admin, true), 200, "{host}");
        }
        assert_eq!(check(&open, &[("host", "evil.example:7245")], Role::Viewer, false), 421);
        assert_eq!(
            check(
                &open,
                &[("host", "localhost:1"), ("origin", "http://localhost:1")],
                Role::Admin,
                true
            ),
            200
        );
        assert_eq!(
            check(
                &open,
                &[("host", "localhost:1"), ("origin", "http://evil.example")],
                Role::Admin,
                true
            ),
            403
        );
        assert_eq!(
            check(
                &open,
                &[("host", "localhost:1"), ("authorization", "Bearer nope")],
                Role::Viewer,
                false
            ),
            401
        );

        let closed = Access {
            anonymous: None,
            tokens: vec![Token::new("s3cret", Role::Viewer)],
            host_names: vec![],
            tenants: Tenants::default(),
        };
        assert_eq!(check(&closed, &[], Role::Viewer, false), 401);
        assert_eq!(check(&closed, &[("authorization", "bearer s3cret")], Role::Viewer, false), 200);
        assert_eq!(check(&closed, &[("authorization", "Bearer s3cre")], Role::Viewer, false), 401);
        for (authorization, status) in [
            ("Basic YW55Ym9keTpzM2NyZXQ=", 200), // anybody:s3cret
            ("ApiKey aWQ6czNjcmV0", 200),        // id:s3cret
            ("Basic YW55Ym9keTpzM2NyZQ==", 401),
            ("Basic !", 401),
            ("Basic", 401),
        ] {
            let sent = [("authorization", authorization)];
            assert_eq!(check(&closed, &sent, Role::Viewer, false), status, "{authorization}");
        }
        assert_eq!(check(&closed, &[("authorization", "Bearer s3cret")], Role::Admin, false), 403);
        assert_eq!(check(&closed, &[("authorization", "Bearer s3cret")], Role::Ingest, false), 403);
        assert_eq!(check(&closed, &[], Role::Open, false), 200);
        assert!(!format!("{closed:?}").contains("s3cret"));
    }
}
