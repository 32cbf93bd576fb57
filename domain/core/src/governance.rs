//! Governance: security and retention settings of a workspace. They are enforced elsewhere: sessions and
//! addresses by [`crate::callers`] with every request, passwords where they are set, the audit log's retention
//! by maintenance.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use jobs::Tx;
use poem_openapi::Object;
use serde::Serialize;
use sqlx::PgConnection;

use crate::{Acting, Error, Event, FieldErrors, Patch, WorkspaceId, networks};

/// Default retention of audit entries, in days.
pub const AUDIT_RETENTION: i32 = 365;
/// Default minimum length of a password, in characters.
const PASSWORD_LENGTH: i32 = 10;

/// A workspace's security and retention settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct Governance {
    /// Retention of audit entries, in days.
    pub audit_retention_days: i32,
    /// Maximum time since the sign-in, in seconds, after which members must sign in again; null for no limit
    /// while the session is in use.
    pub session_duration_secs: Option<i32>,
    /// Minimum length of new passwords, in characters, of accounts that the workspace manages or that accept its
    /// invitation.
    pub password_min_length: i32,
    /// IP addresses and networks that access is allowed from; empty for any address.
    pub ip_allowlist: Vec<String>,
    /// Time of the last change; null if the settings were never changed.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Changes to the settings; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct GovernanceChanges {
    /// Retention of audit entries, 1 to 3650 days.
    pub audit_retention_days: Option<i32>,
    /// Maximum time since the sign-in, 300 to 31536000 seconds; null for no limit while the session is in use.
    pub session_duration_secs: Patch<i32>,
    /// Minimum length of new passwords, 10 to 128 characters, of accounts that the workspace manages or that accept its
    /// invitation.
    pub password_min_length: Option<i32>,
    /// IP addresses, and networks in CIDR notation, that access is allowed from; at most 100. Empty for any address;
    /// otherwise the caller's own must be included.
    pub ip_allowlist: Option<Vec<String>>,
}

/// A workspace's settings.
pub async fn get(conn: &mut PgConnection, workspace: WorkspaceId) -> Result<Governance, sqlx::Error> {
    let said = sqlx::query_as!(
        Governance,
        "select audit_retention_days, session_duration_secs, password_min_length, ip_allowlist, updated_at
           from governance where workspace_id = $1",
        workspace.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(said.unwrap_or(Governance {
        audit_retention_days: AUDIT_RETENTION,
        session_duration_secs: None,
        password_min_length: PASSWORD_LENGTH,
        ip_allowlist: Vec::new(),
        updated_at: None,
    }))
}

/// Changes a workspace's settings, from the next request on.
///
/// # Errors
/// `record_invalid` with all that is wrong: also an allowlist that excludes the caller's own address.
pub async fn change(tx: &mut Tx, by: &Acting<'_>, changes: GovernanceChanges) -> Result<Governance, Error> {
    // Of two concurrent changes the second follows the first, and keeps what it doesn't name.
    sqlx::query!("select id from workspaces where id = $1 for no key update", by.workspace.0)
        .fetch_optional(tx.conn())
        .await?;
    let before = get(tx.conn(), by.workspace).await?;
    let mut errors = FieldErrors::new();
    let after = Governance {
        audit_retention_days: changes.audit_retention_days.unwrap_or(before.audit_retention_days),
        session_duration_secs: changes.session_duration_secs.over(before.session_duration_secs),
        password_min_length: changes.password_min_length.unwrap_or(before.password_min_length),
        ip_allowlist: match changes.ip_allowlist {
            None => before.ip_allowlist,
            Some(list) => {
                let list = networks::checked(&list, "ip_allowlist", &mut errors);
                if errors.is_empty() {
                    stay_in(&list, by, &mut errors);
                }
                list
            }
        },
        updated_at: None,
    };
    let mut keep = |field: &str, value: Option<i32>, range: RangeInclusive<i32>| {
        if value.is_some_and(|value| !range.contains(&value)) {
            errors.insert(field.to_owned(), vec![format!("must be {} to {}", range.start(), range.end())]);
        }
    };
    keep("audit_retention_days", Some(after.audit_retention_days), 1..=3650);
    keep("session_duration_secs", after.session_duration_secs, 300..=31_536_000);
    keep("password_min_length", Some(after.password_min_length), 10..=128);
    if !errors.is_empty() {
        return Err(Error::invalid_fields(errors));
    }
    sqlx::query!(
        "insert into governance (workspace_id, audit_retention_days, session_duration_secs, password_min_length,
                                 ip_allowlist)
         values ($1, $2, $3, $4, $5)
         on conflict (workspace_id) do update
            set audit_retention_days = $2, session_duration_secs = $3, password_min_length = $4,
                ip_allowlist = $5, updated_at = now()",
        by.workspace.0,
        after.audit_retention_days,
        after.session_duration_secs,
        after.password_min_length,
        &after.ip_allowlist,
    )
    .execute(tx.conn())
    .await?;
    by.record(tx, Event::new("governance", "updated", by.workspace.0, &after)).await?;
    Ok(get(tx.conn(), by.workspace).await?)
}

/// Rejects an allowlist that excludes the caller's own address.
fn stay_in(list: &[String], by: &Acting<'_>, errors: &mut FieldErrors) {
    let ip = by.actor.ip.as_deref();
    if !networks::let_in(list, ip.and_then(|ip| ip.parse().ok())) {
        let address = ip.unwrap_or("an unknown address");
        let reason = format!("excludes your own address, {address}");
        errors.insert("ip_allowlist".to_owned(), vec![reason]);
    }
}
