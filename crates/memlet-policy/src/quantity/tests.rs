use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use proptest::prelude::*;

use super::*;

fn q(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn canonical_forms() {
    for (input, output) in [
        ("1024Ki", "1Mi"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("1024Mi", "1Gi"),
        ("1024", "1024"),
        ("1000e0", "1e3"),
        ("1025Ki", "1025Ki"),
        ("1000000", "1M"),
        ("1e2", "100"),
        ("2048Mi", "2Gi"),
        ("1000k", "1M"),
        ("1.7E18", "1700e15"),
        ("2000Mi", "2000Mi"),
        ("1500m", "1500m"),
        ("0.5e0", "500e-3"),
        ("1.5Gi", "1536Mi"),
        ("1000m", "1"),
        ("1e100", "10e99"),
        ("0.5Ki", "512"),
        ("1.5", "1500m"),
        ("12E", "12E"),
        ("0.001Ki", "1024m"),
        ("0.1m", "100u"),
        ("128974848000m", "128974848"),
        ("1.0001Ki", "1024102400u"),
        ("1.5G", "1500M"),
        ("0Mi", "0"),
        ("0.5Gi", "512Mi"),
        ("0.1Ki", "102400m"),
        ("100.035Ki", "102435840m"),
        ("1.1E-9", "2e-9"),
        ("1e-10", "1e-9"),
        ("-1e-10", "-1e-9"),
        ("8Ei", "9223372036854775807"),
        ("9Ei", "9223372036854775807"),
        ("1000Ei", "9223372036854775807"),
        ("100E", "100E"),
        ("1000E", "1e21"),
        ("1e30", "1e30"),
        ("9223372036854775808", "9223372036854775808"),
        ("-1Gi", "-1Gi"),
        ("-1.5Gi", "-1536Mi"),
        ("m", "0"),
        ("Mi", "0"),
        (".", "0"),
        ("-", "0"),
        // Kept as typed.
        ("01Ki", "01Ki"),
        ("+1Ki", "+1Ki"),
        ("+5", "+5"),
        ("1.", "1."),
        ("1.500", "1.500"),
        ("100.035k", "100.035k"),
        ("1E3", "1E3"),
        ("1e+3", "1e+3"),
        ("5E-3", "5E-3"),
        // Too long to be kept.
        ("+12345678901Ki", "+12345678901Ki"),
        ("+123456789013Ki", "123456789013Ki"),
        ("+123456789012345678", "+123456789012345678"),
        ("+1234567890123456789", "1234567890123456789"),
    ] {
        assert_eq!(q(input).to_string(), output, "{input}");
    }
}

#[test]
fn errors_are_upstreams() {
    use ParseQuantityError::{Format, Numeric, Suffix};
    for (input, error) in [
        ("", Format),
        ("1gi", Format),
        ("1MB", Format),
        ("5Gib", Format),
        ("128Mb", Format),
        ("1 Mi", Format),
        ("1_000", Format),
        ("1,5", Format),
        ("0x10", Format),
        ("1Ki5.", Format),
        ("inf", Format),
        ("nan", Format),
        ("banana", Format),
        ("１", Format),
        ("1K", Suffix),
        ("1ki", Suffix),
        ("1mi", Suffix),
        ("1e", Suffix),
        ("1Ki5", Suffix),
        ("1m5", Suffix),
        ("++1", Suffix),
        ("1KiB", Format),
        ("1e2147483648", Suffix),
        ("1e-2147483648", Suffix),
        ("1e99999999999999999999", Suffix),
        ("Pi", Numeric),
        ("e-10", Numeric),
    ] {
        assert_eq!(input.parse::<Quantity>(), Err(error), "{input:?}");
    }
    insta::assert_snapshot!(
        ParseQuantityError::Format,
        @"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert_eq!("9".repeat(MAX_DIGITS + 1).parse::<Quantity>(), Err(Numeric));
}

#[test]
fn whole_and_milli_values_round_away_from_zero() {
    for (input, value, milli) in [
        ("500m", 1, 500),
        ("-500m", -1, -500),
        ("1n", 1, 1),
        ("0.1Ki", 103, 102_400),
        ("1Ki", 1024, 1_024_000),
        ("1001m", 2, 1001),
        ("1e400", i64::MAX, i64::MAX),
        ("-1e400", i64::MIN, i64::MIN),
        ("8Ei", i64::MAX, i64::MAX),
    ] {
        assert_eq!((q(input).value(), q(input).milli_value()), (value, milli), "{input}");
    }
    assert_eq!((q("1e400").checked_value(), q("1e400").checked_milli_value()), (None, None));
    assert_eq!(q("8Ei").checked_value(), Some(i64::MAX));
    assert_eq!(q("8Ei").checked_milli_value(), None);
    assert_eq!(q("-1Gi").bytes(), Bytes::ZERO);
    assert_eq!(q("128G").bytes(), Bytes::new(128_000_000_000));
}

#[test]
fn huge_exponents_are_quick() {
    let start = Instant::now();
    for text in ["1e2147483648", "1e400", "1e1000", "1e-1000", "9.9e1000", "-1e1000"] {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let _ = (quantity.to_string(), quantity.value(), quantity.plus(&q("1n")).to_string());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}

#[test]
fn defaulting_rounds_up_to_milli() {
    for (input, output) in
        [("1n", "1m"), ("1500m", "1500m"), ("1.0001Ki", "1024103m"), ("01Ki", "01Ki"), ("-1n", "-1m")]
    {
        assert_eq!(q(input).round_up_to_milli().to_string(), output, "{input}");
    }
}

#[test]
fn sums_keep_the_left_format() {
    for (left, right, sum) in [
        ("1Ki", "1k", "2024"),
        ("1k", "1Ki", "2024"),
        ("0", "1Mi", "1Mi"),
        ("1Gi", "1M", "1074741824"),
        ("1e3", "1", "1001"),
    ] {
        assert_eq!(q(left).plus(&q(right)).to_string(), sum, "{left} + {right}");
    }
    assert_eq!(q("1Gi").minus(&q("512Mi")).to_string(), "512Mi");
}

#[test]
fn a_binary_part_of_one_counts_as_decimal() {
    let half = q("0.00048828125Ki");
    assert_eq!((half.format(), half.to_string().as_str()), (Format::DecimalSi, "500m"));
    assert_eq!(half.plus(&q("2047.5")).to_string(), "2048");
    assert_eq!(q("1.5Ki").format(), Format::BinarySi);
}

#[test]
fn api_texts_are_trimmed_and_written_back() {
    let api = ApiQuantity(" 1024Ki\n".to_owned());
    assert_eq!(ApiQuantity::from(Quantity::try_from(&api).unwrap()), ApiQuantity("1Mi".to_owned()));
    assert!(" 1Ki".parse::<Quantity>().is_err());
    assert_eq!(Quantity::from_bytes(Bytes::from_kib(16_374_148)).to_string(), "16374148Ki");
}

#[test]
fn sizes_say_what_was_meant() {
    assert_eq!(parse_size("2041888Ki").unwrap(), Bytes::from_kib(2_041_888));
    assert_eq!(parse_size("1e3").unwrap(), Bytes::new(1000));
    let said = |text: &str| parse_size(text).unwrap_err().to_string();
    insta::assert_snapshot!(said("128Mb"), @r#""128Mb" is not a size: did you mean 128Mi or 128M?"#);
    insta::assert_snapshot!(said("128 MiB"), @r#""128 MiB" is not a size: did you mean 128Mi?"#);
    insta::assert_snapshot!(said("1K"), @r#""1K" is not a size: did you mean 1Ki or 1k?"#);
    insta::assert_snapshot!(said("128m"), @r#""128m" is not a whole number of bytes: did you mean 128Mi or 128M?"#);
    insta::assert_snapshot!(said("512B"), @r#""512B" is not a size: did you mean 512?"#);
    insta::assert_snapshot!(said("1.5"), @r#""1.5" is not a whole number of bytes: write bytes (134217728) or a number with a suffix such as 128Mi, 128M or 1.5Gi"#);
    insta::assert_snapshot!(said("2 gigabytes"), @r#""2 gigabytes" is not a size: did you mean 2Gi or 2G?"#);
    insta::assert_snapshot!(said("-1"), @r#""-1" is not a size: a size cannot be negative"#);
    insta::assert_snapshot!(said("1e400"), @r#""1e400" is too large: sizes end at 9223372036854775807 bytes, just under 8Ei"#);
    insta::assert_snapshot!(said("9Ei"), @r#""9Ei" is too large: sizes end at 9223372036854775807 bytes, just under 8Ei"#);
    insta::assert_snapshot!(said("Mi"), @r#""Mi" is not a size: write bytes (134217728) or a number with a suffix such as 128Mi, 128M or 1.5Gi"#);
}

#[test]
fn fractions_of_a_byte_warn() {
    let warning = fractional_bytes("spec.containers[0].resources.requests[memory]", &q("500m")).unwrap();
    insta::assert_snapshot!(warning, @r#"spec.containers[0].resources.requests[memory]: fractional byte value "500m" is invalid, must be an integer"#);
    assert_eq!(fractional_bytes("", &q("0.5Ki")), None);
}

fn quantity_text() -> impl Strategy<Value = String> {
    let suffix = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"
        ])
        .prop_map(str::to_owned),
        (-30_i32..60).prop_map(|exponent| format!("e{exponent}")),
    ];
    ("[+-]?", "[0-9]{1,24}", prop::option::of("[0-9]{0,14}"), suffix).prop_map(
        |(sign, whole, fraction, suffix)| {
            format!(
                "{sign}{whole}{}{suffix}",
                fraction.map(|digits| format!(".{digits}")).unwrap_or_default()
            )
        },
    )
}

proptest! {
    #[test]
    fn printing_and_reading_keeps_the_value(text in quantity_text()) {
        let quantity = q(&text);
        prop_assert_eq!(&q(&quantity.to_string()), &quantity);
        prop_assert_eq!(&q(&quantity.canonical()), &quantity);
        // Canonical text is a fixed point.
        prop_assert_eq!(q(&quantity.canonical()).canonical(), quantity.canonical());
    }

    #[test]
    fn order_agrees_with_subtraction(left in quantity_text(), right in quantity_text()) {
        let (left, right) = (q(&left), q(&right));
        let difference = left.minus(&right);
        let expected = if difference.is_zero() { Ordering::Equal }
            else if difference.is_negative() { Ordering::Less } else { Ordering::Greater };
        prop_assert_eq!(left.cmp(&right), expected);
        prop_assert_eq!(difference.plus(&right), left);
    }

    #[test]
    fn order_agrees_with_integers(left: i64, right: i64) {
        let (a, b) = (q(&left.to_string()), q(&format!("{right}e0")));
        prop_assert_eq!(a.cmp(&b), left.cmp(&right));
        prop_assert_eq!(a.value(), left);
    }

    #[test]
    fn value_is_the_next_whole_number(text in quantity_text()) {
        let quantity = q(&text);
        if let Some(value) = quantity.checked_value() {
            let whole = Quantity::from_integer(value, Format::DecimalSi);
            let distance = if quantity.is_negative() { quantity.minus(&whole) } else { whole.minus(&quantity) };
            prop_assert!(!distance.is_negative() && distance < q("1"), "{} is {} from {}", value, distance, quantity);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,12}|[0-9+.eEinumkKMGTP-]{0,16}") {
        let _ = (text.parse::<Quantity>(), parse_size(&text));
    }
}
