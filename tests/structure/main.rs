//! Holds the house to its plan: it reads the sources of the crates, and docs/architecture.md.
//!
//! What is counted is what is compiled into the programs: the tests are left out, and comments and texts are not
//! read. A *file uses another* if one of its paths, in `use`, in code or in what a macro is given, leads to an item of
//! that file; a re-export is followed to the file in which the item is written. A *circle* is a group of files each of
//! which uses, directly or through others, all others of the group. A `mod.rs` or `lib.rs` is left out of circles,
//! because a parent names its children, and they what is common to them. A *room* is a folder of src/, and the
//! fleet's crate is one. The programs in src/bin only call the library, and are not read.
//!
//! `WARDEND_STRUCTURE=DIR` reads another tree, and `--nocapture` shows the figures.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that expects in vain has failed")]

mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use self::tree::Tree;

/// A function may be as long as fits on two screens. Those that are longer, with their lines, which only fall.
const LONGEST_FUNCTION: usize = 90;
const LONG_FUNCTIONS: [(&str, &str, usize); 1] = [("fleet/src/config.rs", "add", 97)];

/// Files, tests included, have no more lines, but for these, each with the most that it may have and the reason.
const LONGEST_FILE: usize = 500;
const LONG_FILES: [(&str, usize, &str); 1] =
    [("src/bus/manager.rs", 530, "one interface of the bus, which zbus takes as one block")];

fn root() -> PathBuf {
    env::var_os("WARDEND_STRUCTURE").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// All of it, read once.
fn house() -> &'static Tree {
    static HOUSE: LazyLock<Tree> = LazyLock::new(|| {
        let root = root();
        let crates = [("wardend", "src/lib.rs"), ("wardend_fleet", "fleet/src/lib.rs")];
        let there: Vec<_> = crates.into_iter().filter(|(_, file)| root.join(file).exists()).collect();
        Tree::read(&root, &there)
    });
    assert!(HOUSE.files().len() > 100, "the tree is read");
    &HOUSE
}

/// All files of Rust in a folder, those of tests as well, beneath the root.
fn sources(root: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).expect("a folder is readable").flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources(root, &path, found);
        } else if entry.path().extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The groups of files that use each other in a circle.
fn circles<'t>(tree: &'t Tree) -> Vec<BTreeSet<&'t str>> {
    let counts = |file: &str| !file.ends_with("/mod.rs") && !file.ends_with("/lib.rs");
    let mut used: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in tree.arrows() {
        if counts(from) && counts(to) {
            used.entry(from).or_default().push(to);
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&'t str>> = used
        .keys()
        .map(|from| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![*from]);
            while let Some(file) = open.pop() {
                open.extend(used.get(file).into_iter().flatten().filter(|to| reached.insert(**to)));
            }
            (*from, reached)
        })
        .collect();
    let mut circles: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
    for (from, all) in &reached {
        let circle: BTreeSet<&str> =
            all.iter().copied().filter(|to| reached.get(to).is_some_and(|back| back.contains(from))).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn room(file: &str) -> Option<&str> {
    if file.starts_with("fleet/") {
        return Some("fleet");
    }
    file.strip_prefix("src/")?.split_once('/').map(|(room, _)| room)
}

/// The rooms with their floors, from the drawing in docs/architecture.md: `    3  journal  kernel`.
fn floors(text: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("    ")) {
        let mut words = line.split_whitespace();
        if let Some(Ok(floor)) = words.next().map(str::parse) {
            floors.extend(words.map(|room| (room.trim_end_matches('/').to_owned(), floor)));
        }
    }
    floors
}

/// What uses a room that is not below its own, or is in none.
fn climbing(tree: &Tree, floors: &BTreeMap<String, usize>) -> Vec<String> {
    let floor = |room: &str| floors.get(room).copied();
    tree.arrows()
        .into_iter()
        .filter_map(|(from, to)| Some(((from, room(from)?), (to, room(to)?))))
        .filter(|((_, from), (_, to))| from != to && (floor(to).is_none() || floor(from) <= floor(to)))
        .map(|((from, _), (to, _))| format!("{from} uses {to}"))
        .collect()
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let tree = house();
    let circles = circles(tree);
    println!("files {}, circles {}", tree.files().len(), circles.len());
    let arrows = tree.arrows();
    let why: Vec<String> = circles
        .iter()
        .map(|circle| {
            let inside = arrows.iter().filter(|(from, to)| circle.contains(from) && circle.contains(to));
            let uses: Vec<String> = inside.map(|(from, to)| format!("  {from} uses {to}")).collect();
            format!("a circle:\n{}", uses.join("\n"))
        })
        .collect();
    assert!(circles.is_empty(), "{}", why.join("\n"));
}

#[test]
fn each_room_uses_only_those_on_the_floors_below_it() {
    let tree = house();
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("the architecture is described");
    let floors = floors(&text);
    let rooms: BTreeSet<&str> = tree.files().into_iter().filter_map(room).collect();
    println!("rooms {}", rooms.len());
    let described: BTreeSet<&str> = floors.keys().map(String::as_str).collect();
    assert_eq!(described, rooms, "docs/architecture.md has each room on a floor");
    let climbing = climbing(tree, &floors);
    assert!(climbing.is_empty(), "{}", climbing.join("\n"));
}

#[test]
fn no_error_is_a_text() {
    let tree = house();
    let stringly = &tree.stringly;
    println!("Result<_, String> {}", stringly.len());
    assert!(stringly.is_empty(), "write an enum that says what is wrong, and render it at the edge: {stringly:#?}");
}

#[test]
fn functions_and_files_stay_short() {
    let tree = house();
    let longest = tree.functions.iter().max_by_key(|function| function.lines).expect("there are functions");
    println!("longest function {}, {}: {}", longest.name, longest.file, longest.lines);
    println!("pub {}", tree.public.values().sum::<usize>());
    let mut long: Vec<String> = tree
        .functions
        .iter()
        .filter(|function| {
            let exception =
                LONG_FUNCTIONS.iter().find(|(file, name, _)| function.file == *file && function.name == *name);
            function.lines > exception.map_or(LONGEST_FUNCTION, |(_, _, lines)| *lines)
        })
        .map(|function| format!("{}:{}: {} has {} lines", function.file, function.line, function.name, function.lines))
        .collect();
    let (root, mut files) = (root(), Vec::new());
    for folder in ["src", "fleet/src", "tests", "benches"] {
        if root.join(folder).exists() {
            sources(&root, folder, &mut files);
        }
    }
    let lines = |file: &String| fs::read_to_string(root.join(file)).expect("a source is text").lines().count();
    let mut files: Vec<(usize, String)> = files.into_iter().map(|file| (lines(&file), file)).collect();
    files.sort();
    if let Some((lines, file)) = files.last() {
        println!("longest file {file}: {lines}");
    }
    println!("files over {LONGEST_FILE} lines {}", files.iter().filter(|(lines, _)| *lines > LONGEST_FILE).count());
    for (lines, file) in files {
        let exception = LONG_FILES.iter().find(|(long, _, _)| file == *long);
        if lines > exception.map_or(LONGEST_FILE, |(_, lines, _)| *lines) {
            long.push(format!("{file} has {lines} lines"));
        }
    }
    assert!(long.is_empty(), "split where two subjects meet:\n{}", long.join("\n"));
}

/// A tree of this test's own.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().expect("a directory can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }
    let tree = Tree::read(folder.path(), &[("own", "src/lib.rs")]);
    (folder, tree)
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let there = "use super::b::B;\npub(crate) struct A;";
    for back in [
        "use crate::a::A;",
        "use super::{\n    a::{self, A},\n};",
        "use crate::a as first;\nfn f(_: first::A) {}",
        "fn f(_: &super::a::A) {}",
        "fn f() { println!(\"{}\", size_of::<crate::a::A>()); }",
        "use crate::A;",
        "use crate::c::C;",
        "#[derive(Serialize)]\nstruct S {\n    #[serde(with = \"crate::a::A\")]\n    a: u8,\n}",
        "fn f() -> bool { matches!(1, x if own::a::A::is(x)) }",
    ] {
        let lib = "mod a;\nmod b;\nmod c;\npub use self::a::A;";
        let c = "pub(crate) use crate::a::A as C;";
        let (_folder, tree) = tree(&[("src/lib.rs", lib), ("src/a.rs", there), ("src/b.rs", back), ("src/c.rs", c)]);
        let circles = circles(&tree);
        assert!(circles.iter().any(|circle| circle.contains("src/a.rs") && circle.contains("src/b.rs")), "{back}");
    }
}

#[test]
fn what_is_no_circle_is_not_taken_for_one() {
    let there = "use super::b::B;\npub(crate) struct A;";
    for back in [
        "// use crate::a::A;\n/// See [`crate::a::A`].\npub(crate) struct B;",
        "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        "#[cfg(test)]\nuse super::a::A;",
        "impl B {\n    #[cfg(test)]\n    fn f(_: crate::a::A) {}\n}",
        "const TEXT: &str = \"use crate::a::A;\";",
        "use std::a::A;",
        "mod a {\n    pub(super) struct A;\n}\nuse self::a::A;",
    ] {
        let lib = "mod a;\nmod b;";
        let (_folder, tree) = tree(&[("src/lib.rs", lib), ("src/a.rs", there), ("src/b.rs", back)]);
        assert!(circles(&tree).is_empty(), "{back}");
    }
}

#[test]
fn a_use_of_a_room_above_or_beside_is_found() {
    let floors = floors("the floors:\n\n    1  desk/  hall\n    0  cellar\n\ntext 7 x");
    assert_eq!(floors.len(), 3);
    let found = |text: &str| {
        let lib = "mod cellar;\nmod desk;\nmod hall;\nmod attic;";
        let rooms = ["src/cellar/mod.rs", "src/desk/mod.rs", "src/hall/mod.rs", "src/attic/mod.rs"];
        let mut files = vec![("src/lib.rs", lib)];
        files.extend(rooms.map(|room| (room, if room.contains("hall") { text } else { "pub(crate) struct X;" })));
        climbing(&tree(&files).1, &floors)
    };
    assert_eq!(found("use crate::cellar::X;"), [""; 0]);
    assert_eq!(found("use crate::desk::X;"), ["src/hall/mod.rs uses src/desk/mod.rs"]);
    assert_eq!(found("use crate::attic::X;"), ["src/hall/mod.rs uses src/attic/mod.rs"]);
}

#[test]
fn errors_that_are_texts_and_long_functions_are_found() {
    let long = format!("fn long() {{\n{}}}", "    let _ = 1;\n".repeat(100));
    let text = format!("type R = Result<(), String>;\nfn f(_: std::result::Result<Vec<u8>, String>) {{}}\n{long}");
    let fine = "#[cfg(test)]\nfn g() -> Result<(), String> {}\nfn h() -> Result<String, Error> {}";
    let (_folder, tree) =
        tree(&[("src/lib.rs", &format!("{text}\n{fine}\npub struct P {{\n    pub a: u8,\n    b: u8,\n}}"))]);
    assert_eq!(tree.stringly, ["src/lib.rs:1", "src/lib.rs:2"]);
    assert_eq!(tree.functions.iter().map(|function| function.lines).max(), Some(102));
    assert_eq!(tree.public["src/lib.rs"], 2);
}
