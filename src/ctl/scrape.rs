//! `wardenctl metrics --serve`: one client of wardend-metrics.socket, who may speak HTTP or nothing at all.
//!
//! A scraper sends a request first (`curl --unix-socket`, Prometheus behind a proxy); a client that only reads,
//! such as netcat, sends none and gets the bare text after a moment. Nothing of a request counts but its
//! first line.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use anyhow::Context;

/// The time in which a request must begin.
const MOMENT: Duration = Duration::from_millis(200);
/// The time in which it must be complete.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 16 * 1024;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers the client on standard input with what `numbers` returns.
pub(super) fn serve(numbers: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned().context("Standard input can't be used")?;
    let mut client = UnixStream::from(socket);
    let request = request(&mut client).context("No client can be served on standard input")?;
    client.write_all(&answer(&request, numbers)?)?;
    Ok(())
}

/// What the client sends, up to the end of the head of an HTTP request.
fn request(client: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut end = Instant::now() + MOMENT;
    let mut buffer = [0; 1024];
    while request.len() < LONGEST && !is_complete(&request) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if request.is_empty() {
                    end = Instant::now() + PATIENCE;
                }
                request.extend_from_slice(&buffer[..count]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(request)
}

fn is_complete(request: &[u8]) -> bool {
    request.windows(4).any(|bytes| bytes == b"\r\n\r\n") || request.windows(2).any(|bytes| bytes == b"\n\n")
}

fn answer(request: &[u8], numbers: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<Vec<u8>> {
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(numbers()?.into_bytes());
    };
    if !version.starts_with("HTTP/1.") {
        return Ok(numbers()?.into_bytes());
    }
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/" | "/metrics") => match numbers() {
            Ok(text) => ("200 OK", OPEN_METRICS, text),
            Err(error) => ("503 Service Unavailable", "text/plain; charset=utf-8", format!("{error:#}\n")),
        },
        ("GET" | "HEAD", _) => ("404 Not Found", "text/plain; charset=utf-8", "Ask for /metrics.\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain; charset=utf-8", "Use GET.\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n"
    );
    let body = if method == "HEAD" { "" } else { &body };
    Ok([head.as_bytes(), body.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(request: &str) -> String {
        String::from_utf8(answer(request.as_bytes(), || Ok("x 1\n# EOF\n".to_owned())).unwrap()).unwrap()
    }

    #[test]
    fn whoever_speaks_http_is_answered_in_http_and_whoever_does_not_gets_the_text() {
        assert_eq!(told(""), "x 1\n# EOF\n");
        assert_eq!(told("hello\n"), "x 1\n# EOF\n");
        let answer = told("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nx 1\n# EOF\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Length: 10\r\n") && answer.contains("openmetrics-text"), "{answer}");
        assert!(told("HEAD / HTTP/1.0\r\n\r\n").ends_with("\r\n\r\n"));
        assert!(told("GET /x?y HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(told("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        let down = answer_of_a_daemon_that_is_down();
        assert!(down.starts_with("HTTP/1.1 503 ") && down.ends_with("not running\n"), "{down}");
    }

    fn answer_of_a_daemon_that_is_down() -> String {
        let answer = answer(b"GET /metrics HTTP/1.1\r\n\r\n", || Err(anyhow::anyhow!("not running")));
        String::from_utf8(answer.unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_read_to_its_end_and_one_who_is_silent_is_not_waited_for() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
        let writer = std::thread::spawn(move || {
            theirs.write_all(b": x\r\n\r\n").unwrap();
            theirs
        });
        assert!(is_complete(&request(&mut ours).unwrap()));
        let _theirs = writer.join().unwrap();
        assert_eq!(request(&mut ours).unwrap(), b"", "nothing more comes");
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&vec![b'x'; 3 * LONGEST]).unwrap();
        assert!(request(&mut ours).unwrap().len() < LONGEST + 1024);
    }
}
