//! What a file is, judged by its content first and by its name only where the content leaves a choice.

mod delimiter;
mod encoding;

use std::io::{Read, SeekFrom};

use crate::{Encoding, FileError, Format, Options, Source, sheet};

/// How much of a file is looked at.
const HEAD: u64 = 1 << 20;

/// Everything about a file but its columns.
pub(crate) struct Sniffed {
    pub(crate) format: Format,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) delimiter: char,
    pub(crate) quote: char,
    /// The encoding is taken for UTF-8 without a single byte that would prove it.
    pub(crate) only_ascii: bool,
}

pub(crate) fn sniff(
    mut source: Box<dyn Source>,
    options: &Options,
    name: &str,
) -> Result<(Sniffed, Box<dyn Source>), FileError> {
    let len = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    (&mut source).take(HEAD).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(FileError::Empty);
    }
    let quote = options.quote.unwrap_or('"');
    let promised = options.format.or_else(|| Format::of_name(name));
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        let (format, source) = sheet::format_of_package(source)?;
        return Ok((workbook(format, options)?, source));
    }
    if head.starts_with(&[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]) {
        return Ok((workbook(Format::Xls, options)?, source));
    }
    if let Some(found) = known_signature(&head) {
        return Err(not_text(promised, found));
    }
    let encoding = match &options.encoding {
        Some(label) => Encoding::for_label(label)?,
        None => encoding::detect(&head),
    };
    let text = encoding::decode_head(&head, encoding);
    if encoding::is_binary(&text) {
        return Err(not_text(promised, "binary"));
    }
    let whole = head.len() as u64 == len;
    if whole && text.trim().is_empty() {
        return Err(FileError::Empty);
    }
    let format = text_format(&text, whole, options.format, Format::of_name(name))?;
    let delimiter = options.delimiter.unwrap_or_else(|| delimiter::guess(&text, quote));
    if !delimiter.is_ascii() || !quote.is_ascii() || delimiter == quote || "\r\n".contains([delimiter, quote])
    {
        let message = "delimiter and quote are two different ASCII characters, and no line breaks";
        return Err(FileError::InvalidOption(message.to_owned()));
    }
    let only_ascii = options.encoding.is_none() && head.is_ascii();
    Ok((Sniffed { format, encoding: Some(encoding), delimiter, quote, only_ascii }, source))
}

fn workbook(format: Format, options: &Options) -> Result<Sniffed, FileError> {
    match options.format {
        Some(wanted) if wanted != format => Err(FileError::not(wanted, format.name())),
        _ => Ok(Sniffed { format, encoding: None, delimiter: ',', quote: '"', only_ascii: false }),
    }
}

fn not_text(promised: Option<Format>, found: &'static str) -> FileError {
    match promised {
        Some(format) => FileError::not(format, format!("a {found} file")),
        None => FileError::Unsupported { found },
    }
}

fn known_signature(head: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"GIF8", "GIF"),
        (b"%PDF-", "PDF"),
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"Rar!", "RAR"),
        (b"PAR1", "Parquet"),
        (b"\x7fELF", "ELF"),
        (b"SQLite format 3\0", "SQLite"),
        (b"II*\0", "TIFF"),
    ];
    SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)).map(|(_, name)| *name)
}

fn text_format(
    text: &str,
    whole: bool,
    wanted: Option<Format>,
    named: Option<Format>,
) -> Result<Format, FileError> {
    let start = text.trim_start();
    let looks_like_json = is_json_start(start);
    let promised = wanted.or(named);
    match promised {
        Some(format) if wanted.is_some() && format.is_spreadsheet() => Err(FileError::not(format, "text")),
        Some(Format::Json | Format::Ndjson | Format::GeoJson) if !start.starts_with(['{', '[']) => {
            Err(FileError::not(promised.unwrap_or(Format::Json), "other text"))
        }
        Some(Format::Csv) if wanted.is_some() => Ok(Format::Csv),
        _ if is_markup(start) => Err(not_text(promised, "HTML or XML")),
        Some(format @ (Format::Json | Format::Ndjson | Format::GeoJson)) if wanted.is_some() => Ok(format),
        _ if looks_like_json => Ok(json_format(start, whole, named)),
        _ => Ok(Format::Csv),
    }
}

/// Whether the text goes on as JSON after its first bracket; a CSV file may begin with one, too.
fn is_json_start(start: &str) -> bool {
    let mut solid = start.chars().filter(|c| !c.is_whitespace());
    match (solid.next(), solid.next()) {
        (Some('['), Some('{' | '[' | ']' | '"') | None) | (Some('{'), Some('"' | '}') | None) => true,
        (Some('['), Some(c)) => {
            c.is_ascii_digit() && !start.lines().next().is_some_and(|line| line.contains("],"))
        }
        _ => false,
    }
}

fn is_markup(start: &str) -> bool {
    let beginning: String = start.chars().take(15).collect::<String>().to_ascii_lowercase();
    ["<!doctype", "<html", "<?xml", "<table", "<svg", "<kml", "<gpx"]
        .iter()
        .any(|tag| beginning.starts_with(tag))
}

fn json_format(start: &str, whole: bool, named: Option<Format>) -> Format {
    if start.starts_with('[') {
        return Format::Json;
    }
    let mut values = serde_json::Deserializer::from_str(start).into_iter::<serde_json::Value>();
    let first = values.next().and_then(Result::ok);
    let after = start[values.byte_offset()..].trim_start();
    let is_collection = first.as_ref().is_some_and(|value| value["type"] == "FeatureCollection");
    match first {
        Some(_) if is_collection => Format::GeoJson,
        Some(_) if after.starts_with('{') => Format::Ndjson,
        // One object and nothing else: rows in a member, or a single row.
        Some(value) if whole || !after.is_empty() => {
            let holds_rows = value.as_object().is_some_and(|members| {
                members.values().any(|member| {
                    member.as_array().is_some_and(|items| items.iter().any(serde_json::Value::is_object))
                })
            });
            if holds_rows && named != Some(Format::Ndjson) { Format::Json } else { Format::Ndjson }
        }
        Some(_) => Format::Ndjson,
        None if named == Some(Format::Ndjson) => Format::Ndjson,
        None if named == Some(Format::GeoJson) || has_collection_type(start) => Format::GeoJson,
        // The first line is a whole object's beginning and end, only not valid JSON.
        None if first_line_is_closed(start) => Format::Ndjson,
        None => Format::Json,
    }
}

/// Whether the beginning of a long object calls itself a feature collection.
fn has_collection_type(start: &str) -> bool {
    let compact: String = start.chars().filter(|c| !c.is_whitespace()).collect();
    compact.contains(r#""type":"FeatureCollection""#)
}

fn first_line_is_closed(start: &str) -> bool {
    let mut lines = start.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    first.trim_end().ends_with('}') && lines.next().is_none_or(|second| second.trim_start().starts_with('{'))
}
