//! pgvector's binary format: vectors enter statements as datums, never as text.
//!
//! A `vector` is a varlena of int16 dimension, int16 unused (0), then float4 values
//! (pgvector's `vector.h`, unchanged since its first release).

use pgrx::pg_sys;

const HEADER: usize = pg_sys::VARHDRSZ + 4;

/// One `vector` in the current memory context.
pub fn vector(values: &[f32]) -> pg_sys::Datum {
    let size = HEADER + size_of_val(values);
    // SAFETY: palloc returns `size` bytes aligned to at least 8; every one of them is written.
    unsafe {
        let start = pg_sys::palloc(size).cast::<u8>();
        pgrx::set_varsize_4b(start.cast(), size as i32);
        start.add(pg_sys::VARHDRSZ).cast::<i16>().write(values.len() as i16);
        start.add(pg_sys::VARHDRSZ + 2).cast::<i16>().write(0);
        std::ptr::copy_nonoverlapping(values.as_ptr(), start.add(HEADER).cast::<f32>(), values.len());
        pg_sys::Datum::from(start)
    }
}

/// An array of vectors; `element` is the oid of the type `vector`.
pub fn array<'a>(element: pg_sys::Oid, vectors: impl Iterator<Item = &'a [f32]>) -> pg_sys::Datum {
    let mut elements: Vec<pg_sys::Datum> = vectors.map(vector).collect();
    // SAFETY: `elements` holds valid datums of a varlena type with int alignment, which is how
    // pgvector declares `vector`; construct_array copies them.
    unsafe {
        let array = pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            element,
            -1,
            false,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        );
        for element in elements {
            pg_sys::pfree(element.cast_mut_ptr());
        }
        pg_sys::Datum::from(array)
    }
}
