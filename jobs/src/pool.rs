//! Pools: the kinds of worker that an operator scales one by one.

use serde::{Deserialize, Serialize};

/// A pool of workers. A job kind belongs to one; a worker process serves one or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Enum), oai(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Files into records.
    Imports,
    /// Records into files.
    Exports,
    /// New workspaces and tenant migrations.
    Provisioning,
    /// Mail, webhooks and notifications.
    Deliveries,
    /// Sweeping, folding, pruning.
    Maintenance,
}

impl Pool {
    /// Every pool there is.
    pub const ALL: [Self; 5] =
        [Self::Imports, Self::Exports, Self::Provisioning, Self::Deliveries, Self::Maintenance];

    /// The pool's name in the ledger, in Redis and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imports => "imports",
            Self::Exports => "exports",
            Self::Provisioning => "provisioning",
            Self::Deliveries => "deliveries",
            Self::Maintenance => "maintenance",
        }
    }

    /// The pool of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pool| pool.name() == name)
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
