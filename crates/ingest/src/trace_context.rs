//! Who called us: the trace and span that a request's headers name, in the words of W3C, B3 and Jaeger.
//!
//! Pure and bounded; a header that is none is as good as absent, as the specifications ask for it. Does not own: what is
//! done with it. Source: W3C Trace Context level 1, `openzipkin/b3-propagation`, Jaeger's client libraries.

/// Bytes of `tracestate` that are passed on; more is left out, as the specification allows.
const STATE_BYTES_MAX: usize = 512;

/// The caller's span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Its trace, never 0.
    pub trace_id: u128,
    /// Its id, never 0.
    pub span_id: u64,
    /// Whether its trace is recorded, if the caller said so.
    pub is_sampled: Option<bool>,
    /// W3C `tracestate`, as it came.
    pub trace_state: String,
}

/// The context in headers, which `header` looks up by their names in lower case. W3C's counts before B3's, and that before Jaeger's.
pub fn read<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<TraceContext> {
    let w3c = header("traceparent").and_then(traceparent);
    if let Some(mut context) = w3c {
        let state = header("tracestate").unwrap_or("").trim();
        if state.len() <= STATE_BYTES_MAX {
            context.trace_state = state.to_owned();
        }
        return Some(context);
    }
    let b3 = header("b3").and_then(b3_single);
    b3.or_else(|| b3_multi(&header)).or_else(|| header("uber-trace-id").and_then(jaeger))
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`
fn traceparent(text: &str) -> Option<TraceContext> {
    let mut fields = text.trim().split('-');
    let version = of_length(fields.next()?, 2)?;
    let trace_id = of_length(fields.next()?, 32)?;
    let span_id = of_length(fields.next()?, 16)?;
    let flags = of_length(fields.next()?, 2)?;
    // Later versions may have more fields; this one does not, and the last one is none.
    let is_known = version == "00";
    if version == "ff" || (is_known && fields.next().is_some()) {
        return None;
    }
    let lower = |text: &str| !text.bytes().any(|b| b.is_ascii_uppercase());
    if ![version, trace_id, span_id, flags].into_iter().all(lower) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    context(trace_id, span_id, Some(flags & 1 == 1))
}

/// `80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90`, of which the last two may be missing.
fn b3_single(text: &str) -> Option<TraceContext> {
    let mut fields = text.trim().split('-');
    let (trace_id, span_id) = (fields.next()?, fields.next()?);
    let is_sampled = fields.next().and_then(b3_sampled);
    b3_context(trace_id, span_id, is_sampled)
}

fn b3_multi<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<TraceContext> {
    let trimmed = |name: &str| header(name).map(str::trim);
    let is_debug = trimmed("x-b3-flags") == Some("1");
    let sampled = trimmed("x-b3-sampled").and_then(b3_sampled);
    let sampled = if is_debug { Some(true) } else { sampled };
    b3_context(trimmed("x-b3-traceid")?, trimmed("x-b3-spanid")?, sampled)
}

fn b3_context(trace_id: &str, span_id: &str, is_sampled: Option<bool>) -> Option<TraceContext> {
    if trace_id.len() != 32 {
        of_length(trace_id, 16)?;
    }
    context(trace_id, of_length(span_id, 16)?, is_sampled)
}

fn b3_sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// `4bf92f3577b34da6:00f067aa0ba902b7:0:1`: trace, span, parent and flags, without leading zeros, maybe with `%3A` for `:`.
fn jaeger(text: &str) -> Option<TraceContext> {
    let text = text.trim().replace("%3A", ":").replace("%3a", ":");
    let mut fields = text.split(':');
    let (trace_id, span_id) = (fields.next()?, fields.next()?);
    let _parent = fields.next()?;
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    if fields.next().is_some() || trace_id.len() > 32 || span_id.len() > 16 {
        return None;
    }
    context(trace_id, span_id, Some(flags & 1 == 1))
}

fn of_length(text: &str, length: usize) -> Option<&str> {
    (text.len() == length).then_some(text)
}

fn context(trace_id: &str, span_id: &str, is_sampled: Option<bool>) -> Option<TraceContext> {
    let is_hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hexadecimal(trace_id) || !is_hexadecimal(span_id) {
        return None;
    }
    let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| *id != 0)?;
    let span_id = u64::from_str_radix(span_id, 16).ok().filter(|id| *id != 0)?;
    Some(TraceContext { trace_id, span_id, is_sampled, trace_state: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    /// Trace, span and whether it is sampled, as text.
    fn check(headers: &[(&str, &str)], expect: &str) {
        let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| *v);
        let found = read(find).map_or("nothing".to_owned(), |context| {
            let TraceContext { trace_id, span_id, is_sampled, trace_state } = context;
            let sampled = is_sampled.map_or("?", |is| if is { "yes" } else { "no" });
            format!("{trace_id:032x} {span_id:016x} {sampled} {trace_state}").trim().to_owned()
        });
        assert_eq!(found, expect, "{headers:?}");
    }

    #[test]
    fn w3c_is_read_and_anything_else_is_none() {
        let one = |value: &str, expect: &str| check(&[("traceparent", value)], expect);
        one(&format!("00-{TRACE}-{SPAN}-01"), &format!("{TRACE} {SPAN} yes"));
        one(&format!(" 00-{TRACE}-{SPAN}-02 "), &format!("{TRACE} {SPAN} no"));
        one(&format!("01-{TRACE}-{SPAN}-01-new"), &format!("{TRACE} {SPAN} yes"));
        for bad in [
            "",
            "00",
            &format!("00-{TRACE}-{SPAN}"),
            &format!("00-{TRACE}-{SPAN}-1"),
            &format!("00-{TRACE}-{SPAN}-01-"),
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            &format!("00-{}-{SPAN}-01", "é".repeat(16)),
        ] {
            one(bad, "nothing");
        }
        let both = |state: &str, expect: &str| {
            let parent = format!("00-{TRACE}-{SPAN}-01");
            check(&[("traceparent", &parent), ("tracestate", state)], expect);
        };
        both("congo=t61rcWkgMzE", &format!("{TRACE} {SPAN} yes congo=t61rcWkgMzE"));
        both(&"x".repeat(513), &format!("{TRACE} {SPAN} yes"));
    }

    #[test]
    fn b3_and_jaeger_are_read() {
        let half = format!("{}{}", "0".repeat(16), &TRACE[16..]);
        check(
            &[("b3", &format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"))],
            &format!("{TRACE} {SPAN} yes"),
        );
        check(&[("b3", &format!("{}-{SPAN}-d", &TRACE[16..]))], &format!("{half} {SPAN} yes"));
        check(&[("b3", &format!("{TRACE}-{SPAN}"))], &format!("{TRACE} {SPAN} ?"));
        check(&[("b3", "0")], "nothing");
        check(&[("b3", &format!("{}-{SPAN}", &TRACE[1..]))], "nothing");
        let multi = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        check(&multi, &format!("{TRACE} {SPAN} ?"));
        check(&[multi[0], multi[1], ("x-b3-sampled", "0")], &format!("{TRACE} {SPAN} no"));
        check(
            &[multi[0], multi[1], ("x-b3-sampled", "0"), ("x-b3-flags", "1")],
            &format!("{TRACE} {SPAN} yes"),
        );
        check(&multi[..1], "nothing");
        let jaeger = |value: &str, expect: &str| check(&[("uber-trace-id", value)], expect);
        jaeger(&format!("{TRACE}:f067aa0ba902b7:0:1"), &format!("{TRACE} {SPAN} yes"));
        jaeger(&format!("{TRACE}%3A{SPAN}%3A0%3a0"), &format!("{TRACE} {SPAN} no"));
        jaeger("1:2:0:3", &format!("{:032x} {:016x} yes", 1, 2));
        for bad in ["", "1:2:0", "1:2:0:1:1", "0:2:0:1", "1:2:0:x", &format!("1{TRACE}:1:0:1")] {
            jaeger(bad, "nothing");
        }
    }

    #[test]
    fn the_standard_counts_first() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let b3 = format!("{}-{SPAN}-0", &TRACE[16..]);
        check(&[("b3", &b3), ("traceparent", &parent)], &format!("{TRACE} {SPAN} yes"));
        let half = format!("{}{}", "0".repeat(16), &TRACE[16..]);
        check(
            &[("b3", &b3), ("traceparent", "nonsense"), ("uber-trace-id", "1:2:0:1")],
            &format!("{half} {SPAN} no"),
        );
    }
}
