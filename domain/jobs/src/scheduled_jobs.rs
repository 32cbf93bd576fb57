//! Scheduled jobs: what people have done for them at times of their choice. Contract section "Scheduled
//! Jobs" (P-SJOB).
//!
//! Here: what may be scheduled ([`Action`]), and the rules of a schedule's parts. When it comes and what
//! becomes of its occurrences is [`jobs::schedules`]'.

use chrono::{DateTime, Utc};
use domain::{
    Actor, DomainError, EntityError, Event, FieldErrors, Patch, Refusal, WorkspaceDb, WorkspaceId,
    usage::{self, MIN_SCHEDULE_INTERVAL, PlanRow},
};
use domain_data::{
    exports::{self, ExportError, NewExport},
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

const LONGEST_NAME: usize = 200;
const LONGEST_DESCRIPTION: usize = 2000;
const MOST_JITTER: i32 = 3600;
/// A no-op may sleep so long, in milliseconds.
const LONGEST_SLEEP: u64 = 60_000;

/// What a scheduled job does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Exports a recordset, as `POST /recordsets/export` does.
    Export(ExportConfig),
    /// Sends a signed POST.
    Webhook(WebhookConfig),
    /// Nothing: for trying a schedule out.
    NoOp(NoOpConfig),
}

/// The names of all actions.
pub const ACTIONS: [&str; 3] = ["export", "webhook", "no_op"];

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// The recordset's id or slug.
    pub recordset_id: String,
    /// The keys of the fields to write; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to.
    pub url: String,
    /// What to tell, as `data.payload` of the body.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
}

/// How long to do nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOpConfig {
    /// Milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
}

/// Why a scheduled job is refused, or not found.
#[derive(Debug, thiserror::Error)]
pub enum ScheduledJobError {
    /// There is no such scheduled job in this workspace.
    #[error("there is no such scheduled job")]
    NotFound,
    /// Values that break a rule.
    #[error("the scheduled job is not valid")]
    Invalid(FieldErrors),
    /// Members of `action_config` that the action does not have.
    #[error("the action does not have all of these members")]
    Unknown(FieldErrors),
    /// The workspace has as many as its plan allows.
    #[error("the plan allows {0} scheduled jobs: delete one, or choose a larger plan")]
    TooMany(i64),
    /// Its occurrences follow each other sooner than the workspace's plan allows.
    #[error(
        "the plan allows a scheduled job every {0} seconds at the most: choose a rarer time, or a larger plan"
    )]
    TooOften(i32),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl DomainError for ScheduledJobError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::Unknown(errors) => Refusal::Unknown(errors.clone()),
            Self::TooMany(_) | Self::TooOften(_) => Refusal::LimitExceeded,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// One field, one reason.
fn invalid(field: &str, reason: impl Into<String>) -> ScheduledJobError {
    ScheduledJobError::Invalid(FieldErrors::from([(field.to_owned(), vec![reason.into()])]))
}

impl Action {
    /// Reads an action, and looks whether it could be done now.
    ///
    /// # Errors
    /// [`ScheduledJobError::Invalid`] for `action_type` or `action_config`.
    pub async fn read(
        db: &mut WorkspaceDb,
        action_type: &str,
        config: Map<String, Value>,
    ) -> Result<Self, ScheduledJobError> {
        match action_type {
            "export" => {
                let config: ExportConfig = typed(config, &["recordset_id", "fields"])?;
                let new = NewExport {
                    recordset: config.recordset_id.clone(),
                    fields: config.fields.clone(),
                    is_safe: true,
                };
                match exports::check(db, &new).await {
                    Ok(_) => Ok(Self::Export(config)),
                    Err(
                        ExportError::Database(error) | ExportError::Recordset(EntityError::Database(error)),
                    ) => Err(error.into()),
                    Err(ExportError::Fields(errors)) => Err(ScheduledJobError::Invalid(
                        errors
                            .into_iter()
                            .map(|(name, why)| (format!("action_config.{name}"), why))
                            .collect(),
                    )),
                    Err(_) => Err(invalid("action_config.recordset_id", "there is no such recordset")),
                }
            }
            "webhook" => {
                let config: WebhookConfig = typed(config, &["url", "payload"])?;
                // What the operator allows beside is known where it is sent; names are resolved there too.
                let checked = Url::parse(&config.url).map(|url| Guard::default().check(&url));
                match checked {
                    Ok(Ok(()) | Err(AddressError::NotPublic)) => Ok(Self::Webhook(config)),
                    _ => Err(invalid("action_config.url", AddressError::Url.to_string())),
                }
            }
            "no_op" => {
                let config: NoOpConfig = typed(config, &["sleep_ms"])?;
                if config.sleep_ms > LONGEST_SLEEP {
                    return Err(invalid(
                        "action_config.sleep_ms",
                        format!("must be at most {LONGEST_SLEEP}"),
                    ));
                }
                Ok(Self::NoOp(config))
            }
            _ => Err(invalid("action_type", format!("must be one of {}", ACTIONS.join(", ")))),
        }
    }

    /// The kind of the job that does it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Export(_) => ScheduledExport::NAME,
            Self::Webhook(_) => CallWebhook::NAME,
            Self::NoOp(_) => NoOp::NAME,
        }
    }

    /// The job that does it.
    fn template(&self) -> Result<Template, ScheduledJobError> {
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
        template.map_err(|error| ScheduledJobError::Database(sqlx::Error::Encode(error.into())))
    }

    /// The action that a schedule's job does, as type and configuration; none for a job that no action is.
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

/// A configuration with no other members than those that it may have. Others are named by path, as those
/// of bodies are.
fn typed<T: DeserializeOwned>(config: Map<String, Value>, members: &[&str]) -> Result<T, ScheduledJobError> {
    let unknown: FieldErrors = config
        .keys()
        .filter(|name| !members.contains(&name.as_str()))
        .map(|name| {
            let there_are = format!("is not a member here; there are {}", members.join(", "));
            (format!("action_config.{name}"), vec![there_are])
        })
        .collect();
    if !unknown.is_empty() {
        return Err(ScheduledJobError::Unknown(unknown));
    }
    serde_json::from_value(Value::Object(config)).map_err(|error| invalid("action_config", error.to_string()))
}

/// A scheduled job about to be made.
#[derive(Debug, Clone)]
pub struct NewScheduledJob {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// When, again and again; this or `run_at`.
    pub cron_expression: Option<String>,
    /// When, once.
    pub run_at: Option<DateTime<Utc>>,
    /// On whose clock the cron expression is read; UTC if absent.
    pub timezone: Option<String>,
    /// What it does.
    pub action: Action,
    /// Whether it comes at all.
    pub enabled: bool,
    /// While the one before is live.
    pub overlap: Overlap,
    /// After a downtime.
    pub catch_up: CatchUp,
    /// Up to so many seconds later.
    pub jitter_seconds: i32,
}

/// What of a scheduled job is to change; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// What it is called.
    pub name: Option<String>,
    /// What it is for.
    pub description: Patch<String>,
    /// When, again and again.
    pub cron_expression: Option<String>,
    /// When, once.
    pub run_at: Option<DateTime<Utc>>,
    /// On whose clock the cron expression is read.
    pub timezone: Option<String>,
    /// What it does.
    pub action: Option<Action>,
    /// Whether it comes at all.
    pub enabled: Option<bool>,
    /// While the one before is live.
    pub overlap: Option<Overlap>,
    /// After a downtime.
    pub catch_up: Option<CatchUp>,
    /// Up to so many seconds later.
    pub jitter_seconds: Option<i32>,
}

/// Makes a scheduled job of the workspace.
///
/// # Errors
/// [`ScheduledJobError::Invalid`] naming each field; [`ScheduledJobError::TooMany`] and
/// [`ScheduledJobError::TooOften`] beyond the plan.
pub async fn create(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    new: NewScheduledJob,
) -> Result<ScheduleId, ScheduledJobError> {
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

/// Who asks for a schedule's jobs: who made or enabled it, and no request from anywhere.
fn origin_of(actor: &Actor) -> Origin {
    Origin { request_id: None, ip: None, user_agent: None, traceparent: None, ..actor.origin() }
}

/// Whether the plan allows another one. The workspace's row is held, so that of several at once not all pass.
async fn has_room(tx: &mut Tx, workspace: WorkspaceId) -> Result<PlanRow, ScheduledJobError> {
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
        Some(most) if there >= most => Err(ScheduledJobError::TooMany(most)),
        _ => Ok(allowed),
    }
}

/// Whether the plan allows occurrences that follow each other as these do.
fn is_rare_enough(timing: &Timing, allowed: &PlanRow) -> Result<(), ScheduledJobError> {
    let least = allowed.schedule_interval_secs.unwrap_or(MIN_SCHEDULE_INTERVAL);
    match timing.shortest_interval() {
        Some(interval) if interval.num_seconds() < least.into() => Err(ScheduledJobError::TooOften(least)),
        _ => Ok(()),
    }
}

/// Changes a scheduled job of the workspace.
///
/// # Errors
/// [`ScheduledJobError::NotFound`]; [`ScheduledJobError::Invalid`] naming each field; [`ScheduledJobError::TooOften`]
/// when it comes anew or otherwise than before, sooner than the plan allows.
pub async fn update(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    id: ScheduleId,
    changes: Changes,
) -> Result<(), ScheduledJobError> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or(ScheduledJobError::NotFound)?;
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

/// Removes a scheduled job of the workspace; its jobs stay.
///
/// # Errors
/// [`ScheduledJobError::NotFound`].
pub async fn delete(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    id: ScheduleId,
) -> Result<(), ScheduledJobError> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or(ScheduledJobError::NotFound)?;
    schedules::delete(tx, workspace.0, id).await?;
    record(tx, workspace, actor, "deleted", id, &schedule.plan).await
}

/// Runs a scheduled job of the workspace now, beside its timing.
///
/// # Errors
/// [`ScheduledJobError::NotFound`].
pub async fn execute(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    id: ScheduleId,
) -> Result<Run, ScheduledJobError> {
    let schedule = schedules::hold(tx, workspace.0, id).await?.ok_or(ScheduledJobError::NotFound)?;
    let run = schedules::execute(tx, workspace.0, &schedule, actor.origin()).await?;
    let data = serde_json::json!({ "name": schedule.plan.name, "job_id": run.job });
    Event::new("scheduled_job", "executed", id.0, data).record(tx, workspace, actor).await?;
    Ok(run)
}

/// A scheduled job of the workspace.
///
/// # Errors
/// [`ScheduledJobError::NotFound`].
pub async fn get(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    id: ScheduleId,
) -> Result<Schedule, ScheduledJobError> {
    schedules::find(conn, workspace.0, id).await?.ok_or(ScheduledJobError::NotFound)
}

/// The event that tells others.
async fn record(
    tx: &mut Tx,
    workspace: WorkspaceId,
    actor: &Actor,
    verb: &str,
    id: ScheduleId,
    plan: &Plan,
) -> Result<(), ScheduledJobError> {
    let data = serde_json::json!({ "name": plan.name, "enabled": plan.enabled });
    Ok(Event::new("scheduled_job", verb, id.0, data).record(tx, workspace, actor).await?)
}

/// A new schedule's timing.
fn timing(
    cron: Option<&str>,
    run_at: Option<DateTime<Utc>>,
    zone: Option<&str>,
) -> Result<Timing, ScheduledJobError> {
    match (cron, run_at) {
        (Some(cron), None) => Timing::cron(cron, zone.unwrap_or("UTC")).map_err(|error| refused(&error)),
        (None, Some(at)) if zone.is_none() => once(at),
        (None, Some(_)) => Err(invalid("timezone", "goes with cron_expression; run_at says its own offset")),
        (None, None) => Err(invalid("cron_expression", "give this or run_at")),
        (Some(_), Some(_)) => Err(invalid("run_at", "give this or cron_expression, not both")),
    }
}

/// The timing after a change: a new time of either sort takes the place of what was there.
fn changed_timing(before: &Timing, changes: &Changes) -> Result<Timing, ScheduledJobError> {
    let zone = changes.timezone.as_deref();
    match (changes.cron_expression.as_deref(), changes.run_at, before) {
        (Some(cron), None, Timing::Cron(old)) => {
            Timing::cron(cron, zone.unwrap_or(old.zone())).map_err(|error| refused(&error))
        }
        (None, None, Timing::Cron(old)) if zone.is_some() => {
            Timing::cron(old.text(), zone.unwrap_or_default()).map_err(|error| refused(&error))
        }
        (None, None, before) if zone.is_none() => Ok(before.clone()),
        // Asked for what is there already, though it may have passed.
        (None, Some(at), Timing::Once(old)) if at == *old && zone.is_none() => Ok(before.clone()),
        (None, None, _) => Err(invalid("timezone", "goes with cron_expression; run_at says its own offset")),
        (cron, run_at, _) => timing(cron, run_at, zone),
    }
}

fn refused(error: &TimingError) -> ScheduledJobError {
    let field = match error {
        TimingError::Cron(_) => "cron_expression",
        TimingError::Zone => "timezone",
    };
    invalid(field, error.to_string())
}

fn once(at: DateTime<Utc>) -> Result<Timing, ScheduledJobError> {
    // As fine as it is kept.
    let kept = DateTime::from_timestamp_micros(at.timestamp_micros()).filter(|at| *at > clock::now());
    kept.map(Timing::Once).ok_or_else(|| invalid("run_at", "must be in the future"))
}

/// The rules of what is neither timing nor action.
fn checked(plan: Plan) -> Result<Plan, ScheduledJobError> {
    let mut errors = FieldErrors::new();
    let mut refuse = |field: &str, reason: String| {
        errors.entry(field.to_owned()).or_default().push(reason);
    };
    if plan.name.is_empty() || plan.name.chars().count() > LONGEST_NAME {
        refuse("name", format!("must have 1 to {LONGEST_NAME} characters"));
    }
    if plan.description.as_ref().is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
        refuse("description", format!("must have at most {LONGEST_DESCRIPTION} characters"));
    }
    if !(0..=MOST_JITTER).contains(&plan.jitter_seconds) {
        refuse("jitter_seconds", format!("must be 0 to {MOST_JITTER}"));
    }
    if errors.is_empty() { Ok(plan) } else { Err(ScheduledJobError::Invalid(errors)) }
}
