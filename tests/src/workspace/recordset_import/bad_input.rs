//! Files that are not what they should be: each has its answer, and none leaves anything behind.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use super::{detail, recordset, uploaded};
use crate::{TestApp, client::send};

/// The objects that the app stores.
fn stored(app: &TestApp) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { count(&path) } else { 1 })
            .sum()
    }
    count(&app.folder.path().join("files"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_be_read_is_refused_with_its_reason_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0".to_vec();
    let wide = (0..2_001).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",").into_bytes();
    for (name, bytes, code) in [
        ("empty.csv", Vec::new(), "empty_file"),
        ("picture.csv", png, "wrong_format"),
        ("broken.xlsx", b"PK\x03\x04 and then nothing".to_vec(), "corrupt_file"),
        ("wide.csv", wide, "too_many_columns"),
    ] {
        let answer = owner.upload("/recordsets/import/upload", name, bytes).await.expect(422);
        assert_eq!(
            (&answer["error"], &answer["fields"]["file"][0]),
            (&json!("record_invalid"), &json!(code))
        );
    }
    assert_eq!(stored(&app), 0);
    let schema = format!("ws_{}", owner.workspace.as_ref().unwrap().replace('-', ""));
    assert_eq!(app.count(&format!("select count(*) from {schema}.files")).await, 0);
}

/// A workbook of some kilobytes whose sheet would be 64 MiB.
fn zip_bomb() -> Vec<u8> {
    let mut package = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for (name, megabytes) in
        [("[Content_Types].xml", 0), ("xl/workbook.xml", 0), ("xl/worksheets/sheet1.xml", 64)]
    {
        package.start_file(name, options).unwrap();
        package.write_all(b"<worksheet>").unwrap();
        for _ in 0..megabytes {
            package.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
    }
    package.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_bomb_is_refused_before_it_unfolds() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let bomb = zip_bomb();
    assert!(bomb.len() < 1 << 20, "small outside: {} bytes", bomb.len());

    let answer = owner.upload("/recordsets/import/upload", "bomb.xlsx", bomb).await.expect(422);

    assert_eq!(answer["fields"]["file"][0], "file_too_large_inside");
    assert_eq!(stored(&app), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_the_limit_is_refused_whether_or_not_it_says_its_size() {
    let app = TestApp::start_with(&[("MAX_UPLOAD_BYTES", "100000")]).await;
    let owner = app.owner().await;
    let path = "/recordsets/import/upload";
    let exact = "x".repeat(100_000);
    owner.upload(path, "exact.csv", exact).await.expect(201);
    let large = format!("a\n{}", "1\n".repeat(200_000));
    assert_eq!(owner.upload(path, "large.csv", large.clone()).await.error(413), "payload_too_large");

    // Without a Content-Length, only counting shows it.
    let head = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
    let body = format!("{head}{large}\r\n--B--\r\n");
    let pieces = body
        .into_bytes()
        .chunks(10_000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect::<Vec<_>>();
    let request = owner
        .request(reqwest::Method::POST, path)
        .header("Content-Type", "multipart/form-data; boundary=B")
        .body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)));
    assert_eq!(send(request).await.error(413), "payload_too_large");
    assert_eq!(stored(&app), 1, "only the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_have_their_documented_answers() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let stranger = app.owner().await;
    let file_uri = uploaded(&owner, "a.csv", "a\n1\n").await;
    let start = "/recordsets/import";

    let form = owner.request(reqwest::Method::POST, "/recordsets/import/upload").json(&json!({}));
    assert_eq!(send(form).await.error(415), "unsupported_media_type");
    assert_eq!(owner.post(start, json!({ "name": "A" })).await.error(422), "parameter_missing");
    for bad in ["file:1", "gs://bucket/x", "file:018f4e6c-aaaa-7aaa-8aaa-aaaaaaaaaaaa"] {
        let answer = owner.post(start, json!({ "name": "A", "file_uri": bad })).await.expect(422);
        assert!(answer["fields"]["file_uri"].is_array(), "{answer}");
    }
    let answer = stranger.post(start, json!({ "name": "A", "file_uri": file_uri })).await.expect(422);
    assert_eq!(
        answer["fields"]["file_uri"],
        json!(["names no uploaded file of this workspace, or one that has expired: upload it first"]),
        "another workspace's file is not found"
    );
    let nowhere = "/recordsets/import/records/018f4e6c-aaaa-7aaa-8aaa-aaaaaaaaaaaa";
    assert_eq!(owner.post(nowhere, json!({ "file_uri": file_uri })).await.error(404), "record_not_found");
    let answer =
        owner.post(start, json!({ "name": "A", "file_uri": file_uri, "stop_after_errors": 0 })).await;
    assert_eq!(answer.error(422), "record_invalid");
    let options = json!({ "encoding": "klingon" });
    let answer = owner.post(start, json!({ "name": "A", "file_uri": file_uri, "options": options })).await;
    assert_eq!(answer.error(422), "record_invalid");
    assert_eq!(owner.get("/recordsets").await.expect(200)["total"], 0, "nothing was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_rows_become_errors_and_no_good_row_is_lost() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let id = recordset(
        &owner,
        json!([{ "label": "Name", "field_type": "text" }, { "label": "n", "field_type": "integer" }]),
    )
    .await;
    let huge = "x".repeat(10 << 20);
    let csv = format!("Name,n,n\ngood,1,\nnul\0byte,2,\n{huge},3,\nshort\nalso good,5,\n");
    let file_uri = uploaded(&owner, "odd.csv", csv).await;
    let started = owner
        .post(&format!("/recordsets/import/records/{id}"), json!({ "file_uri": file_uri }))
        .await
        .expect(202);
    let end = owner.follow(&started).await;
    assert_eq!((&end["result"]["imported"], &end["result"]["failed"]), (&json!(2), &json!(3)), "{end}");
    let codes = detail(&owner, &started).await["validation"]["errors_by_code"].clone();
    assert_eq!(codes, json!({ "nul_character": 1, "ragged_row": 1, "too_long": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_alone_is_an_import_of_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, end) = owner.import("Nothing", "a,b,a\n").await;
    assert_eq!((&end["status"], &end["result"]["rows"]), (&json!("COMPLETED"), &json!(0)), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_columns_are_imported() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let line = |cell: &dyn Fn(usize) -> String| (0..2_000).map(cell).collect::<Vec<_>>().join(",");
    let csv = format!("{}\n{}\n", line(&|n| format!("c{n}")), line(&|n| n.to_string()));
    let (recordset, end) = owner.import("Wide", csv).await;
    assert_eq!(end["result"]["imported"], 1, "{end}");
    assert_eq!(recordset["fields"].as_array().map(Vec::len), Some(2_000));
    let list =
        owner.get(&format!("/records?recordset_id={}", recordset["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(list["items"][0]["data"]["c1999"], Value::from(1999));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanished_fails_its_import_with_that_reason() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let file_uri = uploaded(&owner, "a.csv", "a\n1\n").await;
    std::fs::remove_dir_all(app.folder.path().join("files")).unwrap();
    let started =
        owner.post("/recordsets/import", json!({ "file_uri": file_uri, "name": "A" })).await.expect(202);
    let end = owner.follow(&started).await;
    assert_eq!(end["error_message"], "the file no longer exists", "{end}");
}

/// A file system of one MiB, for as long as it lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(mounted.success(), "root can mount a small disk");
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_uploads_with_its_reason_and_keeps_nothing_of_them() {
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() != b"0" {
        eprintln!("skipped: only root can mount the small disk that this fills");
        return;
    }
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let _disk = SmallDisk::mount(&app.folder.path().join("files"));
    let large = format!("a\n{}", "1\n".repeat(2_000_000));

    assert_eq!(
        owner.upload("/recordsets/import/upload", "large.csv", large).await.error(503),
        "storage_full"
    );

    assert_eq!(stored(&app), 0);
    owner.upload("/recordsets/import/upload", "small.csv", "a\n1\n").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_new_recordset_whose_slug_is_taken_starts_nothing() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/recordsets", json!({ "name": "Things", "slug": "things" })).await.expect(201);
    let file_uri = uploaded(&owner, "rows.csv", "name\none\n").await;
    let asked = |slug: &str| json!({ "file_uri": file_uri, "name": "Other things", "slug": slug });

    let refused = owner.post("/recordsets/import", asked("things")).await;

    assert_eq!(refused.error(409), "slug_taken");
    assert_eq!(app.count("select count(*) from shard.all_jobs where kind = 'records.import'").await, 0);
    assert_eq!(owner.get("/recordsets").await.expect(200)["total"], 1);
    // The file is there for another try.
    owner.follow(&owner.post("/recordsets/import", asked("other")).await.expect(202)).await;
}
