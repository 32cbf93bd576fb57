//! What members are responsible for, and its transfer to another member.
//!
//! Covered is what names one account as responsible: its recordsets, imports, exports, scheduled jobs and API
//! keys that still exist, and the teams that it leads. Records name their creator as history only: they stay
//! unchanged.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    Accounts, Error, Event, MemberId, UserId, WorkspaceDb,
    access::Held,
    handed_keys::{self, HandedOverKey, Usable},
    makers, standing,
};
use jobs::ScheduleId;
use poem_openapi::Object;
use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::{MemberFilter, by_id, only};
use crate::teams::TeamRole;

/// The types of items, as request bodies name them.
const TYPES: [&str; 6] = ["recordset", "import", "export", "scheduled_job", "api_key", "team"];
/// Maximum number of items shown of each type.
const SHOWN: i64 = 50;

/// All resources that a member is responsible for.
#[derive(Debug, Clone, PartialEq, Object)]
pub struct Holdings {
    /// Member id.
    pub member_id: MemberId,
    /// Number of items of all types.
    pub total: i64,
    /// Items by type; types without items are left out.
    pub groups: Vec<HeldItems>,
}

/// Items of one type that a member is responsible for.
#[derive(Debug, Clone, PartialEq, Object)]
pub struct HeldItems {
    /// Type of the items: `recordset`, `import`, `export`, `scheduled_job`, `api_key` or `team`.
    #[oai(rename = "type")]
    pub of_type: String,
    /// Number of items of this type.
    pub count: i64,
    /// The newest 50 items.
    pub items: Vec<HeldItem>,
}

/// An item that a member is responsible for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, Object)]
pub struct HeldItem {
    /// Item id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Relation of the member to the item: `owner`, or `lead` for a team.
    pub relation: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// Result of a reassignment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct Reassigned {
    /// Number of reassigned items by type.
    pub reassigned: BTreeMap<String, i64>,
    /// Number of reassigned items of all types.
    pub total: i64,
    /// Reassigned API keys, each with its new secret, which is shown only here; the old secrets are invalid
    /// from now on.
    pub api_keys: Vec<HandedOverKey>,
}

/// Resources that a member is responsible for, by type.
pub async fn holdings(db: &mut WorkspaceDb, id: MemberId) -> Result<Holdings, Error> {
    db.with_accounts(async |accounts| holdings_with(accounts, id).await).await
}

async fn holdings_with(accounts: &mut Accounts<'_>, id: MemberId) -> Result<Holdings, Error> {
    let member = by_id(accounts, id).await?;
    let workspace = accounts.workspace().0;
    let groups = sqlx::query!(
        r#"with held as (
               select 'recordset' as of_type, 1 as place, id, name, 'owner' as relation, created_at
                 from recordsets where created_by = $1 and deleted_at is null
               union all
               select 'import', 2, i.job_id, f.name, 'owner', i.created_at
                 from imports i join files f on f.id = i.file_id where i.created_by = $1
               union all
               select 'export', 3, job_id, name, 'owner', created_at from exports where created_by = $1
               union all
               select 'scheduled_job', 4, id, name, 'owner', created_at
                 from schedules where workspace_id = $3 and origin->>'user_id' = $1::text
               union all
               select 'api_key', 5, id, name, 'owner', created_at
                 from api_keys where workspace_id = $3 and created_by = $1 and revoked_at is null
               union all
               select 'team', 6, t.id, t.name, 'lead', m.created_at
                 from team_members m join teams t on t.id = m.team_id
                where m.member_id = $2 and m.role = 'lead'
           ), numbered as (
               select *, row_number() over (partition by of_type order by created_at desc, id) as n from held
           )
           select of_type as "of_type!",
                  count(*) as "count!",
                  coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', name, 'relation', relation,
                                                        'created_at', created_at)
                                     order by n) filter (where n <= $4), '[]')
                      as "items!: Json<Vec<HeldItem>>"
             from numbered group by of_type, place order by place"#,
        member.user_id.0,
        id.0,
        workspace,
        SHOWN,
    )
    .fetch_all(accounts.conn())
    .await?;
    let groups: Vec<_> = groups
        .into_iter()
        .map(|row| HeldItems { of_type: row.of_type, count: row.count, items: row.items.0 })
        .collect();
    Ok(Holdings { member_id: id, total: groups.iter().map(|group| group.count).sum(), groups })
}

/// Reassigns all items of a member to another, or only those of the given types. Of the teams that the member
/// leads, the other becomes lead, and the member stays in them. Keys get new secrets
/// ([`handed_keys::hand_over`]).
///
/// # Errors
/// `forbidden` when keys are among the items and the caller may not manage keys, or they would do more than the caller may;
/// `record_invalid`
/// when the other is the same member, not a member, inactive, or lacks the permissions for one of the scheduled
/// jobs, or for an unknown type.
pub async fn reassign(
    db: &mut WorkspaceDb,
    caller: &Held,
    from: MemberId,
    to: MemberId,
    types: Option<&[String]>,
) -> Result<Reassigned, Error> {
    if types.is_some_and(|types| types.iter().any(|named| !TYPES.contains(&named.as_str()))) {
        return Err(Error::invalid("types", format!("must be some of {}", TYPES.join(", "))));
    }
    db.with_accounts(async |accounts| reassign_with(accounts, caller, from, to, types).await).await
}

async fn reassign_with(
    accounts: &mut Accounts<'_>,
    caller: &Held,
    from: MemberId,
    to: MemberId,
    types: Option<&[String]>,
) -> Result<Reassigned, Error> {
    let giver = by_id(accounts, from).await?;
    let taker =
        only(accounts, MemberFilter { id: Some(to), is_active: Some(true), ..MemberFilter::default() });
    let taker = match taker.await {
        Err(error) if error.is_not_found() => None,
        found => Some(found?),
    };
    let taker = taker
        .filter(|taker| taker.id != giver.id)
        .ok_or_else(|| Error::invalid("to_member_id", "must be another active member of the workspace"))?;
    let (mut keys, mut schedules) = (Vec::new(), Vec::new());
    if types.is_none_or(|types| types.iter().any(|named| named == "api_key")) {
        let usable = handed_keys::lock_usable(accounts, giver.user_id).await?;
        may_hand_over(accounts, caller, &usable, taker.user_id).await?;
        (keys, schedules) = handed_keys::hand_over(accounts, usable, taker.user_id).await?;
    }
    let types = types.map_or_else(|| TYPES.map(str::to_owned).to_vec(), <[_]>::to_vec);
    let workspace = accounts.workspace().0;
    let row = sqlx::query!(
        r#"with moved_recordsets as (
               update recordsets set created_by = $2
                where 'recordset' = any($6) and created_by = $1 and deleted_at is null returning 1
           ), moved_imports as (
               update imports set created_by = $2 where 'import' = any($6) and created_by = $1 returning 1
           ), moved_exports as (
               update exports set created_by = $2 where 'export' = any($6) and created_by = $1 returning 1
           ), moved_schedules as (
               update schedules
                  set origin = (origin - array['credential_type', 'credential_id', 'impersonator_id'])
                               || jsonb_build_object('user_id', $2::text),
                      updated_at = now()
                where 'scheduled_job' = any($6) and workspace_id = $5 and origin->>'user_id' = $1::uuid::text
               returning id
           ), moved_keys as (
               update api_keys set created_by = $2, updated_at = now()
                where 'api_key' = any($6) and workspace_id = $5 and created_by = $1 and revoked_at is null
               returning 1
           ), led as (
               update team_members set role = 'member'
                where 'team' = any($6) and member_id = $3 and role = 'lead' returning team_id
           ), moved_teams as (
               insert into team_members (team_id, member_id, role) select team_id, $4, 'lead' from led
               on conflict (team_id, member_id) do update set role = 'lead'
               returning team_id, xmax = 0 as is_new
           )
           select (select count(*) from moved_recordsets) as "recordset!",
                  (select count(*) from moved_imports) as "import!",
                  (select count(*) from moved_exports) as "export!",
                  array(select id from moved_schedules) as "schedules!",
                  (select count(*) from moved_keys) as "expired_keys!",
                  array(select team_id from moved_teams where is_new) as "joined!",
                  array(select team_id from moved_teams where not is_new) as "raised!""#,
        giver.user_id.0,
        taker.user_id.0,
        giver.id.0,
        taker.id.0,
        workspace,
        &types,
    )
    .fetch_one(accounts.conn())
    .await?;
    schedules.extend(row.schedules.iter().copied().map(ScheduleId));
    if let Some(reason) = makers::first_refused(accounts.conn(), &schedules).await? {
        return Err(Error::invalid(
            "to_member_id",
            format!("must be a member who may run the scheduled jobs: {reason}"),
        ));
    }
    let teams = row.joined.len() + row.raised.len();
    let counted = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let counts = [
        row.recordset,
        row.import,
        row.export,
        counted(row.schedules.len()),
        row.expired_keys + counted(keys.len()),
        counted(teams),
    ];
    let of_types = TYPES.into_iter().zip(counts).filter(|(name, _)| types.iter().any(|named| named == name));
    let reassigned: BTreeMap<_, _> = of_types.map(|(name, count)| (name.to_owned(), count)).collect();
    let total = reassigned.values().sum();
    for (teams, verb) in [(&row.joined, "member_added"), (&row.raised, "member_updated")] {
        for &team in teams {
            let led_before = json!({ "member_id": giver.id, "role": TeamRole::Member });
            accounts.record(Event::new("team", "member_updated", team, led_before)).await?;
            let leads = json!({ "member_id": taker.id, "role": TeamRole::Lead });
            accounts.record(Event::new("team", verb, team, leads)).await?;
        }
    }
    let moved = json!({ "to": to, "reassigned": reassigned });
    accounts.record(Event::new("member", "items_reassigned", from, moved)).await?;
    Ok(Reassigned { reassigned, total, api_keys: keys })
}

/// A key may do what the account responsible for it may, so that handing a key over gives it that account's
/// permissions.
async fn may_hand_over(
    accounts: &mut Accounts<'_>,
    caller: &Held,
    keys: &[Usable],
    to: UserId,
) -> Result<(), Error> {
    if !keys.is_empty() {
        caller.need("api_keys:manage")?;
    }
    let workspace = accounts.workspace();
    for key in keys {
        if !standing::covers_program(accounts.conn(), workspace, caller, to, key.scopes().to_vec()).await? {
            return Err(Error::forbidden("one of the API keys would then exceed your own permissions"));
        }
    }
    Ok(())
}
