//! Many filters over one journal: reading by several handles of libsystemd is as reading by one.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{path::Path, sync::Arc};

use wardend::testing::{Cursor, Fields, Filter, Position, Reader, Record, Step, Where};

#[path = "support/services.rs"]
mod services;

const RECORDS: u64 = 8_000;

/// All records behind a position: the time and the cursor of each.
fn read(
    directory: &Path,
    filters: &[Arc<Filter>],
    fields: &Arc<Fields>,
    position: &Position,
) -> (bool, Vec<(u64, Cursor)>) {
    let reader = Reader::open(&Where::Directory(directory.to_owned()), filters.to_vec(), Arc::clone(fields)).unwrap();
    let mut reader = reader.with_lookalikes().unwrap().with_losses().unwrap();
    let found = reader.seek(position).unwrap();
    let (mut record, mut all) = (Record::default(), Vec::new());
    while reader.next(&mut record).unwrap() == Step::Record {
        all.push((record.time, reader.position().unwrap()));
    }
    assert_eq!(reader.next(&mut record).unwrap(), Step::End, "the end stays the end");
    (found, all)
}

#[test]
fn the_records_of_twenty_filters_come_each_once_and_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    services::journal(RECORDS, 2, 20, scratch.path());
    let (filters, fields) = services::filters(20);
    let (_, all) = read(scratch.path(), &filters, &fields, &Position::Head);
    assert_eq!(all.len() as u64, RECORDS / 20);
    assert!(all.is_sorted_by_key(|(time, _)| *time));
    let mut apart: Vec<(u64, Cursor)> = filters
        .iter()
        .flat_map(|filter| read(scratch.path(), std::slice::from_ref(filter), &fields, &Position::Head).1)
        .collect();
    apart.sort_by_key(|(time, _)| *time);
    assert_eq!(all, apart);
    // Reading goes on behind whichever record it was left at, whose handle ever that is.
    for place in (0..all.len()).step_by(37).chain([all.len() - 1]) {
        let after = Position::After(all[place].1.clone());
        assert_eq!(read(scratch.path(), &filters, &fields, &after), (true, all[place + 1..].to_vec()), "{place}");
    }
    let since = Position::Since(all[100].0);
    assert_eq!(read(scratch.path(), &filters, &fields, &since).1, all[100..]);
    // An entry of which nobody asks is not found, and what comes behind it is read.
    let (few, more) = (&filters[..3], &filters[3..]);
    let theirs = read(scratch.path(), few, &fields, &Position::Head).1;
    let stranger = theirs[5].clone();
    let behind: Vec<_> = all.iter().filter(|it| it.0 > stranger.0 && !theirs.contains(it)).collect();
    let (found, rest) = read(scratch.path(), more, &fields, &Position::After(stranger.1));
    assert!(!found);
    assert_eq!(rest.iter().collect::<Vec<_>>(), behind);
}
