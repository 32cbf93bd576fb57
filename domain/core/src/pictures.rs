//! References to avatar images: what tables keep of an image in the object store, and which objects are
//! unreferenced.

use jobs::Tx;
use sqlx::PgConnection;

/// Prefix of a reference to an image in the object store; any other reference is an external URL.
const SCHEME: &str = "avatar:";

/// The reference to an object that is an avatar image.
#[must_use]
pub fn reference(key: &str) -> String {
    format!("{SCHEME}{key}")
}

/// The key of the object that a reference names, unless it is an external URL.
#[must_use]
pub fn key_of(reference: &str) -> Option<&str> {
    reference.strip_prefix(SCHEME)
}

/// Records that the object is referenced from now on.
pub async fn no_stray(tx: &mut Tx, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from stray_pictures where key = $1", key).execute(tx.conn()).await?;
    Ok(())
}

/// Records that an image of ours is no longer referenced. For accounts' own images a trigger does so.
/// The connection sees the shared schemas.
pub async fn note_stray(conn: &mut PgConnection, reference: Option<&str>) -> Result<(), sqlx::Error> {
    let Some(key) = reference.and_then(key_of) else { return Ok(()) };
    sqlx::query!("insert into stray_pictures (key) values ($1) on conflict do nothing", key)
        .execute(conn)
        .await?;
    Ok(())
}
