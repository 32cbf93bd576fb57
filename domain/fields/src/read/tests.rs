//! What each type takes, what it stores, and what it says about the rest.

use chrono::NaiveDate;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Cell, Field, FieldType, Written, code};

/// What the field stores for a cell's text: JSON, `null` for nothing, or the code of the refusal.
fn stored(field: &Field, text: &str) -> Result<Value, &'static str> {
    cell(field, Cell::Text(text))
}

fn cell(field: &Field, cell: Cell<'_>) -> Result<Value, &'static str> {
    let mut out = b"before".to_vec();
    let written = field.write_cell(cell, &mut out);
    let json = out.strip_prefix(b"before").expect("what was there stays");
    match written {
        Ok(Written::Value) => Ok(serde_json::from_slice(json).expect("valid JSON")),
        Ok(Written::Empty) => {
            assert_eq!(json, b"");
            Ok(Value::Null)
        }
        Err(invalid) => {
            assert_eq!(json, b"", "a refused value leaves nothing behind");
            Err(invalid.code)
        }
    }
}

fn check(field_type: FieldType, cases: &[(&str, Result<Value, &'static str>)]) {
    let field = Field::new("Field", field_type);
    for (text, expected) in cases {
        assert_eq!(&stored(&field, text), expected, "{field_type:?} {text:?}");
    }
}

#[test]
fn text_is_kept_as_it_is_up_to_its_limit() {
    check(FieldType::Text, &[("  two words ", Ok(json!("  two words "))), (" \t ", Ok(Value::Null))]);
    check(
        FieldType::Text,
        &[("a\"\\\n\u{1}é😀", Ok(json!("a\"\\\n\u{1}é😀"))), ("a\0b", Err(code::NUL_CHARACTER))],
    );
    let text = Field::new("Text", FieldType::Text);
    assert!(stored(&text, &"é".repeat(10_000)).is_ok());
    assert_eq!(stored(&text, &"é".repeat(10_001)), Err(code::TOO_LONG));
    let long = Field::new("Long", FieldType::LongText);
    assert!(stored(&long, &"x".repeat(1_000_000)).is_ok());
    assert_eq!(stored(&long, &"x".repeat(1_000_001)), Err(code::TOO_LONG));
    assert_eq!(stored(&long, &"x".repeat(10 << 20)), Err(code::TOO_LONG));
}

#[test]
fn integers_are_exact_and_have_one_reading() {
    check(
        FieldType::Integer,
        &[
            ("42", Ok(json!(42))),
            (" -7 ", Ok(json!(-7))),
            ("0", Ok(json!(0))),
            ("-0", Ok(json!(0))),
            ("007", Ok(json!(7))),
            ("+5", Ok(json!(5))),
            ("12.0", Ok(json!(12))),
            ("1e3", Ok(json!(1000))),
            ("1,234,567", Ok(json!(1_234_567))),
            ("1 234", Ok(json!(1234))),
            ("9223372036854775807", Ok(json!(i64::MAX))),
            ("-9223372036854775808", Ok(json!(i64::MIN))),
            ("9223372036854775808", Err(code::OUT_OF_RANGE)),
            ("1,234", Err(code::NOT_AN_INTEGER)),
            ("1.5", Err(code::NOT_AN_INTEGER)),
            ("0x10", Err(code::NOT_AN_INTEGER)),
            ("--1", Err(code::NOT_AN_INTEGER)),
            ("-", Err(code::NOT_AN_INTEGER)),
        ],
    );
}

#[test]
fn decimals_keep_their_scale_and_never_become_floats() {
    check(
        FieldType::Decimal,
        &[
            ("1234.50", Ok(json!("1234.50"))),
            ("0.10", Ok(json!("0.10"))),
            ("-0.00", Ok(json!("0.00"))),
            ("007.5", Ok(json!("7.5"))),
            (".5", Ok(json!("0.5"))),
            ("1,234.50", Ok(json!("1234.50"))),
            ("1.234,50", Ok(json!("1234.50"))),
            ("1 234 567,5", Ok(json!("1234567.5"))),
            ("1'234.5", Ok(json!("1234.5"))),
            ("1.234.567", Ok(json!("1234567"))),
            ("0,125", Ok(json!("0.125"))),
            ("12,34", Ok(json!("12.34"))),
            ("-1,5", Ok(json!("-1.5"))),
            ("1.5e3", Ok(json!("1500"))),
            ("15E-4", Ok(json!("0.0015"))),
            ("79228162514264337593543950335", Ok(json!("79228162514264337593543950335"))),
            ("79228162514264337593543950336", Err(code::OUT_OF_RANGE)),
            ("1e-40", Err(code::OUT_OF_RANGE)),
            ("1e999999999999", Err(code::OUT_OF_RANGE)),
            ("1,234", Err(code::NOT_A_DECIMAL)),
            ("1,23,456", Err(code::NOT_A_DECIMAL)),
            ("1,234.5,6", Err(code::NOT_A_DECIMAL)),
            ("12 34", Err(code::NOT_A_DECIMAL)),
            ("1.", Err(code::NOT_A_DECIMAL)),
            (".", Err(code::NOT_A_DECIMAL)),
            (",", Err(code::NOT_A_DECIMAL)),
            ("NaN", Err(code::NOT_A_DECIMAL)),
            ("$5", Err(code::NOT_A_DECIMAL)),
        ],
    );
    let field = Field::new("Price", FieldType::Decimal);
    assert_eq!(cell(&field, Cell::Float(0.1)), Ok(json!("0.1")));
    assert_eq!(cell(&field, Cell::Float(f64::NAN)), Err(code::NOT_A_DECIMAL));
    assert_eq!(cell(&field, Cell::Float(1e300)), Err(code::OUT_OF_RANGE));
}

#[test]
fn booleans_are_the_usual_words() {
    for (text, yes) in [("TRUE", true), ("y", true), ("On", true), ("1", true), ("no", false), ("0", false)] {
        check(FieldType::Boolean, &[(text, Ok(json!(yes)))]);
    }
    check(FieldType::Boolean, &[("maybe", Err(code::NOT_A_BOOLEAN)), ("2", Err(code::NOT_A_BOOLEAN))]);
}

#[test]
fn dates_are_read_in_every_format_that_has_one_reading() {
    check(
        FieldType::Date,
        &[
            ("2026-11-05", Ok(json!("2026-11-05"))),
            ("2026/1/5", Ok(json!("2026-01-05"))),
            ("05.11.2026", Ok(json!("2026-11-05"))),
            ("25/12/2026", Ok(json!("2026-12-25"))),
            ("12/25/2026", Ok(json!("2026-12-25"))),
            ("04/04/2026", Ok(json!("2026-04-04"))),
            ("2024-02-29", Ok(json!("2024-02-29"))),
            ("2026-11-05T00:00:00Z", Ok(json!("2026-11-05"))),
            ("03/04/2026", Err(code::AMBIGUOUS_DATE)),
            ("2026-02-29", Err(code::NOT_A_DATE)),
            ("13/13/2026", Err(code::NOT_A_DATE)),
            ("0000-01-01", Err(code::NOT_A_DATE)),
            ("2026-11-05 10:00", Err(code::NOT_A_DATE)),
            ("5.11.26", Err(code::NOT_A_DATE)),
            ("2026-11-05x", Err(code::NOT_A_DATE)),
            ("2026é11-05", Err(code::NOT_A_DATE)),
            ("today", Err(code::NOT_A_DATE)),
        ],
    );
}

#[test]
fn points_in_time_become_utc() {
    check(
        FieldType::Datetime,
        &[
            ("2026-11-05T08:30:00Z", Ok(json!("2026-11-05T08:30:00Z"))),
            ("2026-11-05 08:30", Ok(json!("2026-11-05T08:30:00Z"))),
            ("2026-11-05T08:30:00.5+02:00", Ok(json!("2026-11-05T06:30:00.500Z"))),
            ("2026-11-05T00:30:00.123456789+0130", Ok(json!("2026-11-04T23:00:00.123456Z"))),
            ("2026-11-05 23:30:00 -05", Ok(json!("2026-11-06T04:30:00Z"))),
            ("2026-11-05", Ok(json!("2026-11-05T00:00:00Z"))),
            ("11/25/2026 12:05 AM", Ok(json!("2026-11-25T00:05:00Z"))),
            ("25.11.2026 8:05:09 pm", Ok(json!("2026-11-25T20:05:09Z"))),
            ("2026-11-05T08:30:00 UTC", Ok(json!("2026-11-05T08:30:00Z"))),
            ("03/04/2026 10:00", Err(code::AMBIGUOUS_DATE)),
            ("2026-11-05T24:00", Err(code::NOT_A_DATETIME)),
            ("2026-11-05T08:60", Err(code::NOT_A_DATETIME)),
            ("2026-11-05T8", Err(code::NOT_A_DATETIME)),
            ("2026-11-05T08:30:00+25:00", Err(code::NOT_A_DATETIME)),
            ("2026-11-05T08:30:00Zulu", Err(code::NOT_A_DATETIME)),
            ("2026-11-05T08:30:00.é", Err(code::NOT_A_DATETIME)),
            ("0001-01-01T00:00:00+01:00", Err(code::OUT_OF_RANGE)),
        ],
    );
    let at =
        NaiveDate::from_ymd_opt(2026, 11, 5).and_then(|date| date.and_hms_milli_opt(8, 0, 0, 250)).unwrap();
    assert_eq!(
        cell(&Field::new("At", FieldType::Datetime), Cell::DateTime(at)),
        Ok(json!("2026-11-05T08:00:00.250Z"))
    );
    assert_eq!(cell(&Field::new("On", FieldType::Date), Cell::DateTime(at)), Err(code::NOT_A_DATE));
    assert_eq!(cell(&Field::new("On", FieldType::Date), Cell::Date(at.date())), Ok(json!("2026-11-05")));
}

#[test]
fn contact_fields_refuse_common_mistakes() {
    for good in ["ada@example.org", "o'neil+x@mail.example.co.uk", "jürgen@müller.de"] {
        check(FieldType::Email, &[(good, Ok(json!(good)))]);
    }
    for bad in [
        "ada",
        "ada@example",
        "a b@example.org",
        "@example.org",
        "a@b@example.org",
        "a..b@example.org",
        "a@1.2.3.4",
    ] {
        check(FieldType::Email, &[(bad, Err(code::NOT_AN_EMAIL))]);
    }
    for good in [
        "https://example.org",
        "http://10.0.0.1:80/a?b#c",
        "ftp://files.example.org/x",
        "mailto:a@example.org",
        "https://müller.de/ä",
    ] {
        check(FieldType::Url, &[(good, Ok(json!(good)))]);
    }
    for bad in [
        "example.org",
        "javascript:alert(1)",
        "https://",
        "https:x.org",
        "https://a b.org",
        "http://1.2.3.999/",
    ] {
        check(FieldType::Url, &[(bad, Err(code::NOT_A_URL))]);
    }
    check(
        FieldType::Phone,
        &[
            (" +49 (30) 1234-567 ", Ok(json!("+49 (30) 1234-567"))),
            ("1234", Err(code::NOT_A_PHONE)),
            ("1234567890123456", Err(code::NOT_A_PHONE)),
            ("12+34567", Err(code::NOT_A_PHONE)),
            ("555-CALL-NOW", Err(code::NOT_A_PHONE)),
        ],
    );
}

#[test]
fn choices_store_the_options_own_spelling() {
    let open = Field::new("Stage", FieldType::Choice);
    assert_eq!(stored(&open, " anything "), Ok(json!("anything")));
    let stage = open.with_options(["Lead", "Gewonnen Ä"]);
    assert_eq!(stored(&stage, "lead"), Ok(json!("Lead")));
    assert_eq!(stored(&stage, "gewonnen ä"), Ok(json!("Gewonnen Ä")));
    assert_eq!(stored(&stage, "lost"), Err(code::NOT_A_CHOICE));
    let tags = Field::new("Tags", FieldType::MultiChoice).with_options(["red", "green", "a, b"]);
    assert_eq!(stored(&tags, "red; GREEN ;red;"), Ok(json!(["red", "green"])));
    assert_eq!(stored(&tags, "red|green"), Ok(json!(["red", "green"])));
    assert_eq!(stored(&tags, "a, b"), Ok(json!(["a, b"])));
    assert_eq!(stored(&tags, r#"["red"]"#), Ok(json!(["red"])));
    assert_eq!(stored(&tags, "red,blue"), Err(code::NOT_A_CHOICE));
    assert_eq!(stored(&tags, ";;"), Ok(Value::Null));
    assert_eq!(tags.accept_json(&json!(["green", 1])).unwrap_err().code, code::WRONG_TYPE);
    assert_eq!(tags.accept_json(&json!([])).unwrap(), Value::Null);
    assert_eq!(tags.required().accept_json(&json!([])).unwrap_err().code, code::REQUIRED);
}

#[test]
fn json_is_anything_that_can_be_stored() {
    check(
        FieldType::Json,
        &[
            (r#"{"a":[1,null]}"#, Ok(json!({"a": [1, null]}))),
            ("not json", Err(code::NOT_JSON)),
            (r#"{"a":["\u0000"]}"#, Err(code::NUL_CHARACTER)),
            (r#"{"a\u0000":1}"#, Err(code::NUL_CHARACTER)),
            (r#""\ud800""#, Err(code::NOT_JSON)),
            ("1e400", Err(code::NOT_JSON)),
        ],
    );
    let field = Field::new("Extra", FieldType::Json);
    assert_eq!(stored(&field, &"[".repeat(100_000)), Err(code::NOT_JSON));
    assert_eq!(field.accept_json(&json!("plain")).unwrap(), json!("plain"));
    assert_eq!(field.accept_json(&json!({"a": {"b": "\u{0}"}})).unwrap_err().code, code::NUL_CHARACTER);
    let mut deep = json!(1);
    for _ in 0..1_000 {
        deep = json!([deep]);
    }
    assert_eq!(field.accept_json(&deep).unwrap_err().code, code::NOT_JSON);
}

#[test]
fn points_are_stored_longitude_first() {
    let berlin = json!({"type": "Point", "coordinates": [13.4, 52.5]});
    for text in [
        "52.5,13.4",
        "52.5 13.4",
        "(52.5; 13.4)",
        "POINT(13.4 52.5)",
        "SRID=4326;point z (13.4 52.5 34)",
        r#"{"type":"Point","coordinates":[13.4,52.5,34]}"#,
        r#"{"lat":52.5,"lng":"13.4"}"#,
    ] {
        check(FieldType::GeoPoint, &[(text, Ok(berlin.clone()))]);
    }
    let field = Field::new("Where", FieldType::GeoPoint);
    assert_eq!(field.accept_json(&json!({"latitude": 52.5, "longitude": 13.4})).unwrap(), berlin);
    check(
        FieldType::GeoPoint,
        &[
            ("91,0", Err(code::OUT_OF_RANGE)),
            ("0,181", Err(code::OUT_OF_RANGE)),
            ("NaN,0", Err(code::NOT_A_POINT)),
            ("here", Err(code::NOT_A_POINT)),
            ("1", Err(code::NOT_A_POINT)),
            ("POINT EMPTY", Err(code::NOT_A_POINT)),
            ("LINESTRING(0 0,1 1)", Err(code::NOT_A_POINT)),
            (r#"{"type":"Point","coordinates":[1]}"#, Err(code::NOT_A_POINT)),
        ],
    );
}

#[test]
fn geometries_are_whole_before_they_are_stored() {
    let square =
        json!({"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]});
    let collection = json!({"type": "GeometryCollection", "geometries": [square]});
    check(
        FieldType::Geometry,
        &[
            ("POLYGON((0 0, 1 0, 1 1, 0 0))", Ok(square.clone())),
            ("GEOMETRYCOLLECTION(POLYGON((0 0,1 0,1 1,0 0)))", Ok(collection)),
            (
                "MULTIPOINT((1 2),(3 4))",
                Ok(json!({"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]})),
            ),
            (
                "MULTIPOINT(1 2, 3 4)",
                Ok(json!({"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]})),
            ),
            (
                &json!({"type": "Point", "coordinates": [1, 2], "bbox": [1]}).to_string(),
                Ok(json!({"type": "Point", "coordinates": [1, 2]})),
            ),
            ("POLYGON((0 0, 1 0, 1 1, 0 1))", Err(code::NOT_A_GEOMETRY)),
            ("LINESTRING(0 0)", Err(code::NOT_A_GEOMETRY)),
            ("POLYGON EMPTY", Err(code::NOT_A_GEOMETRY)),
            ("POINT(3500000 5800000)", Err(code::OUT_OF_RANGE)),
            (r#"{"type":"Circle","coordinates":[]}"#, Err(code::NOT_A_GEOMETRY)),
            (r#"{"type":"LineString","coordinates":[[0,0],["a",1]]}"#, Err(code::NOT_A_GEOMETRY)),
            ("", Ok(Value::Null)),
        ],
    );
    let deep = format!("{}POINT(0 0){}", "GEOMETRYCOLLECTION(".repeat(100_000), ")".repeat(100_000));
    check(FieldType::Geometry, &[(&deep, Err(code::NOT_A_GEOMETRY))]);
}

#[test]
fn polygons_enclose_an_area() {
    let field = Field::new("Area", FieldType::Geometry);
    let said =
        |text: &str| field.accept_json(&json!(text)).map_err(|invalid| (invalid.code, invalid.message));
    for good in [
        "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 2 1, 2 2, 1 1))",
        "POLYGON((0 0, 2 0, 4 0, 4 4, 0 0))", // a corner on a straight line
        "POLYGON((0 0, 4 0, 4 0, 4 4, 0 0))", // the same position twice
        "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (0 0, 1 2, 2 1, 0 0))", // a hole that touches in a point
        "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((1 1,2 1,2 2,1 1)))",
        "LINESTRING(0 0, 2 2, 2 0, 0 2)", // lines may cross themselves
    ] {
        assert!(said(good).is_ok(), "{good}: {:?}", said(good));
    }
    let crosses = "the polygon's outline crosses itself or doubles back at";
    for (bad, message) in [
        ("POLYGON((0 0, 2 2, 2 0, 0 2, 0 0))", format!("{crosses} 1 1")),
        ("MULTIPOLYGON(((5 5,6 5,6 6,5 5)),((0 0,2 2,2 0,0 2,0 0)))", format!("{crosses} 1 1")),
        ("GEOMETRYCOLLECTION(POLYGON((0 0, 2 2, 2 0, 0 2, 0 0)))", format!("{crosses} 1 1")),
        ("POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (2 2, 6 2, 2 3, 2 2))", format!("{crosses} 4 2")),
        ("POLYGON((7 7, 7 7, 7 7, 7 7))", "a ring of the polygon encloses no area".to_owned()),
        (
            "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (5 5, 6 5, 6 6, 5 5))",
            "a hole lies outside of the polygon".to_owned(),
        ),
    ] {
        assert_eq!(said(bad), Err((code::NOT_A_GEOMETRY, message)), "{bad}");
    }
    for doubling_back in [
        "POLYGON((0 0, 4 0, 4 4, 4 8, 4 4, 0 0))",
        "POLYGON((0 0, 4 0, 0 0, 0 0))",
        "POLYGON((0 0,1 1,2 2,0 0))",
    ] {
        let (code, message) = said(doubling_back).unwrap_err();
        assert_eq!(code, code::NOT_A_GEOMETRY);
        assert!(message.starts_with(crosses), "{doubling_back}: {message}");
    }
}

/// A comb of long diagonal teeth: all edges lie near each other, and looking at every pair would take minutes.
#[test]
fn a_polygon_that_is_too_much_to_check_is_taken_as_it_is() {
    let teeth = 20_000;
    let at = |n: i32| f64::from(n) * 0.001;
    let there = (0..teeth).flat_map(|n| [[at(n), 0.0], [at(n) + 50.0, 50.0]]);
    let back = [[160.0, 60.0], [160.0, -1.0], [0.0, -1.0], [0.0, 0.0]];
    let ring: Vec<[f64; 2]> = there.chain(back).collect();
    let field = Field::new("Area", FieldType::Geometry);
    assert!(field.accept_json(&json!({ "type": "Polygon", "coordinates": [ring] })).is_ok());
}

#[test]
fn a_required_field_takes_nothing_blank() {
    let field = Field::new("Name", FieldType::Text).required();
    assert_eq!(stored(&field, "  "), Err(code::REQUIRED));
    assert_eq!(cell(&field, Cell::Empty), Err(code::REQUIRED));
    assert_eq!(field.accept_json(&Value::Null).unwrap_err().code, code::REQUIRED);
}

#[test]
fn the_api_takes_only_json_of_the_types_own_kind() {
    let cases = [
        (FieldType::Text, json!(5), Err(code::WRONG_TYPE)),
        (FieldType::Text, json!(["a"]), Err(code::WRONG_TYPE)),
        (FieldType::Integer, json!(5), Ok(json!(5))),
        (FieldType::Integer, json!(5.0), Ok(json!(5))),
        (FieldType::Integer, json!(5.5), Err(code::NOT_AN_INTEGER)),
        (FieldType::Integer, json!(u64::MAX), Err(code::OUT_OF_RANGE)),
        (FieldType::Integer, json!(true), Err(code::WRONG_TYPE)),
        (FieldType::Decimal, json!(1.25), Ok(json!("1.25"))),
        (FieldType::Decimal, json!(u64::MAX), Ok(json!("18446744073709551615"))),
        (FieldType::Boolean, json!(false), Ok(json!(false))),
        (FieldType::Boolean, json!(1), Ok(json!(true))),
        (FieldType::Date, json!(20_260_101), Err(code::WRONG_TYPE)),
        (FieldType::GeoPoint, json!([1, 2]), Err(code::WRONG_TYPE)),
        (FieldType::Geometry, json!({"type": "Point"}), Err(code::NOT_A_GEOMETRY)),
    ];
    for (field_type, value, expected) in cases {
        let got = Field::new("Field", field_type).accept_json(&value).map_err(|invalid| invalid.code);
        assert_eq!(got, expected, "{field_type:?} {value}");
    }
}

#[test]
fn numbers_of_a_spreadsheet_are_good_text() {
    assert_eq!(cell(&Field::new("Zip", FieldType::Text), Cell::Int(10115)), Ok(json!("10115")));
    assert_eq!(
        cell(&Field::new("Phone", FieldType::Phone), Cell::Float(4_930_123_456.0)),
        Ok(json!("4930123456"))
    );
    let nested = json!({"a": 1});
    assert_eq!(cell(&Field::new("Note", FieldType::LongText), Cell::Json(&nested)), Ok(json!(r#"{"a":1}"#)));
    assert_eq!(cell(&Field::new("Mail", FieldType::Email), Cell::Json(&nested)), Err(code::WRONG_TYPE));
}

/// Text that is often almost right, so that both outcomes are met.
fn likely_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+]?[0-9]{0,20}([.,][0-9]{0,4}){0,3}(e[-+]?[0-9]{1,3})?",
        "[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
        "[a-z.]{1,5}@[a-z.]{1,9}",
        "https?://[a-z.]{0,9}(/[a-z?#%]{0,5})?",
        "-?[0-9]{1,3}(\\.[0-9]{1,6})?[,; ]-?[0-9]{1,3}(\\.[0-9]{1,6})?",
        "(POINT|LINESTRING|POLYGON) ?\\(+[0-9]{1,2} [0-9]{1,2}(, [0-9]{1,2} [0-9]{1,2}){0,4}\\)+",
        "(true|false|yes|no|red|green|;|\\||,| ){0,4}",
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn a_files_text_and_the_apis_string_are_stored_alike(text in likely_text(), options in any::<bool>()) {
        for field_type in FieldType::ALL {
            // A JSON field stores the API's string as a string and a file's text as the JSON it spells.
            if field_type == FieldType::Json {
                continue;
            }
            let mut field = Field::new("Field", field_type);
            if options && field_type.has_options() {
                field = field.with_options(["red", "green"]);
            }
            let from_api = field.accept_json(&Value::String(text.clone())).map_err(|invalid| invalid.code);
            prop_assert_eq!(stored(&field, &text), from_api, "{:?}", field_type);
        }
    }

    #[test]
    fn what_is_stored_is_accepted_again_and_stays_the_same(text in likely_text()) {
        for field_type in FieldType::ALL {
            let field = Field::new("Field", field_type);
            if let Ok(once) = stored(&field, &text) {
                prop_assert_eq!(field.accept_json(&once).map_err(|invalid| invalid.code), Ok(once));
            }
        }
    }
}
