//! Open files by the links that the Linux kernel shows.
//!
//! The link of a descriptor is the name that its file has *now*: the kernel follows renames. So a file in
//! a renamed directory shows the directory's new name, by which the directory is found again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    EvidenceError, Unconfirmed,
    identity::{Identity, names_below},
    open_files::{Below, Open, Place},
    proc::{self, unlisted},
};

/// The descriptors of the calling thread. `/proc/self` would be those of the first thread, which may have
/// ended: then that list is empty although files are open.
const LIST: &str = "/proc/thread-self/fd";
const THIS_THREAD: &str = "/proc/thread-self";
const MAPPINGS: &str = "/proc/thread-self/maps";

/// What the kernel appends to the name of a file that has been deleted.
const DELETED: &[u8] = b" (deleted)";

/// A descriptor, and what its link says: a path, or for example `socket:[17]`.
pub(crate) struct Descriptor {
    pub(crate) entry: PathBuf,
    pub(crate) link: PathBuf,
}

/// Lists all descriptors but the one that this takes.
pub(crate) fn descriptors() -> Result<Vec<Descriptor>, EvidenceError> {
    let unlisted = |source| unlisted(LIST, source);
    // `7/task/8`
    let this_thread = fs::read_link(THIS_THREAD).map_err(unlisted)?;
    let itself = Path::new("/proc").join(this_thread).join("fd");
    let mut shows_itself = false;
    let mut descriptors = Vec::new();
    for entry in fs::read_dir(LIST).map_err(unlisted)? {
        let entry = entry.map_err(unlisted)?.path();
        match fs::read_link(&entry) {
            Ok(link) if link == itself => shows_itself = true,
            Ok(link) => descriptors.push(Descriptor { entry, link }),
            // Another thread has closed it in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unlisted(error)),
        }
    }
    // The positive control of every look: a list that lacks this is not the list of this thread.
    match shows_itself {
        true => Ok(descriptors),
        false => Err(unlisted(io::Error::other("it lacks the descriptor that it is read with"))),
    }
}

pub(super) fn list(below: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let names = descriptors()?.into_iter().map(|open| name(&open.entry, open.link).0);
    Ok(names.filter(|name| name.starts_with(below)).collect())
}

/// The name that the file behind a descriptor has, or had before it was deleted, and whether it was.
fn name(descriptor: &Path, link: PathBuf) -> (PathBuf, bool) {
    let Some(stripped) = link.as_os_str().as_bytes().strip_suffix(DELETED) else {
        return (link, false);
    };
    // A file may really have such a name. Then the link and the name lead to the same file.
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| Identity::of(&file));
    match identity(&link) {
        Some(named) if identity(descriptor) == Some(named) => (link, false),
        _ => (PathBuf::from(OsStr::from_bytes(stripped)), true),
    }
}

/// Finds what is open below a path, or was seen there. Unless it is `thorough`, it goes by names only.
pub(super) fn find(
    below: &Below,
    seen: &HashSet<Identity>,
    thorough: bool,
) -> Result<Vec<Open>, Unconfirmed> {
    let mut search = Search::new(below.place()?, seen);
    for Descriptor { entry, link } in descriptors()? {
        // The names of sockets and pipes are no paths.
        if !link.is_absolute() || !(thorough || search.is_named_below(&entry, &link)) {
            continue;
        }
        search.descriptor(entry, link);
    }
    if thorough {
        search.mappings()?;
        search.hard_links()?;
    }
    below.learn(search.ancestry.names());
    search.conclude()
}

/// What is known of a descriptor or a mapping.
struct Sight {
    entry: Option<PathBuf>,
    name: PathBuf,
    deleted: bool,
    file: Option<Metadata>,
}

enum Verdict {
    /// It is, or was, below the path.
    Open,
    /// It was deleted, and may have been below a root.
    Doubtful,
    /// It has several names, one of which may be below the path.
    Linked(Identity),
    Elsewhere,
}

struct Search<'a> {
    place: Place,
    seen: &'a HashSet<Identity>,
    ancestry: Ancestry,
    open: Vec<Open>,
    /// Whether a root is no longer at the path, so that its name is unknown.
    moved: bool,
    doubtful: Vec<PathBuf>,
    linked: Vec<(Sight, Identity)>,
}

impl<'a> Search<'a> {
    fn new(place: Place, seen: &'a HashSet<Identity>) -> Self {
        let ancestry = Ancestry { roots: place.known.roots.clone(), judged: HashMap::new() };
        let moved = place.known.roots.iter().any(|root| Some(*root) != place.now);
        let (open, doubtful, linked) = Default::default();
        Self { place, seen, ancestry, open, moved, doubtful, linked }
    }

    fn is_named_below(&self, entry: &Path, link: &Path) -> bool {
        link.starts_with(&self.place.path) || {
            let (name, deleted) = name(entry, link.to_owned());
            self.is_below(&name, deleted)
        }
    }

    /// Whether a name is below the path, or for a deleted file below a name that the root had.
    fn is_below(&self, name: &Path, deleted: bool) -> bool {
        let mut names = self.place.known.names.iter();
        name.starts_with(&self.place.path)
            || deleted && names.any(|former| name.starts_with(former))
    }

    /// Looks at a descriptor. Between its link and its file it could be closed, and its number be given
    /// to another file. So what is found counts only if the link is still the same.
    fn descriptor(&mut self, entry: PathBuf, mut link: PathBuf) {
        // Only a number that does not stand for one file has another link each time.
        for _ in 0..8 {
            let file = match fs::metadata(&entry) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                file => file.ok(),
            };
            let (name, deleted) = name(&entry, link.clone());
            let sight = Sight { entry: Some(entry.clone()), name, deleted, file };
            let verdict = self.judge(&sight);
            if let Verdict::Elsewhere = verdict {
                return;
            }
            match fs::read_link(&entry) {
                Ok(again) if again == link => return self.record(sight, verdict),
                Ok(again) => link = again,
                Err(_) => return,
            }
        }
    }

    fn judge(&mut self, Sight { name, deleted, file, .. }: &Sight) -> Verdict {
        let identity = file.as_ref().map(Identity::of);
        let is_known =
            identity.is_some_and(|it| self.seen.contains(&it) || self.ancestry.roots.contains(&it));
        if is_known || self.is_below(name, *deleted) || self.ancestry.includes(name) {
            return Verdict::Open;
        }
        if self.may_have_been_below(name, *deleted, identity) {
            return Verdict::Doubtful;
        }
        match identity.zip(file.as_ref()) {
            Some((it, file)) if file.is_file() && file.nlink() > 1 => Verdict::Linked(it),
            _ => Verdict::Elsewhere,
        }
    }

    fn record(&mut self, sight: Sight, verdict: Verdict) {
        match verdict {
            Verdict::Open => self.open.push(sight.open()),
            Verdict::Doubtful => self.doubtful.push(sight.name),
            Verdict::Linked(identity) => self.linked.push((sight, identity)),
            Verdict::Elsewhere => {}
        }
    }

    /// Whether a file is gone together with its directory, which may have been a root under a name that
    /// nobody saw.
    fn may_have_been_below(&self, name: &Path, deleted: bool, file: Option<Identity>) -> bool {
        let mut roots = self.place.known.roots.iter();
        self.moved
            && deleted
            && file.is_none_or(|file| roots.any(|root| root.device == file.device))
            && name.parent().is_some_and(|parent| !parent.exists())
    }

    /// A mapped file is open, also if its descriptor was closed: a database, for example.
    fn mappings(&mut self) -> Result<(), EvidenceError> {
        let descriptors: HashSet<_> =
            self.open.iter().filter_map(|open| Some(open.identity?.inode)).collect();
        let list = proc::read(MAPPINGS)?;
        for mapping in Mapping::all(&list) {
            if descriptors.contains(&mapping.inode) {
                continue;
            }
            let mut seen = self.seen.iter();
            let known = seen.find(|it| (it.device, it.inode) == (mapping.device, mapping.inode));
            let sight = mapping.sight();
            match known {
                // Of a deleted file, this is all that the list tells.
                Some(known) => self.open.push(Open { identity: Some(*known), ..sight.open() }),
                None => {
                    let verdict = self.judge(&sight);
                    self.record(sight, verdict);
                }
            }
        }
        Ok(())
    }

    /// A file that has another name below the path. To find it, this reads the whole directory.
    fn hard_links(&mut self) -> Result<(), EvidenceError> {
        let roots = &self.place.known.roots;
        self.linked.retain(|(_, file)| roots.iter().any(|root| root.device == file.device));
        if self.linked.is_empty() {
            return Ok(());
        }
        let path = &self.place.path;
        let below = names_below(path)
            .map_err(|source| EvidenceError::Unresolved { path: path.clone(), source })?;
        let linked = self.linked.drain(..).filter(|(_, file)| below.contains_key(file));
        self.open.extend(linked.map(|(sight, _)| sight.open()));
        Ok(())
    }

    fn conclude(self) -> Result<Vec<Open>, Unconfirmed> {
        match &*self.doubtful {
            [one, ..] if self.open.is_empty() => Err(Unconfirmed::Unavailable(format!(
                "`{}` was moved or deleted, and `{}`, which was deleted as well, may have been in it; \
                 rename or delete a directory after its files are closed",
                self.place.path.display(),
                one.display(),
            ))),
            _ => Ok(self.open),
        }
    }
}

impl Sight {
    fn open(self) -> Open {
        let mut name = self.name.display().to_string();
        if self.deleted {
            name.push_str(" (deleted)");
        }
        if self.entry.is_none() {
            name.push_str(" (mapped)");
        }
        Open { entry: self.entry, identity: self.file.as_ref().map(Identity::of), name }
    }
}

/// Whether a directory is, or is in, one of the roots, whatever it is called.
struct Ancestry {
    roots: VecDeque<Identity>,
    /// To each directory the root that it is in, by its present name.
    judged: HashMap<PathBuf, Option<PathBuf>>,
}

impl Ancestry {
    fn includes(&mut self, file: &Path) -> bool {
        file.parent().is_some_and(|directory| self.root_of(directory).is_some())
    }

    fn root_of(&mut self, directory: &Path) -> Option<PathBuf> {
        if let Some(judged) = self.judged.get(directory) {
            return judged.clone();
        }
        let is_root =
            fs::metadata(directory).is_ok_and(|it| self.roots.contains(&Identity::of(&it)));
        let root = match is_root {
            true => Some(directory.to_owned()),
            false => directory.parent().and_then(|parent| self.root_of(parent)),
        };
        self.judged.insert(directory.to_owned(), root.clone());
        root
    }

    /// The present names of the roots that were found.
    fn names(&self) -> Vec<PathBuf> {
        self.judged.values().flatten().cloned().collect::<HashSet<_>>().into_iter().collect()
    }
}

/// A file in the list of mappings.
struct Mapping<'a> {
    device: u64,
    inode: u64,
    path: &'a [u8],
    /// Whether code is run from here.
    is_code: bool,
}

impl<'a> Mapping<'a> {
    /// Each mapped file once, but no programs and libraries: they are mapped as long as they are loaded.
    fn all(list: &'a [u8]) -> Vec<Self> {
        let mut files: HashMap<_, Self> = HashMap::new();
        for mapping in list.split(|byte| *byte == b'\n').filter_map(Self::parse) {
            let is_code = mapping.is_code;
            files.entry(mapping.path).or_insert(mapping).is_code |= is_code;
        }
        files.into_values().filter(|file| !file.is_code).collect()
    }

    /// Reads `addresses permissions offset device inode path`. `None` if it is not a file.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ').skip(1);
        let is_code = fields.next()?.contains(&b'x');
        let device = std::str::from_utf8(fields.nth(1)?).ok()?;
        let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok().filter(|it| *it != 0)?;
        let path = fields.next()?.trim_ascii_start();
        let (major, minor) = device.split_once(':')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let device = device_number(number(major)?, number(minor)?);
        path.starts_with(b"/").then_some(Self { device, inode, path, is_code })
    }

    fn sight(&self) -> Sight {
        let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
        let file = fs::metadata(path(self.path)).ok().filter(|file| file.ino() == self.inode);
        match self.path.strip_suffix(DELETED) {
            Some(former) if file.is_none() => {
                Sight { entry: None, name: path(former), deleted: true, file }
            }
            _ => Sight { entry: None, name: path(self.path), deleted: false, file },
        }
    }
}

/// As the C library composes it.
fn device_number(major: u64, minor: u64) -> u64 {
    (major & 0xffff_f000) << 32
        | (major & 0xfff) << 8
        | (minor & 0xffff_ff00) << 12
        | (minor & 0xff)
}
#[cfg(test)]
mod tests {
    use std::{fs::File, slice};

    use super::{super::open_files, *};

    #[test]
    fn a_deleted_file_is_listed_under_the_name_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("store");
        fs::create_dir(&path).unwrap();
        let file = path.join("file");
        let _open = File::create(&file).unwrap();

        fs::remove_file(&file).unwrap();
        assert_eq!(open_files(&path).unwrap(), slice::from_ref(&file));

        fs::remove_dir(&path).unwrap();
        assert_eq!(open_files(&path).unwrap(), [file], "the directory is gone as well");
    }

    #[test]
    fn a_file_that_is_really_called_deleted_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let file = path.join("file (deleted)");
        let _open = File::create(&file).unwrap();
        assert_eq!(open_files(&path).unwrap(), [file]);
    }

    #[test]
    fn the_list_does_not_find_itself() {
        // It would find itself each time, and the list of a test beside this one now and then.
        let finds = || !open_files(Path::new("/proc/self/fd")).unwrap().is_empty();
        assert!(!(0..1000).all(|_| finds()));
    }

    #[test]
    fn mapped_files_are_listed_once_and_code_is_not() {
        let list = b"\
            7f00-7f01 r--p 00000000 fe:00 11                     /lib/libc.so\n\
            7f01-7f02 r-xp 00001000 fe:00 11                     /lib/libc.so\n\
            7f02-7f03 rw-s 00000000 fe:00 12                     /a store/data.mdb (deleted)\n\
            7f03-7f04 rw-s 00001000 fe:00 12                     /a store/data.mdb (deleted)\n\
            7f04-7f05 rw-p 00000000 00:00 0                      [heap]\n\
            7f05-7f06 rw-p 00000000 00:00 0\n\
            7f06\n";
        let [mapping] = &Mapping::all(list)[..] else { panic!("not one file") };
        assert_eq!((mapping.device, mapping.inode), (0xfe00, 12));
        let sight = mapping.sight();
        assert_eq!((sight.name, sight.deleted), (PathBuf::from("/a store/data.mdb"), true));
    }

    #[test]
    fn the_list_of_mappings_is_understood() {
        let list = proc::read(MAPPINGS).unwrap();
        let program = std::env::current_exe().unwrap();
        let own = |mapping: Mapping<'_>| mapping.sight().file.map(|file| Identity::of(&file));
        let mut files = list.split(|byte| *byte == b'\n').filter_map(Mapping::parse);
        let file = files.find(|mapping| mapping.path == program.as_os_str().as_bytes()).unwrap();
        assert!(Mapping::all(&list).iter().all(|mapping| mapping.path != file.path));
        assert_eq!(own(file), Some(Identity::of(&fs::metadata(program).unwrap())));
    }
}
