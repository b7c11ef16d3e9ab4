//! Reading and deciding, beside the floor and beside others.
//!
//! Journals of several sizes are made (`tests/support/maker.rs`), and programs that read them run
//! in turn, several times over: a bare loop of libsystemd (`benches/floor.c`), `wardenctl replay`,
//! and, where Debian's packages are installed, sshguard's parser and fail2ban-regex. What counts is
//! the ratio: all run side by side on the same machine. CPU is user and system time of the whole
//! process tree, memory is the most private memory (RssAnon) of the tree that was seen. valgrind,
//! where it is installed, counts instructions, which no other load disturbs.
//!
//! `WARDEND_BENCH_RECORDS="100000 1000000"` are the sizes, `WARDEND_BENCH_RUNS=5` the runs.

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use maker::Plan;
use wardend::testing::{self, Jails};

#[path = "../tests/support/maker.rs"]
mod maker;

/// The sizes by which instructions are counted: what both have in common is the start.
const SMALL: [u64; 2] = [4_000, 24_000];
/// Sources of the attack, where nothing else is said.
const SOURCES: u32 = 1_000;

/// What reads a journal.
struct Reader {
    name: &'static str,
    /// A shell command; `"$1"` is the journal's directory.
    command: String,
    /// At most so often: some take minutes.
    runs: usize,
}

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    /// In seconds.
    cpu: f64,
    /// In KiB.
    memory: u64,
}

fn main() {
    let runs = number("WARDEND_BENCH_RUNS").unwrap_or(5);
    let floor = compile_floor();
    let here = own("", &floor, runs);
    let others = others(runs);
    let newer = newer_library().map(|loader| own(&loader, &floor, runs));
    let sizes = env::var("WARDEND_BENCH_RECORDS").unwrap_or_else(|_| "100000 1000000".to_owned());
    let sizes: Vec<u64> =
        sizes.split_whitespace().map(|size| size.parse().expect("WARDEND_BENCH_RECORDS holds numbers")).collect();
    for size in &sizes {
        let journal = journal(*size, SOURCES);
        println!("\n{} records of sshd among {size}, {SOURCES} sources", size / 2);
        compare("libsystemd of this machine", here.iter().chain(&others), &journal, size / 2);
        if let Some(newer) = &newer {
            compare("libsystemd of Debian 13", newer, &journal, size / 2);
        }
    }
    curves(&here, sizes.iter().copied().max().unwrap_or(0));
    instructions(&here);
}

/// The floors and wardend, run by a loader that finds other libraries than this machine's.
fn own(loader: &str, floor: &str, runs: usize) -> Vec<Reader> {
    let matches = matches();
    let wardenctl = env!("CARGO_BIN_EXE_wardenctl");
    // Nothing is in it: the defaults.
    let config = scratch().join("config");
    fs::create_dir_all(&config).expect("the folder can be made");
    let config = config.display();
    let reader = |name, command| Reader { name, command: format!("{loader} {command}"), runs };
    vec![
        reader("floor, MESSAGE only", format!("{floor} \"$1\" message {matches}")),
        reader("floor, the same fields", format!("{floor} \"$1\" fields {matches}")),
        reader("wardenctl replay", format!("{wardenctl} replay --config {config} --json=short --directory \"$1\"")),
    ]
}

/// The loader of the lab's Debian 13, with its libraries, where that tree can be built: programs
/// that were linked with an older libsystemd run with its.
fn newer_library() -> Option<String> {
    let script = "tests/lab/available && tests/lab/build debian13";
    let output = Command::new("sh").args(["-c", script]).stderr(Stdio::inherit()).output().expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        println!("left out: the same with the libsystemd of Debian 13 ({})", text.trim());
        return None;
    }
    let tree = text.trim();
    Some(format!("{tree}/lib64/ld-linux-x86-64.so.2 --library-path {tree}/usr/lib/x86_64-linux-gnu"))
}

fn number(variable: &str) -> Option<usize> {
    env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

/// The floor, compiled.
fn compile_floor() -> String {
    let program = scratch().join("floor");
    let script = "${CC:-cc} -O2 -o \"$1\" benches/floor.c $(pkg-config --cflags --libs libsystemd)";
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(&program).status().expect("sh starts");
    assert!(status.success(), "the C compiler makes benches/floor.c");
    program.display().to_string()
}

/// The journal matches of the shipped filter, as words of a shell.
fn matches() -> String {
    let filters = Jails::shipped().filters();
    let values = testing::values_of(&filters[0]);
    let all = values.flat_map(|(name, values)| values.iter().map(move |value| format!("'{name}={value}'")));
    all.collect::<Vec<_>>().join(" ")
}

/// Readers of other makes, where they are installed.
fn others(runs: usize) -> Vec<Reader> {
    let mut others = Vec::new();
    match ["/usr/libexec/sshguard/sshg-parser", "/usr/lib/sshguard/sshg-parser"]
        .into_iter()
        .find(|program| Path::new(program).exists())
    {
        Some(parser) => others.push(Reader {
            name: "journalctl | sshg-parser",
            command: format!("journalctl --directory \"$1\" --unit ssh --output cat --quiet --no-pager | {parser}"),
            runs,
        }),
        None => println!("left out: sshguard (apt-get install --no-install-recommends sshguard)"),
    }
    if Path::new("/usr/bin/fail2ban-regex").exists() {
        // It reads a directory of journals by the name of its backend, and has no switch for one.
        others.push(Reader {
            name: "fail2ban-regex",
            command: "fail2ban-regex --print-no-missed --print-no-ignored --journalmatch _SYSTEMD_UNIT=ssh.service \
                      \"systemd-journal[journalpath=$1]\" sshd"
                .to_owned(),
            runs: 1,
        });
    } else {
        println!("left out: fail2ban (apt-get install --no-install-recommends fail2ban python3-systemd)");
    }
    others
}

/// A folder for what is made here.
fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

/// The directory of a journal, made once: its name says how.
fn journal(records: u64, sources: u32) -> PathBuf {
    let plan = Plan { records, sources, begin: 1_795_412_957_978_061, step: 400_000, seed: 7 };
    let mut hash = DefaultHasher::new();
    (include_str!("../tests/support/maker.rs"), format!("{plan:?}")).hash(&mut hash);
    let directory = scratch().join(format!("{records}-{sources}-{:x}", hash.finish()));
    if !directory.exists() {
        println!("making a journal of {records} records");
        let making = scratch().join("making");
        let _ = fs::remove_dir_all(&making);
        fs::create_dir(&making).expect("the folder can be made");
        maker::make(plan, &making.join("system.journal"));
        fs::rename(&making, &directory).expect("it has a name now");
    }
    directory
}

/// All readers in turn, several times over, and a table of what they took.
fn compare<'r>(title: &str, readers: impl IntoIterator<Item = &'r Reader>, journal: &Path, records: u64) {
    let readers: Vec<&Reader> = readers.into_iter().collect();
    println!("{title:<27} {:>4} {:>10} {:>16} {:>6} {:>10}", "runs", "µs/record", "spread", "ratio", "memory");
    let mut base = None;
    for (reader, costs) in readers.iter().zip(measure(&readers, journal)) {
        let each = |cost: f64| cost * 1e6 / as_float(records);
        let (median, least, most) = spread(&costs);
        println!(
            "  {:<25} {:>4} {:>10.2} {:>16} {:>6.2} {:>6.1} MiB",
            reader.name,
            costs.len(),
            each(median),
            format!("{:.2} to {:.2}", each(least), each(most)),
            median / *base.get_or_insert(median),
            memory(&costs)
        );
    }
}

/// The most, in MiB.
fn memory(costs: &[Cost]) -> f64 {
    as_float(costs.iter().map(|cost| cost.memory).max().unwrap_or(0)) / 1024.0
}

/// Runs the readers in turn. The first round warms the page cache, and does not count.
fn measure(readers: &[&Reader], journal: &Path) -> Vec<Vec<Cost>> {
    let mut costs: Vec<Vec<Cost>> = readers.iter().map(|_| Vec::new()).collect();
    run(readers[0], journal);
    for round in 0..readers.iter().map(|reader| reader.runs).max().unwrap_or(0) {
        for (reader, costs) in readers.iter().zip(&mut costs) {
            if round < reader.runs {
                costs.push(run(reader, journal));
            }
        }
    }
    costs
}

/// Median, least and most CPU seconds.
fn spread(costs: &[Cost]) -> (f64, f64, f64) {
    let mut cpu: Vec<f64> = costs.iter().map(|cost| cost.cpu).collect();
    cpu.sort_by(f64::total_cmp);
    (cpu[cpu.len() / 2], cpu[0], cpu[cpu.len() - 1])
}

/// Runs a reader to its end. bash adds up the times of the whole pipeline.
fn run(reader: &Reader, journal: &Path) -> Cost {
    let script = format!("TIMEFORMAT='%3U %3S'; time {{ {}; }} >/dev/null 2>&1", reader.command);
    let mut bash = Command::new("bash")
        .args(["-c", &script, "bash"])
        .arg(journal)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash starts");
    let mut memory = 0;
    while bash.try_wait().expect("it was started here").is_none() {
        memory = memory.max(children(bash.id()).into_iter().map(private_memory).sum());
        thread::sleep(Duration::from_millis(5));
    }
    let output = bash.wait_with_output().expect("it was started here");
    let text = String::from_utf8_lossy(&output.stderr);
    let seconds: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(output.status.success() && seconds.len() == 2, "{} fails: {text}", reader.name);
    Cost { cpu: seconds.iter().sum(), memory }
}

/// All processes below one.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let own: Vec<u32> = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    own.iter().flat_map(|child| [vec![*child], children(*child)].concat()).collect()
}

/// Of a process, in KiB; nothing of one that has gone.
fn private_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// What a record costs in journals of other sizes, and with more or fewer sources.
fn curves(readers: &[Reader], largest: u64) {
    // Of ten sources all is known that is kept after 100,000 records.
    let by_size = [(10_000, SOURCES), (100_000, 10), (100_000, SOURCES), (1_000_000, SOURCES)];
    let by_sources = [10, 1_000, 100_000].map(|sources| (largest, sources));
    println!("\n{:<27} {:>10} {:>10} {:>6} {:>10}", "µs/record", "floor", "replay", "ratio", "memory");
    for (records, sources) in by_size.into_iter().chain(by_sources).filter(|(records, _)| *records <= largest) {
        let readers = [&readers[1], &readers[2]];
        let costs = measure(&readers, &journal(records, sources));
        let each = |index: usize| spread(&costs[index]).0 * 2e6 / as_float(records);
        println!(
            "{:<27} {:>10.2} {:>10.2} {:>6.2} {:>6.1} MiB",
            format!("{records} and {sources} sources"),
            each(0),
            each(1),
            each(1) / each(0),
            memory(&costs[1])
        );
    }
}

/// Instructions per record, as callgrind counts them.
fn instructions(readers: &[Reader]) {
    if !Path::new("/usr/bin/valgrind").exists() {
        println!("\nleft out: instruction counts (apt-get install valgrind)");
        return;
    }
    println!("\ninstructions per record");
    let journals = SMALL.map(|records| journal(records, SOURCES));
    let mut base = None;
    for reader in readers {
        let counts = [0, 1].map(|size| {
            let script = format!("exec valgrind --tool=callgrind --callgrind-out-file=/dev/null {}", reader.command);
            let output = Command::new("bash").args(["-c", &script, "bash"]).arg(&journals[size]).output();
            let output = output.expect("bash starts");
            let text = String::from_utf8_lossy(&output.stderr);
            let count = text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse::<u64>().ok());
            count.expect("callgrind says how many")
        });
        let each = as_float(counts[1] - counts[0]) / as_float((SMALL[1] - SMALL[0]) / 2);
        println!("{:<26} {each:>10.0} {:>7.2}", reader.name, each / *base.get_or_insert(each));
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_float(number: u64) -> f64 {
    number as f64
}
