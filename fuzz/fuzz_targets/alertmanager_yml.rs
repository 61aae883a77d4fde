//! `alertmanager.yml`: never panics, mistakes and warnings are always in the file, what is strictly right loads, and routes
//! can be asked.

#![no_main]

use std::path::Path;

use alert::matcher::Syntax;
use libfuzzer_sys::fuzz_target;
use model::Labels;
use taffrail::alertmanager_yml::{Options, load};

fuzz_target!(|text: &str| {
    let path = Path::new("/nowhere/alertmanager.yml");
    let last = text.split(['\n', '\r']).count() as u64;
    let read = |strict| {
        let options = Options { strict, syntax: Syntax::Fallback };
        load(path, text, options, &|_| Some("http://x".to_owned()))
    };
    let is_right = read(true).is_ok();
    match read(false) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|warning| warning.line <= last));
            let labels = Labels::from_pairs([("alertname", "x"), ("severity", "critical")]);
            let route = &loaded.config.route;
            let routes = route.walk();
            // The root is asked, whatever its matchers.
            assert!(!route.matching(&labels).is_empty());
            let ids: std::collections::BTreeSet<_> = routes.iter().map(|r| &r.id).collect();
            assert_eq!(ids.len(), routes.len());
        }
        Err(mistakes) => {
            // A variable may stand where it makes a text wrong.
            assert!(!is_right || text.contains('$'), "{mistakes:?}");
            assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| mistake.line <= last));
        }
    }
});
