//! How a tenant wants to be kept, and trying out row-level policies. Contract section "Governance" (P-GOV).

use api_kit::{Body, Can, Wrapped, permissions};
use domain::{
    JsonObject,
    governance::{self, Governance, GovernanceChanges},
};
use domain_accounts::policies::{Decision, Policy};
use poem_openapi::{Enum, Object, OpenApi, Tags, payload::Json};
use serde_json::Value;

permissions! { ViewGovernance = "governance:view", ManageGovernance = "governance:manage" }

/// What a policy is about.
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

/// A row-level policy to try out.
#[derive(Debug, Object)]
struct PolicyToTry {
    /// What it is called.
    name: Option<String>,
    /// What it is about; told back, and otherwise the same for all.
    action: Option<PolicyAction>,
    /// The only role that it is for, as `role` in the auth context says.
    role: Option<String>,
    /// Which rows it allows: true, false, or `{"and": […]}`, `{"or": […]}`, `{"not": …}`, `{"eq": [a, b]}` (and
    /// `ne`, `lt`, `lte`, `gt`, `gte`), `{"in": [a, [values]]}`, `{"is_null": a}`; values are literals,
    /// `{"column": name}` or `{"auth": name}`. At most 16 deep.
    condition_json: Value,
    /// Whether it is in force; one that isn't allows nothing.
    #[oai(default = "in_force")]
    enabled: bool,
}

fn in_force() -> bool {
    true
}

/// A policy, who asks, and for which rows.
#[derive(Debug, Object)]
struct Simulation {
    /// The policy.
    policy: PolicyToTry,
    /// Who asks: what `{"auth": …}` looks in, for example `{"user_id": "u1", "role": "member"}`.
    auth_context: JsonObject,
    /// The rows: what `{"column": …}` looks in; at most 100.
    sample_data: Vec<JsonObject>,
}

/// What the policy says about a row.
#[derive(Debug, Object)]
struct RowDecision {
    /// The row's place in `sample_data`, from 0.
    row: i64,
    /// Whether the caller gets it.
    allowed: bool,
    /// Why, for people.
    reason: String,
}

/// What the policy says about all rows.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct SimulationResult {
    /// The policy's name.
    policy: Option<String>,
    /// What it is about.
    action: Option<PolicyAction>,
    /// Rows that it allows.
    allowed: i64,
    /// Rows that it denies.
    denied: i64,
    /// Row by row.
    results: Vec<RowDecision>,
}

#[derive(Tags)]
enum Tag {
    /// How a workspace wants to be kept.
    Governance,
}

/// See the module.
pub struct GovernanceApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Governance")]
#[allow(clippy::unused_async)] // handlers are async, trying out a policy waits for nothing
impl GovernanceApi {
    /// Look at the tenant's security rules
    #[oai(path = "/governance", method = "get", operation_id = "get_governance")]
    async fn get(&self, can: Can<ViewGovernance>) -> Wrapped<Governance> {
        let mut reader = can.app().database.reader().await?;
        Ok(Json(can.wrap(governance::get(reader.conn(), can.workspace).await?)))
    }

    /// Change the tenant's security rules
    ///
    /// From the next request on. An allowlist that would shut out the caller is refused (422).
    #[oai(path = "/governance", method = "patch", operation_id = "update_governance")]
    async fn update(
        &self,
        can: Can<ManageGovernance>,
        changes: Body<GovernanceChanges>,
    ) -> Wrapped<Governance> {
        let rules = can.change_shared(async |tx, by| governance::change(tx, by, changes.0).await).await?;
        Ok(Json(can.wrap(rules)))
    }

    /// Try out a row-level policy
    ///
    /// On the rows that are sent, as the caller described: nothing is read from the tenant's data, nothing is
    /// written, and no SQL is run. What is compared with null, or is not of one type, is neither true nor false, and
    /// doesn't allow a row.
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
