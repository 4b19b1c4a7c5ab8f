//! Texts of others in messages: shown without tricks, found again, and guessed at.

/// Shows a text that came from outside with its control and bidirectional characters escaped.
pub fn escape_control(text: &str) -> String {
    let reorders = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .fold(String::with_capacity(text.len()), |mut shown, c| {
            if c.is_control() || reorders(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
            shown
        })
}

/// Where the byte offset `at` of `text` is for a person: line and column, in characters, both
/// counted from 1.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The candidate most like `given`, if any is like it enough to be what was meant.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(escape_control("a\n\u{202e}b"), "a\\u{a}\\u{202e}b");
    }

    #[test]
    fn places_are_counted_in_characters_from_1() {
        let text = "ab\nüc\n";
        for (at, place) in [
            (0, (1, 1)),
            (2, (1, 3)),
            (3, (2, 1)),
            (4, (2, 1)),
            (5, (2, 2)),
        ] {
            assert_eq!(line_and_column(text, at), place, "{at}");
        }
        assert_eq!(line_and_column(text, text.len()), (3, 1));
        assert_eq!(line_and_column("ab", 9), (1, 3));
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["connections", "filters"];
        assert_eq!(nearest("conections", known), Some("connections"));
        assert_eq!(nearest("fitlers", known), Some("filters"));
        assert_eq!(nearest("filter", known), Some("filters"));
        assert_eq!(nearest("address", known), None);
    }
}
