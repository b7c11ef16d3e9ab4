//! A browser in a machine's network, to look at the page in Cockpit as people do.
//!
//! Chromium takes commands of the DevTools protocol over a pipe (`--remote-debugging-pipe`), each a
//! JSON text that ends with a zero byte. A pipe needs no port, so the browser can be in a network
//! namespace, that of the attackers, while the test is outside.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::machine::Machine;

/// How long the browser may take for an answer, and a page for a condition, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address that the machine sees the browser at.
pub(crate) const HERE: &str = "192.0.2.1";

/// What expressions about the page can use: its document, and the first or all elements for a selector.
const PAGE: &str = r##"
    const inner = document.querySelector("iframe[name$='/wardend']")?.contentWindow;
    const page = inner?.document;
    const one = selector => page.querySelector(selector);
    const all = selector => [...page.querySelectorAll(selector)];
    const text = selector => one(selector)?.textContent ?? "";
    const shown = selector => Boolean(one(selector)?.getClientRects().length);
    const button = name => all("button").find(b => b.getClientRects().length
        && (b.getAttribute("aria-label") || b.textContent.trim()) === name);
    const rows = () => all("#bans tbody tr:not(.opened)");
    const banned = source => rows().find(row => row.querySelector(".source").textContent === source);
"##;

/// A running browser with one tab.
pub(crate) struct Browser {
    chromium: Child,
    commands: ChildStdin,
    messages: mpsc::Receiver<Value>,
    session: String,
    last: u64,
    /// What has happened: messages on the console, exceptions, reports.
    events: VecDeque<Value>,
}

impl Browser {
    /// Starts one beside `machine`, at [`HERE`].
    pub(crate) fn open(machine: &Machine) -> Self {
        let profile = machine.attackers_dir().join("chromium");
        fs::create_dir_all(&profile).expect("the machine's directory is writable");
        let log = fs::File::create(profile.join("log")).expect("it was made here");
        let mut chromium = Command::new("ip")
            .args(["netns", "exec", machine.network().attackers()])
            .args(["sh", "-c", r#"exec "$@" 3<&0 4>&1 >/dev/null"#, "sh"])
            .args(["chromium", "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-dev-shm-usage", "--ignore-certificate-errors"])
            .args(["--enable-precise-memory-info", "--window-size=1280,900", "--lang=en-US"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .env("HOME", &profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("ip starts");
        let commands = chromium.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(chromium.stdout.take().expect("it is piped"));
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            while answers.read_until(0, &mut text).is_ok_and(|length| length > 0) {
                let message = serde_json::from_slice(text.strip_suffix(&[0]).unwrap_or(&text));
                if message.is_ok_and(|message| sender.send(message).is_err()) {
                    return;
                }
                text.clear();
            }
        });
        let mut browser =
            Self { chromium, commands, messages, session: String::new(), last: 0, events: VecDeque::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        session["sessionId"].as_str().expect("a session has an id").clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network", "Performance"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        // As a window is that somebody works in: others may not copy to the clipboard.
        browser.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        browser
    }

    /// Sends a command and returns its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method });
        command["params"] = parameters;
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let text = format!("{command}\0");
        self.commands.write_all(text.as_bytes()).map_err(|error| format!("the browser is gone: {error}"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).map_err(|_| "the browser does not answer".to_owned())?;
            if message["id"] == self.last {
                return match message.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(message["result"].clone()),
                };
            }
            if message.get("method").is_some() {
                self.events.push_back(message);
            }
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let expression = format!("(async () => {{ {PAGE} return ({expression}); }})()");
        let options =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.try_call("Runtime.evaluate", options)?;
        match result.get("exceptionDetails") {
            Some(exception) => Err(exception["exception"]["description"].to_string()),
            None => Ok(result["result"]["value"].clone()),
        }
    }

    /// The value of an expression, with what [`PAGE`] defines.
    #[track_caller]
    pub(crate) fn get(&mut self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// The same as a text.
    #[track_caller]
    pub(crate) fn text(&mut self, expression: &str) -> String {
        let value = self.get(expression);
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Waits until an expression is true, and returns how long that took. Between two pages, there may be
    /// nothing that could answer.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) -> Duration {
        let begin = Instant::now();
        loop {
            let value = self.evaluate(&format!("Boolean({expression})"));
            if value == Ok(Value::Bool(true)) {
                return begin.elapsed();
            }
            if begin.elapsed() > PATIENCE {
                let what = self.evaluate("(page ?? document).body.innerText").unwrap_or_default();
                panic!("waited in vain for {expression} ({value:?}) in:\n{}", what.as_str().unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks what an expression is, as soon as it is there.
    #[track_caller]
    pub(crate) fn click(&mut self, expression: &str) {
        self.wait(&format!("{expression} && !({expression}).disabled"));
        self.get(&format!("({expression}).click()"));
    }

    /// Types a text into a field, in the place of what it has.
    #[track_caller]
    pub(crate) fn enter(&mut self, field: &str, text: &str) {
        self.wait(&format!("({field})?.getClientRects().length"));
        self.get(&format!("(({field}).focus(), ({field}).select())"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key that writes `text`, if any.
    #[track_caller]
    pub(crate) fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    #[track_caller]
    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The size of the window, and whether the user prefers a dark one.
    #[track_caller]
    pub(crate) fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": scheme }));
    }

    /// Has axe-core, whose source this is, examine the page, and returns what it finds, one per line.
    #[track_caller]
    pub(crate) fn examine(&mut self, axe: &str) -> String {
        fn find(tree: &Value) -> Option<&Value> {
            let frame = &tree["frame"];
            if frame["name"].as_str().is_some_and(|name| name.ends_with("/wardend")) {
                return Some(&frame["id"]);
            }
            tree["childFrames"].as_array()?.iter().find_map(find)
        }
        let tree = self.call("Page.getFrameTree", json!({}));
        let frame = find(&tree["frameTree"]).expect("the page is shown").clone();
        // A world of its own, because the page's content security policy forbids what axe does.
        let world = self.call("Page.createIsolatedWorld", json!({ "frameId": frame, "worldName": "axe" }));
        let context = &world["executionContextId"];
        self.call("Runtime.evaluate", json!({ "expression": axe, "contextId": context }));
        // A page of which axe sees nothing has no faults either.
        let run = "axe.run(document).then(found => found.passes.length < 20 ? `axe has seen ${found.passes.length} rules \
                   only` : found.violations.map(fault => [fault.impact, fault.id, \
                   ...fault.nodes.map(node => node.target.join(' '))].join(' ')).join('\\n'))";
        let options = json!({ "expression": run, "contextId": context, "awaitPromise": true, "returnByValue": true });
        let found = self.call("Runtime.evaluate", options);
        found["result"]["value"].as_str().unwrap_or_else(|| panic!("axe has failed: {found}")).to_owned()
    }

    /// Keeps a picture of what is shown.
    #[track_caller]
    pub(crate) fn screenshot(&mut self, path: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "webp", "quality": 60 }));
        let picture = STANDARD.decode(picture["data"].as_str().unwrap_or_default()).expect("it is base64");
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("it is writable");
        fs::write(path, picture).expect("the directory is writable");
    }

    /// Logs into Cockpit and opens the page.
    #[track_caller]
    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        self.go("https://192.0.2.10:9090/wardend");
        self.wait("document.getElementById('login-user-input')?.getClientRects().length");
        self.enter("document.getElementById('login-user-input')", user);
        self.enter("document.getElementById('login-password-input')", password);
        self.click("document.getElementById('login-button')");
        self.wait("shown('main h1')");
    }

    /// Has the shell of Cockpit ask for the password that administrative access takes.
    #[track_caller]
    pub(crate) fn ask_for_administration(&mut self) {
        let limited = "[...document.querySelectorAll('button')].find(b => b.textContent.trim() === 'Limited access' \
                       && b.getClientRects().length)";
        self.click(limited);
        self.wait("document.querySelector('[role=dialog] input[type=password]')?.getClientRects().length");
    }

    /// Leaves that question without an answer.
    #[track_caller]
    pub(crate) fn remain_limited(&mut self) {
        self.click("document.querySelector('[role=dialog] .btn-cancel')");
        self.wait("!document.querySelector('[role=dialog]')");
    }

    /// Answers it.
    #[track_caller]
    pub(crate) fn become_administrator(&mut self, password: &str) {
        self.enter("document.querySelector('[role=dialog] input[type=password]')", password);
        self.click("document.querySelector('[role=dialog] button.pf-m-primary')");
        self.wait("!document.querySelector('[role=dialog]')");
        self.wait("!shown('#limited')");
    }

    /// Faults of the page since the last call: exceptions, errors on the console, and what the content
    /// security policy has blocked. Those of Cockpit's own files are not the page's.
    pub(crate) fn faults(&mut self) -> String {
        // What is still on its way.
        let _ = self.evaluate("1");
        let mut faults = String::new();
        for event in self.events.drain(..) {
            let text = event["params"].to_string();
            let method = event["method"].as_str().unwrap_or_default();
            let entry = &event["params"]["entry"];
            let wrong = match method {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => {
                    ["error", "assert"].contains(&event["params"]["type"].as_str().unwrap_or(""))
                }
                "Log.entryAdded" => entry["source"] == "security" || entry["level"] == "error",
                _ => false,
            };
            if wrong && (text.contains("/wardend/") || text.contains("Content Security Policy")) {
                let _ = writeln!(faults, "{method}: {text}");
            }
        }
        faults
    }

    /// What the page's own files have cost since the last call: their number, and the bytes on the wire.
    pub(crate) fn requests(&mut self) -> (usize, u64) {
        let _ = self.evaluate("1");
        let mut known = BTreeMap::new();
        self.events.retain(|event| {
            let parameters = &event["params"];
            let id = parameters["requestId"].as_str().unwrap_or_default().to_owned();
            match event["method"].as_str().unwrap_or_default() {
                "Network.responseReceived" => {
                    if parameters["response"]["url"].as_str().is_some_and(|url| url.contains("/wardend/")) {
                        known.insert(id, 0);
                    }
                }
                "Network.loadingFinished" => {
                    if let Some(bytes) = known.get_mut(&id) {
                        *bytes = parameters["encodedDataLength"].as_u64().unwrap_or_default();
                    }
                }
                method => return !method.starts_with("Network."),
            }
            false
        });
        (known.len(), known.values().sum())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_call("Browser.close", json!({}));
        let _ = self.chromium.kill();
        let _ = self.chromium.wait();
    }
}
