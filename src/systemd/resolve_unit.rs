//! The addresses of a name, where there is no systemd-resolved: wardend-resolve.socket starts a program
//! for whoever connects, which has the network that the daemon lacks and asks getaddrinfo(3).

use std::{io, net::IpAddr, time::Duration};

use tokio::net::UnixStream;

use crate::contract::resolve::Answer;

/// Where the unit listens.
pub(super) const SOCKET: &str = "/run/wardend-resolve.sock";
/// An answer of more bytes is not believed.
const LONGEST: usize = 64 * 1024;

/// Why a name has no addresses: the middle of a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// In the resolver's words.
    #[error("{0}")]
    Unknown(String),
    #[error("the resolver gave no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error(
        "{0} can't be used ({1}); run `systemctl restart wardend-resolve.socket` (`systemctl unmask` before it, if it is masked)"
    )]
    Socket(String, io::Error),
    #[error("wardend-resolve@.service gave no answer; see `journalctl -u 'wardend-resolve@*'`")]
    NoAnswer,
}

/// Asks for a name.
pub(super) async fn ask(socket: &str, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let unusable = |error: io::Error| ResolveError::Socket(socket.to_owned(), error);
    let stream = UnixStream::connect(socket).await.map_err(unusable)?;
    // A socket that was just opened has room for a name, so it is written whole.
    loop {
        stream.writable().await.map_err(unusable)?;
        match stream.try_write(format!("{name}\n").as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(unusable(error)),
            Ok(_) => break,
        }
    }
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while !text.ends_with(b"\n") && text.len() <= LONGEST {
        stream.readable().await.map_err(unusable)?;
        match stream.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(unusable(error)),
        }
    }
    match serde_json::from_slice(&text) {
        Ok(Answer::Addresses(addresses)) => Ok(addresses),
        Ok(Answer::Error(why)) => Err(ResolveError::Unknown(why)),
        Err(_) => Err(ResolveError::NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_taken_and_silence_has_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket").display().to_string();
        assert!(
            ask(&path, "home.example.org").await.unwrap_err().to_string().contains("restart wardend-resolve.socket")
        );
        let listener = UnixListener::bind(&path).unwrap();
        for (said, expected) in [
            ("{\"addresses\":[\"192.0.2.7\"]}\n", Ok(vec![IpAddr::from([192, 0, 2, 7])])),
            ("{\"error\":\"Name or service not known\"}\n", Err("Name or service not known")),
            ("nonsense\n", Err("wardend-resolve@.service gave no answer")),
            ("", Err("wardend-resolve@.service gave no answer")),
        ] {
            let asking = ask(&path, "home.example.org");
            let program = async {
                let (program, _) = listener.accept().await.unwrap();
                let mut name = [0; 100];
                let length = loop {
                    program.readable().await.unwrap();
                    match program.try_read(&mut name) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        read => break read.unwrap(),
                    }
                };
                assert_eq!(&name[..length], b"home.example.org\n");
                program.try_write(said.as_bytes()).unwrap();
            };
            let (answer, ()) = tokio::join!(asking, program);
            match expected {
                Ok(addresses) => assert_eq!(answer.unwrap(), addresses),
                Err(why) => assert!(answer.unwrap_err().to_string().starts_with(why), "{said}"),
            }
        }
    }
}
