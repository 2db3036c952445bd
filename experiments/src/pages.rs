//! The listings of the book, which `cargo test --doc` compiles. The book hides lines that begin with
//! `# `; they make a listing whole. Listings that are files of their own are not here.

macro_rules! pages {
    ($($name:ident $page:literal)*) => {
        $(#[doc = include_str!(concat!("../../docs/src/", $page))] mod $name {})*
    };
}

pages! {
    drop_context "01-drop-context.md"
    destruction_order "02-destruction-order.md"
    sleep_duration "03-sleep-duration.md"
    last_owner "04-last-owner.md"
    oneshot_confirm "05-oneshot-confirm.md"
    thread_local "07-thread-local.md"
    static_owner "08-static-owner.md"
    shutdown_methods "09-shutdown-methods.md"
    runtime_in_async "10-runtime-in-async.md"
    cancelled_interact "11-cancelled-interact.md"
    wal_residue "12-wal-residue.md"
    teardown "13-teardown.md"
    cooperative_close "14-cooperative-close.md"
    wrapper_drop "16-wrapper-drop.md"
    solution "21-solution.md"
    cancel_or_commit "22-cancel-or-commit.md"
    stuck_in_progress "23-stuck-in-progress.md"
    faults "24-faults.md"
    restart_or_keep "25-restart-or-keep.md"
    leak_at_exit "30-leak-at-exit.md"
    leak_on_logout "31-leak-on-logout.md"
    exit_order "32-exit-order.md"
    bounded_exit "33-bounded-exit.md"
    server_drain "34-server-drain.md"
    container_signals "35-container-signals.md"
    stuck_after_drain "36-stuck-after-drain.md"
    async_drop_options "40-async-drop-options.md"
    second_caller "41-second-caller.md"
    lock_across_await "42-lock-across-await.md"
    cancelled_shutdown "43-cancelled-shutdown.md"
    abort_latency "44-abort-latency.md"
    signal_latency "45-signal-latency.md"
    overhead "46-overhead.md"
    silent_panic "47-silent-panic.md"
    static_owner_drop "50-static-owner-drop.md"
    ignored_errors "51-ignored-errors.md"
    bounded_join "52-bounded-join.md"
    double_shutdown "53-double-shutdown.md"
    exit_stress "54-exit-stress.md"
    fork "55-fork.md"
    start_here "start-here.md"
    tools "tools.md"
    upstream_report "upstream-report.md"
    off_context "70-off-context.md"
    six_steps "71-six-steps.md"
    last_owner_of_the_sdk "72-last-owner.md"
    close_while_working "73-close-while-working.md"
}
