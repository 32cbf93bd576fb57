//! The samples of `docs/` are code: what a page shows is in a file that is compiled and run.

use std::{fs, path::Path};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between lines that begin and end with these marks.
fn between(text: &str, begin: &str, end: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part: Option<String> = None;
    for line in text.lines() {
        match &mut part {
            None if line.starts_with(begin) => part = Some(String::new()),
            Some(_) if line == end => parts.extend(part.take()),
            Some(part) => {
                part.push_str(line);
                part.push('\n');
            }
            None => {}
        }
    }
    assert!(part.is_none(), "{begin} has no {end}");
    parts
}

#[test]
fn the_page_for_web_developers_shows_its_samples_as_they_are() {
    let shown = between(&read("docs/web-developers.md"), "```ts", "```");
    let samples = between(&read("docs/samples/watching.ts"), "// #region ", "// #endregion");
    assert_eq!(shown, samples);
}
