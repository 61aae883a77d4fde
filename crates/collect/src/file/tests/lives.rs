//! Random lives of a log: written, rotated in every way, compressed, under a reader that crashes at any moment, and beside
//! it between any two of its calls of the system.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::writer::{KEPT, Names, Task, Writer};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Nobody reads meanwhile.
    Task(Task),
    /// It is done piece by piece while something is read.
    Beside(Task),
    /// Somebody keeps a copy.
    KeepCopy,
    /// Everything was read, and the file is deleted; another one follows.
    Delete,
    Look,
    Pump,
    /// Of what is read now only `before` batches are stored, and one more perhaps, without an answer; then the reader dies.
    Crash {
        before: usize,
        stored: bool,
    },
    /// The reader dies when nothing was on its way.
    Stop,
    Refuse,
}

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        // Shorter than what stands in front of a place: that must differ between files that have their beginning in common.
        4 => (1..40_usize, 0..220_usize).prop_map(|(lines, width)| Task::Write { lines, width }),
        1 => Just(Task::WritePart),
        3 => any::<bool>().prop_map(|late| Task::Rename { late }),
        2 => Just(Task::CopyAndEmpty),
        1 => Just(Task::PackAndEmpty),
        2 => Just(Task::Compress),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        13 => task().prop_map(Step::Task),
        6 => task().prop_map(Step::Beside),
        1 => Just(Step::KeepCopy),
        1 => Just(Step::Delete),
        4 => Just(Step::Look),
        1 => Just(Step::Pump),
        2 => (0..3_usize, any::<bool>()).prop_map(|(before, stored)| Step::Crash { before, stored }),
        2 => Just(Step::Stop),
        1 => Just(Step::Refuse),
    ]
}

struct Life {
    scene: Scene,
    writer: Rc<RefCell<Writer>>,
    /// Rotations since everything was read.
    unread_rotations: usize,
}

impl Life {
    fn new(pattern: &str, names: Names, has_header: bool, open_max: usize, gaps: Vec<u8>) -> Self {
        let mut scene = Scene::new(&[pattern]);
        scene.open_max = open_max;
        // Longer than what a file is recognised by.
        let header = has_header.then(|| format!("#{}", "=".repeat(1400)));
        let writer = Writer::begin(&scene.dir, names, header, gaps);
        Self { scene, writer, unread_rotations: 0 }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Task(task) => {
                self.make_room(&task);
                self.writer.borrow_mut().apply(&task);
            }
            Step::Beside(task) => {
                self.make_room(&task);
                self.writer.borrow_mut().put_off(&task);
            }
            Step::Delete => {
                self.writer.borrow_mut().end_line();
                self.scene.look();
                self.scene.look();
                remove(&self.scene.path("app.log"));
                self.writer.borrow_mut().begin_file();
            }
            Step::KeepCopy => {
                self.writer.borrow_mut().finish();
                let is_dated = self.writer.borrow().names == Names::Dated;
                let name = if is_dated { "app-9.log" } else { "app.log.bak" };
                if !self.scene.path(name).exists() {
                    fs::copy(self.scene.path("app.log"), self.scene.path(name)).unwrap();
                    // Until it is known that the log is not emptied, it might be all that is left of it.
                    for _ in 0..8 {
                        self.scene.look();
                    }
                }
            }
            Step::Look => self.scene.look(),
            Step::Pump => self.scene.pump(),
            Step::Crash { before, stored } => {
                let answer = if stored { Answer::StoresSilently } else { Answer::Loses };
                self.scene.answer_after(before, answer);
                self.scene.look();
                self.scene.restart();
            }
            Step::Stop => self.scene.restart(),
            Step::Refuse => {
                self.scene.answer(Answer::Refuses);
                self.scene.look();
                self.scene.answer(Answer::Stores);
            }
        }
    }

    /// The reader may be away for as long as rotated files are kept, not longer.
    fn make_room(&mut self, task: &Task) {
        if !matches!(task, Task::Rename { .. } | Task::CopyAndEmpty | Task::PackAndEmpty) {
            return;
        }
        self.unread_rotations += 1;
        if self.unread_rotations >= KEPT {
            self.writer.borrow_mut().end_line();
            for _ in 0..8 {
                self.scene.look();
                self.scene.wait_ms(10_000);
            }
            self.unread_rotations = 0;
        }
    }

    fn check(mut self) {
        self.writer.borrow_mut().finish();
        self.writer.borrow_mut().end_part();
        self.scene.look();
        self.scene.wait_long();
        // What tells the lines apart is at their beginning.
        let short = |lines: Vec<String>| {
            lines.into_iter().map(|line| match line.len() {
                1401 => "header".to_owned(),
                _ => line.trim_end_matches('x').to_owned() + &line.len().to_string(),
            })
        };
        let written = counted(short(self.writer.borrow().written.clone()));
        let read = counted(short(self.scene.lines()));
        let missing: Vec<_> = written.iter().filter(|(l, n)| read.get(*l) != Some(n)).collect();
        let beyond: Vec<_> = read.iter().filter(|(l, n)| written.get(*l) != Some(n)).collect();
        assert!(missing.is_empty() && beyond.is_empty(), "written {missing:?}, read {beyond:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_stored_once(
        steps in proptest::collection::vec(step(), 1..25),
        has_header in any::<bool>(),
        matches_all in any::<bool>(),
        is_dated in any::<bool>(),
        // Hardly any file may stay open.
        is_short in any::<bool>(),
        gaps in proptest::collection::vec(prop_oneof![0..6_u8, 0..60_u8], 1..20),
    ) {
        let pattern = if matches_all { "*log*" } else { "*.log" };
        let names = if is_dated { Names::Dated } else { Names::Numbered };
        let open_max = if is_short { 0 } else { 100 };
        let mut life = Life::new(pattern, names, has_header, open_max, gaps);
        life.scene.look();
        for step in steps {
            life.apply(step);
        }
        life.check();
    }
}
