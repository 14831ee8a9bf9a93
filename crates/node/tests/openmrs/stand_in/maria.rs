//! The stand-in's tables in a MariaDB of its own, started from a temporary directory on loopback
//! with a binary log as OpenMRS sites have it.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Params, Row as Found, Value as Cell};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::tables::{Row, TABLES, Tables, table};

/// A server with one database, `openmrs`.
pub(crate) struct Server {
    process: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Starts one without any table; `more` are options of its own (`--log-bin=...`).
    pub(crate) fn bare(more: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        // One at a time: each fills a log of its own.
        static MAKING: Mutex<()> = Mutex::new(());
        let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let made = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--user={user}"))
            .output()
            .expect("mariadb-server is not installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        drop(making);
        let mut server = Server { process: sleeper(), directory, port: free_port() };
        server.up(more);
        server
    }

    /// Starts one with OpenMRS's tables and users that may read the log, or may not.
    pub(crate) fn start(more: &[&str]) -> Server {
        let server = Server::bare(more);
        let mut conn = server.sql();
        conn.run("CREATE DATABASE openmrs CHARACTER SET utf8mb4");
        conn.run("USE openmrs");
        for table in TABLES {
            let columns = table.columns.iter().map(|(name, kind)| format!("`{name}` {kind}"));
            let columns = columns.collect::<Vec<_>>().join(", ");
            conn.run(&format!(
                "CREATE TABLE `{}` (`{}` INT AUTO_INCREMENT PRIMARY KEY, {columns})",
                table.name, table.key
            ));
        }
        conn.run("CREATE TABLE of_some_module (id INT PRIMARY KEY, uuid CHAR(38))");
        for statement in [
            "CREATE USER reader@'%' IDENTIFIED BY 'secret'",
            "GRANT SELECT ON openmrs.* TO reader@'%'",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO reader@'%'",
            "CREATE USER stranger@'%' IDENTIFIED BY 'secret'",
            "GRANT SELECT ON openmrs.* TO stranger@'%'",
        ] {
            conn.run(statement);
        }
        server
    }

    /// Starts the process again on the same data.
    pub(crate) fn up(&mut self, more: &[&str]) {
        let directory = self.directory.path();
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let with_log = ["--log-bin=log", "--binlog-format=ROW", "--server-id=7"];
        let options = if more.is_empty() { &with_log[..] } else { more };
        self.process = Command::new("mariadbd")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", directory.join("data").display()))
            .arg(format!("--socket={}", directory.join("socket").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .arg(format!("--user={user}"))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"])
            .args(["--innodb-buffer-pool-size=16M", "--max-binlog-size=64K"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..300 {
            let tried = std::net::TcpStream::connect(("127.0.0.1", self.port));
            if tried.is_ok() && Sql::connect(&self.url("root", "")).is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the database does not come up");
    }

    /// Stops the process in good order.
    pub(crate) fn down(&mut self) {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(asked.unwrap().success());
        self.process.wait().unwrap();
    }

    /// Its URL for a user.
    pub(crate) fn url(&self, user: &str, password: &str) -> String {
        let password = if password.is_empty() { String::new() } else { format!(":{password}") };
        format!("mysql://{user}{password}@127.0.0.1:{}/mysql", self.port)
    }

    /// The URL as the settings have it.
    pub(crate) fn database(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/openmrs", self.port)
    }

    /// What makes another one its replica.
    pub(crate) fn leads(&self) -> String {
        format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', \
             MASTER_USE_GTID = slave_pos",
            self.port
        )
    }

    /// A connection of its administrator.
    pub(crate) fn sql(&self) -> Sql {
        Sql::connect(&self.url("root", "")).unwrap()
    }

    /// Its tables, for a stand-in.
    pub(crate) fn tables(&self) -> Box<dyn Tables> {
        let mut sql = self.sql();
        sql.run("USE openmrs");
        Box::new(sql)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sleeper() -> Child {
    Command::new("true").spawn().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A connection that is used without waiting, by threads that may block.
pub(crate) struct Sql {
    url: String,
    runtime: Option<Runtime>,
    conn: Option<Conn>,
}

/// Runs on a thread of its own: a runtime cannot block inside of another.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

impl Sql {
    fn connect(url: &str) -> Option<Sql> {
        let url = url.to_owned();
        let opts = Opts::from_url(&url).unwrap();
        apart(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.unwrap();
            let conn = runtime.block_on(Conn::new(opts)).ok()?;
            Some(Sql { url, runtime: Some(runtime), conn: Some(conn) })
        })
    }

    /// One statement.
    pub(crate) fn run(&mut self, statement: &str) {
        let Sql { runtime, conn, .. } = self;
        let (runtime, conn) = (runtime.as_ref().unwrap(), conn.as_mut().unwrap());
        let done = apart(|| runtime.block_on(conn.query_drop(statement)));
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// One statement that gives one text.
    pub(crate) fn one(&mut self, statement: &str) -> String {
        let (rows, _) = self.exec(statement, Vec::new());
        rows[0].get(0).unwrap()
    }

    fn exec_once(
        &mut self,
        statement: &str,
        params: Params,
    ) -> Result<Vec<Found>, mysql_async::Error> {
        let Sql { runtime, conn, .. } = self;
        let (runtime, conn) = (runtime.as_ref().unwrap(), conn.as_mut().unwrap());
        apart(|| runtime.block_on(conn.exec::<Found, _, _>(statement, params)))
    }

    fn exec(&mut self, statement: &str, cells: Vec<Cell>) -> (Vec<Found>, u64) {
        let params = if cells.is_empty() { Params::Empty } else { Params::Positional(cells) };
        let mut done = self.exec_once(statement, params.clone());
        if let Err(mysql_async::Error::Io(_)) = done {
            // The server was started again.
            *self = Sql::connect(&self.url).unwrap();
            self.run("USE openmrs");
            done = self.exec_once(statement, params);
        }
        let rows = done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let key = self.conn.as_ref().unwrap().last_insert_id().unwrap_or(0);
        (rows, key)
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        let (runtime, conn) = (self.runtime.take(), self.conn.take());
        apart(move || {
            if let Some(runtime) = runtime {
                let _inside = runtime.enter();
                drop(conn);
                drop(_inside);
                runtime.shutdown_background();
            }
        });
    }
}

impl Tables for Sql {
    fn rows(&mut self, name: &str, by: Option<(&str, &Value)>) -> Vec<Row> {
        let definition = table(name);
        let names = std::iter::once(definition.key).chain(definition.columns.iter().map(|c| c.0));
        let names = names.collect::<Vec<_>>();
        let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut query = format!("SELECT {list} FROM `{name}`");
        let mut cells = Vec::new();
        if let Some((column, value)) = by {
            query += &format!(" WHERE `{column}` = ?");
            cells.push(cell(value));
        }
        query += &format!(" ORDER BY `{}`", definition.key);
        let (rows, _) = self.exec(&query, cells);
        let read = |row: Found| {
            let cells = names.iter().zip(row.unwrap());
            let read = cells.map(|(name, cell)| {
                let kind = definition.columns.iter().find(|(column, _)| column == name);
                let day = kind.is_some_and(|(_, kind)| *kind == "DATE");
                let value = match value(cell) {
                    Value::String(text) if day => json!(text[..10]),
                    value => value,
                };
                ((*name).to_owned(), value)
            });
            read.collect()
        };
        rows.into_iter().map(read).collect()
    }

    fn insert(&mut self, name: &str, row: Row) -> i64 {
        let names = row.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let marks = vec!["?"; row.len()].join(", ");
        let given = row.get(table(name).key).and_then(Value::as_i64);
        let cells = row.values().map(cell).collect();
        let (_, key) =
            self.exec(&format!("INSERT INTO `{name}` ({names}) VALUES ({marks})"), cells);
        given.unwrap_or(i64::try_from(key).unwrap())
    }

    fn update(&mut self, name: &str, key: i64, columns: Row) {
        let sets =
            columns.keys().map(|name| format!("`{name}` = ?")).collect::<Vec<_>>().join(", ");
        let mut cells = columns.values().map(cell).collect::<Vec<_>>();
        cells.push(Cell::Int(key));
        let key = table(name).key;
        self.exec(&format!("UPDATE `{name}` SET {sets} WHERE `{key}` = ?"), cells);
    }

    fn delete(&mut self, name: &str, key: i64) {
        let column = table(name).key;
        self.exec(&format!("DELETE FROM `{name}` WHERE `{column}` = ?"), vec![Cell::Int(key)]);
    }

    fn begin(&mut self) {
        self.run("START TRANSACTION");
    }

    fn end(&mut self, commit: bool) {
        self.run(if commit { "COMMIT" } else { "ROLLBACK" });
    }
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::NULL,
        Value::Bool(flag) => Cell::Int(i64::from(*flag)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::Double(number.as_f64().unwrap()),
        },
        Value::String(text) => Cell::Bytes(text.clone().into_bytes()),
        other => panic!("{other} is no cell"),
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::NULL => Value::Null,
        Cell::Int(number) => json!(number),
        Cell::UInt(number) => json!(number),
        Cell::Float(number) => json!(number),
        Cell::Double(number) => json!(number),
        Cell::Bytes(bytes) => json!(String::from_utf8(bytes).unwrap()),
        Cell::Date(year, month, day, 0, 0, 0, 0) => {
            json!(format!("{year:04}-{month:02}-{day:02} 00:00:00"))
        }
        Cell::Date(year, month, day, hour, minute, second, _) => {
            json!(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"))
        }
        other => panic!("{other:?} is no value"),
    }
}
