//! Go's templates: parsing and rendering never panic, come to an end, stay within bounds and are the same twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use query::template::{ANY_LIST, ANY_MAP, Caller, Env, Moment, OUTPUT_BYTES_MAX, Set, TEXT_MAP, Value};

struct Nothing;

impl Env for Nothing {
    fn call(&self, _: &Caller<'_>, name: &'static str, _: &[Value]) -> Result<Value, String> {
        Err(format!("no function {name}"))
    }
}

fn data() -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    let labels = vec![("k".to_owned(), text("<é>")), ("j".to_owned(), text(""))];
    let list = vec![text("x"), Value::Int(-1), Value::Float(2.5), Value::Nil];
    let items = [
        ("a", text("a%d b")),
        ("n", Value::Int(42)),
        ("t", Value::Bool(true)),
        ("l", Value::list(&ANY_LIST, list)),
        ("m", Value::map(&TEXT_MAP, labels)),
        ("s", Value::Time(Moment::utc(i64::MAX))),
        ("d", Value::Duration(i64::MIN)),
    ];
    Value::map(&ANY_MAP, items.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fuzz_target!(|text: &str| {
    let mut set = Set::new(&[]);
    if set.parse("t", text).is_err() {
        assert!(!set.contains("t"));
        return;
    }
    let rendered = set.render("t", &Nothing, data());
    assert_eq!(rendered, set.render("t", &Nothing, data()));
    // A last piece may go over the limit, and itself be as long as the template or a printed value.
    assert!(rendered.map_or(0, |t| t.len()) <= 2 * OUTPUT_BYTES_MAX + text.len());
});
