//! Avatars: a person's picture, made square-bounded and small whatever was sent, and kept in the object store.
//!
//! A person has one picture, shown in all their workspaces, unless an admin has set another for the member that they
//! are in one. What tables keep of it is a *reference* ([`reference()`]), never a link: links are signed when they are
//! shown, and end. What is sent is decoded and encoded anew, so that nothing of the file but its pixels is ever
//! served.
//!
//! No object outlives what it is a picture of: each is noted in `stray_pictures` before it is stored, for as long as
//! nothing refers to it, and again when nothing does any more; [`sweep`] removes what is still noted after a while.

mod picture;

use bytes::Bytes;
use chrono::Duration;
use domain::{
    Actor, Error, Event, UserId, WorkspaceId,
    audit::{self, Entry},
    pictures::{key_of, no_stray, note_stray, reference},
    tenant_scope::TenantScope,
};
use jobs::Database;
use runtime::storage::Storage;
use serde_json::json;
use uuid::Uuid;

use picture::EXTENSION;

use crate::users::profile;

/// The largest file that is taken.
pub const MOST_BYTES: u64 = 5 << 20;

/// The key of a picture by its owner's id and its file's name, if those are what [`set`] makes.
#[must_use]
pub fn key(folder: Uuid, file: &str) -> Option<String> {
    let (id, extension) = file.split_once('.')?;
    let is_ours = extension == EXTENSION && Uuid::try_parse(id).is_ok_and(|id| id.to_string() == file[..36]);
    is_ours.then(|| format!("{folder}/profile-image/{file}"))
}

/// How long an object that nothing refers to is kept: longer than any request takes that may still make it
/// somebody's picture.
const STRAY_FOR: Duration = Duration::hours(1);

/// Gives a person a new picture, in all their workspaces, and removes the one before. `folder` is the workspace
/// it was sent in, or else the person; the caller has checked that the actor may do this. Answers with
/// the reference to the picture.
///
/// # Errors
/// `payload_too_large`, `record_invalid`, `record_not_found`.
pub async fn set(
    database: &Database,
    storage: &Storage,
    actor: &Actor,
    user: UserId,
    folder: Uuid,
    file: Bytes,
) -> Result<String, Error> {
    let key = store(database, storage, folder, file).await?;
    let before = point_to(database, actor, user, &key).await?;
    remove(storage, before).await;
    Ok(reference(&key))
}

/// Gives a person another picture in one workspace: that of their member there, and removes the one before. The caller
/// has checked that the actor may do this. Answers with the reference to the picture.
///
/// # Errors
/// As of [`set`].
pub async fn set_for_member(
    database: &Database,
    storage: &Storage,
    actor: &Actor,
    (workspace, user): (WorkspaceId, UserId),
    file: Bytes,
) -> Result<String, Error> {
    let key = store(database, storage, workspace.0, file).await?;
    let mut tx = database.begin().await?;
    let mut scope = TenantScope::enter(&mut tx, workspace).await?;
    let member = sqlx::query!(
        "update members m set avatar_url = $2, updated_at = now()
           from (select id, avatar_url from members where user_id = $1 for update) before
          where m.id = before.id
      returning m.id, before.avatar_url as picture_before",
        user.0,
        reference(&key),
    )
    .fetch_optional(scope.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let told = json!({ "user_id": user, "fields": ["avatar_url"] });
    scope.record(Event::new("member", "updated", member.id, told), workspace, actor).await?;
    scope.leave().await?;
    no_stray(&mut tx, &key).await?;
    note_stray(tx.conn(), member.picture_before.as_deref()).await?;
    tx.commit().await?;
    // At once, so that many changes in a row take no more room than one.
    remove(storage, member.picture_before.as_deref().and_then(key_of).map(str::to_owned)).await;
    Ok(reference(&key))
}

/// Stores what was sent as an object that is nobody's picture yet; answers its key.
async fn store(database: &Database, storage: &Storage, folder: Uuid, file: Bytes) -> Result<String, Error> {
    let picture = picture::of(file).await?;
    let key = format!("{folder}/profile-image/{}.{EXTENSION}", Uuid::now_v7());
    sqlx::query!("insert into stray_pictures (key) values ($1)", key).execute(&database.pool).await?;
    storage.put(&key, picture).await?;
    Ok(key)
}

/// Makes an object somebody's picture; answers with the one that was.
async fn point_to(
    database: &Database,
    actor: &Actor,
    user: UserId,
    key: &str,
) -> Result<Option<String>, Error> {
    let mut tx = database.begin().await?;
    let before = sqlx::query_scalar!(
        "update users u set avatar_key = $2, updated_at = now()
           from (select id, avatar_key from users where id = $1 for update) before
          where u.id = before.id
      returning before.avatar_key",
        user.0,
        key,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    no_stray(&mut tx, key).await?;
    let new = profile::New { picture: true, ..profile::New::default() };
    profile::copy_to_members(&mut tx, user, new, actor).await?;
    let entry = Entry::new("user", "updated", user.0, json!({ "fields": ["avatar_url"] }));
    audit::record(&mut tx, None, actor, entry).await?;
    tx.commit().await?;
    Ok(before)
}

/// Removes some of the objects to which nothing has referred for a while; answers how many. Killed in between, it
/// finds them again.
///
/// # Errors
/// When the object store or the database fails.
pub async fn sweep(database: &Database, storage: &Storage, at_most: i64) -> Result<usize, Error> {
    let keys = sqlx::query_scalar!(
        "select key from stray_pictures where since < $1 order by since limit $2",
        jobs::clock::now() - STRAY_FOR,
        at_most,
    )
    .fetch_all(&database.pool)
    .await?;
    for key in &keys {
        storage.delete(key).await?;
        sqlx::query!("delete from stray_pictures where key = $1", key).execute(&database.pool).await?;
    }
    Ok(keys.len())
}

/// Removes a picture that nobody has any more. One that can't be removed now is removed by the sweep.
pub async fn remove(storage: &Storage, key: Option<String>) {
    let Some(key) = key else { return };
    if let Err(error) = storage.delete(&key).await {
        tracing::warn!(key, %error, "a picture that nobody has any more could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_have_made_has_a_key() {
        let (folder, id) = (Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(key(folder, &format!("{id}.webp")), Some(format!("{folder}/profile-image/{id}.webp")));
        for file in ["", "x.webp", &format!("{id}"), &format!("{id}.png"), &format!("{}.webp", id.simple())] {
            assert_eq!(key(folder, file), None, "{file}");
        }
        assert_eq!(key_of(&reference("a/b")), Some("a/b"));
        assert_eq!(key_of("https://example.com/a.png"), None);
    }
}
