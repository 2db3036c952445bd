//! stub
use crate::{failure::Failure, workspace::Workspace};
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub struct Options {}
pub fn run(_: &Options, _: &Workspace) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
