//! Matrix: an event in a room, under an identity that makes a second try no second message.

use ring::digest;

use super::object::Object;
use super::render::{Render, secret};
use super::truncate::bytes;
use super::url::{join_segment, segment};
use super::{Begun, Request, Sequence, answer, hexadecimal};
use crate::receiver::Matrix;

/// Bytes of a text: an event may have 65,536 in all, with both texts and what escapes need.
const TEXT_BYTES_MAX: usize = 16_000;

pub(super) fn compose<'a>(it: &Matrix, mut render: Render<'_>) -> Begun<'a> {
    let token = secret("matrix.access_token", it.access_token.as_ref())?;
    let room = render.address("matrix.room_id", &it.room_id)?;
    let text = render.main("matrix.message", &it.message);
    let html = render.main_html("matrix.html", &it.html);
    let mut object = Object::new()
        .text("msgtype", if it.notice { "m.notice" } else { "m.text" })
        .text("body", &bytes(text.trim(), TEXT_BYTES_MAX));
    // HTML cannot be cut anywhere; the plain text is there in any case.
    if !html.trim().is_empty() && html.len() <= TEXT_BYTES_MAX {
        object =
            object.text("format", "org.matrix.custom.html").text("formatted_body", html.trim());
    }
    let key = format!("{}\n{}\n{}", room, render.notice.group_key, render.notice.made_at_ns);
    let transaction = digest::digest(&digest::SHA256, key.as_bytes());
    let transaction = hexadecimal(transaction.as_ref().get(..16).unwrap_or(&[]));
    let path = format!(
        "_matrix/client/v3/rooms/{}/send/m.room.message/{transaction}",
        segment(room.trim())
    );
    let request = Request {
        method: "PUT",
        ..Request::post(join_segment(&it.homeserver_url, &path), object.body())
    };
    let request = request.with("Authorization", format!("Bearer {}", token.trim()));
    Sequence::of([request], answer::status)
}
