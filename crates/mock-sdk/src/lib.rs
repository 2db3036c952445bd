//! A mock of the Matrix SDK: what an application of it sees, over a real SQLite pool and real HTTP.
//!
//! The experiments study what happens at the end of a program that holds such a client. They need the
//! real pool, the real wrapper around its connections, the real database and a real server, and
//! nothing of Matrix beyond that. So the [`store`] and the [`homeserver`] are real, and the rest is as
//! small as it can be.
//!
//! | module | subject |
//! | --- | --- |
//! | [`app`] | an application around the client: user interface, requests, globals, files |
//! | [`client`] | the client, its rooms and timelines, and its own tasks |
//! | [`owners`] | what keeps a client alive, and when |
//! | [`sync`] | the service that keeps the client up to date |
//! | [`store`] | SQLite behind a pool of connections |
//! | [`homeserver`] | a server with the endpoints of a session, and faults on request |
//! | [`http`] | one request to it, and how that can fail |
//! | [`matrix_error`] | the errors that it answers with |
//! | [`watch`] | a key-value store that can be watched, for an experiment that is not about Matrix |

pub mod app;
mod background;
mod backoff;
pub mod client;
pub mod http;
pub mod owners;
pub mod store;
pub mod sync;
pub mod watch;

pub use homeserver::{self, matrix_error};
