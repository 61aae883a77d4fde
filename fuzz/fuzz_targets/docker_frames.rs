//! Log streams: however they are split on the way, the same lines come of them.

#![no_main]

use ingest::docker::frames::{Decoder, LINE_BYTES_MAX, Line};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::{Input, assert_bounded};

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Line>, bool) {
    let (mut decoder, mut lines) = (Decoder::default(), Vec::new());
    for piece in pieces {
        if decoder.feed(piece, &mut lines).is_err() {
            return (lines, false);
        }
    }
    decoder.finish(&mut lines);
    assert_eq!(decoder.pending_t_ns(), None);
    (lines, true)
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let step = usize::from(input.u8()) + 1;
    let stream = input.rest();
    let (whole, ended) = lines(std::iter::once(stream));
    assert_eq!((&whole, ended), (&lines(stream.chunks(step)).0, lines(stream.chunks(1)).1));
    assert_eq!(whole, lines(stream.chunks(1)).0);
    for line in &whole {
        // What is not UTF-8 becomes three bytes, and a cut line says so.
        assert!(line.text.len() <= 3 * LINE_BYTES_MAX + 64);
        assert!(line.truncated_bytes <= stream.len() as u64);
    }
    assert_bounded(whole.iter().map(|l| l.text.len()).sum(), stream.len());
});
