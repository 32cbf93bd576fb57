//! Row-level policies: who gets which rows, as a condition on a row's columns and on who asks. A condition is
//! JSON; it is read into types before anything is done with it, and never becomes SQL.
//!
//! ```json
//! {"and": [{"eq": [{"column": "owner_id"}, {"auth": "user_id"}]},
//!          {"not": {"in": [{"column": "state"}, ["deleted", "hidden"]]}}]}
//! ```
//!
//! Columns and members that aren't there are null, and as in SQL, what is compared with null is neither true nor
//! false: a row is allowed only by what is true.

mod condition;
mod judge;

use std::sync::LazyLock;

use domain::{DomainError, FieldErrors, Refusal};
use runtime::heavy::{HeavyError, HeavyPool, MAX_NICE, Whose, heavy};
use serde_json::{Map, Value};

pub use condition::Condition;
use judge::{Judgement, judge};

/// Rows of one simulation.
const MOST_ROWS: usize = 100;

/// Two at once; some wait.
static JUDGES: LazyLock<HeavyPool> = LazyLock::new(|| HeavyPool::new("policies", 2, 16, MAX_NICE));

/// A policy, as far as it decides about rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether it is in force.
    pub enabled: bool,
    /// The only role that it is for.
    pub role: Option<String>,
    /// Which rows it allows.
    pub condition: Condition,
}

/// What a policy says about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the caller gets it.
    pub allowed: bool,
    /// Why, for people.
    pub reason: String,
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// What is wrong, by its path. 422.
    #[error("the policy can't be read")]
    Invalid(FieldErrors),
    /// It could not be done, or not now.
    #[error(transparent)]
    Heavy(#[from] HeavyError),
}

impl DomainError for PolicyError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::Heavy(error) => error.refusal(),
        }
    }
}

impl Policy {
    /// A policy of that condition, whose path in the request is `at`.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] with all that is wrong with the condition.
    pub fn read(
        enabled: bool,
        role: Option<String>,
        condition: &Value,
        at: &str,
    ) -> Result<Self, PolicyError> {
        let condition = Condition::read(condition, at).map_err(PolicyError::Invalid)?;
        Ok(Self { enabled, role, condition })
    }

    /// What it says about each of the rows, to whoever that is. On a thread for such work: a large condition on many
    /// rows takes a while.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`] for more than [`MOST_ROWS`]; [`PolicyError::Heavy`].
    pub async fn simulate(
        self,
        rows: Vec<Map<String, Value>>,
        auth: Map<String, Value>,
    ) -> Result<Vec<Decision>, PolicyError> {
        if rows.len() > MOST_ROWS {
            let reason = vec![format!("must have at most {MOST_ROWS} rows")];
            return Err(PolicyError::Invalid(FieldErrors::from([("sample_data".to_owned(), reason)])));
        }
        let decide = move || rows.iter().map(|row| self.decide(row, &auth)).collect();
        Ok(heavy(&JUDGES, Whose::client(), move |_| decide()).await?)
    }

    fn decide(&self, row: &Map<String, Value>, auth: &Map<String, Value>) -> Decision {
        let denied = |reason: String| Decision { allowed: false, reason };
        if !self.enabled {
            return denied("the policy is not enabled, so that it allows nothing".to_owned());
        }
        if let Some(role) = &self.role
            && auth.get("role").and_then(Value::as_str) != Some(role)
        {
            return denied(format!("the policy is for the role {role:?} only"));
        }
        let Judgement { holds, because } = judge(&self.condition, row, auth);
        Decision { allowed: holds == Some(true), reason: because }
    }
}
