//! Files of addresses to ban, as they are published: an address or a prefix on each line, what
//! follows `;` or `#` is a comment (the form of Spamhaus DROP: `192.0.2.0/24 ; SBL123`).

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use super::args::BanImport;
use crate::api::ImportRequest;
use crate::failure::{Failure, exit};
use crate::types::{Prefix, escape_control};

/// Bad lines that are told one by one.
const TOLD: usize = 10;
/// The bytes of a bad line that are told.
const EXCERPT: usize = 60;

/// What the file asks for, and a warning about what was left out of it.
pub(super) fn request(import: BanImport) -> Result<(ImportRequest, Option<String>), Failure> {
    let name = import.file.display().to_string();
    let bytes = read(&import.file).map_err(|error| {
        Failure::new(exit::FAIL, format_args!("{name} can't be read")).cause(error)
    })?;
    let List { targets, bad } = parse(&bytes);
    if !bad.is_empty() && !import.skip_bad {
        return Err(
            Failure::new(exit::FAIL, format_args!("nothing was imported from {name}"))
                .cause(told(&bad))
                .help("correct the lines, or leave them out with --skip-bad"),
        );
    }
    if targets.is_empty() {
        let nothing = format_args!("{name} names no address");
        return Err(Failure::new(exit::FAIL, nothing));
    }
    let request = ImportRequest {
        targets,
        seconds: import.duration.as_secs(),
        note: import.note,
        force: import.force,
    };
    Ok((request, (!bad.is_empty()).then(|| told(&bad))))
}

/// `-` is standard input.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct List {
    targets: Vec<Prefix>,
    /// Line numbers from 1, and what is wrong.
    bad: Vec<(usize, String)>,
}

fn parse(bytes: &[u8]) -> List {
    let mut list = List::default();
    // Some editors mark UTF-8 so.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let entry = line.split(|byte| matches!(byte, b';' | b'#')).next();
        let entry = entry.unwrap_or_default().trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let parsed = std::str::from_utf8(entry)
            .map_err(|error| error.to_string())
            .and_then(|text| text.parse::<Prefix>().map_err(|error| error.to_string()));
        match parsed {
            Ok(target) => list.targets.push(target),
            Err(_) if entry.len() > EXCERPT => {
                let why = "is too long for an address or a prefix";
                list.bad.push((number, why.to_owned()));
            }
            Err(why) => list.bad.push((number, why)),
        }
    }
    list
}

fn told(bad: &[(usize, String)]) -> String {
    let plural = if bad.len() == 1 { "" } else { "s" };
    let mut text = format!("{} bad line{plural}", bad.len());
    for (number, why) in bad.iter().take(TOLD) {
        // Writing to a String doesn't fail.
        let _ = write!(text, "\n  line {number}: {}", escape_control(why));
    }
    if let Some(more) = bad.len().checked_sub(TOLD).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn targets(text: &str) -> Vec<String> {
        let list = parse(text.as_bytes());
        assert_eq!(list.bad, []);
        list.targets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn published_forms_are_read() {
        let drop = "; Spamhaus DROP List\n; Expires: today\n192.0.2.0/24 ; SBL1\n\
                    2001:db8::/32 ; SBL2\n";
        assert_eq!(targets(drop), ["192.0.2.0/24", "2001:db8::/32"]);
        let plain = "# blocklist\r\n\r\n  192.0.2.7\t\r\n192.0.2.8# a comment\r\n2001:db8::1";
        assert_eq!(targets(plain), ["192.0.2.7", "192.0.2.8", "2001:db8::1"]);
        assert_eq!(targets("\u{feff}192.0.2.7\n"), ["192.0.2.7"]);
        assert_eq!(targets(""), [""; 0]);
    }

    #[test]
    fn bad_lines_are_told_with_their_numbers() {
        let mut text = b"192.0.2.7\n192.0.2.7/24\nexample.org\n\n\xff\n192.0.2.0/33\n".to_vec();
        text.extend([b'x'; 5000]);
        let list = parse(&text);
        assert_eq!(list.targets.len(), 1);
        let lines: Vec<usize> = list.bad.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 7]);
        let told = told(&list.bad);
        assert!(told.starts_with("5 bad lines\n  line 2: "), "{told}");
        assert!(told.contains("192.0.2.0/24"), "what is meant: {told}");
        assert!(told.len() < 1000, "{told}");

        let many = parse("x\n".repeat(1000).as_bytes());
        assert!(super::told(&many.bad).ends_with("and 990 more"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_told(bytes: Vec<u8>) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            let list = parse(&bytes);
            prop_assert!(list.targets.len() + list.bad.len() <= lines);
        }
    }
}
