//! A site's folder, the processes that work on it, and what they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process said and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// It went well.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// It failed in one sentence that has these words in it.
    pub(crate) fn refused(self, words: &[&str]) {
        assert_ne!(self.code, Some(0), "it was to fail: {}", self.out);
        assert!(self.code.is_some(), "it died: {}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {:?}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// Runs the program to its end.
pub(crate) fn tributary(args: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tributary")).args(args).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The code that `child add` printed.
pub(crate) fn code_of(told: &str) -> String {
    let mut words = told.split_whitespace().skip_while(|word| *word != "--code").skip(1);
    words.next().expect("child add prints a code").to_owned()
}

/// A site in a temporary folder.
pub(crate) struct Folder {
    temporary: TempDir,
    pub(crate) address: String,
}

impl Folder {
    /// `tributary init`, open to programs on this machine.
    pub(crate) fn new(site: &str) -> Folder {
        Folder::with(site, &["--open-on-loopback"])
    }

    /// `tributary init` with these words.
    pub(crate) fn with(site: &str, args: &[&str]) -> Folder {
        Folder::below(&std::env::temp_dir(), site, args)
    }

    /// `tributary init` with these words, somewhere below this place.
    pub(crate) fn below(place: &Path, site: &str, args: &[&str]) -> Folder {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let folder = Folder { temporary: tempfile::tempdir_in(place).unwrap(), address };
        let mut all = vec!["init", "--site", site, "--listen", &folder.address];
        all.extend(args);
        folder.run(&all).ok();
        folder
    }

    /// The site's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.temporary.path().join("site")
    }

    /// A place beside it.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.temporary.path().join(name).display().to_string()
    }

    /// Writes a file beside it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.beside(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a verb on it.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let dir = self.dir().display().to_string();
        let mut all = args.to_vec();
        all.extend(["--dir", &dir]);
        tributary(&all)
    }

    /// Runs a verb on it that has to go well and answers in JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args).ok()).unwrap()
    }

    /// `tributary serve`, as soon as it listens.
    pub(crate) fn serve(&self) -> Serving {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
            .arg("serve")
            .arg("--dir")
            .arg(self.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains(&format!("listens on http://{}", self.address)), "{line:?}");
        Serving { child, said }
    }

    /// One request; the status and the body.
    pub(crate) fn ask(&self, head: &str, bearer: Option<&str>, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let credential = bearer.map_or(String::new(), |b| format!("Authorization: Bearer {b}\r\n"));
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{credential}\
             Content-Type: application/fhir+json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("an answer has a status"), answer)
    }

    /// Puts a patient.
    pub(crate) fn put_patient(&self, id: &str, family: &str) {
        let (status, answer) =
            self.ask(&format!("PUT /fhir/Patient/{id}"), None, &patient(id, family));
        assert!(matches!(status, 200 | 201), "{answer}");
    }

    /// Whether it holds a patient of this family name.
    pub(crate) fn holds(&self, id: &str, family: &str) -> bool {
        let (status, answer) = self.ask(&format!("GET /fhir/Patient/{id}"), None, "");
        status == 200 && answer.contains(family)
    }
}

/// A patient of this family name.
pub(crate) fn patient(id: &str, family: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{family}"}}]}}"#)
}

/// Asks again until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A running `tributary serve`; its power fails when it is dropped.
pub(crate) struct Serving {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Serving {
    /// SIGTERM: its exit code and what it said.
    #[cfg(unix)]
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // SIGKILL, at any moment: that is what these sites have to live with.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
