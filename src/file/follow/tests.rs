use std::fs;

use proptest::prelude::*;

use super::{open::CHUNK, *};

/// A file, what is read of it, and what was told.
struct Scene {
    root: tempfile::TempDir,
    follower: Option<Follower>,
    places: Option<Vec<Place>>,
    lines: Vec<String>,
    news: Vec<&'static str>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            follower: None,
            places: Some(Vec::new()),
            lines: Vec::new(),
            news: Vec::new(),
            now: Instant::now(),
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("log")
    }

    fn append(&self, text: &str) {
        use std::io::Write;
        fs::OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Moves the rotated files on by one number.
    fn shift(&self) {
        for number in (1..20).rev() {
            let of = |number| self.root.path().join(format!("log.{number}"));
            if of(number).exists() {
                fs::rename(of(number), of(number + 1)).unwrap();
            }
        }
    }

    fn rename(&self) {
        self.shift();
        fs::rename(self.path(), self.root.path().join("log.1")).unwrap();
        fs::write(self.path(), "").unwrap();
    }

    fn copy_and_empty(&self) {
        self.shift();
        fs::copy(self.path(), self.root.path().join("log.1")).unwrap();
        File::options().write(true).open(self.path()).unwrap().set_len(0).unwrap();
    }

    fn pump(&mut self) {
        let (path, lines, news) = (self.root.path().join("log"), &mut self.lines, &mut self.news);
        let mut out = |it: News<'_>| match it {
            News::Line(line, _) => lines.push(String::from_utf8_lossy(line.text).into_owned()),
            News::FirstTime => news.push("first"),
            News::Rotated => news.push("rotated"),
            News::Emptied => news.push("emptied"),
            News::LostPlace => news.push("lost"),
            News::LeftOut(_) => news.push("left out"),
            News::Unreadable(..) => news.push("unreadable"),
        };
        let places = &self.places;
        let follower = self.follower.get_or_insert_with(|| Follower::resume(&path, places.as_deref(), &mut out));
        follower.pump(self.now, &mut out);
        self.places = Some(follower.places());
    }

    /// The process dies, and another goes on where it has told that it was.
    fn restart(&mut self) {
        self.follower = None;
    }
}

#[test]
fn nobody_has_read_it_before_so_reading_begins_behind_its_last_line() {
    let mut scene = Scene::new();
    scene.places = None;
    scene.append("old\nhalf");
    scene.pump();
    scene.append(" a line\nnew\n");
    scene.pump();
    assert_eq!((scene.lines, scene.news), (vec!["half a line".to_owned(), "new".to_owned()], vec!["first"]));
}

#[test]
fn it_may_begin_in_the_middle_of_a_line_without_making_a_line_of_the_rest() {
    let mut scene = Scene::new();
    scene.places = None;
    scene.append(&"x".repeat(2 * CHUNK));
    scene.pump();
    scene.append("rest\nnew\n");
    scene.pump();
    assert_eq!(scene.lines, ["new"]);
}

#[test]
fn a_file_that_is_not_there_yet_is_reported_once_and_read_from_its_beginning() {
    let mut scene = Scene::new();
    scene.places = None;
    scene.pump();
    scene.pump();
    scene.append("a\n");
    scene.pump();
    assert_eq!((scene.lines, scene.news), (vec!["a".to_owned()], vec!["first", "unreadable"]));
}

#[test]
fn what_the_program_still_writes_into_the_renamed_file_is_read() {
    use std::io::Write;
    let mut scene = Scene::new();
    scene.append("a\n");
    scene.pump();
    let mut old = fs::OpenOptions::new().append(true).open(scene.path()).unwrap();
    scene.rename();
    scene.append("c\n");
    scene.pump();
    old.write_all(b"b\nhalf").unwrap();
    scene.pump();
    assert_eq!(scene.lines, ["a", "c", "b"]);
    scene.now += GRACE;
    scene.pump();
    assert_eq!(scene.news, ["rotated", "left out"]);
    assert_eq!(scene.places.unwrap().len(), 1);
}

#[test]
fn a_place_that_is_nowhere_to_be_found_is_reported() {
    let mut scene = Scene::new();
    scene.append("a\n");
    scene.pump();
    scene.restart();
    fs::remove_file(scene.path()).unwrap();
    scene.append("b\nc\n");
    scene.pump();
    assert_eq!((scene.lines, scene.news), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], vec!["lost"]));
}

#[test]
fn a_line_that_is_begun_when_the_file_is_emptied_does_not_grow_together_with_the_next() {
    let mut scene = Scene::new();
    scene.append("a\nhalf");
    scene.pump();
    fs::write(scene.path(), "bcdefghij\n").unwrap();
    scene.pump();
    assert_eq!((scene.lines, scene.news), (vec!["a".to_owned(), "bcdefghij".to_owned()], vec!["left out", "emptied"]));
}

#[derive(Clone, Debug)]
enum Step {
    Lines(usize),
    Half,
    Rename,
    CopyAndEmpty,
    Pump,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..4).prop_map(Step::Lines),
        1 => Just(Step::Half),
        1 => Just(Step::Rename),
        1 => Just(Step::CopyAndEmpty),
        3 => Just(Step::Pump),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens to the file, and whenever the process dies: each line once.
    #[test]
    fn no_line_is_lost_or_read_twice(steps in prop::collection::vec(step(), 1..40)) {
        let mut scene = Scene::new();
        scene.append("");
        scene.pump();
        // Of a file of which nothing was read, nobody can recognize the copy.
        let (mut written, mut half, mut known) = (Vec::new(), false, false);
        for step in steps {
            // A program ends its line before its file is rotated.
            if half && matches!(step, Step::Lines(_) | Step::Rename | Step::CopyAndEmpty) {
                scene.append(" whole\n");
                half = false;
            }
            match step {
                Step::Lines(count) => for _ in 0..count {
                    written.push(format!("line {}", written.len()));
                    scene.append(&format!("line {}\n", written.len() - 1));
                },
                Step::Half => if !half {
                    half = true;
                    scene.append(&format!("half {}", written.len()));
                    written.push(format!("half {} whole", written.len()));
                },
                Step::Rename => {
                    scene.rename();
                    known = false;
                }
                Step::CopyAndEmpty => if std::mem::take(&mut known) {
                    scene.copy_and_empty();
                },
                Step::Pump => {
                    scene.pump();
                    known = scene.places.iter().flatten().last().is_some_and(|place| place.offset > 0);
                }
                Step::Restart => scene.restart(),
            }
        }
        if half {
            scene.append(" whole\n");
        }
        scene.pump();
        scene.lines.sort_by_key(|line| line.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok()));
        prop_assert_eq!(&scene.lines, &written, "{:?}", scene.news);
    }
}
