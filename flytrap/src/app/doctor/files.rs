//! The files that a configuration names: ledger, password, certificates, countries.

use super::clock::Made;
use super::{Check, Question};
use crate::app::countries::Countries;
use crate::app::start;
use crate::config::{Config, Listener, TlsFiles, about};
use crate::metrics::Metrics;
use crate::tls::{self, Validity};
use crate::types::UnixTime;

const DAY: u64 = 24 * 60 * 60;
/// What a renewal and its mistakes need.
const SOON: u64 = 14 * DAY;

const LEDGER: Question = Question::new(
    "ledger",
    "it says who may do what; without it nobody is let in",
);
const PASSWORD: Question = Question::new("password", "with it the gateway logs in to the broker");
const CERTIFICATE: Question = Question::new(
    "certificate",
    "clients that check certificates don't connect to a listener whose certificate isn't valid now",
);
const COUNTRIES: Question = Question::new(
    "countries",
    "addresses move from country to country, and the kernel goes by this database",
);

/// What was found out about them.
pub(super) struct Files {
    pub(super) checks: Vec<Check>,
    /// The countries, if there are any.
    pub(super) countries: Option<Countries>,
    /// What says when it was made.
    pub(super) made: Vec<Made>,
}

impl Files {
    pub(super) fn read(config: &Config, now: UnixTime) -> Self {
        let mut files = Self {
            checks: Vec::new(),
            countries: None,
            made: Vec::new(),
        };
        let ledger = match start::ledger(config) {
            Ok(_) => LEDGER.ok(format_args!("{} is valid", config.ledger.path.display())),
            Err(failure) => LEDGER.refused(&failure),
        };
        files.checks.push(ledger);
        match start::account(config) {
            Ok(None) => {}
            Ok(Some(_)) => files.checks.push(PASSWORD.ok("it can be read")),
            Err(failure) => files.checks.push(PASSWORD.refused(&failure)),
        }
        for listener in &config.listeners {
            if let Some(tls) = &listener.tls {
                files.certificate(listener, tls, now);
            }
        }
        match Countries::read(config, &Metrics::new()) {
            Ok(None) => {}
            Ok(Some(countries)) => files.countries(countries, now),
            Err(failure) => files.checks.push(COUNTRIES.refused(&failure)),
        }
        files
    }

    fn certificate(&mut self, listener: &Listener, files: &TlsFiles, now: UnixTime) {
        let path = files.certificate_file.display();
        let check = match (
            start::endpoint(listener),
            tls::validity(&files.certificate_file),
        ) {
            (Err(failure), _) => CERTIFICATE.refused(&failure),
            (Ok(_), Err(error)) => {
                CERTIFICATE.fail(error, format_args!("make {path} anew, all of it PEM"))
            }
            (Ok(_), Ok(chain)) => {
                let made = chain.iter().map(|one| Made {
                    what: format!("the certificate of {}", one.subject),
                    at: one.from,
                });
                self.made.extend(made);
                validity(&chain, &path.to_string(), now)
            }
        };
        self.checks.push(check.of(listener.bind));
    }

    fn countries(&mut self, countries: Countries, now: UnixTime) {
        let view = countries.view();
        let check = match (countries.warning(now), view.built) {
            (Some(warning), _) => COUNTRIES.warn(
                warning,
                "download a newer one, and type `flytrap geo update FILE`, or replace geo.database",
            ),
            (None, Some(built)) => COUNTRIES.ok(format_args!(
                "{} of {built}, {} networks",
                view.kind, view.networks
            )),
            (None, None) => COUNTRIES.warn(
                format_args!("{} says not when it was made", view.kind),
                "use one that says it, so that its age can be told",
            ),
        };
        self.made.extend(view.built.map(|at| Made {
            what: "the country database".to_owned(),
            at,
        }));
        self.checks.push(check);
        self.countries = Some(countries);
    }
}

/// The chain ends with the first of its certificates that ends.
fn validity(chain: &[Validity], path: &str, now: UnixTime) -> Check {
    let renew = "renew it and restart flytrap; if this machine's clock is wrong, set that";
    if let Some(Validity { subject, from, .. }) = chain.iter().find(|one| one.from > now) {
        let found = format!("{path}: {subject} is valid from {from} on, which is to come");
        return CERTIFICATE.fail(found, renew);
    }
    let Some(Validity { subject, until, .. }) = chain.iter().min_by_key(|one| one.until) else {
        return CERTIFICATE.fail(format_args!("{path} holds no certificate"), renew);
    };
    let left = about(until.since(now));
    if *until < now {
        let ago = about(now.since(*until));
        let found = format!("{path}: {subject} has run out {ago} ago, at {until}");
        CERTIFICATE.fail(found, renew)
    } else if until.since(now) < SOON {
        let found = format!("{path}: {subject} runs out in {left}, at {until}");
        CERTIFICATE.warn(found, renew)
    } else {
        CERTIFICATE.ok(format_args!("{path} is valid for {left}, until {until}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{State, tests::config};
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn a_chain_is_as_good_as_its_worst_certificate() {
        let certificate = |from: u64, until: u64| Validity {
            subject: "CN=gw".to_owned(),
            from: UnixTime(from),
            until: UnixTime(until),
        };
        let state = |chain: &[Validity]| validity(chain, "server.pem", NOW).state;
        let good = certificate(0, NOW.0 + SOON);
        assert_eq!(state(std::slice::from_ref(&good)), State::Ok);
        for (other, expected) in [
            (certificate(0, NOW.0 + SOON - 1), State::Warn),
            (certificate(0, NOW.0), State::Warn),
            (certificate(0, NOW.0 - 1), State::Fail),
            (certificate(NOW.0 + 1, NOW.0 + 2 * SOON), State::Fail),
        ] {
            assert_eq!(state(&[good.clone(), other.clone()]), expected);
            assert_eq!(state(&[other, good.clone()]), expected);
        }
        assert_eq!(state(&[]), State::Fail);
    }

    #[test]
    fn each_file_has_a_check_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(
            folder.path(),
            "[[listener]]\nbind = \"0.0.0.0:8883\"\n\
             tls = { certificate_file = \"server.pem\", key_file = \"server.key\" }\n\
             [xdp]\ninterfaces = [\"lo\"]\n[geo]\ndatabase = \"none.mmdb\"\n",
        );
        let all_missing = Files::read(&config, NOW).checks;
        let states = |checks: &[Check]| -> Vec<_> {
            checks
                .iter()
                .map(|check| (check.name, check.state))
                .collect()
        };
        let failed = |name| (name, State::Fail);
        assert_eq!(
            states(&all_missing),
            [failed("ledger"), failed("certificate"), failed("countries")]
        );
        assert!(all_missing.iter().all(|check| check.fix.is_some()));
        assert_eq!(all_missing[1].subject.as_deref(), Some("0.0.0.0:8883"));

        std::fs::write(folder.path().join("ledger.toml"), "").unwrap();
        let made = rcgen::generate_simple_self_signed(["gw.example.org".to_owned()]).unwrap();
        std::fs::write(folder.path().join("server.pem"), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("server.key"), key).unwrap();
        let files = Files::read(&config, NOW);
        assert_eq!(
            states(&files.checks),
            [
                ("ledger", State::Ok),
                ("certificate", State::Ok),
                failed("countries")
            ]
        );
        assert_eq!(files.made.len(), 1);
    }
}
