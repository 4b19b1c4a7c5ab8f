//! The server side of the API.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use tokio::sync::broadcast::Receiver;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use super::problem::Problem;
use super::socket::ControlSocket;
use super::views::{
    BanRequest, BanView, DropView, GeoAnswer, GeoLine, ImportRequest, ImportView, Lifted,
    PolicyAnswer, PolicyQuestion, Status,
};
use crate::types::Prefix;

/// The largest body that is read, in bytes. Requests name one thing each.
const BODY_BYTES: usize = 16 * 1_024;
/// The same for a list of bans: room for two million.
const IMPORT_BYTES: usize = 64 * 1_024 * 1_024;
/// The same for a country database. The largest of cities has a quarter of it.
const DATABASE_BYTES: usize = 512 * 1_024 * 1_024;
/// What [`Control::metrics`] returns, in the words of HTTP.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// One JSON object on each line.
const NDJSON: &str = "application/x-ndjson";
/// How long requests under way may take to finish once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// What the API can ask of the gateway.
pub trait Control: Send + Sync + 'static {
    /// The gateway at a glance.
    fn status(&self) -> impl Future<Output = Result<Status, Problem>> + Send;
    /// The bans in force.
    fn bans(&self) -> impl Future<Output = Result<Vec<BanView>, Problem>> + Send;
    /// Bans; in force when it returns.
    fn ban(&self, request: BanRequest) -> impl Future<Output = Result<BanView, Problem>> + Send;
    /// Bans all of a list; in force and on disk when it returns.
    fn import(
        &self,
        request: ImportRequest,
    ) -> impl Future<Output = Result<ImportView, Problem>> + Send;
    /// Ends a ban; [`Problem::not_found`] if there is none of exactly this target.
    fn lift(&self, target: Prefix) -> impl Future<Output = Result<Lifted, Problem>> + Send;
    /// What the policy decides; [`Problem::bad_request`] if the topic is none.
    fn check(
        &self,
        question: PolicyQuestion,
    ) -> impl Future<Output = Result<PolicyAnswer, Problem>> + Send;
    /// The drops that the kernel reports from now on; [`Problem::unavailable`] if it reports none.
    /// The receiver ends with the gateway.
    fn drops(&self) -> Result<Receiver<DropView>, Problem>;
    /// Puts the bytes of a country database in force; [`Problem::conflict`] if no database is
    /// configured, or while another update is under way.
    fn update_countries(&self, database: Vec<u8>) -> Result<UnboundedReceiver<GeoLine>, Problem>;
    /// The country of an address; [`Problem::conflict`] if no database is configured.
    fn country(&self, address: IpAddr) -> Result<GeoAnswer, Problem>;
    /// Every metric as `OpenMetrics` text 1.0.0.
    fn metrics(&self) -> String;
}

/// Serves the API until `stop`, then lets requests under way finish for two seconds and removes
/// the socket.
pub async fn serve<C: Control>(
    socket: ControlSocket,
    control: Arc<C>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let ControlSocket { listener, file } = socket;
    let server = axum::serve(listener, router(control))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = async { server.await } => result,
        () = overdue => Ok(()),
    };
    drop(file);
    result
}

fn router<C: Control>(control: Arc<C>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status::<C>))
        .route("/api/v1/bans", get(bans::<C>).post(ban::<C>))
        .route(
            "/api/v1/bans/import",
            post(import::<C>).layer(DefaultBodyLimit::max(IMPORT_BYTES)),
        )
        .route("/api/v1/bans/{*target}", delete(lift::<C>))
        .route("/api/v1/policy/check", post(check::<C>))
        .route("/api/v1/drops", get(drops::<C>))
        .route(
            "/api/v1/geo",
            post(update_countries::<C>).layer(DefaultBodyLimit::max(DATABASE_BYTES)),
        )
        .route("/api/v1/geo/{address}", get(country::<C>))
        .route("/metrics", get(metrics::<C>))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(control)
}

async fn status<C: Control>(State(control): State<Arc<C>>) -> Result<Json<Status>, Problem> {
    control.status().await.map(Json)
}

async fn bans<C: Control>(State(control): State<Arc<C>>) -> Result<Json<Vec<BanView>>, Problem> {
    control.bans().await.map(Json)
}

async fn ban<C: Control>(
    State(control): State<Arc<C>>,
    request: Result<Json<BanRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<BanView>), Problem> {
    let Json(request) = request?;
    if request.seconds == 0 {
        let help = "give it at least one second";
        return Err(Problem::bad_request("the ban would end at once", help));
    }
    let ban = control.ban(request).await?;
    Ok((StatusCode::CREATED, Json(ban)))
}

async fn import<C: Control>(
    State(control): State<Arc<C>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ImportView>, Problem> {
    let body = whole(body, IMPORT_BYTES, "split the list")?;
    // A million entries keep nobody waiting.
    let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&body));
    let parsed = parsed
        .await
        .map_err(|_| Problem::unavailable("the gateway is stopping", "wait until it runs again"))?;
    let request: ImportRequest =
        parsed.map_err(|error| Problem::bad_request(error.to_string(), "send one JSON object"))?;
    control.import(request).await.map(Json)
}

fn whole(body: Result<Bytes, BytesRejection>, most: usize, help: &str) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Problem::too_large(format!("at most {most} bytes are read: {help}"));
        }
        Problem::bad_request(rejection.body_text(), "send it again")
    })
}

async fn update_countries<C: Control>(
    State(control): State<Arc<C>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Problem> {
    let body = whole(body, DATABASE_BYTES, "use a database of countries only")?;
    let lines = Lines::of_update(control.update_countries(body.into())?);
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::new(lines)))
}

async fn country<C: Control>(
    State(control): State<Arc<C>>,
    Path(address): Path<String>,
) -> Result<Json<GeoAnswer>, Problem> {
    let address = address.parse().map_err(|_| {
        Problem::bad_request(
            format!("`{address}` is no IP address"),
            "write one like 192.0.2.7 or 2001:db8::7",
        )
    })?;
    control.country(address).map(Json)
}

async fn lift<C: Control>(
    State(control): State<Arc<C>>,
    Path(target): Path<String>,
) -> Result<Json<Lifted>, Problem> {
    let target = target.parse().map_err(|error: crate::types::BadPrefix| {
        Problem::bad_request(error.to_string(), "name an address or prefix")
    })?;
    control.lift(target).await.map(Json)
}

async fn check<C: Control>(
    State(control): State<Arc<C>>,
    question: Result<Json<PolicyQuestion>, JsonRejection>,
) -> Result<Json<PolicyAnswer>, Problem> {
    let Json(question) = question?;
    control.check(question).await.map(Json)
}

async fn drops<C: Control>(State(control): State<Arc<C>>) -> Result<impl IntoResponse, Problem> {
    let lines = Lines::of(control.drops()?);
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::new(lines)))
}

async fn metrics<C: Control>(State(control): State<Arc<C>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], control.metrics())
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(
        format!("there is no {}", uri.path()),
        "this gateway may be older than the client: compare `flytrap --version` and `flytrap status`",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::wrong_method(format!("{} doesn't know {method}", uri.path()))
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::too_large(format!("at most {BODY_BYTES} bytes are read"));
        }
        Self::bad_request(
            rejection.body_text(),
            "send one JSON object as application/json",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(self)).into_response()
    }
}
