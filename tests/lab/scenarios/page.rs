//! The page in Cockpit, in a real browser: what it shows is what the daemon holds, what it orders is done, and
//! what others have chosen stays text.
//!
//! One machine and one browser for all of it, because they take longer to start than the whole rest. With
//! `WARDEND_PAGE_PICTURES=DIR`, pictures are kept there; with `WARDEND_AXE=FILE`, axe-core examines each state;
//! with `WARDEND_PAGE_BANS=N`, the list at the end has N bans (1,000).

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::attack::Connection;
use crate::harness::browser::{Browser, HERE};
use crate::harness::fleet;
use crate::harness::machine::{Machine, Release};
use crate::harness::plan::PASSWORD;
use crate::scenarios::hostile;
use crate::scenarios::package::{dpkg, files, install, packages};

const ATTACKER: &str = "203.0.113.7";
/// What would run if it were taken for markup.
const HOSTILE: &str = "<img src=x onerror=\"document.title=1\"><b>bold</b>";

const USER: &str = "<img src=x>";

/// What is shown fits into its window, light and dark, wide and narrow; axe finds nothing in it, and a picture
/// of it is kept, if that was asked for.
fn look_at(browser: &mut Browser, release: Release, name: &str) {
    let axe = std::env::var_os("WARDEND_AXE").map(|file| std::fs::read_to_string(file).expect("WARDEND_AXE is a file"));
    let pictures = std::env::var_os("WARDEND_PAGE_PICTURES").map(PathBuf::from);
    for (width, height, dark, kind) in [
        (1280, 900, false, "light"),
        (1280, 900, true, "dark"),
        (360, 780, false, "narrow"),
        (360, 780, true, "narrow-dark"),
    ] {
        browser.look(width, height, dark);
        browser.wait(&format!("page.documentElement.classList.contains('dark') === {dark}"));
        assert_eq!(browser.text("page.documentElement.scrollWidth - page.documentElement.clientWidth"), "0", "{name}");
        if let Some(axe) = &axe {
            assert_eq!(browser.examine(axe), "", "{name}, {kind}");
        }
        if let Some(pictures) = &pictures {
            browser.screenshot(&pictures.join(format!("{}-{name}-{kind}.webp", release.name())));
        }
    }
    browser.look(1280, 900, false);
}

/// Sources with their jails, as the daemon lists them.
fn listed(machine: &Machine) -> Vec<String> {
    let list: Value = serde_json::from_str(&machine.run("wardenctl list --json=short")).expect("JSON");
    let mut sources: Vec<String> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|ban| format!("{} {}", ban["source"].as_str().expect("text"), ban["jail"].as_str().expect("text")))
        .collect();
    sources.sort();
    sources
}

/// The same as the page shows them.
fn shown(browser: &mut Browser) -> Vec<String> {
    let rows = browser.get("rows().map(row => [0, 1].map(n => row.cells[n].textContent).join(' '))");
    let mut sources: Vec<String> =
        rows.as_array().expect("a list").iter().map(|row| row.as_str().expect("text").to_owned()).collect();
    sources.sort();
    sources
}

pub(crate) fn the_page_in_cockpit_shows_what_happens_and_carries_out_what_is_ordered(release: Release) {
    let penalties = if release.penalises_sources() { "PerSourcePenalties no\n" } else { "" };
    let machine = Machine::prepare(release)
        .with_cockpit()
        .without_wardend()
        .hasty_passwords()
        .file("/etc/ssh/sshd_config.d/test.conf", penalties)
        // As Debian's installer writes it. Without the second line, sudo waits for name servers.
        .file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 vm\n")
        .file(
            "/etc/wardend/wardend.conf.d/test.conf",
            "[default]\nignoreip = [\"192.0.2.50\"]\nspare-logins = false\n[jail.list]\nfilter = \"\"\nbantime = \"1week\"\n",
        )
        .command("usermod -aG sudo alice && systemctl --quiet enable cockpit.socket")
        .boot();
    let name = release.name();
    machine.run("firewall-cmd --quiet --permanent --add-service=cockpit && firewall-cmd --quiet --reload");
    it_comes_and_goes_with_its_package(&machine);
    let begun = Instant::now();
    let mut browser = Browser::open(&machine);
    browser.look(1280, 900, false);
    browser.log_in("alice", PASSWORD);
    browser.wait("text('#none') === 'Nobody is banned.' && shown('#numbers')");
    println!("{name}: the page is there {:.1} s after the browser was started", begun.elapsed().as_secs_f64());
    look_at(&mut browser, release, "quiet");
    machine.run("wardenctl ban 198.51.100.1 --for infinity --jail sshd");
    machine.run("wardenctl ban 198.51.100.0/28 2001:db8:9::/64 --for 2weeks --jail list");
    machine.run(&format!("wardenctl ban 198.51.100.77 --jail sshd --reason '{HOSTILE}'"));
    browser.wait("rows().length === 4");

    limited_access_shows_everything_and_changes_nothing(&machine, &mut browser);
    while_cockpit_asks_for_the_password_the_page_goes_on(release, &mut browser);
    browser.ask_for_administration();
    browser.become_administrator(PASSWORD);
    hostile_text_is_text(&mut browser);
    an_attack_shows_and_is_ended_by_a_click(&machine, &mut browser);
    the_dialogs_show_what_the_daemon_says(&machine, &mut browser);
    the_table_is_used_with_the_keyboard(&machine, &mut browser);
    jails_pause_and_tell_their_settings(&machine, &mut browser);
    it_follows_the_daemon_and_firewalld(&machine, &mut browser);
    the_fleet_is_shown_where_there_is_one(&machine, &mut browser);
    assert_eq!(browser.faults(), "", "neither errors nor reports of the content security policy");
    it_is_quick_with_many_bans(&machine, &mut browser);
    assert_eq!(browser.faults(), "");
}

/// The page of the package is the one that is looked at afterwards.
fn it_comes_and_goes_with_its_package(machine: &Machine) {
    let built = packages(0);
    install(machine, &built.wardend);
    let before = files(machine);
    install(machine, &built.page);
    assert!(files(machine).contains("/usr/share/cockpit/wardend/index.html"));
    dpkg(machine, "--purge cockpit-wardend");
    let after = files(machine);
    // The daemon has begun to work meanwhile.
    let its_own = |path: &&String| path.starts_with("/var/lib/wardend/") || path.starts_with("/etc/firewalld/");
    let left: Vec<&String> = after.difference(&before).filter(|path| !its_own(path)).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    install(machine, &built.page);
    machine.wait_until("it watches", || machine.try_run("wardenctl status").code == 0);
}

fn limited_access_shows_everything_and_changes_nothing(machine: &Machine, browser: &mut Browser) {
    assert_eq!(shown(browser), listed(machine));
    let left = browser.text("banned('198.51.100.1').cells[3].textContent");
    assert_eq!(left, "permanent", "2⁶⁴−1 survives the bridge");
    browser.wait("text('#state').includes('is running, firewalld is running, 4 bans in force.')");
    browser.wait("text('#ignored').includes('192.0.2.50') && text('#ignored').includes('test.conf:2')");
    // The address of who looks at it, as far as the jails that could ban it are concerned.
    browser.wait(&format!("text('#own').includes('{HERE} is neither ignored nor spared in sshd:')"));
    browser.wait("shown('#limited')");
    assert_eq!(browser.text("button('Unban 198.51.100.1 in sshd').getAttribute('aria-disabled')"), "true");
    browser.click("button('Unban 198.51.100.1 in sshd')");
    browser.wait("text('#status').startsWith('Needs administrative access')");
    assert_eq!(listed(machine).len(), 4);
    look_at(browser, machine.release(), "limited");
}

/// Cockpit loads the page again meanwhile, and holds back what asks for root's bridge. 287 leaves the page as it is.
fn while_cockpit_asks_for_the_password_the_page_goes_on(release: Release, browser: &mut Browser) {
    if release == Release::Debian12 {
        return;
    }
    browser.get("(inner.isOld = true)");
    browser.ask_for_administration();
    browser.wait("!inner.isOld && shown('#present') && rows().length === 4 && shown('#limited')");
    browser.remain_limited();
    browser.wait("shown('#present') && rows().length === 4 && !shown('#absent') && shown('#limited')");
}

fn hostile_text_is_text(browser: &mut Browser) {
    browser.wait("banned('198.51.100.77')");
    assert_eq!(browser.text("banned('198.51.100.77').cells[6].textContent"), format!("manually: {HOSTILE}"));
    browser.click("banned('198.51.100.77').querySelector('.source')");
    browser.wait("text('tr.opened').includes('<b>bold</b>')");
    assert_eq!(browser.text("all('main img, main b').length"), "0", "nothing has become an element");
    assert_eq!(browser.text("page.title"), "Bans");
    browser.click("banned('198.51.100.77').querySelector('.source')");
    browser.wait("!one('tr.opened')");
}

/// Two wrong passwords for a user whose name is markup, which OpenSSH's own client does not send.
fn guess_with_a_hostile_name(machine: &Machine, address: IpAddr) {
    let mut name = String::new();
    for byte in USER.bytes() {
        let _ = write!(name, "{byte:02x}");
    }
    let mut client = Command::new("ip")
        .args(["netns", "exec", machine.network().attackers(), "/usr/bin/python3", "-c", hostile::CLIENT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ip starts");
    let mut stdin = client.stdin.take().expect("it is piped");
    stdin.write_all(format!("{address} {name} password bye\n").repeat(2).as_bytes()).expect("it reads");
    drop(stdin);
    let output = client.wait_with_output().expect("it was started here");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches(" judged").count(), 2, "{said}");
}

fn an_attack_shows_and_is_ended_by_a_click(machine: &Machine, browser: &mut Browser) {
    assert_eq!(shown(browser), listed(machine), "root's bridge says the same");
    let attacker = machine.attacker(ATTACKER);
    // The first guesses only count, which is shown as well.
    guess_with_a_hostile_name(machine, attacker.address());
    browser.wait(&format!("text('#sources').includes('{ATTACKER}')"));
    attacker.wrong_passwords("bob", 3);
    browser.wait(&format!("banned('{ATTACKER}')"));
    let seen: f64 = browser.text("Date.now()").parse().expect("a number");
    let record = machine.run(&format!(
        "journalctl -u wardend -o json --output-fields=_SOURCE_REALTIME_TIMESTAMP WARDEND_ADDRESS={ATTACKER} \
         MESSAGE_ID=aa04c1c10db24c02ad4e28e8ac726807 -n 1"
    ));
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let at: f64 = record["__REALTIME_TIMESTAMP"].as_str().expect("text").parse().expect("a number");
    println!("{}: the ban is on the page {:.0} ms after its record", machine.release().name(), seen - at / 1000.0);

    browser.click(&format!("banned('{ATTACKER}').querySelector('.source')"));
    browser.wait("text('tr.opened .attempts').includes('<img src=x>')");
    browser.wait("all('tr.opened .attempts code').length === 5 && !all('tr.opened .attempts code').some(c => c.textContent === '…')");
    assert!(browser.text("text('tr.opened .attempts')").contains("Failed password for"));
    assert_eq!(browser.text("all('main img').length"), "0");
    browser.get("banned('203.0.113.7').scrollIntoView()");
    look_at(browser, machine.release(), "opened");
    browser.get("one('h1').scrollIntoView()");
    look_at(browser, machine.release(), "attack");
    browser.wait("all('#chart rect.bans').length > 0 && all('#chart-table tbody tr').length > 0");

    machine.wait_for_message(&format!("firewalld blocks {ATTACKER}"));
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    browser.click(&format!("button('Unban {ATTACKER} in sshd')"));
    browser.wait(&format!("!banned('{ATTACKER}')"));
    assert!(browser.text("text('#status')").contains(&format!("Unbanned {ATTACKER} in sshd.")));
    machine.wait_until("sshd answers again", || attacker.can_connect() == Connection::Open);
}

fn the_dialogs_show_what_the_daemon_says(machine: &Machine, browser: &mut Browser) {
    // With the keyboard alone: the button, the fields, Escape.
    browser.get("button('Ban…').focus()");
    browser.press("Enter", 13, "\r");
    browser.wait("shown('#order-dialog')");
    browser.press("Escape", 27, "");
    browser.wait("!shown('#order-dialog')");
    assert_eq!(browser.text("page.activeElement.id"), "ban", "the focus returns");

    browser.click("button('Ban…')");
    browser.enter("one('#order-addresses')", "127.0.0.1, nonsense\n203.0.113.99");
    browser.get("(one('#order-for').value = 'infinity')");
    browser.enter("one('#order-reason')", "by the page");
    browser.click("one('#order-do')");
    browser.wait("shown('#error-addresses')");
    let said = browser.text("text('#error-addresses')");
    for refused in ["127.0.0.1", "nonsense"] {
        let daemon = machine.try_run(&format!("wardenctl ban {refused} --jail sshd"));
        let sentence = daemon.stderr.lines().next().unwrap_or_default().trim_start_matches("wardenctl: ");
        assert!(said.contains(sentence), "{sentence:?} in {said:?}");
    }
    assert_eq!(browser.text("one('#order-addresses').value"), "127.0.0.1\nnonsense", "the accepted one is gone");
    assert_eq!(browser.text("one('#order-addresses').getAttribute('aria-invalid')"), "true");
    look_at(browser, machine.release(), "refused");
    browser.click("all('#order-dialog [data-close]')[0]");
    browser.wait("banned('203.0.113.99')?.cells[3].textContent === 'permanent'");
    assert!(machine.run("wardenctl list 203.0.113.99 --json").contains("by the page"));

    browser.click("button('Ban…')");
    browser.enter("one('#order-addresses')", "203.0.113.98");
    browser.get("((one('#order-for').value = 'other'), one('#order-for').dispatchEvent(new inner.Event('change')))");
    browser.enter("one('#order-other')", "a while");
    browser.click("one('#order-do')");
    browser.wait("shown('#error-for')");
    browser.enter("one('#order-other')", "2h");
    browser.click("one('#order-do')");
    browser.wait("!shown('#order-dialog') && banned('203.0.113.98')");

    browser.click("button('Ignore…')");
    browser.enter("one('#order-addresses')", "203.0.113.98");
    browser.click("one('#order-do')");
    browser.wait("text('#ignored').includes('203.0.113.98') && !banned('203.0.113.98')");
    browser.click("button('No longer ignore 203.0.113.98')");
    browser.wait("!text('#ignored').includes('203.0.113.98')");

    browser.click("button('Ignore it…')");
    assert_eq!(browser.text("one('#order-addresses').value"), HERE);
    browser.click("one('#order-do')");
    browser.wait(&format!("!shown('#own') && text('#ignored').includes('{HERE}')"));

    // The daemon searches: an address is found in its network, and a jail is a filter.
    browser.enter("one('#search')", "198.51.100.5");
    browser.wait("rows().length === 1 && banned('198.51.100.0/28')");
    browser.enter("one('#search')", "203.0.113.250");
    browser.click("button('Explain 203.0.113.250')");
    browser.wait("text('#explain-body').includes('clear')");
    browser.click("all('#explain-dialog [data-close]')[0]");
    browser.enter("one('#search')", " ");
    for (field, value, count) in
        [("#jail", "list", 2), ("#jail", "", 5), ("#origin", "jail", 0), ("#origin", "admin", 5), ("#origin", "", 5)]
    {
        browser.get(&format!(
            "((one('{field}').value = '{value}'), one('{field}').dispatchEvent(new inner.Event('change')))"
        ));
        browser.wait(&format!("rows().length === {count}"));
    }
}

/// A fleet whose broker can't be reached; what this machine itself has pardoned is explained.
fn the_fleet_is_shown_where_there_is_one(machine: &Machine, browser: &mut Browser) {
    assert!(!browser.text("String(shown('#fleet'))").contains("true"), "there is none yet");
    fleet::install_files(machine);
    machine.run("mkdir -p /etc/wardend/fleet /etc/wardend/fleet.conf.d && cd /etc/wardend/fleet && touch ca.pem certificate.pem key.pem");
    machine.write(
        "/etc/wardend/fleet.conf.d/local.conf",
        "[fleet]\nbrokers = [\"nats://192.0.2.9\"]\nmachine = \"web1.example\"\n",
    );
    machine.run("systemctl start wardend-fleet");
    machine.wait_until("it says how it is", || machine.try_run("wardenctl fleet status").code == 0);
    machine.run("wardenctl fleet pardon 203.0.113.96");
    machine.run("wardenctl ban 203.0.113.96 --jail sshd");
    browser.wait("shown('#fleet') && text('#fleet-state').startsWith('web1_example shares ')");
    browser.wait("text('#brokers').includes('nats://192.0.2.9') && text('#brokers').includes('lost')");
    look_at(browser, machine.release(), "fleet");
    browser.click("banned('203.0.113.96').querySelector('.source')");
    browser.wait("text('#bans tr.opened').includes('Pardoned by web1_example until ')");
    browser.click("banned('203.0.113.96').querySelector('.source')");
    browser.wait("!one('#bans tr.opened')");
    machine.run("wardenctl unban 203.0.113.96; systemctl stop wardend-fleet");
    browser.wait("!banned('203.0.113.96') && !shown('#fleet')");
}

/// What people do who use no mouse: sort, open and close a row. The focus stays where it is while the table is
/// drawn again.
fn the_table_is_used_with_the_keyboard(machine: &Machine, browser: &mut Browser) {
    browser.get("one('button.sort[data-order=source]').focus()");
    browser.press("Enter", 13, "\r");
    browser.wait("one('#bans th').getAttribute('aria-sort') === 'ascending' && rows().length === 5");
    browser.press("Tab", 9, "");
    assert_eq!(browser.text("page.activeElement.dataset.order"), "since");
    browser.get("banned('203.0.113.99').querySelector('.source').focus()");
    browser.press("Enter", 13, "\r");
    browser.wait("text('tr.opened').includes('by the page')");
    machine.run("wardenctl ban 203.0.113.97 --jail sshd");
    browser.wait("banned('203.0.113.97')");
    assert_eq!(browser.text("page.activeElement.textContent"), "203.0.113.99");
    browser.press(" ", 32, " ");
    browser.wait("!one('tr.opened')");
    browser.press("Tab", 9, "");
    assert_eq!(browser.text("page.activeElement.getAttribute('aria-label')"), "Unban 203.0.113.99 in sshd");
    browser.press("Tab", 9, "");
    browser.press("Enter", 13, "\r");
    browser.wait("text('#status') === 'Copied 203.0.113.99.'");
    machine.run("wardenctl unban 203.0.113.97");
    browser.wait("rows().length === 5");
}

fn jails_pause_and_tell_their_settings(machine: &Machine, browser: &mut Browser) {
    browser.click("button('Pause list')");
    browser.click("one('#order-do')");
    browser.wait("button('Resume list') && text('#problems').includes('list')");
    let paused = "busctl get-property org.wardend1 /org/wardend1/jail/list org.wardend1.Jail Paused";
    assert_eq!(machine.run(paused).trim(), "b true");
    browser.click("button('Resume list')");
    browser.wait("button('Pause list') && !shown('#problems')");
    browser.click("button('list')");
    browser.wait("text('.settings').includes('\"1week\"') && text('.settings').includes('test.conf:6')");
}

fn it_follows_the_daemon_and_firewalld(machine: &Machine, browser: &mut Browser) {
    machine.run("systemctl stop firewalld");
    browser.wait("text('#state').includes('firewalld is down') && shown('#problems li')");
    browser.get("one('h1').scrollIntoView()");
    look_at(browser, machine.release(), "degraded");
    machine.run("systemctl start firewalld");
    browser.wait("text('#state').includes('is running, firewalld is running') && !shown('#problems')");

    machine.run("systemctl restart wardend");
    browser.wait("shown('#present') && rows().length === 5");
    machine.run("wardenctl unban 203.0.113.99");
    browser.wait("rows().length === 4");

    machine.run("systemctl stop wardend");
    browser.wait("shown('#absent') && !shown('#present')");
    machine.run("sleep 2");
    assert_eq!(machine.try_run("systemctl is-active wardend").stdout.trim(), "inactive", "a page starts nothing");
    browser.click("one('#start')");
    browser.wait("shown('#present') && rows().length === 4");
}

fn it_is_quick_with_many_bans(machine: &Machine, browser: &mut Browser) {
    let size: usize = std::env::var("WARDEND_PAGE_BANS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let name = machine.release().name();
    machine.run(&format!(
        "for a in $(seq 0 {}); do for b in $(seq 0 249); do echo 10.$((a / 200)).$((a % 200)).$b; done; done \
         | head -{size} >/root/list; wardenctl ban --file /root/list --jail list --origin scanners >/dev/null",
        size / 250
    ));
    // What firewalld still does is not the page's.
    let last = machine.run("tail -n 1 /root/list").trim().to_owned();
    let blocked = || machine.run(&format!("wardenctl list {last} --json=short")).contains("\"in_force\":true");
    let begun = Instant::now();
    while size > 1000 && !blocked() {
        assert!(begun.elapsed().as_secs() < 300, "firewalld does not block {last}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let total = size + 4;
    let grouped = if total > 999 { format!("{},{:03}", total / 1000, total % 1000) } else { total.to_string() };
    browser.wait(&format!("text('#range') === '1–50 of {grouped}'"));
    assert_eq!(browser.text("rows().length"), "50");
    look_at(browser, machine.release(), "many");
    browser.requests();
    for cached in [false, true, true, true, true, true] {
        browser.call("Network.setCacheDisabled", json!({ "cacheDisabled": !cached }));
        browser.get("((inner.isOld = true), inner.location.reload())");
        browser.wait("!inner.isOld && shown('main h1') && rows().length === 50");
        let first = browser.text("Math.round(inner.performance.getEntriesByName('rows')[0].startTime)");
        println!("{name}: {size} bans: first rows {first} ms after the page was asked for");
        if !cached {
            let (requests, bytes) = browser.requests();
            println!("{name}: {requests} requests, {bytes} bytes");
        }
    }
    let heap = browser.text("Math.round(inner.performance.memory.usedJSHeapSize / 1e5) / 10");
    println!("{name}: {heap} MB of heap");
    browser.click("button('Next')");
    browser.wait("text('#range').startsWith('51–100 of')");
    browser.enter("one('#search')", "10.0.0.77");
    browser.wait("rows().length === 1 && banned('10.0.0.77')");
}
