//! Rows in PostgreSQL's binary `COPY` format, built in one buffer without an allocation per row.
//!
//! Binary, because a `jsonb` then travels as plain JSON text: nothing is escaped here and unescaped there.

use std::ops::Range;

use bytes::BufMut;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use jobs::Id;
use rust_decimal::Decimal;
use sqlx::{Encode, PgConnection, Postgres, postgres::PgArgumentBuffer};

use crate::recordsets::Promoted;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The server takes in a message once it is whole; so it parses one while the next is on its way.
const MESSAGE: usize = 128 << 10;
/// The version of jsonb's binary form: text follows.
const JSONB: u8 = 1;
/// Bytes of a `jsonb` before its text: its length and that version.
pub(super) const JSONB_HEAD: usize = 5;

/// Rows for one `COPY … from stdin (format binary)`.
#[derive(Debug, Default)]
pub(super) struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins a row.
    pub fn begin(&mut self, columns: i16) {
        self.bytes.put_i16(columns);
    }

    /// Takes back what was written since the buffer was that long.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub fn null(&mut self) {
        self.bytes.put_i32(-1);
    }

    pub fn id(&mut self, id: impl Id) {
        self.bytes.put_i32(16);
        self.bytes.put_slice(id.uuid().as_bytes());
    }

    pub fn id_or_null(&mut self, id: Option<impl Id>) {
        match id {
            Some(id) => self.id(id),
            None => self.null(),
        }
    }

    pub fn int8(&mut self, value: i64) {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
    }

    pub fn int4(&mut self, value: i32) {
        self.bytes.put_i32(4);
        self.bytes.put_i32(value);
    }

    pub fn int2(&mut self, value: i16) {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
    }

    /// Text; PostgreSQL's has no U+0000, so a stand-in takes its place.
    pub fn text(&mut self, value: &str) {
        self.value(|bytes| {
            if value.contains('\0') {
                bytes.put_slice(value.replace('\0', "\u{fffd}").as_bytes());
            } else {
                bytes.put_slice(value.as_bytes());
            }
        });
    }

    /// A `jsonb` whose text `write` appends.
    pub fn jsonb<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.value(|bytes| {
            bytes.put_u8(JSONB);
            write(bytes)
        })
    }

    /// The written bytes.
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// A promoted column's value, by the text that [`Promoted::render`] gave it; null where the column
    /// can't hold it.
    pub fn promoted(&mut self, column: Promoted, text: &str) {
        let binary = match column {
            Promoted::Text1 | Promoted::Text2 => return self.text(text),
            Promoted::Number1 | Promoted::Number2 => numeric(text),
            Promoted::Date1 | Promoted::Date2 => {
                timestamptz(text).map(|micros| micros.to_be_bytes().to_vec())
            }
            Promoted::Gis1 => hex::decode(text).ok(),
        };
        match binary {
            Some(binary) => self.value(|bytes| bytes.put_slice(&binary)),
            None => self.null(),
        }
    }

    /// A value whose length is known once it is written.
    fn value<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let at = self.bytes.len();
        self.bytes.put_i32(0);
        let answer = write(&mut self.bytes);
        // Rows are limited to far less than 2 GiB where they are read.
        let len = i32::try_from(self.bytes.len() - at - 4).unwrap_or(i32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&len.to_be_bytes());
        answer
    }

    /// Sends the rows, without the ranges to leave out (in order), and answers how many there were.
    pub async fn send(
        &self,
        connection: &mut PgConnection,
        copy: &str,
        left_out: &[Range<usize>],
    ) -> Result<u64, sqlx::Error> {
        let mut into = connection.copy_in_raw(copy).await?;
        into.send(HEADER).await?;
        let mut from = 0;
        let end = self.bytes.len();
        let ends = left_out.iter().cloned().chain(std::iter::once(end..end));
        for gap in ends {
            for message in self.bytes[from..gap.start].chunks(MESSAGE) {
                into.send(message).await?;
            }
            from = gap.end;
        }
        into.send(TRAILER.as_slice()).await?;
        into.finish().await
    }
}

/// The binary form of a `numeric`.
fn numeric(text: &str) -> Option<Vec<u8>> {
    let number: Decimal = text.parse().ok()?;
    let mut binary = PgArgumentBuffer::default();
    let written = Encode::<Postgres>::encode_by_ref(&number, &mut binary);
    written.ok().map(|_| binary.to_vec())
}

/// The binary form of a `timestamptz`, microseconds since 2000, of a day or a point in time.
fn timestamptz(text: &str) -> Option<i64> {
    let at = match text.parse::<NaiveDate>() {
        Ok(day) => day.and_time(NaiveTime::MIN).and_utc(),
        Err(_) => text.parse::<DateTime<Utc>>().ok()?,
    };
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1)?.and_time(NaiveTime::MIN).and_utc();
    at.signed_duration_since(epoch).num_microseconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_microseconds_from_the_year_2000() {
        assert_eq!(timestamptz("2000-01-01"), Some(0));
        assert_eq!(timestamptz("1999-12-31T23:59:59Z"), Some(-1_000_000));
        assert_eq!(timestamptz("2000-01-02T00:00:00.000001Z"), Some(86_400_000_001));
        assert_eq!(timestamptz("soon"), None);
    }

    #[test]
    fn a_value_stands_behind_its_length() {
        let mut rows = CopyRows::default();
        rows.begin(2);
        rows.text("a\0b");
        rows.jsonb(|json| json.extend_from_slice(b"{}"));
        assert_eq!(rows.slice(0..rows.len()), b"\0\x02\0\0\0\x05a\xef\xbf\xbdb\0\0\0\x03\x01{}");
    }
}
