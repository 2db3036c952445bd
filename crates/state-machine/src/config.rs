//! What a logout is like: which screen, which runtime policy, and how long each step may take.

use std::time::Duration;

use crate::transition::Plan;

/// What the user interface runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    /// There are tabs, which are closed before anything else is cleaned up.
    #[default]
    Desktop,
    /// There are none.
    Mobile,
}

/// What becomes of the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimePolicy {
    /// The application has one runtime, which is shut down with the session's tasks and started
    /// again for the next login.
    #[default]
    Restart,
    /// No restart: each session has a runtime of its own, which ends with it.
    Keep,
}

/// The settings of a logout.
///
/// Every limit holds whatever the runtimes of the process are doing, because it is kept by
/// [`sundown::limit`]. A limit of zero lets a step be polled once; [`Duration::MAX`] is none.
///
/// ```
/// use std::time::Duration;
/// use state_machine::config::{LogoutConfig, Screen};
///
/// let config = LogoutConfig {
///     screen: Screen::Mobile,
///     server: Duration::from_secs(20),
///     ..LogoutConfig::default()
/// };
/// assert_eq!(config.tabs, Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutConfig {
    /// What the user interface runs on. Default: a desktop.
    pub screen: Screen,
    /// What becomes of the runtime. Default: it is restarted.
    pub runtime: RuntimePolicy,
    /// How long checking the prerequisites may take. Default: 5 s.
    pub checks: Duration,
    /// How long the sync service may take to stop. Default: 5 s.
    pub sync: Duration,
    /// How long each access to the storage may take: recording and clearing the intent, deleting
    /// the latest user id. Default: 5 s.
    pub storage: Duration,
    /// How long the server may take to answer the logout request. Default: 5 s.
    pub server: Duration,
    /// How long the server may take to say whom the token belongs to. Default: 5 s.
    pub question: Duration,
    /// How long the tabs may take to close. Default: 5 s.
    pub tabs: Duration,
    /// How long the user interface may take to let go of the session. Default: 5 s.
    pub app_state: Duration,
    /// How long the session may take to close. Default: 10 s.
    pub session: Duration,
    /// How long the tasks may take to end. Default: 10 s.
    pub tasks: Duration,
    /// How long a runtime may take to start. Default: 5 s.
    pub restart: Duration,
}

impl LogoutConfig {
    /// What the transitions depend on.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            tabs: self.screen == Screen::Desktop,
            restart: self.runtime == RuntimePolicy::Restart,
        }
    }
}

impl Default for LogoutConfig {
    fn default() -> Self {
        let (short, long) = (Duration::from_secs(5), Duration::from_secs(10));
        Self {
            screen: Screen::default(),
            runtime: RuntimePolicy::default(),
            checks: short,
            sync: short,
            storage: short,
            server: short,
            question: short,
            tabs: short,
            app_state: short,
            session: long,
            tasks: long,
            restart: short,
        }
    }
}
