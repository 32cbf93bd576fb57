//! What a packed workbook would become, found out by unpacking it once without keeping anything. Declared sizes are
//! a file's own claims; the ones that count are measured.

use std::io::{BufRead, BufReader};

use quick_xml::events::Event;
use zip::{ZipArchive, result::ZipError};

use super::xlsx::broken_or_unread;
use crate::{FileError, Format, Limits, Source};

/// Parts smaller than this may be packed as tightly as they like.
const RATIO_MATTERS: u64 = 32 << 20;
/// More parts than any workbook needs.
const MAX_PARTS: usize = 20_000;

/// Tells workbooks from other packages by the parts they have.
pub(crate) fn format_of_package(source: Box<dyn Source>) -> Result<(Format, Box<dyn Source>), FileError> {
    let archive = ZipArchive::new(BufReader::new(source)).map_err(explain)?;
    let has = |name: &str| archive.index_for_name(name).is_some();
    let format = if has("xl/workbook.bin") {
        return Err(FileError::Unsupported { found: "XLSB" });
    } else if archive.file_names_raw().any(|name| name.starts_with(b"xl/")) && has("[Content_Types].xml") {
        Format::Xlsx
    } else if has("content.xml") {
        Format::Ods
    } else {
        return Err(FileError::Unsupported { found: "ZIP" });
    };
    Ok((format, archive.into_inner().into_inner()))
}

/// Refuses a package that would take too much when unpacked.
pub(super) fn check(source: Box<dyn Source>, limits: &Limits) -> Result<Box<dyn Source>, FileError> {
    let mut archive = ZipArchive::new(BufReader::with_capacity(64 << 10, source)).map_err(explain)?;
    if archive.len() > MAX_PARTS {
        return Err(FileError::TooLargeInside(format!("it has {} parts", archive.len())));
    }
    let mut spent = Spent { held: 0, streamed: 0, limits };
    for index in 0..archive.len() {
        let part = archive.by_index(index).map_err(explain)?;
        let name = String::from_utf8_lossy(part.name_raw()).to_ascii_lowercase();
        let (packed, declared) = (part.compressed_size(), part.size());
        let mut part = BufReader::with_capacity(64 << 10, part);
        // Only XML is streamed; a parser would gather anything else until its end.
        let is_xml = part.fill_buf().map_err(broken_or_unread)?.iter().take(64).any(|byte| *byte == b'<');
        let is_sheet = is_xml && (name.contains("worksheets/") || name == "content.xml");
        spent.check_ratio(packed, declared)?;
        spent.add(is_sheet, declared)?;
        spent.give_back(is_sheet, declared);
        if name.ends_with("sharedstrings.xml") && is_xml {
            check_promised_strings(&mut part, declared)?;
            // The part has been read in part; its rest is measured on a second opening below.
            drop(part);
            let again = archive.by_index(index).map_err(explain)?;
            measure(BufReader::with_capacity(64 << 10, again), packed, is_sheet, is_xml, &mut spent)?;
        } else {
            measure(part, packed, is_sheet, is_xml, &mut spent)?;
        }
    }
    Ok(archive.into_inner().into_inner())
}

fn measure(
    mut part: impl BufRead,
    packed: u64,
    is_sheet: bool,
    is_xml: bool,
    spent: &mut Spent<'_>,
) -> Result<(), FileError> {
    let mut size = 0_u64;
    let mut since_tag = 0_usize;
    loop {
        let bytes = part.fill_buf().map_err(broken_or_unread)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let len = bytes.len();
        // The longest stretch without a tag is what a parser has to hold at once.
        if is_xml {
            match memchr::memrchr(b'<', bytes) {
                Some(at) => since_tag = len - at,
                None => since_tag += len,
            }
            if since_tag > spent.limits.max_row_bytes {
                return Err(FileError::TooLargeInside(
                    "a single cell is larger than a row may be".to_owned(),
                ));
            }
        }
        size += len as u64;
        spent.add(is_sheet, len as u64)?;
        spent.check_ratio(packed, size)?;
        part.consume(len);
    }
}

struct Spent<'a> {
    held: u64,
    streamed: u64,
    limits: &'a Limits,
}

impl Spent<'_> {
    fn add(&mut self, is_sheet: bool, bytes: u64) -> Result<(), FileError> {
        let (spent, most) = if is_sheet {
            (&mut self.streamed, self.limits.max_sheet_bytes)
        } else {
            (&mut self.held, self.limits.max_held_bytes)
        };
        *spent = spent.saturating_add(bytes);
        if *spent > most {
            return Err(FileError::TooLargeInside(format!("it unpacks to more than {most} bytes")));
        }
        Ok(())
    }

    /// Takes back what was only a claim.
    fn give_back(&mut self, is_sheet: bool, bytes: u64) {
        let spent = if is_sheet { &mut self.streamed } else { &mut self.held };
        *spent = spent.saturating_sub(bytes);
    }

    fn check_ratio(&self, packed: u64, size: u64) -> Result<(), FileError> {
        if size > RATIO_MATTERS && size / packed.max(1) > self.limits.max_ratio {
            return Err(FileError::TooLargeInside(format!(
                "a part unpacks to more than {} times its size",
                self.limits.max_ratio
            )));
        }
        Ok(())
    }
}

/// The parser of workbooks reserves room for as many strings as the part promises, so the promise must be possible.
fn check_promised_strings(part: impl BufRead, size: u64) -> Result<(), FileError> {
    const MIN_STRING: u64 = 5; // <si/>
    let mut reader = quick_xml::Reader::from_reader(part.take(1 << 20));
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag) | Event::Empty(tag)) => {
                let promised = tag
                    .attributes()
                    .flatten()
                    .filter(|attribute| attribute.key.local_name().as_ref() == "uniqueCount")
                    .map(|attribute| attribute.value.parse::<u64>().unwrap_or(0))
                    .max();
                if promised.is_some_and(|promised| promised > size / MIN_STRING) {
                    return Err(FileError::Corrupt("it promises more strings than it has".to_owned()));
                }
                return Ok(());
            }
            Ok(Event::Eof) => return Err(FileError::Corrupt("its shared strings are empty".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(FileError::Corrupt(error.to_string())),
        }
    }
}

fn explain(error: ZipError) -> FileError {
    match error {
        ZipError::Io(error) => broken_or_unread(error),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            FileError::Unsupported { found: "password-protected" }
        }
        error => FileError::Corrupt(error.to_string()),
    }
}
