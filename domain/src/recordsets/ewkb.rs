//! GeoJSON to EWKB, the binary form of PostGIS: made here rather than by `ST_GeomFromGeoJSON`, so that
//! `COPY` can carry it and a batch costs the database no JSON parsing.
//!
//! Altitudes are left out (the record's data keeps them): one geometry may not mix flat and high
//! positions, and maps are flat.

use serde_json::Value;

/// WGS 84, the only reference system of GeoJSON.
const SRID: u32 = 4326;
const HAS_SRID: u32 = 0x2000_0000;
const LITTLE_ENDIAN: u8 = 1;

/// The geometry as hex, which PostGIS reads as a `geometry`; `None` when it is not GeoJSON in the form
/// that the `fields` crate stores.
#[must_use]
pub fn hex_of_geojson(json: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(32);
    if let Some((longitude, latitude)) = stored_point(json) {
        header(1, Some(SRID), &mut out);
        out.extend_from_slice(&longitude.to_le_bytes());
        out.extend_from_slice(&latitude.to_le_bytes());
    } else {
        let value: Value = serde_json::from_slice(json).ok()?;
        geometry(&value, Some(SRID), &mut out)?;
    }
    Some(hex::encode_upper(out))
}

/// The coordinates of a point spelled just as the `fields` crate spells it: nearly all geometries of
/// nearly all files, and not worth a JSON parser.
fn stored_point(json: &[u8]) -> Option<(f64, f64)> {
    let inner = json.strip_prefix(br#"{"type":"Point","coordinates":["#)?.strip_suffix(b"]}")?;
    let (longitude, latitude) = std::str::from_utf8(inner).ok()?.split_once(',')?;
    Some((longitude.parse().ok()?, latitude.parse().ok()?))
}

fn header(kind: u32, srid: Option<u32>, out: &mut Vec<u8>) {
    out.push(LITTLE_ENDIAN);
    match srid {
        Some(srid) => {
            out.extend_from_slice(&(kind | HAS_SRID).to_le_bytes());
            out.extend_from_slice(&srid.to_le_bytes());
        }
        None => out.extend_from_slice(&kind.to_le_bytes()),
    }
}

fn geometry(value: &Value, srid: Option<u32>, out: &mut Vec<u8>) -> Option<()> {
    let array = |member: &str| value.get(member).and_then(Value::as_array).map(Vec::as_slice);
    let kind = value.get("type")?.as_str()?;
    if kind == "GeometryCollection" {
        let parts = array("geometries")?;
        header(7, srid, out);
        return counted(parts, out, |part, out| geometry(part, None, out));
    }
    let coordinates = array("coordinates")?;
    match kind {
        "Point" => {
            header(1, srid, out);
            position(coordinates, out)
        }
        "LineString" => {
            header(2, srid, out);
            line(coordinates, out)
        }
        "Polygon" => {
            header(3, srid, out);
            polygon(coordinates, out)
        }
        "MultiPoint" => multi(4, coordinates, srid, out, 1, position),
        "MultiLineString" => multi(5, coordinates, srid, out, 2, line),
        "MultiPolygon" => multi(6, coordinates, srid, out, 3, polygon),
        _ => None,
    }
}

/// A geometry of parts, each of which has a header of its own.
fn multi(
    kind: u32,
    parts: &[Value],
    srid: Option<u32>,
    out: &mut Vec<u8>,
    part_kind: u32,
    write: impl Fn(&[Value], &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    header(kind, srid, out);
    counted(parts, out, |part, out| {
        header(part_kind, None, out);
        write(part.as_array()?, out)
    })
}

fn polygon(rings: &[Value], out: &mut Vec<u8>) -> Option<()> {
    counted(rings, out, |ring, out| line(ring.as_array()?, out))
}

fn line(positions: &[Value], out: &mut Vec<u8>) -> Option<()> {
    counted(positions, out, |at, out| position(at.as_array()?, out))
}

fn position(numbers: &[Value], out: &mut Vec<u8>) -> Option<()> {
    let [longitude, latitude, ..] = numbers else {
        return None;
    };
    out.extend_from_slice(&longitude.as_f64()?.to_le_bytes());
    out.extend_from_slice(&latitude.as_f64()?.to_le_bytes());
    Some(())
}

fn counted(
    items: &[Value],
    out: &mut Vec<u8>,
    write: impl Fn(&Value, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    out.extend_from_slice(&u32::try_from(items.len()).ok()?.to_le_bytes());
    items.iter().try_for_each(|item| write(item, out))
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
    fn what_is_no_geometry_has_no_form() {
        for json in
            [r"{}", r#"{"type":"Point","coordinates":[1]}"#, r#"{"type":"Circle","coordinates":[1,2]}"#, "x"]
        {
            assert_eq!(hex_of_geojson(json.as_bytes()), None, "{json}");
        }
    }
}
