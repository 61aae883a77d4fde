//! Laying out LogQL: what parses stays what it is, and is laid out the same the second time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use query::logql::{parse, prettify};

fuzz_target!(|text: &str| {
    let Ok(expr) = parse(text) else {
        assert!(prettify(text).is_err());
        return;
    };
    let pretty = prettify(text).expect("what parses can be laid out");
    // Indenting may make it longer than a query may be.
    let Ok(again) = parse(&pretty) else {
        assert!(pretty.len() > text.len(), "{text:?} became {pretty:?}");
        return;
    };
    assert_eq!(format!("{expr:?}"), format!("{again:?}"), "{text:?} became {pretty:?}");
    assert_eq!(prettify(&pretty).ok(), Some(pretty));
});
