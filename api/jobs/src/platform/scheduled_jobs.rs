//! Scheduled Jobs (P-SJOB): work at times that the workspace sets, and the outcome of each. The time
//! zone, the policies for overlap and catching up, the jitter and the list of runs are additions to the contract.

use api_kit::{
    Access, Answer, Body, Can, Created, CreatedWrapped, Deleted, Fails, Limit, Offset, TypeId, Wrapped,
    id_of_kind, part_request, permissions, with_type_ids,
};
use chrono::{DateTime, Utc};
use domain::{Acting, ApiKeyId, JsonObject, Patch, UserId};
use domain_jobs::scheduled_jobs::{self, Action, Changes, NewScheduledJob};
use jobs::{
    Act, CredentialType, JobId, ScheduleId, Tx,
    schedules::{self, CatchUp, Overlap, RunOutcome, Schedule, Timing},
    watch::Status,
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use serde_json::{Value, json};

use super::jobs::StartedJob;

type Members = serde_json::Map<String, Value>;

/// The only id in action configurations.
const RECORDSET_ID: &str = "recordset_id";

permissions! { ViewSchedules = "schedules:view", ManageSchedules = "schedules:manage" }

/// A scheduled job to create. Either `cron_expression` or `run_at` is required.
#[derive(Debug, Object)]
struct ScheduledJobRequest {
    /// Name.
    name: String,
    /// Description; null if none.
    description: Option<String>,
    /// Cron expression of a recurring job: minute, hour, day of month, month and day of week, or `@daily` and
    /// similar. With a fixed hour, a time that a clock change skips is moved to the next existing time, and a
    /// time that a clock change repeats counts once. Null if `run_at` is given.
    cron_expression: Option<String>,
    /// Time of a one-time job; null if `cron_expression` is given.
    run_at: Option<DateTime<Utc>>,
    /// Time zone of `cron_expression`, as an IANA name; `UTC` if absent.
    timezone: Option<String>,
    /// Action: `export`, `webhook` or `no_op`.
    action_type: String,
    /// Configuration of the action. `export`: `recordset_id`, optionally `fields`. `webhook`: `url`, optionally
    /// `payload`. `no_op`: optionally `sleep_ms`, in milliseconds.
    #[oai(default)]
    action_config: JsonObject,
    /// Whether the schedule is enabled.
    #[oai(default = "yes")]
    enabled: bool,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    #[oai(default)]
    overlap: Overlap,
    /// Handling of occurrences that were missed during a downtime.
    #[oai(default)]
    catch_up: CatchUp,
    /// Maximum random delay in seconds, the same for each repetition of the same occurrence; at most 3600.
    #[oai(default)]
    jitter_seconds: i32,
}

fn yes() -> bool {
    true
}

/// Changes to a scheduled job; absent fields stay unchanged.
#[derive(Debug, Object)]
struct ScheduledJobChanges {
    /// Name.
    name: Option<String>,
    /// Description; null clears it.
    description: Patch<String>,
    /// Cron expression of a recurring job; replaces `run_at`.
    cron_expression: Option<String>,
    /// Time of a one-time job; replaces `cron_expression`.
    run_at: Option<DateTime<Utc>>,
    /// Time zone of `cron_expression`, as an IANA name.
    timezone: Option<String>,
    /// Action: `export`, `webhook` or `no_op`.
    action_type: Option<String>,
    /// Configuration of the present action, or of the new one.
    action_config: Option<JsonObject>,
    /// Whether the schedule is enabled.
    enabled: Option<bool>,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    overlap: Option<Overlap>,
    /// Handling of occurrences that were missed during a downtime.
    catch_up: Option<CatchUp>,
    /// Maximum random delay in seconds.
    jitter_seconds: Option<i32>,
}

/// A scheduled job.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct ScheduledJob {
    /// Scheduled job id.
    id: TypeId<ScheduleId>,
    /// Name.
    name: String,
    /// Description; null if none.
    description: Option<String>,
    /// Cron expression; null for a one-time job.
    cron_expression: Option<String>,
    /// Time of a one-time job; null for a recurring job.
    run_at: Option<DateTime<Utc>>,
    /// Time zone of `cron_expression`, as an IANA name.
    timezone: String,
    /// Action: `export`, `webhook` or `no_op`.
    action_type: String,
    /// Configuration of the action.
    action_config: JsonObject,
    /// Secret with which the requests of a `webhook` are signed, according to the Standard Webhooks
    /// specification; null for other actions, and for callers who may not change the schedule.
    signing_secret: Option<String>,
    /// Whether the schedule is enabled.
    enabled: bool,
    /// Reason why the schedule was disabled without a request: the user or API key that it runs as may no
    /// longer start it. Enabling it again clears this and makes it run as the caller. Null otherwise.
    disabled_reason: Option<String>,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    overlap: Overlap,
    /// Handling of occurrences that were missed during a downtime.
    catch_up: CatchUp,
    /// Maximum random delay in seconds.
    jitter_seconds: i32,
    /// Time of the next occurrence, without its random delay; null if there is none.
    next_run_at: Option<DateTime<Utc>>,
    /// Time of the latest occurrence; null if there is none.
    last_run_at: Option<DateTime<Utc>>,
    /// Id of the latest job; null if there is none.
    last_job_id: Option<TypeId<JobId>>,
    /// Id of the user that it runs as, who created or last enabled it; null if it runs as an API key.
    created_by: Option<TypeId<UserId>>,
    /// Id of the API key that it runs as, which created or last enabled it; null if it runs as a user.
    created_by_key: Option<TypeId<ApiKeyId>>,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Time of the last change.
    updated_at: DateTime<Utc>,
}

impl ScheduledJob {
    fn shown(access: &Access, schedule: Schedule) -> Self {
        let Schedule {
            id,
            plan,
            origin,
            disabled_reason,
            next_at,
            last_at,
            last_job,
            created_at,
            updated_at,
        } = schedule;
        let (action_type, config) = Action::of(&plan.template).unwrap_or(("unknown", serde_json::Map::new()));
        let made_by_key =
            origin.credential_id.filter(|_| origin.credential_type == Some(CredentialType::ApiKey));
        let is_webhook = action_type == "webhook";
        let signed = is_webhook && access.may::<ManageSchedules>();
        // A webhook's URL and payload may hold secrets of its receiver.
        let config = if is_webhook && !signed { serde_json::Map::new() } else { config };
        let (cron_expression, run_at, timezone) = match &plan.timing {
            Timing::Cron(cron) => (Some(cron.text().to_owned()), None, cron.zone()),
            Timing::Once(at) => (None, Some(*at), "UTC"),
            Timing::Every(_) => (None, None, "UTC"),
        };
        Self {
            id: TypeId(id),
            name: plan.name,
            description: plan.description,
            cron_expression,
            run_at,
            timezone: timezone.to_owned(),
            action_type: action_type.to_owned(),
            action_config: with_type_id(config).into(),
            signing_secret: signed.then(|| access.app().keys.webhook_secret(id.0)),
            enabled: plan.enabled,
            disabled_reason,
            overlap: plan.overlap,
            catch_up: plan.catch_up,
            jitter_seconds: plan.jitter_seconds,
            next_run_at: next_at,
            last_run_at: last_at,
            last_job_id: last_job.map(TypeId),
            created_by: origin.user_id.map(UserId).map(TypeId),
            created_by_key: made_by_key.map(ApiKeyId).map(TypeId),
            created_at,
            updated_at,
        }
    }
}

/// The outcome of one occurrence.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct ScheduledJobRun {
    /// Due time, without the random delay.
    scheduled_for: DateTime<Utc>,
    /// Outcome.
    outcome: RunOutcome,
    /// Whether the run was started manually.
    manual: bool,
    /// Job id; null if the occurrence was skipped.
    job_id: Option<TypeId<JobId>>,
    /// Job status; null if there is no job, or it was removed from the history.
    status: Option<Status>,
    /// URL of the job's snapshot, for polling; null if there is none.
    status_url: Option<String>,
    /// URL of the job's events, for `EventSource`: includes a ticket that is valid for this job only. Null for
    /// callers who may not view jobs of its kind.
    stream_url: Option<String>,
    /// Time of the decision about the occurrence.
    created_at: DateTime<Utc>,
}

impl ScheduledJobRun {
    fn shown(access: &Access, run: &schedules::Run, watches: bool) -> Self {
        let links =
            run.job.filter(|_| run.status.is_some() && watches).map(|job| StartedJob::new(access, job));
        let (status_url, stream_url) = links.map(|links| (links.status_url, links.stream_url)).unzip();
        Self {
            scheduled_for: run.scheduled_for,
            outcome: run.outcome,
            manual: run.manual,
            job_id: run.job.map(TypeId),
            status: run.status,
            status_url,
            stream_url,
            created_at: run.created_at,
        }
    }
}

#[derive(Tags)]
enum Tag {
    /// Work at set times: once, or recurring.
    #[oai(rename = "Scheduled Jobs")]
    ScheduledJobs,
}

/// Routes of the section.
pub struct ScheduledJobsApi;

#[OpenApi(prefix_path = "/v1/scheduled-jobs", tag = "Tag::ScheduledJobs")]
impl ScheduledJobsApi {
    /// List the scheduled jobs, newest first
    #[oai(path = "/", method = "get", operation_id = "list_scheduled_jobs")]
    async fn list(
        &self,
        can: Can<ViewSchedules>,
        #[oai(default)] limit: Query<Limit>,
        #[oai(default)] offset: Query<Offset>,
    ) -> Wrapped<Vec<ScheduledJob>> {
        let part = part_request(limit.0, offset.0);
        let mut reader = can.app().database.reader().await?;
        let found = schedules::list(reader.conn(), can.workspace.0, part.limit, part.offset).await?;
        let shown = found.into_iter().map(|schedule| ScheduledJob::shown(&can, schedule)).collect();
        Ok(Json(can.wrap(shown)))
    }

    /// Create a scheduled job
    #[oai(path = "/", method = "post", operation_id = "create_scheduled_job", tag = "Fails::LimitExceeded")]
    async fn create(
        &self,
        can: Can<ManageSchedules>,
        job: Body<ScheduledJobRequest>,
    ) -> CreatedWrapped<ScheduledJob> {
        let job = job.0;
        let config = with_uuids(job.action_config);
        let action = Action::read(&mut can.read().await?, &job.action_type, config).await?;
        can.need_for(Act::Start, action.kind())?;
        let new = NewScheduledJob {
            action,
            name: job.name,
            description: job.description,
            cron_expression: job.cron_expression,
            run_at: job.run_at,
            timezone: job.timezone,
            enabled: job.enabled,
            overlap: job.overlap,
            catch_up: job.catch_up,
            jitter_seconds: job.jitter_seconds,
        };
        let create = async |tx: &mut Tx, _: &Acting<'_>| {
            let id = scheduled_jobs::create(tx, can.workspace, &can.actor(), new).await?;
            scheduled_jobs::get(tx.conn(), can.workspace, id).await
        };
        Ok(Created(can.wrap(ScheduledJob::shown(&can, can.change_shared(create).await?))))
    }

    /// Show a scheduled job
    #[oai(path = "/:job_id", method = "get", operation_id = "get_scheduled_job")]
    async fn get(&self, can: Can<ViewSchedules>, job_id: Path<TypeId<ScheduleId>>) -> Wrapped<ScheduledJob> {
        Ok(Json(can.wrap(ScheduledJob::shown(&can, find(&can, job_id.0.0).await?))))
    }

    /// Change a scheduled job
    ///
    /// The next occurrence is computed anew when the timing changes or the schedule is enabled again. Existing
    /// jobs stay unchanged.
    #[oai(
        path = "/:job_id",
        method = "patch",
        operation_id = "update_scheduled_job",
        tag = "Fails::LimitExceeded"
    )]
    async fn update(
        &self,
        can: Can<ManageSchedules>,
        job_id: Path<TypeId<ScheduleId>>,
        changes: Body<ScheduledJobChanges>,
    ) -> Wrapped<ScheduledJob> {
        let (id, changes) = (job_id.0.0, changes.0);
        may_start(&can, id).await?;
        let action = changed_action(&can, id, changes.action_type, changes.action_config).await?;
        let changes = Changes {
            action,
            name: changes.name,
            description: changes.description,
            cron_expression: changes.cron_expression,
            run_at: changes.run_at,
            timezone: changes.timezone,
            enabled: changes.enabled,
            overlap: changes.overlap,
            catch_up: changes.catch_up,
            jitter_seconds: changes.jitter_seconds,
        };
        let update = async |tx: &mut Tx, _: &Acting<'_>| {
            scheduled_jobs::update(tx, can.workspace, &can.actor(), id, changes).await?;
            scheduled_jobs::get(tx.conn(), can.workspace, id).await
        };
        Ok(Json(can.wrap(ScheduledJob::shown(&can, can.change_shared(update).await?))))
    }

    /// Delete a scheduled job
    ///
    /// The list of its runs is deleted with it; its jobs stay.
    #[oai(path = "/:job_id", method = "delete", operation_id = "delete_scheduled_job")]
    async fn delete(
        &self,
        can: Can<ManageSchedules>,
        job_id: Path<TypeId<ScheduleId>>,
    ) -> Wrapped<Deleted<TypeId<ScheduleId>>> {
        let (actor, id) = (can.actor(), job_id.0.0);
        can.change_shared(async |tx, _| scheduled_jobs::delete(tx, can.workspace, &actor, id).await).await?;
        Ok(Json(can.wrap(Deleted::new(job_id.0.0))))
    }

    /// Start a run of a scheduled job now
    ///
    /// In addition to its timing, whether it is enabled or not, and regardless of unfinished runs.
    #[oai(path = "/:job_id/execute", method = "post", operation_id = "execute_scheduled_job")]
    async fn execute(
        &self,
        can: Can<ManageSchedules>,
        job_id: Path<TypeId<ScheduleId>>,
    ) -> Wrapped<ScheduledJobRun> {
        let watches = can.need_for(Act::View, &may_start(&can, job_id.0.0).await?).is_ok();
        let (actor, id) = (can.actor(), job_id.0.0);
        let run = can
            .change_shared(async |tx, _| scheduled_jobs::execute(tx, can.workspace, &actor, id).await)
            .await?;
        Ok(Json(can.wrap(ScheduledJobRun::shown(&can, &run, watches))))
    }

    /// List the outcomes of a scheduled job's occurrences, newest first
    ///
    /// Occurrences of the last 30 days, and at least the latest 100.
    #[oai(path = "/:job_id/runs", method = "get", operation_id = "list_scheduled_job_runs")]
    async fn runs(
        &self,
        can: Can<ViewSchedules>,
        job_id: Path<TypeId<ScheduleId>>,
        #[oai(default)] limit: Query<Limit>,
        #[oai(default)] offset: Query<Offset>,
    ) -> Wrapped<Vec<ScheduledJobRun>> {
        let part = part_request(limit.0, offset.0);
        let schedule = find(&can, job_id.0.0).await?;
        let mut reader = can.app().database.reader().await?;
        let runs = schedules::runs(reader.conn(), schedule.id, part.limit, part.offset).await?;
        let watches = can.need_for(Act::View, schedule.plan.template.parts().0).is_ok();
        let shown = runs.iter().map(|run| ScheduledJobRun::shown(&can, run, watches)).collect();
        Ok(Json(can.wrap(shown)))
    }
}

/// A configuration with the id in the form of this surface.
fn with_type_id(mut config: Members) -> Members {
    if let Some(id) = config.get_mut(RECORDSET_ID) {
        let shown = json!({ RECORDSET_ID: id.take() });
        *id = with_type_ids(shown, None)[RECORDSET_ID].take();
    }
    config
}

/// A configuration in the domain's form, with a plain UUID for a TypeID.
fn with_uuids(config: JsonObject) -> Members {
    let mut config = config.into_members();
    if let Some(Value::String(id)) = config.get_mut(RECORDSET_ID)
        && let Some(uuid) = id_of_kind("recordset", id)
    {
        *id = uuid.to_string();
    }
    config
}

/// The scheduled job, if it is one of the caller's workspace.
async fn find(access: &Access, id: ScheduleId) -> Answer<Schedule> {
    let mut reader = access.app().database.reader().await?;
    Ok(scheduled_jobs::get(reader.conn(), access.workspace, id).await?)
}

/// The action of a change; a configuration alone belongs to the present action.
async fn changed_action(
    access: &Access,
    id: ScheduleId,
    action_type: Option<String>,
    config: Option<JsonObject>,
) -> Answer<Option<Action>> {
    let config = config.map(with_uuids);
    let action_type = match (action_type, &config) {
        (Some(action_type), _) => action_type,
        (None, Some(_)) => ScheduledJob::shown(access, find(access, id).await?).action_type,
        (None, None) => return Ok(None),
    };
    let mut db = access.read().await?;
    let action = Action::read(&mut db, &action_type, config.unwrap_or_default()).await?;
    access.need_for(Act::Start, action.kind())?;
    Ok(Some(action))
}

/// The job kind that a scheduled job starts has permissions of its own: changing the schedule needs them as starting
/// the job does. Answers that kind.
async fn may_start(access: &Access, id: ScheduleId) -> Answer<String> {
    let schedule = find(access, id).await?;
    let kind = schedule.plan.template.parts().0;
    access.need_for(Act::Start, kind)?;
    Ok(kind.to_owned())
}
