//! The effect of a hostile tenant on another: the p99 of its reads without other requests, and
//! during each attack. And the process's memory that is still held after all attacks.
//!
//! Each attack begins anew for as long as the reads are measured, and ends with them.

mod attacks;
mod files;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Failure,
    api::load::Target,
    client::Client,
    figure::{line, print},
    process::Process,
    variable,
};
use attacks::{Attack, Attacker};

/// Connections of the other tenant.
const CONNECTIONS: usize = 4;
/// How long each attack goes on.
const TIME: Duration = Duration::from_secs(8);
/// How long the process may take to give memory back.
const PATIENCE: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;
/// Records that the attacker searches.
const RECORDS: usize = 200_000;

pub async fn measure() -> Result<(), Failure> {
    let api = Process::start("api", &[])?;
    let others = ["scheduler", "provisioning", "deliveries", "imports"].map(|name| Process::start(name, &[]));
    let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (bystander, greedy) = (Client::sign_up().await?, Client::sign_up().await?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, variable("PORT")?.parse()?));
    let target = reads(&bystander, address).await?;
    let attacker = Arc::new(Attacker::prepare(greedy, address, RECORDS).await?);

    let quiet = target.load(CONNECTIONS, TIME).await?.p99;
    print("hostile", "quiet_p99_ms", quiet, "ms");
    let before = api.memory()?;
    for attack in Attack::ALL {
        let tasks = attack.begin(&attacker);
        let p99 = target.load(CONNECTIONS, TIME).await?.p99;
        // Dropped, the attack's clients leave.
        drop(tasks);
        line("hostile", &format!("{}_p99_ms", attack.name()), p99, "ms", Some(("quiet", quiet)));
        settle(&target, quiet).await?;
    }
    line("hostile", "memory_after", api.memory()? / MIB, "MiB", Some(("before", before / MIB)));
    print("hostile", "peak_memory", api.peak_memory()?, "MiB");
    others.into_iter().rev().chain([api]).try_for_each(Process::stop)
}

/// Reading one record of the tenant's own.
async fn reads(client: &Client, address: SocketAddr) -> Result<Target, Failure> {
    let fields = [json!({ "key": "name", "label": "Name", "field_type": "text" })];
    let recordset = client.post("/recordsets", json!({ "name": "Things", "fields": fields })).await?;
    let new = json!({ "recordset_id": recordset["id"], "data": { "name": "one" } });
    let record = client.post("/records", new).await?;
    let path = format!("/api/v1/records/{}", record["id"].as_str().ok_or("a record without an id")?);
    let headers = client.header_list();
    Ok(Target::new(address, StatusCode::OK, move || {
        let mut request = Request::builder().method(Method::GET).uri(&path).header("Host", "millrace");
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        request.body(Full::<Bytes>::default()).expect("a request made of good parts")
    }))
}

/// Waits until the effects of an attack have ended.
async fn settle(target: &Target, quiet: f64) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while target.load(1, Duration::from_millis(400)).await?.p99 > 2.0 * quiet && Instant::now() < deadline {}
    Ok(())
}
