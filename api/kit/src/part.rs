//! Parts of lists of the Workspace API that count by `skip` and `limit` rather than by pages.

use domain::page::{PageOf, PageRequest};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON},
};

/// A part of a list. Its parameters are `skip: Query<Offset>` and `limit: Query<Limit>`, read by
/// [`crate::part_request`].
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
