//! Tests of the engine. `go_cases.txt` holds templates with what Go's text/template 1.19 makes of them, written by a program
//! around it: `=` and the output, `P` and the error of parsing, `E` and the error of rendering.

use proptest::prelude::*;

use super::*;

static FUNCTIONS: &[Function] = &[
    Function::new("fail", &[Param::Text], |a| Err(format!("no {}", a[0].as_text()))),
    Function::new("up", &[Param::Text], |a| Ok(Value::Text(a[0].as_text().to_uppercase()))),
    Function::new("num", &[Param::Int], |a| Ok(Value::Int(a[0].as_int() * 2))),
    Function::new("half", &[Param::Float], |a| match a[0] {
        Value::Float(x) => Ok(Value::Float(x / 2.0)),
        _ => Err("no float".to_owned()),
    }),
    Function::variadic("cat", &[Param::Text], Param::Text, |a| {
        let tail: Vec<&str> = a[1..].iter().map(Value::as_text).collect();
        Ok(Value::Text(a[0].as_text().to_owned() + &tail.join("+")))
    }),
    Function::env("nested", &[Param::Text, Param::Any]),
];

static KV: Type = Type {
    name: "main.KV",
    methods: &[
        Function::new("Names", &[], |_| Ok(texts(&["n1", "n2"]))),
        Function::new("Get", &[Param::Text, Param::Int], |a| {
            let Value::Map(map) = &a[0] else { return Err("no map".to_owned()) };
            let found = map.get(a[1].as_text()).map_or("", Value::as_text);
            Ok(Value::Text(format!("{found}{}", a[2].as_int())))
        }),
    ],
    is_of_texts: true,
};
static RECORD: Type = Type { name: "main.St", methods: &[], is_of_texts: false };

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn texts(items: &[&str]) -> Value {
    Value::list(&TEXT_LIST, items.iter().map(|t| text(t)).collect())
}

fn data() -> Value {
    let map = |kind, items: &[(&str, &str)]| {
        Value::map(kind, items.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect())
    };
    let record = vec![
        ("Name", text("nm")),
        ("Num", Value::Int(7)),
        ("Kv", map(&KV, &[("q", "r")])),
        ("Any", Value::Nil),
    ];
    let list = vec![text("x"), Value::Int(1), Value::Float(2.5), Value::Nil];
    let items = [
        ("a", text("b")),
        ("n", Value::Int(42)),
        ("f", Value::Float(2.5)),
        ("t", Value::Bool(true)),
        ("l", Value::list(&ANY_LIST, list)),
        ("m", map(&TEXT_MAP, &[("k", "v"), ("j", "w")])),
        ("s", Value::record(&RECORD, record)),
        ("nil", Value::Nil),
        ("e", text("")),
        ("z", Value::Int(0)),
        ("time", Value::Time(Moment::utc(1_700_000_000_005_000_000_i64))),
        ("d", Value::Duration(90 * 60_000_000_000)),
    ];
    Value::map(&ANY_MAP, items.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

struct Nested;

impl Env for Nested {
    fn call(&self, caller: &Caller<'_>, _: &'static str, args: &[Value]) -> Result<Value, String> {
        caller.render(args[0].as_text(), args[1].clone()).map(Value::Text)
    }
}

/// `= output`, `P error of parsing` or `E error of rendering`.
fn outcome(template: &str) -> String {
    let mut set = Set::new(FUNCTIONS);
    if let Err(e) = set.parse("t", template) {
        return format!("P {}", e.message());
    }
    match set.render("t", &Nested, data()) {
        Ok(output) => format!("= {output}"),
        Err(error) => format!("E {error}"),
    }
}

/// The reverse of `\\` for a backslash and `\n` for a new line.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.clone().next() {
                Some('n') => chars.next().map_or(c, |_| '\n'),
                Some('\\') => chars.next().unwrap_or(c),
                _ => c,
            },
            c => c,
        });
    }
    out
}

fn check(template: &str, expected: &str) {
    assert_eq!(outcome(template), expected, "{template}");
}

#[test]
fn templates_do_what_go_does() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for case in include_str!("tests/go_cases.txt").trim_end().split("\n\n") {
        let (template, expected) = case.split_once('\n').unwrap();
        let template = unescaped(template);
        let found = outcome(&template).replace('\\', "\\\\").replace('\n', "\\n");
        if found != expected {
            wrong.push(format!("{template}\n  go:  {expected}\n  own: {found}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty() && count > 150, "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn newer_versions_of_go_know_more() {
    check("{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{else}}none{{end}}", "= 01201");
    check("{{range 0}}x{{else}}none{{end}}", "= none");
    check(
        "{{range $i, $j := 2}}{{end}}",
        "E template: t:1:18: executing \"t\" at <2>: can't use 2 to iterate over more than one variable",
    );
    check("{{with .e}}1{{else with .a}}2{{.}}{{else}}3{{end}}", "= 2b");
    check(
        "{{range 5}}{{if eq . 1}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}",
        "= 02",
    );
    check("{{9223372036854775808}}", "P template: t:1: integer overflow: \"9223372036854775808\"");
}

#[test]
fn what_a_template_costs_is_bounded() {
    for (template, error) in [
        ("{{range 1000000}}{{end}}", "100000 pieces"),
        ("{{range 1000}}{{range 1000}}{{end}}{{end}}", "100000 pieces"),
        ("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}", "maximum template depth"),
        ("{{define \"x\"}}{{nested \"x\" 1}}{{end}}{{nested \"x\" 1}}", "maximum template depth"),
        (
            "{{define \"x\"}}{{if .}}{{nested \"x\" .}}{{nested \"x\" .}}{{end}}{{end}}{{nested \"x\" 1}}",
            "maximum",
        ),
        ("{{$x := printf \"%4000d\" 1}}{{range 1000}}{{$x}}{{end}}", "output exceeds"),
        ("{{$x := printf \"%4000d\" 1}}{{range 1000}}{{$x = print $x $x}}{{end}}", "the limit is"),
    ] {
        let found = outcome(template);
        assert!(found.starts_with('E') && found.contains(error), "{template}: {found}");
    }
    let deep = format!("{}x{}", "{{if .t}}".repeat(60), "{{end}}".repeat(60));
    check(&deep, "= x");
    let deeper = format!("{}x{}", "{{if .t}}".repeat(100), "{{end}}".repeat(100));
    check(&deeper, "P template: t:1: nested over 64 levels deep");
    check(
        &format!("{{{{{}1{}}}}}", "(".repeat(100), ")".repeat(100)),
        "P template: t:1: nested over 64 levels deep",
    );
}

#[test]
fn a_set_keeps_templates_of_several_texts() {
    let mut set = Set::new(&[]);
    set.parse("first", "{{define \"x\"}}old{{end}}{{define \"y\"}}y{{end}}").unwrap();
    set.parse("second", "{{define \"x\"}}new{{end}}{{define \"y\"}} {{end}}{{template \"x\"}}")
        .unwrap();
    assert_eq!(set.names().collect::<Vec<_>>(), ["first", "second", "x", "y"]);
    assert_eq!(set.render("second", &Nested, Value::Nil).unwrap(), "new");
    assert_eq!(set.render("y", &Nested, Value::Nil).unwrap(), "y");
    assert!(set.parse("third", "{{define \"x\"}}{{end}}{{nope}}").is_err());
    assert_eq!(set.render("x", &Nested, Value::Nil).unwrap(), "new");
    assert!(set.render("z", &Nested, Value::Nil).is_err() && !set.contains("third"));
}

#[test]
fn pages_escape_what_is_printed() {
    let check = |template: &str, expected: Result<&str, &str>| {
        let mut set = Set::new(&[]).escaping_html();
        set.parse("t", template).unwrap();
        let labels = [
            ("x", "<b>&\"'+"),
            ("js", "javascript:alert(1)"),
            ("url", "http://a/b?c=d&e=ü"),
            ("css", "red"),
        ];
        let items = labels.map(|(name, value)| (name.to_owned(), text(value)));
        let found = set.render("t", &Nested, Value::map(&TEXT_MAP, items.to_vec()));
        match expected {
            Ok(expected) => assert_eq!(found, Ok(expected.to_owned()), "{template}"),
            Err(what) => assert!(found.is_err_and(|found| found.contains(what)), "{template}"),
        }
    };
    let x = "&lt;b&gt;&amp;&#34;&#39;&#43;";
    check("<p>{{.x}}</p>{{nil | print}}", Err("not a command"));
    check("<p>{{.x}}</p>", Ok(&format!("<p>{x}</p>")));
    check("<p title=\"{{.x}}\" id='{{.x}}'>", Ok(&format!("<p title=\"{x}\" id='{x}'>")));
    check("<p id={{.css}} class={{.nope}}>", Ok("<p id=red class=ZgotmplZ>"));
    check("<a href=\"{{.js}}\">", Ok("<a href=\"#ZgotmplZ\">"));
    check("<a href=\"{{.url}}\">", Ok("<a href=\"http://a/b?c=d&amp;e=%c3%bc\">"));
    check(
        "<a href=\"/x?y={{.url}}\">",
        Ok("<a href=\"/x?y=http%3a%2f%2fa%2fb%3fc%3dd%26e%3d%c3%bc\">"),
    );
    // What was escaped for its place already is not escaped again.
    check("<p>{{.x | html}}</p>", Ok("<p>&lt;b&gt;&amp;&#34;&#39;+</p>"));
    check(
        "<a href=\"/x?y={{urlquery .url}}\">{{.url | urlquery}}",
        Ok(
            "<a href=\"/x?y=http%3A%2F%2Fa%2Fb%3Fc%3Dd%26e%3D%C3%BC\">http%3A%2F%2Fa%2Fb%3Fc%3Dd%26e%3D%C3%BC",
        ),
    );
    check(
        "<p style=\"color: {{.css}}\">{{with .css}}<i>{{.}}</i>{{end}}",
        Ok("<p style=\"color: red\"><i>red</i>"),
    );
    check("<p style=\"color: {{.js}}\">", Ok("<p style=\"color: ZgotmplZ\">"));
    check(
        "a<!-- {{.x}} -->b<!DOCTYPE html><style>p > a {}</style>{{.css}}",
        Ok("ab<!DOCTYPE html><style>p > a {}</style>red"),
    );
    check("<script>a < b</script>{{.css}}", Ok("<script>a < b</script>red"));
    check("<script>{{.x}}</script>", Err("values in <script> are not supported"));
    check("<p onclick=\"{{.x}}\">", Err("are not supported"));
    check("<p {{.css}}=\"1\" {{.x}}>", Ok("<p red=\"1\" ZgotmplZ>"));
}

proptest! {
    #[test]
    fn foreign_templates_never_panic(
        template in "(\\{\\{|\\}\\}|-| |if |end|else|range |with |define |template |block |break|\"x\"|printf |index |slice |html |\\.(a|l|m|s|d|time)|\\$x|:=|=|,|\\||\\(|\\)|'|`|\"%5.2[é]v\"|x|é|[0-9]){0,14}",
    ) {
        let found = outcome(&template);
        prop_assert!(found.len() < 2 * OUTPUT_BYTES_MAX);
        prop_assert_eq!(found, outcome(&template));
    }
}
