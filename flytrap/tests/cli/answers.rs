//! What a gateway answers, as text, JSON and exit codes.

use std::net::IpAddr;
use std::sync::Arc;

use flytrap::api::{
    BanRequest, BanView, Control, ControlSocket, DropView, GeoAnswer, GeoLine, GeoPhase,
    GeoUpdated, GeoView, ImportRequest, ImportView, Lifted, PolicyAction, PolicyAnswer,
    PolicyQuestion, Problem, Status, serve,
};
use flytrap::types::{Clock, Prefix, SystemClock, UnixTime};
use tokio::sync::broadcast::Receiver;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{code, flytrap, stderr, stdout};

/// A gateway that permits publishing only, bans everybody and has nobody to lift.
struct Fake;

impl Control for Fake {
    async fn status(&self) -> Result<Status, Problem> {
        Err(Problem::unavailable("it starts", "wait"))
    }

    async fn bans(&self) -> Result<Vec<BanView>, Problem> {
        Ok(Vec::new())
    }

    async fn ban(&self, request: BanRequest) -> Result<BanView, Problem> {
        let since = SystemClock.now();
        Ok(BanView {
            id: 1,
            target: request.target,
            standing: "banned".to_owned(),
            kernel_refused: false,
            allowlisted: None,
            reason: "by-hand".to_owned(),
            since,
            until: since.plus(request.seconds),
            dropped: None,
            note: request.note,
        })
    }

    async fn import(&self, request: ImportRequest) -> Result<ImportView, Problem> {
        Ok(ImportView {
            imported: request.targets.len() as u64,
            replaced: 0,
            merged: 0,
            skipped: 0,
            skipped_first: Vec::new(),
            evicted: 0,
            kernel_refused: 0,
            seconds_to_force: 0.5,
            seconds: 1.0,
        })
    }

    async fn lift(&self, target: Prefix) -> Result<Lifted, Problem> {
        Err(Problem::not_found(format!("{target} isn't banned"), ""))
    }

    async fn check(&self, question: PolicyQuestion) -> Result<PolicyAnswer, Problem> {
        let permit = matches!(question.action, PolicyAction::Publish(_));
        Ok(PolicyAnswer {
            permit,
            reason: "fake".to_owned(),
            sentence: "this is a fake".to_owned(),
            until: None,
            generation: 1,
        })
    }

    fn drops(&self) -> Result<Receiver<DropView>, Problem> {
        let (sender, receiver) = tokio::sync::broadcast::channel(4);
        for (reason, ban) in [("drop_country", None), ("drop_by_hand", Some(3))] {
            let drop = DropView {
                time: UnixTime(1_767_225_600),
                source: "192.0.2.7".parse().unwrap(),
                protocol: "tcp".to_owned(),
                destination_port: Some(1883),
                interface: "eth0".to_owned(),
                reason: reason.to_owned(),
                ban,
                country: Some("DE".to_owned()),
                bytes: 74,
                first_hit: ban.is_some(),
                one_in: if ban.is_some() { 1 } else { 100 },
            };
            sender.send(drop).unwrap();
        }
        Ok(receiver)
    }

    fn update_countries(&self, database: Vec<u8>) -> Result<UnboundedReceiver<GeoLine>, Problem> {
        let (lines, answer) = tokio::sync::mpsc::unbounded_channel();
        let progress = GeoLine::Progress {
            phase: GeoPhase::Reading,
            done: 1,
            total: 2,
        };
        lines.send(progress).unwrap();
        let outcome = match database.as_slice() {
            b"cut" => return Ok(answer),
            b"good" => GeoLine::InForce(GeoUpdated {
                geo: GeoView {
                    database: "/c.mmdb".to_owned(),
                    kind: "Countries".to_owned(),
                    built: None,
                    networks: 2,
                    unlisted: 0,
                    mode: "allow".to_owned(),
                    countries: vec!["DE".to_owned()],
                    unknown: "drop".to_owned(),
                    scope: "guarded-ports".to_owned(),
                },
                seconds_to_force: 0.25,
            }),
            _ => GeoLine::Failed(Problem::bad_request("what was sent is none", "unpack it")),
        };
        lines.send(outcome).unwrap();
        Ok(answer)
    }

    fn country(&self, address: IpAddr) -> Result<GeoAnswer, Problem> {
        Ok(GeoAnswer {
            address,
            country: address.is_ipv4().then(|| "DE".to_owned()),
            dropped: address.is_ipv4(),
        })
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

#[test]
fn answers_of_a_gateway_become_text_json_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket = path.to_str().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bound = runtime.block_on(async { ControlSocket::bind(&path).unwrap() });
    let stop = CancellationToken::new();
    let until = stop.clone();
    let server = std::thread::spawn(move || runtime.block_on(serve(bound, Arc::new(Fake), until)));
    let ask = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--socket", socket]);
        let output = flytrap(&arguments);
        (code(&output), stdout(&output), stderr(&output))
    };
    let wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let check = ["policy", "check", "--wallet", wallet];

    let (code, out, _) = ask(&[&check[..], &["--publish", "a"]].concat());
    assert_eq!((code, out.as_str()), (0, "permit: this is a fake (fake)\n"));
    let (code, out, _) = ask(&[&check[..], &["--receive", "a", "-o", "json"]].concat());
    assert_eq!(code, 1);
    let answer: PolicyAnswer = serde_json::from_str(&out).unwrap();
    assert!(!answer.permit);

    let (code, out, _) = ask(&["observe", "--count", "1", "--reason", "drop_by_hand"]);
    let line = "2026-01-01T00:00:00Z eth0 192.0.2.7 (DE) tcp/1883 drop_by_hand ban 3, 74 bytes, first hit\n";
    assert_eq!((code, out.as_str()), (0, line));
    let (code, out, _) = ask(&["observe", "--count", "2", "-o", "json"]);
    let drops: Vec<DropView> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, drops.len(), drops[0].one_in), (0, 2, 100));
    // The stream ends after two.
    let (code, out, err) = ask(&["observe"]);
    assert_eq!((code, out.lines().count()), (69, 2));
    assert!(err.starts_with("error: the gateway has ended\n"), "{err}");

    let file = dir.path().join("c.mmdb");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "good").unwrap();
    let (code, out, err) = ask(&["geo", "update", name]);
    let text = "only DE let in of the guarded ports; Countries of no date, 2 networks\n\
                in force after 0.2 s\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, text, ""));
    let (code, out, _) = ask(&["geo", "update", name, "-o", "json"]);
    let updated: GeoUpdated = serde_json::from_str(&out).unwrap();
    assert_eq!((code, updated.geo.networks), (0, 2));
    std::fs::write(&file, "bad").unwrap();
    let (code, _, err) = ask(&["geo", "update", name]);
    let why = "cause: what was sent is none\nhelp: unpack it\n";
    assert_eq!(
        (code, err),
        (1, format!("error: {name} is not in force\n{why}"))
    );
    std::fs::write(&file, "cut").unwrap();
    let (code, _, err) = ask(&["geo", "update", name]);
    assert_eq!(code, 69);
    assert!(err.starts_with("error: the gateway ended before"), "{err}");
    let (code, out, _) = ask(&["geo", "lookup", "192.0.2.7"]);
    let text = "192.0.2.7: DE, dropped, unless it is on the allowlist\n";
    assert_eq!((code, out.as_str()), (0, text));
    let (code, out, _) = ask(&["geo", "lookup", "2001:db8::7"]);
    let text = "2001:db8::7: no country, not dropped for that\n";
    assert_eq!((code, out.as_str()), (0, text));

    let (code, out, _) = ask(&["ban", "list"]);
    assert_eq!((code, out.as_str()), (0, "nobody is banned\n"));
    let (code, out, _) = ask(&["ban", "add", "192.0.2.0/24", "--for", "2h", "-o", "json"]);
    let ban: BanView = serde_json::from_str(&out).unwrap();
    assert_eq!((code, ban.until.since(ban.since)), (0, 7_200));
    let (code, out, _) = ask(&["ban", "add", "192.0.2.7"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("192.0.2.7 is banned until 2"), "{out}");
    let (code, _, err) = ask(&["ban", "lift", "192.0.2.7"]);
    let expected = "error: Not found\ncause: 192.0.2.7 isn't banned\n";
    assert_eq!((code, err.as_str()), (1, expected));
    let (code, _, err) = ask(&["status"]);
    let expected = "error: The gateway can't do this now\ncause: it starts\nhelp: wait\n";
    assert_eq!((code, err.as_str()), (1, expected));

    stop.cancel();
    server.join().unwrap().unwrap();
}
