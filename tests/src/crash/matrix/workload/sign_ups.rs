//! New workspaces, several at once, each of which is welcomed by a mail.

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

use super::{Findings, Lot, Tally, Workload, count, outbox};
use crate::{Client, app::new_signup, cluster::Cluster, crash::watch};

const SIGN_UPS: usize = 24;

/// Provisioning.
#[derive(Default)]
pub struct SignUps {
    emails: Vec<String>,
}

impl SignUps {
    /// A list of the lot's addresses, for a query.
    fn listed(&self) -> String {
        self.emails.iter().map(|email| format!("'{email}'")).collect::<Vec<_>>().join(", ")
    }
}

#[async_trait]
impl Workload for SignUps {
    fn name(&self) -> &'static str {
        "provisioning"
    }

    fn worker(&self) -> &'static str {
        "provisioning"
    }

    async fn prepare(&mut self, _: &Cluster) {}

    async fn start(&mut self, cluster: &Cluster) -> Lot {
        let visitor = Client::anonymous(&cluster.base);
        let signups: Vec<Value> = (0..SIGN_UPS).map(|_| new_signup()).collect();
        self.emails = signups.iter().map(|signup| signup["email"].as_str().unwrap().to_owned()).collect();
        let started =
            join_all(signups.into_iter().map(|signup| visitor.post("/auth/signup/async", signup))).await;
        let watches = started.into_iter().map(|reply| watch(&visitor, &reply.expect(202))).collect();
        Lot { total: 5 * count(SIGN_UPS), at_least: 1, watches }
    }

    /// In steps that leave a trace.
    async fn done(&self, cluster: &Cluster) -> i64 {
        let steps = format!(
            "select count(u.id) + count(w.id) + count(n.oid) + count(w.id) filter (where w.migrations <> '{{}}')
                  + count(*) filter (where s.state = 'completed')
               from control.signups s
               left join control.users u on u.id = s.user_id
               left join control.workspaces w on w.id = s.workspace_id
               left join pg_namespace n on n.nspname = 'ws_' || replace(s.workspace_id::text, '-', '')
              where s.email in ({})",
            self.listed()
        );
        cluster.number(&steps).await
    }

    /// A row is an account whose workspace can be entered and has its owner as a member.
    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        let ready = format!(
            "from control.signups s
             join control.users u on u.id = s.user_id
             join control.workspaces w on w.id = s.workspace_id and w.state = 'ready'
             join control.memberships m on m.workspace_id = w.id and m.user_id = u.id
             where s.state = 'completed' and s.email in ({})",
            self.listed()
        );
        let schemas: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select 'ws_' || replace(w.id::text, '-', '') {ready}"
        )))
        .fetch_all(&cluster.pool)
        .await
        .expect("PostgreSQL answers");
        let mut rows = Tally { expected: count(SIGN_UPS), found: 0, distinct: count(schemas.len()) };
        for schema in &schemas {
            rows.found += cluster.number(&format!("select count(*) from {schema}.members")).await;
        }
        let mails = outbox::mails_to(&cluster.folder, &self.emails);
        let welcomed: std::collections::HashSet<_> = mails.iter().map(|mail| &mail.to).collect();
        let effects =
            Tally { expected: count(SIGN_UPS), found: count(mails.len()), distinct: count(welcomed.len()) };
        Findings { rows, effects: Some(effects) }
    }
}
