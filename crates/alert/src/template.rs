//! Where templates in labels and annotations are carried out: [`Templates`] stands between the evaluation of rules and
//! the language of templates.

use model::{Error, Labels, Result};
use query::promql::Sample;

/// What a template can speak about.
pub struct About<'a> {
    /// The alerting rule.
    pub rule: &'a str,
    /// The element of the expression's result, its metric name included.
    pub sample: &'a Sample,
    /// When the rule is evaluated, Unix milliseconds.
    pub at_ms: i64,
    /// Labels for everything that leaves the process.
    pub external_labels: &'a Labels,
    /// Where users reach this process.
    pub external_url: &'a str,
    /// The result of a PromQL expression at that time, for the function `query`.
    pub query: &'a dyn Fn(&str) -> Result<Vec<Sample>>,
}

/// Carries out templates.
pub trait Templates {
    /// `text` with everything between `{{` and `}}` carried out.
    ///
    /// # Errors
    /// What is wrong in the template, or went wrong in it.
    fn expand(&self, text: &str, about: &About<'_>) -> Result<String>;
}

/// Refuses all templates; texts without any are themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTemplates;

impl Templates for NoTemplates {
    fn expand(&self, text: &str, _: &About<'_>) -> Result<String> {
        if text.contains("{{") {
            return Err(Error::invalid("templates are not carried out here"));
        }
        Ok(text.to_owned())
    }
}
