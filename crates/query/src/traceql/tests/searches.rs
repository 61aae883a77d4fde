//! What searches find in a shop's traces.

use model::{Budget, ErrorKind, TimeRange};

use super::table::{MAY_NS, MS, Table, shop};
use crate::traceql::{FoundTrace, Search, Selector, parse, search};

fn everything() -> Search {
    Search {
        range: TimeRange::ALL,
        limit: 20,
        spans_per_set: 99,
        duration_ns_min: None,
        duration_ns_max: None,
    }
}

fn run(table: &Table, text: &str, how: &Search) -> Vec<FoundTrace> {
    let query = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    search(table, &query, how, &Budget::unlimited()).unwrap()
}

/// Ids of spans, by trace and set, newest trace first: `2:7 1:4,5|1`.
fn check(text: &str, expect: &str) {
    let found = run(&shop(), text, &everything());
    let show = |trace: &FoundTrace| {
        let set = |spans: &[crate::traceql::FoundSpan]| {
            spans.iter().map(|s| s.span_id.to_string()).collect::<Vec<_>>().join(",")
        };
        let sets: Vec<String> = trace.sets.iter().map(|s| set(&s.spans)).collect();
        format!("{:x}:{}", trace.trace_id, sets.join("|"))
    };
    assert_eq!(found.iter().map(show).collect::<Vec<_>>().join(" "), expect, "{text}");
    // A trace at hand is selected when a search finds it.
    let selector = Selector::parse(text).unwrap();
    for trace in &shop().traces {
        let is_found = found.iter().any(|one| one.trace_id == trace.trace_id);
        assert_eq!(selector.matches(trace), is_found, "{text}: {:x}", trace.trace_id);
    }
}

#[test]
fn spans_are_selected_by_their_fields() {
    check("{}", "2:7 1:1,2,4,5,3 3:8");
    check("{ false }", "");
    check("{ name = \"SELECT\" }", "1:4");
    check("{ span:name =~ \"GET.*\" }", "2:7 1:1");
    check("{ name =~ \"GET\" }", "");
    check("{ name !~ \"GET.*|cart.*\" }", "1:4,5 3:8");
    check("{ resource.service.name = \"db\" && status != error }", "1:4");
    check("{ .service.name = \"cart\" }", "1:2,3");
    check("{ status = error || kind = server }", "1:1,5");
    check("{ duration >= 20ms }", "1:1,2,3");
    check("{ 20ms < duration }", "1:1,2");
    check("{ duration > 5ms * 2 && duration < 1s }", "1:1,2,3");
    check("{ statusMessage = \"lock timeout\" }", "1:5");
    check("{ span.http.status_code >= 500 }", "1:1");
    check("{ span.http.status_code = \"500\" }", "");
    check("{ .hit }", "1:1");
    check("{ !.hit }", "");
    check("{ .hit || .size > 5 }", "1:1,2");
    check("{ span.size * 2 = 5 }", "1:3");
    check("{ .size = nil && resource.service.name = \"cart\" }", "");
    check("{ .size != nil }", "1:2,3");
    check("{ span.size = nil && kind = server }", "1:1");
    check("{ -.size = -10 }", "1:2");
    check("{ span:id = \"0000000000000004\" }", "1:4");
    check("{ span:parentID = \"0000000000000002\" }", "1:4,5");
    check("{ trace:id = \"00000000000000000000000000000002\" }", "2:7");
    check("{ trace:id = \"2\" }", "2:7");
    check("{ \"002\" = trace:id }", "2:7");
    check("{ span:id = \"4\" }", "1:4");
    check("{ instrumentation:name = \"lib\" && instrumentation:version != \"1.2\" }", "");
    check("{ .nothing != \"x\" }", "");
}

#[test]
fn an_attribute_without_scope_is_the_spans_first() {
    check("{ .cluster = \"one\" && name = \"cart.add\" }", "");
    check("{ .cluster = \"two\" }", "1:2");
    check("{ resource.cluster = \"one\" && name = \"cart.add\" }", "1:2");
    check("{ .cluster = \"one\" && name = \"cart.list\" }", "1:3");
}

#[test]
fn several_values_satisfy_when_one_does_and_differ_when_all_do() {
    check("{ span.tags = \"b\" }", "1:1");
    check("{ span.tags != \"b\" }", "");
    check("{ span.tags != \"c\" }", "1:1");
    check("{ span.tags =~ \"[ab]\" }", "1:1");
    check("{ span.tags !~ \"[a]\" }", "");
    check("{ event:name = \"log\" }", "1:5");
    check("{ event:name != \"log\" }", "");
    check("{ event.exception.type = \"Timeout\" }", "1:5");
    check("{ event:timeSinceStart > 8ms }", "1:5");
    check("{ link:traceID = \"x\" }", "");
}

#[test]
fn fields_of_the_trace_and_its_tree() {
    check("{ rootServiceName = \"web\" && rootName = \"GET /\" && status = ok }", "1:4");
    check("{ trace:duration < 50ms }", "2:7 3:8");
    check("{ span:childCount = 2 }", "1:1,2");
    check("{ nestedSetParent < 0 }", "2:7 1:1");
    check("{ nestedSetLeft > 4 }", "1:5,3");
    check("{ parent.name = \"cart.add\" }", "1:4,5");
    check("{ parent.duration > 50ms }", "1:2,3");
    check("{ parent.span.size = 10 && parent.resource.service.name = \"cart\" }", "1:4,5");
}

#[test]
fn sets_are_joined_and_related() {
    let db = "{ resource.service.name = \"db\" }";
    let cart = "{ resource.service.name = \"cart\" }";
    let web = "{ resource.service.name = \"web\" }";
    check(&format!("{db} && {web}"), "1:1,4,5");
    check(&format!("{db} || {web}"), "2:7 1:1,4,5");
    check(&format!("{web} > {cart}"), "1:2,3");
    check(&format!("{web} > {db}"), "");
    check(&format!("{web} >> {db}"), "1:4,5");
    check(&format!("{db} < {cart}"), "1:2");
    check(&format!("{db} << {web}"), "1:1");
    check("{ status = error } ~ {}", "1:4");
    check("{ name = \"SELECT\" } ~ { status = ok }", "");
    check(&format!("{db} !< {cart}"), "1:3");
    check(&format!("{web} !> {{}}"), "2:7 1:1,4,5 3:8");
    check(&format!("{cart} !>> {{}}"), "2:7 1:1,2,3 3:8");
    check(&format!("{db} !<< {{}}"), "2:7 1:4,5,3 3:8");
    check("{ status = error } !~ { duration < 15ms }", "2:7 1:5 3:8");
    check(&format!("{web} &>> {db}"), "1:1,4,5");
    check(&format!("{db} &< {cart}"), "1:2,4,5");
    check(&format!("{cart} &> {{ status = error }}"), "1:2,5");
    check(&format!("{db} &<< {web}"), "1:1,4,5");
    check("{ status = ok } &~ { status = error }", "1:4,5");
    check("({ status = error } | count() > 0) >> {}", "");
    check(&format!("({web} >> {db}) && {cart}"), "1:2,4,5,3");
}

#[test]
fn pipelines_filter_group_and_count() {
    check("{} | { status = error }", "1:5");
    check("{} | count() > 4", "1:1,2,4,5,3");
    check("count() = 1", "2:7 3:8");
    check("{ duration < 20ms } | count() = 2", "1:4,5");
    check("{} | by(resource.service.name)", "2:7 1:1|2,3|4,5 3:8");
    check("{} | by(resource.service.name) | count() > 1", "1:2,3|4,5");
    check("{} | by(resource.service.name) | count() > 1 | coalesce()", "1:2,4,5,3");
    check("by(.size) | { .size != nil }", "1:2|3");
    check("{} | avg(duration) > 30ms", "1:1,2,4,5,3");
    check("{} | max(span.size) = 10 | { .size < 5 }", "1:3");
    check("{} | min(duration) < 2ms", "2:7");
    check("{} | sum(span.size) = 12.5", "1:1,2,4,5,3");
    check("{} | max(.nothing) >= 0", "");
    check("{} | count() + 1 > max(span.size) / 2", "1:1,2,4,5,3");
    check("{ status = error } | select(.size, name)", "1:5");
    check(
        "({ status = error } | count()) < ({ status = ok || kind = server } | count())",
        "1:1,4,5",
    );
}

#[test]
fn what_is_found_is_described() {
    let text =
        "{ status = error } | by(name) | max(duration) > 1ms | select(resource.service.name)";
    let found = run(&shop(), text, &everything());
    let [trace] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(trace.root_service.as_deref(), Some("web"));
    assert_eq!(trace.root_name.as_deref(), Some("GET /"));
    assert_eq!((trace.start_ns, trace.duration_ns), (MAY_NS, 100_000_000));
    let said: Vec<String> =
        trace.sets[0].attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(said, ["by(name)=INSERT", "max(duration)=10ms"]);
    let span = &trace.sets[0].spans[0];
    let shown: Vec<String> =
        span.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((&*span.name, span.duration_ns), ("INSERT", 10_000_000));
    assert_eq!(shown, ["status=error", "service.name=db"]);
    let orphan = &run(&shop(), "{ name = \"late\" }", &everything())[0];
    assert_eq!((&orphan.root_service, &orphan.root_name), (&None, &None));
}

#[test]
fn limits_times_and_durations_are_kept() {
    let table = shop();
    let found = run(&table, "{}", &Search { limit: 1, spans_per_set: 3, ..everything() });
    assert_eq!(found.iter().map(|t| t.trace_id).collect::<Vec<_>>(), [2]);
    let range = TimeRange::new(MAY_NS + 5 * MS, MAY_NS + 20 * MS);
    let found = run(&table, "{}", &Search { range, spans_per_set: 3, ..everything() });
    assert_eq!((found.len(), found[0].sets[0].spans.len(), found[0].sets[0].matched), (1, 3, 5));
    // The span found is not within.
    assert_eq!(
        run(&table, "{} >> { name = \"cart.list\" }", &Search { range, ..everything() }),
        []
    );
    let short = Search { duration_ns_max: Some(2_000_000), ..everything() };
    assert_eq!(run(&table, "{}", &short).len(), 2);
    let long = Search { duration_ns_min: Some(2_000_000), ..everything() };
    assert_eq!(run(&table, "{}", &long).len(), 2);
}

#[test]
fn searches_pay_and_metrics_are_none() {
    let limits = model::Limits { samples_max: 6, bytes_max: u64::MAX, time_ms_max: 1_000_000 };
    let budget = Budget::new(std::sync::Arc::new(model::SystemClock), limits);
    let error = search(&shop(), &parse("{}").unwrap(), &everything(), &budget).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let metric = parse("{} | rate()").unwrap();
    assert!(search(&shop(), &metric, &everything(), &Budget::unlimited()).is_err());
}
