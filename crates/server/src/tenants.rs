//! Tenants: whose log lines and traces a request writes and sees.
//!
//! Owns: names of tenants; which of them a request is of, by its token or, where that is configured, by `X-Scope-OrgID`;
//! and the sources that show no other's streams and spans ([`Reader`], the only way handlers reach them). A tenant is the
//! label `tenant` of its streams and the attribute `tenant` of its resources, which receivers set over what a client
//! sends. Does not own: storing; samples, which have no tenants.

mod spans;

use std::fmt;
use std::net::IpAddr;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ingest::pushed_lines::Pushed;
use model::{
    Budget, Error, Labels, LogAggregation, LogPlan, LogRow, LogSource, Matcher, Result, SpanGroup,
    StepCounts, StreamVolume, TENANT_LABEL, TimeRange, TraceSource,
};

use crate::access::Caller;
use crate::receive::origin;
use crate::{App, assets};

/// The header in which Loki's clients name tenants.
const HEADER: &str = "x-scope-orgid";
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 150;
/// Tenants one query may name.
const ASKED_MAX: usize = 100;
/// As what Loki's queries name the tenant.
const LOKI_LABEL: &str = "__tenant_id__";

/// Name of a tenant, one that Loki accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant called `name`.
    ///
    /// # Errors
    /// Why there is none of that name, in Loki's words.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("no org id".to_owned());
        }
        let is_sound =
            |c: &char| c.is_ascii_alphanumeric() || matches!(c, '!' | '\''..='*' | '-' | '.' | '_');
        if let Some(c) = name.chars().find(|c| !is_sound(c)) {
            return Err(format!("tenant ID '{name:.150}' contains unsupported character '{c}'"));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("tenant ID is too long: max {NAME_BYTES_MAX} characters"));
        }
        if matches!(name, "." | "..") {
            return Err("tenant ID is '.' or '..'".to_owned());
        }
        Ok(Self(name.into()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How requests say whose they are. The default: they do not, and there is one tenant; tokens of a tenant hold all the
/// same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenants {
    /// Whether `X-Scope-OrgID` names the tenant of requests without such a token; otherwise it means nothing.
    pub from_header: bool,
    /// Whose requests without that header are, and lines that were collected without a tenant; otherwise the first are
    /// refused, and the second are nobody's.
    pub default: Option<Tenant>,
}

type Refusal = (StatusCode, String);

impl Tenants {
    /// The tenants a request asks for, in order; `None` for all there are.
    fn asked(&self, caller: &Caller, headers: &HeaderMap) -> Result<Option<Vec<Tenant>>, Refusal> {
        let header = self.from_header.then(|| headers.get(HEADER)).flatten();
        let header = match header.map(|value| value.to_str()) {
            None | Some(Ok("")) => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => {
                return Err((StatusCode::BAD_REQUEST, "tenant ID is not plain text".to_owned()));
            }
        };
        if let Some(own) = &caller.tenant {
            return match header.filter(|text| *text != own.as_str()) {
                None => Ok(Some(vec![own.clone()])),
                Some(other) => Err((
                    StatusCode::FORBIDDEN,
                    format!("the token is of tenant {own}; X-Scope-OrgID says {other:.150?}"),
                )),
            };
        }
        match (self.from_header, header) {
            (false, _) => Ok(None),
            (true, None) => match &self.default {
                Some(default) => Ok(Some(vec![default.clone()])),
                None => Err((StatusCode::UNAUTHORIZED, "no org id".to_owned())),
            },
            (true, Some(names)) => {
                let tenants = names.split('|').take(ASKED_MAX + 1).map(Tenant::new);
                let tenants: Result<Vec<Tenant>, String> = tenants.collect();
                let mut tenants = tenants.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                if tenants.len() > ASKED_MAX {
                    let why = format!("X-Scope-OrgID names more than {ASKED_MAX} tenants");
                    return Err((StatusCode::BAD_REQUEST, why));
                }
                tenants.sort_unstable();
                tenants.dedup();
                Ok(Some(tenants))
            }
        }
    }

    /// What streams of `tenants` have and no others.
    fn matcher(&self, tenants: &[Tenant]) -> Result<Matcher> {
        let is_default = |tenant: &Tenant| self.default.as_ref() == Some(tenant);
        if let [tenant] = tenants
            && !is_default(tenant)
        {
            return Ok(Matcher::equal(TENANT_LABEL, tenant.as_str()));
        }
        let mut names: Vec<String> = tenants.iter().map(|t| regex::escape(t.as_str())).collect();
        if tenants.iter().any(is_default) {
            names.push(String::new());
        }
        Matcher::new(model::MatchOp::Regex, TENANT_LABEL, names.join("|"))
    }
}

fn caller_of(parts: &Parts) -> Caller {
    parts.extensions.get::<Caller>().cloned().expect("BUG: route without its gate")
}

fn one(asked: Option<Vec<Tenant>>) -> Result<Option<Tenant>, Refusal> {
    match asked {
        None => Ok(None),
        Some(tenants) if tenants.len() == 1 => Ok(tenants.into_iter().next()),
        Some(_) => Err((StatusCode::BAD_REQUEST, "multiple org IDs present".to_owned())),
    }
}

/// Whose the lines and spans are that a request brings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owner {
    tenant: Option<Tenant>,
    /// Address of who made them, if they were not passed on.
    maker: Option<IpAddr>,
}

impl Owner {
    /// The owner of what a request brings that `caller` sends.
    ///
    /// # Errors
    /// 401 when it has to say so and does not, 400 when it names several or what cannot be a name, 403 when its token is
    /// of another.
    pub(crate) fn new(app: &App, caller: &Caller, parts: &Parts) -> Result<Self, Refusal> {
        let tenant = one(app.config.access.tenants.asked(caller, &parts.headers)?)?;
        let maker = origin::maker(parts.extensions.get().copied(), &parts.headers);
        Ok(Self { tenant, maker })
    }

    /// `labels` as a stream of this owner.
    pub(crate) fn stream(&self, labels: &Labels) -> Labels {
        match &self.tenant {
            Some(tenant) => labels.with(TENANT_LABEL, tenant.as_str()),
            None => labels.clone(),
        }
    }

    /// Makes its streams those of their owner.
    pub(crate) fn mark(&self, pushed: &mut Pushed) {
        if let Some(tenant) = &self.tenant {
            pushed.rows.set_stream_label(TENANT_LABEL, tenant.as_str());
        }
    }

    /// Makes spans those of their owner, and of the container that they come from.
    pub(crate) fn mark_spans(&self, app: &App, groups: &mut [SpanGroup]) {
        origin::infer(app.host.as_ref(), self.maker, groups);
        if let Some(tenant) = &self.tenant {
            spans::mark(groups, tenant.as_str());
        }
    }
}

impl FromRequestParts<Arc<App>> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        Self::new(app, &caller_of(parts), parts)
            .map_err(|(status, why)| assets::plain(status, &why))
    }
}

/// The application as a request sees it: with the log lines and traces of its tenants alone.
#[derive(Clone)]
pub(crate) struct Reader {
    app: Arc<App>,
    /// The lines.
    pub(crate) logs: Arc<dyn LogSource>,
    /// The traces.
    pub(crate) traces: Arc<dyn TraceSource>,
    /// What their streams have in common; `None` for all lines.
    scope: Option<Matcher>,
    /// Whether it is about several tenants.
    of_several: bool,
}

impl Deref for Reader {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Reader {
    /// What `caller` sees with a request of `headers`.
    ///
    /// # Errors
    /// As [`Owner::new`], but several tenants may be asked for.
    pub(crate) fn new(
        app: &Arc<App>,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let tenants = &app.config.access.tenants;
        let asked = tenants.asked(caller, headers)?;
        let of_several = asked.as_ref().is_some_and(|asked| asked.len() > 1);
        let mut traces = app.all_traces.clone();
        let (logs, scope) = match asked {
            None => (app.all_logs.clone(), None),
            Some(asked) => {
                let scope = tenants
                    .matcher(&asked)
                    .map_err(|e| (StatusCode::BAD_REQUEST, e.message().to_owned()))?;
                let of_tenants = OfTenants { all: app.all_logs.clone(), scope: scope.clone() };
                traces = Arc::new(spans::OfTenants::new(traces, scope.clone()));
                (Arc::new(of_tenants) as Arc<dyn LogSource>, Some(scope))
            }
        };
        Ok(Self { app: app.clone(), logs, traces, scope, of_several })
    }

    /// Whether it may see a stream.
    pub(crate) fn sees(&self, stream: &Labels) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.matches_labels(stream))
    }

    /// What selects the streams it may see, beside what it asks for.
    pub(crate) fn scope(&self) -> Option<&Matcher> {
        self.scope.as_ref()
    }

    /// Refuses what is about one tenant.
    ///
    /// # Errors
    /// When it names several.
    pub(crate) fn check_one(&self) -> Result<()> {
        if self.of_several { Err(Error::invalid("multiple org IDs present")) } else { Ok(()) }
    }
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        Self::new(app, &caller_of(parts), &parts.headers)
            .map_err(|(status, why)| assets::plain(status, &why))
    }
}

/// The streams of some tenants.
struct OfTenants {
    all: Arc<dyn LogSource>,
    scope: Matcher,
}

impl OfTenants {
    /// `matchers` and the scope; what Loki calls the tenant's label is called so here, too.
    fn narrowed(&self, matchers: &[Matcher]) -> Result<Vec<Matcher>> {
        let renamed = matchers.iter().map(|matcher| match matcher.name() {
            LOKI_LABEL => Matcher::new(matcher.op(), TENANT_LABEL, matcher.value()),
            _ => Ok(matcher.clone()),
        });
        renamed.chain([Ok(self.scope.clone())]).collect()
    }

    fn plan(&self, plan: &LogPlan) -> Result<LogPlan> {
        Ok(LogPlan { matchers: self.narrowed(&plan.matchers)?, ..plan.clone() })
    }
}

impl LogSource for OfTenants {
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        self.all.scan(&self.plan(plan)?, budget, visit)
    }

    fn aggregate(
        &self,
        plan: &LogPlan,
        aggregation: &LogAggregation,
        budget: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        self.all.aggregate(&self.plan(plan)?, aggregation, budget)
    }

    fn volumes(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<StreamVolume>> {
        self.all.volumes(&self.narrowed(matchers)?, range, budget)
    }

    fn streams(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Labels>> {
        let narrowed = match selectors {
            [] => vec![vec![self.scope.clone()]],
            some => some.iter().map(|one| self.narrowed(one)).collect::<Result<_>>()?,
        };
        self.all.streams(&narrowed, range, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tenants: &Tenants, token: Option<&str>, header: Option<&str>) -> Result<String, u16> {
        let tenant = token.map(|name| Tenant::new(name).unwrap());
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(HEADER, text.parse().unwrap());
        }
        let asked = tenants.asked(&Caller { tenant }, &headers).map_err(|r| r.0.as_u16())?;
        let matcher = asked.map(|asked| tenants.matcher(&asked).unwrap().to_string());
        Ok(matcher.unwrap_or_default())
    }

    #[test]
    fn names_are_those_that_loki_accepts() {
        let check = |name: &str, expected: &str| {
            assert_eq!(Tenant::new(name).map_or_else(|why| why, |_| String::new()), expected);
        };
        check("team-a_1.x!*'()", "");
        check(&"a".repeat(150), "");
        check(&"a".repeat(151), "tenant ID is too long: max 150 characters");
        check("..", "tenant ID is '.' or '..'");
        check("", "no org id");
        check("a/b", "tenant ID 'a/b' contains unsupported character '/'");
        check("a\"", "tenant ID 'a\"' contains unsupported character '\"'");
        check("ä", "tenant ID 'ä' contains unsupported character 'ä'");
    }

    #[test]
    fn requests_are_of_their_token_or_of_the_header() {
        let off = Tenants::default();
        assert_eq!(asked(&off, None, Some("a|b")), Ok(String::new()));
        assert_eq!(asked(&off, Some("a"), Some("b")), Ok("tenant=\"a\"".into()));
        let on = Tenants { from_header: true, default: None };
        assert_eq!(asked(&on, None, None), Err(401));
        assert_eq!(asked(&on, None, Some("")), Err(401));
        assert_eq!(asked(&on, None, Some("b|a|b")), Ok("tenant=~\"a|b\"".into()));
        assert_eq!(asked(&on, None, Some("a|")), Err(400));
        assert_eq!(asked(&on, None, Some("a.b")), Ok("tenant=\"a.b\"".into()));
        assert_eq!(asked(&on, None, Some("a.b|c")), Ok("tenant=~\"a\\\\.b|c\"".into()));
        assert_eq!(asked(&on, None, Some(&vec!["a"; 101].join("|"))), Err(400));
        assert_eq!(asked(&on, Some("a"), None), Ok("tenant=\"a\"".into()));
        assert_eq!(asked(&on, Some("a"), Some("a")), Ok("tenant=\"a\"".into()));
        assert_eq!(asked(&on, Some("a"), Some("a|b")), Err(403));
        let on = Tenants { default: Tenant::new("ops").ok(), ..on };
        assert_eq!(asked(&on, None, None), Ok("tenant=~\"ops|\"".into()));
        assert_eq!(asked(&on, None, Some("a")), Ok("tenant=\"a\"".into()));
        assert_eq!(asked(&on, Some("a"), None), Ok("tenant=\"a\"".into()));
    }
}
