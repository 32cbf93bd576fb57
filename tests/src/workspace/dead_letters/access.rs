//! Who may see dead letters and touch them.

use serde_json::json;

use super::{dead_letter, listed};
use crate::{
    Client, Reply, TestApp,
    workspace::{jobs::end_of, recordsets::become_role},
};

async fn looks(who: &Client, job: &str) -> [Reply; 3] {
    [who.get("/dead-letters").await, who.get(&format!("/dead-letters/{job}")).await, who.get("/v1/dlq").await]
}

async fn retries(who: &Client, job: &str) -> [Reply; 3] {
    [
        who.post("/dead-letters/retry", json!({"error_code": "none"})).await,
        who.post(&format!("/dead-letters/{job}/retry"), json!({})).await,
        who.post(&format!("/v1/dlq/{job}/retry"), json!({})).await,
    ]
}

async fn discards(who: &Client, job: &str) -> [Reply; 3] {
    [
        who.post("/dead-letters/discard", json!({"error_code": "none"})).await,
        who.delete(&format!("/dead-letters/{job}")).await,
        who.delete(&format!("/v1/dlq/{job}")).await,
    ]
}

/// The statuses of replies.
fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_see_none_members_retry_and_admins_discard() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for (role, may_look, may_retry, may_discard) in [
        ("viewer", false, false, false),
        ("member", true, true, false),
        ("admin", true, true, true),
        ("owner", true, true, true),
    ] {
        let job = dead_letter(&app, &owner).await;
        become_role(&app, role).await;
        assert_eq!(
            statuses(&looks(&owner, &job).await),
            if may_look { [200, 200, 200] } else { [403, 403, 403] },
            "{role}"
        );
        let discarded = if may_discard { [200, 204, 404] } else { [403, 403, 403] };
        assert_eq!(statuses(&discards(&owner, &job).await), discarded, "{role}");
        become_role(&app, "owner").await;
        let job = dead_letter(&app, &owner).await;
        become_role(&app, role).await;
        // Retried once by the first, it is no dead letter for the second.
        let retried = if may_retry { [200, 200] } else { [403, 403] };
        let replies = retries(&owner, &job).await;
        assert_eq!(statuses(&replies[..2]), retried, "{role}");
        become_role(&app, "owner").await;
        end_of(&owner, &job).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letters_of_another_workspace_do_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let job = dead_letter(&app, &ada).await;

    assert!(listed(&eve, "").await.is_empty());
    assert_eq!(eve.get("/v1/dlq").await.expect(200)["data"]["total"], 0);
    for reply in [
        eve.get(&format!("/dead-letters/{job}")).await,
        eve.post(&format!("/dead-letters/{job}/retry"), json!({})).await,
        eve.delete(&format!("/dead-letters/{job}")).await,
        eve.post(&format!("/v1/dlq/{job}/retry"), json!({})).await,
        eve.delete(&format!("/v1/dlq/{job}")).await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
    let retried = eve.post("/dead-letters/retry", json!({"all": true})).await.expect(200);
    assert_eq!(retried["retried"], 0);
    assert_eq!(eve.post("/dead-letters/discard", json!({"all": true})).await.expect(200)["discarded"], 0);
    assert_eq!(listed(&ada, "").await, [job]);
}
