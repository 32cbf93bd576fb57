//! A client that repeats its requests until they are answered, while the API is killed again and again:
//! each has one effect, and one answer, whether the process died before the effect, after it, or between
//! the effect and the answer.

use std::{collections::HashMap, time::Duration};

use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{Client, Cluster, cluster::wait_until};

const REQUESTS: usize = 40;
const KILLS: usize = 6;

/// Sends a request until it gets a final answer; returns all answers.
async fn insist(client: Client, recordset: String, number: usize) -> Vec<Value> {
    let body = json!({ "recordset_id": recordset, "data": { "name": format!("record {number}") } });
    let mut answers = Vec::new();
    // Also after the first answer: it must stay the same.
    while answers.len() < 3 {
        match client.try_post_with_key("/records", &body, &format!("request {number}")).await {
            Some(reply) if reply.status == 201 => answers.push(reply.json()),
            Some(reply) => assert!(matches!(reply.status, 409 | 503), "{} {}", reply.status, reply.text),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_requests_have_one_effect_and_one_answer_whenever_the_api_dies() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let fields = json!([{ "key": "name", "label": "Name", "field_type": "text" }]);
    let made = owner.post("/recordsets", json!({ "name": "Things", "fields": fields })).await.expect(201);
    let recordset = made["id"].as_str().unwrap().to_owned();

    let (done, mut answered) = mpsc::unbounded_channel();
    let clients = tokio::spawn({
        let (owner, recordset) = (owner.clone(), recordset.clone());
        async move {
            for round in 0..REQUESTS / 8 {
                let requests = (0..8).map(|i| insist(owner.clone(), recordset.clone(), round * 8 + i));
                for answers in futures::future::join_all(requests).await {
                    done.send(answers).ok();
                }
            }
        }
    });
    for _ in 0..KILLS {
        let pause = rand::rng().random_range(50..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        cluster.kill("api");
        cluster.start_process("api");
        wait_until("the API is back", || cluster.is_ready()).await;
    }
    clients.await.expect("every request was answered");

    let mut by_id: HashMap<String, usize> = HashMap::new();
    while let Some(answers) = answered.recv().await {
        assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
        *by_id.entry(answers[0]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(by_id.len(), REQUESTS);
    let page = owner.get(&format!("/records?recordset_id={recordset}&page_size=200")).await.expect(200);
    assert_eq!(page["total"], REQUESTS, "one effect each");
}
