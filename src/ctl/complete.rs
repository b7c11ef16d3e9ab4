//! What a shell offers where a jail or a banned address belongs.
//!
//! The shell asks wardenctl itself at each Tab, with the variable COMPLETE set; verbs and options
//! come from the same definition that parses them, and names from the daemon. A shell waits for
//! the answer, so a daemon that does not run or is slow means: nothing to offer.

use std::{collections::HashMap, time::Duration};

use clap_complete::{ArgValueCandidates, CompletionCandidate};

use super::bus;

/// How long a Tab may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most that a shell is offered.
const MOST: u32 = 1000;

/// Names of jails.
pub(super) fn jails() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        offer(async {
            let jails = bus::manager().await?.list_jails().await?.answer;
            Ok(jails.into_iter().map(|jail| CompletionCandidate::new(jail.name)).collect())
        })
    })
}

/// What is banned, with the jail as help.
pub(super) fn banned() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        offer(async {
            let (bans, ..) = bus::manager().await?.list_bans(HashMap::new(), 0, MOST).await?;
            let bans = bans.answer;
            let offers = bans.into_iter().map(|ban| {
                let help = format!("banned in jail {}", ban.jail);
                CompletionCandidate::new(ban.source).help(Some(help.into()))
            });
            Ok(offers.collect())
        })
    })
}

fn offer(asked: impl Future<Output = anyhow::Result<Vec<CompletionCandidate>>>) -> Vec<CompletionCandidate> {
    bus::on_the_bus(async { tokio::time::timeout(PATIENCE, asked).await? }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

    /// The files that shells load are the ones that this wardenctl answers to. After a change of
    /// clap_complete, WARDEND_WRITE_COMPLETIONS=1 writes them again.
    #[test]
    fn the_installed_completions_are_the_ones_that_are_answered() {
        let shells: [(&str, &dyn EnvCompleter); 3] = [("bash", &Bash), ("zsh", &Zsh), ("fish", &Fish)];
        for (name, shell) in shells {
            let mut text = Vec::new();
            shell.write_registration("COMPLETE", "wardenctl", "wardenctl", "wardenctl", &mut text).unwrap();
            let mut text = String::from_utf8(text).unwrap().trim_start().to_owned();
            if name == "zsh" {
                // zsh loads the file at the first Tab and takes it for the completion itself.
                text.push_str("[[ $funcstack[1] == _wardenctl ]] && _clap_dynamic_completer_wardenctl \"$@\"\n");
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("completions/wardenctl.{name}"));
            if std::env::var_os("WARDEND_WRITE_COMPLETIONS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
        }
    }
}
