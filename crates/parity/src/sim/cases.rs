//! Small runs whose every course is looked at: two workers, two holders, and a task that shows one kind of fault.

use super::tasks::{Glance, Talk, Words};
use super::{Settings, World};
use crate::arena;
use crate::code::Code;
use crate::id::Worker;
use crate::mode::Mode;
use crate::proto::work::Task;
use std::time::Duration;

/// A task and what it must come to.
#[derive(Clone, Copy)]
pub struct Case {
    /// As users write it.
    pub name: &'static str,
    /// What each worker does.
    pub task: fn(Worker) -> Box<dyn Task>,
    /// What is wrong with a world that is over.
    pub wrong: fn(&World) -> Option<String>,
}

const TALK: Talk = Talk { messages: 1 };
const WORD: Words = Words { messages: 1 };
const WORDS: Words = Words { messages: 2 };

/// All of them.
pub const CASES: [Case; 4] = [
    Case { name: "word", task: |_| Box::new(WORD), wrong: |world| wrong(world, |me| WORD.expected(me)) },
    Case {
        name: "words",
        task: |_| Box::new(WORDS),
        wrong: |world| wrong(world, |me| WORDS.expected(me)),
    },
    Case {
        name: "talk",
        task: |_| Box::new(TALK),
        wrong: |world| wrong(world, |me| vec![TALK.expected(2, me)]),
    },
    Case { name: "glance", task: |_| Box::new(Glance), wrong: differ },
];

impl Case {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Case> {
        CASES.into_iter().find(|case| case.name == name)
    }

    /// Workers and holders that have all just gone on for the first time; the tasks are for two workers.
    ///
    /// # Errors
    /// There is no memory.
    pub fn world(&self, mode: Mode, code: Code) -> Result<World, arena::Error> {
        let mut world = World::new(Settings {
            code,
            mode,
            log_bytes: 512,
            state_bytes: Talk::state_bytes(2),
            step: (64, 2),
            interval: Duration::from_millis(10),
            buffer_pages: u32::MAX,
            pages_per_frame: 64,
            task: self.task,
        })?;
        world.begin()?;
        Ok(world)
    }
}

fn said(world: &World, me: u16) -> Vec<Vec<u8>> {
    world.outside().get(&Worker(me)).cloned().unwrap_or_default()
}

fn wrong(world: &World, right: impl Fn(u16) -> Vec<Vec<u8>>) -> Option<String> {
    let wrong = (0..2).find(|me| said(world, *me) != right(*me));
    wrong.map(|me| format!("{} gives a wrong answer", Worker(me)))
}

fn differ(world: &World) -> Option<String> {
    let (first, second) = (said(world, 0), said(world, 1));
    (first != second).then(|| "one has heard what the other has not said".to_owned())
}
