//! What has happened and is still to be told, in order: a reader may be slower than what happens, and a log may
//! be longer than what should be held.
//!
//! Only logs are waited with: what else happens is little, and is kept until its turn comes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::changes::Instance;
use super::follow::{Followers, LogLine};
use super::output::{Output, Stream};
use super::signals::{Signals, Urgency};
use super::story::Story;
use crate::exit::Exit;

/// How long a run that was asked to end waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// The story, the logs that belong into it, and what waits for its turn.
pub(crate) struct Telling {
    story: Story,
    followers: Followers,
    names: BTreeMap<Instance, String>,
    queue: VecDeque<Item>,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    /// A container's log, up to this many bytes.
    Log(Instance, u64),
    /// The rest of a container's log.
    LogToItsEnd(Instance),
    /// Something that happened.
    Note(String),
    /// Something that went wrong.
    Alarm(String),
    /// A part of the story, ready to be shown.
    Text(String),
    /// Something beside the story.
    Beside(Stream, String),
}

impl Telling {
    /// Nothing is to be told yet.
    pub(crate) fn new(story: Story) -> Result<Self> {
        let followers = Followers::new().context("log files cannot be followed")?;
        Ok(Self { story, followers, names: BTreeMap::new(), queue: VecDeque::new() })
    }

    /// The names of all containers.
    pub(crate) fn set_names(&mut self, names: &[String]) {
        self.story.set_names(names);
    }

    /// Where bars are shown, which wait for nothing.
    pub(crate) fn output(&self) -> &Output {
        self.story.output()
    }

    /// Something that happened.
    pub(crate) fn note(&mut self, text: String) {
        self.queue.push_back(Item::Note(text));
    }

    /// Something that went wrong.
    pub(crate) fn alarm(&mut self, text: String) {
        self.queue.push_back(Item::Alarm(text));
    }

    /// Text that is ready to be shown, such as a verdict.
    pub(crate) fn text(&mut self, text: String) {
        self.queue.push_back(Item::Text(text));
    }

    /// What is no part of the story: the result on standard output, or an error.
    pub(crate) fn beside(&mut self, stream: Stream, text: String) {
        self.queue.push_back(Item::Beside(stream, text));
    }

    /// From now on, what a container writes is told.
    pub(crate) fn follow(&mut self, instance: Instance, name: String, log: &Path) -> io::Result<()> {
        self.followers.follow(instance.clone(), log)?;
        self.names.insert(instance, name);
        Ok(())
    }

    /// What all containers have written up to now comes before whatever is told next.
    pub(crate) fn logs_so_far(&mut self) {
        self.queue.extend(
            self.followers.lengths().into_iter().map(|(instance, length)| Item::Log(instance, length)),
        );
    }

    /// A container has ended: the rest of its log comes before whatever is told next.
    pub(crate) fn log_ended(&mut self, instance: Instance) {
        self.followers.ended(&instance);
        self.queue.push_back(Item::LogToItsEnd(instance));
    }

    /// Waits until there is something to tell and somebody to hear it, and tells a piece of it. May be dropped at
    /// any time.
    pub(crate) async fn go_on(&mut self) -> Result<()> {
        let something = !self.queue.is_empty() || self.followers.has_more();
        tokio::select! {
            biased;
            grown = self.followers.grown() => grown.context("log files cannot be followed")?,
            () = self.story.output().room(), if something => {}
        }
        if self.story.output().has_room() {
            self.tell_next();
            // The node lives on this thread too.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Tells all that is left, and answers how urgent that had become.
    ///
    /// # Errors
    /// Somebody wants the run to end, and the reader does not read.
    pub(crate) async fn finish(
        &mut self,
        signals: &mut Signals,
        mut urgency: Urgency,
    ) -> Result<Urgency, Unread> {
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = self.story.output().waiting();
            if self.queue.is_empty() && waiting == 0 {
                return Ok(urgency);
            }
            tokio::select! {
                biased;
                exit = signals.next() => {
                    if let Urgency::AskedTwice(exit) = urgency {
                        return Err(Unread { exit });
                    }
                    urgency = urgency.asked(exit);
                    deadline = Instant::now() + PATIENCE;
                }
                () = self.story.output().room(), if !self.queue.is_empty() => {
                    self.tell_next();
                    tokio::task::yield_now().await;
                }
                () = self.story.output().moved_from(waiting) => {
                    // A slow reader is waited for, unless somebody is out of patience altogether.
                    if !matches!(urgency, Urgency::AskedTwice(_)) {
                        deadline = Instant::now() + PATIENCE;
                    }
                }
                exit = too_late(urgency, deadline) => return Err(Unread { exit }),
            }
        }
    }

    /// Tells the next piece.
    fn tell_next(&mut self) {
        match self.queue.pop_front() {
            None => {
                if let Some((instance, lines)) = self.followers.read_next() {
                    self.log(&instance, &lines);
                }
            }
            Some(Item::Log(instance, length)) => {
                let lines = self.followers.read(&instance);
                self.log(&instance, &lines);
                if !self.followers.is_read(&instance, length) {
                    self.queue.push_front(Item::Log(instance, length));
                }
            }
            Some(Item::LogToItsEnd(instance)) => {
                let lines = self.followers.read(&instance);
                self.log(&instance, &lines);
                if self.followers.is_read(&instance, u64::MAX) {
                    self.followers.forget(&instance);
                    self.names.remove(&instance);
                } else {
                    self.queue.push_front(Item::LogToItsEnd(instance));
                }
            }
            Some(Item::Note(text)) => self.story.note(&text),
            Some(Item::Alarm(text)) => self.story.alarm(&text),
            Some(Item::Text(text)) => self.story.write(text),
            Some(Item::Beside(stream, text)) => self.story.output().write(stream, text),
        }
    }

    fn log(&mut self, instance: &Instance, lines: &[LogLine]) {
        if let Some(name) = self.names.get(instance) {
            self.story.log(name, lines);
        }
    }
}

/// The reader did not read to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The exit code that the signal stands for.
    pub(crate) exit: Exit,
}

/// Never, while nobody has asked the run to end.
async fn too_late(urgency: Urgency, deadline: Instant) -> Exit {
    match urgency.exit() {
        Some(exit) => {
            tokio::time::sleep_until(deadline).await;
            exit
        }
        None => std::future::pending().await,
    }
}
