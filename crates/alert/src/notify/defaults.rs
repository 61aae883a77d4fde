//! The templates there are without any file of the user's.

use crate::expand::alertmanager::Templates;

/// The default texts of all integrations, under Alertmanager's names. Files of the user are added to them and may replace
/// each.
pub fn default_templates() -> Templates {
    let mut templates = Templates::new();
    for (name, text) in
        [("default.tmpl", include_str!("default.tmpl")), ("email.tmpl", include_str!("email.tmpl"))]
    {
        templates.add(name, text).expect("BUG: the default templates are sound");
    }
    templates
}
