//! Mails as bytes: headers, encodings, parts.

use alert::notify::Mail;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, HeaderName, HeaderValue, Headers, MIME_VERSION_1_0,
};
use lettre::message::{Body, Mailboxes, MultiPart, SinglePart};

/// Headers that hold addresses, whose names alone are encoded.
const ADDRESSES: [&str; 6] = ["To", "From", "Cc", "Bcc", "Reply-To", "Sender"];

/// A mail ready to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// Lines end with `\r\n`.
    pub(super) bytes: Vec<u8>,
}

/// Writes `mail` as of `now_ms`.
///
/// # Errors
/// Which address or header is none.
pub(super) fn write(mail: &Mail, now_ms: i64) -> Result<Letter, String> {
    let from = addresses("from", &mail.from)?;
    let to = addresses("to", &mail.to)?;
    let from = match from.as_slice() {
        [from] => from.clone(),
        several => {
            return Err(format!("must be exactly one 'from' address (got: {})", several.len()));
        }
    };
    let mut headers = Headers::new();
    for (name, value) in &mail.headers {
        headers.insert_raw(header(name, value)?);
    }
    let date = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = rfc2822::to_string(&date.to_zoned(TimeZone::UTC))
        .map_err(|e| format!("the time {now_ms} ms is none of a mail: {e}"))?;
    headers.insert_raw(header("Date", &date)?);
    headers.set(MIME_VERSION_1_0);
    let mut parts = MultiPart::alternative().build();
    // The page last: what comes last is preferred.
    for (text, kind) in
        [(&mail.text, ContentType::TEXT_PLAIN), (&mail.html, ContentType::TEXT_HTML)]
    {
        if let Some(text) = text {
            let encoding = ContentTransferEncoding::QuotedPrintable;
            let body = Body::new_with_encoding(text.clone(), encoding);
            let body = body.map_err(|_| "a part of the mail cannot be encoded".to_owned())?;
            parts = parts.singlepart(SinglePart::builder().header(kind).body(body));
        }
    }
    let mut bytes = headers.to_string().into_bytes();
    bytes.extend_from_slice(&parts.formatted());
    Ok(Letter { from, to, bytes })
}

/// The addresses of a list such as `a@b, C <c@d>`.
fn addresses(key: &str, text: &str) -> Result<Vec<String>, String> {
    let parsed: Mailboxes =
        text.parse().map_err(|e| format!("parse '{key}' addresses {text:.200?}: {e}"))?;
    let addresses: Vec<String> = parsed.iter().map(|mailbox| mailbox.email.to_string()).collect();
    match addresses.is_empty() {
        true => Err(format!("parse '{key}' addresses {text:.200?}: there is none")),
        false => Ok(addresses),
    }
}

/// A header whose value cannot become another header, whatever is in it.
fn header(name: &str, value: &str) -> Result<HeaderValue, String> {
    let wrong = |_| format!("{name:.200?} is no name of a header");
    let header = HeaderName::new_from_ascii(name.to_owned()).map_err(wrong)?;
    if ADDRESSES.contains(&name)
        && let Ok(mailboxes) = value.parse::<Mailboxes>()
    {
        let raw: Vec<String> = mailboxes.iter().map(ToString::to_string).collect();
        return Ok(HeaderValue::new(header, raw.join(", ")));
    }
    Ok(HeaderValue::new(header, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(headers: &[(&str, &str)]) -> Mail {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Mail {
            from: "Am <am@example.org>".to_owned(),
            to: "a@example.org, Bärbel <b@example.org>".to_owned(),
            headers: headers.iter().map(owned).collect(),
            text: Some("tëxt = 1".to_owned()),
            html: Some("<p>1</p>".to_owned()),
        }
    }

    fn check(headers: &[(&str, &str)], expected: &str) {
        let letter = write(&mail(headers), 0).expect("a letter");
        let text = String::from_utf8(letter.bytes).expect("ASCII");
        assert!(text.contains(expected), "{text}");
        let head = text.split("\r\n\r\n").next().expect("a head");
        assert!(head.lines().all(|line| !line.starts_with("Evil")), "{head}");
        assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    }

    #[test]
    fn mails_are_written_as_the_documents_say() {
        let letter = write(&mail(&[]), 0).expect("a letter");
        assert_eq!(letter.from, "am@example.org");
        assert_eq!(letter.to, ["a@example.org", "b@example.org"]);
        check(&[("Subject", "[FIRING:1] Down")], "Subject: [FIRING:1] Down\r\n");
        check(&[], "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n");
        check(&[], "MIME-Version: 1.0\r\nContent-Type: multipart/alternative;");
        check(&[], "Content-Type: text/plain; charset=utf-8\r\n");
        check(&[], "t=C3=ABxt =3D 1\r\n");
    }

    #[test]
    fn labels_make_no_headers() {
        check(&[("Subject", "a\r\nEvil: yes\r\n\r\nbody")], "Subject: ");
        check(&[("X-Team", "ü\nEvil: yes")], "X-Team: =?utf-8?b?");
        check(&[("To", "x@y\r\nEvil: yes")], "To: ");
        check(&[("To", "Bärbel <b@example.org>")], "To: =?utf-8?b?");
        assert!(write(&mail(&[("a b", "x")]), 0).is_err());
        let to = |to: &str| write(&Mail { to: to.to_owned(), ..mail(&[]) }, 0);
        assert!(to("a@b\r\nEvil: yes").is_err());
        assert!(to("a@b> SIZE=1\r\nRCPT TO:<c@d").is_err());
        assert!(to("").is_err());
    }
}
