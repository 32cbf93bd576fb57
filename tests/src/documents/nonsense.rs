//! Nonsense in every parameter and every property of every operation: it is refused as documented, or
//! taken, and never meets a fault of ours.

use jobs::Surface;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{FOR_PEOPLE, Operation, document, operations, types_of};
use crate::{Client, Reply, Stripe, TestApp, client::send};

const ID: &str = "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e";

/// Query strings and path segments, as they stand in a URL.
const IN_URLS: [&str; 12] = [
    "",
    "x",
    "-1",
    "0",
    "9223372036854775808",
    "1e9",
    "true",
    "null",
    "%ff%fe",
    "%F0%9F%9A%9C",
    "%27%3B--",
    "%7B%22a%22%3A1%7D",
];

/// Values that some property will not expect.
fn in_bodies() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("\u{202e}\u{fffe}"),
        json!("x".repeat(20_000)),
        json!([]),
        json!([[]]),
        json!([null]),
        json!({}),
        json!({"x": {}}),
    ]
}

struct Walk {
    surface: Surface,
    client: Client,
    document: Value,
}

impl Walk {
    /// The schema that a reference leads to, or the schema itself.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
            Some(name) => &self.document["components"]["schemas"][name],
            None => schema,
        }
    }

    /// The properties of an object's schema, those of its parts too.
    fn properties(&self, schema: &Value) -> Map<String, Value> {
        let schema = self.resolved(schema);
        let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
        for name in ["allOf", "anyOf"] {
            for part in schema[name].as_array().into_iter().flatten() {
                properties.extend(self.properties(part));
            }
        }
        properties
    }

    /// A value of a schema's type, right or nearly so.
    fn plausible(&self, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        match types_of(schema).first().copied() {
            Some("string") if schema["format"] == "uuid" => json!(ID),
            Some("string") => schema["enum"].get(0).cloned().unwrap_or(json!("x")),
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            _ => json!({}),
        }
    }

    async fn call(&self, operation: &Operation, in_path: &str, query: &str, body: Option<&Value>) -> Reply {
        let part = |part: &str| if part.starts_with('{') { in_path.to_owned() } else { part.to_owned() };
        let path = operation.path.split('/').map(part).collect::<Vec<_>>().join("/");
        let method: Method = operation.method.to_uppercase().parse().unwrap();
        let request = self.client.request(method, &format!("{path}?{query}"));
        let reply = match body {
            Some(body) => send(request.json(body)).await,
            None => send(request).await,
        };
        let said = format!("{} {path}?{query} {body:?}: {} {}", operation.method, reply.status, reply.text);
        // What is outside, such as Stripe, isn't there.
        let is_away = reply.status == 503 && reply.text.contains("_not_configured");
        assert!(reply.status < 500 || is_away, "{said}");
        // A path that is another one, such as with an empty segment, has answers of its own.
        if !["route_not_found", "method_not_allowed"].iter().any(|code| reply.text.contains(code)) {
            let documented = operation.body["responses"].as_object().unwrap();
            assert!(documented.contains_key(&reply.status.to_string()), "not documented: {said}");
        }
        if reply.status >= 400 {
            let error = reply.json();
            // The Token API's errors have a form of their own.
            let is_token_api = ["/v1/me", "/v1/books"].contains(&&*operation.path);
            let (fields, message) = match self.surface {
                Surface::Workspace | Surface::Ops => (&error["fields"], &error["detail"]),
                Surface::Platform if is_token_api => (&error["fields"], &error["detail"]),
                Surface::Platform => (&error["error"]["fields"], &error["error"]["message"]),
            };
            let code = reply.code();
            let code = code.as_deref();
            assert!(code.is_some() && message.is_string(), "{said}");
            assert_eq!(
                matches!(code, Some("record_invalid" | "parameter_missing" | "parameter_unknown")),
                fields.is_object(),
                "{said}"
            );
        }
        reply
    }

    /// Nonsense wherever an operation takes something, but for those that are left out.
    async fn walk(&self, left_out: &[&str]) {
        for operation in
            operations(&self.document).iter().filter(|operation| !left_out.contains(&&*operation.id))
        {
            let schema = &operation.body["requestBody"]["content"]["application/json"]["schema"];
            let properties = self.properties(schema);
            let good: Map<String, Value> =
                properties.iter().map(|(name, schema)| (name.clone(), self.plausible(schema))).collect();
            let good = (!properties.is_empty()).then_some(Value::Object(good));

            if operation.path.contains('{') {
                for nonsense in IN_URLS {
                    self.call(operation, nonsense, "", good.as_ref()).await;
                }
            }
            let parameters = operation.body["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
                // A good value could make a long poll wait.
                for nonsense in IN_URLS {
                    let query = format!("{}={nonsense}", parameter["name"].as_str().unwrap());
                    self.call(operation, ID, &query, good.as_ref()).await;
                }
            }
            for (name, schema) in &properties {
                let is_text =
                    types_of(self.resolved(schema)).iter().all(|ty| ["string", "null"].contains(ty));
                let is_text = is_text && !types_of(self.resolved(schema)).is_empty();
                for nonsense in in_bodies() {
                    let mut body = good.clone().unwrap_or_default();
                    let is_taken_for_text = is_text && (nonsense.is_number() || nonsense.is_boolean());
                    body[name] = nonsense;
                    let reply = self.call(operation, ID, "", Some(&body)).await;
                    let here = format!(
                        "{} {} {body}: {} {}",
                        operation.method, operation.path, reply.status, reply.text
                    );
                    assert!(!is_taken_for_text || reply.status >= 400, "{name} is a text: {here}");
                    if is_taken_for_text && reply.status == 422 {
                        assert!(reply.text.contains(&format!("\"{name}\":")), "{name} is to blame: {here}");
                    }
                }
            }
            if operation.body["requestBody"]["content"]["application/json"].is_object() {
                for nonsense in in_bodies() {
                    self.call(operation, ID, "", Some(&nonsense)).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_as_documented_wherever_it_comes() {
    let clerk = [("CLERK_SECRET", "a secret that nonsense doesn't have")];
    let app = Stripe::start().await.start_app(&clerk).await;
    let owner = app.owner().await;
    for surface in FOR_PEOPLE {
        // What ends the session, starts work, or is a stream without an end has tests of its own.
        let walk = Walk { surface, client: owner.clone(), document: document(surface) };
        walk.walk(&["logout", "signup", "signup_async", "stream_jobs"]).await;
    }
    owner.get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_from_an_operator_is_refused_as_documented_too() {
    let app = TestApp::start().await;
    Walk { surface: Surface::Ops, client: app.operator(), document: document(Surface::Ops) }.walk(&[]).await;
    app.operator().get("/queues").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_a_header_is_no_fault_of_ours() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for header in [
        "Authorization",
        "X-Workspace-Id",
        "Last-Event-ID",
        "X-Request-Id",
        "X-Forwarded-For",
        "Origin",
        "User-Agent",
    ] {
        for nonsense in [
            &b""[..],
            b"x",
            b"\xff\xfe",
            "🚜".as_bytes(),
            b"Bearer",
            b"Bearer ",
            b"Bearer a.b.c",
            &[b'x'; 4000],
        ] {
            let mut request = owner.request(Method::GET, "/recordsets").build().unwrap();
            request.headers_mut().insert(header, reqwest::header::HeaderValue::from_bytes(nonsense).unwrap());
            let answer = reqwest::Client::new().execute(request).await.unwrap();
            assert!(answer.status().as_u16() < 500, "{header}: {nonsense:?} {}", answer.status());
            if ["Authorization", "X-Workspace-Id"].contains(&header) {
                assert!([401, 404, 422].contains(&answer.status().as_u16()), "{header}: {nonsense:?}");
            } else {
                assert_eq!(answer.status(), 200, "{header}: {nonsense:?}");
            }
        }
    }
}
