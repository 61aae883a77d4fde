//! Pages of series and blocks of pages: foreign bytes give columns of the right length or errors; all columns survive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::Input;
use tsdb::page::{self, Page, ROWS_MAX, SERIES_MAX};
use tsdb::{Column, part};

fn check(bytes: &[u8], rows: usize) {
    let Ok(read) = Page::decode(bytes, rows) else { return };
    for slot in 0..read.len() {
        assert!(read.summary(slot).is_some());
        read.has_value(slot, rows / 3, rows).ok();
        let Ok(column) = read.column(slot) else { continue };
        assert!(column.values.len() <= rows);
        assert!(column.iter().all(|(row, _)| row < rows));
    }
}

fn survive(mut input: Input<'_>, rows: usize) {
    let mut columns = Vec::new();
    while !input.is_empty() && columns.len() < SERIES_MAX {
        let (gap, scale) = (usize::from(input.u8() % 4), f64::from(input.u8()));
        let values = input.slice();
        let mut column = Column::default();
        for (row, value) in (0..rows).step_by(gap + 1).zip(values) {
            column.push(row, f64::from(*value) * scale / 10.0);
        }
        column.finish(rows);
        columns.push(column);
    }
    let mut bytes = Vec::new();
    page::encode(&columns, &mut bytes);
    let back = page::decode(&bytes, rows).expect("just encoded");
    assert_eq!(back.len(), columns.len());
    for (column, back) in columns.iter().zip(back) {
        assert_eq!(column.iter().collect::<Vec<_>>(), back.iter().collect::<Vec<_>>());
    }
    check(&bytes, rows);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    let rows = usize::from(input.u16()) % ROWS_MAX + 1;
    match choice % 3 {
        0 => {
            check(input.rest(), rows);
            if let Ok(page) = page::block_page(input.rest(), usize::from(choice) / 3) {
                check(page, rows);
            }
        }
        1 => {
            let times = part::decode_times(input.rest(), usize::from(choice) / 3, rows);
            assert!(times.map_or(rows, |t| t.len()) == rows);
        }
        _ => survive(input, rows),
    }
});
