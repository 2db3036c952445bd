//! What the experiments of a run are built of, and what they declare.

use std::{collections::BTreeMap, thread};

use lab::results::Declaration;

use super::{
    Run,
    binary::{Binary, Trouble},
    builds::{Builds, Built},
    selection, trials,
};
use crate::{
    failure::{Failure, Result},
    output::Progress,
    sources,
    workspace::Source,
};

/// What a terminal shows while all experiments are built and none runs yet.
pub const BUILDING: &str = "{elapsed_precise}  {wide_msg}";

/// The experiments of a run while they are built.
pub struct Work<'a> {
    run: &'a Run<'a>,
    pub builds: Builds,
    /// By the name of the binary. Taken before the build: a file that changes during it is newer than the
    /// result.
    digests: BTreeMap<String, BTreeMap<String, String>>,
}

/// An experiment that is built, and what it declares about itself.
pub type Declared = (Binary, Declaration);

impl<'scope> Work<'scope> {
    pub fn start(
        run: &'scope Run<'scope>,
        sources: &[Source],
        scope: &'scope thread::Scope<'scope, '_>,
    ) -> Self {
        let digests = |source: &Source| sources::digests(run.workspace, source);
        let digests = sources.iter().map(|it| (it.binary.clone(), digests(it))).collect();
        let builds = Builds::start(sources, run.workspace, &run.guardian, scope);
        Self { run, builds, digests }
    }

    /// The experiments of this shard. What each weighs is known when all are built.
    pub fn share(&mut self, chosen: &[Source]) -> Result<Vec<Source>> {
        let Some(shard) = self.run.flags.shard else { return Ok(chosen.to_vec()) };
        let mut weighed = Vec::new();
        let progress = Progress::start(None, BUILDING);
        for source in chosen {
            let weight = match self.declared(source, &progress) {
                Ok((_, declaration)) => trials(&declaration),
                Err(Trouble::Interrupted) => return Err(Failure::Interrupted),
                Err(_) => self.builds.failure().map_or(Ok(0), Err)?,
            };
            weighed.push((source.clone(), weight));
        }
        let mine = selection::shard(weighed, shard, |(_, weight)| *weight);
        Ok(mine.into_iter().map(|(source, _)| source).collect())
    }

    /// Waits until an experiment is built, and reads its declaration.
    pub fn declared(&mut self, source: &Source, progress: &Progress) -> Result<Declared, Trouble> {
        let built = self.builds.wait_for(source, &self.run.interrupt, progress);
        self.declaration(source, built.ok_or(Trouble::Interrupted)?)
    }

    /// Reads the declaration of an experiment that was built.
    pub fn declaration(&self, source: &Source, built: Built) -> Result<Declared, Trouble> {
        let executable = match built {
            Built::Yes(executable) => executable,
            Built::No => return Err(Trouble::NotBuilt(source.binary.clone())),
            Built::Failed => return Err(Trouble::DoesNotBuild),
        };
        let digests = self.digests.get(&source.binary).cloned().unwrap_or_default();
        let binary = Binary::of(source, executable, digests);
        let declaration = binary.declaration(self.run)?;
        Ok((binary, declaration))
    }
}
