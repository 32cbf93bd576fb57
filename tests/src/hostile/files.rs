//! Files that are not worth their weight, and a store with no room for them.

use std::{
    io::{Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::wire::{Wire, head};
use crate::{
    Client, Cluster, TestApp,
    app::new_signup,
    cluster::{FILE_SIZE, wait_until},
};

/// A spreadsheet of one row, as often as that.
fn repeated(times: u32) -> Vec<u8> {
    let row = |times: u32, text: &str| {
        format!(
            "<table:table-row table:number-rows-repeated=\"{times}\"><table:table-cell office:value-type=\"string\">\
             <text:p>{text}</text:p></table:table-cell></table:table-row>"
        )
    };
    let content = format!(
        "<?xml version=\"1.0\"?><office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\">\
         <office:body><office:spreadsheet><table:table table:name=\"S\">{}{}</table:table></office:spreadsheet>\
         </office:body></office:document-content>",
        row(1, "name"),
        row(times, "the same again"),
    );
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, part) in
        [("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", content.as_str())]
    {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(part.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_spreadsheet_repeats_count_against_its_size() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let few = owner.upload("/recordsets/import/upload", "few.ods", repeated(500)).await.expect(201);
    assert_eq!((&few["analysis"]["row_count"], &few["analysis"]["is_complete"]), (&500.into(), &true.into()));
    let many = owner.upload("/recordsets/import/upload", "many.ods", repeated(200_000)).await;
    assert_eq!(many.status, 422, "{}", many.text);
    assert!(many.text.contains("file_too_large_inside"), "{}", many.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fills_the_disk_is_answered_with_an_error() {
    let mut cluster = Cluster::start().await;
    cluster.start_process_with("api", &[(FILE_SIZE, "2048")]);
    wait_until("the API is ready", || cluster.is_ready()).await;
    let owner = cluster.owner().await;
    // It sends all it has before it looks for an answer, as many clients do.
    let file = vec![b'x'; 40 << 20];
    let start = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
    let headers = format!(
        "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {}\r\n",
        start.len() + file.len() + 9
    );
    let mut wire = Wire::open(&cluster.base).await;
    wire.say(head(&owner, "POST /api/v1/recordsets/import/upload", &headers) + start).await;
    wire.say(file).await;
    wire.say("\r\n--B--\r\n").await;
    let (status, text) = wire.answer().await;
    assert_eq!(status, 503, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_and_mailed_is_for_its_owner_alone() {
    let cluster = Cluster::start().await;
    let (anonymous, signup) = (Client::anonymous(&cluster.base), new_signup());
    let owner =
        anonymous.clone().signed_in(&anonymous.post("/auth/signup", signup.clone()).await.expect(201));
    owner.upload("/recordsets/import/upload", "a.csv", b"name\none\n").await.expect(201);
    let forgotten = json!({ "email": signup["email"] });
    anonymous.post("/auth/request-password-reset", forgotten).await;
    for folder in ["files", "mail"] {
        let folder = cluster.folder.path().join(folder);
        wait_until("something is there", || async {
            folder.read_dir().is_ok_and(|mut entries| entries.next().is_some())
        })
        .await;
        check_private(&folder);
    }
}

fn check_private(path: &Path) {
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    if path.is_dir() {
        path.read_dir().unwrap().for_each(|entry| check_private(&entry.unwrap().path()));
    }
}
