//! Workers that an operator asks to leave in the middle of work.

use serde_json::json;

use crate::{
    cluster::Cluster,
    crash::{MANY, assert_exactly_once, start_import, wait_for_progress, watch},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_handed_back_when_an_operator_drains_its_worker() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let operator = cluster.operator();
    let started = start_import(&owner, MANY).await;
    let watch = watch(&owner, &started);
    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;

    let workers = operator.get("/workers").await.expect(200);
    let imports = workers["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|worker| worker["pools"][0]["pool"] == "imports")
        .unwrap_or_else(|| panic!("no worker of imports in {workers}"));
    assert_eq!(imports["jobs"][0]["job_id"], started["job_id"]);
    let drain = format!("/workers/{}/drain", imports["id"].as_str().unwrap());
    operator.post(&drain, json!({})).await.expect(200);
    cluster.wait_for_exit("imports");

    let job = operator.get(&format!("/jobs/{}", started["job_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(
        (&job["status"], &job["attempt"]),
        (&json!("QUEUED"), &json!(0)),
        "it waits for another worker"
    );
    let scaling = operator.get("/pools/imports/scaling").await.expect(200);
    assert_eq!(
        (&scaling["ready"], &scaling["slots"], &scaling["desired"]),
        (&json!(1), &json!(0), &json!(1))
    );
    cluster.start_process("imports");

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end, MANY).await;
    assert_eq!(end["attempt"], 1, "a hand-back is not an attempt");
}
