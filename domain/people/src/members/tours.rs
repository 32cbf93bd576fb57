//! Tours: the acting account's completed and skipped tours of this workspace. The set of tours is
//! defined by the web app.

use std::collections::BTreeMap;

use domain::{Error, Event, MemberId, WorkspaceDb};
use poem_openapi::{Enum, Object};

use super::acting_person;

/// Whether each tour was completed; a skipped tour is present, with false.
pub type Tours = BTreeMap<String, bool>;

/// End of a tour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum TourStatus {
    /// Completed.
    Completed,
    /// Skipped.
    Skipped,
}

/// A tour that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct TourProgress {
    /// Tour id.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_.:-]+$"))]
    pub tour_id: String,
    /// End of the tour.
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

/// The acting account's tours.
///
/// # Errors
/// `forbidden` for a key
pub async fn tours(db: &mut WorkspaceDb) -> Result<Tours, Error> {
    let member = own_id(db).await?;
    of_member(db, member).await
}

/// Records how a tour of the acting account ended.
pub async fn set_tour(db: &mut WorkspaceDb, tour: TourProgress) -> Result<Tours, Error> {
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

/// Resets one tour of the acting account, or all.
pub async fn reset_tours(db: &mut WorkspaceDb, tour_id: Option<&str>) -> Result<Tours, Error> {
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

async fn own_id(db: &mut WorkspaceDb) -> Result<MemberId, Error> {
    let user = acting_person(db)?;
    let id = sqlx::query_scalar!("select id from members where user_id = $1", user.0);
    id.fetch_optional(db.conn()).await?.ok_or_else(Error::not_found)
}

async fn of_member(db: &mut WorkspaceDb, member: MemberId) -> Result<Tours, Error> {
    let rows = sqlx::query!(
        r#"select tour_id, status = 'completed' as "completed!" from member_tours where member_id = $1"#,
        member.0,
    )
    .fetch_all(db.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tour_id, row.completed)).collect())
}
