//! The client side of the API: what the command line uses.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::Problem;
use super::views::{
    BanRequest, BanView, DropLine, GeoAnswer, GeoLine, ImportRequest, ImportView, Lifted,
    PolicyAnswer, PolicyQuestion, Status,
};
use crate::types::Prefix;

/// The largest answer that is read: room for a million bans.
const ANSWER_BYTES: usize = 512 * 1_024 * 1_024;
/// How long an answer may take. The gateway answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for a list of bans or a database, which has to be written to disk.
const FILE_PATIENCE: Duration = Duration::from_mins(10);

/// The longest line of a stream that is read. A drop takes some 300 bytes.
const LINE_BYTES: usize = 64 * 1_024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no gateway answers on {socket}")]
    Down {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket's permissions keep this user out.
    #[error("this user may not use {socket}")]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever listens there doesn't speak this API.
    #[error("the answer on {socket} is not understood: {detail}")]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The gateway says no.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Talks to one gateway; each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the gateway that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The gateway at a glance.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// The bans in force.
    pub async fn bans(&self) -> Result<Vec<BanView>, ClientError> {
        self.get("/api/v1/bans").await
    }

    /// Bans.
    pub async fn ban(&self, request: &BanRequest) -> Result<BanView, ClientError> {
        self.post("/api/v1/bans", request).await
    }

    /// Bans all of a list.
    pub async fn import(&self, request: &ImportRequest) -> Result<ImportView, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.garbled(&error))?;
        let path = "/api/v1/bans/import";
        self.send_for(FILE_PATIENCE, Method::POST, path, body.into())
            .await
    }

    /// Ends a ban.
    pub async fn lift(&self, target: Prefix) -> Result<Lifted, ClientError> {
        let path = format!("/api/v1/bans/{target}");
        self.send(Method::DELETE, &path, Bytes::new()).await
    }

    /// What the policy decides.
    pub async fn check(&self, question: &PolicyQuestion) -> Result<PolicyAnswer, ClientError> {
        self.post("/api/v1/policy/check", question).await
    }

    /// The country of an address.
    pub async fn country(&self, address: IpAddr) -> Result<GeoAnswer, ClientError> {
        self.get(&format!("/api/v1/geo/{address}")).await
    }

    /// Puts the bytes of a country database in force: how far it has come, and the outcome.
    pub async fn update_countries(
        &self,
        database: Vec<u8>,
    ) -> Result<LineStream<GeoLine>, ClientError> {
        self.lines(FILE_PATIENCE, Method::POST, "/api/v1/geo", database.into())
            .await
    }

    /// The drops that the kernel reports from now on.
    pub async fn drops(&self) -> Result<LineStream<DropLine>, ClientError> {
        self.lines(PATIENCE, Method::GET, "/api/v1/drops", Bytes::new())
            .await
    }

    /// An answer that comes line by line; `patience` is for its begin.
    async fn lines<T>(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<LineStream<T>, ClientError> {
        let opened = tokio::time::timeout(patience, async {
            let (mut sender, connection) = self.connect().await?;
            // Moves the bytes for as long as somebody reads them.
            tokio::spawn(connection);
            let request = self.request(method, path, body)?;
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| self.garbled(&error))?;
            if answer.status().is_success() {
                return Ok(LineStream {
                    client: self.clone(),
                    body: answer.into_body(),
                    read: Vec::new(),
                    lines: PhantomData,
                });
            }
            let (status, answer) = self.whole(answer).await?;
            Err(self.refused(status, &answer))
        });
        opened.await.map_err(|_| self.late(patience))?
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(&error))?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        self.send_for(PATIENCE, method, path, body).await
    }

    async fn send_for<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let exchange = tokio::time::timeout(patience, self.exchange(method, path, body));
        let (status, answer) = exchange.await.map_err(|_| self.late(patience))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.garbled(&error));
        }
        Err(self.refused(status, &answer))
    }

    fn refused(&self, status: hyper::StatusCode, answer: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(answer) {
            Ok(problem) => problem.into(),
            Err(_) => self.garbled(&format_args!("HTTP status {status}")),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(hyper::StatusCode, Bytes), ClientError> {
        let (mut sender, connection) = self.connect().await?;
        let request = self.request(method, path, body)?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| self.garbled(&error))?;
            self.whole(answer).await
        };
        // The connection moves the bytes; its own end only matters through the answer's.
        tokio::pin!(answer);
        tokio::select! {
            biased;
            result = &mut answer => result,
            _ = connection => answer.await,
        }
    }

    async fn connect(
        &self,
    ) -> Result<
        (
            http1::SendRequest<Full<Bytes>>,
            http1::Connection<TokioIo<UnixStream>, Full<Bytes>>,
        ),
        ClientError,
    > {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.unreachable(source))?;
        http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(&error))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "flytrap")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.garbled(&error))
    }

    async fn whole(
        &self,
        answer: Response<Incoming>,
    ) -> Result<(hyper::StatusCode, Bytes), ClientError> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| self.garbled(&error))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ClientError::NotPermitted { socket, source }
        } else {
            ClientError::Down { socket, source }
        }
    }

    fn late(&self, patience: Duration) -> ClientError {
        let seconds = patience.as_secs();
        self.garbled(&format_args!("nothing came for {seconds} seconds"))
    }

    fn garbled(&self, detail: &impl std::fmt::Display) -> ClientError {
        ClientError::Garbled {
            socket: self.socket.clone(),
            detail: detail.to_string(),
        }
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct LineStream<T> {
    client: Client,
    body: Incoming,
    /// What came and was not returned yet.
    read: Vec<u8>,
    lines: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> LineStream<T> {
    /// The next line; `None` once the gateway ends.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| self.client.garbled(&error));
            }
            if self.read.len() > LINE_BYTES {
                return Err(self.client.garbled(&"a line has no end"));
            }
            match self.body.frame().await {
                // A gateway that is killed ends it, too.
                None | Some(Err(_)) => return Ok(None),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.read.extend_from_slice(&data);
                }
            }
        }
    }
}
