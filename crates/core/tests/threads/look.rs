//! Looks at the threads of this process, from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    sync::mpsc,
    thread,
    time::Instant,
};

use sundown::limit::PLENTY;

/// How often a test asks for an answer and looks. The environment variable `ROUNDS` overrides it.
fn rounds() -> usize {
    env::var("ROUNDS").map_or(300, |rounds| rounds.parse().unwrap())
}

/// The flag of a thread that is past its last instruction: the kernel takes it apart, and it never
/// returns to code of the program. Such a thread can still be listed after it was joined.
const PF_EXITING: u32 = 4;

/// The threads that can run code of this process, by id. The main thread is not listed.
fn threads() -> BTreeMap<String, String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
    let others = ids.filter(|id| *id != std::process::id().to_string());
    others.filter_map(|id| can_run(&id).map(|name| (id, name))).collect()
}

/// The name of a thread, unless it has ended.
fn can_run(id: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
    // `17 (a name) S 1 17 17 0 -1 4194304 …`: the state, five numbers, and the flags.
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let flags: u32 = fields[6].parse().unwrap();
    let has_ended = matches!(fields[0], "Z" | "X") || flags & PF_EXITING != 0;
    (!has_ended).then(|| name.to_owned())
}

/// Looks for threads that are not the test's own.
pub struct Looks {
    /// The threads that were there before the first round.
    own: BTreeSet<String>,
    looks: usize,
    /// How many looks found something, and which threads.
    found: usize,
    names: BTreeMap<String, usize>,
}

impl Looks {
    /// Repeats a round, in which a test gets one answer or more and calls [`look`](Self::look) after each.
    pub fn in_rounds(mut round: impl FnMut(&mut Self)) -> Self {
        let own = threads().into_keys().collect();
        let mut looks = Self { own, looks: 0, found: 0, names: BTreeMap::new() };
        for _ in 0..rounds() {
            round(&mut looks);
            looks.until_none();
        }
        looks
    }

    /// Looks now.
    pub fn look(&mut self) {
        let threads = self.others();
        self.looks += 1;
        self.found += usize::from(!threads.is_empty());
        threads.into_iter().for_each(|name| *self.names.entry(name).or_default() += 1);
    }

    /// What one round leaves behind must not be found by the next.
    fn until_none(&self) {
        let began = Instant::now();
        while !self.others().is_empty() {
            assert!(began.elapsed() < PLENTY, "these threads do not end: {:?}", self.others());
            thread::yield_now();
        }
    }

    fn others(&self) -> Vec<String> {
        threads()
            .into_iter()
            .filter(|(id, _)| !self.own.contains(id))
            .map(|(_, name)| name)
            .collect()
    }

    pub fn assert_none(&self) {
        assert!(self.looks > 0 && self.found == 0, "{self}");
    }

    pub fn assert_always(&self) {
        assert!(self.looks > 0 && self.found == self.looks, "{self}");
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looks, found, names, .. } = self;
        write!(f, "{found} of {looks} looks found a thread: {names:?}")
    }
}

pub fn a_thread_that_is_left_behind_is_found_by_every_look() {
    let looks = Looks::in_rounds(|looks| {
        let (release, released) = mpsc::channel::<()>();
        let left_behind = thread::spawn(move || released.recv());
        looks.look();
        drop(release);
        left_behind.join().unwrap().unwrap_err();
    });
    looks.assert_always();
}

pub fn a_thread_that_only_runs_its_destructors_is_found_by_every_look() {
    struct Waits(mpsc::Sender<()>, mpsc::Receiver<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            self.1.recv().unwrap_err();
        }
    }
    thread_local!(static LOCAL: std::cell::OnceCell<Waits> = const { std::cell::OnceCell::new() });
    let looks = Looks::in_rounds(|looks| {
        let (release, released) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let ending =
            thread::spawn(move || LOCAL.with(|local| local.set(Waits(tell, released)).is_ok()));
        told.recv().unwrap();
        looks.look();
        drop(release);
        assert!(ending.join().unwrap());
    });
    looks.assert_always();
}

pub fn a_joined_thread_is_never_found() {
    let looks = Looks::in_rounds(|looks| {
        thread::spawn(|| ()).join().unwrap();
        looks.look();
    });
    looks.assert_none();
}
