//! Tours: where the acting person has been shown around in this workspace. Which tours there are is the
//! web app's business.

use std::collections::BTreeMap;

use domain::{Event, MemberId, WorkspaceDb};
use poem_openapi::{Enum, Object};

use super::MemberError;

/// By tour: whether it was completed. One that was skipped is there, with false.
pub type Tours = BTreeMap<String, bool>;

/// How a tour ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum TourStatus {
    /// To its end.
    Completed,
    /// Put away.
    Skipped,
}

/// A tour that is over.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct TourProgress {
    /// The tour.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_.:-]+$"))]
    pub tour_id: String,
    /// How it ended.
    pub status: TourStatus,
}

impl TourStatus {
    const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Skipped => "skipped",
        }
    }
}

/// The tours that the acting person has taken.
///
/// # Errors
/// [`MemberError::NotAPerson`] for a key
pub async fn tours(db: &mut WorkspaceDb) -> Result<Tours, MemberError> {
    let member = own_id(db).await?;
    of_member(db, member).await
}

/// Notes how a tour of the acting person ended.
pub async fn set_tour(db: &mut WorkspaceDb, tour: TourProgress) -> Result<Tours, MemberError> {
    let member = own_id(db).await?;
    sqlx::query!(
        "insert into member_tours (member_id, tour_id, status) values ($1, $2, $3)
         on conflict (member_id, tour_id) do update set status = excluded.status, updated_at = now()",
        member.0,
        tour.tour_id,
        tour.status.name(),
    )
    .execute(db.conn())
    .await?;
    let tours = of_member(db, member).await?;
    db.record(Event::new("member", "toured", member, &tours)).await?;
    Ok(tours)
}

/// Forgets one tour of the acting person, or all.
pub async fn reset_tours(db: &mut WorkspaceDb, tour_id: Option<&str>) -> Result<Tours, MemberError> {
    let member = own_id(db).await?;
    sqlx::query!(
        "delete from member_tours where member_id = $1 and ($2::text is null or tour_id = $2)",
        member.0,
        tour_id,
    )
    .execute(db.conn())
    .await?;
    let tours = of_member(db, member).await?;
    db.record(Event::new("member", "toured", member, &tours)).await?;
    Ok(tours)
}

async fn own_id(db: &mut WorkspaceDb) -> Result<MemberId, MemberError> {
    let user = db.user_id().ok_or(MemberError::NotAPerson)?;
    let id = sqlx::query_scalar!("select id from members where user_id = $1", user);
    id.fetch_optional(db.conn()).await?.ok_or(MemberError::NotFound)
}

async fn of_member(db: &mut WorkspaceDb, member: MemberId) -> Result<Tours, MemberError> {
    let rows = sqlx::query!(
        r#"select tour_id, status = 'completed' as "completed!" from member_tours where member_id = $1"#,
        member.0,
    )
    .fetch_all(db.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tour_id, row.completed)).collect())
}
