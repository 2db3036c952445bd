//! A mock of the Matrix SDK: what an application of it sees, over a real SQLite pool.
//!
//! The experiments study what happens at the end of a program that holds such a client. They need
//! the real pool, the real wrapper around its connections and the real database, and nothing of
//! Matrix: so the [`store`] is real, and the rest is as small as it can be.

pub mod store;
