//! `OpenDocument` spreadsheets, streamed. Rows and cells may be repeated by a number in the file, so repetitions are
//! produced one at a time and blank ones not at all.

use std::io::{BufReader, Read, Seek};

use chrono::{NaiveDate, NaiveDateTime};
use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
};
use zip::{ZipArchive, read::ZipFile};

use super::{Output, SheetRow, Stop, choose, date_or_time};
use crate::{FileError, Limits, Source, row::SheetCell};

/// Rows that a sheet can have in any program.
const MAX_ROWS: u32 = 1 << 20;
/// Bytes that rows and cells may come to by being repeated, however tightly the sheet is packed.
const REPEATS_MATTER: u64 = 1 << 20;

/// The part with the sheets.
const CONTENT: &str = "content.xml";

pub(super) fn read(
    source: Box<dyn Source>,
    wanted: Option<&str>,
    limits: &Limits,
    out: &mut Output,
) -> Result<(), Stop> {
    let mut archive = ZipArchive::new(BufReader::with_capacity(64 << 10, source)).map_err(corrupt)?;
    let tables = list_tables(&mut content(&mut archive)?)?;
    let sheets: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    let sheet = choose(&sheets, wanted)?;
    let rows = tables.iter().find(|(name, _)| *name == sheet).map(|(_, rows)| *rows);
    out.opened(sheets, sheet.clone(), rows)?;
    let packed = archive.by_name(CONTENT).map_err(corrupt)?.compressed_size();
    let repeats_left = packed.saturating_mul(limits.max_ratio).max(REPEATS_MATTER);
    let mut content = content(&mut archive)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match content.read_event_into(&mut buffer).map_err(corrupt)? {
            Event::Start(tag) if tag.name().as_ref() == "table:table" && name_of(&tag)? == sheet => {
                return Table { content, limits, out, index: 0, repeats_left }.read();
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

type Content<'a, R> = quick_xml::Reader<BufReader<ZipFile<'a, R>>>;

fn content<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<Content<'_, R>, FileError> {
    let part = archive.by_name(CONTENT).map_err(corrupt)?;
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(part));
    reader.config_mut().expand_empty_elements = true;
    Ok(reader)
}

fn corrupt(error: impl std::fmt::Display) -> FileError {
    FileError::Corrupt(error.to_string())
}

/// The sheets with the number of rows that each has at most.
fn list_tables<R: Read + Seek>(content: &mut Content<'_, R>) -> Result<Vec<(String, u64)>, FileError> {
    let mut tables: Vec<(String, u64)> = Vec::new();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match content.read_event_into(&mut buffer).map_err(corrupt)? {
            Event::Start(tag) if tag.name().as_ref() == "table:table" => tables.push((name_of(&tag)?, 0)),
            Event::Start(tag) if tag.name().as_ref() == "table:table-row" => {
                if let Some((_, rows)) = tables.last_mut() {
                    *rows += 1;
                }
            }
            Event::Eof => return Ok(tables),
            _ => {}
        }
    }
}

fn name_of(tag: &BytesStart<'_>) -> Result<String, FileError> {
    Ok(attribute(tag, "table:name")?.unwrap_or_default())
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, FileError> {
    let found = tag.try_get_attribute(name).map_err(corrupt)?;
    found
        .map(|found| Ok(found.normalized_value(XmlVersion::Implicit1_0).map_err(corrupt)?.into_owned()))
        .transpose()
}

fn repetitions(tag: &BytesStart<'_>, name: &str) -> Result<u32, FileError> {
    Ok(attribute(tag, name)?.map_or(Ok(1), |number| number.parse()).unwrap_or(u32::MAX))
}

struct Table<'a, R: Read + Seek> {
    content: Content<'a, R>,
    limits: &'a Limits,
    out: &'a mut Output,
    index: u32,
    /// Bytes that may yet come of repeating rows and cells: they cost the file next to nothing.
    repeats_left: u64,
}

impl<R: Read + Seek> Table<'_, R> {
    fn read(mut self) -> Result<(), Stop> {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match self.content.read_event_into(&mut buffer).map_err(corrupt)? {
                Event::Start(tag) if tag.name().as_ref() == "table:table-row" => {
                    let times = repetitions(&tag, "table:number-rows-repeated")?;
                    let row = self.row()?;
                    let last = self.index.saturating_add(times).min(MAX_ROWS);
                    if row.is_blank() {
                        self.index = last;
                    }
                    let again = last.saturating_sub(self.index).saturating_sub(1);
                    self.repeat(row.bytes + size_of::<SheetRow>(), again.into())?;
                    while self.index < last {
                        self.out.row(SheetRow { index: self.index, ..row.clone() })?;
                        self.index += 1;
                    }
                }
                Event::End(tag) if tag.name().as_ref() == "table:table" => return Ok(()),
                Event::Eof => return Err(corrupt("the sheet has no end").into()),
                _ => {}
            }
        }
    }

    /// Counts what is produced again, so many times.
    fn repeat(&mut self, bytes: usize, times: u64) -> Result<(), FileError> {
        let left = self.repeats_left.checked_sub((bytes as u64).saturating_mul(times));
        self.repeats_left = left.ok_or_else(|| {
            FileError::TooLargeInside(format!(
                "its repeated rows and cells come to more than {} times its size",
                self.limits.max_ratio
            ))
        })?;
        Ok(())
    }

    fn row(&mut self) -> Result<SheetRow, FileError> {
        let mut row = SheetRow::default();
        let mut column = 0_usize;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match self.content.read_event_into(&mut buffer).map_err(corrupt)? {
                Event::Start(tag)
                    if matches!(tag.name().as_ref(), "table:table-cell" | "table:covered-table-cell") =>
                {
                    let times = repetitions(&tag, "table:number-columns-repeated")? as usize;
                    let cell = self.cell(&tag)?;
                    let next = column.saturating_add(times);
                    if cell != SheetCell::Empty {
                        let end = next.min(self.limits.max_columns + 1);
                        let text = if let SheetCell::Text(text) = &cell { text.len() } else { 0 };
                        let again = end.saturating_sub(column).saturating_sub(1);
                        self.repeat(size_of::<SheetCell>() + text, again as u64)?;
                        for column in column..end {
                            row.place(column, cell.clone(), self.limits);
                        }
                    }
                    column = next;
                }
                Event::End(tag) if tag.name().as_ref() == "table:table-row" => return Ok(row),
                Event::Eof => return Err(corrupt("a row has no end")),
                _ => {}
            }
        }
    }

    /// Reads a cell up to its end tag: its typed value, or the text in it.
    fn cell(&mut self, tag: &BytesStart<'_>) -> Result<SheetCell, FileError> {
        let end = tag.name().as_ref().to_owned();
        let kind = attribute(tag, "office:value-type")?.unwrap_or_default();
        let value = match kind.as_str() {
            "float" | "percentage" | "currency" => {
                attribute(tag, "office:value")?.and_then(|number| number.parse().ok()).map(SheetCell::Float)
            }
            "boolean" => attribute(tag, "office:boolean-value")?.map(|word| SheetCell::Bool(word == "true")),
            "date" => attribute(tag, "office:date-value")?.map(date),
            "time" => attribute(tag, "office:time-value")?.map(time),
            "string" => attribute(tag, "office:string-value")?.map(SheetCell::Text),
            _ => None,
        };
        let text = self.text(&end)?;
        Ok(match value {
            Some(value) => value,
            None if text.is_empty() => SheetCell::Empty,
            None => SheetCell::Text(text),
        })
    }

    /// The text up to the cell's end; paragraphs become lines, annotations are left out.
    fn text(&mut self, end: &str) -> Result<String, FileError> {
        let mut text = String::new();
        let mut paragraphs = 0;
        let mut annotations = 0_u32;
        let mut depth = 0_u32;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let event = self.content.read_event_into(&mut buffer).map_err(corrupt)?;
            if text.len() > self.limits.max_row_bytes {
                return Err(FileError::TooLargeInside(
                    "a single cell is larger than a row may be".to_owned(),
                ));
            }
            match event {
                Event::End(tag) if tag.name().as_ref() == end && depth == 0 => return Ok(text),
                Event::End(tag) if tag.name().as_ref() == end => depth -= 1,
                Event::Start(tag) if tag.name().as_ref() == end => depth += 1,
                Event::Start(tag) if tag.name().as_ref() == "office:annotation" => annotations += 1,
                Event::End(tag) if tag.name().as_ref() == "office:annotation" => {
                    annotations = annotations.saturating_sub(1);
                }
                Event::Eof => return Err(corrupt("a cell has no end")),
                _ if annotations > 0 => {}
                Event::Start(tag) => match tag.name().as_ref() {
                    "text:p" => {
                        if paragraphs > 0 {
                            text.push('\n');
                        }
                        paragraphs += 1;
                    }
                    "text:s" => {
                        let spaces = repetitions(&tag, "text:c")?.min(1_000);
                        text.extend((0..spaces).map(|_| ' '));
                    }
                    "text:tab" => text.push('\t'),
                    "text:line-break" => text.push('\n'),
                    _ => {}
                },
                // White space outside of paragraphs only lays out the file.
                Event::Text(part) if paragraphs > 0 => text.push_str(&part.xml10_content()),
                Event::CData(part) if paragraphs > 0 => text.push_str(&part.xml10_content()),
                Event::GeneralRef(entity) => {
                    let resolved = entity.resolve_char_ref().map_err(corrupt)?;
                    match (resolved, quick_xml::escape::resolve_xml_entity(&entity)) {
                        (Some(c), _) => text.push(c),
                        (None, Some(known)) => text.push_str(known),
                        (None, None) => return Err(corrupt("a cell names an unknown entity")),
                    }
                }
                _ => {}
            }
        }
    }
}

fn date(text: String) -> SheetCell {
    let day = text.parse::<NaiveDate>().map(SheetCell::Date);
    day.or_else(|_| text.parse::<NaiveDateTime>().map(date_or_time)).unwrap_or(SheetCell::Text(text))
}

/// `PT08H30M00S` as people write it.
fn time(text: String) -> SheetCell {
    let parts = || {
        let (hours, rest) = text.strip_prefix("PT")?.split_once('H')?;
        let (minutes, rest) = rest.split_once('M')?;
        let seconds = rest.strip_suffix('S')?.split(['.', ',']).next()?;
        Some(format!("{hours:0>2}:{minutes:0>2}:{seconds:0>2}"))
    };
    let written = parts();
    SheetCell::Text(written.unwrap_or(text))
}
