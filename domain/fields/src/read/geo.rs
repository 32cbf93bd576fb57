//! Points and geometries: text, WKT and GeoJSON in, GeoJSON out, always longitude first and WGS 84.

use std::borrow::Cow;

use geo::{LineString, Polygon, coord};
use serde_json::{Map, Value};

use super::{shape, wkt};
use crate::{Invalid, code, stored::Stored};

/// Deepest nesting of geometry collections.
const MAX_DEPTH: usize = 8;

/// `lat,lng` (the order in which people write it), WKT or GeoJSON.
pub(super) fn point(text: &str) -> Result<Stored<'_>, Invalid> {
    let no_point =
        || Invalid::showing(code::NOT_A_POINT, text, "is not a point; write latitude,longitude or GeoJSON");
    if text.starts_with('{') {
        let value: Value = serde_json::from_str(text).map_err(|_| no_point())?;
        return point_of_json(&value).map(Stored::into_owned);
    }
    if wkt::is_likely(text) {
        let value = wkt::to_geojson(text).ok_or_else(no_point)?;
        return point_of_json(&value).map(Stored::into_owned);
    }
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let (latitude, longitude) = inner
        .split_once([',', ';'])
        .or_else(|| inner.split_once(char::is_whitespace))
        .ok_or_else(no_point)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| no_point());
    checked_point(number(longitude)?, number(latitude)?)
}

/// A GeoJSON point (its altitude is left out), or an object with a latitude and a longitude.
pub(super) fn point_of_json(value: &Value) -> Result<Stored<'_>, Invalid> {
    let no_point = || {
        Invalid::new(
            code::NOT_A_POINT,
            "the value is neither a GeoJSON point nor an object with latitude and longitude",
        )
    };
    let object = value.as_object().ok_or_else(no_point)?;
    if object.get("type").is_some_and(|name| name == "Point") {
        let position = object.get("coordinates").and_then(Value::as_array).ok_or_else(no_point)?;
        if !(2..=3).contains(&position.len()) {
            return Err(no_point());
        }
        let coordinate = |index: usize| position[index].as_f64().ok_or_else(no_point);
        return checked_point(coordinate(0)?, coordinate(1)?);
    }
    let member = |names: &[&str]| {
        let value = names.iter().find_map(|name| object.get(*name))?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let latitude = member(&["lat", "latitude"]).ok_or_else(no_point)?;
    let longitude = member(&["lng", "lon", "long", "longitude"]).ok_or_else(no_point)?;
    checked_point(longitude, latitude)
}

fn checked_point(longitude: f64, latitude: f64) -> Result<Stored<'static>, Invalid> {
    check_range(longitude, latitude)?;
    Ok(Stored::Point { longitude, latitude })
}

/// Not a number is in no range.
fn check_range(longitude: f64, latitude: f64) -> Result<(), Invalid> {
    if !(-180.0..=180.0).contains(&longitude) || !(-90.0..=90.0).contains(&latitude) {
        let message = "longitudes lie between -180 and 180, latitudes between -90 and 90";
        return Err(Invalid::new(code::OUT_OF_RANGE, message));
    }
    Ok(())
}

/// WKT or GeoJSON.
pub(super) fn geometry(text: &str) -> Result<Stored<'_>, Invalid> {
    let value = if wkt::is_likely(text) { wkt::to_geojson(text) } else { serde_json::from_str(text).ok() };
    let no_geometry = || Invalid::showing(code::NOT_A_GEOMETRY, text, "is neither GeoJSON nor WKT");
    geometry_of_json(&value.ok_or_else(no_geometry)?).map(Stored::into_owned)
}

pub(super) fn geometry_of_json(value: &Value) -> Result<Stored<'_>, Invalid> {
    checked_geometry(value, MAX_DEPTH).map(|geometry| Stored::Json(Cow::Owned(geometry)))
}

/// The geometry with its own members only: no `bbox`, no `crs`, nothing foreign.
fn checked_geometry(value: &Value, depth: usize) -> Result<Value, Invalid> {
    let depth = depth.checked_sub(1).ok_or_else(|| broken("geometry collections are nested too deeply"))?;
    let object = value.as_object().ok_or_else(|| broken("a geometry is a JSON object"))?;
    let name = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let array = |member: &str| {
        object
            .get(member)
            .and_then(Value::as_array)
            .ok_or_else(|| broken(&format!("{member} is not an array")))
    };
    let mut geometry = Map::new();
    geometry.insert("type".to_owned(), name.into());
    if name == "GeometryCollection" {
        let parts = array("geometries")?.iter().map(|part| checked_geometry(part, depth));
        geometry.insert("geometries".to_owned(), parts.collect::<Result<Vec<_>, _>>()?.into());
        return Ok(geometry.into());
    }
    let coordinates = array("coordinates")?;
    match name {
        "Point" => check_position(coordinates)?,
        "MultiPoint" => each(coordinates, check_position)?,
        "LineString" => check_line(coordinates)?,
        "MultiLineString" => each(coordinates, check_line)?,
        "Polygon" => check_polygon(coordinates)?,
        "MultiPolygon" => each(coordinates, check_polygon)?,
        _ => return Err(broken("the type is not one of GeoJSON's geometries")),
    }
    geometry.insert("coordinates".to_owned(), coordinates.clone().into());
    Ok(geometry.into())
}

fn broken(message: &str) -> Invalid {
    Invalid::new(code::NOT_A_GEOMETRY, message)
}

fn each(items: &[Value], check: impl Fn(&[Value]) -> Result<(), Invalid>) -> Result<(), Invalid> {
    items.iter().try_for_each(|item| {
        check(item.as_array().ok_or_else(|| broken("coordinates are not nested enough"))?)
    })
}

fn check_position(position: &[Value]) -> Result<(), Invalid> {
    match position {
        [longitude, latitude] | [longitude, latitude, Value::Number(_)] => {
            let (Some(longitude), Some(latitude)) = (longitude.as_f64(), latitude.as_f64()) else {
                return Err(broken("a coordinate is not a number"));
            };
            check_range(longitude, latitude)
        }
        _ => Err(broken("a position has two or three numbers")),
    }
}

fn check_line(line: &[Value]) -> Result<(), Invalid> {
    if line.len() < 2 {
        return Err(broken("a line has at least two positions"));
    }
    each(line, check_position)
}

fn check_polygon(rings: &[Value]) -> Result<(), Invalid> {
    if rings.is_empty() {
        return Err(broken("a polygon has at least one ring"));
    }
    each(rings, |ring| {
        each(ring, check_position)?;
        if ring.len() < 4 || ring.first() != ring.last() {
            return Err(broken("a ring has at least four positions and ends where it began"));
        }
        Ok(())
    })?;
    let mut rings = rings.iter().map(line_of);
    let exterior = rings.next().unwrap_or_else(|| LineString::new(Vec::new()));
    shape::check(&Polygon::new(exterior, rings.collect()))
}

/// The line through positions that have been checked.
fn line_of(positions: &Value) -> LineString {
    let number = |position: &Value, index: usize| position[index].as_f64().unwrap_or_default();
    let positions = positions.as_array().into_iter().flatten();
    positions.map(|position| coord! { x: number(position, 0), y: number(position, 1) }).collect()
}
