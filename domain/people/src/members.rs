//! Members: the people of one workspace. Contract section "Members" (W-MEM).
//!
//! A member is a row of the workspace (what they show of themselves here) with the membership of the same
//! id (whether they get in, and as what) and the person's account (name and address): all three are read
//! and written together, within [`WorkspaceDb::with_accounts`]. What a member doesn't say here is as their
//! account says. Pictures are references; see [`domain::pictures`].

mod changes;
mod error;
mod holdings;
mod leaving;
mod tours;

use chrono::{DateTime, Utc};
use domain::{
    Accounts, MemberId, UserId, WorkspaceDb,
    access::Role,
    page::{PageOf, PageRequest},
};
use poem_openapi::Object;
use serde::Serialize;

pub use changes::{MemberChanges, MemberPictureOf, may_picture, update};
pub use error::MemberError;
pub use holdings::{HeldItem, HeldItems, Holdings, Reassigned, holdings, reassign};
pub use leaving::{DeletionInfo, deletion_info, erase, remove};
pub use tours::{TourProgress, TourStatus, Tours, reset_tours, set_tour, tours};

/// Someone who belongs to the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct MemberProfile {
    /// The member; their membership has the same id.
    pub id: MemberId,
    /// The person's account.
    pub user_id: UserId,
    /// Where they are reached, as their account says.
    pub email: String,
    /// What they are called, as their account says.
    pub full_name: String,
    /// What they want to be called here.
    pub display_name: Option<String>,
    /// What they do.
    pub title: Option<String>,
    /// Their telephone.
    pub phone: Option<String>,
    /// A few words about them.
    pub bio: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// What they are here.
    pub role: Role,
    /// Whether they get in.
    pub is_active: bool,
    /// When they had been shown around; null: not yet.
    pub onboarded_at: Option<DateTime<Utc>>,
    /// Since when they are here.
    pub created_at: DateTime<Utc>,
    /// When their profile here last changed.
    pub updated_at: DateTime<Utc>,
}

/// Which members to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberFilter {
    /// Only this one.
    pub id: Option<MemberId>,
    /// Only this person.
    pub user_id: Option<UserId>,
    /// A part of their name, address or title.
    pub search: Option<String>,
    /// Those who get in, or those who don't.
    pub is_active: Option<bool>,
}

/// Members by name.
pub async fn list(
    db: &mut WorkspaceDb,
    filter: MemberFilter,
    page: PageRequest,
) -> Result<PageOf<MemberProfile>, MemberError> {
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

/// All members who get in, by name.
pub async fn all_active(db: &mut WorkspaceDb) -> Result<Vec<MemberProfile>, MemberError> {
    let active = MemberFilter { is_active: Some(true), ..MemberFilter::default() };
    let all = PageRequest { limit: i64::MAX, offset: 0 };
    db.with_accounts(async |accounts| Ok(find(accounts, &active, all).await?)).await
}

/// One member.
///
/// # Errors
/// [`MemberError::NotFound`]
pub async fn get(db: &mut WorkspaceDb, id: MemberId) -> Result<MemberProfile, MemberError> {
    db.with_accounts(async |accounts| by_id(accounts, id).await).await
}

async fn by_id(accounts: &mut Accounts<'_>, id: MemberId) -> Result<MemberProfile, MemberError> {
    only(accounts, MemberFilter { id: Some(id), ..MemberFilter::default() }).await
}

/// The member that the acting person is.
///
/// # Errors
/// [`MemberError::NotAPerson`] for a key; [`MemberError::NotFound`]
pub async fn own(db: &mut WorkspaceDb) -> Result<MemberProfile, MemberError> {
    let user_id = db.actor().user_id.ok_or(MemberError::NotAPerson)?;
    let own = MemberFilter { user_id: Some(user_id), ..MemberFilter::default() };
    db.with_accounts(async |accounts| only(accounts, own).await).await
}

async fn only(accounts: &mut Accounts<'_>, filter: MemberFilter) -> Result<MemberProfile, MemberError> {
    let found = find(accounts, &filter, PageRequest::ONE).await?;
    found.into_iter().next().ok_or(MemberError::NotFound)
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
