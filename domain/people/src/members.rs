//! Members: the people of one workspace. Contract section "Members" (W-MEM).
//!
//! A member is a row of the workspace (its profile here), the membership of the same id (its role and whether
//! it is active) and the account (name and address): all three are read
//! and written together, within [`WorkspaceDb::with_accounts`]. A profile field that is not set here is the account's. Pictures are
//! references; see [`domain::pictures`].

mod changes;
mod holdings;
mod leaving;
mod tours;

use chrono::{DateTime, Utc};
use domain::{
    Accounts, Error, MemberId, UserId, WorkspaceDb,
    access::Role,
    page::{PageOf, PageRequest},
};
use poem_openapi::Object;
use serde::Serialize;

pub use changes::{MemberChanges, MemberPictureOf, may_picture, update};
pub use holdings::{HeldItem, HeldItems, Holdings, Reassigned, holdings, reassign};
pub use leaving::{DeletionInfo, deletion_info, erase, remove};
pub use tours::{TourProgress, TourStatus, Tours, reset_tours, set_tour, tours};

/// A member of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct MemberProfile {
    /// Member id, also that of the membership.
    pub id: MemberId,
    /// Account id.
    pub user_id: UserId,
    /// Email address of the account.
    pub email: String,
    /// Full name of the account.
    pub full_name: String,
    /// Display name in this workspace; null if the account's name is to be shown.
    pub display_name: Option<String>,
    /// Job title, the account's unless one is set here; null if neither has one.
    pub title: Option<String>,
    /// Phone number, the account's unless one is set here; null if neither has one.
    pub phone: Option<String>,
    /// Short biography, the account's unless one is set here; null if neither has one.
    pub bio: Option<String>,
    /// URL of the avatar image; null if none is set.
    pub avatar_url: Option<String>,
    /// Role in the workspace.
    pub role: Role,
    /// Whether the member can sign in to this workspace.
    pub is_active: bool,
    /// Completion time of the onboarding; null if it is not completed.
    pub onboarded_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the profile in this workspace.
    pub updated_at: DateTime<Utc>,
}

/// Filter of a list of members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberFilter {
    /// Member id.
    pub id: Option<MemberId>,
    /// Account id.
    pub user_id: Option<UserId>,
    /// Part of the name, the email address or the job title.
    pub search: Option<String>,
    /// Whether the member is active.
    pub is_active: Option<bool>,
}

/// Members, sorted by name.
pub async fn list(
    db: &mut WorkspaceDb,
    filter: MemberFilter,
    page: PageRequest,
) -> Result<PageOf<MemberProfile>, Error> {
    db.with_accounts(async |accounts| Ok(page_of(accounts, &filter, page).await?)).await
}

async fn page_of(
    accounts: &mut Accounts<'_>,
    filter: &MemberFilter,
    page: PageRequest,
) -> Result<PageOf<MemberProfile>, sqlx::Error> {
    let total = sqlx::query_scalar!(
        r#"select count(*) as "total!"
             from members m
             join memberships p on p.id = m.id and p.workspace_id = $1
             join users u on u.id = m.user_id
            where ($2::boolean is null or (p.is_active and m.is_active and u.is_active) = $2)
              and ($3::text is null or position(lower($3) in
                   lower(concat_ws(' ', u.name, m.display_name, u.email, coalesce(m.title, u.title)))) > 0)"#,
        accounts.workspace().0,
        filter.is_active,
        filter.search,
    );
    let total = total.fetch_one(accounts.conn()).await?;
    Ok(PageOf { items: find(accounts, filter, page).await?, total })
}

/// All active members, sorted by name.
pub async fn all_active(db: &mut WorkspaceDb) -> Result<Vec<MemberProfile>, Error> {
    let active = MemberFilter { is_active: Some(true), ..MemberFilter::default() };
    let all = PageRequest { limit: i64::MAX, offset: 0 };
    db.with_accounts(async |accounts| Ok(find(accounts, &active, all).await?)).await
}

/// One member.
///
/// # Errors
/// `record_not_found`
pub async fn get(db: &mut WorkspaceDb, id: MemberId) -> Result<MemberProfile, Error> {
    db.with_accounts(async |accounts| by_id(accounts, id).await).await
}

async fn by_id(accounts: &mut Accounts<'_>, id: MemberId) -> Result<MemberProfile, Error> {
    only(accounts, MemberFilter { id: Some(id), ..MemberFilter::default() }).await
}

/// The member of the acting account.
///
/// # Errors
/// `forbidden` for a key; `record_not_found`
pub async fn own(db: &mut WorkspaceDb) -> Result<MemberProfile, Error> {
    let user_id = acting_person(db)?;
    let own = MemberFilter { user_id: Some(user_id), ..MemberFilter::default() };
    db.with_accounts(async |accounts| only(accounts, own).await).await
}

/// The account that acts; a key has no profile and no tours.
fn acting_person(db: &WorkspaceDb) -> Result<UserId, Error> {
    let person = db.actor().user_id;
    person.ok_or_else(|| Error::forbidden("this endpoint requires a user session"))
}

async fn only(accounts: &mut Accounts<'_>, filter: MemberFilter) -> Result<MemberProfile, Error> {
    let found = find(accounts, &filter, PageRequest::ONE).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}

async fn find(
    accounts: &mut Accounts<'_>,
    filter: &MemberFilter,
    page: PageRequest,
) -> Result<Vec<MemberProfile>, sqlx::Error> {
    sqlx::query_as!(
        MemberProfile,
        r#"select m.id,
                  m.user_id,
                  u.email,
                  u.name as full_name,
                  m.display_name,
                  coalesce(m.title, u.title) as title,
                  coalesce(m.phone, u.phone) as phone,
                  coalesce(m.bio, u.bio) as bio,
                  coalesce(m.avatar_url, 'avatar:' || u.avatar_key, u.avatar_url) as avatar_url,
                  p.role,
                  (p.is_active and m.is_active and u.is_active) as "is_active!",
                  m.onboarded_at,
                  m.created_at,
                  m.updated_at
             from members m
             join memberships p on p.id = m.id and p.workspace_id = $1
             join users u on u.id = m.user_id
            where ($2::uuid is null or m.id = $2)
              and ($3::uuid is null or m.user_id = $3)
              and ($4::boolean is null or (p.is_active and m.is_active and u.is_active) = $4)
              and ($5::text is null or position(lower($5) in
                   lower(concat_ws(' ', u.name, m.display_name, u.email, coalesce(m.title, u.title)))) > 0)
            order by lower(coalesce(m.display_name, u.name)), m.id
            limit $6 offset $7"#,
        accounts.workspace().0,
        filter.id.map(|id| id.0),
        filter.user_id.map(|id| id.0),
        filter.is_active,
        filter.search,
        page.limit,
        page.offset,
    )
    .fetch_all(accounts.conn())
    .await
}
