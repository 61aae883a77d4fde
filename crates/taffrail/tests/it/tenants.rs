//! Tenants in the real process: what is pushed for one is read for it alone, and kept as long as its rule says.

use std::process::Command;

use testkit::{Options, Taffrail};

use crate::{PROGRAM, now_ns, quiet_config};

const CONFIG: &str = r#"host:
  enabled: false
tenants:
  from_header: true
  default: ops
logs:
  retention: 1d
  retention_rules:
  - selector: '{tenant="a"}'
    keep: 1h
  - selector: '{tenant=~"ops|"}'
    keep: 12h
"#;

fn logs(taffrail: &Taffrail, tenant: &[&str]) -> String {
    let server = format!("http://{}", taffrail.address);
    let output = Command::new(PROGRAM)
        .args(["logs", "{app=\"x\"}", "--since", "20h", "--output", "json", "--server", &server])
        .args(tenant)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn lines_of_tenants_are_apart_and_kept_by_their_rule() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { config: quiet_config(CONFIG), ..Options::default() };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    let push = |tenant: &str, hours: u128, line: &str| {
        let t_ns = u128::try_from(now_ns()).unwrap() - hours * 3_600_000_000_000;
        let body =
            format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{t_ns}","{line}"]]}}]}}"#);
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend((!tenant.is_empty()).then_some(("X-Scope-OrgID", tenant)));
        testkit::send(taffrail.address, "POST /loki/api/v1/push", &headers, body.as_bytes())
            .unwrap()
    };
    for (tenant, hours, line, status) in [
        ("a", 0, "new-of-a", 204),
        ("a", 2, "old-of-a", 400),
        ("b", 18, "old-of-b", 204),
        ("", 2, "of-ops", 204),
        ("", 13, "old-of-ops", 400),
    ] {
        let answer = push(tenant, hours, line);
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
    }
    for (tenant, lines) in [
        (&["--tenant", "a"][..], &["new-of-a"][..]),
        (&["--tenant", "b"], &["old-of-b"]),
        (&[], &["of-ops"]),
        (&["--tenant", "a|b"], &["new-of-a", "old-of-b"]),
        (&["--tenant", "c"], &[]),
    ] {
        let shown = logs(&taffrail, tenant);
        for line in ["new-of-a", "old-of-a", "old-of-b", "of-ops", "old-of-ops"] {
            assert_eq!(
                shown.contains(&format!("\"{line}\"")),
                lines.contains(&line),
                "{tenant:?}: {shown}"
            );
        }
    }
}
