//! A server with a made-up gateway behind it, and what clients make of its answers.

mod requests;
mod socket;

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
