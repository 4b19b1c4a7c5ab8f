//! Figures, the requirements that they are held against, and both as Markdown and JSON.

use std::fmt::Write;

use serde_json::{Value, json};

/// A measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What requirements and JSON call it.
    pub id: &'static str,
    /// What was done.
    pub what: String,
    /// The median; `None`: not measured, and `note` says why.
    pub value: Option<f64>,
    /// The lowest and the highest round.
    pub range: Option<(f64, f64)>,
    /// How it was measured where the heading doesn't say it.
    pub note: String,
}

impl Figure {
    /// The median of these rounds.
    pub fn of(id: &'static str, what: &str, rounds: &[f64]) -> Self {
        let lowest = rounds.iter().copied().min_by(f64::total_cmp);
        let highest = rounds.iter().copied().max_by(f64::total_cmp);
        Self {
            id,
            what: what.to_owned(),
            value: (!rounds.is_empty()).then(|| super::median(rounds)),
            range: lowest.zip(highest),
            note: String::new(),
        }
    }

    /// One that could not be measured.
    pub fn missing(id: &'static str, what: &str, why: &str) -> Self {
        Self {
            id,
            what: what.to_owned(),
            value: None,
            range: None,
            note: why.to_owned(),
        }
    }

    /// The same with a remark.
    #[must_use]
    pub fn noted(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }
}

/// Figures of one kind, made in one run, with one of them as the measure of the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its heading.
    pub title: &'static str,
    /// The unit of its figures.
    pub unit: &'static str,
    /// The figure that stands for 1.
    pub base: &'static str,
    /// In the order of showing.
    pub figures: Vec<Figure>,
}

/// What one figure has to be: a multiple of another, or so much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requirement {
    /// The figure.
    pub figure: &'static str,
    /// The one it is compared with; `None`: it is taken as it is.
    pub to: Option<&'static str>,
    /// The highest that is acceptable; `None`: any.
    pub must: Option<f64>,
    /// The highest that is wanted.
    pub aim: Option<f64>,
}

/// Whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Aim,
    /// As it must be, and where nothing must be: measured.
    Must,
    /// Not as it must be.
    Missed,
    /// One of the two figures is missing, so nothing shows that it is met.
    Unknown,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Must => "must",
            Self::Missed => "MISSED",
            Self::Unknown => "not measured",
        }
    }
}

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Machine, kernel and day.
    pub machine: String,
    /// What was measured.
    pub tables: Vec<Table>,
    /// What it is held against.
    pub requirements: Vec<Requirement>,
}

impl Report {
    fn value(&self, id: &str) -> Option<f64> {
        let mut figures = self.tables.iter().flat_map(|table| &table.figures);
        figures.find(|figure| figure.id == id)?.value
    }

    /// How many times the one figure is the other.
    pub fn ratio(&self, figure: &str, to: &str) -> Option<f64> {
        let (value, base) = (self.value(figure)?, self.value(to)?);
        (base > 0.0).then(|| value / base)
    }

    /// Whether a requirement is met, and the ratio.
    pub fn verdict(&self, requirement: &Requirement) -> (Verdict, Option<f64>) {
        let ratio = match requirement.to {
            Some(to) => self.ratio(requirement.figure, to),
            None => self.value(requirement.figure),
        };
        let verdict = match ratio {
            None => Verdict::Unknown,
            Some(ratio) if requirement.aim.is_some_and(|aim| ratio <= aim) => Verdict::Aim,
            Some(_) if requirement.must.is_none() => Verdict::Must,
            Some(ratio) if requirement.must.is_some_and(|must| ratio <= must) => Verdict::Must,
            Some(_) => Verdict::Missed,
        };
        (verdict, ratio)
    }

    /// Whether nothing that must be is missed, or was left out.
    pub fn passes(&self) -> bool {
        let mut verdicts = self.requirements.iter().map(|each| self.verdict(each).0);
        verdicts.all(|verdict| matches!(verdict, Verdict::Aim | Verdict::Must))
    }

    /// For documents.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for table in &self.tables {
            let _ = write!(
                text,
                "\n### {}\n\n| | {} | rounds | × {} | |\n| --- | ---: | ---: | ---: | --- |\n",
                table.title, table.unit, table.base
            );
            for figure in &table.figures {
                let range = figure.range.map_or_else(String::new, |(low, high)| {
                    format!("{}–{}", number(Some(low)), number(Some(high)))
                });
                let _ = writeln!(
                    text,
                    "| {} | {} | {range} | {} | {} |",
                    figure.what,
                    number(figure.value),
                    ratio(self.ratio(figure.id, table.base)),
                    figure.note
                );
            }
        }
        if !self.requirements.is_empty() {
            text.push_str("\n### Requirements\n\n| figure | ÷ | ratio | must | aim | |\n| --- | --- | ---: | ---: | ---: | --- |\n");
        }
        for requirement in &self.requirements {
            let (verdict, measured) = self.verdict(requirement);
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                requirement.figure,
                requirement
                    .to
                    .map_or_else(String::new, |to| format!("`{to}`")),
                ratio(measured),
                at_most(requirement.must),
                at_most(requirement.aim),
                match (verdict, requirement.must) {
                    (Verdict::Must, None) => "aim missed",
                    _ => verdict.name(),
                }
            );
        }
        text
    }

    /// For programs. Figures that were not measured are null.
    pub fn json(&self) -> Value {
        let table = |table: &Table| {
            let figure = |figure: &Figure| {
                json!({
                    "id": figure.id,
                    "what": figure.what,
                    "value": figure.value,
                    "lowest": figure.range.map(|(low, _)| low),
                    "highest": figure.range.map(|(_, high)| high),
                    "ratio": self.ratio(figure.id, table.base),
                    "note": figure.note,
                })
            };
            json!({
                "title": table.title,
                "unit": table.unit,
                "base": table.base,
                "figures": table.figures.iter().map(figure).collect::<Vec<_>>(),
            })
        };
        let requirement = |requirement: &Requirement| {
            let (verdict, ratio) = self.verdict(requirement);
            json!({
                "figure": requirement.figure,
                "to": requirement.to,
                "ratio": ratio,
                "must": requirement.must,
                "aim": requirement.aim,
                "verdict": verdict.name(),
            })
        };
        json!({
            "machine": self.machine,
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "requirements": self.requirements.iter().map(requirement).collect::<Vec<_>>(),
            "passes": self.passes(),
        })
    }
}

fn at_most(bound: Option<f64>) -> String {
    bound.map_or_else(|| "–".to_owned(), |bound| format!("≤ {bound}"))
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.0}"),
    }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(value: Option<f64>) -> Report {
        let figure = Figure {
            value,
            ..Figure::missing("drop", "a drop", "not installed")
        };
        Report {
            machine: "a machine".to_owned(),
            tables: vec![Table {
                title: "Cost",
                unit: "ns",
                base: "empty",
                figures: vec![Figure::of("empty", "nothing", &[9.0, 10.0, 30.0]), figure],
            }],
            requirements: vec![Requirement {
                figure: "drop",
                to: Some("empty"),
                must: Some(1.5),
                aim: Some(1.2),
            }],
        }
    }

    fn verdict(value: Option<f64>) -> (Verdict, bool) {
        let report = report(value);
        let requirement = report.requirements.first().copied();
        let verdict = requirement.map(|each| report.verdict(&each).0);
        (verdict.unwrap_or(Verdict::Unknown), report.passes())
    }

    #[test]
    fn a_missed_must_fails_the_check() {
        assert_eq!(verdict(Some(12.0)), (Verdict::Aim, true));
        assert_eq!(verdict(Some(15.0)), (Verdict::Must, true));
        assert_eq!(verdict(Some(15.1)), (Verdict::Missed, false));
        assert_eq!(verdict(Some(f64::NAN)), (Verdict::Missed, false));
    }

    #[test]
    fn an_aim_alone_fails_nothing_and_a_bare_figure_is_no_ratio() {
        let mut report = report(Some(25.0));
        report.requirements = vec![Requirement {
            figure: "drop",
            to: None,
            must: None,
            aim: Some(20.0),
        }];
        assert!(report.passes());
        let text = report.markdown();
        assert!(
            text.contains("| `drop` |  | 25.00 | – | ≤ 20 | aim missed |"),
            "{text}"
        );
        report.requirements.extend(Some(Requirement {
            figure: "drop",
            to: None,
            must: Some(24.0),
            aim: None,
        }));
        assert!(!report.passes());
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert_eq!(verdict(None), (Verdict::Unknown, false));
        let text = report(None).markdown();
        assert!(
            text.contains("| a drop | – |  | – | not installed |"),
            "{text}"
        );
        assert!(text.contains("| not measured |"), "{text}");
    }

    #[test]
    fn figures_are_medians_and_ratios_are_to_the_base() {
        let report = report(Some(25.0));
        assert_eq!(report.ratio("drop", "empty"), Some(2.5));
        assert_eq!(report.ratio("drop", "nothing"), None);
        let text = report.markdown();
        assert!(
            text.contains("| nothing | 10 | 9.00–30 | 1.00 |  |"),
            "{text}"
        );
        assert!(
            text.contains("| `drop` | `empty` | 2.50 | ≤ 1.5 | ≤ 1.2 | MISSED |"),
            "{text}"
        );
        let json = report.json();
        assert_eq!(json.pointer("/tables/0/figures/1/ratio"), Some(&json!(2.5)));
        assert_eq!(
            json.pointer("/requirements/0/verdict"),
            Some(&json!("MISSED"))
        );
        assert_eq!(json.pointer("/passes"), Some(&json!(false)));
    }
}
