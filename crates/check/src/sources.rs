//! The sources that a program was built from: whole packages, found by the files that the line information names.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::SystemTime,
};

/// The packages that were asked for. Each is read once, and a file is parsed when it is first needed.
pub struct Sources {
    /// When the program was built, if that may have been before its sources were last changed.
    built: Option<SystemTime>,
    packages: RefCell<HashMap<PathBuf, Option<Rc<Package>>>>,
}

impl Sources {
    pub fn built_at(built: Option<SystemTime>) -> Self {
        Self { built, packages: RefCell::default() }
    }

    /// The package that a file is of. `None` if the file is not in the `src` of a package, or if the package cannot be
    /// read completely.
    pub fn package_of(&self, file: &Path) -> Option<Rc<Package>> {
        let has_manifest = |folder: &&Path| folder.join("Cargo.toml").is_file();
        let folder = file.ancestors().skip(1).find(has_manifest)?.join("src");
        if !file.is_absolute() || !file.starts_with(&folder) {
            return None;
        }
        let mut packages = self.packages.borrow_mut();
        let read = || Package::read(&folder, self.built).map(Rc::new);
        packages.entry(folder.clone()).or_insert_with(read).clone()
    }
}

/// A file alone, if it can be parsed and was not changed since.
pub fn unchanged(path: &Path, built: Option<SystemTime>) -> Option<syn::File> {
    let changed = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    if !path.is_absolute() || built.is_some_and(|built| changed > built) {
        return None;
    }
    syn::parse_file(&fs::read_to_string(path).ok()?).ok()
}

/// All files in the `src` of a package.
pub struct Package {
    files: Vec<Source>,
}

struct Source {
    path: PathBuf,
    text: String,
    parsed: OnceCell<Option<syn::File>>,
}

/// What takes code from a file elsewhere.
const FROM_ELSEWHERE: [&str; 2] = ["include!", "path = \".."];

impl Package {
    fn read(folder: &Path, built: Option<SystemTime>) -> Option<Self> {
        let mut package = Self { files: vec![] };
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).ok()? {
                let entry = entry.ok()?;
                let (path, file_type) = (entry.path(), entry.file_type().ok()?);
                if file_type.is_dir() {
                    open.push(path);
                } else if file_type.is_symlink() {
                    return None;
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let changed = entry.metadata().and_then(|file| file.modified()).ok()?;
                    let text = fs::read_to_string(&path).ok()?;
                    let has = |part: &&str| text.contains(*part);
                    if built.is_some_and(|built| changed > built) || FROM_ELSEWHERE.iter().any(has)
                    {
                        return None;
                    }
                    package.files.push(Source { path, text, parsed: OnceCell::new() });
                }
            }
        }
        Some(package)
    }

    /// The syntax of a file, if it can be parsed.
    pub fn file(&self, path: &Path) -> Option<&syn::File> {
        self.files.iter().find(|file| file.path == path)?.parsed()
    }

    /// All files that a word occurs in, if they can all be parsed.
    pub fn files_with(&self, word: &str) -> Option<Vec<&syn::File>> {
        let with = self.files.iter().filter(|file| file.text.contains(word));
        with.map(Source::parsed).collect()
    }
}

impl Source {
    fn parsed(&self) -> Option<&syn::File> {
        self.parsed.get_or_init(|| syn::parse_file(&self.text).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Duration};

    use super::*;

    /// A package with one file, and how many files with `flag` are read for a file of this name.
    fn read(change: impl Fn(&Path), file: &str, built: Option<SystemTime>) -> Option<usize> {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        fs::create_dir_all(folder.path().join("src/part")).expect("folders");
        write("Cargo.toml", "");
        write("build.rs", "fn flag() {}");
        write("src/lib.rs", "mod part; fn flag() {}");
        write("src/part/mod.rs", "fn flags() {}");
        write("src/part/other.rs", "fn other() {");
        change(folder.path());
        let package = Sources::built_at(built).package_of(&folder.path().join(file))?;
        package.file(&folder.path().join(file))?;
        Some(package.files_with("flag")?.len())
    }

    #[test]
    fn all_files_of_a_package_are_read() {
        let nothing = |_: &Path| {};
        assert_eq!(read(nothing, "src/lib.rs", None), Some(2));
        assert_eq!(
            read(nothing, "src/lib.rs", Some(SystemTime::now() + Duration::from_secs(9))),
            Some(2)
        );
    }

    #[test]
    fn a_package_that_cannot_be_read_completely_is_not_read() {
        let nothing = |_: &Path| {};
        assert_eq!(read(nothing, "build.rs", None), None);
        assert_eq!(read(nothing, "src/missing.rs", None), None);
        assert_eq!(read(nothing, "src/part/other.rs", None), None);
        assert_eq!(read(nothing, "src/lib.rs", Some(SystemTime::UNIX_EPOCH)), None);
        let without = |folder: &Path| fs::remove_file(folder.join("Cargo.toml")).expect("removed");
        assert_eq!(read(without, "src/lib.rs", None), None);
        let linked = |folder: &Path| {
            symlink(folder.join("build.rs"), folder.join("src/a.rs")).expect("a link")
        };
        assert_eq!(read(linked, "src/lib.rs", None), None);
        for text in
            ["include!(\"generated.rs\");", "#[path = \"../other.rs\"]\nmod other;", "fn flag( {"]
        {
            let write = |folder: &Path| fs::write(folder.join("src/a.rs"), text).expect("written");
            assert_eq!(read(write, "src/lib.rs", None), None, "{text}");
        }
        let bytes = |folder: &Path| fs::write(folder.join("src/a.rs"), b"\xff").expect("written");
        assert_eq!(read(bytes, "src/lib.rs", None), None);
    }
}
