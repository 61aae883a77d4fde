//! What parses, what binds how, and what is said of mistakes.

use proptest::prelude::*;

use crate::traceql::ast::{Expr, Form, Metric, Relation, Root, Spanset, SpansetOp, Stage};
use crate::traceql::parse;

fn stages(text: &str) -> Vec<Stage> {
    match parse(text).unwrap().root {
        Root::Spans(stages) => stages,
        Root::Metrics(metric) => panic!("{text} is {metric:?}"),
    }
}

fn filter(text: &str) -> Expr {
    match stages(text).pop() {
        Some(Stage::Spans(Spanset::Filter(expr))) => expr,
        other => panic!("{text} is {other:?}"),
    }
}

/// The error is about `what`, at `place`.
fn refused(text: &str, place: &str, what: &str) {
    let error = parse(text).unwrap_err();
    let (start, end) = error.span().unwrap();
    assert_eq!(&text[start..end], place, "{text}: {error}");
    assert!(error.message().contains(what), "{text}: {error}");
}

#[test]
fn mistakes_are_named_where_they_are() {
    refused("{ nmae = \"x\" }", "nmae", "did you mean name?");
    refused("{ service = \"x\" }", "service", ".service or span.service");
    refused("{ status = 1 }", "status = 1", "not a status and a number or duration");
    refused("{ duration > \"1s\" }", "duration > \"1s\"", "values of one type");
    refused("{ kind }", "kind", "not by a kind");
    refused("{ .a =~ \"[\" }", "\"[\"", "invalid regular expression");
    refused("{ name = nil }", "name", "not compared with nil");
    refused("{} | rat()", "rat", "did you mean rate?");
    refused("{} | rate() | topk(0)", ")", "an integer above 0");
    refused("count() > 1 && { true }", "&&", "needs spans in front");
    refused("{ true } + { true }", "+", "between spans and spans");
    refused("{} | count()", "", "needs a comparison");
    refused("({} | rate()) > 10s", ">", "no durations");
    refused("{} | quantile_over_time(duration, 95)", "95", "between 0 and 1");
    refused("{ parent }", "parent", "not supported");
    refused(&"(".repeat(200), "(", "nested over 100");
    let long = "{".repeat(20_000);
    refused(&long, &long, "the limit is 16384");
}

#[test]
fn operators_bind_as_in_tempo() {
    let Expr::And(left, _) = filter("{ .a || .b && .c }") else { panic!() };
    assert!(matches!(*left, Expr::Or(..)));
    let Expr::Compare(_, left, _) = filter("{ .a + 2 * .b = 3 }") else { panic!() };
    assert!(matches!(*left, Expr::Calculate(..)));
    assert!(matches!(filter("{ !.a || .b }"), Expr::Or(..)));
    let Some(Stage::Spans(Spanset::Operation(op, left, _))) = stages("{} > {} && {} !>> {}").pop()
    else {
        panic!()
    };
    assert_eq!(op, SpansetOp::And);
    let Spanset::Operation(op, ..) = *left else { panic!() };
    assert_eq!(op, SpansetOp::Structural(Relation::Child, Form::Related));
    assert_eq!(stages("{} | by(.a) | count() > 1 | select(.a, name) | coalesce()").len(), 5);
}

#[test]
fn metrics_are_told_from_searches() {
    let metric = |text: &str| match parse(text).unwrap().root {
        Root::Metrics(metric) => metric,
        Root::Spans(stages) => panic!("{text} is {stages:?}"),
    };
    assert!(matches!(metric("{} | rate() by (.a) > 2"), Metric::Filter(..)));
    assert!(matches!(metric("2 * ({} | rate()) | topk(3)"), Metric::Extreme { .. }));
    let hints = parse("{} | rate() with (sample=0.1, exemplars=true)").unwrap().hints;
    assert_eq!(hints.len(), 2);
    assert!(matches!(metric("{} | avg_over_time(duration) > 10ms"), Metric::Filter(_, _, 0.01)));
}

proptest! {
    #[test]
    fn noise_is_refused_with_its_place(
        pieces in proptest::collection::vec(prop::sample::select(vec![
            "{", "}", "(", ")", "|", "&&", ">>", "!~", "=", ">", ".a", "span.\"b c\"", "name",
            "1", "5s", "\"x", "\"x\"", "count()", "rate()", "by(", "-", "!", " ", "é", "parent.",
            "topk(1)", "with(", "nil", "select(", ",", "^",
        ]), 0..40)
    ) {
        let text = pieces.concat();
        if let Err(e) = parse(&text) {
            let (start, end) = e.span().expect("a place");
            prop_assert!(start <= end && text.get(start..end).is_some(), "{e} at {start}..{end}");
        }
    }
}
