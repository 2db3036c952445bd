//! An addon for Node with a runtime: for experiment 67.
//!
//! A trial [becomes](Trial::becomes) Node, which runs a program that uses the addon.

use std::{env, path::Path, process::Command, time::Duration};

use lab::{Equipment, Lack, Preparation, Program, Trial, TrialResult, sandbox::Ending};

use super::{as_a_library, compiled, here, interface};
use crate::python::run;

/// The addon, and the program, as seen from `src`.
const SOURCE: &str = "../../crates/ffi/addon/addon.c";
const PROGRAM: &str = "../../crates/ffi/addon/program.js";

/// The variables in which a trial finds Node and the addon.
const VARIABLES: [&str; 2] = ["NODE", "NODE_ADDON"];

/// What Node is asked about itself: its version, itself, and the folder of its headers.
const ABOUT: &str = "const {resolve} = require('path'); \
                     console.log(process.version + '\\n' + process.execPath + '\\n' + \
                     resolve(process.execPath, '../../include/node'))";

/// The first version that is asked for: it has the eighth version of its C interface from its first day.
const OLDEST: u32 = 16;

/// Finds Node and its headers, and builds the addon.
pub fn addon(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    const REMEDY: &str =
        "install Node 16 or later with its headers (Debian: apt-get install libnode-dev)";
    let missing = |what: &str| Lack::missing(what, REMEDY);
    if !cfg!(target_os = "linux") {
        return Err(Lack::missing("the addon is linked as on Linux", "run it on Linux"));
    }
    let on_path = env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join("node").is_file())
    });
    if !on_path {
        return Err(missing("there is no node on PATH"));
    }
    let deadline = Duration::from_secs(30);
    let ended = run(preparation, Path::new("node"), &["-e", ABOUT], Vec::new(), deadline)?;
    let said = ended.stdout.text();
    let [version, node, headers] = said.lines().collect::<Vec<_>>()[..] else {
        return Err(missing("node does not run"));
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|it| it.parse().ok());
    if ended.ending != Ending::Exited(0) || major.is_none_or(|major: u32| major < OLDEST) {
        return Err(missing(&format!("node is {version}")));
    }
    if !Path::new(headers).join("node_api.h").is_file() {
        return Err(missing(&format!("there is no node_api.h in {headers}")));
    }
    preparation.say("building the C interface (crates/ffi) and an addon");
    let mut options = as_a_library(&interface(preparation)?);
    options.extend(["-I".into(), headers.into()]);
    let addon = compiled(preparation, SOURCE, "addon.node", &options)?;
    let equipment = Equipment::new().version("Node", version.trim_start_matches('v'));
    let [of_node, of_addon] = VARIABLES;
    Ok(equipment.variable(of_node, node).variable(of_addon, addon))
}

/// Turns the trial into Node, which uses the addon with a design until an ending. To be clean the program must
/// reach its last line, and meet the expectations that are added here.
///
/// # Errors
///
/// If the experiment does not declare [`addon`], or Node cannot be started.
pub fn becomes(
    trial: &Trial<'_>,
    design: &str,
    ending: &str,
    expecting: impl FnOnce(Program) -> Program,
) -> TrialResult {
    let [Some(node), Some(addon)] = VARIABLES.map(env::var_os) else {
        return Err("the experiment does not declare `addons::addon`".into());
    };
    let mut command = Command::new(node);
    command.arg(here(PROGRAM)).arg(addon).args([design, ending]);
    trial.becomes(expecting(Program::new(command).ends_with("the last line")))
}
