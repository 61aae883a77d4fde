//! JSON bodies made piece by piece while they are sent: a large answer is never one string in memory.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, header};

/// A piece is sent as soon as it has this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// `head`, a JSON array of `items`, `tail`. Items are dropped as they are written. An answer of one piece has a length.
pub(crate) fn list<T: Send + 'static>(
    head: String,
    items: Vec<T>,
    item: fn(&mut String, &T),
    tail: String,
) -> Response {
    respond(Pieces::new(head, items.into_iter(), item, tail), "application/json")
}

/// A body of `pieces`.
pub(crate) fn respond(
    mut pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
    content_type: &'static str,
) -> Response {
    let first = pieces.next().unwrap_or_default();
    let body = match pieces.next() {
        None => Body::from(first),
        Some(second) => {
            let all = [first, second].into_iter().chain(pieces);
            let all = all.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
            Body::from_stream(futures_util::stream::iter(all))
        }
    };
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

struct Pieces<T, I> {
    /// What the next piece begins with.
    begun: String,
    items: I,
    item: fn(&mut String, &T),
    /// `None` once it was written.
    tail: Option<String>,
    first: bool,
}

impl<T, I: Iterator<Item = T>> Pieces<T, I> {
    fn new(mut head: String, items: I, item: fn(&mut String, &T), tail: String) -> Self {
        head.push('[');
        Self { begun: head, items, item, tail: Some(tail), first: true }
    }
}

impl<T, I: Iterator<Item = T>> Iterator for Pieces<T, I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.tail.as_ref()?;
        let mut piece = std::mem::take(&mut self.begun);
        while piece.len() < PIECE_BYTES {
            let Some(item) = self.items.next() else {
                piece.push(']');
                piece.push_str(&self.tail.take()?);
                break;
            };
            if !std::mem::take(&mut self.first) {
                piece.push(',');
            }
            (self.item)(&mut piece, &item);
        }
        Some(piece.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_one_text_and_none_is_much_larger_than_asked() {
        let write: fn(&mut String, &usize) = |out, n| out.push_str(&n.to_string());
        for count in [0, 1, 2, 50_000] {
            let pieces: Vec<Vec<u8>> =
                Pieces::new("{\"a\":".to_owned(), 0..count, write, "}".to_owned()).collect();
            assert!(pieces.iter().all(|p| p.len() < PIECE_BYTES + 10));
            assert_eq!(pieces.len() > 1, count == 50_000);
            let json: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
            assert_eq!(json["a"].as_array().unwrap().len(), count);
        }
    }
}
