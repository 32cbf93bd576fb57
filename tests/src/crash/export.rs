//! Exports through crashes.

use std::collections::HashSet;

use serde_json::json;

use crate::{
    cluster::Cluster,
    crash::{ROWS, start_import, wait_for_progress, watch},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_export_survives_sigkill_without_a_hole_or_a_repeat() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let imported = start_import(&owner, ROWS).await;
    owner.follow(&imported).await;
    let started = owner
        .post("/recordsets/export", json!({ "recordset_id": imported["recordset"]["id"] }))
        .await
        .expect(202);
    let watch = watch(&owner, &started);

    let mut done = 0;
    for _ in 0..3 {
        done = wait_for_progress(&owner, started["status_url"].as_str().unwrap(), done).await;
        cluster.kill("exports");
        cluster.start_process("exports");
    }

    let end = watch.await.unwrap();
    assert_eq!(end["status"], "COMPLETED", "{end}");
    let job = started["job_id"].as_str().unwrap();
    let detail = owner.get(&format!("/recordsets/import/jobs/{job}")).await.expect(200);
    let file = owner.get(detail["download_url"].as_str().unwrap()).await;
    assert_eq!(file.status, 200);
    let mut lines = file.text.lines();
    let header = lines.next().unwrap();
    assert!(header.to_lowercase().contains("number"), "{header}");
    let numbers: Vec<&str> = lines.map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(numbers.len(), ROWS);
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), ROWS, "each record once");
}
