//! A Stripe of a test's own: speaks the protocol of the few endpoints that Millrace asks (forms, bearer keys,
//! idempotency keys, errors), remembers what it has made, and signs events as Stripe does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use hmac::{Hmac, KeyInit, Mac};
use poem::{
    EndpointExt, Request, Response, Route, Server, get, handler,
    http::StatusCode,
    listener::{Acceptor, Listener, TcpListener},
    post,
    web::{Data, Form, Path},
};
use reqwest::Method;
use runtime::settings::Settings;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Client, Reply, TestApp, client::send};

/// The key of the account.
const KEY: &str = "sk_test_of_this_test";
/// What it signs its events with.
const WEBHOOK_SECRET: &str = "whsec_of_this_test";
/// What it sells.
const PRICES: [&str; 2] = ["price_starter", "price_growth"];

/// A form, as it came.
pub type Fields = BTreeMap<String, String>;

#[derive(Default)]
struct Account {
    /// What was made, by its kind, in order.
    made: Vec<(String, Fields)>,
    /// What was answered to which form under which idempotency key.
    answered: HashMap<String, (Fields, u16, Value)>,
    /// The subscriptions by their ids, as they are now.
    subscriptions: HashMap<String, Value>,
    /// Requests that create.
    requests: usize,
    /// How many of the next requests are answered as by a server that is down.
    away: usize,
}

/// Stripe, listening.
#[derive(Clone)]
pub struct Stripe {
    url: String,
    account: Arc<Mutex<Account>>,
}

impl Stripe {
    /// Starts to listen.
    pub async fn start() -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().remove(0);
        let url = format!("http://{}", address.as_socket_addr().expect("a TCP address"));
        let stripe = Self { url, account: Arc::default() };
        let routes = Route::new()
            .at("/v1/customers", post(create))
            .at("/v1/subscriptions", post(create))
            .at("/v1/subscriptions/:id", get(show_subscription))
            .at("/v1/checkout/sessions", post(create))
            .data(stripe.clone());
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        stripe
    }

    /// The variables of an installation that has this account.
    fn variables(&self) -> [(&'static str, &str); 5] {
        [
            ("STRIPE_SECRET_KEY", KEY),
            ("STRIPE_API_URL", self.url.as_str()),
            ("STRIPE_PRICES", "starter=price_starter,growth=price_growth"),
            ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("APP_URL", "https://app.example.com"),
        ]
    }

    /// The same as settings.
    pub fn settings(&self) -> Settings {
        self.variables().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Millrace with this account.
    pub async fn start_app(&self, more: &[(&str, &str)]) -> TestApp {
        TestApp::start_with(&[&self.variables()[..], more].concat()).await
    }

    /// The forms of what was made, for example of `customers`.
    pub fn made(&self, kind: &str) -> Vec<Fields> {
        let account = self.account.lock().unwrap();
        account.made.iter().filter(|(made, _)| made == kind).map(|(_, form)| form.clone()).collect()
    }

    /// How many requests to create something came.
    pub fn requests(&self) -> usize {
        self.account.lock().unwrap().requests
    }

    /// Is down for the next requests.
    pub fn be_away_for(&self, requests: usize) {
        self.account.lock().unwrap().away = requests;
    }

    /// Sends Millrace an event: a subscription changes to the object, or a checkout is paid, whose
    /// subscription there is then.
    pub async fn tell(&self, app: &TestApp, kind: &str, object: &Value) -> Reply {
        if kind.starts_with("customer.subscription.") {
            self.become_so(object);
        } else if let Some(id) = object["subscription"].as_str()
            && !self.account.lock().unwrap().subscriptions.contains_key(id)
        {
            self.become_so(&subscribed(id, "active", "price_growth"));
        }
        self.tell_only(app, kind, object).await
    }

    /// A subscription is like that from now on.
    pub fn become_so(&self, subscription: &Value) {
        let id = subscription["id"].as_str().expect("a subscription has an id").to_owned();
        self.account.lock().unwrap().subscriptions.insert(id, subscription.clone());
    }

    /// Sends an event to Millrace, signed now: perhaps once more, or too late.
    pub async fn tell_only(&self, app: &TestApp, kind: &str, object: &Value) -> Reply {
        let notice = json!({"id": "evt_1", "object": "event", "type": kind, "data": {"object": object}});
        let payload = notice.to_string();
        let at = jobs::clock::now().timestamp();
        tell(&app.anonymous(), &payload, &signed(WEBHOOK_SECRET, at, &payload)).await
    }

    fn answer(&self, path: &str, key: Option<&str>, form: &Fields) -> (u16, Value) {
        let mut account = self.account.lock().unwrap();
        account.requests += 1;
        if account.away > 0 {
            account.away -= 1;
            return refused(503, "api_error", None, "Stripe is down");
        }
        let key = key.expect("whatever creates has an idempotency key");
        match account.answered.get(key) {
            Some((before, status, answer)) if before == form => return (*status, answer.clone()),
            Some(_) => return refused(400, "idempotency_error", None, "another form under this key"),
            None => {}
        }
        let kind = path.trim_start_matches("/v1/");
        let (status, answer) = make(kind, form, account.made.len());
        if status == 200 && kind == "subscriptions" {
            let id = answer["id"].as_str().expect("an id").to_owned();
            let price = form.get("items[0][price]").expect("a price");
            let mut subscription = subscribed(&id, "trialing", price);
            subscription["trial_end"] = answer["trial_end"].clone();
            account.subscriptions.insert(id, subscription);
        }
        if status == 200 {
            account.made.push((kind.to_owned(), form.clone()));
        }
        account.answered.insert(key.to_owned(), (form.clone(), status, answer.clone()));
        (status, answer)
    }
}

/// What is made of a form.
fn make(kind: &str, form: &Fields, n: usize) -> (u16, Value) {
    let field = |name: &str| form.get(name).map(String::as_str);
    match field("payment_method").or(field("default_payment_method")) {
        Some("pm_declined") => return refused(402, "card_error", None, "Your card was declined."),
        Some("pm_unknown") => {
            return refused(400, "invalid_request_error", Some("payment_method"), "No such PaymentMethod");
        }
        _ => {}
    }
    let price = field("items[0][price]").or(field("line_items[0][price]"));
    if price.is_some_and(|price| !PRICES.contains(&price)) {
        return refused(400, "invalid_request_error", Some("items[0][price]"), "No such price");
    }
    let answer = match kind {
        "customers" => json!({"id": format!("cus_{n}"), "object": "customer", "email": field("email")}),
        "subscriptions" => {
            let days: i64 = field("trial_period_days").map_or(0, |days| days.parse().unwrap());
            let trial_end = jobs::clock::now().timestamp() + days * 86_400;
            json!({"id": format!("sub_{n}"), "object": "subscription", "status": "trialing",
                   "customer": field("customer"), "trial_end": (days > 0).then_some(trial_end)})
        }
        _ => json!({"id": format!("cs_{n}"), "object": "checkout.session",
                    "url": format!("https://checkout.example.com/c/{n}")}),
    };
    (200, answer)
}

fn refused(status: u16, kind: &str, param: Option<&str>, message: &str) -> (u16, Value) {
    (status, json!({"error": {"type": kind, "param": param, "message": message}}))
}

/// A subscription, as Stripe represents it.
pub fn subscribed(id: &str, status: &str, price: &str) -> Value {
    json!({"id": id, "object": "subscription", "status": status, "trial_end": null, "created": 1_700_000_000,
           "items": {"data": [{"price": {"id": price}}]}, "metadata": {}})
}

#[handler]
fn show_subscription(request: &Request, Path(id): Path<String>, Data(stripe): Data<&Stripe>) -> Response {
    let mut account = stripe.account.lock().unwrap();
    let (status, answer) = if request.header("Authorization") != Some(&format!("Bearer {KEY}")) {
        refused(401, "invalid_request_error", None, "Invalid API Key provided")
    } else if account.away > 0 {
        account.away -= 1;
        refused(503, "api_error", None, "Stripe is down")
    } else {
        match account.subscriptions.get(&id) {
            Some(subscription) => (200, subscription.clone()),
            None => refused(404, "invalid_request_error", Some("id"), "No such subscription"),
        }
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Response::builder().status(status).content_type("application/json").body(answer.to_string())
}

#[handler]
fn create(
    request: &Request,
    Form(form): Form<Vec<(String, String)>>,
    Data(stripe): Data<&Stripe>,
) -> Response {
    let (status, answer) = if request.header("Authorization") == Some(&format!("Bearer {KEY}")) {
        let form = form.into_iter().collect();
        stripe.answer(request.uri().path(), request.header("Idempotency-Key"), &form)
    } else {
        refused(401, "invalid_request_error", None, "Invalid API Key provided")
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Response::builder().status(status).content_type("application/json").body(answer.to_string())
}

/// The header of an event.
pub fn signed(secret: &str, at: i64, payload: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(format!("{at}.{payload}").as_bytes());
    format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Sends an event with a signature.
pub async fn tell(client: &Client, payload: &str, signature: &str) -> Reply {
    let request = client
        .request(Method::POST, "/webhooks/stripe")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Stripe-Signature", signature)
        .body(payload.to_owned());
    send(request).await
}

/// A checkout paid by a customer without an account.
pub fn paid_checkout(email: &str) -> Value {
    json!({
        "id": format!("cs_{email}"),
        "object": "checkout.session",
        "mode": "subscription",
        "payment_status": "paid",
        "customer": format!("cus_{email}"),
        "subscription": format!("sub_{email}"),
        "customer_details": {"email": email, "name": "Ada Lovelace"},
        "metadata": {"plan": "growth", "company_name": "Analytical Engines"},
    })
}
