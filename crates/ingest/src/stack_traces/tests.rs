//! Traces of each language, and what must stay apart.

use super::*;

/// Sends `lines` with times a millisecond apart; each joined record comes back.
fn joined(lines: &str) -> Vec<String> {
    let mut joiner = Joiner::default();
    let mut records = Vec::new();
    let mut marks = Vec::new();
    let mut out = |record: Record<'_, usize>| {
        records.push(record.line.to_owned());
        marks.extend_from_slice(record.marks);
    };
    for (i, line) in lines.split('\n').enumerate() {
        joiner.push(line, i as i64 * 1_000_000, i, 0, &mut out);
    }
    joiner.flush(&mut out);
    // Every line comes out once, in order.
    assert_eq!(marks, (0..lines.split('\n').count()).collect::<Vec<_>>());
    assert_eq!(records.join("\n"), lines);
    records
}

/// `trace` between two other lines is one record.
fn check(trace: &str) {
    let records = joined(&format!("before\n{trace}\nafter it"));
    assert_eq!(records, ["before", trace, "after it"]);
    // Twice, one behind the other.
    assert_eq!(joined(&format!("{trace}\n{trace}")), [trace, trace]);
}

#[test]
fn java() {
    check(
        "Exception in thread \"main\" java.lang.IllegalStateException: no disk\n\
         \tat com.shop.Disk.open(Disk.java:12)\n\
         \tat java.base/java.lang.Thread.run(Thread.java:840)\n\
         \tSuppressed: java.io.IOException: close\n\
         \t\tat com.shop.Disk.close(Disk.java:30)\n\
         \t\t... 2 more\n\
         Caused by: java.io.IOException: gone\n\
         \tat com.shop.Disk.read(Disk.java:44)\n\
         \t... 3 common frames omitted",
    );
}

#[test]
fn messages_of_several_lines_of_java() {
    check(
        "org.postgresql.util.PSQLException: ERROR: relation \"carts\" does not exist\n  \
         Position: 15\n\
         \tat org.postgresql.core.v3.QueryExecutorImpl.receive(QueryExecutorImpl.java:2725)\n\
         \tat com.shop.Carts.load(Carts.java:30)\n\
         Caused by: java.lang.IllegalStateException: first\n\
         second line: what was found\n\
         \tat com.shop.Carts.open(Carts.java:12)\n\
         \t... 3 more",
    );
    // Without a frame they stay by themselves, and so does what begins a record.
    let apart = "request failed: IOException\nusers: 7\nqueue: 9";
    assert_eq!(joined(apart).len(), 3);
    let apart =
        "request failed: IOException\n2026-05-01 10:00:00 next\n\tat com.shop.A.b(A.java:1)";
    assert_eq!(joined(apart).len(), 3);
}

#[test]
fn dot_net() {
    check(
        "Unhandled exception. System.InvalidOperationException: outer\n \
         ---> System.IO.IOException: inner\n   \
         at Shop.Disk.Read(String path) in /src/Disk.cs:line 7\n   \
         --- End of inner exception stack trace ---\n   \
         at Shop.Program.Main()\n\
         --- End of stack trace from previous location ---\n   \
         at Shop.Program.<Main>()",
    );
}

#[test]
fn exception_groups_of_python() {
    check(
        &[
            "  + Exception Group Traceback (most recent call last):",
            "  |   File \"<string>\", line 4, in <module>",
            "  |   File \"<string>\", line 3, in m",
            "  | ExceptionGroup: several (2 sub-exceptions)",
            "  +-+---------------- 1 ----------------",
            "    | ValueError: a",
            "    +---------------- 2 ----------------",
            "    | TypeError: b",
            "    +------------------------------------",
        ]
        .join("\n"),
    );
    check(
        &[
            "  + Exception Group Traceback (most recent call last):",
            "  |   File \"/tmp/eg.py\", line 12, in <module>",
            "  |     try: main()",
            "  |          ^^^^^^",
            "  |   File \"/tmp/eg.py\", line 11, in main",
            "  |     raise ExceptionGroup(\"several\", errs+[ExceptionGroup(\"nested\",[OSError(\"x\")])])",
            "  | ExceptionGroup: several (3 sub-exceptions)",
            "  +-+---------------- 1 ----------------",
            "    | Traceback (most recent call last):",
            "    |   File \"/tmp/eg.py\", line 3, in inner",
            "    |     raise KeyError(\"k\")",
            "    | KeyError: 'k'",
            "    | ",
            "    | The above exception was the direct cause of the following exception:",
            "    | ",
            "    | Traceback (most recent call last):",
            "    |   File \"/tmp/eg.py\", line 9, in main",
            "    |     try: f()",
            "    |          ^^^",
            "    |   File \"/tmp/eg.py\", line 5, in inner",
            "    |     raise ValueError(\"bad\") from e",
            "    | ValueError: bad",
            "    +---------------- 2 ----------------",
            "    | Traceback (most recent call last):",
            "    |   File \"/tmp/eg.py\", line 9, in main",
            "    |     try: f()",
            "    |          ^^^",
            "    |   File \"/tmp/eg.py\", line 8, in <lambda>",
            "    |     for f in (inner, lambda: 1/0):",
            "    |                              ~^~",
            "    | ZeroDivisionError: division by zero",
            "    +---------------- 3 ----------------",
            "    | ExceptionGroup: nested (1 sub-exception)",
            "    +-+---------------- 1 ----------------",
            "      | OSError: x",
            "      +------------------------------------",
            "",
            "The above exception was the direct cause of the following exception:",
            "",
            "Traceback (most recent call last):",
            "  File \"/tmp/eg.py\", line 13, in <module>",
            "    except ExceptionGroup as e: raise RuntimeError(\"outer\") from e",
            "                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
            "RuntimeError: outer"
        ]
        .join("\n"),
    );
}

#[test]
fn node() {
    check(
        "TypeError: Cannot read properties of undefined (reading 'x')\n    \
         at Object.<anonymous> (/app/index.js:3:9)\n    \
         at async main (file:///app/main.mjs:1:1) {\n  \
         code: 'E_BAD',\n  \
         [cause]: Error: inner\n      \
         at load (/app/load.js:2:2)\n\
         }",
    );
}

#[test]
fn python() {
    check(
        "Traceback (most recent call last):\n  \
         File \"/app/a.py\", line 3, in <module>\n    \
         main()\n    ^^^^^^\n\
         ValueError: bad value\n\
         \n\
         During handling of the above exception, another exception occurred:\n\
         \n\
         Traceback (most recent call last):\n  \
         File \"/app/a.py\", line 5, in <module>\n\
         app.errors.Fatal: stop",
    );
}

#[test]
fn messages_of_several_lines_of_python() {
    let (first, last) = (
        "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\n",
        "Traceback (most recent call last):\n  File \"a.py\", line 5, in <module>\n    f()\nRuntimeError: no",
    );
    for (message, link) in [
        (
            "psycopg2.errors.UniqueViolation: duplicate key value\nDETAIL:  Key (id)=(1) already exists.\n",
            "The above exception was the direct cause of the following exception:",
        ),
        (
            "pydantic.ValidationError: 1 validation error for User\nname\n  Field required [type=missing]",
            "During handling of the above exception, another exception occurred:",
        ),
        (
            "IntegrityError: x\n\n[SQL: INSERT INTO t VALUES (?)]\n(Background on this error at: https://sqlalche.me/e/gkpj)",
            "During handling of the above exception, another exception occurred:",
        ),
    ] {
        check(&format!("{first}{message}\n\n{link}\n\n{last}"));
    }
    // What is no message is joined to nothing, and neither is the message of the last exception.
    let trace = format!("{first}ValueError: bad");
    for (rest, records) in [
        ("DETAIL: x\nready", 3),
        ("10.0.0.7 - - GET /\nDuring handling of the above exception, x", 3),
        ("2026-11-23 INFO x\n\nDuring handling of the above exception, x", 4),
        ("[2026-11-23 10:00:00] x\nDuring handling of the above exception, x", 3),
        ("WARNING: x\nThe above exception was the direct cause of x", 3),
        ("level=info msg=x\nThe above exception was the direct cause of x", 3),
        ("{\"a\":1}\nThe above exception was the direct cause of x", 3),
    ] {
        let found = joined(&format!("{trace}\n{rest}"));
        assert_eq!((found.len(), found[0].as_str()), (records, trace.as_str()), "{found:?}");
    }
    let other = "OSError: b\n\nDuring handling of the above exception, x\n";
    let found = joined(&format!("{trace}\nnext line\n{first}{other}"));
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[1], "next line");
    let long = format!("{trace}{}\nDuring handling of the above exception, x", "\nmore".repeat(80));
    assert_eq!(joined(&long).len(), 82);
}

#[test]
fn go() {
    check(
        "panic: runtime error: index out of range [3] with length 3 [recovered]\n\
         \tpanic: again\n\
         [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]\n\
         \n\
         goroutine 1 [running]:\n\
         main.(*Disk).read(0xc000012, {0x1, 0x2})\n\
         \t/app/main.go:12 +0x1d\n\
         created by net/http.(*Server).Serve in goroutine 7\n\
         \t/usr/lib/go/server.go:3285 +0x4b4\n\
         \n\
         goroutine 8 [select, 3 minutes]:\n\
         main.wait(...)\n\
         \t/app/wait.go:3\n\
         exit status 2",
    );
    check("goroutine 5 [running]:\nruntime/debug.Stack()\n\t/usr/lib/go/stack.go:24 +0x5e");
}

#[test]
fn rust() {
    check(
        "thread 'main' panicked at src/main.rs:2:5:\n\
         assertion `left == right` failed\n  \
         left: 1\n \
         right: 2\n\
         stack backtrace:\n   \
         0: std::panicking::begin_panic\n             \
         at /rustc/1/library/std/src/panicking.rs:1:2\n   \
         1: app::main\n\
         note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
    );
    check(
        "Error: cannot start\n\nCaused by:\n    0: cannot read x\n    1: No such file or directory\n\n\
         Stack backtrace:\n   0: anyhow::error",
    );
}

#[test]
fn node_from_where_it_was_thrown() {
    check(
        "/app/a.js:3\n  return x.missing.deep;\n                   ^\n\n\
         TypeError: Cannot read properties of undefined (reading 'deep')\n    \
         at load (/app/a.js:3:20)\n    \
         at node:internal/main/run_main_module:28:49\n\n\
         Node.js v20.20.2",
    );
    // A message of several lines, properties, and a cause.
    check(
        "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\n\
         Error: Cannot find module './nothing'\nRequire stack:\n- /app/e.js\n    \
         at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15) {\n  \
         code: 'MODULE_NOT_FOUND',\n  requireStack: [ '/app/e.js' ]\n}\n\n\
         Node.js v20.20.2",
    );
    check(
        "file:///app/g.mjs:123\n    triggerUncaughtException(\n    ^\n\n\
         AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:\n\n1 !== 2\n\n    \
         at file:///app/g.mjs:2:8 {\n  \
         code: 'ERR_ASSERTION'\n}\n\nNode.js v20.20.2",
    );
    check("/app/c.js:1\nthrow { code: 3 };\n^\n{ code: 3 }\n\nNode.js v20.20.2");
    check(
        "node:internal/process/promises:389\n      new UnhandledPromiseRejection(reason);\n      ^\n\n\
         UnhandledPromiseRejection: This error originated either\n    \
         at throwUnhandledRejectionsMode (node:internal/process/promises:389:7)",
    );
    check(
        "Error: outer\n    at main (/app/b.js:1:32)\n    ... 5 lines matching cause stack trace ...\n    \
         at node:internal/main/run_main_module:28:49 {\n  [cause]: TypeError: inner\n      \
         at main (/app/b.js:1:58)\n}\n\nNode.js v20.20.2",
    );
    check(
        "Error: Cannot find module 'x'\nRequire stack:\n- /app/a.js\n- /app/b.js\n    \
         at require (node:internal/modules/helpers:182:18)",
    );
}

#[test]
fn what_node_itself_prints() {
    let scripts = [
        "function load(x) {\n  return x.missing.deep;\n}\nload({});",
        "const e = new Error('outer', { cause: new TypeError('inner') }); e.code = 'E_BAD'; throw e;",
        "const x = ;",
        "require('./nothing');",
        "Promise.reject('why');",
        "require('assert').strictEqual(1, 2);",
        "throw new AggregateError([new Error('one'), new TypeError('two')], 'both');",
        "throw new Error('a message\\nof two lines\\n\\nand more');",
        "require('fs').readFileSync('/nope');",
        "JSON.parse('{bad');",
    ];
    for script in scripts {
        let Ok(output) = std::process::Command::new("node").args(["-e", script]).output() else {
            println!("skipped: no node here");
            return;
        };
        let text = String::from_utf8(output.stderr).unwrap();
        check(text.trim_end());
    }
}

#[test]
fn console_of_dot_net() {
    let header = "fail: Microsoft.AspNetCore.Server.Kestrel[13]";
    check(&format!(
        "{header}\n      Connection id \"0HM\", Request id \"0HM:1\": An unhandled exception.\n      \
         System.InvalidOperationException: outer\n       \
         ---> System.IO.IOException: inner\n         \
         at Shop.Disk.Read(String path) in /src/Disk.cs:line 7\n         \
         --- End of inner exception stack trace ---\n         \
         at Shop.Program.<>c.<Main>b__0_0() in /src/Program.cs:line 8"
    ));
    check("info: Microsoft.Hosting.Lifetime[14]\n      Now listening on: http://localhost:5000");
    check(
        "12:30:01 warn: Shop.ExceptionHandlerMiddleware[-1]\n      => SpanId:1\n      slow\n      ",
    );
}

#[test]
fn what_might_have_begun_a_trace_may_begin_another() {
    for (lines, expected) in [
        (
            "/app/a.js:3\nError: one\n    at f (/a.js:1:2)",
            ["/app/a.js:3", "Error: one\n    at f (/a.js:1:2)"].as_slice(),
        ),
        (
            "/app/a.js:3\n/app/b.js:4\n  x\n  ^\n\nError: two\nready",
            &["/app/a.js:3", "/app/b.js:4\n  x\n  ^\n\nError: two", "ready"],
        ),
        (
            "/app/a.js:3\nx\n^\n\nError: two\n\nNode.js v20.1.0\nNode.js v20.1.0",
            &["/app/a.js:3\nx\n^\n\nError: two\n\nNode.js v20.1.0", "Node.js v20.1.0"],
        ),
        (
            "Error: one\n\npanic: two\n\ngoroutine 1 [running]:",
            &["Error: one", "", "panic: two\n\ngoroutine 1 [running]:"],
        ),
    ] {
        assert_eq!(joined(lines), expected, "{lines:?}");
    }
}

#[test]
fn unrelated_lines_stay_apart() {
    let many = format!("/a.js:1\nx\n^\n\nError: two{}", "\nmore".repeat(80));
    assert_eq!(joined(&many).len(), 81);
    for lines in [
        "/app/a.js:3\nGET / 200\n\nTypeError: x",
        "/app/a.js:3\n\n^\n",
        "listening on /app/a.js:3\n  x\n  ^",
        "/metrics:9090\n  x\n  ^",
        "node:20\nready\n  at sea",
        "info: ready[1] now\n      indented",
        "info: the cart[1]\n      indented",
        "note: Shop[1]\n      indented",
        "fail: Shop[1]\n    four spaces",
        "Error: one\nError: two\n  indented",
        "Error: one\n\nnext paragraph",
        "2026 ERROR request failed with FooException\n2026 INFO next",
        "Traceback (most recent call last):\nno frame follows: this",
        "panic: boom\nstarted again",
        "goroutine 1 [running]:\nplain text (with parens)",
        "thread 'x' panicked at 'boom', a.rs:1:2\nready",
        "{\"error\":\"Exception\"}\n\tat x",
        "plain\n\tat x.y(Z.java:1)",
        "at sea\n\n\n",
    ] {
        let expected: Vec<&str> = lines.split('\n').collect();
        assert_eq!(joined(lines), expected, "{lines:?}");
    }
}

#[test]
fn records_are_bounded_in_time_lines_and_bytes() {
    let mut joiner = Joiner::default();
    let mut records = Vec::new();
    let mut out = |record: Record<'_, usize>| records.push((record.line.len(), record.marks.len()));
    joiner.push("java.lang.Error: x", 0, 0, 1_000, &mut out);
    assert_eq!(joiner.next_due_ns(), Some(1_000 + HOLD_NS));
    joiner.push("\tat a.b(C.java:1)", 0, 1, 2_000, &mut out);
    assert_eq!(joiner.held().map(|(_, mark)| *mark).collect::<Vec<_>>(), [0, 1]);
    joiner.flush_due(1_000 + HOLD_NS, &mut out);
    assert_eq!(joiner.held().map(|(_, mark)| *mark).collect::<Vec<_>>(), [0, 1]);
    joiner.flush_due(2_000 + HOLD_NS, &mut out);
    assert_eq!(joiner.next_due_ns(), None);
    // Two seconds later by its own time.
    joiner.push("java.lang.Error: x", 0, 0, 0, &mut out);
    joiner.push("\tat a.b(C.java:1)", 2_000_000_000, 1, 0, &mut out);
    joiner.push("java.lang.Error: x", 0, 0, 0, &mut out);
    for i in 1..2_500 {
        joiner.push("\tat a.b(C.java:1)", 0, i, 0, &mut out);
    }
    joiner.flush(&mut out);
    let lines: Vec<usize> = records.iter().map(|(_, lines)| *lines).collect();
    assert_eq!(lines, [2, 1, 1, 1_000, 1_000, 500]);
    let mut long = Vec::new();
    joiner.push("java.lang.Error: x", 0, 0, 0, &mut |r| long.push(r.line.len()));
    let frame = format!("\tat {}", "x".repeat(100_000));
    for i in 0..6 {
        joiner.push(&frame, 0, i, 0, &mut |r| long.push(r.line.len()));
    }
    joiner.flush(&mut |r| long.push(r.line.len()));
    assert!(long.iter().all(|len| *len <= BYTES_MAX), "{long:?}");
    assert_eq!(long.len(), 3);
}

proptest::proptest! {
    #[test]
    fn noise_comes_out_as_it_went_in(
        picks in proptest::collection::vec(0_usize..24, 1..60),
    ) {
        const LINES: [&str; 24] = [
            "", "x", "Error: a", "\tat a.b(C.java:1)", "Caused by: x", "Caused by:", "    0: y",
            "Traceback (most recent call last):", "  File", "E: z", "panic: p",
            "goroutine 1 [running]:", "main.f()", "\t/a.go:1", "thread 'm' panicked at a:",
            "During handling of the above exception", "/a.js:1", "  ^", "Node.js v20.1.0",
            "fail: A[1]", "      a", "Require stack:", "- /a.js", "Error [E]: b",
        ];
        let lines: Vec<&str> = picks.iter().map(|at| LINES[*at]).collect();
        joined(&lines.join("\n"));
    }
}
