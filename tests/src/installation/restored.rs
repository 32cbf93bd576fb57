//! A dump that was restored into another cluster, whose transactions have lower numbers.

use serde_json::json;

use super::one_line;
use crate::Cluster;

/// The database as such a restore leaves it: another cluster's identifier, and numbers that lie in the future.
const RESTORED: &str = "
    do $$ declare tenant text; begin
        for tenant in select nspname from pg_namespace where nspname ~ '^ws_[0-9a-f]{32}$' loop
            execute format('update %I.records set written_by = ''9000000000''', tenant);
        end loop;
    end $$;
    update shard.events set xid = '9000000000';
    update control.cluster set system_identifier = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_refused_until_it_was_made_the_clusters_own() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let (people, _) = owner.import("People", "name\nAda\nGrace\n").await;
    cluster.terminate_all();
    sqlx::raw_sql(RESTORED).execute(&cluster.pool).await.unwrap();

    for process in ["api", "scheduler", "exports", "migrate"] {
        let (code, said) = cluster.run_to_end(process, &[], &[("LOG", "off")]);
        assert_eq!(code, 1, "{process}: {said}");
        assert!(one_line(&said).contains("run `migrate --after-restore` once"), "{process}: {said}");
    }
    let (code, said) = cluster.run_to_end::<&str>("migrate", &["--after-restore"], &[]);
    assert_eq!(code, 0, "{said}");

    cluster.start_processes().await;
    let started = owner.post("/recordsets/export", json!({ "recordset_id": people["id"] })).await.expect(202);
    let end = owner.follow(&started).await;
    assert_eq!(end["result"]["rows"], 2, "every record is in the export: {end}");
    let future = "select count(*) from shard.events where xid >= pg_current_xact_id()";
    assert_eq!(cluster.number(future).await, 0);
    cluster.terminate_all();
}

/// As a dump that is older than the note of its cluster leaves it, once `migrate` has made the table.
const OF_NO_CLUSTER: &str = "
    delete from control.cluster;
    do $$ declare tenant text; begin
        for tenant in select nspname from pg_namespace where nspname ~ '^ws_[0-9a-f]{32}$' loop
            execute format('update %I.records set written_by = ''9000000000''', tenant);
        end loop;
    end $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_without_a_cluster_id_is_detected_by_its_transactions() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    owner.import("People", "name\nAda\nGrace\n").await;
    cluster.terminate_all();

    // One that is this cluster's own is noted as that.
    sqlx::raw_sql("delete from control.cluster").execute(&cluster.pool).await.unwrap();
    let (code, said) = cluster.run_to_end::<&str>("migrate", &[], &[]);
    assert_eq!(code, 0, "{said}");
    let noted = "select count(*) from control.cluster
                  where system_identifier = (select system_identifier from pg_control_system())";
    assert_eq!(cluster.number(noted).await, 1);

    sqlx::raw_sql(OF_NO_CLUSTER).execute(&cluster.pool).await.unwrap();
    let (code, said) = cluster.run_to_end("migrate", &[], &[("LOG", "off")]);
    assert_eq!(code, 1, "{said}");
    assert!(one_line(&said).contains("run `migrate --after-restore` once"), "{said}");
    assert_eq!(cluster.number("select count(*) from control.cluster").await, 0);

    let (code, said) = cluster.run_to_end::<&str>("migrate", &["--after-restore"], &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(cluster.number(noted).await, 1);
    cluster.terminate_all();
}
