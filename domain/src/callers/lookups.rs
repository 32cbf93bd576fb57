//! The lookups of a process's requests. Those that come at the same time share a statement, so that the more requests
//! there are, the less of the database each of them takes.

use std::{net::IpAddr, sync::Arc};

use futures::FutureExt;
use jobs::{
    coalesce::{Answer, Coalescer},
    places::Places,
};
use sqlx::PgPool;

use super::{
    API_KEY_PREFIX, Brought, Found,
    lookup::{self, Key, Place, Tried, Try},
};
use crate::{WorkspaceId, secret};

/// Looks up what requests bring. Clones share their statements.
#[derive(Debug, Clone)]
pub struct Lookups {
    sessions: Coalescer<Try, Option<Tried>>,
    api_keys: Coalescer<Try, Option<Tried>>,
    personal_tokens: Coalescer<Try, Option<Tried>>,
    /// Many requests with one credential wait for each other, and no other request waits for them.
    turns: Places<Brought>,
}

impl Lookups {
    /// Starts, with so many lookups of one credential at once.
    #[must_use]
    pub fn start(pool: &PgPool, of_one: usize) -> Self {
        Self {
            sessions: Coalescer::start(pool.clone(), |conn, tries: &[Try]| {
                async { Ok(in_order(tries, lookup::sessions(conn, tries).await?)) }.boxed()
            }),
            api_keys: Coalescer::start(pool.clone(), |conn, tries: &[Try]| {
                async { Ok(in_order(tries, lookup::api_keys(conn, tries).await?)) }.boxed()
            }),
            personal_tokens: Coalescer::start(pool.clone(), |conn, tries: &[Try]| {
                async { Ok(in_order(tries, lookup::personal_tokens(conn, tries).await?)) }.boxed()
            }),
            turns: Places::of(of_one),
        }
    }

    /// Looks a credential up, and how its holder stands, from an address, in a workspace: the one that is named, or
    /// else the only one that the key or token is good in. None when the credential is not good, or no longer. What is
    /// found is no older than the call.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn find(
        &self,
        brought: &Brought,
        workspace: Option<WorkspaceId>,
        from: Option<IpAddr>,
    ) -> Answer<Option<Found>> {
        let turn = self.turns.take(brought.clone(), usize::MAX).await;
        let _turn = turn.map_err(|_| Arc::new(sqlx::Error::PoolTimedOut))?;
        let place = Place::One(workspace);
        let hashed = |secret: &str| Try { key: Key::Hash(secret::hash(secret)), place, from };
        let found = match brought {
            Brought::Session(user, session) => {
                let tried = self.sessions.call(Try { key: Key::Id(session.0), place, from }).await?;
                tried.filter(|tried| tried.principal.user() == Some(*user))
            }
            Brought::Secret(secret) if secret.starts_with(API_KEY_PREFIX) => {
                self.api_keys.call(hashed(secret)).await?
            }
            Brought::Secret(secret) => self.personal_tokens.call(hashed(secret)).await?,
        };
        Ok(found.map(Found::of))
    }
}

/// What was found of each that was tried; none of one that is not good.
fn in_order(tries: &[Try], found: Vec<Tried>) -> Vec<Option<Tried>> {
    let mut all: Vec<_> = tries.iter().map(|_| None).collect();
    for tried in found {
        if let Some(place) = all.get_mut(tried.index) {
            *place = Some(tried);
        }
    }
    all
}
