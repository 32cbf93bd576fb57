//! Promoted columns: typed columns of `records` that mirror one field each, so that the database can
//! sort, filter and map by them.
//!
//! A promoted value always travels as text that PostgreSQL's own input function reads, in `COPY` as it
//! is and in an `insert` with a cast. Geometries are EWKB in hex (see [`super::ewkb`]).

use std::borrow::Cow;

use fields::FieldType;

use super::{ewkb, unique};

/// A promoted column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promoted {
    /// `promoted_text_1`
    Text1,
    /// `promoted_text_2`
    Text2,
    /// `promoted_number_1`
    Number1,
    /// `promoted_number_2`
    Number2,
    /// `promoted_date_1`
    Date1,
    /// `promoted_date_2`
    Date2,
    /// `promoted_gis_1`, flat (without altitudes), WGS 84.
    Gis1,
}

impl Promoted {
    /// Every promoted column, in the table's order.
    pub const ALL: [Self; 7] =
        [Self::Text1, Self::Text2, Self::Number1, Self::Number2, Self::Date1, Self::Date2, Self::Gis1];

    /// The column's name.
    #[must_use]
    pub const fn column(self) -> &'static str {
        match self {
            Self::Text1 => "promoted_text_1",
            Self::Text2 => "promoted_text_2",
            Self::Number1 => "promoted_number_1",
            Self::Number2 => "promoted_number_2",
            Self::Date1 => "promoted_date_1",
            Self::Date2 => "promoted_date_2",
            Self::Gis1 => "promoted_gis_1",
        }
    }

    /// The promoted column of that name.
    #[must_use]
    pub fn named(column: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|promoted| promoted.column() == column)
    }

    /// The column that a field of this type is promoted to by default, if it is free.
    #[must_use]
    pub const fn by_itself(field_type: FieldType) -> Option<Self> {
        match field_type {
            FieldType::GeoPoint | FieldType::Geometry => Some(Self::Gis1),
            _ => None,
        }
    }

    /// The column's text for a value in its stored form, which is the JSON that
    /// [`fields::Field::write_cell`] appended; not escaped for `COPY` yet. `None` for a value that the
    /// column can't hold, which no field mapped to it has.
    #[must_use]
    pub fn render(self, json: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Gis1 => ewkb::hex_of_geojson(json).map(Cow::Owned),
            _ => unique::text_of(json),
        }
    }
}
