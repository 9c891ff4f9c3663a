//! Writing entries of a history from a trigger: a look into its index, and an insert, by the calls
//! that PostgreSQL's own catalogs are written with. A statement of SQL for each row would take several
//! times as long, and triggers run inside users' statements.

use pgrx::pg_sys;

/// The btree strategy of equality (`stratnum.h`).
const EQUAL: u16 = 3;
/// The first columns of a history.
const EPOCH: pg_sys::AttrNumber = 1;
const PRESENT: pg_sys::AttrNumber = 2;

/// How to find an entry by one column of its key.
#[derive(Debug, Clone, Copy)]
struct Probe {
    attnum: pg_sys::AttrNumber,
    equality: pg_sys::RegProcedure,
    collation: pg_sys::Oid,
}

/// A history as a place to write to.
#[derive(Debug, Default)]
pub struct Writer {
    history: pg_sys::Oid,
    index: pg_sys::Oid,
    /// The history's column for each column that is kept.
    columns: Vec<pg_sys::AttrNumber>,
    /// One for each column of the index: those of the key, then the epoch.
    probes: Vec<Probe>,
}

/// A value of a row: None is NULL.
pub type Value = Option<pg_sys::Datum>;

impl Writer {
    /// `columns` are the names of the history's columns that rows come in, `key` the places of the
    /// key's among them; `classes` and `collations` those of the index.
    pub fn new(
        history: pg_sys::Oid,
        index: pg_sys::Oid,
        columns: &[String],
        key: &[usize],
        classes: &[u32],
        collations: &[u32],
    ) -> Writer {
        let columns: Vec<pg_sys::AttrNumber> = columns.iter().map(|name| number(history, name)).collect();
        let attnums = key.iter().map(|place| columns[*place]).chain([EPOCH]);
        let probes = attnums
            .zip(classes.iter().zip(collations))
            .map(|(attnum, (class, collation))| Probe {
                attnum,
                equality: equality(pg_sys::Oid::from(*class)),
                collation: pg_sys::Oid::from(*collation),
            })
            .collect();
        Writer { history, index, columns, probes }
    }

    /// Keeps a row under its key, unless the key has an entry of the epoch. Without `look` it is known
    /// to have none.
    ///
    /// # Safety
    /// Values are in the order and of the types of the writer's columns.
    pub unsafe fn keep_row(&self, epoch: i64, key: &[pg_sys::Datum], row: &[Value], look: bool) {
        let values: Vec<(pg_sys::AttrNumber, Value)> =
            self.columns.iter().copied().zip(row.iter().copied()).collect();
        // SAFETY: the caller's promise.
        unsafe { self.keep(epoch, true, key, &values, look) };
    }

    /// Keeps that there was no row of this key, unless the key has an entry of the epoch.
    ///
    /// # Safety
    /// Values are those of the key's columns, in key order.
    pub unsafe fn keep_absence(&self, epoch: i64, key: &[pg_sys::Datum]) {
        let values: Vec<(pg_sys::AttrNumber, Value)> =
            self.probes.iter().zip(key).map(|(probe, value)| (probe.attnum, Some(*value))).collect();
        // SAFETY: the caller's promise.
        unsafe { self.keep(epoch, false, key, &values, true) };
    }

    unsafe fn keep(
        &self,
        epoch: i64,
        present: bool,
        key: &[pg_sys::Datum],
        values: &[(pg_sys::AttrNumber, Value)],
        look: bool,
    ) {
        // SAFETY: the history is there as long as its state is cached; its lock is kept to the end of
        // the transaction. Tuples are formed by its own descriptor.
        unsafe {
            let relation = pg_sys::table_open(self.history, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            if !(look && self.is_there(relation, epoch, key)) {
                let width = (*(*relation).rd_att).natts as usize;
                let mut datums = vec![pg_sys::Datum::from(0); width];
                let mut nulls = vec![true; width];
                let all = [(EPOCH, Some(pg_sys::Datum::from(epoch))), (PRESENT, Some(present.into()))];
                for (attnum, value) in all.into_iter().chain(values.iter().copied()) {
                    if let Some(value) = value {
                        let place = attnum as usize - 1;
                        (datums[place], nulls[place]) = (value, false);
                    }
                }
                let tuple =
                    pg_sys::heap_form_tuple((*relation).rd_att, datums.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::CatalogTupleInsert(relation, tuple);
                pg_sys::heap_freetuple(tuple);
            }
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }

    /// True when the key has an entry of the epoch. Who else would make one waits for the lock of the
    /// live row, so what is seen here holds; own entries are seen as soon as they are made.
    unsafe fn is_there(&self, relation: pg_sys::Relation, epoch: i64, key: &[pg_sys::Datum]) -> bool {
        let arguments = key.iter().copied().chain([pg_sys::Datum::from(epoch)]);
        // SAFETY: keys are plain memory that the scan copies; the scan ends here.
        unsafe {
            let mut keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(self.probes.len());
            for (probe, argument) in self.probes.iter().zip(arguments) {
                let mut entry = std::mem::zeroed();
                pg_sys::ScanKeyEntryInitialize(
                    &mut entry,
                    0,
                    probe.attnum,
                    EQUAL as pg_sys::StrategyNumber,
                    pg_sys::Oid::INVALID,
                    probe.collation,
                    probe.equality,
                    argument,
                );
                keys.push(entry);
            }
            let scan = pg_sys::systable_beginscan(
                relation,
                self.index,
                true,
                &raw mut pg_sys::SnapshotSelfData,
                keys.len() as i32,
                keys.as_mut_ptr(),
            );
            let found = !pg_sys::systable_getnext(scan).is_null();
            pg_sys::systable_endscan(scan);
            found
        }
    }
}

fn number(history: pg_sys::Oid, column: &str) -> pg_sys::AttrNumber {
    let name = std::ffi::CString::new(column).expect("names of a history have no NUL");
    // SAFETY: a look-up in the catalog caches.
    unsafe { pg_sys::get_attnum(history, name.as_ptr()) }
}

/// The equality function of an operator class of btree.
fn equality(class: pg_sys::Oid) -> pg_sys::RegProcedure {
    // SAFETY: look-ups in the catalog caches.
    unsafe {
        let (family, input) = (pg_sys::get_opclass_family(class), pg_sys::get_opclass_input_type(class));
        pg_sys::get_opcode(pg_sys::get_opfamily_member(family, input, input, EQUAL as i16))
    }
}
