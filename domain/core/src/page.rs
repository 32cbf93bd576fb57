//! A page of a list: the request and the result. The surfaces give it their own shapes.

/// A requested part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Maximum number of items.
    pub limit: i64,
    /// Number of items to skip.
    pub offset: i64,
}

impl PageRequest {
    /// The first item, for a list of at most one.
    pub const ONE: Self = Self { limit: 1, offset: 0 };
}

/// The requested part, and the length of the whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: i64,
}

impl<T> PageOf<T> {
    /// The same page with its items mapped.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> PageOf<U> {
        PageOf { items: self.items.into_iter().map(make).collect(), total: self.total }
    }
}
