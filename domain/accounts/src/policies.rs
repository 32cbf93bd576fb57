//! Row-level policies: access to rows as a condition on a row's columns and on the caller. A condition is
//! JSON; it is parsed into types first, and never becomes SQL.
//!
//! ```json
//! {"and": [{"eq": [{"column": "owner_id"}, {"auth": "user_id"}]},
//!          {"not": {"in": [{"column": "state"}, ["deleted", "hidden"]]}}]}
//! ```
//!
//! Missing columns and members are null, and as in SQL, a comparison with null is neither true nor
//! false: a row is allowed only if the condition is true.

mod condition;
mod judge;

use std::sync::LazyLock;

use domain::Error;
use runtime::heavy::{HeavyPool, MAX_NICE, Whose, heavy};
use serde_json::{Map, Value};

pub use condition::Condition;
use judge::{Judgement, judge};

/// Maximum number of rows of one simulation.
const MOST_ROWS: usize = 100;

/// Two at once, with a short queue.
static JUDGES: LazyLock<HeavyPool> = LazyLock::new(|| HeavyPool::new("policies", 2, 16, MAX_NICE));

/// A policy, as far as it decides about rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether it is enabled.
    pub enabled: bool,
    /// Only role that it applies to.
    pub role: Option<String>,
    /// Condition for allowed rows.
    pub condition: Condition,
}

/// The decision of a policy on a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the row is allowed.
    pub allowed: bool,
    /// Reason, for display.
    pub reason: String,
}

impl Policy {
    /// A policy with that condition, whose path in the request is `at`.
    ///
    /// # Errors
    /// `record_invalid` with all that is wrong with the condition.
    pub fn read(enabled: bool, role: Option<String>, condition: &Value, at: &str) -> Result<Self, Error> {
        let condition = Condition::read(condition, at).map_err(Error::invalid_fields)?;
        Ok(Self { enabled, role, condition })
    }

    /// The policy's decision on each of the rows, for that caller. On a thread for such work: a large condition
    /// on many rows takes a while.
    ///
    /// # Errors
    /// `record_invalid` for more than [`MOST_ROWS`]; `overloaded`.
    pub async fn simulate(
        self,
        rows: Vec<Map<String, Value>>,
        auth: Map<String, Value>,
    ) -> Result<Vec<Decision>, Error> {
        if rows.len() > MOST_ROWS {
            return Err(Error::invalid("sample_data", format!("must have at most {MOST_ROWS} rows")));
        }
        let decide = move || rows.iter().map(|row| self.decide(row, &auth)).collect();
        Ok(heavy(&JUDGES, Whose::client(), move |_| decide()).await?)
    }

    fn decide(&self, row: &Map<String, Value>, auth: &Map<String, Value>) -> Decision {
        let denied = |reason: String| Decision { allowed: false, reason };
        if !self.enabled {
            return denied("the policy is not enabled, so it allows no row".to_owned());
        }
        if let Some(role) = &self.role
            && auth.get("role").and_then(Value::as_str) != Some(role)
        {
            return denied(format!("the policy only applies to the role {role:?}"));
        }
        let Judgement { holds, because } = judge(&self.condition, row, auth);
        Decision { allowed: holds == Some(true), reason: because }
    }
}
