//! A real Chromium without a screen, driven by ChromeDriver (W3C WebDriver), in the network outside: it can reach nothing but files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Namespace, Running, World, wait_until};

/// How a start, and each command, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    _driver: Running,
    namespace: Arc<Namespace>,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// With the packages to install, when there is no ChromeDriver or no Chromium.
    #[must_use]
    pub fn start(world: &World) -> Self {
        let profile = world.scratch().make_dir("browser", 0o700);
        // In a PID namespace of its own: all of the browser ends with it.
        let alone = ["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=unchanged", "--"];
        let driver = world.command("unshare").args(alone).args(["chromedriver", "--port=0"]).spawn();
        let said = || {
            let text = driver.stdout();
            let port = text.split("successfully on port ").nth(1)?.split('.').next()?.trim().parse::<u16>().ok()?;
            Some(port)
        };
        let port = wait_until(LIMIT, said).unwrap_or_else(|| {
            panic!("no ChromeDriver (apt-get install chromium chromium-driver): {}{}", driver.stdout(), driver.stderr())
        });
        let mut browser = Browser { _driver: driver, namespace: Arc::clone(world.outside()), port, session: String::new() };
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wanted =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let made = browser.call("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        browser
    }

    /// Opens a file.
    pub fn open(&self, path: &Path, hash: &str) {
        let _null = self.command("POST", "url", &json!({"url": format!("file://{}{hash}", path.display())}));
    }

    /// What a script in the page returns.
    #[must_use]
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({"script": script, "args": []}))
    }

    /// Presses keys, as a person would: U+E004 is Tab, U+E007 Enter, U+E00C Escape (W3C WebDriver, 17.4.2).
    pub fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|act| json!({"type": act, "value": key}))).collect();
        let _null = self.command("POST", "actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// What the page complained about; not what the browser says of pages of its own.
    #[must_use]
    pub fn complaints(&self) -> Vec<Value> {
        let all = self.command("POST", "se/log", &json!({"type": "browser"}));
        let of_its_own = |line: &&Value| line["message"].as_str().is_some_and(|message| message.starts_with("chrome://"));
        all.as_array().into_iter().flatten().filter(|line| !of_its_own(line)).cloned().collect()
    }

    fn command(&self, method: &str, what: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{what}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "DELETE" { String::new() } else { body.to_string() };
        let answer = self.namespace.run(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("ChromeDriver");
            stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
            let length = body.len();
            write!(stream, "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                .expect("sent");
            let mut answer = Vec::new();
            let mut piece = [0; 8192];
            // It keeps the connection open, whatever it is asked.
            while !is_whole(&answer) {
                match stream.read(&mut piece) {
                    Ok(read) if read > 0 => answer.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
        let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text);
        let value: Value = serde_json::from_str(text).unwrap_or_else(|cause| panic!("{method} {path}: {cause}: {answer}"));
        assert!(value["value"].get("error").is_none(), "{method} {path}: {value}");
        value["value"].clone()
    }
}

/// Whether head and body have come.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= head.len() + 4 + length)
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            let _null = self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
    }
}
