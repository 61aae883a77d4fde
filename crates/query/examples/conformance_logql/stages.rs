//! Cases that are about one stage and one row: each is written as a query and run through a pipeline.

use model::{Labels, LogRow};
use query::logql::Pipeline;
use serde_json::Value as Json;

use crate::Outcome;

/// A time in 2022 that the label_format cases stand at.
const LABEL_FORMAT_T_NS: i64 = 1_661_518_453_000_000_000;
const NOT_A_LITERAL: &str = "expected value is an expression of the reference's language";

/// Runs a case of a stage file.
pub(crate) fn run(file: &str, case: &Json) -> Outcome {
    if case["hints"]["call"] == "NewParserHint" {
        return Outcome::Skipped("hints from outer expressions to parsers are the reference's own");
    }
    let line = case["line"].as_str().or(case["in"].as_str()).unwrap_or("");
    match file {
        "json-stage" => labels_case("| json", case, "want"),
        "json-expressions" => labels_case(&format!("| json {}", extractions(case)), case, "want"),
        "regexp-stage" => {
            let pattern = text(&case["parser"]["args"][0]["args"][0]);
            labels_case(&format!("| regexp {}", quote(&pattern)), case, "want")
        }
        "logfmt-stage" => logfmt(case),
        "logfmt-keep-empty" => {
            let flag = if case["keepEmpty"] == true { "--keep-empty" } else { "" };
            labels_case(&format!("| logfmt {flag}"), case, "want")
        }
        "logfmt-expressions" => {
            labels_case(&format!("| logfmt {}", extractions(case)), case, "want")
        }
        "unpack-stage" => unpack(case, line),
        "pattern-stage" => {
            labels_case(&format!("| pattern {}", quote(&text(&case["pattern"]))), case, "want")
        }
        "pattern-matcher" => pattern_matcher(case, line),
        "line-format" => line_format(case, line),
        "label-format" => label_format(case),
        "decolorize" => {
            let src = text(&case["src"]);
            check_line("| decolorize", Some(&src), &Labels::default(), 0, &text(&case["expected"]))
        }
        "label-filter" => label_filter(case),
        "bytes-filter" => bytes_filter(case),
        "ip-filter" => ip_filter(case),
        "drop-labels" | "keep-labels" => selection(file, case),
        "unwrap" => unwrap(case),
        _ => Outcome::Skipped("file of unknown meaning"),
    }
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or("").to_owned()
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace("\\/", "/")
}

/// Labels as an object or a call with alternating names and values.
fn labels(json: &Json) -> Option<Labels> {
    let constant = |v: &Json| match v["go"].as_str() {
        Some("logqlmodel.ErrorLabel") => Some("__error__".to_owned()),
        Some("errJSON") => Some("JSONParserErr".to_owned()),
        Some(_) => None,
        None => v.as_str().map(str::to_owned),
    };
    let mut pairs = Vec::new();
    if let Some(args) = json["args"].as_array() {
        for pair in args.chunks(2) {
            pairs.push((constant(&pair[0])?, constant(pair.get(1)?)?));
        }
    } else {
        for (name, value) in json.as_object().into_iter().flatten() {
            pairs.push((name.clone(), value.as_str()?.to_owned()));
        }
    }
    Some(Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
}

fn extractions(case: &Json) -> String {
    let expressions = case["expressions"].as_array().cloned().unwrap_or_default();
    let pair = |e: &Json| format!("{}={}", text(&e["args"][0]), quote(&text(&e["args"][1])));
    expressions.iter().map(pair).collect::<Vec<_>>().join(", ")
}

type Row = Option<(Labels, String)>;

fn process(
    stages: &str,
    line: &str,
    lbs: &Labels,
    fields: &Labels,
    t_ns: i64,
) -> Result<Row, String> {
    let query = format!("{{a=\"b\"}} {stages}");
    let pipeline = Pipeline::parse(&query).map_err(|e| format!("{e}: {query}"))?;
    Ok(pipeline.process(&LogRow { stream: lbs, t_ns, line, fields }))
}

fn labels_case(stages: &str, case: &Json, want: &str) -> Outcome {
    let (Some(lbs), Some(want)) = (labels(&case["lbs"]), labels(&case[want])) else {
        return Outcome::Skipped(NOT_A_LITERAL);
    };
    let fields = labels(&case["structuredMetadata"]).unwrap_or_default();
    let line = case["line"].as_str().unwrap_or("");
    match process(stages, line, &lbs, &fields, 0) {
        Ok(Some((got, _))) if got == want => Outcome::Passed,
        other => Outcome::Failed(format!("{stages}: got {other:?}, want {want}")),
    }
}

fn logfmt(case: &Json) -> Outcome {
    let outcome = labels_case("| logfmt", case, "want");
    let has_strict = case["wantStrict"].as_object().is_some_and(|o| !o.is_empty());
    match outcome {
        Outcome::Passed if has_strict => labels_case("| logfmt --strict", case, "wantStrict"),
        other => other,
    }
}

fn check_line(stages: &str, line: Option<&str>, lbs: &Labels, t_ns: i64, want: &str) -> Outcome {
    match process(stages, line.unwrap_or(""), lbs, &Labels::default(), t_ns) {
        Ok(Some((_, got))) if got == want => Outcome::Passed,
        other => Outcome::Failed(format!("{stages}: got {other:?}, want {want:?}")),
    }
}

fn unpack(case: &Json, line: &str) -> Outcome {
    let outcome = labels_case("| unpack", case, "wantLbs");
    if !matches!(outcome, Outcome::Passed) {
        return outcome;
    }
    let lbs = labels(&case["lbs"]).unwrap_or_default();
    check_line("| unpack", Some(line), &lbs, 0, &text(&case["wantLine"]))
}

fn pattern_matcher(case: &Json, line: &str) -> Outcome {
    let expression = text(&case["expr"]);
    let stages = format!("| pattern {}", quote(&expression));
    let (got, _) = match process(&stages, line, &Labels::default(), &Labels::default(), 0) {
        Ok(Some(row)) => row,
        other => return Outcome::Failed(format!("{stages}: got {other:?}")),
    };
    // Captures come in the order of the expression; empty ones leave no label.
    let mut names = Vec::new();
    let mut anonymous = expression.clone();
    for piece in expression.split('<').skip(1) {
        let Some((name, _)) = piece.split_once('>') else { continue };
        if name != "_" && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            names.push(name.to_owned());
            anonymous = anonymous.replace(&format!("<{name}>"), "<_>");
        }
    }
    let wanted = case["expected"].as_array().cloned().unwrap_or_default();
    for (i, name) in names.iter().enumerate() {
        let want = wanted.get(i).map(text).unwrap_or_default();
        if got.get(name).unwrap_or("") != want {
            return Outcome::Failed(format!("{stages}: got {got}, want {wanted:?}"));
        }
    }
    let filter = format!("|> {}", quote(&anonymous));
    let matches = process(&filter, line, &Labels::default(), &Labels::default(), 0);
    match (matches, case["matches"] == true) {
        (Ok(Some(_)), true) | (Ok(None), false) => Outcome::Passed,
        (other, want) => Outcome::Failed(format!("{filter}: got {other:?}, want match {want}")),
    }
}

fn line_format(case: &Json, line: &str) -> Outcome {
    let stages = format!("| line_format {}", quote(&text(&case["fmter"]["args"][0])));
    let Some(lbs) = labels(&case["lbs"]) else { return Outcome::Skipped(NOT_A_LITERAL) };
    let want_labels = labels(&case["wantLbs"]).unwrap_or_default();
    let t_ns = case["ts"].as_i64().unwrap_or(0);
    let want = match &case["want"] {
        Json::String(text) => text.clone(),
        Json::Array(empty) if empty.is_empty() => String::new(),
        // The template fails; the line stays as it was.
        _ => line.to_owned(),
    };
    match process(&stages, line, &lbs, &Labels::default(), t_ns) {
        Ok(Some((labels, got))) if got == want && labels == want_labels => Outcome::Passed,
        other => Outcome::Failed(format!("{stages}: got {other:?}, want {want:?} {want_labels}")),
    }
}

fn label_format(case: &Json) -> Outcome {
    let Some(want) = labels(&case["want"]) else { return Outcome::Skipped(NOT_A_LITERAL) };
    let assignments: Vec<String> = case["fmter"]["args"][0]
        .as_array()
        .into_iter()
        .flatten()
        .map(|a| {
            let (to, from) = (text(&a["args"][0]), text(&a["args"][1]));
            match a["call"].as_str() {
                Some("NewRenameLabelFmt") => format!("{to}={from}"),
                _ => format!("{to}={}", quote(&from)),
            }
        })
        .collect();
    let stages = format!("| label_format {}", assignments.join(", "));
    let lbs = labels(&case["in"]).unwrap_or_default();
    match process(&stages, "", &lbs, &Labels::default(), LABEL_FORMAT_T_NS) {
        Ok(Some((got, _))) if got == want => Outcome::Passed,
        other => Outcome::Failed(format!("{stages}: got {other:?}, want {want}")),
    }
}

/// A filter written as nested constructor calls, as query text.
fn filter_text(json: &Json) -> Option<String> {
    let args = &json["args"];
    let op = match args[0]["go"].as_str() {
        Some("LabelFilterEqual") => "==",
        Some("LabelFilterNotEqual") => "!=",
        Some("LabelFilterGreaterThan") => ">",
        _ => "",
    };
    Some(match json["call"].as_str()? {
        "NewAndLabelFilter" => {
            format!("({} and {})", filter_text(&args[0])?, filter_text(&args[1])?)
        }
        "NewOrLabelFilter" => {
            format!("({} or {})", filter_text(&args[0])?, filter_text(&args[1])?)
        }
        "NewNumericLabelFilter" => format!("{} {op} {}", text(&args[1]), args[2]),
        "NewBytesLabelFilter" => format!("{} {op} {}B", text(&args[1]), args[2]),
        "NewDurationLabelFilter" => {
            let seconds = args[2]["go"].as_str()?.strip_suffix("*time.Second")?;
            format!("{} {op} {seconds}s", text(&args[1]))
        }
        "NewStringLabelFilter" => {
            let matcher = &args[0]["args"];
            let op = if matcher[0]["go"] == "labels.MatchEqual" { "=" } else { "!=" };
            format!("{}{op}{}", text(&matcher[1]), quote(&text(&matcher[2])))
        }
        _ => return None,
    })
}

fn label_filter(case: &Json) -> Outcome {
    let (Some(filter), Some(lbs)) = (filter_text(&case["f"]), labels(&case["lbs"])) else {
        return Outcome::Skipped(NOT_A_LITERAL);
    };
    let want = labels(&case["wantLbs"]).unwrap_or_default();
    let passes = case["want"] == true;
    match process(&format!("| {filter}"), "", &lbs, &Labels::default(), 0) {
        Ok(None) if !passes => Outcome::Passed,
        Ok(Some((got, _))) if passes && got == want => Outcome::Passed,
        other => Outcome::Failed(format!("{filter}: got {other:?}, want {passes} {want}")),
    }
}

/// `42 * 1000 * 1000`
fn product(json: &Json) -> f64 {
    let factor = |t: &str| t.trim().parse().unwrap_or(f64::NAN);
    match json["go"].as_str() {
        Some(text) => text.split('*').map(factor).product(),
        None => json.as_f64().unwrap_or(f64::NAN),
    }
}

fn bytes_filter(case: &Json) -> Outcome {
    let lbs = Labels::from_pairs([("bar", text(&case["label"]).as_str())]);
    let filter = format!("| bar == {}B", product(&case["expectedBytes"]));
    match process(&filter, "", &lbs, &Labels::default(), 0) {
        Ok(Some((got, _))) if got == lbs => Outcome::Passed,
        other => Outcome::Failed(format!("{filter}: got {other:?}")),
    }
}

fn ip_filter(case: &Json) -> Outcome {
    let stages = format!("|= ip({})", quote(&text(&case["pat"])));
    let expected = case["expected"].as_array().cloned().unwrap_or_default();
    for (i, line) in case["input"].as_array().into_iter().flatten().enumerate() {
        let wanted = expected.contains(&Json::from(i));
        let line = text(line);
        match process(&stages, &line, &Labels::default(), &Labels::default(), 0) {
            Ok(row) if row.is_some() == wanted => {}
            other => return Outcome::Failed(format!("{stages} on {line:?}: got {other:?}")),
        }
    }
    Outcome::Passed
}

/// `a, b="x"`; errors that a row starts with cannot be expressed by labels of a stream.
fn selection(file: &str, case: &Json) -> Outcome {
    if case["err"].as_str() != Some("") && case.get("err").is_some() {
        return Outcome::Skipped("rows that start with an error cannot be made from outside");
    }
    let key = if file == "drop-labels" { "dropLabels" } else { "keepLabels" };
    let list = case[key].as_array().cloned().unwrap_or_default();
    if list.is_empty() {
        return Outcome::Skipped("an empty list is not in the grammar");
    }
    let (Some(lbs), Some(want)) = (labels(&case["lbs"]), labels(&case["want"])) else {
        return Outcome::Skipped(NOT_A_LITERAL);
    };
    let items: Vec<String> = list
        .iter()
        .map(|item| match item[0]["args"].as_array() {
            Some(args) => format!("{}={}", text(&args[1]), quote(&text(&args[2]))),
            None => text(&item[1]),
        })
        .collect();
    let stages = format!("| {} {}", key.split_at(4).0, items.join(", "));
    match process(&stages, "", &lbs, &Labels::default(), 0) {
        Ok(Some((got, _))) if got == want => Outcome::Passed,
        other => Outcome::Failed(format!("{stages}: got {other:?}, want {want}")),
    }
}

/// Written as a `max_over_time` of the one row.
fn unwrap(case: &Json) -> Outcome {
    let args = case["ex"]["args"][0]["args"].as_array().cloned().unwrap_or_default();
    let [label, conversion, groups, without, no_labels, parsers, ..] = args.as_slice() else {
        return Outcome::Skipped(NOT_A_LITERAL);
    };
    let label = text(label);
    let unwrapped = match conversion["go"].as_str() {
        Some("ConvertDuration") => format!("duration({label})"),
        Some("ConvertBytes") => format!("bytes({label})"),
        _ => label,
    };
    let parser = if parsers.is_array() { "| logfmt" } else { "" };
    let names: Vec<String> = groups.as_array().into_iter().flatten().map(text).collect();
    let grouping = match (without == true, no_labels == true || groups.is_array()) {
        (true, _) => format!("without ({})", names.join(",")),
        (false, true) => format!("by ({})", names.join(",")),
        (false, false) => String::new(),
    };
    let query = format!("max_over_time({{a=\"b\"}} {parser} | unwrap {unwrapped} [1m]) {grouping}");
    let lbs = labels(&case["in"]).unwrap_or_default().with("a", "b");
    let fields = labels(&case["structuredMetadata"]).unwrap_or_default();
    let row = crate::table::Row { stream: lbs, t_ns: 0, line: text(&case["line"]), fields };
    let want = labels(&case["wantLbs"]).unwrap_or_default();
    // The selector's own label stays where labels are kept by exclusion.
    let keeps_own = names.is_empty() && grouping.is_empty() || without == true;
    let want_series = if keeps_own { want.with("a", "b") } else { want.clone() };
    match (crate::eval::instant(row, &query), want.get("__error_details__")) {
        (Err(e), Some(details)) if e.contains(&details.replace('"', "\\\"")) => Outcome::Passed,
        (Ok(series), None) if series == vec![(want_series.clone(), product(&case["want"]))] => {
            Outcome::Passed
        }
        (got, _) => Outcome::Failed(format!("{query}: got {got:?}, want {want_series}")),
    }
}
