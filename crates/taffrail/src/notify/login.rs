//! Logging in to mail servers: which of the offered ways, and what is said.
//!
//! Source: RFC 4954 (AUTH), 4616 (PLAIN), 2195 (CRAM-MD5); LOGIN as servers do it.

use alert::receiver::Email;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use model::http::Secret;

/// Bytes of a block of MD5.
const BLOCK_BYTES: usize = 64;

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    CramMd5,
    Plain,
    Login,
}

impl Way {
    /// As servers call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The first of those that are `offered`, in the server's order, for which the settings have what it takes.
    /// `is_private` is whether nobody else can read what is said.
    ///
    /// # Errors
    /// Why none of them.
    pub(super) fn choose(offered: &str, email: &Email, is_private: bool) -> Result<Self, String> {
        let mut reasons = Vec::new();
        for name in offered.split_whitespace() {
            let (way, secret, missing) = match name.to_ascii_uppercase().as_str() {
                "CRAM-MD5" => (Self::CramMd5, &email.auth_secret, "auth_secret"),
                "PLAIN" => (Self::Plain, &email.auth_password, "auth_password"),
                "LOGIN" => (Self::Login, &email.auth_password, "auth_password"),
                _ => {
                    reasons.push(format!("{name} is not known"));
                    continue;
                }
            };
            match secret {
                None => reasons.push(format!("{name} needs {missing}")),
                Some(_) if way == Self::Plain && !is_private => {
                    reasons.push(format!("{name} would send the password unencrypted"));
                }
                Some(_) => return Ok(way),
            }
        }
        Err(format!("no way to log in: {}", reasons.join("; ")))
    }
}

/// What is said first, with the command: only PLAIN needs no question.
pub(super) fn opening(way: Way, email: &Email) -> Option<String> {
    (way == Way::Plain).then(|| {
        let password = text(email.auth_password.as_ref());
        STANDARD.encode(format!("{}\0{}\0{password}", email.auth_identity, email.auth_username))
    })
}

/// What is said to the server's `question`, the base64 text behind 334; `number` counts the questions from 0.
///
/// # Errors
/// What of the question is wrong.
pub(super) fn reply(
    way: Way,
    email: &Email,
    question: &str,
    number: usize,
) -> Result<String, String> {
    let asked = STANDARD.decode(question.trim());
    let asked = asked.map_err(|_| format!("the question of {} is not base64", way.name()))?;
    let said = match (way, number) {
        (Way::CramMd5, 0) => {
            let secret = text(email.auth_secret.as_ref());
            format!("{} {}", email.auth_username, keyed_md5(secret.as_bytes(), &asked))
        }
        (Way::Login, 0) => email.auth_username.clone(),
        (Way::Login, 1) => text(email.auth_password.as_ref()).to_owned(),
        _ => return Err(format!("{} asks too much", way.name())),
    };
    Ok(STANDARD.encode(said))
}

fn text(secret: Option<&Secret>) -> &str {
    match secret {
        Some(Secret::Text(text)) => text,
        _ => "",
    }
}

/// HMAC of MD5 (RFC 2104), in hexadecimal digits.
fn keyed_md5(key: &[u8], message: &[u8]) -> String {
    let hashed;
    let key = if key.len() > BLOCK_BYTES {
        hashed = Md5::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    let mut block = [0; BLOCK_BYTES];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte = *key;
    }
    let inner = Md5::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    let outer = Md5::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email() -> Email {
        let secret = |text: &str| Some(Secret::Text(text.to_owned()));
        Email {
            auth_username: "tim".to_owned(),
            auth_secret: secret("tanstaaftanstaaf"),
            auth_password: secret("pw"),
            auth_identity: "id".to_owned(),
            ..Email::default()
        }
    }

    fn check(offered: &str, is_private: bool, expected: Result<Way, &str>) {
        let without = Email { auth_secret: None, ..email() };
        let found = Way::choose(offered, &without, is_private);
        assert_eq!(found, expected.map_err(str::to_owned), "{offered}");
    }

    #[test]
    fn the_first_way_that_can_be_gone_is_taken() {
        check("CRAM-MD5 login PLAIN", true, Ok(Way::Login));
        check("PLAIN LOGIN", true, Ok(Way::Plain));
        check("PLAIN LOGIN", false, Ok(Way::Login));
        check(
            "CRAM-MD5 PLAIN GSSAPI",
            false,
            Err(
                "no way to log in: CRAM-MD5 needs auth_secret; PLAIN would send the password unencrypted; GSSAPI is \
                 not known",
            ),
        );
    }

    #[test]
    fn what_is_said_is_what_the_documents_say() {
        // The example of RFC 2195.
        let question = STANDARD.encode("<1896.697170952@postoffice.reston.mci.net>");
        let expected = STANDARD.encode("tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(reply(Way::CramMd5, &email(), &question, 0), Ok(expected));
        assert_eq!(opening(Way::Plain, &email()), Some(STANDARD.encode("id\0tim\0pw")));
        assert_eq!(reply(Way::Login, &email(), "VXNlcm5hbWU6", 0), Ok(STANDARD.encode("tim")));
        assert_eq!(reply(Way::Login, &email(), "UGFzc3dvcmQ6", 1), Ok(STANDARD.encode("pw")));
        assert!(reply(Way::Login, &email(), "", 2).is_err());
        // A key longer than a block (RFC 2202, test case 6).
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(keyed_md5(&[0xaa; 80], message), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }
}
