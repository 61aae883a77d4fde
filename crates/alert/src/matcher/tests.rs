//! What each grammar reads, and what it says of what it does not.

use super::*;

fn check(syntax: Syntax, text: &str, expected: &str) {
    let found = match syntax.parse(text) {
        Ok(parsed) => {
            let caution = if parsed.caution.is_some() { " (classic)" } else { "" };
            format!("{}{caution}", parsed.matchers)
        }
        Err(e) => e.message().to_owned(),
    };
    assert_eq!(found, expected, "{text} as {syntax:?}");
}

#[test]
fn the_classic_grammar_reads_values_without_quotes() {
    let check = |text, expected| check(Syntax::Classic, text, expected);
    check("", "{}");
    check("{ a = b c , d!~\"e,f\" , }", "{a=\"b c\",d!~\"e,f\"}");
    check("a=b}", "{a=\"b\"}");
    check("a=\\n\\\\\\\"\\t", "{a=\"\\n\\\\\\\"\\\\t\"}");
    check("a=é", "{a=\"é\"}");
    check(",a=b", "bad matcher format: ");
    check("1a=b", "bad matcher format: 1a=b");
    check("é=b", "bad matcher format: é=b");
    check("a", "bad matcher format: a");
    check("a=\"b\"c", "matcher value contains unescaped double quote: \"b\"c");
    check("a=\"", "matcher value contains unescaped double quote: \"");
    check("a=~(", "error parsing regexp: unclosed group: `^(?:()$`");
}

#[test]
fn the_utf8_grammar_reads_any_name_and_says_where_it_is_wrong() {
    let check = |text: &str, expected: &str| check(Syntax::Utf8, text, expected);
    check("", "{}");
    check("{}", "{}");
    check("{ a = b , \"c d\"!~\"\\u00e9\\t\", }", "{a=\"b\",\"c d\"!~\"é\\t\"}");
    check("éa.b-c=x,", "{éa.b-c=\"x\"}");
    check("\"\"!=x", "{\"\"!=\"x\"}");
    check("\"\"!=x", "{\"\"!=\"x\"}");
    check("{", "0:1: end of input: expected close brace");
    check("}", "0:1: }: expected opening brace");
    check("a=b}", "0:4: }: expected opening brace");
    check("{a=b", "0:4: end of input: expected close brace");
    check("{a=b}}", "5:6: }: expected end of input");
    check("{,}", "1:2: unexpected ,: expected label name");
    check("a=b,,", "4:5: unexpected ,: expected a matcher or close brace after comma");
    check("a=b c=d", "4:5: unexpected c: expected a comma or close brace");
    check("é", "0:1: end of input: expected an operator such as '=', '!=', '=~' or '!~'");
    check("a b", "2:3: unexpected b: expected an operator such as '=', '!=', '=~' or '!~'");
    check("a=", "0:2: end of input: expected label value");
    check("a==", "2:3: unexpected =: expected label value");
    check("a=\"b", "2:4: \"b: missing end \": expected label value");
    check("a=\"\\z\"", "2:6: \"\\z\": invalid input");
    check("a=\"\\xff\"", "2:8: \"\\xff\": invalid input");
    check("a='b'", "2:3: ': invalid input: expected label value");
    let operator = "expected an operator such as '=', '!=', '=~' or '!~'";
    check("a!b", &format!("1:2: !: expected one of '=~': {operator}"));
    check("a!", &format!("1:2: unexpected end of input, expected one of '=~': {operator}"));
    check("a=b \\", "4:5: \\: invalid input: expected a comma or close brace");
}

#[test]
fn the_default_reads_what_either_grammar_reads() {
    let check = |text, expected| check(Syntax::Fallback, text, expected);
    check("{a=\"b\"}", "{a=\"b\"}");
    check("\"a b\"=c", "{\"a b\"=\"c\"}");
    check("a=b c", "{a=\"b c\"} (classic)");
    check("a=", "{a=\"\"} (classic)");
    // An escape that only one of them knows.
    check("a=\"\\t\"", "{a=\"\\\\t\"} (classic)");
    check("a", "bad matcher format: a");
}

#[test]
fn one_matcher_has_no_braces() {
    let check = |text: &str, expected: &str| {
        let found = Syntax::Fallback.parse_one(text);
        let found = found.map_or_else(|e| e.message().to_owned(), |m| m.to_string());
        assert_eq!(found, expected, "{text}");
    };
    check("a=b", "a=\"b\"");
    check("é=\"b\"", "é=\"b\"");
    check("{a=b}", "unexpected open or close brace: {a=b}");
    check("a=b,c=d", "a=\"b,c=d\"");
    check("", "bad matcher format: ");
    assert_eq!(Syntax::Utf8.parse_one("").unwrap_err().message(), "no matchers");
}

#[test]
fn an_absent_label_is_empty_and_patterns_are_anchored() {
    let check = |matcher: &str, pairs: &[(&str, &str)], expected: bool| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        let matchers = Syntax::Fallback.parse(matcher).unwrap().matchers;
        assert_eq!(matchers.matches(&labels), expected, "{matcher} on {pairs:?}");
    };
    check("a=\"\"", &[("b", "c")], true);
    check("a!=\"\"", &[("b", "c")], false);
    check("a=~\".*\"", &[], true);
    check("a=~\"b|c\"", &[("a", "cb")], false);
    check("a=~\"b|c\"", &[("a", "c")], true);
    check("a=~\"b.c\"", &[("a", "b\nc")], false);
    check("a!~\"b.c\",d=e", &[("a", "b\nc"), ("d", "e")], true);
    check("{}", &[], true);
}

#[test]
fn names_are_ascii_in_the_classic_grammar_only() {
    for (name, is_classic) in
        [("a_1", true), ("_", true), ("1a", false), ("a-b", false), ("é", false)]
    {
        assert_eq!(Syntax::Classic.is_label_name(name), is_classic, "{name}");
        assert!(Syntax::Fallback.is_label_name(name) && Syntax::Utf8.is_label_name(name));
    }
    assert!(!Syntax::Fallback.is_label_name("") && !Syntax::Classic.is_label_name(""));
}
