//! Streams into files and out of them, hashed on the way. Both ends run on threads of their
//! caller's and know nothing but bytes.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use sha2::{Digest, Sha256};

use crate::ends::{Input, Output};
use crate::journal;
use crate::manifest::hex;
use crate::names::Compression;
use crate::rows::from_csv::{self, FromCsv};
use crate::rows::text::Converter;
use crate::rows::to_csv::{Sent, ToCsv};
use crate::{Error, Result};

/// Bytes that are handed over at a time.
pub const BLOCK: usize = 1024 * 1024;

/// Bytes after which the disk is asked to begin, so that the last sync is short.
const FLUSH_EVERY: u64 = 64 * 1024 * 1024;

const LEVEL: i32 = 3;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    pub sha256: String,
}

/// Copies `input` to its end into `output`, durably. With `columns`, `input` is rows in binary
/// format, of these columns, and becomes CSV.
pub fn write(
    input: impl Read,
    output: Output,
    compression: Compression,
    columns: Option<&[(String, Sent)]>,
) -> Result<Written> {
    let mut sink = Sink { output, hash: Sha256::new(), bytes: 0, flushed: 0 };
    let copied = match compression {
        Compression::None => copy(input, &mut sink, columns),
        Compression::Zstd => zstd::stream::write::Encoder::new(&mut sink, LEVEL).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            copy(input, &mut encoder, columns)?;
            encoder.finish().map(drop)
        }),
    };
    let Sink { output, hash, bytes, .. } = sink;
    copied.and_then(|()| output.finish()).map_err(Error::io("write a backup file"))?;
    journal::note(|| "sync file".to_owned());
    Ok(Written { bytes, sha256: hex(&hash.finalize()) })
}

/// Blocks between the thread that makes them and the one that hashes and writes them.
const AHEAD: usize = 2;

/// Copies `input` to its end. Numbers are formatted here; hashing and writing take as long, and are
/// done by a thread of their own meanwhile. It takes the signal mask of this one.
fn copy(
    input: impl Read,
    output: &mut (impl Write + Send),
    columns: Option<&[(String, Sent)]>,
) -> io::Result<()> {
    let (blocks, made) = sync_channel::<Vec<u8>>(AHEAD);
    let (done, spare) = channel();
    std::thread::scope(|scope| {
        let writing = std::thread::Builder::new().name("backup file".to_owned());
        let writing = writing.spawn_scoped(scope, move || {
            for block in made {
                output.write_all(&block)?;
                // Nobody needs it after the last one.
                done.send(block).ok();
            }
            Ok(())
        })?;
        let made = make(input, columns, &blocks, &spare);
        drop(blocks);
        let written = writing.join().map_err(|_| io::Error::other("the writer of a file panicked"))?;
        written.and(made)
    })
}

/// Makes the blocks of a file of what `input` has. Ends early when nobody takes them.
fn make(
    mut input: impl Read,
    columns: Option<&[(String, Sent)]>,
    blocks: &SyncSender<Vec<u8>>,
    spare: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut csv = Vec::new();
    let mut rows = columns.map(|columns| ToCsv::new(columns, &mut csv));
    loop {
        let filled = fill(&mut input, &mut block)?;
        if filled == 0 {
            break;
        }
        let next = spare.try_recv().unwrap_or_default();
        let made = match &mut rows {
            Some(rows) => {
                rows.feed(&block[..filled], &mut csv);
                std::mem::replace(&mut csv, emptied(next))
            }
            None => {
                block.truncate(filled);
                std::mem::replace(&mut block, sized(next))
            }
        };
        if blocks.send(made).is_err() {
            return Ok(());
        }
    }
    match rows.map(|rows| rows.rows()) {
        Some(Err(what)) => Err(io::Error::other(format!("what the server sent {what}"))),
        _ => Ok(()),
    }
}

fn emptied(mut block: Vec<u8>) -> Vec<u8> {
    block.clear();
    block
}

fn sized(mut block: Vec<u8>) -> Vec<u8> {
    block.resize(BLOCK, 0);
    block
}

/// Fills `block` as far as `input` goes; 0 at its end. A pipe hands out what it has: small pieces
/// are gathered.
fn fill(input: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match input.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Sink {
    output: Output,
    hash: Sha256,
    bytes: u64,
    flushed: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes - self.flushed >= FLUSH_EVERY {
            self.flushed = self.bytes;
            self.output.begin_sync()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is read as it was written, decompressed, hashed on the way.
pub struct Source {
    reader: Box<dyn Read + Send>,
    tally: std::sync::Arc<std::sync::Mutex<(Sha256, u64)>>,
}

struct Hashed {
    input: Input,
    tally: std::sync::Arc<std::sync::Mutex<(Sha256, u64)>>,
}

impl Read for Hashed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(bytes)?;
        let mut tally = self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tally.0.update(&bytes[..count]);
        tally.1 += count as u64;
        Ok(count)
    }
}

impl Source {
    pub fn new(input: Input, compression: Compression) -> Result<Source> {
        let tally = std::sync::Arc::new(std::sync::Mutex::new((Sha256::new(), 0)));
        let hashed = io::BufReader::with_capacity(BLOCK, Hashed { input, tally: tally.clone() });
        let reader: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(hashed),
            Compression::Zstd => Box::new(
                zstd::stream::read::Decoder::with_buffer(hashed).map_err(Error::io("read a backup file"))?,
            ),
        };
        Ok(Source { reader, tally })
    }

    /// Fills `block` as far as the file goes; 0 at its end.
    pub fn fill(&mut self, block: &mut [u8]) -> io::Result<usize> {
        fill(&mut self.reader, block)
    }

    /// Size and hash of what was read of the file itself.
    pub fn tally(&self) -> Written {
        let tally = self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Written { bytes: tally.1, sha256: hex(&tally.0.clone().finalize()) }
    }
}

/// What becomes of a file on its way to the server.
#[derive(Debug)]
pub enum Form {
    AsIs,
    /// CSV becomes COPY's text format, without the line of names.
    Text,
    /// CSV becomes rows in binary format, of these columns.
    Binary(Vec<from_csv::Type>),
}

fn unreadable(what: String) -> Error {
    Error::Damaged(format!("a file of the backup {what}"))
}

/// Sends `input` block by block. Ends early when nobody listens. Returns what was read. Errors: it
/// cannot be read, or a value is none of its column's type.
pub fn send(
    input: Input,
    compression: Compression,
    form: Form,
    blocks: &SyncSender<Vec<u8>>,
) -> Result<Written> {
    let mut source = Source::new(input, compression)?;
    let mut begun = Vec::new();
    let mut text = matches!(form, Form::Text).then(Converter::default);
    let mut binary = match form {
        Form::Binary(columns) => Some(FromCsv::new(columns, &mut begun)),
        Form::AsIs | Form::Text => None,
    };
    let mut block = vec![0; BLOCK];
    loop {
        let count = source.fill(&mut block).map_err(Error::io("read a backup file"))?;
        let bytes = &block[..count];
        let mut sent = std::mem::take(&mut begun);
        match (&mut text, &mut binary) {
            (_, Some(rows)) => rows.feed(bytes, &mut sent).map_err(unreadable)?,
            (Some(rows), None) => rows.feed(bytes, &mut sent),
            (None, None) => sent.extend_from_slice(bytes),
        }
        if count == 0
            && let Some(rows) = binary.take()
        {
            rows.finish(&mut sent);
        }
        let heard = sent.is_empty() || blocks.send(sent).is_ok();
        if count == 0 || !heard {
            return Ok(source.tally());
        }
    }
}

/// Gives a pipe a buffer of a megabyte, where the system allows it.
pub fn widen(pipe: &std::io::PipeWriter) {
    // A smaller one is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, BLOCK);
}
