//! Being woken when the file may have changed.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc, thread};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;

/// Changes of a file and of the names in its directory, by inotify(7). A thread of its own waits for them.
pub(super) struct Watch {
    inotify: Arc<OwnedFd>,
    changed: Arc<Notify>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let (inotify, changed) = (Arc::new(inotify::init(CreateFlags::CLOEXEC)?), Arc::new(Notify::new()));
        let (fd, notify) = (Arc::clone(&inotify), Arc::clone(&changed));
        thread::Builder::new().name("inotify".to_owned()).spawn(move || {
            let mut events = [0; 4096];
            // What has changed is looked at anyway.
            while matches!(rustix::io::read(&fd, &mut events), Ok(_) | Err(rustix::io::Errno::INTR)) {
                notify.notify_one();
            }
        })?;
        Ok(Self { inotify, changed })
    }

    /// Watches the file that has the name now, and the directory for another. To watch again what is watched
    /// changes nothing; what can't be watched is looked at again and again.
    pub(super) fn at(&self, path: &Path) {
        let names = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let _ = inotify::add_watch(&self.inotify, path, WatchFlags::MODIFY);
        if let Some(directory) = path.parent() {
            let _ = inotify::add_watch(&self.inotify, directory, names);
        }
    }

    /// Waits for a change; for one that came before as well.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
