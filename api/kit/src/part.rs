//! Lists of the Workspace API without pages: complete ones, and those with `skip` and `limit`.

use domain::page::{PageOf, PageRequest};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON},
};

/// A complete list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Whole<T: ParseFromJSON + ToJSON> {
    /// All items of the list.
    pub items: Vec<T>,
}

impl<T: ParseFromJSON + ToJSON> From<Vec<T>> for Whole<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items }
    }
}

// Its parameters are `skip: Query<Offset>` and `limit: Query<Limit>`, read by `part_request`.
/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Part<T: ParseFromJSON + ToJSON> {
    /// Items of this part.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: i64,
    /// Number of items before this part.
    pub skip: i64,
    /// Maximum number of items in this part.
    pub limit: i64,
}

impl<T: ParseFromJSON + ToJSON> Part<T> {
    /// The requested part.
    pub fn new(request: PageRequest, page: PageOf<T>) -> Self {
        Self { items: page.items, total: page.total, skip: request.offset, limit: request.limit }
    }
}
