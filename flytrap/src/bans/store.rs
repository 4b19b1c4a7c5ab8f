//! Bans on disk: `bans.db`, written by a thread of its own.
//!
//! Nothing waits for the disk but those who asked to: a ban is in the kernel before it is queued
//! here. Changes that queue up while the disk is busy share one transaction, which is on the disk
//! (`synchronous=FULL`) before any of them is reported as done.
//!
//! Rows are found by the number of their ban, which only rises: new ones go to the end of the
//! table, whatever their targets. An index of targets would have them written all over the file.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, params};

use super::record::{BanRecord, PlacedBy, Standing};
use crate::types::UnixTime;

/// The layout that this version reads and writes.
const SCHEMA: i64 = 2;
/// Changes waiting for the disk; further ones are reported as not saved.
const QUEUE: usize = 1 << 16;
/// Changes in one transaction.
const BATCH: usize = 8192;

const TABLES: &str = "
    CREATE TABLE bans (
        id        INTEGER PRIMARY KEY,
        target    TEXT NOT NULL,
        reason    TEXT NOT NULL,
        note      TEXT NOT NULL,
        operator  INTEGER NOT NULL,
        repeat    INTEGER NOT NULL,
        since     INTEGER NOT NULL,
        until     INTEGER NOT NULL
    ) STRICT;
    -- One row: the highest number ever given, also when its ban is over.
    CREATE TABLE numbers (last_id INTEGER NOT NULL) STRICT;
";

/// Why the database of bans can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be opened, read or written.
    #[error(
        "the database of bans {} can't be used: {source}; check that its directory exists and is writable, and that the disk has room", .path.display()
    )]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another process has it open.
    #[error(
        "the database of bans {} is in use: another flytrap runs with this state directory", .path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// It holds something that no version wrote.
    #[error(
        "the database of bans {} is damaged: {what}; move it away to start without its bans (those in the kernel are kept)", .path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A later version wrote it.
    #[error(
        "the database of bans {} has layout {found}, this version knows up to {SCHEMA}: run the version that wrote it", .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: i64,
    },
}

/// The database, opened and read: nobody else can use it now.
pub struct BansStore {
    pub(super) connection: Connection,
    pub(super) records: Vec<BanRecord>,
    /// The highest number ever given.
    pub(super) last_id: u64,
}

impl BansStore {
    /// Opens or creates `bans.db` in `state_dir`, a directory that exists, and reads it whole.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        open(&state_dir.join("bans.db"))
    }
}

impl fmt::Debug for BansStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BansStore")
            .field("bans", &self.records.len())
            .finish_non_exhaustive()
    }
}

fn open(path: &Path) -> Result<BansStore, StoreError> {
    let explain = |source: rusqlite::Error| {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged {
                path,
                what: source.to_string(),
            },
            _ => StoreError::Unusable { path, source },
        }
    };
    let damaged = |what: String| StoreError::Damaged {
        path: path.to_owned(),
        what,
    };
    let connection = Connection::open(path).map_err(explain)?;
    // A gateway that is just ending gets this long.
    connection
        .busy_timeout(Duration::from_secs(2))
        .map_err(explain)?;
    // Exclusive locking, set before WAL, keeps a second gateway out.
    connection
        .execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
             BEGIN IMMEDIATE; COMMIT;",
        )
        .map_err(explain)?;
    let health: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(explain)?;
    if health != "ok" {
        return Err(damaged(health));
    }
    let found = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(explain)?;
    let change = match found {
        0 => Some(format!("{TABLES} INSERT INTO numbers VALUES (0);")),
        // Found its rows by their targets, and kept the last number in SQLite's own table.
        1 => Some(format!(
            "ALTER TABLE bans RENAME TO bans1;
             {TABLES}
             INSERT INTO bans SELECT * FROM bans1;
             INSERT INTO numbers SELECT coalesce(max(seq), 0) FROM sqlite_sequence;
             DROP TABLE bans1;"
        )),
        SCHEMA => None,
        _ => {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
            });
        }
    };
    if let Some(change) = change {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {change} PRAGMA user_version = {SCHEMA}; COMMIT;"
            ))
            .map_err(explain)?;
    }
    let last_id = connection
        .query_row(
            "SELECT max(coalesce((SELECT max(last_id) FROM numbers), 0),
                        coalesce((SELECT max(id) FROM bans), 0))",
            [],
            |row| row.get(0),
        )
        .map_err(explain)?;
    let records = read(&connection).map_err(|error| match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => damaged(error.to_string()),
        other => explain(other),
    })?;
    Ok(BansStore {
        connection,
        records,
        last_id,
    })
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<BanRecord>> {
    connection
        .prepare(
            "SELECT id, target, reason, note, operator, repeat, since, until FROM bans ORDER BY id",
        )?
        .query_map([], |row| {
            Ok(BanRecord {
                id: row.get(0)?,
                target: parsed(row, 1)?,
                standing: Standing::Banned,
                reason: parsed(row, 2)?,
                note: row.get(3)?,
                placed_by: if row.get(4)? {
                    PlacedBy::Operator
                } else {
                    PlacedBy::Auto
                },
                repeat: row.get(5)?,
                since: UnixTime(row.get(6)?),
                until: UnixTime(row.get(7)?),
                kernel_refused: false,
                allowlisted: None,
                dropped: None,
            })
        })?
        .collect()
}

fn parsed<T>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// What is to change on disk: all of it at once, or nothing.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The numbers of bans that are over.
    pub(super) ended: Vec<u64>,
    /// New bans.
    pub(super) begun: Vec<Arc<BanRecord>>,
}

impl Change {
    pub(super) fn end(id: u64) -> Self {
        Self {
            ended: vec![id],
            begun: Vec::new(),
        }
    }
}

/// Runs once a change is on disk, or with why it isn't.
pub(super) type Done = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// The writing thread.
pub(super) struct Store {
    queue: SyncSender<(Change, Done)>,
    thread: JoinHandle<()>,
}

impl Store {
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, changes) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("flytrap-bans-db".to_owned())
            .spawn(move || write_queued(connection, &changes))?;
        Ok(Self { queue, thread })
    }

    /// Queues a change; never blocks.
    pub(super) fn save(&self, change: Change, done: Done) {
        match self.queue.try_send((change, done)) {
            Ok(()) => {}
            Err(TrySendError::Full((_, done))) => done(Err("too many changes wait for the disk")),
            Err(TrySendError::Disconnected((_, done))) => done(Err("its writer has ended")),
        }
    }

    /// Writes what is queued and closes the database. Blocks.
    pub(super) fn close(self) {
        drop(self.queue);
        // It can only have panicked, which has been printed.
        let _ = self.thread.join();
    }
}

fn write_queued(mut connection: Connection, changes: &Receiver<(Change, Done)>) {
    while let Ok(first) = changes.recv() {
        let batch: Vec<_> = std::iter::once(first)
            .chain(changes.try_iter().take(BATCH - 1))
            .collect();
        let result = commit(&mut connection, batch.iter().map(|(change, _)| change))
            .map_err(|error| error.to_string());
        for (_, done) in batch {
            done(result.as_ref().copied().map_err(String::as_str));
        }
    }
}

fn commit<'a>(
    connection: &mut Connection,
    changes: impl Iterator<Item = &'a Change>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut end = transaction.prepare_cached("DELETE FROM bans WHERE id = ?")?;
        let mut begin = transaction
            .prepare_cached("INSERT OR REPLACE INTO bans VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
        let mut number =
            transaction.prepare_cached("UPDATE numbers SET last_id = ?1 WHERE last_id < ?1")?;
        let mut last_id = 0;
        let mut target = String::new();
        for change in changes {
            for id in &change.ended {
                end.execute([id])?;
            }
            for ban in &change.begun {
                target.clear();
                // Writing to a String doesn't fail.
                let _ = write!(target, "{}", ban.target);
                begin.execute(params![
                    ban.id,
                    target,
                    ban.reason.as_str(),
                    ban.note,
                    ban.placed_by == PlacedBy::Operator,
                    ban.repeat,
                    ban.since.0,
                    ban.until.0,
                ])?;
                last_id = last_id.max(ban.id);
            }
        }
        number.execute([last_id])?;
    }
    transaction.commit()
}
