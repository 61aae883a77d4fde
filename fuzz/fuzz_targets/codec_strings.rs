//! Front-coded strings: any bytes give a table or an error; every list survives, and sorted ones are found in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::Reader;
use storage::codec::strings::{self, Table};

fn survives(list: &[&str]) -> Table {
    let mut bytes = Vec::new();
    strings::encode(list.iter().copied(), &mut bytes);
    let mut reader = Reader::new(&bytes);
    let table = Table::decode(&mut reader).expect("just encoded");
    assert!(reader.is_empty());
    assert_eq!(table.iter().collect::<Vec<_>>(), list);
    table
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = Table::decode(&mut Reader::new(bytes)) {
        assert!(table.len() <= bytes.len());
        assert_eq!(table.get(table.len()), None);
        // Each string is a part of the one before and bytes of the input.
        assert!(table.iter().all(|s| s.len() <= bytes.len()));
        survives(&table.iter().collect::<Vec<_>>());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut list: Vec<&str> = text.split('\n').collect();
    survives(&list);
    list.sort_unstable();
    list.dedup();
    let table = survives(&list);
    for (i, string) in list.iter().enumerate() {
        assert_eq!(table.find(string), Some(i));
    }
});
