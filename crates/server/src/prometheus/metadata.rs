//! Which series, labels and metrics there are: `labels`, `label/…/values`, `series`, `metadata`.

use std::sync::Arc;

use ::query::promql;
use axum::extract::{Path, State};
use axum::response::Response;
use model::{Error, Result};

use super::{json, limit, respond, selectors, series_range, whole_number};
use crate::params::Params;
use crate::{App, error, streamed};

pub(crate) async fn labels(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let (limit, range, selectors) =
            (limit(&params)?, series_range(&params)?, selectors(&params)?);
        let source = app.metrics.clone();
        let work = move |budget: &_| source.label_names(&selectors, range, budget);
        Ok(list(app.queries.run(None, work).await?, limit, |out, name| json::string(out, name)))
    };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let answer = async {
        // Prometheus accepts UTF-8 names, also in its `U__` escaping.
        let name = promql::unescape_label_name(&name);
        if name.is_empty() {
            return Err(Error::invalid("invalid label name: \"\""));
        }
        let (limit, range, selectors) =
            (limit(&params)?, series_range(&params)?, selectors(&params)?);
        let source = app.metrics.clone();
        let work = move |budget: &_| source.label_values(&name, &selectors, range, budget);
        Ok(list(app.queries.run(None, work).await?, limit, |out, value| json::string(out, value)))
    };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

pub(crate) async fn series(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        if params.all("match[]").next().is_none() {
            return Err(Error::invalid("no match[] parameter provided"));
        }
        let (limit, range, selectors) =
            (limit(&params)?, series_range(&params)?, selectors(&params)?);
        let source = app.metrics.clone();
        let work = move |budget: &_| source.series(&selectors, range, budget);
        Ok(list(app.queries.run(None, work).await?, limit, json::labels))
    };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

/// The first `limit` items (0: all), with a warning when there are more.
fn list<T: Send + 'static>(mut items: Vec<T>, limit: usize, item: fn(&mut String, &T)) -> Response {
    let mut tail = String::new();
    if limit > 0 && items.len() > limit {
        items.truncate(limit);
        json::notes(&mut tail, &[json::TRUNCATED.to_owned()], &[]);
    }
    tail.push('}');
    streamed::list("{\"status\":\"success\",\"data\":".to_owned(), items, item, tail)
}

pub(crate) async fn metadata(State(app): State<Arc<App>>, params: Params) -> Response {
    let number = |name: &str| -> Result<Option<usize>> {
        let number = whole_number(params.get(name))
            .map_err(|_| Error::invalid(format!("{name} must be a number")))?;
        // Below zero means no limit.
        Ok(number.and_then(|n| usize::try_from(n).ok()))
    };
    let answer = number("limit").and_then(|limit| {
        let per_metric = number("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
        let all = app.metrics.metadata(params.non_empty("metric"));
        Ok(json::metadata(&all, limit.unwrap_or(usize::MAX), per_metric))
    });
    respond(answer)
}
