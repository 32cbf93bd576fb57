//! Whether polygons enclose an area: their rings don't cross or double back, and their holes lie inside. That
//! they are closed and in range is checked before.
//!
//! Rings may touch in points. The work is limited: a tangle that takes longer passes unchecked, since
//! PostGIS stores it all the same, and no row may keep a worker for hours.

use geo::{
    Area, Coord, CoordinatePosition, Line, LineString, LinesIter, Polygon,
    coordinate_position::CoordPos,
    line_intersection::{LineIntersection, line_intersection},
};
use rstar::RTree;

use crate::{Invalid, code};

/// Most pairs of edges, or of a corner and an edge, that are looked at: a fraction of a second's work. A
/// million edges have about three million pairs, unless they are long and lie close together.
const MAX_PAIRS: usize = 5_000_000;

pub(super) fn check(polygon: &Polygon) -> Result<(), Invalid> {
    if let Some(Coord { x, y }) = crossing(polygon) {
        return Err(broken(&format!("the polygon's outline crosses itself or doubles back at {x} {y}")));
    }
    let shell = Polygon::new(polygon.exterior().clone(), Vec::new());
    let mut rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
    if rings.any(|ring| Polygon::new(ring.clone(), Vec::new()).unsigned_area() <= 0.0) {
        return Err(broken("a ring of the polygon encloses no area"));
    }
    check_holes(&shell, polygon.interiors())
}

fn broken(message: &str) -> Invalid {
    Invalid::new(code::NOT_A_GEOMETRY, message)
}

/// A place where two edges of any of the rings cross, or run along each other.
fn crossing(polygon: &Polygon) -> Option<Coord> {
    // An edge between two equal positions is allowed, and crosses nothing.
    let edges: Vec<Line> = polygon.lines_iter().filter(|edge| edge.start != edge.end).collect();
    let edges = RTree::bulk_load(edges);
    let near = edges.intersection_candidates_with_other_tree(&edges).take(MAX_PAIRS);
    near.filter(|(one, other)| !std::ptr::eq(*one, *other)).find_map(|(one, other)| match line_intersection(
        *one, *other,
    )? {
        LineIntersection::SinglePoint { intersection, is_proper } => is_proper.then_some(intersection),
        LineIntersection::Collinear { intersection } => Some(intersection.start),
    })
}

/// Of a hole that crosses nothing, one corner off the shell's outline tells where all of it lies.
fn check_holes(shell: &Polygon, holes: &[LineString]) -> Result<(), Invalid> {
    let mut affordable = MAX_PAIRS / shell.exterior().0.len().max(1);
    for hole in holes {
        for corner in hole.coords() {
            let Some(rest) = affordable.checked_sub(1) else { return Ok(()) };
            affordable = rest;
            match shell.coordinate_position(corner) {
                CoordPos::OnBoundary => {}
                CoordPos::Inside => break,
                CoordPos::Outside => return Err(broken("a hole lies outside of the polygon")),
            }
        }
    }
    Ok(())
}
