//! Files that the attacks need.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use zip::{ZipWriter, write::SimpleFileOptions};

use crate::Failure;

/// Bytes of a sheet, unpacked.
const SHEET: usize = 30 << 20;

/// A workbook of some ten KiB: a header, a row, and millions of rows with nothing in them.
pub fn blank_rows(at: &Path) -> Result<(), Failure> {
    let text = |text: &str| format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>");
    let mut sheet = format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>\
         <row>{}</row><row>{}</row>",
        text("name"),
        text("one")
    );
    sheet.extend(std::iter::repeat_n("<row></row>", SHEET / 11));
    sheet += "</sheetData></worksheet>";
    let types = "http://schemas.openxmlformats.org";
    let office = format!("{types}/officeDocument/2006/relationships");
    let parts = [
        (
            "[Content_Types].xml",
            format!(
                "<Types xmlns=\"{types}/package/2006/content-types\"><Default Extension=\"xml\" \
                 ContentType=\"application/xml\"/></Types>"
            ),
        ),
        (
            "_rels/.rels",
            format!(
                "<Relationships xmlns=\"{types}/package/2006/relationships\"><Relationship Id=\"r1\" \
                 Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/workbook.xml",
            format!(
                "<workbook xmlns=\"{types}/spreadsheetml/2006/main\" xmlns:r=\"{office}\"><sheets>\
                 <sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                "<Relationships xmlns=\"{types}/package/2006/relationships\"><Relationship Id=\"r1\" \
                 Type=\"{office}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
            ),
        ),
        ("xl/worksheets/sheet1.xml", sheet),
    ];
    let mut package = ZipWriter::new(File::create(at)?);
    for (name, part) in parts {
        package.start_file(name, SimpleFileOptions::default())?;
        package.write_all(part.as_bytes())?;
    }
    package.finish()?;
    Ok(())
}

/// So many rows of text.
pub fn rows(at: &Path, count: usize) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(at)?);
    writeln!(file, "name,city,note")?;
    for n in 0..count {
        writeln!(file, "Person {n},City {},a note that is searched and not found {n}", n % 997)?;
    }
    file.flush()?;
    Ok(())
}
