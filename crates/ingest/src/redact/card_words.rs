//! What says that digits in a row are the number of a payment card: the name before it, or words of payment around it.

use std::ops::Range;

use super::quotes::{Quote, skip_quote};
use super::values::{end_of, is_name};

/// Bytes before and behind a number in which words of payment count.
const BEFORE_BYTES_MAX: usize = 64;
const BEHIND_BYTES_MAX: usize = 32;
/// Lengths that need no more than words around: others are those of many ids and times.
const PROSE_DIGITS: [usize; 3] = [14, 15, 16];

/// Words of names that are those of cards.
const CARDS: [&str; 24] = [
    "card",
    "cards",
    "cardnumber",
    "cardno",
    "cardnum",
    "creditcard",
    "creditcardnumber",
    "debitcard",
    "paymentcard",
    "bankcard",
    "ccnumber",
    "ccnum",
    "ccno",
    "ccn",
    "cc",
    "pan",
    "primaryaccountnumber",
    "visa",
    "mastercard",
    "amex",
    "discover",
    "maestro",
    "credit",
    "debit",
];
/// Ends of names that are something of a card, not its number.
const OTHERS: [&str; 21] = [
    "id",
    "ids",
    "uid",
    "uuid",
    "guid",
    "ref",
    "reference",
    "token",
    "hash",
    "key",
    "fingerprint",
    "seq",
    "count",
    "bytes",
    "size",
    "ns",
    "us",
    "ms",
    "time",
    "timestamp",
    "offset",
];
/// Words beside which a number pays.
const PAYMENTS: [&str; 20] = [
    "paid",
    "pay",
    "pays",
    "paying",
    "payment",
    "payments",
    "charge",
    "charged",
    "charging",
    "purchase",
    "billing",
    "billed",
    "refund",
    "refunded",
    "checkout",
    "cvv",
    "cvc",
    "expiry",
    "cardholder",
    "declined",
];
/// What a number right behind it is instead.
const THINGS: [&str; 32] = [
    "order",
    "orders",
    "id",
    "transaction",
    "txn",
    "tx",
    "ref",
    "reference",
    "invoice",
    "ticket",
    "customer",
    "user",
    "account",
    "session",
    "request",
    "trace",
    "span",
    "tracking",
    "shipment",
    "message",
    "offset",
    "block",
    "job",
    "took",
    "in",
    "at",
    "after",
    "sequence",
    "batch",
    "token",
    "timestamp",
    "record",
];
/// Names of what may be anything.
const ANYTHING: [&str; 22] = [
    "value",
    "val",
    "text",
    "data",
    "msg",
    "message",
    "body",
    "input",
    "raw",
    "line",
    "content",
    "note",
    "description",
    "comment",
    "payload",
    "query",
    "error",
    "info",
    "warn",
    "warning",
    "debug",
    "log",
];

/// Whether the number `at` is said to be that of a card, and the quotes that a mark needs in its place. `field` is what
/// `line` is the value of.
pub(super) fn said(line: &[u8], field: Option<&str>, at: Range<usize>) -> Option<Option<Quote>> {
    let is_whole =
        line[..at.start].trim_ascii().is_empty() && line[at.end..].trim_ascii().is_empty();
    if let Some(field) = field.filter(|_| is_whole) {
        let name = field.as_bytes();
        return (is_card(name) || is_number(name)).then_some(None);
    }
    let key = key_before(line, at.start);
    match &key {
        Some(key) if is_card(key.name) || (is_number(key.name) && !key.is_prose) => {
            Some(key.quote.filter(|_| key.is_bare))
        }
        Some(key) if !key.is_prose && !one_of(key.name, &ANYTHING) => None,
        // A number of JSON without a name that says more.
        _ if key.as_ref().is_some_and(|key| key.is_bare && key.quote.is_some()) => None,
        _ if !PROSE_DIGITS.contains(&at.len()) => {
            last_word(&line[..at.start]).is_some_and(|word| one_of(word, &CARDS)).then_some(None)
        }
        _ => (is_whole || is_paid(line, at)).then_some(None),
    }
}

/// The name before a value.
struct Key<'a> {
    name: &'a [u8],
    /// Its quotes.
    quote: Option<Quote>,
    /// Whether the value has none.
    is_bare: bool,
    /// `word: value`, where the word may be any of a sentence.
    is_prose: bool,
}

/// The name of the setting, the member or the element whose value begins at `at`.
fn key_before(line: &[u8], at: usize) -> Option<Key<'_>> {
    let before = &line[at.saturating_sub(BEFORE_BYTES_MAX)..at];
    let unquoted = without_quote(before);
    let spaced = unquoted.trim_ascii_end();
    let is_bare = unquoted.len() == before.len();
    let is_name = |b: u8| is_name(b) || matches!(b, b'[' | b']' | b'#');
    let name_of =
        |text: &'_ [u8]| -> usize { text.iter().rev().take_while(|b| is_name(**b)).count() };
    // `<Pan>4111…</Pan>`
    if let Some(element) = before.strip_suffix(b">") {
        let name = &element[element.len() - name_of(element)..];
        return Some(Key { name, quote: None, is_bare: true, is_prose: false });
    }
    let is_colon = spaced.ends_with(b":");
    let arrow = spaced.strip_suffix(b"=>").or_else(|| spaced.strip_suffix(b":="));
    let named =
        arrow.or_else(|| spaced.strip_suffix(b"=")).or_else(|| spaced.strip_suffix(b":"))?;
    let named = named.trim_ascii_end();
    let inside = without_quote(named);
    let quote = if inside.len() < named.len() { skip_quote(named, inside.len()).1 } else { None };
    let is_prose = is_colon && quote.is_none() && spaced.len() < unquoted.len();
    let name = match quote {
        // A name in quotes may be several words.
        Some(quote) => {
            let start = inside.iter().rposition(|b| *b == quote.byte).map_or(0, |n| n + 1);
            &inside[start..]
        }
        None if is_prose => inside,
        None => &inside[inside.len() - name_of(inside)..],
    };
    let name = if is_prose { last_words(name) } else { name };
    let is_text = name.iter().any(u8::is_ascii_alphabetic);
    is_text.then_some(Key { name, quote, is_bare, is_prose })
}

/// `text` without a quotation mark at its end.
fn without_quote(text: &[u8]) -> &[u8] {
    match text {
        [rest @ .., b'"' | b'\''] => {
            let backslashes = rest.iter().rev().take_while(|b| **b == b'\\').count();
            &rest[..rest.len() - backslashes]
        }
        _ => text,
    }
}

/// The last two words: `card number`.
fn last_words(text: &[u8]) -> &[u8] {
    let is_part = |b: &u8| is_name(*b) || matches!(b, b' ' | b'#');
    let start = text.len() - text.iter().rev().take_while(|b| is_part(b)).count();
    let text = &text[start..];
    let mut spaces = (0..text.len()).rev().filter(|i| text[*i] == b' ');
    match (spaces.next(), spaces.next()) {
        (_, Some(second)) => &text[second + 1..],
        _ => text,
    }
}

/// The words of a name: `cardNumber`, `card_number`, `CARD-NUMBER`.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = end_of(name, at, |b| !b.is_ascii_alphabetic());
        let is_next = |i: usize| {
            i > start && name[i].is_ascii_uppercase() && name[i - 1].is_ascii_lowercase()
        };
        let end = (start..name.len()).find(|i| !name[*i].is_ascii_alphabetic() || is_next(*i));
        at = end.unwrap_or(name.len());
        (at > start).then(|| &name[start..at])
    })
}

fn one_of(word: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

fn last_word(text: &[u8]) -> Option<&[u8]> {
    words(&text[text.len().saturating_sub(BEFORE_BYTES_MAX)..]).last()
}

/// Whether a name is that of a card's number.
fn is_card(name: &[u8]) -> bool {
    words(name).any(|word| one_of(word, &CARDS))
        && !words(name).last().is_some_and(|word| one_of(word, &OTHERS))
}

/// Whether a name says no more than that there is a number.
fn is_number(name: &[u8]) -> bool {
    const NUMBERS: [&str; 4] = ["number", "num", "no", "nr"];
    let mut words = words(name);
    words.next().is_some_and(|word| one_of(word, &NUMBERS)) && words.next().is_none()
}

/// Whether words of payment stand around a number, and it is not said to be something else.
fn is_paid(line: &[u8], at: Range<usize>) -> bool {
    let before = &line[at.start.saturating_sub(BEFORE_BYTES_MAX)..at.start];
    let behind = &line[at.end..line.len().min(at.end + BEHIND_BYTES_MAX)];
    let says = |word: &[u8]| one_of(word, &CARDS) || one_of(word, &PAYMENTS);
    let is_thing = last_word(before).is_some_and(|word| one_of(word, &THINGS));
    !is_thing && words(before).chain(words(behind)).any(says)
}
