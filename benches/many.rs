//! Many filters and many journal files: what a wanted record costs, and a look that finds nothing.
//!
//! 1, 5 or 20 services write a twentieth of a journal, and programs that no filter asks for the rest, at
//! 2,000 records a second (`tests/support/services.rs`). The journal is of 1, 30 and 100 files. A
//! process for each case reads it to its end with the filters of these services, decides, and then looks
//! a thousand times whether there is more, as the daemon does while an attack is on. CPU is that of the
//! reading thread, per record of these services, of which there are as many in each case: fewer would fit
//! into the processor's caches. What counts are the ratios in one run; with the libsystemd of this machine
//! and with that of the lab's Debian 13.

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use wardend::testing::{Engine, Jails, Position, Reader, Record, Step, Where};

#[path = "../tests/support/services.rs"]
mod services;

const RECORDS: u64 = 300_000;
const LOOKS: u32 = 1_000;
const FILTERS: [usize; 3] = [1, 5, 20];
const FILES: [u64; 3] = [1, 30, 100];

fn main() {
    if let Ok(case) = env::var("WARDEND_BENCH_CASE") {
        let (filters, directory) = case.split_once(':').expect("FILTERS:DIRECTORY");
        return run(filters.parse().expect("a number"), Path::new(directory));
    }
    let runs = env::var("WARDEND_BENCH_RUNS").map_or(5, |runs| runs.parse().expect("it is a number"));
    let this = env::current_exe().expect("/proc is mounted").display().to_string();
    let mut libraries = vec![("libsystemd of this machine", this.clone())];
    match newer_library() {
        Ok(loader) => libraries.push(("libsystemd of Debian 13", format!("{loader} {this}"))),
        Err(why) => println!("left out: the same with the libsystemd of Debian 13 ({why})"),
    }
    for (title, program) in libraries {
        println!(
            "\n{title:<28} {:>6} {:>10} {:>6} {:>12} {:>11}",
            "files", "µs/record", "ratio", "µs a look", "open files"
        );
        for files in FILES {
            let directories = FILTERS.map(|filters| journal(files, filters));
            let mut cases: Vec<Vec<[f64; 3]>> = FILTERS.iter().map(|_| Vec::new()).collect();
            for _ in 0..runs {
                for ((filters, directory), costs) in FILTERS.iter().zip(&directories).zip(&mut cases) {
                    costs.push(measure(&program, *filters, directory));
                }
            }
            let mut base = None;
            for (filters, costs) in FILTERS.iter().zip(&cases) {
                let [record, look, open] = [0, 1, 2].map(|which| median(costs.iter().map(|cost| cost[which])));
                let ratio = record / *base.get_or_insert(record);
                let name = format!("  {filters} filters");
                println!("{name:<28} {files:>6} {record:>10.2} {ratio:>6.2} {look:>12.2} {open:>11}");
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The loader of the lab's Debian 13, with its libraries.
fn newer_library() -> Result<String, String> {
    let script = "tests/lab/available && tests/lab/build debian13";
    let output = Command::new("sh").args(["-c", script]).stderr(Stdio::inherit()).output().expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let loader = format!("{text}/lib64/ld-linux-x86-64.so.2 --library-path {text}/usr/lib/x86_64-linux-gnu");
    if output.status.success() { Ok(loader) } else { Err(text) }
}

/// The directory of a journal of this number of files and services, made once.
fn journal(files: u64, services: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    let directory = folder.join(format!("{services}-services-{RECORDS}-{files}"));
    if !directory.exists() {
        println!("making a journal of {files} files and {services} services");
        let making = folder.join("making-services");
        let _ = fs::remove_dir_all(&making);
        services::journal(RECORDS, files, services, &making);
        fs::rename(&making, &directory).expect("it has a name now");
    }
    directory
}

/// CPU of a record and of a look in µs, and the open files.
fn measure(program: &str, filters: usize, directory: &Path) -> [f64; 3] {
    let output = Command::new("sh")
        .args(["-c", &format!("exec {program}")])
        .env("WARDEND_BENCH_CASE", format!("{filters}:{}", directory.display()))
        .stderr(Stdio::inherit())
        .output()
        .expect("sh starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("three numbers"));
    [(); 3].map(|()| numbers.next().expect("three numbers"))
}

/// One case, in a process of its own.
fn run(count: usize, directory: &Path) {
    let (filters, fields) = services::filters(count);
    let jails = Jails::shipped().of(&filters, &fields);
    let reader = Reader::open(&Where::Directory(directory.to_owned()), filters, fields).expect("it opens");
    let mut reader = reader.with_lookalikes().and_then(Reader::with_losses).expect("it takes matches");
    let (mut record, mut records) = (Record::default(), 0_u32);
    // What is mapped and remembered on the way is so in the daemon too.
    for _ in 0..2 {
        reader.seek(&Position::Head).expect("it seeks");
        while reader.next(&mut record).expect("it reads") != Step::End {}
    }
    let mut engine = Engine::new(&jails);
    reader.seek(&Position::Head).expect("it seeks");
    let begin = cpu();
    while reader.next(&mut record).expect("it reads") != Step::End {
        engine.record(&record);
        records += 1;
    }
    let reading = cpu() - begin;
    let begin = cpu();
    for _ in 0..LOOKS {
        assert_eq!(reader.next(&mut record).expect("it reads"), Step::End);
    }
    let looking = cpu() - begin;
    let open = fs::read_dir("/proc/self/fd").expect("/proc is mounted").count();
    println!("{} {} {open}", reading / f64::from(records), looking / f64::from(LOOKS));
}

/// CPU of this thread so far, in µs.
fn cpu() -> f64 {
    // Of a thread that runs, the scheduler counts at each of its ticks, and when it may run another.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has CONFIG_SCHED_INFO");
    text.split_whitespace().next().and_then(|spent| spent.parse::<f64>().ok()).expect("a number") / 1e3
}
