//! Lists of the Workspace API that have no pages: those that come whole, and those that count by `skip` and `limit`.

use domain::page::{PageOf, PageRequest};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON},
};

/// Whole list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Whole<T: ParseFromJSON + ToJSON> {
    /// All of the list's items.
    pub items: Vec<T>,
}

impl<T: ParseFromJSON + ToJSON> From<Vec<T>> for Whole<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items }
    }
}

// Its parameters are `skip: Query<Offset>` and `limit: Query<Limit>`, read by `part_request`.
/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Part<T: ParseFromJSON + ToJSON> {
    /// The items of this part.
    pub items: Vec<T>,
    /// Items in the whole list.
    pub total: i64,
    /// Items before this part.
    pub skip: i64,
    /// Items in this part at the most.
    pub limit: i64,
}

impl<T: ParseFromJSON + ToJSON> Part<T> {
    /// A part as it was asked for.
    pub fn new(request: PageRequest, page: PageOf<T>) -> Self {
        Self { items: page.items, total: page.total, skip: request.offset, limit: request.limit }
    }
}
