//! `nonces.db`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, params};

use super::{IN_ALL, PER_WALLET, Refused, Use};
use crate::types::UnixTime;

/// The layout that this version reads and writes.
const SCHEMA: i64 = 1;

const TABLES: &str = "
    CREATE TABLE uses (
        wallet   BLOB NOT NULL,
        signer   BLOB NOT NULL,
        nonce    BLOB NOT NULL,
        expires  INTEGER NOT NULL,
        PRIMARY KEY (wallet, signer, nonce)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uses_by_end ON uses (expires);
    -- One row: uses of tokens that expired up to this second are forgotten.
    CREATE TABLE forgotten (until INTEGER NOT NULL) STRICT;
    INSERT INTO forgotten VALUES (0);
";

/// Why the database of used nonces can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be opened, read or written.
    #[error(
        "the database of used tokens {} can't be used: {source}; check that its directory exists and is writable, and that the disk has room", .path.display()
    )]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another process has it open.
    #[error(
        "the database of used tokens {} is in use: another flytrap runs with this state directory", .path.display()
    )]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A later version wrote it, or it is damaged.
    #[error(
        "the database of used tokens {} can't be read: {what}; moving it away lets single-use tokens that were used in again until they expire", .path.display()
    )]
    Unreadable {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The database, opened: nobody else can use it now.
pub struct NoncesStore {
    connection: Connection,
    /// How many uses it holds.
    count: u64,
    forgotten: UnixTime,
}

impl fmt::Debug for NoncesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoncesStore")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// What one use came to.
pub(super) type Verdict = Result<(), Refused>;

impl NoncesStore {
    /// Opens or creates `nonces.db` in `state_dir`, a directory that exists.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join("nonces.db");
        let unreadable = |what: String| StoreError::Unreadable {
            path: path.clone(),
            what,
        };
        let explain = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::InUse { path: path.clone() }
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                unreadable(source.to_string())
            }
            _ => StoreError::Unusable {
                path: path.clone(),
                source,
            },
        };
        let connection = Connection::open(&path).map_err(explain)?;
        // A gateway that is just ending gets this long.
        let patience = Duration::from_secs(2);
        connection.busy_timeout(patience).map_err(explain)?;
        // Exclusive locking, set before WAL, keeps a second gateway out. A use is on the disk when
        // its transaction ends.
        connection
            .execute_batch(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
                 BEGIN IMMEDIATE; COMMIT;",
            )
            .map_err(explain)?;
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        match number("PRAGMA user_version").map_err(explain)? {
            0 => connection
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"
                ))
                .map_err(explain)?,
            SCHEMA => {}
            found => {
                return Err(unreadable(format!(
                    "it has layout {found}, this version knows {SCHEMA}"
                )));
            }
        }
        let count = number("SELECT count(*) FROM uses").map_err(explain)?;
        let forgotten = number("SELECT max(until) FROM forgotten").map_err(explain)?;
        Ok(Self {
            connection,
            count: count.unsigned_abs(),
            forgotten: UnixTime(forgotten.unsigned_abs()),
        })
    }

    /// Uses up nonces, each at its time; what is said of them is on disk then.
    pub(super) fn spend<'a>(
        &mut self,
        uses: impl Iterator<Item = (&'a Use, UnixTime)>,
    ) -> rusqlite::Result<Vec<Verdict>> {
        let (mut count, mut forgotten) = (self.count, self.forgotten);
        let transaction = self.connection.transaction()?;
        let mut verdicts = Vec::new();
        for (one, now) in uses {
            if now > forgotten {
                forgotten = now;
                let gone = transaction
                    .prepare_cached("DELETE FROM uses WHERE expires <= ?")?
                    .execute([now.0])?;
                count = count.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX));
                transaction
                    .prepare_cached("UPDATE forgotten SET until = ?")?
                    .execute([now.0])?;
            }
            let verdict = spend_one(&transaction, one, forgotten, count)?;
            count += u64::from(verdict.is_ok());
            verdicts.push(verdict);
        }
        transaction.commit()?;
        (self.count, self.forgotten) = (count, forgotten);
        Ok(verdicts)
    }
}

fn spend_one(
    transaction: &Transaction<'_>,
    one: &Use,
    forgotten: UnixTime,
    count: u64,
) -> rusqlite::Result<Verdict> {
    let signer = one.device.map_or([0; 32], |id| id.0);
    let key = params![one.wallet.0, signer, one.nonce];
    let known: bool = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM uses WHERE wallet = ? AND signer = ? AND nonce = ?)",
        )?
        .query_row(key, |row| row.get(0))?;
    // The wall clock was set back: its use may be one that is forgotten.
    if known || one.expires <= forgotten {
        return Ok(Err(Refused::Used));
    }
    let of_wallet: u64 = transaction
        .prepare_cached("SELECT count(*) FROM uses WHERE wallet = ?")?
        .query_row([one.wallet.0], |row| row.get(0))?;
    if of_wallet >= PER_WALLET || count >= IN_ALL {
        return Ok(Err(Refused::Full));
    }
    transaction
        .prepare_cached("INSERT INTO uses VALUES (?, ?, ?, ?)")?
        .execute(params![one.wallet.0, signer, one.nonce, one.expires.0])?;
    Ok(Ok(()))
}
