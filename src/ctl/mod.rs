//! wardenctl: one file per group of verbs, in the manner of systemctl and loginctl.
//!
//! `status`, `list`, `jails`, `explain`, `ban`, `unban`, `ignore`, `unignore`, `suspect`,
//! `unsuspect`, `pause`, `resume`, `top`, `watch`, `metrics`, `reload` and `firewall` talk to the daemon over its bus interface; `replay`, `events`, `report`, `verify`, `test`, `notify` and
//! `cat-config` need no daemon, as `import fail2ban`, and `doctor` looks at everything that it can see. Exit codes: 0 done, 1 it
//! could not be done (the sentence says why), 2 the command line can't be understood, 3 the daemon does
//! not run, 4 it is not allowed, 5 an import left jails out, 6 bans are not in force yet.

mod addresses;
mod agent;
mod available;
mod bans;
mod bus;
mod cat_config;
mod complete;
mod diff;
mod doctor;
mod events;
mod exceptions;
mod explain;
mod fail2ban;
mod finding;
mod firewall;
mod fleet;
mod hints;
mod import;
mod list;
mod metrics;
mod notify;
mod output;
mod pager;
mod progress;
mod reload;
mod replay;
mod report;
mod resolve;
mod scrape;
mod show;
mod sources;
mod test;
mod textfile;
mod time;
mod top;
mod transfer;
mod verify;
mod watch;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config;

/// Query or control wardend, which bans the hosts that try to break in.
#[derive(Debug, Parser)]
#[command(name = "wardenctl", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    manner: output::Manner,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the state of the daemon
    Status(show::Show),
    /// List the bans in force
    List(list::List),
    /// List the jails, or the filters for services that run here
    Jails(show::Jails),
    /// Show the state of an address in each jail, and its failures
    Explain(explain::Explain),
    /// Ban addresses or networks
    Ban(bans::Ban),
    /// End bans
    Unban(bans::Unban),
    /// Never ban addresses or networks, for a time
    Ignore(exceptions::Except),
    /// End what `ignore` has ordered
    Unignore(exceptions::End),
    /// Ban addresses or networks at their first failure, for a time
    Suspect(exceptions::Except),
    /// End what `suspect` has ordered
    Unsuspect(exceptions::End),
    /// Have a jail ban nobody, for a time
    Pause(exceptions::Pause),
    /// Have a jail ban again
    Resume(exceptions::Resume),
    /// Print the bans in force, for `import` on this or another machine
    Export(transfer::Export),
    /// Ban what `export` has printed
    Import(import::Import),
    /// Reload the configuration of the daemon
    Reload,
    /// Manage wardend's objects in firewalld
    #[command(subcommand)]
    Firewall(firewall::Firewall),
    /// Writes the addresses of this machine, and again when they change; wardend-addresses@.service
    /// runs it
    #[command(hide = true)]
    Addresses,
    /// Reads a host name and writes its addresses; wardend-resolve@.service runs it
    #[command(hide = true)]
    Resolve,
    /// Show the sources that have failed most
    Top(top::Top),
    /// Show failures, bans and unbans as they happen
    Watch(watch::Watch),
    /// Show and test the handlers of notifications
    #[command(subcommand)]
    Notify(notify::Notify),
    /// Show and order what machines share with each other
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Print the counters of the daemon in OpenMetrics text format
    Metrics(show::Metrics),
    /// Show what wardend has written to the journal: bans, unbans, problems
    Events(events::Events),
    /// Summarize what wardend has done since yesterday
    Report(report::Arguments),
    /// Show which sources would have been banned, from past journals
    Replay(replay::Arguments),
    /// Check filters and the configuration, and prove that the filters can't be fooled
    Verify(verify::Arguments),
    /// Show the configuration, and the line that sets each value
    CatConfig(cat_config::Arguments),
    /// Look at every link of the chain, and say what is wrong and how to solve it
    Doctor(doctor::Arguments),
    /// Show how a filter interprets a message or a journal
    Test(test::Arguments),
    /// Show this help, or the commands for those who know fail2ban
    Help {
        /// What to show help about
        topic: Option<Topic>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Topic {
    /// Which command does what a command of fail2ban-client does
    Fail2ban,
}

/// Runs wardenctl with this process's arguments.
pub fn main() -> ExitCode {
    // A shell that completes a command line asks by this variable; it never comes back from here.
    clap_complete::CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| refuse(&error));
    output::prepare(arguments.manner, arguments.verb.is_paged());
    let outcome = match &arguments.verb {
        Verb::Status(options) => bus::on_the_bus(show::status(options)),
        Verb::List(options) => bus::on_the_bus(list::list(options)),
        Verb::Jails(options) => bus::on_the_bus(show::jails(options)),
        Verb::Explain(options) => bus::on_the_bus(explain::explain(options)),
        Verb::Reload => bus::on_the_bus(reload::reload()),
        Verb::Ban(options) => bus::on_the_bus(bans::ban(options)),
        Verb::Unban(options) => bus::on_the_bus(bans::unban(options)),
        Verb::Ignore(options) => bus::on_the_bus(exceptions::ignore(options)),
        Verb::Unignore(options) => bus::on_the_bus(exceptions::unignore(options)),
        Verb::Suspect(options) => bus::on_the_bus(exceptions::suspect(options)),
        Verb::Unsuspect(options) => bus::on_the_bus(exceptions::unsuspect(options)),
        Verb::Pause(options) => bus::on_the_bus(exceptions::pause(options)),
        Verb::Resume(options) => bus::on_the_bus(exceptions::resume(options)),
        Verb::Export(options) => bus::on_the_bus(transfer::export(options)),
        Verb::Firewall(verb) => bus::on_the_bus(firewall::firewall(verb)),
        Verb::Top(options) => bus::on_the_bus(top::top(options)),
        Verb::Watch(options) => bus::on_the_bus(watch::watch(options)),
        Verb::Notify(verb) => notify::notify(verb),
        Verb::Fleet(verb) => bus::on_the_bus(fleet::fleet(verb)),
        Verb::Metrics(options) => show::metrics(options),
        Verb::Addresses => addresses::run(),
        Verb::Resolve => resolve::run(),
        Verb::Events(options) => events::run(options),
        Verb::Report(arguments) => report::run(arguments),
        Verb::Replay(arguments) => replay::run(arguments),
        Verb::Verify(arguments) => verify::run(arguments),
        Verb::Doctor(arguments) => bus::on_the_bus(doctor::doctor(arguments)),
        Verb::CatConfig(arguments) => cat_config::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Import(import) => import::run(import),
        Verb::Help { topic: Some(Topic::Fail2ban) } => fail2ban::help(),
        Verb::Help { topic: None } => Arguments::command().print_long_help().map_err(Into::into),
    };
    pager::close();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}");
            if !text.is_empty() {
                let _ = writeln!(io::stderr(), "wardenctl: {text}");
            }
            exit_code(&error)
        }
    }
}

/// Ends with what clap says of the command line, and with a hint where it is one of fail2ban-client's.
fn refuse(error: &clap::Error) -> ! {
    let arguments: Vec<_> = std::env::args_os().collect();
    if error.use_stderr()
        && let Some(hint) = fail2ban::hint(&arguments)
    {
        let _ = writeln!(io::stderr(), "wardenctl: {hint}");
        std::process::exit(2);
    }
    error.exit()
}

impl Verb {
    /// Whether what it prints may be longer than the screen: what acts, or goes on, is not paged.
    fn is_paged(&self) -> bool {
        if let Self::Ignore(options) | Self::Suspect(options) = self {
            return options.lists();
        }
        let follows = matches!(self, Self::Events(events) if events.follows());
        let acts = matches!(
            self,
            Self::Ban(_)
                | Self::Unban(_)
                | Self::Unignore(_)
                | Self::Unsuspect(_)
                | Self::Pause(_)
                | Self::Resume(_)
                | Self::Export(_)
                | Self::Import(_)
                | Self::Reload
                | Self::Firewall(firewall::Firewall::Sync | firewall::Firewall::Remove)
                | Self::Addresses
                | Self::Resolve
                | Self::Fleet(fleet::Fleet::Pardon { .. } | fleet::Fleet::Leave)
                | Self::Notify(notify::Notify::Test { .. } | notify::Notify::Digest { .. })
                | Self::Watch(_)
        );
        !follows && !acts
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<import::Partial>() {
        return ExitCode::from(5);
    }
    match error.downcast_ref() {
        Some(bus::Refused::NotRunning) => ExitCode::from(3),
        Some(bus::Refused::NotAuthorized(_)) => ExitCode::from(4),
        Some(bus::Refused::WithoutEffect(_)) => ExitCode::from(6),
        Some(bus::Refused::Undelivered(_)) | None => ExitCode::FAILURE,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Where a verb that needs no daemon finds the configuration.
fn directories(config: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    match config {
        Some(directory) if !directory.is_dir() => anyhow::bail!("{} is not a directory.", directory.display()),
        Some(directory) => Ok(vec![directory.to_owned(), config::VENDOR_DIRECTORY.into()]),
        None => Ok(config::directories()),
    }
}
