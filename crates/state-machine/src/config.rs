//! The settings of a logout: desktop or mobile, the runtime's policy, and every limit.

use std::time::Duration;

use crate::transition::{Effect, Plan};

/// What the user interface runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    /// There are tabs. They are closed before anything else is cleaned up.
    #[default]
    Desktop,
    /// There are no tabs.
    Mobile,
}

/// What happens to the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimePolicy {
    /// The application has one runtime. A logout shuts it down with the session's tasks and starts
    /// it again for the next login.
    #[default]
    Restart,
    /// Each session has a runtime of its own, which ends with it. A logout starts none.
    Keep,
}

/// The settings of a logout.
///
/// [`sundown::limit`](sundown_core::limit) keeps every limit, whatever the runtimes of the process are doing. With a limit of
/// zero a step is polled once. [`Duration::MAX`] means no limit.
///
/// ```
/// use std::time::Duration;
/// use sundown::logout::config::{LogoutConfig, Screen};
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
    /// What the user interface runs on. Default: [`Screen::Desktop`].
    pub screen: Screen,
    /// What happens to the runtime. Default: [`RuntimePolicy::Restart`].
    pub runtime: RuntimePolicy,
    /// For checking the prerequisites. Default: 5 s.
    pub checks: Duration,
    /// For stopping the sync service. Default: 5 s.
    pub sync: Duration,
    /// For each access to the storage: recording or clearing the intent, and deleting the latest user
    /// id. Default: 5 s.
    pub storage: Duration,
    /// For the server's answer to the logout request. Default: 5 s.
    pub server: Duration,
    /// For the server's answer to the question whom the token belongs to. Default: 5 s.
    pub question: Duration,
    /// For closing the tabs. Default: 5 s.
    pub tabs: Duration,
    /// For cleaning up the application's state. Default: 5 s.
    pub app_state: Duration,
    /// For closing the session. Default: 10 s.
    pub session: Duration,
    /// For shutting down the tasks. Default: 10 s.
    pub tasks: Duration,
    /// For starting a runtime. Default: 5 s.
    pub restart: Duration,
}

impl LogoutConfig {
    /// The settings with the same limit for every step.
    #[must_use]
    pub fn with_limit(limit: Duration) -> Self {
        Self {
            screen: Screen::default(),
            runtime: RuntimePolicy::default(),
            checks: limit,
            sync: limit,
            storage: limit,
            server: limit,
            question: limit,
            tabs: limit,
            app_state: limit,
            session: limit,
            tasks: limit,
            restart: limit,
        }
    }

    /// The limit of the step that performs an effect.
    pub(crate) const fn limit(&self, effect: Effect) -> Duration {
        match effect {
            Effect::CheckPrerequisites => self.checks,
            Effect::StopSync => self.sync,
            Effect::RecordIntent | Effect::DeleteLatestUserId | Effect::ClearIntent => self.storage,
            Effect::RequestLogout => self.server,
            Effect::AskServer => self.question,
            Effect::CloseTabs => self.tabs,
            Effect::CleanAppState => self.app_state,
            Effect::CloseSession => self.session,
            Effect::ShutDownTasks => self.tasks,
            Effect::RestartRuntime => self.restart,
            // It does not wait.
            Effect::RestartSync => Duration::ZERO,
        }
    }

    /// The limit for a step that keeps a limit itself: nine tenths of the driver's, so that the step
    /// can still report what went wrong.
    pub(crate) fn own_limit(&self, effect: Effect) -> Duration {
        let limit = self.limit(effect);
        if limit == Duration::MAX { limit } else { limit - limit / 10 }
    }

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
        Self { session: long, tasks: long, ..Self::with_limit(short) }
    }
}
