//! Avatars: a person's picture, made square-bounded and small whatever was sent, and kept in the object store.
//!
//! A person has one picture, shown in all their workspaces. What tables keep of it is a *reference*
//! ([`reference`]), never a link: links are signed when they are shown, and end. What is sent is decoded and
//! encoded anew, so that nothing of the file but its pixels is ever served.

mod picture;

use bytes::Bytes;
use jobs::Database;
use serde_json::json;
use uuid::Uuid;

use crate::{
    Actor, DomainError, Refusal, UserId,
    audit::{self, Entry},
    heavy::HeavyError,
    storage::{Storage, StorageError},
    users::profile,
};
use picture::EXTENSION;

/// The largest file that is taken.
pub const MOST_BYTES: u64 = 5 << 20;

/// What a reference to a picture in the object store begins with; any other is a link to somewhere else.
const SCHEME: &str = "avatar:";

/// Why a picture was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AvatarError {
    /// More than [`MOST_BYTES`].
    #[error("a picture has at most 5 MiB")]
    TooLarge,
    /// Not one of the formats, broken, or larger than can be decoded; says which.
    #[error("{0}")]
    NotAPicture(&'static str),
    /// Nobody has that id.
    #[error("there is no such person")]
    NotFound,
    /// It could not be encoded: a fault of ours.
    #[error("a picture could not be made: {0}")]
    Encoding(String),
    /// Too many pictures wait to be made small.
    #[error(transparent)]
    Heavy(#[from] HeavyError),
    /// The object store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for AvatarError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::TooLarge,
            Self::NotAPicture(reason) => Refusal::invalid("file", *reason),
            Self::NotFound => Refusal::NotFound,
            Self::Encoding(_) => Refusal::Internal,
            Self::Heavy(error) => error.refusal(),
            Self::Storage(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}

/// How tables refer to an object that is somebody's picture.
#[must_use]
pub fn reference(key: &str) -> String {
    format!("{SCHEME}{key}")
}

/// The key of the object that a reference names, unless it leads somewhere else.
#[must_use]
pub fn key_of(reference: &str) -> Option<&str> {
    reference.strip_prefix(SCHEME)
}

/// The key of a picture by its owner's id and its file's name, if those are what [`set`] makes.
#[must_use]
pub fn key(folder: Uuid, file: &str) -> Option<String> {
    let (id, extension) = file.split_once('.')?;
    let is_ours = extension == EXTENSION && Uuid::try_parse(id).is_ok_and(|id| id.to_string() == file[..36]);
    is_ours.then(|| format!("{folder}/profile-image/{file}"))
}

/// Gives a person a new picture, in all their workspaces, and removes the one before. `folder` is the workspace
/// it was sent in, or else the person; the caller has checked that the actor may do this. Answers with
/// the reference to the picture.
///
/// # Errors
/// [`AvatarError::TooLarge`], [`AvatarError::NotAPicture`], [`AvatarError::NotFound`].
pub async fn set(
    database: &Database,
    storage: &Storage,
    actor: &Actor,
    user: UserId,
    folder: Uuid,
    file: Bytes,
) -> Result<String, AvatarError> {
    let picture = picture::of(file).await?;
    let key = format!("{folder}/profile-image/{}.{EXTENSION}", Uuid::now_v7());
    storage.put(&key, picture).await?;
    match point_to(database, actor, user, &key).await {
        Ok(before) => {
            remove(storage, before).await;
            Ok(reference(&key))
        }
        Err(error) => {
            remove(storage, Some(key)).await;
            Err(error)
        }
    }
}

/// Makes an object somebody's picture; answers with the one that was.
async fn point_to(
    database: &Database,
    actor: &Actor,
    user: UserId,
    key: &str,
) -> Result<Option<String>, AvatarError> {
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
    .ok_or(AvatarError::NotFound)?;
    profile::copy_to_members(&mut tx, user, actor).await?;
    let entry = Entry::new("user", "updated", user.0, json!({ "fields": ["avatar_url"] }));
    audit::record(&mut tx, None, actor, entry).await?;
    tx.commit().await?;
    Ok(before)
}

/// Removes a picture that nobody has any more. One that can't be removed now costs room and nothing else.
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
