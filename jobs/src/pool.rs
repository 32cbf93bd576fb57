//! Pools: groups of workers that an operator scales separately.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::kinds;

/// A pool of workers, by its name in the ledger, in Redis and in metrics. A job kind belongs to one; a worker process
/// serves one or more. Areas declare theirs beside their kinds; a pool exists when a kind belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool {
    name: &'static str,
    slots: usize,
}

impl Pool {
    /// The engine's own pool: sweeping, folding, pruning.
    pub const MAINTENANCE: Self = Self::new("maintenance", 8);

    /// A pool whose processes run at most `slots` jobs at once by default. Bulk work holds memory and a
    /// core; the rest mostly waits.
    #[must_use]
    pub const fn new(name: &'static str, slots: usize) -> Self {
        Self { name, slots }
    }

    /// Every pool that an installed kind belongs to, by name.
    ///
    /// # Panics
    /// Before [`kinds::install`].
    #[must_use]
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Pool>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut pools: Vec<_> = kinds::all().iter().map(|kind| kind.pool).collect();
            pools.sort_unstable();
            pools.dedup();
            pools
        })
    }

    /// The pool's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Number of concurrent jobs of a process, unless the operator sets another.
    #[must_use]
    pub const fn slots(self) -> usize {
        self.slots
    }

    /// The pool of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().iter().copied().find(|pool| pool.name == name)
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Pool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::custom("is not the name of a pool"))
    }
}

/// On the wire a pool is its name, one of a list.
#[cfg(feature = "openapi")]
mod openapi {
    use std::borrow::Cow;

    use poem_openapi::{
        registry::{MetaSchema, MetaSchemaRef, Registry},
        types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
    };
    use serde_json::Value;

    use super::Pool;

    impl Type for Pool {
        const IS_REQUIRED: bool = true;

        type RawValueType = Self;
        type RawElementValueType = Self;

        fn name() -> Cow<'static, str> {
            "Pool".into()
        }

        fn schema_ref() -> MetaSchemaRef {
            MetaSchemaRef::Reference(<Self as Type>::name().into_owned())
        }

        fn register(registry: &mut Registry) {
            registry.create_schema::<Self, _>(<Self as Type>::name().into_owned(), |_| MetaSchema {
                description: Some("Pool of workers, the unit of scaling."),
                enum_items: Pool::all().iter().map(|pool| Value::from(pool.name)).collect(),
                ..MetaSchema::new("string")
            });
        }

        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }

        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(self.as_raw_value().into_iter())
        }
    }

    impl ParseFromParameter for Pool {
        fn parse_from_parameter(value: &str) -> ParseResult<Self> {
            Self::named(value).ok_or_else(|| ParseError::custom("is not the name of a pool"))
        }
    }

    impl ParseFromJSON for Pool {
        fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
            match value.unwrap_or_default() {
                Value::String(name) => Self::parse_from_parameter(&name).map_err(ParseError::propagate),
                other => Err(ParseError::expected_type(other)),
            }
        }
    }

    impl ToJSON for Pool {
        fn to_json(&self) -> Option<Value> {
            Some(self.name.into())
        }
    }
}
