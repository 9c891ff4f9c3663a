//! A file mapped into memory, read-only. Together with `threads` the only place in this crate
//! that needs `unsafe`.

use std::{fs::File, io, path::Path};

use memmap2::Mmap;

/// A read-only mapping. The pages are shared by all processes that map the same file.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the file lies in a directory that only the administrator writes, and models
        // are replaced by renaming a new file over the old one, which leaves this mapping's
        // file as it is. The documentation of the setting says so. Bytes are only ever read
        // as numbers, for which every bit pattern is valid.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Mapping(map))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
