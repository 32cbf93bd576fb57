//! Security settings of a tenant, and the simulation of row-level policies. Contract section "Governance" (P-GOV).

use api_kit::{Body, Can, Wrapped, permissions};
use domain::{
    JsonObject,
    governance::{self, Governance, GovernanceChanges},
};
use domain_accounts::policies::{Decision, Policy};
use poem_openapi::{Enum, Object, OpenApi, Tags, payload::Json};
use serde_json::Value;

permissions! { ViewGovernance = "governance:view", ManageGovernance = "governance:manage" }

/// The operation that a policy governs.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum PolicyAction {
    /// Reading rows.
    Select,
    /// Adding rows.
    Insert,
    /// Changing rows.
    Update,
    /// Deleting rows.
    Delete,
}

/// A row-level policy to simulate.
#[derive(Debug, Object)]
struct PolicyToTry {
    /// Name of the policy.
    name: Option<String>,
    /// Operation that the policy governs; echoed in the answer, with no other effect.
    action: Option<PolicyAction>,
    /// Only role that the policy applies to, compared with `role` in the auth context; null for all roles.
    role: Option<String>,
    /// Condition for allowed rows: true, false, or `{"and": […]}`, `{"or": […]}`, `{"not": …}`, `{"eq": [a, b]}` (and
    /// `ne`, `lt`, `lte`, `gt`, `gte`), `{"in": [a, [values]]}`, `{"is_null": a}`; values are literals,
    /// `{"column": name}` or `{"auth": name}`. At most 16 levels deep.
    condition_json: Value,
    /// Whether the policy is enabled; a disabled policy allows no row.
    #[oai(default = "in_force")]
    enabled: bool,
}

fn in_force() -> bool {
    true
}

/// A policy, the context of the caller, and the rows to evaluate.
#[derive(Debug, Object)]
struct Simulation {
    /// Policy to simulate.
    policy: PolicyToTry,
    /// Context of the caller, which `{"auth": …}` refers to, for example `{"user_id": "u1", "role": "member"}`.
    auth_context: JsonObject,
    /// Rows, which `{"column": …}` refers to; at most 100.
    sample_data: Vec<JsonObject>,
}

/// The policy's decision on a row.
#[derive(Debug, Object)]
struct RowDecision {
    /// Index of the row in `sample_data`, from 0.
    row: i64,
    /// Whether the policy allows the row.
    allowed: bool,
    /// Reason for the decision, for display.
    reason: String,
}

/// The policy's decisions on all rows.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct SimulationResult {
    /// Name of the policy.
    policy: Option<String>,
    /// Operation that the policy governs.
    action: Option<PolicyAction>,
    /// Number of allowed rows.
    allowed: i64,
    /// Number of denied rows.
    denied: i64,
    /// Decisions, in the order of the rows.
    results: Vec<RowDecision>,
}

#[derive(Tags)]
enum Tag {
    /// Security and retention settings of a tenant.
    Governance,
}

/// Routes of the section.
pub struct GovernanceApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Governance")]
#[allow(clippy::unused_async)] // handlers are async, simulating a policy awaits nothing
impl GovernanceApi {
    /// Show the tenant's governance settings
    #[oai(path = "/governance", method = "get", operation_id = "get_governance")]
    async fn get(&self, can: Can<ViewGovernance>) -> Wrapped<Governance> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(can.wrap(governance::get(reader.conn(), can.workspace).await?)))
    }

    /// Change the tenant's governance settings
    ///
    /// Takes effect with the next request. An allowlist that excludes the caller's own address is refused (422).
    #[oai(path = "/governance", method = "patch", operation_id = "update_governance")]
    async fn update(
        &self,
        can: Can<ManageGovernance>,
        changes: Body<GovernanceChanges>,
    ) -> Wrapped<Governance> {
        let rules = can.change_shared(async |tx, by| governance::change(tx, by, changes.0).await).await?;
        Ok(Json(can.wrap(rules)))
    }

    /// Simulate a row-level policy
    ///
    /// Evaluates the policy on the rows in the request: no data of the tenant is read, nothing is written, and
    /// no SQL is run. A comparison with null, or of values of different types, is neither true nor false, and
    /// does not allow a row.
    #[oai(path = "/policies/simulate", method = "post", operation_id = "simulate_policy")]
    async fn simulate(
        &self,
        can: Can<ViewGovernance>,
        simulation: Body<Simulation>,
    ) -> Wrapped<SimulationResult> {
        let Simulation { policy, auth_context, sample_data } = simulation.0;
        let PolicyToTry { name, action, role, condition_json, enabled } = policy;
        let policy = Policy::read(enabled, role, &condition_json, "policy.condition_json")?;
        let rows = sample_data.into_iter().map(JsonObject::into_members).collect();
        let decisions = policy.simulate(rows, auth_context.into_members()).await?;
        let result = |(row, Decision { allowed, reason })| RowDecision { row, allowed, reason };
        let results: Vec<_> = (0..).zip(decisions).map(result).collect();
        let count = |allowed| results.iter().filter(|row| row.allowed == allowed).fold(0, |n, _| n + 1);
        let (allowed, denied) = (count(true), count(false));
        Ok(Json(can.wrap(SimulationResult { policy: name, action, allowed, denied, results })))
    }
}
