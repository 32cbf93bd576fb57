//! A window that moves over a file's text. Parsers look at as much of it as they need and then move on, so memory is
//! bounded by the longest row. Text in other encodings than UTF-8 is decoded on the way in.

use std::io::{self, Read, Seek, SeekFrom};

use crate::Encoding;

/// Where a file comes from: a local file, a buffer, or ranged reads of an object store.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// How much is read at once.
const CHUNK: usize = 256 << 10;

pub(crate) struct Window {
    source: Box<dyn Source>,
    decoding: Option<Decoding>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `start` is in the text; for UTF-8 also in the file.
    offset: u64,
    /// Bytes taken from the source.
    taken: u64,
    at_end: bool,
}

struct Decoding {
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    raw_start: usize,
    raw_end: usize,
    raw_done: bool,
}

impl Window {
    /// A window at the beginning of the text, behind a byte order mark.
    pub(crate) fn open(mut source: Box<dyn Source>, encoding: Encoding) -> io::Result<Self> {
        source.seek(SeekFrom::Start(0))?;
        let mut window = Self::new(source, encoding, 0);
        if encoding == Encoding::UTF_8 {
            while window.data().len() < 3 && window.fill()? {}
            if window.data().starts_with(b"\xef\xbb\xbf") {
                window.consume(3);
            }
        }
        Ok(window)
    }

    /// A window at `byte`, which only UTF-8 can be entered at.
    pub(crate) fn open_at(mut source: Box<dyn Source>, byte: u64) -> io::Result<Self> {
        source.seek(SeekFrom::Start(byte))?;
        Ok(Self::new(source, Encoding::UTF_8, byte))
    }

    fn new(source: Box<dyn Source>, encoding: Encoding, offset: u64) -> Self {
        let decoding = (encoding != Encoding::UTF_8).then(|| Decoding {
            decoder: encoding.decoder(),
            raw: vec![0; CHUNK],
            raw_start: 0,
            raw_end: 0,
            raw_done: false,
        });
        Self { source, decoding, buffer: Vec::new(), start: 0, end: 0, offset, taken: offset, at_end: false }
    }

    /// What is visible. Indices into it stay valid when more is filled in, until something is consumed.
    pub(crate) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes more visible; `false` at the end of the text.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 && self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < CHUNK {
            let len = (self.buffer.len() * 2).max(2 * CHUNK);
            self.buffer.resize(len, 0);
        }
        let room = &mut self.buffer[self.end..];
        let filled = match &mut self.decoding {
            None => {
                let read = read_some(&mut *self.source, room)?;
                self.taken += read as u64;
                read
            }
            Some(decoding) => decoding.decode(&mut *self.source, room, &mut self.taken)?,
        };
        self.end += filled;
        self.at_end = filled == 0;
        Ok(filled > 0)
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// How far into the file the text has been consumed; about, where it was decoded.
    pub(crate) fn source_bytes(&self) -> u64 {
        match &self.decoding {
            None => self.offset,
            Some(decoding) => {
                let waiting = (decoding.raw_end - decoding.raw_start) + (self.end - self.start);
                self.taken.saturating_sub(waiting as u64)
            }
        }
    }

    pub(crate) fn into_source(self) -> Box<dyn Source> {
        self.source
    }
}

impl Decoding {
    /// Decodes into `room`; 0 at the end. Malformed text becomes U+FFFD.
    fn decode(&mut self, source: &mut dyn Source, room: &mut [u8], taken: &mut u64) -> io::Result<usize> {
        loop {
            if self.raw_start == self.raw_end && !self.raw_done {
                self.raw_start = 0;
                self.raw_end = read_some(source, &mut self.raw)?;
                *taken += self.raw_end as u64;
                self.raw_done = self.raw_end == 0;
            }
            let raw = &self.raw[self.raw_start..self.raw_end];
            let (result, read, written, _) = self.decoder.decode_to_utf8(raw, room, self.raw_done);
            self.raw_start += read;
            let finished = self.raw_done && result == encoding_rs::CoderResult::InputEmpty;
            if written > 0 || finished {
                return Ok(written);
            }
        }
    }
}

fn read_some(source: &mut dyn Source, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
