//! Lists of the Platform API that come in pages: the envelope, with `pagination` beside `data`.

use domain::page::{PageOf, PageRequest};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON},
};

use crate::Always;

/// Position of a page in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct Pagination {
    /// Page number; the first is 1.
    pub current_page: i64,
    /// Number of pages of the whole list.
    pub total_pages: i64,
    /// Number of items in the whole list.
    pub total_count: i64,
    /// Maximum number of items on a page.
    pub per_page: i64,
}

/// A page of a list, in the Platform API's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PagedEnvelope<T: ParseFromJSON + ToJSON> {
    /// Always true; errors have an envelope of their own.
    pub success: Always<true>,
    /// Items of this page.
    pub data: Vec<T>,
    /// Position of the page in the list.
    pub pagination: Pagination,
    /// Request id, for support.
    pub request_id: String,
}

impl Pagination {
    /// Position of a page in a list of so many items.
    #[must_use]
    pub fn new(request: PageRequest, total: i64) -> Self {
        let per_page = request.limit.max(1);
        Self {
            current_page: request.offset / per_page + 1,
            total_pages: (total + per_page - 1) / per_page,
            total_count: total,
            per_page,
        }
    }
}

impl<T: ParseFromJSON + ToJSON> PagedEnvelope<T> {
    /// The requested page.
    pub fn new(request: PageRequest, page: PageOf<T>, request_id: impl Into<String>) -> Self {
        let pagination = Pagination::new(request, page.total);
        Self { success: Always, data: page.items, pagination, request_id: request_id.into() }
    }
}
