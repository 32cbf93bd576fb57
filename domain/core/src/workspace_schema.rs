//! A workspace's schema and its two roles.
//!
//! Our login owns the schema and its tables; `ws_<id>` may use them and is the role of our own SQL;
//! `ws_<id>_sql` is for statements written by users, may read the tables, belongs to no role, and can't log
//! in until the section that needs it sets a password.

use jobs::{Tx, workspace_schema};

use crate::WorkspaceId;

/// The role with the privileges that every workspace has outside its own schema. One per login, so that
/// installations on one server don't share it.
pub const TENANTS: &str = "_tenants";

/// Creates the roles, the schema and the grants, as far as they are missing. A concurrent attempt at the
/// same waits for this transaction.
pub async fn create(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    let schema = workspace_schema(workspace.0);
    let login = sqlx::query_scalar!(r#"select current_user::text as "login!""#).fetch_one(tx.conn()).await?;
    let tenants = identifier(&format!("{login}{TENANTS}"));
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", schema).execute(tx.conn()).await?;
    // Identifiers made of hex digits, and our own login's name, quoted: nothing comes from a client.
    let statements = format!(
        "do $$ begin
             if not exists (select from pg_roles where rolname = '{schema}') then
                 create role {schema} nologin;
             end if;
             if not exists (select from pg_roles where rolname = '{schema}_sql') then
                 create role {schema}_sql nologin;
             end if;
         end $$;
         grant {schema} to current_user;
         grant {tenants} to {schema};
         create schema if not exists {schema};
         revoke all on schema {schema} from public;
         grant usage on schema {schema} to {schema}, {schema}_sql;
         alter default privileges in schema {schema}
             grant select, insert, update, delete on tables to {schema};
         alter default privileges in schema {schema} grant usage, select on sequences to {schema};
         alter default privileges in schema {schema} grant select on tables to {schema}_sql;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(tx.conn()).await?;
    Ok(())
}

/// Removes the schema with all its content, and the roles, as far as they exist.
pub async fn remove(tx: &mut Tx, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    let schema = workspace_schema(workspace.0);
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", schema).execute(tx.conn()).await?;
    let statements = format!(
        "drop schema if exists {schema} cascade;
         drop role if exists {schema}_sql;
         drop role if exists {schema};"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(tx.conn()).await?;
    Ok(())
}

/// A name quoted as an SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
