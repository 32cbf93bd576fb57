//! The kinds of job: each area declares its own, and every process knows those of all areas.

use std::collections::BTreeSet;

use jobs::{Act, Pool, kinds};

use crate::TestApp;

const ACTS: [Act; 4] = [Act::View, Act::Start, Act::Cancel, Act::Delete];

fn names() -> BTreeSet<&'static str> {
    kinds::all().iter().map(|kind| kind.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_a_handler_and_every_handler_a_kind() {
    let app = TestApp::start().await;
    assert_eq!(names(), app.kinds_handled);
    assert_eq!(kinds::all().len(), names().len(), "a kind is declared twice");
    let pools: BTreeSet<_> = Pool::all().iter().map(|pool| pool.name()).collect();
    assert_eq!(pools.len(), Pool::all().len(), "a pool is declared twice");
}

#[test]
fn kinds_ask_for_permissions_of_the_catalogue_only() {
    domain_jobs::install_kinds();
    for kind in kinds::all() {
        for permission in ACTS.iter().flat_map(|&act| kind.needs.to(act)) {
            assert!(domain::access::is_listed(permission), "{} asks for {permission}", kind.name);
        }
    }
}
