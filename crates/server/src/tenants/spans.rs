//! Spans of tenants: whose a span is stands in its resource, and nobody sees another's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    AttributeScope, AttributeValue, Attributes, Budget, Matcher, Operation, Resource, Result, Span,
    SpanCondition, SpanField, SpanGroup, TENANT_LABEL, TimeRange, Trace, TracePlan, TraceSource,
    ValueTest,
};

/// Makes `groups` those of `tenant`, whatever their resources say of it.
pub(super) fn mark(groups: &mut [SpanGroup], tenant: &str) {
    let mut last: Option<(Arc<Resource>, Arc<Resource>)> = None;
    for group in groups {
        // Neighbours share their resource.
        let marked = match &last {
            Some((theirs, marked)) if Arc::ptr_eq(theirs, &group.resource) => marked.clone(),
            _ => {
                let mut marked = Resource::clone(&group.resource);
                marked.attributes.retain(|(name, _)| **name != *TENANT_LABEL);
                let value = AttributeValue::String(tenant.to_owned());
                marked.attributes.push((TENANT_LABEL.into(), value));
                Arc::new(marked)
            }
        };
        last = Some((std::mem::replace(&mut group.resource, marked.clone()), marked));
    }
}

/// The spans of some tenants.
pub(super) struct OfTenants {
    all: Arc<dyn TraceSource>,
    scope: Matcher,
}

impl OfTenants {
    pub(super) fn new(all: Arc<dyn TraceSource>, scope: Matcher) -> Self {
        Self { all, scope }
    }

    fn is_theirs(&self, attributes: &Attributes) -> bool {
        let tenant = attributes.iter().find(|(name, _)| **name == *TENANT_LABEL);
        match tenant {
            None => self.scope.matches(""),
            Some((_, value)) => self.scope.matches(&value.to_string()),
        }
    }

    /// Holds for their spans, and for others perhaps.
    fn condition(&self) -> SpanCondition {
        // Spans without the attribute are of the default tenant, and cannot be asked for.
        if self.scope.matches("") {
            return SpanCondition::Always;
        }
        let scope = self.scope.clone();
        let field = SpanField::Attribute(AttributeScope::Resource, TENANT_LABEL.to_owned());
        let theirs = ValueTest::new(move |value| scope.matches(&value.to_string()));
        SpanCondition::Test(field, theirs)
    }

    /// Calls `f` with their spans that start within `range` and satisfy `condition`, and others perhaps.
    fn each(
        &self,
        range: TimeRange,
        condition: SpanCondition,
        wanted: Wanted,
        budget: &Budget,
        f: &mut dyn FnMut(&SpanGroup, &Span),
    ) -> Result<()> {
        let plan = TracePlan {
            range,
            conditions: vec![condition],
            is_whole: false,
            attributes: wanted.attributes,
            details: wanted.details,
        };
        self.scan(&plan, budget, &mut |trace| {
            for group in &trace.groups {
                let spans = group.spans.iter().filter(|span| range.contains(span.start_ns));
                spans.for_each(|span| f(group, span));
            }
            ControlFlow::Continue(())
        })
    }
}

/// Which parts of spans are looked at.
struct Wanted {
    attributes: Option<BTreeSet<String>>,
    details: bool,
}

impl Wanted {
    /// Neither attributes, but for those of resources, nor events and links.
    fn little() -> Self {
        Self { attributes: Some(BTreeSet::new()), details: false }
    }
}

fn kind_number(value: &AttributeValue) -> u8 {
    match value {
        AttributeValue::Empty => 0,
        AttributeValue::String(_) => 1,
        AttributeValue::Bool(_) => 2,
        AttributeValue::Int(_) => 3,
        AttributeValue::Double(_) => 4,
        AttributeValue::Bytes(_) => 5,
        AttributeValue::Array(_) | AttributeValue::Map(_) => 6,
    }
}

/// The attributes of `scope` around a span.
fn attributes_of<'s>(
    scope: AttributeScope,
    group: &'s SpanGroup,
    span: &'s Span,
) -> Vec<&'s Attributes> {
    match scope {
        AttributeScope::Resource => vec![&group.resource.attributes],
        AttributeScope::Instrumentation => vec![&group.scope.attributes],
        AttributeScope::Span => vec![&span.attributes],
        AttributeScope::Event => span.events.iter().map(|event| &event.attributes).collect(),
        AttributeScope::Link => span.links.iter().map(|link| &link.attributes).collect(),
    }
}

impl TraceSource for OfTenants {
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        let Some(mut trace) = self.all.trace(trace_id, budget)? else { return Ok(None) };
        trace.groups.retain(|group| self.is_theirs(&group.resource.attributes));
        Ok((!trace.groups.is_empty()).then_some(trace))
    }

    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        let of_theirs = |condition: &SpanCondition| {
            SpanCondition::All(vec![self.condition(), condition.clone()])
        };
        let conditions = plan.conditions.iter().map(of_theirs).collect();
        let plan = &TracePlan { conditions, ..plan.clone() };
        // A trace may have spans of others, too.
        self.all.scan(plan, budget, &mut |trace| {
            let is_theirs = |group: &&SpanGroup| self.is_theirs(&group.resource.attributes);
            if trace.groups.iter().all(|group| is_theirs(&group)) {
                return visit(trace);
            }
            let groups: Vec<SpanGroup> = trace.groups.iter().filter(is_theirs).cloned().collect();
            if groups.is_empty() {
                return ControlFlow::Continue(());
            }
            visit(&Trace { trace_id: trace.trace_id, groups })
        })
    }

    fn services(&self, range: TimeRange, budget: &Budget) -> Result<Vec<String>> {
        let mut services = BTreeSet::new();
        self.each(range, SpanCondition::Always, Wanted::little(), budget, &mut |group, _| {
            if let Some(service) = group.resource.service()
                && !services.contains(service)
            {
                services.insert(service.to_owned());
            }
        })?;
        Ok(services.into_iter().collect())
    }

    fn operations(
        &self,
        service: &str,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Operation>> {
        let mut operations = BTreeSet::new();
        let wanted = service.to_owned();
        let test = ValueTest::new(move |value| value.to_string() == wanted).with_text(service);
        let condition = SpanCondition::Test(SpanField::Service, test);
        self.each(range, condition, Wanted::little(), budget, &mut |group, span| {
            if group.resource.service() == Some(service) {
                let (name, kind) = (span.name.as_ref().to_owned(), span.kind as u8);
                operations.insert(Operation { name, kind });
            }
        })?;
        Ok(operations.into_iter().collect())
    }

    fn attribute_names(
        &self,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>> {
        let mut names: BTreeSet<(AttributeScope, String)> = BTreeSet::new();
        let all = Wanted { attributes: None, details: true };
        self.each(range, SpanCondition::Always, all, budget, &mut |group, span| {
            for scope in AttributeScope::ALL {
                let lists = attributes_of(scope, group, span).into_iter();
                names.extend(lists.flatten().map(|(name, _)| (scope, name.as_ref().to_owned())));
            }
        })?;
        Ok(names.into_iter().collect())
    }

    fn attribute_values(
        &self,
        scope: AttributeScope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        // By text, and by type: 1 and "1" are two values.
        let mut values = BTreeMap::new();
        let wanted = Wanted {
            attributes: Some(BTreeSet::from([name.to_owned()])),
            details: matches!(scope, AttributeScope::Event | AttributeScope::Link),
        };
        self.each(range, SpanCondition::Always, wanted, budget, &mut |group, span| {
            let lists = attributes_of(scope, group, span).into_iter().flatten();
            for (_, value) in lists.filter(|(known, _)| **known == *name) {
                let key = (value.to_string(), kind_number(value));
                values.entry(key).or_insert_with(|| value.clone());
                if values.len() > limit {
                    values.pop_last();
                }
            }
        })?;
        Ok(values.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Traces, given as they are.
    struct Table(Vec<Trace>);

    impl TraceSource for Table {
        fn trace(&self, trace_id: u128, _budget: &Budget) -> Result<Option<Trace>> {
            Ok(self.0.iter().find(|trace| trace.trace_id == trace_id).cloned())
        }

        fn scan(
            &self,
            _plan: &TracePlan,
            _budget: &Budget,
            visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
        ) -> Result<()> {
            let _ended = self.0.iter().try_for_each(visit);
            Ok(())
        }

        fn services(&self, _range: TimeRange, _budget: &Budget) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn operations(
            &self,
            _service: &str,
            _range: TimeRange,
            _budget: &Budget,
        ) -> Result<Vec<Operation>> {
            Ok(Vec::new())
        }

        fn attribute_names(
            &self,
            _range: TimeRange,
            _budget: &Budget,
        ) -> Result<Vec<(AttributeScope, String)>> {
            Ok(Vec::new())
        }

        fn attribute_values(
            &self,
            _scope: AttributeScope,
            _name: &str,
            _range: TimeRange,
            _limit: usize,
            _budget: &Budget,
        ) -> Result<Vec<AttributeValue>> {
            Ok(Vec::new())
        }
    }

    fn text(text: &str) -> AttributeValue {
        AttributeValue::String(text.to_owned())
    }

    /// A span of `tenant` in the trace of the number, which is its start, too.
    fn group(number: i64, tenant: &str, service: &str, name: &str) -> SpanGroup {
        let attributes = vec![(Arc::from("service.name"), text(service))];
        let span = Span {
            trace_id: number.unsigned_abs().into(),
            span_id: 1,
            name: name.into(),
            start_ns: number,
            end_ns: number + 10,
            attributes: vec![(Arc::from("user"), text(tenant))],
            ..Span::default()
        };
        let resource = Arc::new(Resource { attributes, ..Resource::default() });
        let mut groups = [SpanGroup { resource, spans: vec![span], ..SpanGroup::default() }];
        if !tenant.is_empty() {
            mark(&mut groups, tenant);
        }
        let [group] = groups;
        group
    }

    fn trace(number: i64, groups: &[SpanGroup]) -> Trace {
        Trace { trace_id: number.unsigned_abs().into(), groups: groups.to_vec() }
    }

    fn of(scope: Matcher) -> OfTenants {
        // Newest first; the middle one is of both.
        let table = Table(vec![
            trace(3, &[group(3, "a", "shop", "new")]),
            trace(2, &[group(2, "b", "bank", "both"), group(2, "a", "shop", "both")]),
            trace(1, &[group(1, "", "host", "old")]),
        ]);
        OfTenants::new(Arc::new(table), scope)
    }

    /// All traces, newest first, each with the services of the spans shown of it.
    fn found(seen: &OfTenants) -> Vec<(u128, String)> {
        let plan = TracePlan {
            range: TimeRange::ALL,
            conditions: vec![SpanCondition::Always],
            is_whole: true,
            attributes: None,
            details: true,
        };
        let mut found = Vec::new();
        let mut visit = |trace: &Trace| {
            let services = trace.groups.iter().filter_map(|group| group.resource.service());
            found.push((trace.trace_id, services.collect::<Vec<_>>().join(" ")));
            ControlFlow::Continue(())
        };
        seen.scan(&plan, &Budget::unlimited(), &mut visit).unwrap();
        found
    }

    #[test]
    fn everything_that_is_listed_is_theirs() {
        let budget = Budget::unlimited();
        let check = |scope: Matcher, services: &[&str], ids: &[u128], users: &[&str]| {
            let seen = of(scope);
            let all = TimeRange::ALL;
            assert_eq!(seen.services(all, &budget).unwrap(), services);
            assert!(found(&seen).iter().map(|(id, _)| id).eq(ids));
            let scope = AttributeScope::Span;
            let values = seen.attribute_values(scope, "user", all, 10, &budget).unwrap();
            assert_eq!(values, users.iter().map(|user| text(user)).collect::<Vec<_>>());
        };
        check(Matcher::equal(TENANT_LABEL, "a"), &["shop"], &[3, 2], &["a"]);
        check(Matcher::equal(TENANT_LABEL, "b"), &["bank"], &[2], &["b"]);
        check(Matcher::equal(TENANT_LABEL, "c"), &[], &[], &[]);
        let several = Matcher::new(model::MatchOp::Regex, TENANT_LABEL, "b|").unwrap();
        check(several, &["bank", "host"], &[2, 1], &["", "b"]);
        let seen = of(Matcher::equal(TENANT_LABEL, "b"));
        let operations = |service| seen.operations(service, TimeRange::ALL, &budget).unwrap();
        assert_eq!(operations("bank"), [Operation { name: "both".to_owned(), kind: 0 }]);
        assert_eq!(operations("shop"), []);
        let names = seen.attribute_names(TimeRange::ALL, &budget).unwrap();
        let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["service.name", "tenant", "user"]);
    }

    #[test]
    fn calls_are_those_between_their_spans() {
        let below = |mut group: SpanGroup, id| {
            group.spans[0].span_id = id;
            group.spans[0].parent_id = 1;
            group
        };
        let groups = [
            group(1, "a", "shop", "asks"),
            below(group(1, "b", "bank", "asked"), 2),
            below(group(1, "a", "cart", "asked"), 3),
        ];
        let table: Arc<dyn TraceSource> = Arc::new(Table(vec![trace(1, &groups)]));
        let check = |scope: Matcher, expected: &[(&str, &str)]| {
            let seen = OfTenants::new(table.clone(), scope);
            let plan = model::EdgePlan { range: TimeRange::ALL, outside: true };
            let edges = seen.edges(&plan, &Budget::unlimited()).unwrap();
            let ends: Vec<(&str, &str)> = edges.iter().map(|e| (&*e.client, &*e.server)).collect();
            assert_eq!(ends, expected);
        };
        check(Matcher::equal(TENANT_LABEL, "a"), &[("shop", "cart")]);
        check(Matcher::equal(TENANT_LABEL, "b"), &[]);
        let both = Matcher::new(model::MatchOp::Regex, TENANT_LABEL, "a|b").unwrap();
        check(both, &[("shop", "bank"), ("shop", "cart")]);
    }

    #[test]
    fn searches_look_at_their_spans_alone() {
        let of = |tenant| found(&of(Matcher::equal(TENANT_LABEL, tenant)));
        let [shop, bank] = ["shop".to_owned(), "bank".to_owned()];
        assert_eq!(of("a"), [(3, shop.clone()), (2, shop)]);
        assert_eq!(of("b"), [(2, bank)]);
    }
}
