//! What every experiment must declare. Each package with experiments runs these tests on its own.

use std::{
    collections::BTreeSet,
    error::Error,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lab::{
    Role,
    results::{Declaration, VariantDeclaration},
};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// The longest head of a file: the question, what to expect, and the page. The essay is on the page.
const HEAD: usize = 4;

/// The folder of the package `experiments`, which has the sources of the others, too.
fn folder() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|it| it.ends_with("experiments")).unwrap_or(package)
}

/// All experiments, of whatever package.
fn all() -> TestResult<Vec<PathBuf>> {
    fs::read_dir(folder().join("src/bin"))?.map(|entry| Ok(entry?.path())).collect()
}

fn name(source: &Path) -> TestResult<&str> {
    Ok(source.file_stem().and_then(OsStr::to_str).ok_or("a source without a name")?)
}

/// Whether a manifest has an experiment. `test = false` keeps `cargo test` from building a second, empty binary.
fn has(manifest: &Path, name: &str) -> TestResult<bool> {
    let listed = fs::read_to_string(manifest)?;
    let begins = format!("    {{ name = \"{name}\", ");
    Ok(listed.lines().any(|line| line.starts_with(&begins) && line.ends_with("test = false },")))
}

/// The experiments of this package.
fn sources() -> TestResult<Vec<PathBuf>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut sources = Vec::new();
    for source in all()? {
        if has(&manifest, name(&source)?)? {
            sources.push(source);
        }
    }
    assert!(!sources.is_empty(), "there are no experiments");
    Ok(sources)
}

/// What each experiment declares, by the name of its source file.
fn declarations() -> TestResult<Vec<(String, Declaration)>> {
    let declaration = |source: PathBuf| {
        let name = name(&source)?;
        // Tests are in `deps`, beside the programs.
        let test = std::env::current_exe()?;
        let binary = test.parent().ok_or("a test is in a folder")?.with_file_name(name);
        let listed = Command::new(binary).args(["--list", "--format", "json"]).output()?;
        let errors = String::from_utf8_lossy(&listed.stderr);
        assert!(listed.status.success(), "{name} --list: {}\n{errors}", listed.status);
        Ok((name.to_owned(), serde_json::from_slice(&listed.stdout)?))
    };
    sources()?.into_iter().map(declaration).collect()
}

#[test]
fn every_experiment_is_named_after_its_file_and_has_a_number_of_its_own() -> TestResult {
    let mut seen = BTreeSet::new();
    for (file, Declaration { id, name, binary, .. }) in declarations()? {
        assert_eq!(binary, file);
        assert_eq!(format!("{id}_{}", name.replace('-', "_")), file);
        assert!(id.len() == 2 && id.parse::<u8>().is_ok(), "{file} has number {id}");
        assert!(seen.insert(id), "{file} has the number of another");
    }
    Ok(())
}

#[test]
fn every_experiment_is_in_one_package() -> TestResult {
    for source in all()? {
        let name = name(&source)?;
        let packages = ["Cargo.toml", "servers/Cargo.toml"].map(|it| has(&folder().join(it), name));
        let [one, other] = packages;
        assert!(
            one? != other?,
            "add `{{ name = \"{name}\", test = false }},` to experiments/Cargo.toml"
        );
    }
    Ok(())
}

#[test]
fn every_experiment_asks_and_answers() -> TestResult {
    for (file, Declaration { question, hypothesis, .. }) in declarations()? {
        assert!(question.ends_with('?'), "{file}: {question}");
        assert!(hypothesis.ends_with('.'), "{file}: {hypothesis}");
    }
    Ok(())
}

#[test]
fn every_hazard_has_a_control_beside_it() -> TestResult {
    for (file, Declaration { variants, .. }) in declarations()? {
        let has = |role| variants.iter().any(|variant| variant.role == role);
        assert!(!has(Role::Hazard) || has(Role::Control), "{file}");
    }
    Ok(())
}

#[test]
fn every_variant_says_in_one_line_what_is_different() -> TestResult {
    for (file, Declaration { variants, .. }) in declarations()? {
        for VariantDeclaration { name, about, trials, .. } in variants {
            // A dot and a plus, because some are named after versions and combinations of them.
            let of_a_name = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '/' | '.' | '+');
            assert!(name.chars().all(of_a_name), "{file}: {name}");
            assert!(!about.is_empty() && !about.contains('\n'), "{file}: {name}: {about:?}");
            assert!(trials >= lab::FEWEST_TRIALS, "{file}: {name} has {trials} trials");
        }
    }
    Ok(())
}

#[test]
fn the_head_of_every_file_is_a_few_lines_and_names_the_page() -> TestResult {
    for source in sources()? {
        let (text, file) = (fs::read_to_string(&source)?, source.display());
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!((1..=HEAD).contains(&head.len()), "{file}: a head of {} lines", head.len());
        let page = format!("docs/src/{}.md", name(&source)?.replace('_', "-"));
        assert!(head.concat().contains(&page), "{file}: its head does not name {page}");
    }
    Ok(())
}

#[test]
fn no_file_restates_the_prediction_that_a_role_implies() -> TestResult {
    for source in sources()? {
        let text: String = fs::read_to_string(&source)?.split_whitespace().collect();
        let file = source.display();
        assert!(!text.contains(".predict(Clean)"), "{file}: a control or a cure is always clean");
    }
    Ok(())
}

/// The long waits of 03 are not repeated in 13.
#[test]
fn every_hazard_of_01_to_12_has_a_cure_there_and_in_13() -> TestResult {
    if env!("CARGO_PKG_NAME") != "experiments" {
        return Ok(());
    }
    let declarations = declarations()?;
    let all = declarations.iter().find(|(_, declaration)| declaration.id == "13");
    let collected: BTreeSet<_> =
        all.ok_or("there is no 13")?.1.variants.iter().map(|variant| &*variant.name).collect();
    for (file, Declaration { id, variants, .. }) in &declarations {
        let of = |role| variants.iter().filter(move |variant| variant.role == role);
        if id.as_str() > "12" {
            continue;
        }
        for VariantDeclaration { name, .. } in of(Role::Hazard) {
            let cure = match name.split_once('/') {
                Some((generation @ ("old" | "current"), rest)) => {
                    format!("{generation}/kit/{rest}")
                }
                _ => format!("kit/{name}"),
            };
            let cured = of(Role::Cure).any(|variant| variant.name == cure);
            assert!(cured, "{file}: {name} has no cure called {cure}");
        }
        for VariantDeclaration { name, .. } in of(Role::Cure).filter(|it| !it.name.ends_with("/1s"))
        {
            let name = format!("{id}/{}", name.replace("kit/", ""));
            assert!(collected.contains(name.as_str()), "13 has no {name}");
        }
    }
    Ok(())
}
