use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Client, ClientError};
use super::*;
use crate::types::{Prefix, UnixTime, Wallet};

/// Fails a hang; nothing here takes long.
const HANG: Duration = Duration::from_mins(1);

/// A gateway that bans in memory and lets wallets publish to `a`.
#[derive(Default)]
struct Fake {
    bans: Mutex<Vec<BanView>>,
    drops: Option<broadcast::WeakSender<DropView>>,
}

impl Control for Fake {
    async fn status(&self) -> Result<Status, Problem> {
        Ok(Status {
            version: "0.0.0".to_owned(),
            since: UnixTime(1),
            uptime_s: 2,
            domain: "gw.example.org".to_owned(),
            listeners: vec![ListenerView {
                address: "127.0.0.1:1884".to_owned(),
                tls: false,
                danger: false,
            }],
            upstream: UpstreamView {
                address: "broker:1883".to_owned(),
                reachable: true,
                sessions: 0,
            },
            ledger: LedgerView {
                kind: "file".to_owned(),
                source: "/l".to_owned(),
                generation: 1,
                spaces: 2,
                grants: 3,
            },
            xdp: XdpView {
                state: XdpState::Off,
                interfaces: Vec::new(),
                counters: std::iter::once(("ban".to_owned(), PacketTally::default())).collect(),
            },
            geo: None,
            sessions: 0,
            bans: 0,
            counters: std::iter::once(("flytrap_logins".to_owned(), 7)).collect(),
            warnings: vec!["w".to_owned()],
        })
    }

    async fn bans(&self) -> Result<Vec<BanView>, Problem> {
        Ok(self.bans.lock().unwrap().clone())
    }

    async fn ban(&self, request: BanRequest) -> Result<BanView, Problem> {
        if request.target.contains("192.0.2.1".parse().unwrap()) && !request.force {
            return Err(Problem::conflict("192.0.2.1 is allowlisted", "lift first"));
        }
        let ban = BanView {
            id: 1,
            target: request.target,
            standing: "banned".to_owned(),
            kernel_refused: false,
            allowlisted: None,
            reason: "by-hand".to_owned(),
            since: UnixTime(0),
            until: UnixTime(request.seconds),
            dropped: None,
            note: request.note,
        };
        self.bans.lock().unwrap().push(ban.clone());
        Ok(ban)
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
        let mut bans = self.bans.lock().unwrap();
        let before = bans.len();
        bans.retain(|ban| ban.target != target);
        if bans.len() == before {
            return Err(Problem::not_found(format!("{target} isn't banned"), ""));
        }
        Ok(Lifted { target })
    }

    async fn check(&self, question: PolicyQuestion) -> Result<PolicyAnswer, Problem> {
        let permit = question.action == PolicyAction::Publish("a".to_owned());
        Ok(PolicyAnswer {
            permit,
            reason: "r".to_owned(),
            sentence: "s".to_owned(),
            until: None,
            generation: 1,
        })
    }

    fn drops(&self) -> Result<broadcast::Receiver<DropView>, Problem> {
        let drops = self.drops.as_ref().and_then(broadcast::WeakSender::upgrade);
        let drops = drops.ok_or_else(|| Problem::unavailable("XDP is off", ""))?;
        Ok(drops.subscribe())
    }

    fn update_countries(
        &self,
        database: Vec<u8>,
    ) -> Result<mpsc::UnboundedReceiver<GeoLine>, Problem> {
        let (lines, answer) = mpsc::unbounded_channel();
        let done = database.len() as u64;
        let progress = |phase, total| GeoLine::Progress { phase, done, total };
        lines.send(progress(GeoPhase::Reading, done)).unwrap();
        let problem = Problem::bad_request("is no database", "unpack it");
        lines.send(GeoLine::Failed(problem)).unwrap();
        Ok(answer)
    }

    fn country(&self, address: IpAddr) -> Result<GeoAnswer, Problem> {
        Ok(GeoAnswer {
            address,
            country: Some("DE".to_owned()),
            dropped: true,
        })
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

struct Running {
    dir: tempfile::TempDir,
    drops: broadcast::Sender<DropView>,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start() -> Self {
        let drops = broadcast::Sender::new(4);
        let fake = Fake {
            drops: Some(drops.downgrade()),
            ..Fake::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(&Self::socket_in(dir.path())).unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(socket, Arc::new(fake), stop.clone()));
        Self {
            dir,
            drops,
            stop,
            server,
        }
    }

    fn socket_in(dir: &Path) -> PathBuf {
        dir.join("run/flytrap.sock")
    }

    fn socket(&self) -> PathBuf {
        Self::socket_in(self.dir.path())
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// Sends bytes and returns all that comes back.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(HANG, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.raw(head.as_bytes()).await
    }

    async fn end(self) -> PathBuf {
        self.stop.cancel();
        drop(self.drops);
        tokio::time::timeout(HANG, self.server)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let socket = Self::socket_in(self.dir.path());
        assert!(!socket.exists());
        socket
    }
}

#[tokio::test]
async fn every_request_comes_back_as_it_was_meant() {
    let running = Running::start();
    let client = running.client();
    let status = client.status().await.unwrap();
    assert_eq!(status, Fake::default().status().await.unwrap());

    for target in ["198.51.100.0/24", "2001:db8:1:2::/64", "192.0.2.7"] {
        let target: Prefix = target.parse().unwrap();
        let request = BanRequest {
            target,
            seconds: 60,
            note: Some("ä \"quoted\"".to_owned()),
            force: false,
        };
        let ban = client.ban(&request).await.unwrap();
        assert_eq!(client.bans().await.unwrap(), std::slice::from_ref(&ban));
        assert_eq!((ban.target, ban.note), (target, request.note));
        assert_eq!(client.lift(target).await.unwrap(), Lifted { target });
    }
    let wallet = Wallet([7; 20]);
    for (action, permit) in [
        (PolicyAction::Publish("a".to_owned()), true),
        (PolicyAction::Subscribe("a".to_owned()), false),
        (PolicyAction::Receive("a".to_owned()), false),
    ] {
        let question = PolicyQuestion { wallet, action };
        assert_eq!(client.check(&question).await.unwrap().permit, permit);
    }
    running.end().await;
}

#[tokio::test]
async fn refusals_reach_the_client_whole() {
    let running = Running::start();
    let request = BanRequest {
        target: "192.0.2.0/24".parse().unwrap(),
        seconds: 1,
        note: None,
        force: false,
    };
    let Err(ClientError::Problem(problem)) = running.client().ban(&request).await else {
        panic!("not refused");
    };
    let expected = Problem::conflict("192.0.2.1 is allowlisted", "lift first");
    assert_eq!(problem, expected);
    let lifted = running.client().lift("192.0.2.9".parse().unwrap()).await;
    assert!(matches!(lifted, Err(ClientError::Problem(p)) if p.status == 404));
    running.end().await;
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_not_a_crash() {
    let running = Running::start();
    let wallet = Wallet([7; 20]);
    let bans = "/api/v1/bans";
    let check = "/api/v1/policy/check";
    for (path, body, status, word) in [
        (bans, "{".to_owned(), "400", "bad-request"),
        (
            bans,
            r#"{"target":"host","seconds":1}"#.to_owned(),
            "400",
            "no IPv4 or IPv6",
        ),
        (
            bans,
            r#"{"target":"::1","seconds":0}"#.to_owned(),
            "400",
            "at once",
        ),
        (
            bans,
            r#"{"target":"::1","seconds":1,"x":1}"#.to_owned(),
            "400",
            "unknown field",
        ),
        (bans, format!("[{}", " ".repeat(20_000)), "413", "too-large"),
        (
            check,
            format!(r#"{{"wallet":"{wallet}"}}"#),
            "400",
            "missing field",
        ),
        (
            check,
            format!(r#"{{"wallet":"{wallet}","action":{{"publish":"a","receive":"a"}}}}"#),
            "400",
            "bad-request",
        ),
        (
            check,
            format!(r#"{{"wallet":"{wallet}","action":{{"delete":"a"}}}}"#),
            "400",
            "unknown variant",
        ),
        ("/api/v1/status", String::new(), "405", "wrong-method"),
        ("/api/v2/status", String::new(), "404", "not-found"),
    ] {
        let answer = running.post(path, &body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body}: {answer}"
        );
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains(word), "{word}: {answer}");
    }
    let answer = running
        .raw(b"DELETE /api/v1/bans/nobody HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    running.end().await;
}

fn drop_number(number: u64) -> DropView {
    DropView {
        time: UnixTime(number),
        source: "2001:db8::7".parse().unwrap(),
        protocol: "udp".to_owned(),
        destination_port: None,
        interface: "eth0".to_owned(),
        reason: "drop_by_hand".to_owned(),
        ban: Some(number),
        country: None,
        bytes: 74,
        first_hit: true,
        one_in: 1,
    }
}

#[tokio::test]
async fn drops_are_streamed_and_a_slow_reader_is_told_what_it_missed() {
    let running = Running::start();
    let mut quick = running.client().drops().await.unwrap();
    for number in 0..20 {
        running.drops.send(drop_number(number)).unwrap();
        let line = quick.next().await.unwrap();
        assert_eq!(line, Some(DropLine::Drop(drop_number(number))));
    }
    // Nothing else runs meanwhile, and four fit.
    for number in 0..20 {
        running.drops.send(drop_number(number)).unwrap();
    }
    let lost = quick.next().await.unwrap();
    assert_eq!(lost, Some(DropLine::Lost { lost: 16 }));
    for number in 16..20 {
        let line = quick.next().await.unwrap();
        assert_eq!(line, Some(DropLine::Drop(drop_number(number))));
    }
    // A reader that is gone is forgotten before the next drop.
    drop(quick);
    tokio::time::timeout(HANG, async {
        while running.drops.receiver_count() > 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    let mut open = running.client().drops().await.unwrap();
    running.end().await;
    assert_eq!(open.next().await.unwrap(), None);
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let running = Running::start();
    let answer = running
        .raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
    assert!(answer.ends_with("\r\n\r\n# EOF\n"), "{answer}");
    running.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_end_it() {
    let running = Running::start();
    for garbage in [
        &b"\x10\x00\x00\xff\xff"[..],
        b"GET\r\n\r\n",
        b"",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        running.raw(garbage).await;
    }
    assert!(running.client().status().await.is_ok());
    running.end().await;
}

#[tokio::test]
async fn a_silent_client_does_not_hold_up_the_end() {
    let running = Running::start();
    let mut silent = UnixStream::connect(running.socket()).await.unwrap();
    silent
        .write_all(
            b"POST /api/v1/bans HTTP/1.1\r\nhost: x\r\n\
              content-type: application/json\r\ncontent-length: 9\r\n\r\n",
        )
        .await
        .unwrap();
    running.client().status().await.unwrap();
    running.end().await;
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group() {
    let running = Running::start();
    let mode = std::fs::metadata(running.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let parent = running.socket().parent().unwrap().to_owned();
    assert_eq!(std::fs::metadata(parent).unwrap().mode() & 0o007, 0);
    running.end().await;
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let running = Running::start();
    let path = running.socket();
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::InUse(_))
    ));
    assert!(running.client().status().await.is_ok());
    running.end().await;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = ControlSocket::bind(&path).unwrap();
    // A successor's file is not this one's to remove.
    std::fs::remove_file(&path).unwrap();
    let successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
    drop(successor);
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        ControlSocket::bind(&path),
        Err(SocketError::NoSocket(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn without_a_daemon_the_client_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().join("s"));
    assert!(matches!(
        client.status().await,
        Err(ClientError::Down { .. })
    ));
}

#[tokio::test]
async fn an_answer_of_something_else_is_garbled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        for answer in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let answer = tokio::time::timeout(HANG, Client::new(&path).status()).await;
        assert!(matches!(answer, Ok(Err(ClientError::Garbled { .. }))));
    }
    server.await.unwrap();
}
