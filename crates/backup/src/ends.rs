//! The two ends of streams: files of a disk and objects of a store, written once and read as
//! often as it takes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use autovector_object_store::{Host, Put, Reader, Upload};
use rustix::io::retry_on_intr;

use crate::{Error, Result};

/// A file, and the thread that has the disk begin early. Whoever writes does not wait for it:
/// COPY would wait with him. The thread takes the signal mask of who writes, which in a server is
/// a thread that takes none.
pub struct Written {
    file: File,
    flusher: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl From<File> for Output {
    fn from(file: File) -> Output {
        Output::File(Written { file, flusher: None })
    }
}

impl Written {
    fn begin_sync(&mut self) -> io::Result<()> {
        if self.flusher.is_none() {
            let file = self.file.try_clone()?;
            let (sender, orders) = sync_channel(1);
            let thread = std::thread::Builder::new().name("backup flusher".to_owned()).spawn(move || {
                while orders.recv().is_ok() {
                    retry_on_intr(|| rustix::fs::fdatasync(&file))?;
                }
                Ok(())
            })?;
            self.flusher = Some((sender, thread));
        }
        if let Some((orders, _)) = &self.flusher {
            // While it is busy it has enough to do; an error is found at the end.
            let _ = orders.try_send(());
        }
        Ok(())
    }

    /// The system tells of a failed write once: the flusher may be the one that was told.
    fn finish(mut self) -> io::Result<()> {
        if let Some((orders, thread)) = self.flusher.take() {
            drop(orders);
            thread.join().map_err(|_| io::Error::other("the flusher panicked"))??;
        }
        self.file.sync_all()
    }
}

/// What rows are written to. Dropped before it is finished, it is worth nothing.
pub enum Output {
    File(Written),
    /// With who watches it, and who watches its end after a failure.
    Object(Box<Upload>, Host, Host),
}

impl Output {
    /// Waiting for an object store ends when `stop` is true.
    pub fn stopped_by(self, stop: &Arc<AtomicBool>) -> Output {
        match self {
            Output::Object(upload, host, cleaning) => {
                let stop = stop.clone();
                let watched = host.and(move || !stop.load(Ordering::Acquire));
                let upload = Box::new(upload.watched(watched, cleaning.clone()));
                Output::Object(upload, host, cleaning)
            }
            file => file,
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::File(written) => io::Write::write_all(&mut written.file, bytes),
            Output::Object(upload, ..) => upload.write(bytes).map_err(io::Error::other),
        }
    }

    /// Asks the disk to begin with what it has.
    pub(crate) fn begin_sync(&mut self) -> io::Result<()> {
        match self {
            Output::File(written) => written.begin_sync(),
            Output::Object(..) => Ok(()),
        }
    }

    /// Durable when it returns.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Output::File(written) => written.finish(),
            Output::Object(upload, ..) => upload.finish(Put::IfAbsent).map_err(io::Error::other),
        }
    }
}

/// What rows are read from.
#[derive(Debug)]
pub enum Input {
    File(File),
    Object(Box<Reader>),
}

impl Input {
    pub fn size(&self) -> Result<u64> {
        match self {
            Input::File(file) => Ok(file.metadata().map_err(Error::io("look at the file"))?.len()),
            Input::Object(reader) => Ok(reader.meta().size),
        }
    }

    /// The same, from its beginning. Of a file there is only one place to read at.
    pub fn again(&self) -> Result<Input> {
        match self {
            Input::File(file) => {
                let mut file = file.try_clone().map_err(Error::io("read the file"))?;
                file.seek(SeekFrom::Start(0)).map_err(Error::io("read the file"))?;
                Ok(Input::File(file))
            }
            Input::Object(reader) => Ok(Input::Object(Box::new(reader.again()))),
        }
    }
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(file) => file.read(bytes),
            Input::Object(reader) => reader.read(bytes),
        }
    }
}
