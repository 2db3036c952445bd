//! What the experiments with servers share. They are a package of their own, because web servers, WebSockets and
//! logs that are written in the background build for long, and the other experiments need none of it.

pub mod web;
