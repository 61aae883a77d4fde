//! Signed assertions, with which a client proves who it is instead of sending a secret.
//!
//! Owns the JSON Web Token and its signature; asking for access tokens with it is `oauth2`'s.
//!
//! Source: RFC 7515 and 7519 (the token), RFC 7518, 3.3 (`RS256` and its siblings), RFC 7523 (what it must claim).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Error, Result};
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::sign::SigningKey as _;
use serde_json::{Map, Value, json};

use super::super::config::{Assertion, OAuth2, SignatureAlgorithm};
use super::reveal;

/// How long an assertion may be used, in seconds.
const LIFE_S: i64 = 600;

/// The signed token that `oauth` describes, issued at `now_s` of Unix time. The key is read anew each time.
pub(super) async fn sign(oauth: &OAuth2, assertion: &Assertion, now_s: i64) -> Result<String> {
    let Some(key) = &assertion.key else {
        return Err(Error::invalid(
            "oauth2: client_certificate_key or client_certificate_key_file is missing; \
             signed assertions need a private key",
        ));
    };
    let pem = reveal(key).await?;
    let mut header = json!({ "alg": assertion.algorithm.name(), "typ": "JWT" });
    if !assertion.key_id.is_empty() {
        header["kid"] = json!(assertion.key_id);
    }
    let claims = claims(oauth, assertion, now_s, &identifier()?);
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = signature(&pem, assertion.algorithm, signed.as_bytes())?;
    Ok(format!("{signed}.{}", encode(signature)))
}

/// What the token says. Claims of the configuration win over those that are always there.
fn claims(oauth: &OAuth2, assertion: &Assertion, now_s: i64, id: &str) -> Value {
    let or = |text: &str, default: &str| {
        Value::from(if text.is_empty() { default } else { text }.to_owned())
    };
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), or(&assertion.issuer, &oauth.client_id));
    claims.insert("sub".to_owned(), oauth.client_id.clone().into());
    claims.insert("aud".to_owned(), or(&assertion.audience, &oauth.token_url));
    claims.insert("jti".to_owned(), id.into());
    claims.insert("iat".to_owned(), now_s.into());
    claims.insert("exp".to_owned(), now_s.saturating_add(LIFE_S).into());
    if !oauth.scopes.is_empty() {
        claims.insert("scope".to_owned(), oauth.scopes.join(" ").into());
    }
    claims.extend(assertion.claims.clone());
    claims.into()
}

fn signature(pem: &str, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>> {
    let unusable = |why: &str| {
        Error::invalid(format!("oauth2: client_certificate_key cannot sign the assertion: {why}"))
    };
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| match e {
        pem::Error::NoItemsFound => {
            unusable("it holds no private key in PEM; keys with a passphrase are not supported")
        }
        e => unusable(&e.to_string()),
    })?;
    let key = ring::sign::RsaSigningKey::new(&key).map_err(|_| {
        unusable("it is no RSA key of 2048, 3072 or 4096 bits, in PKCS #1 or PKCS #8")
    })?;
    let scheme = match algorithm {
        SignatureAlgorithm::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
        SignatureAlgorithm::Rs384 => SignatureScheme::RSA_PKCS1_SHA384,
        SignatureAlgorithm::Rs512 => SignatureScheme::RSA_PKCS1_SHA512,
    };
    let signer = key.choose_scheme(&[scheme]).ok_or_else(|| unusable("no such algorithm"))?;
    signer.sign(message).map_err(|e| unusable(&e.to_string()))
}

/// A random UUID (RFC 9562, version 4), so that the token's server can tell a replay.
fn identifier() -> Result<String> {
    let mut bytes = [0; 16];
    let random = ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Error::invalid("oauth2: no random bytes to be had"))?;
    let mut bits = u128::from_be_bytes(bytes);
    bits = bits & !(0xf << 76) | 4 << 76;
    bits = bits & !(0x3 << 62) | 2 << 62;
    let hex = format!("{bits:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::config::{Grant, ProxyOptions, Secret, TlsOptions};
    use super::*;

    fn oauth2(scopes: &[&str]) -> OAuth2 {
        OAuth2 {
            client_id: "client".to_owned(),
            client_secret: Secret::Text(String::new()),
            scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
            token_url: "https://t/".to_owned(),
            endpoint_params: Vec::new(),
            tls: TlsOptions::default(),
            proxy: ProxyOptions::default(),
            grant: Grant::ClientCredentials,
        }
    }

    #[test]
    fn claims_have_defaults_and_may_be_replaced() {
        let check = |oauth: &OAuth2, assertion: &Assertion, expected: Value| {
            assert_eq!(claims(oauth, assertion, 1_000, "id"), expected);
        };
        check(
            &oauth2(&[]),
            &Assertion::default(),
            json!({"iss": "client", "sub": "client", "aud": "https://t/", "jti": "id", "iat": 1000, "exp": 1600}),
        );
        let own = json!({"sub": "else", "n": {"deep": [1, true]}});
        let assertion = Assertion {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            claims: own.as_object().cloned().unwrap(),
            ..Assertion::default()
        };
        check(
            &oauth2(&["b", "c"]),
            &assertion,
            json!({"iss": "i", "sub": "else", "aud": "a", "jti": "id", "iat": 1000, "exp": 1600,
                   "scope": "b c", "n": {"deep": [1, true]}}),
        );
    }

    #[test]
    fn identifiers_are_random_uuids() {
        let [a, b] = [(); 2].map(|()| identifier().unwrap());
        assert_ne!(a, b);
        assert_eq!((a.len(), &a[14..15]), (36, "4"));
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"), "{a}");
    }

    #[test]
    fn keys_that_cannot_sign_are_named() {
        let check = |pem: &str, expected: &str| {
            let error = signature(pem, SignatureAlgorithm::Rs256, b"m").unwrap_err().to_string();
            assert!(
                error.contains("client_certificate_key") && error.contains(expected),
                "{error}"
            );
        };
        check("", "no private key in PEM");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no RSA key");
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        check(&elliptic, "no RSA key");
    }
}
