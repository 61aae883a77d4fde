//! Regular expressions written for RE2 (Go, Prometheus, Loki), as the engine here wants them.
//!
//! Owns: the differences in syntax and meaning. Does not own: compiling, anchoring, limits. Source: the syntax pages of
//! RE2 and of the `regex` crate.

/// `pattern`, written for RE2, as the `regex` crate wants it.
///
/// `\d`, `\w`, `\s` and `\b` know ASCII only; a brace that opens no repetition is a character, and so are `[`, `&`, `~` and
/// a second `-` in a class; `\Q…\E` quotes; `\12` is octal; `\<` and `\>` are characters; `\p{^Greek}` is `\P{Greek}`.
/// What is malformed stays so.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = rest.split_at(c.len_utf8()).1;
        rest = match c {
            '\\' => translate_escape(tail, in_class, &mut out),
            '[' if !in_class => {
                in_class = true;
                translate_class_start(tail, &mut out)
            }
            '[' => match tail.strip_prefix(':').and_then(|t| t.split_once(":]")) {
                Some((name, after)) => {
                    out.push_str(&format!("[:{name}:]"));
                    after
                }
                None => {
                    out.push_str("\\[");
                    tail
                }
            },
            ']' => {
                in_class = false;
                out.push(']');
                tail
            }
            '{' if !in_class && !opens_repetition(tail) => {
                out.push_str("\\{");
                tail
            }
            '-' if in_class && tail.starts_with('-') => {
                // Up to a hyphen.
                out.push_str("-\\-");
                tail.split_at(1).1
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
                tail
            }
            _ => {
                out.push(c);
                tail
            }
        };
    }
    out
}

/// Writes the start of the class whose bracket stood in front of `rest`; what is left behind it.
fn translate_class_start<'t>(rest: &'t str, out: &mut String) -> &'t str {
    out.push('[');
    let inside = rest.strip_prefix('^').unwrap_or(rest);
    out.push_str(if inside.len() < rest.len() { "^" } else { "" });
    // A bracket that would close an empty class is one of its characters, and so is a hyphen with nothing before it.
    if let Some(after) = inside.strip_prefix(']') {
        out.push_str("\\]");
        return after;
    }
    match inside.strip_prefix('-') {
        Some(after) => {
            out.push_str("\\-");
            after
        }
        None => inside,
    }
}

/// Writes the escape whose backslash stood in front of `rest`; what is left behind it.
fn translate_escape<'t>(rest: &'t str, in_class: bool, out: &mut String) -> &'t str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let tail = rest.split_at(c.len_utf8()).1;
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        '<' | '>' => out.push(c),
        '0'..='7' if c == '0' || tail.starts_with(|c| matches!(c, '0'..='7')) => {
            let digits = rest.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            let (octal, after) = rest.split_at(digits);
            let code = u32::from_str_radix(octal, 8).unwrap_or(0);
            out.push_str(&format!("\\x{{{code:x}}}"));
            return after;
        }
        'Q' => {
            let (quoted, after) = tail.split_once("\\E").unwrap_or((tail, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        'p' | 'P' if tail.starts_with("{^") => {
            out.push('\\');
            out.push(if c == 'p' { 'P' } else { 'p' });
            out.push('{');
            return tail.split_at(2).1;
        }
        'p' | 'P' | 'x' if tail.starts_with('{') => {
            let len = tail.find('}').map_or(tail.len(), |end| end + 1);
            let (braced, after) = tail.split_at(len);
            out.push('\\');
            out.push(c);
            out.push_str(braced);
            return after;
        }
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    tail
}

/// Whether `2}`, `2,}` or `2,3}` stands behind a brace.
fn opens_repetition(rest: &str) -> bool {
    let Some((bounds, _)) = rest.split_once('}') else { return false };
    let (low, high) = bounds.split_once(',').unwrap_or((bounds, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    fn check(pattern: &str, hits: &[&str], misses: &[&str]) {
        let regex = Regex::new(&super::translate(pattern)).unwrap();
        for text in hits {
            assert!(regex.is_match(text), "{pattern} misses {text:?}");
        }
        for text in misses {
            assert!(!regex.is_match(text), "{pattern} hits {text:?}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        check(r"^\p{Greek}+\{{$", &["αβ{{"], &["ab{{"]);
        check(r"^\p{^Greek}\P{^L}\pN$", &["ab1", "éα٣"], &["αb1", "a11"]);
        check(r"^[^[\]]+[]&&~\w]$", &["x]", "x~", "xa", "x&"], &["[]", "xé"]);
        check(r"^[[:alpha:]\D]$", &["a", "-"], &["1"]);
        check(r"^[\w-.]+[\d.-]$", &["a-b.c-", "a1"], &["a b1"]);
        check(r"^[--/][+--][a-c-]$", &[".,-", "--b"], &["+-b"]);
        check(r"^\Qa.b[\E\b", &["a.b[c"], &["axb[c"]);
        check(r"\S\s\W\x{e9}", &["a\t-é"], &["a-\té"]);
        check(r"^\<\_\>\101\0$", &["<_>A\0"], &["_"]);
    }

    #[test]
    fn braces_are_literal_where_they_repeat_nothing() {
        check(r"^a{b}$", &["a{b}"], &["ab"]);
        check(r"^\${pod}$", &["${pod}"], &["$pod"]);
        check(r"^a{,3}{2x}{$", &["a{,3}{2x}{"], &["aaa"]);
        check(r"^a{2,3}b{1}c{2,}$", &["aabcc"], &["abc", "aab"]);
    }
}
