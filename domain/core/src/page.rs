//! A page of a list: what is asked for and what comes back. The surfaces give it their own shapes.

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many items.
    pub limit: i64,
    /// After so many items.
    pub offset: i64,
}

impl PageRequest {
    /// The first item, for a list that has one at most.
    pub const ONE: Self = Self { limit: 1, offset: 0 };
}

/// That part, and how long the whole list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Items in the whole list.
    pub total: i64,
}

impl<T> PageOf<T> {
    /// The same page with its items made into something else.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> PageOf<U> {
        PageOf { items: self.items.into_iter().map(make).collect(), total: self.total }
    }
}
