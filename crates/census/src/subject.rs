//! What is asked: a crate's value, and how a trial makes, uses and closes it.

use std::future::{Future, ready};

use lab::{TrialResult, Variant};

use crate::{question::Question, server::Server};

/// A value of a released crate.
pub trait Subject: 'static {
    /// What a trial holds: the value, and what must outlive it.
    type Live: 'static;

    /// The stable name of the row: the package, and the value if a package has several.
    const CODE: &'static str;
    /// The package, and its version if the lock file has several: `deadpool@0.12.3`.
    const PACKAGE: &'static str;
    /// What is made, used and dropped, as a part of a sentence.
    const VALUE: &'static str;
    /// What one use is.
    const CALL: &'static str;
    /// Its own close, or why it has none.
    const CLOSE: Result<&'static str, &'static str>;
    /// Why its close cannot be called again, if it cannot.
    const CLOSES_ONCE: Option<&'static str> = None;
    /// What it accepts and brings to somebody later, or why that cannot be asked.
    const ACCEPTS: Result<&'static str, &'static str> =
        Err("it accepts nothing for later: a call is over when it is answered");
    /// Other questions that cannot be asked, each with the reason.
    const NOT_ASKED: &'static [(Question, &'static str)] = &[];
    /// The server that it needs and the machine may lack.
    const SERVER: Option<Server> = None;

    /// Makes the value, on a runtime.
    fn live() -> impl Future<Output = TrialResult<Self::Live>>;

    /// Uses it once.
    fn call(live: &mut Self::Live) -> impl Future<Output = TrialResult>;

    /// Its own close.
    fn close(_: &mut Self::Live) -> impl Future<Output = TrialResult> {
        ready(Err("it has no close".into()))
    }

    /// Gives it one item.
    fn accept(_: &mut Self::Live) -> impl Future<Output = TrialResult> {
        ready(Err("it accepts nothing".into()))
    }

    /// How many items have arrived.
    fn arrived() -> usize {
        0
    }
}

/// A row: what is asked of a subject, and by which trials.
pub struct Card {
    pub code: &'static str,
    pub package: &'static str,
    /// The version in the lock file, if there are several.
    pub lock: Option<&'static str>,
    /// The file of this package that has the trials.
    pub source: &'static str,
    pub value: &'static str,
    pub call: &'static str,
    pub close: Option<&'static str>,
    pub accepts: Option<&'static str>,
    pub server: Option<&'static str>,
    pub not_asked: Vec<(Question, &'static str)>,
    pub variants: Vec<Variant>,
}

impl Card {
    /// `source` is `file!()` of the subject.
    pub fn of<S: Subject>(source: &'static str) -> Self {
        let not_asked: Vec<_> = Question::ALL
            .into_iter()
            .filter_map(|question| Some((question, not_asked::<S>(question)?)))
            .collect();
        let asked = Question::ALL.into_iter().filter(|it| not_asked.iter().all(|no| no.0 != *it));
        let (package, lock) = match S::PACKAGE.split_once('@') {
            Some((package, version)) => (package, Some(version)),
            None => (S::PACKAGE, None),
        };
        Self {
            code: S::CODE,
            package,
            lock,
            source,
            value: S::VALUE,
            call: S::CALL,
            close: S::CLOSE.ok(),
            accepts: S::ACCEPTS.ok(),
            server: S::SERVER.map(Server::name),
            variants: asked.map(crate::trial::variant::<S>).collect(),
            not_asked,
        }
    }
}

fn not_asked<S: Subject>(question: Question) -> Option<&'static str> {
    match question {
        Question::CloseWaits => S::CLOSE.err(),
        Question::CloseTwice | Question::CloseHalfway => S::CLOSE.err().or(S::CLOSES_ONCE),
        Question::Flush | Question::FlushAlive | Question::FlushControl => S::ACCEPTS.err(),
        _ => S::NOT_ASKED.iter().find(|(it, _)| *it == question).map(|(_, because)| *because),
    }
}
