//! Alerts of the running program, and who is told of them.

use serde_json::Value;

use crate::admin::{administrator, get};
use crate::folder::{Folder, wait_until};
use crate::pair::joined;

/// Takes one request of a webhook and answers it; gives its body.
fn webhook(listener: &std::net::TcpListener, status: &str) -> Value {
    use std::io::{BufRead, BufReader, Read, Write};
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    (&stream).write_all(answer.as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn what_is_wrong_is_raised_once_and_told_until_the_webhook_takes_it() {
    let (_centre, clinic, _centre_runs) = joined();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = clinic.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let wrong = format!("{text}\n[alerts]\nwebhook = \"ftp://nowhere\"\n");
    std::fs::write(&settings, wrong).unwrap();
    clinic.run(&["status"]).refused(&["alerts.webhook"]);
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    std::fs::write(&settings, format!("{text}\n[alerts]\nwebhook = \"{url}\"\n")).unwrap();
    assert!(clinic.run(&["alerts"]).ok().contains("Nothing is raised"));
    let file = clinic.write("amina.json", crate::folder::patient("amina", "Otieno"));
    clinic.run(&["import", &file]).ok();
    clinic.run(&["queue", "park", "--all", "--reason", "room 4"]).ok();
    clinic.run(&["token", "add", "short", "--scope", "fhir-read", "--days", "3"]).ok();
    let _running = clinic.serve();
    let first = webhook(&listener, "500 Internal Server Error");
    let again = webhook(&listener, "204 No Content");
    let rules = |body: &Value| {
        let raised = body["raised"].as_array().unwrap();
        raised.iter().map(|one| one["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for body in [&first, &again] {
        let rules = rules(body);
        assert!(rules.contains(&"parked".to_owned()), "{body}");
        assert!(rules.contains(&"credential".to_owned()), "{body}");
        assert!(!body.to_string().contains("Otieno"));
    }
    let said = clinic.run(&["alerts"]);
    assert!(said.code == Some(1) && said.out.contains("are parked or stuck"), "{}", said.out);
    assert!(clinic.run(&["status"]).ok().contains("ALERTS"));
    let desk = administrator(&clinic);
    let got = get(&clinic, "/admin/alerts", &desk);
    assert_eq!(got.as_array().unwrap().len(), rules(&again).len(), "raised once: {got}");
}

/// A server that takes connections and never says a word.
fn silent() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Takes one e-mail as an SMTP server does, or refuses it; gives what was said to it.
fn smtp(listener: &std::net::TcpListener, data_answer: &str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let say = |words: &str| (&stream).write_all(format!("{words}\r\n").as_bytes()).unwrap();
    let (mut all, mut in_data) = (String::new(), false);
    say("220 mail.example");
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return all;
        }
        all += &line;
        match line.trim_end() {
            "." if in_data => {
                in_data = false;
                say(data_answer);
            }
            _ if in_data => {}
            "DATA" => {
                in_data = true;
                say("354 go on");
            }
            "QUIT" => {
                say("221 bye");
                return all;
            }
            line if line.starts_with("RCPT TO:<nobody@") => say("550 no such user"),
            _ => say("250 ok"),
        }
    }
}

#[test]
fn an_address_that_is_refused_and_a_flood_of_words_cost_the_others_nothing() {
    use std::io::Write;
    let site = Folder::new("centre");
    let settings = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let (server, port) = silent();
    let mail = format!(
        "[alerts]\ndisk_percent = 0\n[alerts.email]\nhost = \"127.0.0.1\"\nport = {port}\n\
         tls = \"none\"\nfrom = \"tributary@clinic.example\"\n\
         to = [\"nobody@clinic.example\", \"desk@clinic.example\"]\n"
    );
    std::fs::write(&settings, format!("{text}\n{mail}")).unwrap();
    site.run(&["token", "add", "short", "--scope", "fhir-read", "--days", "3"]).ok();
    let _running = site.serve();
    // A line without an end: it hangs up long before all of it was read.
    let (mut stream, _) = server.accept().unwrap();
    let said = (0..1_024).take_while(|_| stream.write_all(&[b'x'; 64 << 10]).is_ok()).count();
    assert!(said < 1_024, "it read all that was said");
    let refused = smtp(&server, "250 taken");
    assert!(refused.contains("nobody@") && !refused.contains("DATA"), "{refused}");
    let taken = smtp(&server, "250 taken");
    assert!(taken.contains("RCPT TO:<desk@") && taken.contains("Subject:"), "{taken}");
}

#[test]
fn a_webhook_and_a_mail_server_that_hang_or_refuse_delay_nobody() {
    let site = Folder::new("centre");
    let settings = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let (_hangs, hanging) = silent();
    let (takes, taking) = silent();
    let email = |port: u16, tls: &str| {
        format!(
            "[alerts.email]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\n\
             from = \"tributary@clinic.example\"\nto = [\"desk@clinic.example\"]\n"
        )
    };
    let write = |webhook: u16, mail: &str| {
        let hook =
            format!("[alerts]\ndisk_percent = 0\nwebhook = \"http://127.0.0.1:{webhook}/\"\n");
        std::fs::write(&settings, format!("{text}\n{hook}{mail}")).unwrap();
    };
    write(taking, &format!("{}user = \"desk\"\n", email(hanging, "none")));
    site.run(&["status"]).refused(&["password_file"]);
    let with_user = "user = \"desk\"\npassword_file = \"smtp.password\"\n";
    write(taking, &format!("{}{with_user}", email(hanging, "starttls")));
    let told = site.run(&["doctor"]);
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("no alert can be sent by e-mail"), "{}", told.out);
    // The mail server hangs: the webhook is told, and the site answers.
    write(taking, &email(hanging, "none"));
    site.run(&["token", "add", "short", "--scope", "fhir-read", "--days", "3"]).ok();
    let running = site.serve();
    let told = webhook(&takes, "204 No Content");
    assert_eq!(told["raised"][0]["rule"], "credential", "{told}");
    assert_eq!(site.ask("GET /health/ready", None, "").0, 200);
    drop(running);
    // The webhook hangs, and the mail server refuses first: it gets the same once more.
    write(hanging, &email(taking, "none"));
    let _running = site.serve();
    let first = smtp(&takes, "451 not now");
    let said = || site.run(&["status"]).ok();
    let trouble = "nobody is told of alerts by e-mail since";
    wait_until("people see that no e-mail goes", || said().contains(trouble));
    let told = site.run(&["doctor", "--offline"]).out;
    assert!(told.contains(trouble) && told.contains("451"), "{told}");
    let again = smtp(&takes, "250 taken");
    for said in [&first, &again] {
        assert!(said.contains("RCPT TO:<desk@clinic.example>"), "{said}");
        assert!(said.contains("Subject: [tributary centre] 1 raised, 0 over"), "{said}");
        assert!(said.contains("the credential short ends in"), "{said}");
    }
    let id =
        |said: &str| said.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
    assert_eq!(id(&first), id(&again));
    wait_until("people see that e-mail goes again", || !said().contains(trouble));
    site.put_patient("amina", "Otieno");
    assert!(site.holds("amina", "Otieno"), "the site works beside it");
    assert_eq!(site.run(&["alerts"]).code, Some(1));
}
