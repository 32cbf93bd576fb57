//! Finds columns that are the two halves of a point.

use fields::{FieldKey, FieldType};
use serde::{Deserialize, Serialize};

use super::Column;

/// Two columns that together are a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedPoint {
    /// The name of the column with the latitudes.
    pub latitude_column: String,
    /// The name of the column with the longitudes.
    pub longitude_column: String,
    /// A key for the field.
    pub key: FieldKey,
}

const LATITUDE: [&str; 2] = ["lat", "latitude"];
const LONGITUDE: [&str; 4] = ["lng", "lon", "long", "longitude"];

/// Pairs such as `lat` and `lng`, or `office_latitude` and `office_longitude`.
pub(super) fn suggest(columns: &[Column]) -> Vec<SuggestedPoint> {
    let numeric = || columns.iter().filter(|column| is_numeric(column));
    let mut points: Vec<SuggestedPoint> = Vec::new();
    for latitude in numeric() {
        let Some(place) = without(&latitude.key, &LATITUDE) else {
            continue;
        };
        let Some(longitude) =
            numeric().find(|column| without(&column.key, &LONGITUDE).as_ref() == Some(&place))
        else {
            continue;
        };
        let label = if place.is_empty() { "location" } else { &place };
        let key = FieldKey::from_label(label).unique(|key| {
            columns.iter().any(|column| column.key == *key) || points.iter().any(|point| point.key == *key)
        });
        points.push(SuggestedPoint {
            latitude_column: latitude.name.clone(),
            longitude_column: longitude.name.clone(),
            key,
        });
    }
    points
}

fn is_numeric(column: &Column) -> bool {
    matches!(column.field_type, FieldType::Integer | FieldType::Decimal | FieldType::Boolean)
}

/// The key without the one word that names the axis; `None` when there is no such word.
fn without(key: &FieldKey, axis: &[&str]) -> Option<String> {
    let words: Vec<&str> = key.as_str().split('_').collect();
    let at = words.iter().position(|word| axis.contains(word))?;
    let rest: Vec<&str> =
        words.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, word)| *word).collect();
    Some(rest.join("_"))
}
