//! Native histograms by themselves, in pages and in a part's directory: what decodes is bounded and survives encoding.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::Histogram;
use storage::codec::Reader;
use taffrail_fuzz::Input;
use tsdb::buckets::{self, SAMPLES_MAX, WEIGHT_MAX};
use tsdb::histograms::HistogramPages;

/// All bits, as text: NaN differs from itself otherwise.
fn shown(h: &Histogram) -> String {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let numbers = bits(&[h.zero_threshold, h.zero_count, h.count, h.sum]);
    let lists = [bits(&h.positive), bits(&h.negative), bits(&h.custom_bounds)];
    let spans = (&h.positive_spans, &h.negative_spans);
    format!("{} {} {:?} {numbers:?} {lists:?} {spans:?}", h.schema, h.integer, h.hint)
}

fn one(bytes: &[u8]) -> Option<Histogram> {
    let h = buckets::decode_one(&mut Reader::new(bytes)).ok()?;
    assert!(buckets::weight(&h) <= WEIGHT_MAX);
    assert!(buckets::check(&h).is_ok(), "what decodes can be encoded");
    let mut encoded = Vec::new();
    buckets::encode_one(&h, &mut encoded);
    let again = buckets::decode_one(&mut Reader::new(&encoded)).expect("just encoded");
    assert_eq!(shown(&h), shown(&again));
    Some(h)
}

fn page(bytes: &[u8]) {
    let Ok(samples) = buckets::decode_page(bytes) else { return };
    assert!(samples.len() <= SAMPLES_MAX);
    assert!(samples.iter().map(|(_, h)| buckets::weight(h)).sum::<usize>() <= WEIGHT_MAX);
    let times = buckets::page_times(bytes).expect("decoded as a whole");
    assert!(times.iter().eq(samples.iter().map(|(t, _)| t)));
    survive(samples.into_iter().map(|(t, h)| (t, Arc::new(h))).collect());
}

fn survive(samples: Vec<(i64, Arc<Histogram>)>) {
    for page in buckets::pages(&samples) {
        let mut bytes = Vec::new();
        buckets::encode_page(page, &mut bytes);
        let back = buckets::decode_page(&bytes).expect("just encoded");
        let shown_of = |t: i64, h: &Histogram| (t, shown(h));
        assert!(
            back.iter()
                .map(|(t, h)| shown_of(*t, h))
                .eq(page.iter().map(|(t, h)| shown_of(*t, h)))
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    match input.u8() % 4 {
        0 => drop(one(input.rest())),
        1 => page(input.rest()),
        2 => drop(HistogramPages::decode(input.rest())),
        _ => {
            let mut samples = Vec::new();
            while !input.is_empty() {
                if let Some(h) = one(input.slice()) {
                    samples.push((samples.len() as i64 * 15_000, Arc::new(h)));
                }
            }
            survive(samples);
        }
    }
});
