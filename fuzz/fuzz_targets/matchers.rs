//! Alertmanager's matchers: reading never panics, and what was read is written so that it is read the same.

#![no_main]

use alert::matcher::Syntax;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for syntax in [Syntax::Classic, Syntax::Utf8, Syntax::Fallback] {
        let Ok(parsed) = syntax.parse(text) else { continue };
        let written = parsed.matchers.to_string();
        // An escape such as `\t` of a name or value in quotes is one of the UTF-8 grammar's.
        if syntax != Syntax::Fallback {
            let again = syntax.parse(&written).map(|again| again.matchers);
            assert_eq!(again.ok(), Some(parsed.matchers), "{text:?} {syntax:?}");
        }
    }
    let one = Syntax::Utf8.parse_one(text).ok();
    assert!(one.is_none() || Syntax::Utf8.parse(text).is_ok_and(|p| p.matchers.0.len() == 1));
});
