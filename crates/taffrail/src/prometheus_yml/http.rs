//! From the checked HTTP keys of a job or a discovery to [`HttpOptions`].

use std::path::Path;

use collect::scrape::{
    Assertion, Grant, HttpOptions, OAuth2, ProxyOptions, Secret, SignatureAlgorithm, TlsOptions,
    TlsVersion,
};

use super::node::{Node, Value, parse_bool};

/// The grant that needs no proof but the client's secret.
const CLIENT_CREDENTIALS: &str = "client_credentials";
/// The grant for a token the client signs.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The HTTP keys of `node`; relative paths start from `dir`.
pub(crate) fn options(node: &Node, dir: &Path) -> HttpOptions {
    let empty = || Secret::Text(String::new());
    let basic_auth = node.get("basic_auth").map(|auth| {
        let user = secret(auth, "username", "username_file", dir).unwrap_or_else(empty);
        (user, secret(auth, "password", "password_file", dir).unwrap_or_else(empty))
    });
    let bearer = secret(node, "bearer_token", "bearer_token_file", dir)
        .map(|token| ("Bearer".to_owned(), token));
    let authorization = node.get("authorization").and_then(|auth| {
        let scheme = auth.text_of("type").unwrap_or("Bearer").trim().to_owned();
        secret(auth, "credentials", "credentials_file", dir)
            .map(|credentials| (scheme, credentials))
    });
    let mut headers = Vec::new();
    for (key, header) in node.get("http_headers").map(Node::entries).unwrap_or_default() {
        let texts = header.texts_of("values").into_iter().chain(header.texts_of("secrets"));
        headers.extend(texts.map(|text| (key.name.clone(), Secret::Text(text.to_owned()))));
        let files = header.texts_of("files").into_iter();
        headers.extend(files.map(|file| (key.name.clone(), Secret::File(dir.join(file)))));
    }
    HttpOptions {
        basic_auth,
        authorization: authorization.or(bearer),
        oauth2: node.get("oauth2").map(|oauth| Box::new(oauth2(oauth, dir))),
        follow_redirects: node.bool_of("follow_redirects").unwrap_or(true),
        enable_http2: node.bool_of("enable_http2").unwrap_or(true),
        headers,
        proxy: proxy(node),
        tls: node.get("tls_config").map(|node| tls(node, dir)).unwrap_or_default(),
    }
}

fn secret(node: &Node, text_key: &str, file_key: &str, dir: &Path) -> Option<Secret> {
    let given = |key: &str| node.text_of(key).filter(|text| !text.is_empty());
    let text = given(text_key).map(|text| Secret::Text(text.to_owned()));
    text.or_else(|| given(file_key).map(|file| Secret::File(dir.join(file))))
}

fn oauth2(node: &Node, dir: &Path) -> OAuth2 {
    let text = |key: &str| node.text_of(key).unwrap_or("").to_owned();
    let params = node.get("endpoint_params").map(Node::entries).unwrap_or_default();
    let grant = match node.text_of("grant_type").unwrap_or("") {
        "" | CLIENT_CREDENTIALS => Grant::ClientCredentials,
        JWT_BEARER => Grant::Assertion(assertion(node, dir)),
        other => Grant::Unknown(other.to_owned()),
    };
    OAuth2 {
        client_id: text("client_id"),
        client_secret: secret(node, "client_secret", "client_secret_file", dir)
            .unwrap_or_else(|| Secret::Text(String::new())),
        scopes: node.texts_of("scopes").into_iter().map(str::to_owned).collect(),
        token_url: text("token_url"),
        endpoint_params: params
            .iter()
            .map(|(key, value)| (key.name.clone(), value.text().unwrap_or("").to_owned()))
            .collect(),
        tls: node.get("tls_config").map(|node| tls(node, dir)).unwrap_or_default(),
        proxy: proxy(node),
        grant,
    }
}

fn assertion(node: &Node, dir: &Path) -> Assertion {
    let text = |key: &str| node.text_of(key).unwrap_or("").to_owned();
    let claims = node.get("claims").map(Node::entries).unwrap_or_default();
    Assertion {
        key: secret(node, "client_certificate_key", "client_certificate_key_file", dir),
        key_id: text("client_certificate_key_id"),
        algorithm: match node.text_of("signature_algorithm") {
            Some("RS384") => SignatureAlgorithm::Rs384,
            Some("RS512") => SignatureAlgorithm::Rs512,
            _ => SignatureAlgorithm::Rs256,
        },
        issuer: text("iss"),
        audience: text("audience"),
        claims: claims.iter().map(|(key, value)| (key.name.clone(), json(value))).collect(),
    }
}

/// What a value of YAML is in JSON: numbers and truth values are what they look like unless they are quoted.
pub(crate) fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Bare(text) => parse_bool(text)
            .map(Into::into)
            .or_else(|| text.parse::<serde_json::Number>().ok().map(Into::into))
            .unwrap_or_else(|| text.as_str().into()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            entries.iter().map(|(key, value)| (key.name.clone(), json(value))).collect()
        }
    }
}

fn proxy(node: &Node) -> ProxyOptions {
    let mut connect_headers = Vec::new();
    for (key, values) in node.get("proxy_connect_header").map(Node::entries).unwrap_or_default() {
        let texts = values.items().iter().filter_map(Node::text);
        connect_headers.extend(texts.map(|text| (key.name.clone(), Secret::Text(text.to_owned()))));
    }
    ProxyOptions {
        url: node.text_of("proxy_url").filter(|url| !url.is_empty()).map(str::to_owned),
        no_proxy: node.text_of("no_proxy").unwrap_or("").to_owned(),
        from_environment: node.bool_of("proxy_from_environment").unwrap_or(false),
        connect_headers,
    }
}

pub(crate) fn tls(node: &Node, dir: &Path) -> TlsOptions {
    let version = |key: &str| {
        Some(match node.text_of(key)? {
            "TLS10" => TlsVersion::Tls10,
            "TLS11" => TlsVersion::Tls11,
            "TLS12" => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        })
    };
    let certificate = secret(node, "cert", "cert_file", dir);
    TlsOptions {
        ca: secret(node, "ca", "ca_file", dir),
        client: certificate.zip(secret(node, "key", "key_file", dir)),
        server_name: node.text_of("server_name").filter(|n| !n.is_empty()).map(str::to_owned),
        insecure_skip_verify: node.bool_of("insecure_skip_verify").unwrap_or(false),
        min_version: version("min_version"),
        max_version: version("max_version"),
    }
}
