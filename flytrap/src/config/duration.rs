//! Spans of time as people write them: one whole number and one unit.

use std::time::Duration;

/// Why a text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a whole number and a unit, one of ms, s, m, h, d: \"500ms\", \"10s\", \"15m\"")]
pub struct BadDuration;

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `500ms`, `10s`, `15m`, `24h` or `400d`.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(BadDuration)?;
    let number: u64 = number.parse().map_err(|_| BadDuration)?;
    let (_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(BadDuration)?;
    let millis = number.checked_mul(*scale).ok_or(BadDuration)?;
    Ok(Duration::from_millis(millis))
}

/// Writes what [`parse_duration`] reads, in the longest unit that is exact; one day is `24h`.
pub fn show_duration(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    for (name, scale) in UNITS {
        if millis.is_multiple_of(scale) && (name != "d" || millis > scale) {
            return format!("{}{name}", millis / scale);
        }
    }
    format!("{millis}ms")
}

/// A span in up to two units, for reading only: `9m 58s`, `3d 4h`.
pub fn about(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize<S: serde::Serializer>(
    span: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_duration(*span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for text in ["0s", "500ms", "1500ms", "10s", "90s", "15m", "24h", "400d"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1d"), parse_duration("24h"));
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1h30m",
            "10 s",
            "10S",
            "10sec",
            "99999999999999999999s",
            "999999999999999999d",
            "é",
        ] {
            assert_eq!(parse_duration(text), Err(BadDuration), "{text}");
        }
    }

    #[test]
    fn rounds_for_reading() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (598, "9m 58s"),
            (600, "10m"),
            (3_605, "1h"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(about(seconds), text);
        }
    }
}
