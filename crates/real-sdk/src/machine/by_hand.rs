//! The same logins and logouts without the kit, on a runtime that ends with each logout: in an order that
//! leaves nothing to chance, or as in the write-up, with a user interface that lets go late.

use std::path::Path;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};

use super::interface::Interface;
use crate::practice::members_of;

pub struct ByHand {
    server: String,
    interface: Interface,
    /// Whether the user interface lets go at the next login only.
    is_last: bool,
}

impl ByHand {
    pub fn start(server: &str, is_last: bool) -> Result<Self> {
        Ok(Self { server: server.to_owned(), interface: Interface::start()?, is_last })
    }

    pub fn log_in_and_out(&mut self, store: &Path) -> Result<()> {
        let runtime = runtime()?;
        let (client, service) = runtime.block_on(async {
            let (client, service) = super::application::log_in(&self.server, store).await?;
            // The screens of the new login replace what was there.
            self.interface.clean().await?;
            self.interface.open(Box::new(super::application::tab(&client).await?))?;
            self.interface.cache(Box::new(members_of(&client).await?))?;
            anyhow::Ok((client, service))
        })?;
        runtime.block_on(async {
            service.stop().await;
            client.matrix_auth().logout().await?;
            if !self.is_last {
                self.interface.clean().await?;
            }
            drop((client, service));
            anyhow::Ok(())
        })?;
        if self.is_last {
            runtime.shutdown_background();
        } else {
            drop(runtime);
        }
        Ok(())
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
