//! Pages of lists. The Workspace API has `page`, which counts from 1, and `page_size`; lists of the
//! Platform API have `limit` and `offset`, or `page` and `per_page`. Sizes have a cap.

use std::{borrow::Cow, str::FromStr};

use domain::page::{PageOf, PageRequest};
use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use serde_json::{Value, json};

const LARGEST: u32 = 200;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Page<T: ParseFromJSON + ToJSON> {
    /// Items of this page.
    pub items: Vec<T>,
    /// Number of items in the whole list.
    pub total: i64,
    /// Page number; the first is 1.
    pub page: i64,
    /// Maximum number of items on a page.
    pub page_size: i64,
    /// Number of pages of the whole list.
    pub pages: i64,
}

impl<T: ParseFromJSON + ToJSON> Page<T> {
    /// The requested page.
    pub fn new(request: PageRequest, page: PageOf<T>) -> Self {
        let size = request.limit.max(1);
        Self {
            items: page.items,
            total: page.total,
            page: request.offset / size + 1,
            page_size: size,
            pages: (page.total + size - 1) / size,
        }
    }
}

/// A page of a list that is counted up to a limit, because it may be very long.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct CappedPage<T: ParseFromJSON + ToJSON> {
    /// Items of this page.
    pub items: Vec<T>,
    /// Number of items in the whole list, counted up to 10,000; see `total_is_capped`.
    pub total: i64,
    /// Whether the list has more items than `total`. Further pages can be requested all the same.
    pub total_is_capped: bool,
    /// Page number; the first is 1.
    pub page: i64,
    /// Maximum number of items on a page.
    pub page_size: i64,
    /// Number of pages that `total` items fill.
    pub pages: i64,
}

impl<T: ParseFromJSON + ToJSON> CappedPage<T> {
    /// The requested page of a list that was counted up to one more than `cap`.
    pub fn new(request: PageRequest, page: PageOf<T>, cap: i64) -> Self {
        let total_is_capped = page.total > cap;
        let Page { items, total, page, page_size, pages } =
            Page::new(request, PageOf { total: page.total.min(cap), ..page });
        Self { items, total, total_is_capped, page, page_size, pages }
    }
}

/// `page`: the page number, from 1. Use it as `#[oai(default)] page: Query<PageNumber>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageNumber(u32);

/// `page_size`: items per page. A larger value is reduced to the maximum, which the answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

/// The page requested by the two parameters.
#[must_use]
pub fn page_request(page: PageNumber, size: PageSize) -> PageRequest {
    let limit = i64::from(size.0);
    PageRequest { limit, offset: (i64::from(page.0) - 1) * limit }
}

/// `per_page`: items per page of the Platform API. A larger value is reduced to the maximum of 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerPage(u32);

/// The page requested by `page` and `per_page`.
#[must_use]
pub fn per_page_request(page: PageNumber, size: PerPage) -> PageRequest {
    page_request(page, PageSize(size.0))
}

/// `limit`: items in the answer. A larger value is reduced to the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u32);

/// `offset`: items to skip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset(u32);

/// The part requested by the two parameters of the Platform API.
#[must_use]
pub fn part_request(limit: Limit, offset: Offset) -> PageRequest {
    PageRequest { limit: i64::from(limit.0), offset: i64::from(offset.0) }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl Default for PerPage {
    fn default() -> Self {
        Self(25)
    }
}

impl Default for PageNumber {
    fn default() -> Self {
        Self(1)
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(50)
    }
}

impl FromStr for PageNumber {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_one(text).map(Self)
    }
}

impl FromStr for PageSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_one(text).map(|size| Self(size.min(LARGEST)))
    }
}

impl FromStr for PerPage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_one(text).map(|size| Self(size.min(100)))
    }
}

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_one(text).map(|size| Self(size.min(LARGEST)))
    }
}

impl FromStr for Offset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "must be a whole number from 0")
    }
}

fn from_one(text: &str) -> Result<u32, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number from 1"),
        Ok(number) => Ok(number),
    }
}

/// Makes a number type a documented query parameter.
macro_rules! parameter {
    ($name:ident, $label:literal, $least:literal) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $label.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    minimum: Some($least),
                    ..MetaSchema::new_with_format("integer", "int32")
                }))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                value.parse().map_err(ParseError::custom)
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(json!(self.0))
            }
        }
    };
}

parameter!(PageNumber, "page_number", 1.0);
parameter!(PageSize, "page_size", 1.0);
parameter!(PerPage, "per_page", 1.0);
parameter!(Limit, "limit", 1.0);
parameter!(Offset, "offset", 0.0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_may_be_short() {
        let request = page_request("3".parse().unwrap(), "2".parse().unwrap());
        assert_eq!(request, PageRequest { limit: 2, offset: 4 });
        let page = Page::new(request, PageOf { items: vec![5], total: 5 });
        assert_eq!((page.page, page.page_size, page.pages, page.total), (3, 2, 3, 5));
    }

    #[test]
    fn a_page_size_above_the_cap_is_the_cap() {
        assert_eq!("100000".parse(), Ok(PageSize(LARGEST)));
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in ["0", "-1", "x", "1.5", "99999999999"] {
            assert!(nonsense.parse::<PageNumber>().is_err(), "{nonsense}");
            assert!(nonsense.parse::<Limit>().is_err(), "{nonsense}");
            assert_eq!(nonsense.parse::<Offset>().is_err(), nonsense != "0", "{nonsense}");
        }
    }

    #[test]
    fn an_empty_list_has_no_pages() {
        let page = Page::<i32>::new(
            page_request(PageNumber::default(), PageSize::default()),
            PageOf { items: vec![], total: 0 },
        );
        assert_eq!((page.page, page.pages), (1, 0));
    }
}
