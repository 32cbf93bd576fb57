//! GeoJSON to EWKB, the binary form of PostGIS: made here rather than by `ST_GeomFromGeoJSON`, so that
//! `COPY` can carry it and a batch costs the database no JSON parsing.
//!
//! Altitudes are left out (the record's data keeps them): one geometry may not mix flat and high
//! positions, and maps are flat.

use geozero::{CoordDimensions, GeomProcessor, GeozeroGeometry, ToWkb, geojson::GeoJson};

/// WGS 84, the only reference system of GeoJSON.
const SRID: Option<i32> = Some(4326);

/// The geometry as hex, which PostGIS reads as a `geometry`; `None` when it is not GeoJSON in the form
/// that the `fields` crate stores.
#[must_use]
pub fn hex_of_geojson(json: &[u8]) -> Option<String> {
    let json = std::str::from_utf8(json).ok()?;
    let ewkb = match Position::of_stored_point(json) {
        Some(point) => point.to_ewkb(CoordDimensions::xy(), SRID),
        None => GeoJson(json).to_ewkb(CoordDimensions::xy(), SRID),
    };
    Some(hex::encode_upper(ewkb.ok()?))
}

/// Coordinates of a point.
struct Position {
    longitude: f64,
    latitude: f64,
}

impl Position {
    /// Of a point spelled just as the `fields` crate spells it: nearly all geometries of nearly all files, and
    /// not worth a JSON parser.
    fn of_stored_point(json: &str) -> Option<Self> {
        let inner = json.strip_prefix(r#"{"type":"Point","coordinates":["#)?.strip_suffix("]}")?;
        let (longitude, latitude) = inner.split_once(',')?;
        Some(Self { longitude: longitude.parse().ok()?, latitude: latitude.parse().ok()? })
    }
}

impl GeozeroGeometry for Position {
    fn process_geom<P: GeomProcessor>(&self, point: &mut P) -> geozero::error::Result<()> {
        point.point_begin(0)?;
        point.xy(self.longitude, self.latitude, 0)?;
        point.point_end(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_same_by_the_short_way_and_by_the_long_one() {
        let short = hex_of_geojson(br#"{"type":"Point","coordinates":[13.4,52.5]}"#).unwrap();
        let long = hex_of_geojson(br#"{"coordinates": [13.4, 52.5, 34], "type": "Point"}"#).unwrap();
        assert_eq!(short, "0101000020E6100000CDCCCCCCCCCC2A400000000000404A40"); // as PostGIS writes it
        assert_eq!(short, long);
    }

    #[test]
    fn parts_of_a_collection_have_no_reference_system_of_their_own() {
        let json = br#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}"#;
        assert_eq!(
            hex_of_geojson(json).unwrap(),
            "0107000020E6100000010000000101000000000000000000F03F0000000000000040"
        );
    }

    #[test]
    fn each_part_says_what_it_is() {
        let json = br#"{"type":"MultiPoint","coordinates":[[1,2,9],[1,2]]}"#;
        let part = "0101000000000000000000F03F0000000000000040";
        assert_eq!(hex_of_geojson(json).unwrap(), format!("0104000020E610000002000000{part}{part}"));
        let json = br#"{"type":"Polygon","coordinates":[[[0,0],[1,2],[0,2],[0,0]]]}"#;
        let (zero, one, two) = ("0000000000000000", "000000000000F03F", "0000000000000040");
        assert_eq!(
            hex_of_geojson(json).unwrap(),
            format!("0103000020E61000000100000004000000{zero}{zero}{one}{two}{zero}{two}{zero}{zero}")
        );
    }

    #[test]
    fn what_is_no_geometry_has_no_form() {
        for json in [
            r"{}",
            r#"{"type":"Point","coordinates":[1]}"#,
            r#"{"type":"LineString","coordinates":[[1],[2]]}"#,
            r#"{"type":"Circle","coordinates":[1,2]}"#,
            "x",
        ] {
            assert_eq!(hex_of_geojson(json.as_bytes()), None, "{json}");
        }
    }
}
