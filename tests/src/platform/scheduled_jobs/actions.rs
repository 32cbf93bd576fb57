//! What a scheduled job does when it comes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jobs::testing::pass;
use poem::{
    IntoResponse, Request, Response, Route, Server,
    endpoint::make,
    http::{StatusCode, header::RETRY_AFTER},
    listener::{Acceptor, Listener, TcpListener},
};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{create, no_op};
use crate::{Client, TestApp, cluster::wait_until};

/// A request that a receiver has got.
#[derive(Clone, Debug)]
struct Received {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

/// A receiver of webhooks that answers with these statuses, one after the other, and then always the last.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    async fn start(statuses: &'static [u16]) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        let endpoint = make(move |request: Request| {
            let seen = Arc::clone(&seen);
            async move { take(request, &seen, statuses).await }
        });
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = acceptor.local_addr().remove(0);
        let url = format!("http://localhost:{}/hook", address.as_socket_addr().unwrap().port());
        let route = Route::new().at("/hook", endpoint);
        tokio::spawn(Server::new_with_acceptor(acceptor).run(route));
        Self { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn take(mut request: Request, seen: &Mutex<Vec<Received>>, statuses: &[u16]) -> poem::Result<Response> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let (id, timestamp, signature) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let body = request.take_body().into_string().await?;
    let mut seen = seen.lock().unwrap();
    let status = statuses[seen.len().min(statuses.len() - 1)];
    seen.push(Received { id, timestamp, signature, body });
    let mut answer = StatusCode::from_u16(status).unwrap().into_response();
    if status == 503 {
        answer.headers_mut().insert(RETRY_AFTER, "7200".parse().unwrap());
    }
    Ok(answer)
}

/// Makes a webhook, runs it now and follows it to its end.
async fn call(owner: &Client, url: &str) -> (Value, Value) {
    let config = json!({ "url": url, "payload": { "greeting": "hello" } });
    let (made, path) =
        create(owner, no_op(json!({ "action_type": "webhook", "action_config": config }))).await;
    let run = owner.post(&format!("{path}/execute"), json!({})).await.expect(200)["data"].clone();
    (made, owner.follow(&run).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_sent_with_a_signature_that_its_receiver_can_check() {
    let receiver = Receiver::start(&[200]).await;
    let app = TestApp::start_with(&[("WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")]).await;
    let owner = app.owner().await;

    let (made, end) = call(&owner, &receiver.url).await;

    assert_eq!((&end["status"], &end["result"]), (&json!("COMPLETED"), &json!({ "status": 200 })));
    let [got] = &receiver.received()[..] else { panic!("{:?}", receiver.received()) };
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(body["type"], "scheduled_job.due");
    assert_eq!(body["data"]["payload"], json!({ "greeting": "hello" }));
    assert_eq!(body["data"]["job_id"], got.id.as_str());
    let secret = made["signing_secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(secret).unwrap()).unwrap();
    mac.update(format!("{}.{}.{}", got.id, got.timestamp, got.body).as_bytes());
    assert_eq!(got.signature, format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_again_under_the_same_id_and_not_before_its_receiver_asks() {
    let receiver = Receiver::start(&[503, 200]).await;
    let app = TestApp::start_with(&[("WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")]).await;
    let owner = app.owner().await;
    let waits = "select count(*) from jobs where kind = 'webhooks.call' and state = 'waiting'
                    and run_at > now() + interval '7000 seconds'";

    let ((_, end), ()) = tokio::join!(call(&owner, &receiver.url), async {
        wait_until("it waits as long as it was asked to", || async { app.count(waits).await == 1 }).await;
        pass(&app.database, Duration::from_secs(7200)).await;
    });

    assert_eq!((&end["status"], &end["attempt"]), (&json!("COMPLETED"), &json!(2)));
    let got = receiver.received();
    assert_eq!((got.len(), &got[0].id), (2, &got[1].id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_refused_or_sent_elsewhere_fails_for_good() {
    let app = TestApp::start_with(&[("WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")]).await;
    let owner = app.owner().await;
    for (statuses, said) in [(&[410][..], "the receiver answered 410"), (&[302], "the receiver answered 302")]
    {
        let receiver = Receiver::start(statuses).await;
        let (_, end) = call(&owner, &receiver.url).await;
        assert_eq!((&end["status"], &end["error_message"]), (&json!("FAILED"), &json!(said)));
        assert_eq!(receiver.received().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_into_the_house_is_not_sent() {
    let receiver = Receiver::start(&[200]).await;
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let by_address = receiver.url.replace("localhost", "127.0.0.1");

    for url in [receiver.url.as_str(), &by_address] {
        let (_, end) = call(&owner, url).await;
        assert_eq!(end["status"], "FAILED");
        assert_eq!(end["error_message"], "leads to an address that is not public", "{url}");
    }
    // Where failed ones were to go is shown only to callers who may make them.
    let member = app.join(&owner, "member").await;
    for (who, is_shown) in [(&owner, true), (&member, false)] {
        let messages = who.get("/v1/dlq").await.expect(200)["data"]["messages"].clone();
        assert_eq!(messages.as_array().unwrap().len(), 2, "{messages}");
        assert_eq!(messages[0].get("payload").is_some(), is_shown, "{messages}");
        let messages = who.get("/dead-letters").await.expect(200);
        let id = messages["items"][0]["job_id"].as_str().unwrap();
        let message = who.get(&format!("/dead-letters/{id}")).await.expect(200);
        assert_eq!(message.get("payload").is_some(), is_shown, "{message}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_export_makes_a_file_like_any_other() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (recordset, _) = owner.import("People", "Name,Age\nAda,36\nEve,7\n").await;
    let config = json!({ "recordset_id": recordset["slug"], "fields": ["name"] });
    let (_, path) = create(&owner, no_op(json!({ "action_type": "export", "action_config": config }))).await;

    let run = owner.post(&format!("{path}/execute"), json!({})).await.expect(200)["data"].clone();
    let end = owner.follow(&run).await;

    assert_eq!((&end["status"], &end["result"]["rows"]), (&json!("COMPLETED"), &json!(2)));
    let exports = owner.get("/recordsets/import/jobs?job_type=export").await.expect(200);
    let job = exports["items"][0]["job_id"].as_str().unwrap();
    let detail = owner.get(&format!("/recordsets/import/jobs/{job}")).await.expect(200);
    let link = detail["download_url"].as_str().unwrap_or_else(|| panic!("{detail}"));
    let file = owner.get(link).await;
    assert_eq!(file.status, 200);
    assert!(file.text.contains("Ada") && !file.text.contains("36"), "{}", file.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_export_of_a_recordset_that_has_gone_says_so() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/recordsets", json!({ "name": "Leads", "fields": [] })).await.expect(201);
    let config = json!({ "recordset_id": "leads" });
    let (_, path) = create(&owner, no_op(json!({ "action_type": "export", "action_config": config }))).await;
    owner.delete("/recordsets/leads").await.expect(204);

    let run = owner.post(&format!("{path}/execute"), json!({})).await.expect(200)["data"].clone();

    let end = owner.follow(&run).await;
    assert_eq!(
        (&end["status"], &end["error_message"]),
        (&json!("FAILED"), &json!("the recordset was deleted"))
    );
}
