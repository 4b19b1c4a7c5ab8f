//! Reads a TOML document key by key, remembers where everything stands, and collects every
//! problem instead of stopping at the first.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::{parse_duration, show_duration};
use super::error::{Finding, Place};
use crate::types::{escape_control, nearest};

/// The text being read, and what was found wrong with it.
pub(super) struct Document<'t> {
    text: &'t str,
    base_dir: &'t Path,
    findings: RefCell<Vec<(usize, Finding)>>,
}

impl<'t> Document<'t> {
    /// Relative paths in `text` are taken from `base_dir`.
    pub(super) fn new(text: &'t str, base_dir: &'t Path) -> Self {
        Self {
            text,
            base_dir,
            findings: RefCell::default(),
        }
    }

    /// The whole document; none, with the reasons noted, if it is no TOML.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'t>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let help = "values are written as in TOML: key = \"text\", key = 10, key = true";
            self.note(error.span(), error.message(), help);
        }
        errors.is_empty().then_some(table)
    }

    /// Notes a problem with what stands at `span`, or with something that stands nowhere.
    pub(super) fn note(&self, span: Option<Range<usize>>, what: impl Into<String>, help: &str) {
        let order = span.as_ref().map_or(0, |span| span.start);
        self.findings.borrow_mut().push((
            order,
            Finding {
                what: what.into(),
                place: span.map(|span| Place::of(self.text, &span)),
                help: help.to_owned(),
            },
        ));
    }

    /// All problems in the order of the text.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|(order, _)| *order);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }
}

/// One table of the document. Every key that is asked for is a known one; [`Section::close`]
/// refuses the others.
pub(super) struct Section<'d, 't> {
    document: &'d Document<'t>,
    /// As written in front of it: `[limits]`; empty for the document itself.
    title: String,
    table: Option<(&'d DeTable<'t>, Range<usize>)>,
    known: Vec<&'static str>,
}

impl<'d, 't> Section<'d, 't> {
    /// The document itself.
    pub(super) fn root(document: &'d Document<'t>, table: &'d Spanned<DeTable<'t>>) -> Self {
        Self {
            document,
            title: String::new(),
            table: Some((table.get_ref(), 0..0)),
            known: Vec::new(),
        }
    }

    /// The table `key`; an empty one if it isn't there.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'d, 't> {
        let table = self.table_of(key);
        let outer = self.title.trim_matches(['[', ']']);
        let dot = if outer.is_empty() { "" } else { "." };
        Section {
            document: self.document,
            title: format!("[{outer}{dot}{key}]"),
            table,
            known: Vec::new(),
        }
    }

    /// The table `key` if it is there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Section<'d, 't>> {
        let section = self.section(key);
        section.table.is_some().then_some(section)
    }

    fn table_of(&mut self, key: &'static str) -> Option<(&'d DeTable<'t>, Range<usize>)> {
        let value = self.take(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        Some((table?, value.span()))
    }

    /// The tables of `[[key]]`; none if there are none to read. `shown` is the whole name.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        shown: &str,
    ) -> Option<Vec<Section<'d, 't>>> {
        let value = self.take(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.document.note(
                Some(value.span()),
                format!("`{shown}` can stand several times, and is written in double brackets"),
                &format!("write [[{shown}]] for each"),
            );
            return None;
        };
        let mut sections = Vec::new();
        for item in array {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section {
                    document: self.document,
                    title: format!("[[{shown}]]"),
                    table: Some((table, item.span())),
                    known: Vec::new(),
                }),
                None => self.wrong_type(key, item, "a table"),
            }
        }
        Some(sections)
    }

    /// Every key with its value, for a table whose keys are the user's own.
    pub(super) fn entries(&self) -> Vec<(Spanned<&'d str>, &'d Spanned<DeValue<'t>>)> {
        let Some((table, _)) = &self.table else {
            return Vec::new();
        };
        table
            .iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().as_ref()), value))
            .collect()
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn close(self) {
        let Some((table, _)) = &self.table else {
            return;
        };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let within = if self.title.is_empty() {
                String::new()
            } else {
                format!(" in {}", self.title)
            };
            let help = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            self.document.note(
                Some(key.span()),
                format!("unknown key `{}`{within}", escape_control(name)),
                &help,
            );
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.known.push(key);
        let (table, _) = self.table.as_ref()?;
        table.get(key)
    }

    /// Where the section starts, for what is missing in it.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        let (_, span) = self.table.as_ref()?;
        (!span.is_empty()).then(|| span.clone())
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'t>>, wanted: &str) {
        self.document.note(
            Some(value.span()),
            format!("`{key}` has the wrong type: {}", value.get_ref().type_str()),
            &format!("write {wanted}"),
        );
    }

    /// Whether `key` stands there, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table
            .as_ref()
            .is_some_and(|(table, _)| table.contains_key(key))
    }

    /// Notes that `key` is missing. If it stands there after all, it was refused already.
    pub(super) fn missing(&self, key: &str, help: &str) {
        if self.has(key) {
            return;
        }
        let within = if self.title.is_empty() {
            String::new()
        } else {
            format!(" in {}", self.title)
        };
        let what = format!("`{key}` is missing{within}");
        self.document.note(self.span(), what, help);
    }

    /// Notes a problem with the section as a whole.
    pub(super) fn refuse_all(&self, what: &str, help: &str) {
        self.document.note(self.span(), what, help);
    }

    /// Notes a problem with what stands at `at`.
    pub(super) fn refuse<T>(&self, at: &Spanned<T>, what: impl Into<String>, help: &str) {
        self.document.note(Some(at.span()), what, help);
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Spanned<&'d str>> {
        let value = self.take(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a text in quotes");
        }
        Some(Spanned::new(value.span(), text?))
    }

    /// A text that says a `T`.
    pub(super) fn parsed<T>(&mut self, key: &'static str, help: &str) -> Option<Spanned<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(key)?;
        match text.get_ref().parse() {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(error) => {
                self.refuse(&text, format!("`{key}`: {error}"), help);
                None
            }
        }
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.take(key)?;
        let on = value.get_ref().as_bool();
        if on.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        Some(Spanned::new(value.span(), on?))
    }

    /// A whole number in `range`.
    pub(super) fn number<T>(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<T>
    where
        T: TryFrom<u64>,
    {
        let value = self.take(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.refuse(
                &Spanned::new(value.span(), ()),
                format!("`{key}` is out of range"),
                &format!("write a number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A span of time in `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(text.get_ref()) {
            Ok(span) if range.contains(&span) => Some(span),
            Ok(_) => {
                let help = format!(
                    "write a span from \"{}\" to \"{}\"",
                    show_duration(*range.start()),
                    show_duration(*range.end())
                );
                self.refuse(&text, format!("`{key}` is out of range"), &help);
                None
            }
            Err(error) => {
                let what = format!("`{key}` is no span of time");
                self.refuse(&text, what, &error.to_string());
                None
            }
        }
    }

    /// One of the words of `choices`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| word == text.get_ref());
        if chosen.is_none() {
            let words: Vec<String> = choices.iter().map(|(w, _)| format!("\"{w}\"")).collect();
            self.refuse(
                &text,
                format!("`{key}` can't be \"{}\"", escape_control(text.get_ref())),
                &format!("write {}", words.join(" or ")),
            );
        }
        chosen.map(|(_, value)| *value)
    }

    /// A file name, made absolute.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Spanned<PathBuf>> {
        let text = self.text(key)?;
        if text.get_ref().is_empty() {
            self.refuse(&text, format!("`{key}` is empty"), "name a file");
            return None;
        }
        let path = self.document.base_dir.join(text.get_ref());
        // Fails only for an empty path or without a working directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        Some(Spanned::new(text.span(), path))
    }

    /// A list of texts; none if the key isn't there.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Spanned<&'d str>>> {
        let value = self.take(key)?;
        Some(self.texts_of(key, value))
    }

    /// The texts in `value`, the value of `key`.
    pub(super) fn texts_of(
        &self,
        key: &str,
        value: &'d Spanned<DeValue<'t>>,
    ) -> Vec<Spanned<&'d str>> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of texts: [\"…\", \"…\"]");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in array {
            match item.get_ref().as_str() {
                Some(text) => texts.push(Spanned::new(item.span(), text)),
                None => self.wrong_type(key, item, "a list of texts: [\"…\", \"…\"]"),
            }
        }
        texts
    }

    /// Each of `texts` as a `T`, without those that are none.
    pub(super) fn each_parsed<T>(&self, texts: Vec<Spanned<&str>>, help: &str) -> Vec<T>
    where
        T: FromStr<Err: Display>,
    {
        texts
            .into_iter()
            .filter_map(|text| match text.get_ref().parse() {
                Ok(value) => Some(value),
                Err(error) => {
                    let error: T::Err = error;
                    self.refuse(&text, error.to_string(), help);
                    None
                }
            })
            .collect()
    }
}
