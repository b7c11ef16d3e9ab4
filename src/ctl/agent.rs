//! Somebody who asks for a password: polkit's own agent for terminals, started as systemctl does.
//!
//! A call that polkit does not allow at once is asked about where an agent is registered for the
//! caller. A desktop has one; for a terminal pkttyagent is one, as long as the call lasts.

use std::{
    io::{self, IsTerminal, Read},
    os::unix::fs::MetadataExt,
    process::{Child, Command, Stdio},
};

/// An agent; it goes when this goes.
pub(super) struct Agent(Option<Child>);

impl Agent {
    /// Starts one if there is a terminal to ask at, and somebody who has to be asked: root never is.
    /// Where there is no pkttyagent, the call is refused with its sentence.
    pub(super) fn start() -> Self {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if root || !io::stdin().is_terminal() {
            return Self(None);
        }
        // It closes the descriptor when it is registered; until then a call would come too early.
        let started = Command::new("pkttyagent")
            .args(["--notify-fd", "1", "--fallback"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut agent) = started else { return Self(None) };
        if let Some(mut ready) = agent.stdout.take() {
            let _ = ready.read_to_end(&mut Vec::new());
        }
        Self(Some(agent))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.0 {
            // The call is over, so it asks nothing and has left the terminal as it was.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}
