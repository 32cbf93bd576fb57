//! Scheduled jobs: work at times that users set. Contract section "Scheduled
//! Jobs" (P-SJOB).
//!
//! Here: the actions that may be scheduled ([`Action`]), and the rules of a schedule's parts. Its timing and the
//! outcome of its occurrences are in [`jobs::schedules`].

use chrono::{DateTime, Utc};
use domain::{
    Actor, Error, ErrorKind, Event, FieldErrors, Patch, WorkspaceDb, WorkspaceId, text,
    usage::{self, MIN_SCHEDULE_INTERVAL, PlanRow},
};
use domain_data::{
    exports::{self, NewExport},
    job_kinds::ScheduledExport,
};
use jobs::{
    JobKind, Origin, ScheduleId, Tx, clock,
    kinds::NoOp,
    schedules::{self, CatchUp, Overlap, Plan, Run, Schedule, Template, Timing, TimingError},
};
use runtime::webhooks::{AddressError, Guard};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use url::Url;

use crate::job_kinds::CallWebhook;

const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 2000;
const MAX_JITTER: i32 = 3600;
/// Maximum sleep of a no-op, in milliseconds.
const MAX_SLEEP: u64 = 60_000;

/// Action of a scheduled job.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Export of a recordset, as `POST /recordsets/export` does.
    Export(ExportConfig),
    /// A signed POST request.
    Webhook(WebhookConfig),
    /// No action: for trying a schedule out.
    NoOp(NoOpConfig),
}

/// The names of all actions.
pub const ACTIONS: [&str; 3] = ["export", "webhook", "no_op"];

/// Configuration of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// Id or slug of the recordset.
    pub recordset_id: String,
    /// Keys of the fields to export; all fields if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
}

/// Configuration of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// URL of the receiver.
    pub url: String,
    /// Payload, sent as `data.payload` of the body.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// Configuration of a no-op.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOpConfig {
    /// Duration in milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
}

impl Action {
    /// Parses an action, and checks whether it could be executed now.
    ///
    /// # Errors
    /// `record_invalid` for `action_type` or `action_config`.
    pub async fn read(
        db: &mut WorkspaceDb,
        action_type: &str,
        config: Map<String, Value>,
    ) -> Result<Self, Error> {
        match action_type {
            "export" => {
                let config: ExportConfig = typed(config, &["recordset_id", "fields"])?;
                let new = NewExport {
                    recordset: config.recordset_id.clone(),
                    fields: config.fields.clone(),
                    is_safe: true,
                };
                exports::check(db, &new).await.map_err(|error| match error.kind() {
                    ErrorKind::NotFound => {
                        Error::invalid("action_config.recordset_id", "is not a recordset here")
                    }
                    _ => error.rename_fields(|name| format!("action_config.{name}")),
                })?;
                Ok(Self::Export(config))
            }
            "webhook" => {
                let config: WebhookConfig = typed(config, &["url", "payload"])?;
                // What the operator allows in addition is known to the sender; names are resolved there too.
                let checked = Url::parse(&config.url).map(|url| Guard::default().check(&url));
                match checked {
                    Ok(Ok(()) | Err(AddressError::NotPublic)) => Ok(Self::Webhook(config)),
                    _ => Err(Error::invalid("action_config.url", AddressError::Url.to_string())),
                }
            }
            "no_op" => {
                let config: NoOpConfig = typed(config, &["sleep_ms"])?;
                if config.sleep_ms > MAX_SLEEP {
                    return Err(Error::invalid(
                        "action_config.sleep_ms",
                        format!("must be at most {MAX_SLEEP}"),
                    ));
                }
                Ok(Self::NoOp(config))
            }
            _ => Err(Error::invalid("action_type", format!("must be one of {}", ACTIONS.join(", ")))),
        }
    }

    /// The job kind of the action.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Export(_) => ScheduledExport::NAME,
            Self::Webhook(_) => CallWebhook::NAME,
            Self::NoOp(_) => NoOp::NAME,
        }
    }

    /// The job of the action.
    fn template(&self) -> Result<Template, Error> {
        let template = match self {
            Self::Export(config) => {
                let ExportConfig { recordset_id, fields } = config.clone();
                Template::of(&ScheduledExport { recordset: recordset_id, fields })
            }
            Self::Webhook(config) => {
                let WebhookConfig { url, payload } = config.clone();
                Template::of(&CallWebhook { url, payload })
            }
            Self::NoOp(config) => Template::of(&NoOp { sleep_ms: config.sleep_ms, ..NoOp::default() }),
        };
        template.map_err(Error::internal)
    }

    /// The action of a schedule's job, as type and configuration; none for a job of another kind.
    #[must_use]
    pub fn of(template: &Template) -> Option<(&'static str, Map<String, Value>)> {
        let (kind, payload) = template.parts();
        let (action_type, config) = match kind {
            ScheduledExport::NAME => {
                let job: ScheduledExport = serde_json::from_value(payload.clone()).ok()?;
                let config = ExportConfig { recordset_id: job.recordset, fields: job.fields };
                ("export", serde_json::to_value(config))
            }
            CallWebhook::NAME => {
                let job: CallWebhook = serde_json::from_value(payload.clone()).ok()?;
                let config = WebhookConfig { url: job.url, payload: job.payload };
                ("webhook", serde_json::to_value(config))
            }
            NoOp::NAME => {
                let job: NoOp = serde_json::from_value(payload.clone()).ok()?;
                ("no_op", serde_json::to_value(NoOpConfig { sleep_ms: job.sleep_ms }))
            }
            _ => return None,
        };
        match config {
            Ok(Value::Object(config)) => Some((action_type, config)),
            _ => None,
        }
    }
}

/// A configuration without unknown members. Unknown members are reported by path, as those
/// of bodies are.
fn typed<T: DeserializeOwned>(config: Map<String, Value>, members: &[&str]) -> Result<T, Error> {
    let unknown: FieldErrors = config
        .keys()
        .filter(|name| !members.contains(&name.as_str()))
        .map(|name| {
            let there_are = format!("is unknown; allowed are {}", members.join(", "));
            (format!("action_config.{name}"), vec![there_are])
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Error::unknown(unknown));
    }
    serde_json::from_value(Value::Object(config))
        .map_err(|error| Error::invalid("action_config", error.to_string()))
}

/// A scheduled job to create.
#[derive(Debug, Clone)]
pub struct NewScheduledJob {
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Cron expression of a recurring job; this or `run_at`.
    pub cron_expression: Option<String>,
    /// Time of a one-time job.
    pub run_at: Option<DateTime<Utc>>,
    /// Time zone of the cron expression; UTC if absent.
    pub timezone: Option<String>,
    /// Action.
    pub action: Action,
    /// Whether the schedule is enabled.
    pub enabled: bool,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    pub overlap: Overlap,
    /// Handling of occurrences that were missed during a downtime.
    pub catch_up: CatchUp,
    /// Maximum random delay in seconds.
    pub jitter_seconds: i32,
}

/// Changes to a scheduled job; absent fields stay unchanged.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Patch<String>,
    /// Cron expression of a recurring job.
    pub cron_expression: Option<String>,
    /// Time of a one-time job.
    pub run_at: Option<DateTime<Utc>>,
    /// Time zone of the cron expression.
    pub timezone: Option<String>,
    /// Action.
    pub action: Option<Action>,
    /// Whether the schedule is enabled.
    pub enabled: Option<bool>,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    pub overlap: Option<Overlap>,
    /// Handling of occurrences that were missed during a downtime.
    pub catch_up: Option<CatchUp>,
    /// Maximum random delay in seconds.
    pub jitter_seconds: Option<i32>,
}

/// Creates a scheduled job of the workspace.
///
/// # Errors
/// `record_invalid` naming each field; `limit_exceeded` beyond the plan.
pub async fn create(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    new: NewScheduledJob,
) -> Result<ScheduleId, Error> {
    let timing = timing(new.cron_expression.as_deref(), new.run_at, new.timezone.as_deref())?;
    let plan = checked(Plan {
        name: new.name.trim().to_owned(),
        description: new.description,
        timing,
        template: new.action.template()?,
        overlap: new.overlap,
        catch_up: new.catch_up,
        jitter_seconds: new.jitter_seconds,
        enabled: new.enabled,
    })?;
    let allowed = has_room(tx, workspace).await?;
    is_rare_enough(&plan.timing, &allowed)?;
    let id = schedules::create(tx, workspace.0, &plan, &origin_of(actor)).await?;
    record(tx, workspace, actor, "created", id, &plan).await?;
    Ok(id)
}

/// The origin of a schedule's jobs: the actor who created or enabled it, and no client address.
fn origin_of(actor: &Actor) -> Origin {
    Origin { request_id: None, ip: None, user_agent: None, traceparent: None, ..actor.origin() }
}

/// Whether the plan allows another one. The workspace's row is locked, so that concurrent requests can't exceed
/// the limit.
async fn has_room(tx: &mut Tx, workspace: WorkspaceId) -> Result<PlanRow, Error> {
    sqlx::query!("select id from workspaces where id = $1 for no key update", workspace.0)
        .fetch_one(tx.conn())
        .await?;
    let allowed = usage::plan(tx.conn(), workspace).await?;
    let there = sqlx::query_scalar!(
        r#"select count(*) as "there!" from schedules where workspace_id = $1"#,
        workspace.0,
    )
    .fetch_one(tx.conn())
    .await?;
    match allowed.schedules.map(i64::from) {
        Some(most) if there >= most => Err(Error::limit_exceeded(format!(
            "the plan allows {most} scheduled jobs: delete one, or choose a larger plan"
        ))),
        _ => Ok(allowed),
    }
}

/// Whether the plan allows occurrences at these intervals.
fn is_rare_enough(timing: &Timing, allowed: &PlanRow) -> Result<(), Error> {
    let least = allowed.schedule_interval_secs.unwrap_or(MIN_SCHEDULE_INTERVAL);
    match timing.shortest_interval() {
        Some(interval) if interval.num_seconds() < least.into() => Err(Error::limit_exceeded(format!(
            "the plan allows a scheduled job every {least} seconds at the most: choose a rarer time, or a larger plan"
        ))),
        _ => Ok(()),
    }
}

/// Changes a scheduled job of the workspace.
///
/// # Errors
/// `record_not_found`; `record_invalid` naming each field; `limit_exceeded`
/// for a new timing with shorter intervals than the plan allows.
pub async fn update(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    id: ScheduleId,
    changes: Changes,
) -> Result<(), Error> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or_else(Error::not_found)?;
    let before = schedule.plan.clone();
    let plan = checked(Plan {
        timing: changed_timing(&before.timing, &changes)?,
        name: changes.name.map_or(before.name, |name| name.trim().to_owned()),
        description: changes.description.over(before.description),
        template: changes.action.map_or(Ok(before.template), |action| action.template())?,
        overlap: changes.overlap.unwrap_or(before.overlap),
        catch_up: changes.catch_up.unwrap_or(before.catch_up),
        jitter_seconds: changes.jitter_seconds.unwrap_or(before.jitter_seconds),
        enabled: changes.enabled.unwrap_or(before.enabled),
    })?;
    if plan.enabled && (!schedule.plan.enabled || plan.timing != schedule.plan.timing) {
        is_rare_enough(&plan.timing, &usage::plan(tx.conn(), workspace).await?)?;
    }
    schedules::update(tx, &schedule, &plan, &origin_of(actor)).await?;
    record(tx, workspace, actor, "updated", id, &plan).await
}

/// Deletes a scheduled job of the workspace; its jobs stay.
///
/// # Errors
/// `record_not_found`.
pub async fn delete(tx: &mut Tx, workspace: WorkspaceId, actor: &Actor, id: ScheduleId) -> Result<(), Error> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or_else(Error::not_found)?;
    schedules::delete(tx, workspace.0, id).await?;
    record(tx, workspace, actor, "deleted", id, &schedule.plan).await
}

/// Runs a scheduled job of the workspace now, in addition to its timing.
///
/// # Errors
/// `record_not_found`.
pub async fn execute(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    id: ScheduleId,
) -> Result<Run, Error> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or_else(Error::not_found)?;
    let run = schedules::execute(tx, workspace.0, &schedule, actor.origin()).await?;
    let data = serde_json::json!({ "name": schedule.plan.name, "job_id": run.job });
    Event::new("scheduled_job", "executed", id.0, data).record(tx, workspace, actor).await?;
    Ok(run)
}

/// A scheduled job of the workspace.
///
/// # Errors
/// `record_not_found`.
pub async fn get(conn: &mut PgConnection, workspace: WorkspaceId, id: ScheduleId) -> Result<Schedule, Error> {
    schedules::find(conn, workspace.0, id).await?.ok_or_else(Error::not_found)
}

/// Records the event.
async fn record(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    verb: &str,
    id: ScheduleId,
    plan: &Plan,
) -> Result<(), Error> {
    let data = serde_json::json!({ "name": plan.name, "enabled": plan.enabled });
    Ok(Event::new("scheduled_job", verb, id.0, data).record(tx, workspace, actor).await?)
}

/// A new schedule's timing.
fn timing(cron: Option<&str>, run_at: Option<DateTime<Utc>>, zone: Option<&str>) -> Result<Timing, Error> {
    match (cron, run_at) {
        (Some(cron), None) => Timing::cron(cron, zone.unwrap_or("UTC")).map_err(|error| refused(&error)),
        (None, Some(at)) if zone.is_none() => once(at),
        (None, Some(_)) => {
            Err(Error::invalid("timezone", "only with cron_expression; run_at has its own offset"))
        }
        (None, None) => Err(Error::invalid("cron_expression", "give cron_expression or run_at")),
        (Some(_), Some(_)) => {
            Err(Error::invalid("run_at", "give either run_at or cron_expression, not both"))
        }
    }
}

/// The timing after a change: a new time of either type replaces the present one.
fn changed_timing(before: &Timing, changes: &Changes) -> Result<Timing, Error> {
    let zone = changes.timezone.as_deref();
    match (changes.cron_expression.as_deref(), changes.run_at, before) {
        (Some(cron), None, Timing::Cron(old)) => {
            Timing::cron(cron, zone.unwrap_or(old.zone())).map_err(|error| refused(&error))
        }
        (None, None, Timing::Cron(old)) if zone.is_some() => {
            Timing::cron(old.text(), zone.unwrap_or_default()).map_err(|error| refused(&error))
        }
        (None, None, before) if zone.is_none() => Ok(before.clone()),
        // A request for the present time is accepted, though it may have passed.
        (None, Some(at), Timing::Once(old)) if at == *old && zone.is_none() => Ok(before.clone()),
        (None, None, _) => {
            Err(Error::invalid("timezone", "only with cron_expression; run_at has its own offset"))
        }
        (cron, run_at, _) => timing(cron, run_at, zone),
    }
}

fn refused(error: &TimingError) -> Error {
    let field = match error {
        TimingError::Cron(_) => "cron_expression",
        TimingError::Zone => "timezone",
    };
    Error::invalid(field, error.to_string())
}

fn once(at: DateTime<Utc>) -> Result<Timing, Error> {
    // In the precision of the database.
    let kept = DateTime::from_timestamp_micros(at.timestamp_micros()).filter(|at| *at > clock::now());
    kept.map(Timing::Once).ok_or_else(|| Error::invalid("run_at", "must be in the future"))
}

/// The rules of what is neither timing nor action.
fn checked(mut plan: Plan) -> Result<Plan, Error> {
    plan.description = plan.description.map(|text| text.trim().to_owned());
    let mut errors = FieldErrors::new();
    let mut refuse = |field: &str, reason: String| {
        errors.entry(field.to_owned()).or_default().push(reason);
    };
    if let Err(invalid) = text::check(&plan.name, 1, MAX_NAME, true) {
        refuse("name", invalid.to_string());
    }
    let description = plan.description.as_deref().unwrap_or_default();
    if let Err(invalid) = text::check(description, 0, MAX_DESCRIPTION, false) {
        refuse("description", invalid.to_string());
    }
    if !(0..=MAX_JITTER).contains(&plan.jitter_seconds) {
        refuse("jitter_seconds", format!("must be 0 to {MAX_JITTER}"));
    }
    if errors.is_empty() { Ok(plan) } else { Err(Error::invalid_fields(errors)) }
}
