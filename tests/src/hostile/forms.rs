//! Forms that are mostly something else than the file.

use super::wire::{Wire, head};
use crate::TestApp;

const UPLOAD: &str = "POST /api/v1/recordsets/import/upload";
const PICTURE: &str = "POST /api/v1/auth/me/avatar";

/// The answer to a form with that Content-Length, of which only these bytes arrive.
async fn answer(app: &TestApp, request: &str, length: usize, comes: &[u8]) -> (u16, String) {
    let owner = app.owner().await;
    let mut wire = Wire::open(&app.base).await;
    let headers = format!("Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {length}\r\n");
    wire.say(head(&owner, request, &headers)).await;
    wire.say(comes).await;
    wire.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_s_header_of_megabytes_is_refused_after_a_few_of_its_bytes() {
    let app = TestApp::start().await;
    let line = [&b"--B\r\nContent-Disposition: "[..], &vec![b'x'; 80 << 10]].concat();
    let before = vec![b'x'; 80 << 10];
    for request in [UPLOAD, PICTURE] {
        for comes in [&line, &before] {
            let (status, text) = answer(&app, request, 4 << 20, comes).await;
            assert_eq!(status, 413, "{request}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_larger_than_a_small_file_may_be_is_refused_by_its_head() {
    let app = TestApp::start().await;
    let (status, text) = answer(&app, PICTURE, 6 << 20, b"--B\r\n").await;
    assert_eq!(status, 413, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_very_many_parts_is_refused() {
    let app = TestApp::start().await;
    let parts = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n".repeat(40);
    let (status, text) = answer(&app, UPLOAD, 1 << 20, parts.as_bytes()).await;
    assert_eq!(status, 422, "{text}");
}
