//! References to pictures: what tables keep of a person's picture in the object store, and which objects nothing
//! refers to.

use jobs::Tx;
use sqlx::PgConnection;

/// What a reference to a picture in the object store begins with; any other is a link to somewhere else.
const SCHEME: &str = "avatar:";

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

/// Something refers to the object from now on.
pub async fn no_stray(tx: &mut Tx, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from stray_pictures where key = $1", key).execute(tx.conn()).await?;
    Ok(())
}

/// Nothing refers to a picture any more, if it is one of ours. Of accounts' own pictures the database notes that by
/// itself. The connection sees the shared schemas.
pub async fn note_stray(conn: &mut PgConnection, reference: Option<&str>) -> Result<(), sqlx::Error> {
    let Some(key) = reference.and_then(key_of) else { return Ok(()) };
    sqlx::query!("insert into stray_pictures (key) values ($1) on conflict do nothing", key)
        .execute(conn)
        .await?;
    Ok(())
}
