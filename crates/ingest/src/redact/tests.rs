//! Secrets are found and replaced, what is none is left alone, and noise comes out bounded.

use std::sync::LazyLock;

use model::{Labels, LogRecord, LogRows};
use proptest::prelude::*;
use regex::Regex;

use super::anchors::ANCHORS;
use super::{Counts, Keys, Kind, Pattern, Redactor};

fn all() -> &'static Redactor {
    static ALL: LazyLock<Redactor> =
        LazyLock::new(|| Redactor::new(&Kind::ALL, Vec::new()).unwrap());
    &ALL
}

fn rows(lines: &[&str]) -> LogRows {
    let stream = Labels::from_pairs([("app", "web")]);
    let record = |line: &&str| LogRecord {
        stream: stream.clone(),
        t_ns: 1,
        line: (*line).to_owned(),
        fields: Labels::default(),
    };
    lines.iter().map(record).collect()
}

fn redacted(line: &str) -> String {
    let rows = rows(&[line]);
    all()
        .redact(&rows, |_| false, &Keys::default())
        .map_or(line.to_owned(), |(rows, _)| rows.row(0).line.to_owned())
}

#[test]
fn secrets_are_replaced_and_what_is_around_them_stays() {
    let jwt = format!("eyJ{}.eyJ{}.{}", "a1".repeat(12), "b2".repeat(12), "c3-_".repeat(8));
    let github = format!("ghp_{}", "aB3".repeat(12));
    for (line, expect) in [
        ("login password=hunter2 ok", "login password=[redacted:password] ok"),
        ("password=Tr0ub4dor&3 host=db1", "password=[redacted:password] host=db1"),
        ("Password=MyP@ss;w0rd;Database=x", "Password=[redacted:password];Database=x"),
        ("smtp pass=smtpS3cret9 ok", "smtp pass=[redacted:password] ok"),
        ("<Password>xmlS3cret</Password>", "<Password>[redacted:password]</Password>"),
        (
            "Proxy-Authorization: Digest username=\"x\", response=\"6629\"",
            "Proxy-Authorization: Digest [redacted:authorization]",
        ),
        ("DB_PASSWORD=s3cret!x", "DB_PASSWORD=[redacted:password]"),
        (
            r#"{"user":"a","password":"x\"y","n":1}"#,
            r#"{"user":"a","password":"[redacted:password]","n":1}"#,
        ),
        (r#"{"pwd": 12345, "n": 1}"#, r#"{"pwd": "[redacted:password]", "n": 1}"#),
        (
            r#"{"msg":"body {\"password\":\"abc\",\"n\":1}"}"#,
            r#"{"msg":"body {\"password\":\"[redacted:password]\",\"n\":1}"}"#,
        ),
        ("passwd: 'a b c' end", "passwd: '[redacted:password]' end"),
        ("mysql --password hunter2 -h db", "mysql --password [redacted:password] -h db"),
        ("x-api-key: 8f14e45fceea", "x-api-key: [redacted:password]"),
        (
            "GET /cb?access_token=abc123def456&page=2",
            "GET /cb?access_token=[redacted:password]&page=2",
        ),
        (
            "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [redacted:password]",
        ),
        (
            "Authorization: Bearer abcdefgh12345678",
            "Authorization: Bearer [redacted:authorization]",
        ),
        (
            "authorization: Basic dXNlcjpwYXNz host=x",
            "authorization: Basic [redacted:authorization] host=x",
        ),
        (
            r#"{"Authorization":["Basic dXNlcjpwYXNz"],"n":1}"#,
            r#"{"Authorization":["Basic [redacted:authorization]"],"n":1}"#,
        ),
        (
            r#""authorization": "Digest username=\"a\", response=\"b\"", x"#,
            r#""authorization": "Digest [redacted:authorization]", x"#,
        ),
        ("sent bearer tok_12345678 to", "sent bearer [redacted:authorization] to"),
        (
            "connect postgres://app:p%40ss@db:5432/shop",
            "connect postgres://app:[redacted:url]@db:5432/shop",
        ),
        ("redis://:hunter2@cache", "redis://:[redacted:url]@cache"),
        (
            "key -----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY----- end",
            "key -----BEGIN RSA PRIVATE KEY-----[redacted:private_key]-----END RSA PRIVATE KEY----- end",
        ),
        ("id AKIAIOSFODNN7EXAMPLE used", "id [redacted:token] used"),
        ("paid with 4111 1111 1111 1111 today", "paid with [redacted:card] today"),
        ("card=5555555555554444,", "card=[redacted:card],"),
        ("3782-822463-10005", "[redacted:card]"),
    ] {
        assert_eq!(redacted(line), expect);
        // Once more changes nothing.
        assert_eq!(redacted(expect), expect);
    }
    assert_eq!(redacted(&format!("got {jwt}, ok")), "got [redacted:jwt], ok");
    assert_eq!(redacted(&format!("clone with {github}")), "clone with [redacted:token]");
}

#[test]
fn what_is_no_secret_stays() {
    for line in [
        "Failed password for root from 10.0.0.1 port 22",
        "invalid password: incorrect",
        "Password: required.",
        "password=",
        "password=\"\"",
        "password=null",
        "password=********",
        "password=${DB_PASSWORD}",
        "PWD=/srv/app",
        "tokens=4096 max_token: 123456789",
        "token: expired",
        "secret: unchanged",
        "the token bucket has 12 tokens",
        "broken: 12345678a",
        "authorization: denied for user bob",
        "token_type=bearer expires=3600",
        "bypass=a1b2c3d4e5 compass: n0rth-w3st",
        "bearer of bad news",
        "see https://example.org/a:b@c",
        "http://host:8080/path",
        "eyJ is how it begins",
        "eyJhbGciOi.x.y",
        "AKIA is a prefix",
        "order 4111111111111112 shipped",
        "at 1714521600000000000 ns, id 17145216000000",
        "trace 4111111111111111a",
        "v=0.4111111111111111",
        "ip 4111.1111.1111.1111",
        "phone 0411 111 111",
        "0000000000000000",
    ] {
        assert_eq!(redacted(line), line);
    }
}

/// What stands between `«` and `»` is replaced, as `kind`; what has neither stays as it is.
fn check(kind: &str, marked: &str) {
    let line = marked.replace(['«', '»'], "");
    let mut expect = String::new();
    for (i, part) in marked.split('«').enumerate() {
        match part.split_once('»') {
            Some((_, rest)) if i > 0 => expect.push_str(&format!("[redacted:{kind}]{rest}")),
            _ => expect.push_str(part),
        }
    }
    assert_eq!(redacted(&line), expect, "{line}");
    assert_eq!(redacted(&expect), expect, "once more");
}

#[test]
fn passwords_among_arguments_are_found() {
    for line in [
        "CMD (mysql -uroot -p«hunter2» shop < dump.sql)",
        "mysqldump --single-transaction -u root -p'«a b;c»' shop | gzip",
        "/usr/bin/mariadb-admin -p«123456» ping",
        r#"{"Cmd":["mysqladmin","ping","-p«s3cret»"],"n":1}"#,
        r#"{"msg":"exec: mysql -h db -p«s3cret»","user":"bob"}"#,
        r#"{"msg":"exec: mysql -h db -p\"«s3 cret»\" shop","user":"bob"}"#,
        "args=[mysql, -uroot, -p«s3cret»]",
        "mysql --password «hunter2» -h db",
        "sshpass -p «hunter2» ssh root@10.0.0.1",
        "sshpass -p'«hunter2»' ssh root@10.0.0.1",
        "redis-cli -h cache -a «hunter2» ping",
        "curl -u admin:«hunter2» https://example.org/",
        "curl -sSu 'admin:«hun ter2»' https://example.org/",
        "curl --user=admin:«hunter2» -o x https://example.org/",
        "+ curl -fsSL --proxy-user \"p:«hunter2»\" https://example.org/",
        "docker login -u bob -p «hunter2» registry.example.org",
        "ldapsearch -x -D cn=admin -w «hunter2» -b dc=example",
        "mongosh -u root -p «hunter2» --authenticationDatabase admin",
        "PGPASSWORD=«hunter2» psql -h db",
        "PGPASSWORD='«a b»' psql -h db",
        "openssl rsa -in k.pem -passin pass:«hunter2»",
        "wget --http-password=«hunter2» --user=bob https://example.org",
        "vncpasswd --pass «hunter2» 5900",
    ] {
        check("password", line);
    }
    for line in [
        "mysql -u root -p shop",
        "mysqld: ready for connections. Version: '8.0' port: 3306",
        "docker run --name mysql -p3306:3306 mysql:8 -p127.0.0.1:1:2",
        "the mysql -port option",
        "mysqladmin ping -p$MYSQL_ROOT_PASSWORD && echo ok -pnothing",
        "mysql_exporter -pfoo",
        "mkdir -p mongo; mongo | grep -p x",
        "curl -u admin https://example.org:8080/",
        "curl: (7) Failed to connect to 10.0.0.1 port 80 -u x:y",
        "curl -H 'Accept: */*' -o u:x https://example.org",
        "user login -p failed",
        "redis-cli -h cache ping; a -a x",
        "sshpass: -p x:y invalid",
    ] {
        check("password", line);
    }
}

#[test]
fn settings_in_more_forms_are_found() {
    for line in [
        "POST user[password]=«hunter2»&user[name]=bob",
        "POST user%5Bpassword%5D=«hunter2»&x=1",
        r#"env: [{"name":"DB_PASSWORD","value":"«hunter2»"},{"name":"A","value":"b"}]"#,
        "SECRET_KEY = '«django-insecure-4x8»'",
        r#"{"secretKey":"«abcdef12»"}"#,
        "curl -H 'X-Api-Key: «8f14e45fceea»' https://example.org",
        "curl -H \"PRIVATE-TOKEN: «glx-8f14e45fceea»\" https://example.org",
        "Ocp-Apim-Subscription-Key: «8f14e45fceea4167»",
        "encryption_key=«q83vASNFZ4mrze8»",
    ] {
        check("password", line);
    }
    for line in [
        "password=[FILTERED]",
        "password=$PASSWORD",
        "password: $(cat /run/secrets/db)",
        r#"{"name":"password","label":"Password"}"#,
        "partition_key=8f14e45fceea",
    ] {
        check("password", line);
    }
}

#[test]
fn credentials_in_headers_and_cookies_are_found() {
    for line in [
        "Authorization: token «0123456789abcdef»",
        "curl -H 'Authorization: Token «0123456789abcdef»' https://example.org",
        r#"{"auth":"Basic «dXNlcjpwYXNz»","n":1}"#,
        "upstream sent basic «YWRtaW46aHVudGVyMg==» to backend",
    ] {
        check("authorization", line);
    }
    for line in [
        "Basic authentication failed",
        "basic settings loaded: Basic Overview",
        "authorization: required",
    ] {
        check("authorization", line);
    }
    for line in [
        "Cookie: theme=dark; PHPSESSID=«el4ukv0kqbvoirg7nkp4dncpk3»; lang=en",
        "set-cookie: sid=«x7»; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        "curl -b x -H 'Cookie: session=«abc»; a=1' https://example.org",
        r#"{"cookie":"connect.sid=«s%3Aj4F9x»; theme=dark","n":1}"#,
        r#"{"set-cookie":["auth=«abc»; Path=/", "b=«Zm9vYmFy1»"],"x":"sid=1"}"#,
        r#"{"msg":"> Cookie: sid=«abc»","user":"bob"}"#,
        "cookie=\"_shop_session=«abc123»\" status=200",
        "cookie=sid=«abc123» status=200",
    ] {
        check("cookie", line);
    }
    for line in [
        "Cookie: theme=dark; lang=en; consent=true",
        "cookie: rejected because the domain does not match",
        "invalid cookie header",
        "cookies=3 cookie_name=sid",
        "set-cookie: a=; Path=/; Max-Age=0",
        "cookie: sid=[redacted:cookie]",
    ] {
        check("cookie", line);
    }
}

#[test]
fn passwords_and_signatures_in_urls_are_found() {
    for line in [
        "postgres://u:«p/a@h»@host/db",
        "postgres://u:«p/a»@host:5432/db?sslmode=disable",
        "redis://:«p?a#s»@cache:6379/0",
        "mongodb://u:«p:a»@h1:27017,h2:27017/db",
        "amqp://u:«p@ss»@mq",
        "dsn=(mysql://u:«a/b»@db)",
    ] {
        check("url", line);
    }
    for line in [
        "http://host:8080/users/@bob",
        "https://registry:5000/npm/@scope/pkg@1.0",
        "https://example.org/a:b@c",
        "http://host:{port}/x@y",
        "http://[::1]:80/x@y",
        "https://medium.example/@bob?x=a:b@c",
        "http://host:8080?mail=bob@example.org",
        "ws://a:b/c and mail bob@example.org",
        "git+ssh://git@example.org:org/repo",
    ] {
        check("url", line);
    }
    let sha = "0123456789abcdef".repeat(4);
    check(
        "token",
        &format!("GET https://b.s3.example.org/k?X-Amz-Date=1&X-Amz-Signature=«{sha}»&x=1"),
    );
    check(
        "token",
        "https://a.blob.example.net/c?sv=2022&se=1&sig=«aB3%2FaB3%2FaB3%2FaB3%2FaB3%2FaB3%3D»",
    );
    check("token", "kernel: sig=11 signature=0x1 ?sig=11");
}

#[test]
fn tokens_are_known_by_their_form() {
    let (word, hex) = ("aB3dE6gH9k".repeat(12), "0123456789abcdef".repeat(8));
    let of = |n: usize| &word[..n];
    for token in [
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        format!("AIza{}", of(35)),
        format!("GOCSPX-{}", of(28)),
        format!("1//0{}", of(60)),
        format!("ghs_{}", of(36)),
        format!("github_pat_{}_{}", of(22), of(59)),
        format!("glpat-{}", of(20)),
        format!("glpat-{}.01.{}", of(27), of(9)),
        format!("xoxb-123456789012-{}", of(24)),
        format!("xapp-1-A1-{}", of(40)),
        format!("sk_live_{}", of(24)),
        format!("whsec_{}", of(32)),
        format!("npm_{}", of(36)),
        format!("pypi-AgEIcHlwaS5vcmc{}", of(80)),
        format!("sk-{}", of(48)),
        format!("sk-proj-{}", of(100)),
        format!("sk-ant-api03-{}", of(90)),
        format!("dckr_pat_{}", of(27)),
        format!("dapi{}", &hex[..32]),
        format!("Ab18Q~{}", of(34)),
        format!("hvs.{}", of(90)),
    ] {
        for line in [format!("got «{token}», ok"), format!("x=\"«{token}»\""), format!("«{token}»")]
        {
            check("token", &line);
        }
    }
    check("token", &format!("https://api.example.org/bot123456789:«AA{}»/send", of(33)));
    for line in [
        "task-0123456789 disk-usage desk-12 sk-12",
        "mac 00:AA:11:22 12345678:AAbc",
        "git sha 0123456789abcdef0123456789abcdef01234567",
        "npm_config_registry=x npm_lifecycle_event",
        "dapi-1 ASIA-PACIFIC AKIA",
        "glc_x glsa_ hf_transfer",
        "bazQ~ 1Q~ 9Q~short",
    ] {
        check("token", line);
    }
    for line in [
        "GET /cb?jwt=«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U»&x=1",
        "«eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.»",
    ] {
        check("jwt", line);
    }
}

#[test]
fn a_long_secret_is_replaced_whole() {
    let long = "a1B2".repeat(1_000);
    check("password", &format!("token=«{long}» rest"));
    check("authorization", &format!("Authorization: Negotiate «{long}» rest"));
    check("authorization", &format!("bearer «{long}», rest"));
}

#[test]
fn lines_are_looked_at_one_by_one() {
    let rows = rows(&[
        "a pass",
        "word=hunter2",
        "",
        "secret",
        "=abcdefg1",
        "token=abcdefg1",
        "4111 1111",
        " 1111 1111",
    ]);
    let (out, counts) = all().redact(&rows, |_| false, &Keys::default()).unwrap();
    let lines: Vec<&str> = out.iter().map(|r| r.line).collect();
    assert_eq!(
        lines,
        [
            "a pass",
            "word=hunter2",
            "",
            "secret",
            "=abcdefg1",
            "token=[redacted:password]",
            "4111 1111",
            " 1111 1111"
        ]
    );
    assert_eq!(counts.iter().sum::<u64>(), 1);
    assert_eq!(all().redact(&out, |_| false, &Keys::default()), None);
}

#[test]
fn a_private_key_is_followed_through_its_rows() {
    let (web, db) = (Labels::from_pairs([("a", "web")]), Labels::from_pairs([("a", "db")]));
    let mut rows = LogRows::default();
    for (stream, line) in [
        (&web, "-----BEGIN EC PRIVATE KEY-----"),
        (&web, "MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49"),
        (&db, "select 1"),
        (&web, "AwEHoUQDQgAE"),
        (&web, "-----END EC PRIVATE KEY-----"),
        (&web, "started"),
    ] {
        rows.push(stream, 1, line, &Labels::default());
    }
    let (out, counts) = all().redact(&rows, |_| false, &Keys::default()).unwrap();
    let lines: Vec<&str> = out.iter().map(|r| r.line).collect();
    assert_eq!(
        lines,
        [
            "-----BEGIN EC PRIVATE KEY-----[redacted:private_key]",
            "[redacted:private_key]",
            "select 1",
            "[redacted:private_key]",
            "-----END EC PRIVATE KEY-----",
            "started",
        ]
    );
    assert_eq!(counts[Kind::ALL.iter().position(|k| *k == Kind::PrivateKey).unwrap()], 1);
}

#[test]
fn a_private_key_is_followed_through_batches() {
    let keys = Keys::default();
    let send = |line: &str| {
        let out = all().redact(&rows(&[line]), |_| false, &keys);
        (out.map_or(line.to_owned(), |(rows, _)| rows.row(0).line.to_owned()), keys.open_count())
    };
    let mark = "[redacted:private_key]";
    assert_eq!(send("-----BEGIN PRIVATE KEY-----").1, 1);
    assert_eq!(send("MIIEvQIBADANBgkqhkiG9w0"), (mark.to_owned(), 1));
    assert_eq!(send(""), (String::new(), 1));
    assert_eq!(send("aZ09+/=="), (mark.to_owned(), 1));
    assert_eq!(send("-----END PRIVATE KEY-----"), ("-----END PRIVATE KEY-----".to_owned(), 0));
    assert_eq!(send("started"), ("started".to_owned(), 0));
    // An end that never comes.
    assert_eq!(send("-----BEGIN PRIVATE KEY-----").1, 1);
    assert_eq!(send("listening on :80"), ("listening on :80".to_owned(), 0));
}

#[test]
fn a_batch_inside_a_private_key_may_come_again() {
    let keys = Keys::default();
    let send = |lines: &[&str]| -> Vec<String> {
        let rows = rows(lines);
        let out = all().redact(&rows, |_| false, &keys).map_or(rows, |(rows, _)| rows);
        out.iter().map(|row| row.line.to_owned()).collect()
    };
    let mark = "[redacted:private_key]";
    let first = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0"];
    let last = ["aZ09+/==", "QQ==-----END PRIVATE KEY-----", "started"];
    let marked_first = [format!("{}{mark}", first[0]), mark.to_owned()];
    let marked_last =
        [mark.to_owned(), format!("{mark}-----END PRIVATE KEY-----"), "started".to_owned()];
    assert_eq!(send(&first), marked_first);
    assert_eq!(send(&last), marked_last);
    // The answer was lost on the way.
    assert_eq!(send(&last), marked_last);
    assert_eq!(send(&["ok", "aZ09"]), ["ok", "aZ09"]);
    assert_eq!(send(&last[..1]), [mark]);
    // From the beginning, and the end is lost.
    assert_eq!(send(&first), marked_first);
    assert_eq!(send(&["aZ09+/==", "GET /"]), [mark, "GET /"]);
    assert_eq!(send(&["aZ09+/==", "GET /"]), [mark, "GET /"]);
    // What is left once is left again.
    let others = Keys::default();
    let left = |lines: &[&str]| all().redact(&rows(lines), |_| true, &others);
    assert_eq!(left(&first).or(left(&last)), None);
    assert_eq!(all().redact(&rows(&last[..1]), |_| false, &others), None);
}

#[test]
fn streams_with_private_keys_are_bounded() {
    let keys = Keys::default();
    let send = |stream: usize, line: &str| {
        let mut rows = LogRows::default();
        let stream = Labels::from_pairs([("n", stream.to_string().as_str())]);
        rows.push(&stream, 1, line, &Labels::default());
        all().redact(&rows, |_| false, &keys).is_some()
    };
    for stream in 0..2_000 {
        assert!(send(stream, "-----BEGIN PRIVATE KEY-----"));
    }
    assert_eq!(keys.open_count(), 1_000);
    assert!(send(7, "MIIEvQIBADANBgkqhkiG9w0") && !send(1_500, "MIIEvQIBADANBgkqhkiG9w0"));
    // There is room again when keys have ended.
    for stream in 0..1_000 {
        send(stream, "it started");
    }
    assert_eq!(keys.open_count(), 0);
    assert!(send(1_500, "-----BEGIN PRIVATE KEY-----") && send(1_500, "MIIEvQIBADANBgkqhkiG9w0"));
}

#[test]
fn fields_patterns_and_streams_that_are_left() {
    let own = Pattern { name: "employee".into(), regex: Regex::new(r"EMP-(\d{4})").unwrap() };
    let redactor = Redactor::new(&[Kind::Password, Kind::Card, Kind::Cookie], vec![own]).unwrap();
    let (web, demo) = (Labels::from_pairs([("a", "web")]), Labels::from_pairs([("a", "demo")]));
    let fields = Labels::from_pairs([
        ("api_key", "abcdef12"),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("level", "info"),
        ("msg", "password=x1"),
        ("request_cookie", "sid=a; b=c"),
        ("token", "42"),
    ]);
    let mut rows = LogRows::default();
    rows.push(&web, 1, "EMP-1234 Bearer abcdefgh12345678", &fields);
    rows.push(&demo, 2, "EMP-1234", &fields);
    let (out, counts) = redactor.redact(&rows, |stream| *stream == demo, &Keys::default()).unwrap();
    assert_eq!(out.row(0).line, "EMP-[redacted:employee] Bearer abcdefgh12345678");
    let expect = Labels::from_pairs([
        ("api_key", "[redacted:password]"),
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("level", "info"),
        ("msg", "password=[redacted:password]"),
        ("request_cookie", "sid=[redacted:cookie]; b=c"),
        ("token", "42"),
    ]);
    assert_eq!(out.row(0).fields, &expect);
    assert_eq!((out.row(1).line, out.row(1).fields), ("EMP-1234", &fields));
    let named: Vec<(&str, u64)> = redactor.names().zip(counts).filter(|(_, n)| *n > 0).collect();
    assert_eq!(named, [("password", 2), ("cookie", 1), ("employee", 1)]);
    let bad = Pattern { name: "x".into(), regex: Regex::new("a*").unwrap() };
    assert!(Redactor::new(&[], vec![bad]).is_err());
}

proptest! {
    #[test]
    fn any_text_keeps_its_shape(lines in prop::collection::vec(
        "(password|token|Authorization|Bearer |Basic |Cookie|mysql |-p|curl -u |Q~|:AA|sig=|\\[|;|eyJ|://|@|:|=|\"|'|\\\\|-----BEGIN A PRIVATE KEY-----|-----END |[a-z0-9é .,-]{0,12}){0,8}", 0..6,
    )) {
        let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rows = rows(&texts);
        if let Some((out, counts)) = all().redact(&rows, |_| false, &Keys::default()) {
            let counts: Counts = counts;
            prop_assert_eq!(out.len(), rows.len());
            prop_assert!(counts.iter().sum::<u64>() > 0);
            for (old, new) in rows.iter().zip(out.iter()) {
                prop_assert_eq!((old.stream, old.t_ns), (new.stream, new.t_ns));
            }
        }
    }

    #[test]
    fn many_bytes_at_once_find_what_one_by_one_finds(
        lines in prop::collection::vec(prop::collection::vec(any::<(u8, u8)>(), 0..8), 0..12),
    ) {
        let values = ["", "=", ": ", "=hunter2 ", "\": \"x8Kq!z\",", " -p", "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE2gI4k", "://u:p@h/"];
        let line = |pieces: &Vec<(u8, u8)>| -> String {
            let piece = |(anchor, value): &(u8, u8)| {
                let (anchor, _) = ANCHORS[usize::from(*anchor) % ANCHORS.len()];
                format!("{anchor}{}", values[usize::from(*value) % values.len()])
            };
            pieces.iter().map(piece).collect()
        };
        let mut lines: Vec<String> = lines.iter().map(line).collect();
        lines.push("x".repeat(300));
        let rows = rows(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut one_by_one = Redactor::new(&Kind::ALL, Vec::new()).unwrap();
        one_by_one.packed.clear();
        let redact = |redactor: &Redactor| {
            redactor.redact(&rows, |_| false, &Keys::default())
        };
        prop_assert_eq!(redact(all()), redact(&one_by_one));
    }

    #[test]
    fn cards_are_found_wherever_they_stand(
        before in "[a-z =:,]{0,9}", number in 0_usize..4, after in "( [a-z0-9,]{0,9})?", name in 0_usize..5,
    ) {
        let number = ["4111111111111111", "5555 5555 5555 4444", "378282246310005", "6011-1111-1111-1117"][number];
        let name = ["card=", "pan ", "cc: ", "paid with ", "\"card_number\":"][name];
        let line = format!("{before} {name}{number}{after}");
        prop_assert_eq!(redacted(&line).matches("[redacted:card]").count(), 1, "{}", line);
    }

    #[test]
    fn lines_are_redacted_as_if_each_were_alone(
        lines in prop::collection::vec(prop::collection::vec(0_usize..PIECES.len(), 0..4), 1..12), long in any::<bool>(),
    ) {
        let mut lines: Vec<String> = lines
            .iter()
            .map(|pieces| pieces.iter().map(|piece| PIECES[*piece]).collect())
            .collect();
        if long {
            lines.push("x".repeat(300));
        }
        let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
        let together = all().redact(&rows(&texts), |_| false, &Keys::default());
        let together: Vec<String> = together.map_or_else(
            || lines.clone(),
            |(rows, _)| rows.iter().map(|row| row.line.to_owned()).collect(),
        );
        let alone: Vec<String> = texts.iter().map(|line| redacted(line)).collect();
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn what_was_json_stays_json(value in any_json(), own in any::<bool>()) {
        let line = value.to_string();
        let patterns = if own {
            vec![Pattern { name: "own".into(), regex: Regex::new("s[^a]*[\"1]|u00|[{,]").unwrap() }]
        } else {
            Vec::new()
        };
        let redactor = Redactor::new(&Kind::ALL, patterns).unwrap();
        let redacted = redactor.redact(&rows(&[&line]), |_| false, &Keys::default());
        let Some((out, _)) = redacted else { return Ok(()) };
        let parsed = serde_json::from_str::<serde_json::Value>(out.row(0).line);
        prop_assert!(parsed.is_ok(), "{} became {}", line, out.row(0).line);
        // Inside of texts, too.
        let again = serde_json::json!({ "msg": line }).to_string();
        let Some((out, _)) = all().redact(&rows(&[&again]), |_| false, &Keys::default())
        else {
            return Ok(());
        };
        let parsed: serde_json::Value = serde_json::from_str(out.row(0).line).unwrap();
        prop_assert!(parsed["msg"].is_string());
    }
}

/// Parts of lines that hold secrets together, or hide one.
const PIECES: &[&str] = &[
    "card=4111-1111-1111-1111",
    "4111 1111 1111 1111",
    "4111 1111",
    " 1111 1111",
    "12/27",
    "1",
    "a",
    "ssh",
    "pass=hunter2",
    "password=",
    "hunter2",
    " ",
    "sk-",
    "proj-",
    "e",
    "yJ",
    ":",
    "//u:p@h",
    "\"password\":\"",
    "\"",
    "next line",
    "ghp_",
    "aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3",
    "=",
    "é",
];

/// Objects with names and values of secrets, of every type.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let name = prop::sample::select(vec![
        "password",
        "pwd",
        "pass",
        "token",
        "api_key",
        "authorization",
        "Cookie",
        "set-cookie",
        "card",
        "card_number",
        "id",
        "msg",
        "errors",
        "u",
        "DB_PASSWORD",
        "name",
        "value",
    ]);
    let text = prop::sample::select(vec![
        "",
        "hunter2",
        "x8Kq!zzzz9",
        "is too short",
        "\"",
        "\\",
        "\n",
        "é\u{1}",
        "Bearer abcdefgh12345678",
        "password=",
        "password: ",
        "sid=abc; b=Zm9vYmFy1",
        "4111111111111111",
        "4111 1111 1111 1111",
        "://u:p@h",
        "-----BEGIN A PRIVATE KEY-----",
        "Digest username=\"x\", a=b",
        "mysql -p",
        "'",
        "AKIAIOSFODNN7EXAMPLE",
        "{\"password\":123,\"b\":null}",
        "curl -u a:b",
        "AUTH PLAIN AGJvYgBodW50ZXIy",
        "insert into a (password) VALUES (",
        "sqlplus a/b@c",
        "Set-Cookie: ",
        "=",
        ":",
    ]);
    let texts = prop::collection::vec(text, 0..4).prop_map(|parts| Value::String(parts.concat()));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        Just(json!(4_111_111_111_111_111_u64)),
        Just(json!(12345)),
        texts,
    ];
    let value = leaf.prop_recursive(3, 24, 4, move |inner| {
        let member = (name.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            prop::collection::vec(member, 0..4)
                .prop_map(|members| members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()),
        ]
    });
    prop::collection::vec(value, 1..3).prop_map(|mut values| match values.pop() {
        Some(one) if one.is_object() => one,
        one => Value::Array(values.into_iter().chain(one).collect()),
    })
}

/// Rows that may come again still may when they are redacted.
#[test]
fn what_is_said_of_all_rows_stays() {
    let mut rows = rows(&["password=hunter2", "started"]);
    rows.set_may_repeat();
    let (out, _) = all().redact(&rows, |_| false, &Keys::default()).unwrap();
    assert!(out.may_repeat());
}

#[test]
fn cards_are_told_from_other_numbers() {
    for line in [
        "«4111 1111 1111 1111» 12/27",
        "«5500-0055-5555-5559» 12",
        "exp 12/27 «4111 1111 1111 1111» 123 ok",
        "card=«4111-1111-1111-1111»",
        "card=«4111111111111111»",
        "pan «4111111111111111»",
        "paid with «4111111111111111»",
        "Card Number: «4111111111111111»",
        r#"{"card_number":"«4111111111111111»","n":1}"#,
        r#"{"creditCardNumber":"«378282246310005»"}"#,
        "card[number]=«4111111111111111»&card[cvc]=«123»",
        r#"{"cardNumber":"«4111111111111111»","cvv":"«123»"}"#,
        "cvv2=«1234» exp=12/27",
        "card_cvc: «123»",
        "<CardNumber>«4111111111111111»</CardNumber>",
        r#"{"msg":"charge\n«4111111111111111» declined"}"#,
        "visa «4111111111111111» declined",
        "«4111111111111111»",
    ] {
        check("card", line);
    }
    for line in [
        r#"{"id":4539578763621486}"#,
        r#"{"ids":[4539578763621486,4532015112830366]}"#,
        r#"{"order_number":"4539578763621486"}"#,
        "bytes=4532015112830366",
        "duration_ns=4532015112830366",
        "trace 4532015112830366 span 4539578763621486",
        "dd.trace_id=4539578763621486 dd.span_id=4532015112830366",
        "payment for order 4539578763621486 accepted",
        "card_id=4539578763621486",
        "discarded 4539578763621486 bytes",
        "IBAN DE44 5105 1051 0510 5100 00",
        "4111 1111 1111 1111 4111 1111 1111 1111",
        "cvc-complex-type.2.4: element",
        "cvv=12345 cvc=abc cvv: missing mycvc=123",
    ] {
        check("card", line);
    }
    assert_eq!(
        redacted(r#"{"card":4111111111111111,"n":1}"#),
        r#"{"card":"[redacted:card]","n":1}"#
    );
    assert_eq!(
        redacted(r#"{"msg":"{\"card\":4111111111111111}"}"#),
        r#"{"msg":"{\"card\":\"[redacted:card]\"}"}"#
    );
}

#[test]
fn members_of_json_are_replaced_by_their_type() {
    for (line, expect) in [
        (r#"{"password":null,"u":1}"#, None),
        (r#"{"password":true,"u":1}"#, None),
        (r#"{"password":{"type":"string"}}"#, None),
        (r#"{"password":[]}"#, None),
        (r#"{"password":{},"a":[]}"#, None),
        (r#"{"errors":{"password":["is too short"]}}"#, None),
        (r#"{"tests":10,"pass":9,"fail":1}"#, None),
        (r#"{"authorization":12345678e9,"cookie":12345678901234567890,"u":1}"#, None),
        (r#"{"set-cookie":[1],"note":"sid=abc; b"}"#, None),
        (r#"{"password":12345,"u":1}"#, Some(r#"{"password":"[redacted:password]","u":1}"#)),
        (
            r#"{"password":["hunter2", "x7"],"u":1}"#,
            Some(r#"{"password":["[redacted:password]", "[redacted:password]"],"u":1}"#),
        ),
        (
            r#"{"msg":"{\"password\":12345,\"u\":1}"}"#,
            Some(r#"{"msg":"{\"password\":\"[redacted:password]\",\"u\":1}"}"#),
        ),
        (
            r#"{"msg":"Authorization: AWS4-HMAC-SHA256 Credential=a, Signature=b","u":1}"#,
            Some(r#"{"msg":"Authorization: AWS4-HMAC-SHA256 [redacted:authorization]","u":1}"#),
        ),
        (
            r#"{"msg":"password='abc","u":1}"#,
            Some(r#"{"msg":"password='[redacted:password]","u":1}"#),
        ),
    ] {
        assert_eq!(redacted(line), expect.unwrap_or(line));
    }
}

#[test]
fn passwords_in_words_and_elements_are_found() {
    for line in [
        r#"level=info msg="login" password="«pw with space»" user=bob"#,
        r#"password: "«p w with spaces»""#,
        r#"{"password":{"value":"«nest3d»"}}"#,
        r#"{"msg":"{\"password\":{\"value\":\"«nest3d»\"}}"}"#,
        r#"<soap:Password Type="x">«xmlpw99»</soap:Password>"#,
        "<wsse:Password>«two words here»</wsse:Password>",
        "smtp AUTH LOGIN «dXNlcg== cGFzc3dvcmQxMg==»",
        "AUTH LOGIN «dXNlcg==» FAILED",
        "secret_key_base: «abcDEF123456ghiJKLabcDEF123456»",
        "SECRET_KEY_BASE=«abcDEF123456ghiJKLabcDEF123456»",
        "Your password is: «Abc12345»",
        "user's new password is «Fjord8up».",
        "pw: «Abc12345»",
        "ldap bind dn=cn=admin,dc=x bindpw=«ldappw7»",
        r#"{"pw":"«hunter2»","n":1}"#,
        "PASSWORD=«Zz9!@#$%^&*()» end",
        "login(user=bob, password=«hunter2») failed",
    ] {
        check("password", line);
    }
    for line in [
        "password is required",
        "password is incorrect!",
        "Your password is about to expire",
        "password is: too short",
        "The password is 8 characters long; password is Base64-encoded",
        "password is SHA256-hashed, password is argon2id.",
        "the password is http://example.org/Reset1",
        r#"{"password":"is too short"}"#,
        r#"{"password":{"value":null,"type":"string"}}"#,
        r#"{"password":{"valueFrom":{"secretKeyRef":"x"}}}"#,
        "<password>required</password> <Password/>",
        "<Password Type='x'/>not this</a>",
        "a <password field> is 5 < 6",
        "AAAApw== pw: 12 kW pw=200 power: 5 rpw=Abc12345!",
        "kernel: cpw:12345678",
        "lock key-d41d8cd98f00b204e9800998ecf8427e taken",
    ] {
        check("password", line);
    }
    let hex = "0123456789abcdef".repeat(2);
    check("token", &format!("«key-{hex}» mailgun"));
    check("token", &format!("user and key are api:«key-{hex}»"));
}

#[test]
fn settings_without_a_secret_stay() {
    for line in [
        "user=bob password= ip=1.2.3.4",
        "proxy_pass=http://backend",
        "proxy_pass http://backend1:8080;",
        "boarding_pass=AB123",
        "num_pass=33",
        "by-pass=on",
        "pass=1 of 3",
        "tests pass: 120, fail: 3",
        "user tests pass: 5",
        "render pass=shadow",
        "PASS: TestLogin (0.02s)",
        "--- PASS: TestIPv6 (0.02s)",
        "MYSQL_ALLOW_EMPTY_PASSWORD=yes",
        "Access denied for user 'root'@'localhost' (using password: YES)",
        "if (password == null)",
        r#"{"password":"The password is incorrect"}"#,
        r#"{"password":"can't be blank"}"#,
        "SELECT 1 FROM users WHERE password=? AND id = $1",
        "UPDATE users SET password = $2, token = :token WHERE 1",
        r#"password := os.Getenv("DB_PASSWORD")"#,
        "password = getPassword(user)",
        "password: process.env.DB_PASSWORD",
        "mysql --password -h db",
        "usage: login --password string",
        "password=***REDACTED***",
        "Unknown column 'password' in 'field list'",
        "user authentication failed: AUTH failed for bob",
        "the AUTH service",
        "requirepass is not set",
        "the device identified by 'a1b2'",
    ] {
        check("password", line);
    }
}

#[test]
fn passwords_in_statements_are_found() {
    for line in [
        "ALTER USER bob WITH PASSWORD '«hunter2»'",
        "CREATE USER 'bob'@'%' IDENTIFIED BY '«hunter2»'",
        "create user bob identified by '«hunter2»'",
        "ALTER USER scott IDENTIFIED BY «tiger»;",
        "CREATE USER bob IDENTIFIED WITH mysql_native_password BY '«hunter2»'",
        "SET PASSWORD FOR 'bob'@'%' = '«hunter2»'",
        "SET PASSWORD FOR 'bob'@'%' = PASSWORD('«hunter2»')",
        "127.0.0.1:6379> AUTH «hunter2»",
        "127.0.0.1:6379> AUTH bob «secret»",
        r#"1339518083.1 [0 127.0.0.1:60866] "AUTH" "bob" "«secret»""#,
        "AUTH «hunter22x»",
        "CONFIG SET requirepass «foobared»",
        "requirepass «hunter2»",
        "C: AUTH PLAIN «AGJvYgBodW50ZXIy»",
        "Using password 'hidden'",
        "Using password '«swordfish»'",
        r#"["tool","--db-password","«swordfish»"]"#,
        r#"{"a":"{\"b\":\"{\\\"password\\\":\\\"«swordfish»\\\"}\"}"}"#,
        "pwd='«it''s a secret»' end",
        r#"{"msg":"url?a=b\u0026pass=«swordfish»\u0026c=d"}"#,
        "user=bob pass=«swordfish»",
        "smtp_pass = «swordfish»",
        r#"{"dbPass":"«swordfish»"}"#,
        "{'pass': '«swordfish»'}",
        r"password=«CORP\pw1» end",
        "INSERT INTO users (name, password) VALUES ('bob', '«x»')",
        "insert into `users`(`id`,`Password`,`n`) values (1,'«it''s»',2), (2, '«a),(b»', 3),(3,NULL,4)",
        "INSERT INTO u (name, pwd) VALUES (N'bob', N'«x»'); SELECT 'y'",
        "INSERT INTO u (pw_hash, db_pass, api_token) VALUES ('a', '«x»', '«8f14e45fceea»') RETURNING id",
        "REPLACE INTO u (password) VALUES (crypt('«x»', gen_salt('bf')))",
        "INSERT INTO u (password, pin) VALUES («12345», 7)",
        r#"{"sql":"INSERT INTO \"u\" (\"name\",\"password\")\nVALUES ('bob',\n'«x»')","n":1}"#,
        "INSERT INTO u (name, password) VALUES ('bob', '«cut»",
        "CMD (sqlplus -s scott/«tiger»@orcl @report.sql)",
        "sqlplus -L 'scott/«tiger»@//db:1521/svc' @/opt/a/b.sql",
        "sqlplus scott/«t1ger!» @x",
        "expdp system/«manager»@orcl directory=dumps dumpfile=a.dmp",
        "sqlldr control=a.ctl userid=scott/«tiger»@db",
        "rman target sys/«oracle»@prod",
    ] {
        check("password", line);
    }
    for line in [
        "INSERT INTO users (name, password) VALUES ($1, $2)",
        "INSERT INTO users (name, password) VALUES (?, ?), (:name, :password), (%s, %s)",
        "INSERT INTO users (name, password) VALUES ('bob', NULL)",
        "INSERT INTO users (name, password) VALUES ('bob', DEFAULT), ('eve', md5(random()::text))",
        "INSERT INTO users (password, name) SELECT 'a', 'b' FROM old",
        "INSERT INTO users (name, email) VALUES ('bob', 'x')",
        "INSERT INTO t (token, n) VALUES ('page', 2)",
        "the form (name, password) values ('a', 'b') are checked",
        "values (1, 2), VALUES ('a'), (password)values(",
        "INSERT INTO u (password) VALUES",
        "sqlplus /nolog @/opt/scripts/run.sql",
        "sqlplus / as sysdba",
        "use sqlplus and/or rman target /",
        "docker pull library/nginx@sha256 and actions/checkout@v4",
        "sqlplus: user/x failed",
    ] {
        check("password", line);
    }
    check("url", "url=jdbc:oracle:thin:scott/«tiger»@//db:1521/svc user=x");
    check("url", r#"{"url":"jdbc:oracle:oci:scott/«ti/ger»@orcl"}"#);
    check("url", "jdbc:oracle:thin:@db:1521:orcl jdbc:oracle:thin:/@tns jdbc:oracle:thin:scott/");
    check("url", "amqp://guest:«p@ss/w0rd»@mq");
    check("url", "http://u:«p»@host.example/users/@bob?mail=a@b");
    check("url", "http://u:«p»@registry/@scope/pkg@1.0");
    let hex = "0123456789abcdef".repeat(2);
    check("token", &format!("twilio «SK{hex}» used"));
    check(
        "token",
        &format!("POST https://«discord.com/api/webhooks/123456789012345678/{hex}»?wait=true"),
    );
    check("token", r#"{"msg":"body\n«AKIAIOSFODNN7EXAMPLE»\n"}"#);
    // A long value of characters of several bytes is replaced whole.
    check("password", &format!("curl -u bob:«{}» https://example.org", "é".repeat(300)));
}
