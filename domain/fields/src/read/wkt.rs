//! Well-known text to GeoJSON. The brackets of WKT nest exactly as the arrays of GeoJSON do, so this only
//! translates; what a geometry must look like is checked by the caller, once for both notations.

use serde_json::{Value, json};

/// Deepest nesting of collections; each costs a stack frame.
const MAX_DEPTH: usize = 8;

/// Whether the text could be WKT, judging by its first word.
pub(super) fn is_likely(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The GeoJSON of a WKT geometry (2D or Z), unchecked; `None` when the text is no such thing.
pub(super) fn to_geojson(text: &str) -> Option<Value> {
    let mut text = text;
    // The prefix of PostGIS's extended form; other reference systems than GeoJSON's own are not translated.
    if text.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("SRID=")) {
        text = text[5..].strip_prefix("4326;")?;
    }
    let mut parser = Parser { rest: text };
    let geometry = parser.geometry(MAX_DEPTH)?;
    parser.skip_blanks();
    parser.rest.is_empty().then_some(geometry)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn geometry(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let tag = self.word()?.to_ascii_uppercase();
        if let Some(dimension) = self.word() {
            dimension.eq_ignore_ascii_case("z").then_some(())?;
        }
        let (name, coordinates) = match tag.strip_suffix('Z').unwrap_or(&tag) {
            "POINT" => match self.list(1)? {
                Value::Array(mut positions) if positions.len() == 1 => ("Point", positions.remove(0)),
                _ => return None,
            },
            "LINESTRING" => ("LineString", self.list(1)?),
            "POLYGON" => ("Polygon", self.list(2)?),
            "MULTIPOINT" => ("MultiPoint", self.points()?),
            "MULTILINESTRING" => ("MultiLineString", self.list(2)?),
            "MULTIPOLYGON" => ("MultiPolygon", self.list(3)?),
            "GEOMETRYCOLLECTION" => {
                let geometries = self.bracketed(|parser| parser.geometry(depth))?;
                return Some(json!({"type": "GeometryCollection", "geometries": geometries}));
            }
            _ => return None,
        };
        Some(json!({"type": name, "coordinates": coordinates}))
    }

    /// Positions inside `levels` of brackets.
    fn list(&mut self, levels: usize) -> Option<Value> {
        let items = self.bracketed(|parser| match levels {
            1 => parser.position(),
            _ => parser.list(levels - 1),
        })?;
        Some(Value::Array(items))
    }

    /// The positions of a multi-point, which may or may not have brackets of their own.
    fn points(&mut self) -> Option<Value> {
        let items = self.bracketed(|parser| {
            parser.skip_blanks();
            if parser.rest.starts_with('(') {
                parser.bracketed(Self::position)?.pop()
            } else {
                parser.position()
            }
        })?;
        Some(Value::Array(items))
    }

    fn position(&mut self) -> Option<Value> {
        let mut numbers = Vec::with_capacity(3);
        loop {
            self.skip_blanks();
            let len = self.rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')'));
            let (number, rest) = self.rest.split_at(len.unwrap_or(self.rest.len()));
            if number.is_empty() {
                return Some(Value::Array(numbers));
            }
            numbers.push(json!(number.parse::<f64>().ok().filter(|number| number.is_finite())?));
            self.rest = rest;
        }
    }

    fn bracketed(&mut self, mut item: impl FnMut(&mut Self) -> Option<Value>) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.symbol('(')?;
        loop {
            items.push(item(self)?);
            if self.symbol(',').is_none() {
                self.symbol(')')?;
                return Some(items);
            }
        }
    }

    fn symbol(&mut self, symbol: char) -> Option<()> {
        self.skip_blanks();
        self.rest = self.rest.strip_prefix(symbol)?;
        Some(())
    }

    fn word(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let len = self.rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}
