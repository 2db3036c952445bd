//! 14 cooperative close: does closing the pool make it safe to drop? `Pool::close`, called in a
//! context, makes every owner harmless at once. But it returns before work on the connections has
//! ended, and does not say when they are closed. Page: `docs/src/14-cooperative-close.md`.

use experiments::{
    prelude::*,
    query::{QUERY, Query, TOO_SHORT, UNTIL_RELEASED},
};
use mock_sdk::store::{StoreError, StoreErrorKind};

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does closing the pool make it safe to drop?")
        .hypothesis(
            "Yes, for every owner at once, if it is called in a context. It does not say when the \
             connections are closed, which is not before work on them has ended.",
        )
        .variants([
            control("*/in-context", in_context).about("closed in a context, dropped off context"),
            control("*/handles-out", handles_out)
                .about("closed in a context; other clones are dropped off context, later"),
            hazard("*/off-context", Aborted, off_context)
                .about("closed on a thread without context"),
            hazard("*/at-work", Failed, at_work)
                .about("closed in a context while a query runs; looked at when `close` returns"),
            control("*/at-work-runtime-dropped", at_work_runtime_dropped)
                .about("the same, looked at when the runtime has been dropped, which waits"),
            control("sdk/0.13", sdk_0_13)
                .about("the public methods of the client in matrix-sdk 0.13.0")
                .trials(5),
            control("sdk/0.18", sdk_0_18)
                .about("the same in matrix-sdk 0.18.0")
                .trials(5),
            cure("*/kit/off-context", guarded(off_context_session))
                .about("a session, closed on a thread without context"),
            cure("*/kit/handles-out", guarded(handles_out_session))
                .about("a session with a handle out: it says so, and closes when that is gone"),
            cure("*/kit/at-work", guarded(at_work_session))
                .about("a session, closed while a query runs"),
        ])
        .claim("A7", "The SDK of the report has no API to clean the pool up.")
        // The newer SDK shows that the search would find one.
        .supported_if(
            every("sdk/0.13").observed("closes_the_pool").always_reads("none")
                & every("sdk/0.18").observed("closes_the_pool").never_reads("none"),
        )
        .refuted_if(every("sdk/0.13").observed("closes_the_pool").never_reads("none"))
        .finding(
            "A7b",
            "The pool has one, `Pool::close`: called in a context, it makes every later drop harmless.",
        )
        .supported_if(every("*/in-context").is(Clean) & every("*/handles-out").is(Clean))
        .refuted_if(!every("*/in-context").is(Clean) | !every("*/handles-out").is(Clean))
        .claim("A10", "Connection pools need time to destruct, which a shutdown has to wait for.")
        .supported_if(
            every("*/at-work").observed("files_open").always_at_least(1)
                & every("*/at-work-runtime-dropped").observed("files_open").always_at_most(0),
        )
        .refuted_if(every("*/at-work").observed("files_open").always_at_most(0))
        .kit_claim(
            "A session can be closed on any thread, says who still has a handle, and when it has \
             closed the connections have.",
        )
        .run()
}

fn close_in_context(runtime: &Runtime, store: &Store) {
    let _context = runtime.enter();
    store.close();
}

fn in_context(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    close_in_context(&runtime, &store);
    scene.check("no connection is left in the pool", store.connections().open == 0);
    drop(store);
    // Waits for what `close` has posted to it.
    drop(runtime);
    scene.no_file_is_open()
}

fn handles_out(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let others: Vec<_> = (0..3).map(|_| store.clone()).collect();
    close_in_context(&runtime, &store);
    drop(store);
    for other in others {
        let refused = runtime.block_on(other.rooms());
        let closed = matches!(refused, Err(StoreError { kind: StoreErrorKind::Closed, .. }));
        scene.check("the others are told that it is closed", closed);
        thread::spawn(move || drop(other)).join().map_err(|_| "the thread panicked")?;
    }
    drop(runtime);
    scene.no_file_is_open()
}

fn off_context(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    store.close();
    Ok(())
}

fn off_context_session(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    drop(store);
    scene.close()
}

fn handles_out_session(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    let other = store.clone();
    drop(store);
    let told = scene.one_handle_is_left(TOO_SHORT);
    scene.check("the session says that there is a handle", told);
    drop(other);
    scene.close()
}

fn at_work(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let query = Query::start(&runtime, store.clone(), UNTIL_RELEASED)?;
    close_in_context(&runtime, &store);
    query.check_ended(scene)?;
    query.end();
    drop(runtime);
    Ok(())
}

fn at_work_runtime_dropped(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let query = Query::start(&runtime, store.clone(), QUERY)?;
    close_in_context(&runtime, &store);
    drop(runtime);
    query.check_ended(scene)
}

fn at_work_session(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let query = Query::start(&runtime, store, QUERY)?;
    scene.close()?;
    query.check_ended(scene)
}

fn sdk_0_13(scene: &Scene<'_>) -> TrialResult {
    public_methods(scene, include_str!("../../locks/matrix-sdk-0.13.0.methods"))
}

fn sdk_0_18(scene: &Scene<'_>) -> TrialResult {
    public_methods(scene, include_str!("../../locks/matrix-sdk-0.18.0.methods"))
}

/// Looks for a method that could close the stores, by what it could be called.
fn public_methods(scene: &Scene<'_>, methods: &str) -> TrialResult {
    const WORDS: [&str; 9] =
        ["close", "pause", "suspend", "shut", "stop", "dispose", "drain", "terminate", "clean"];
    scene.check("the list is there", methods.lines().any(|method| method == "logout"));
    let found: Vec<_> =
        methods.lines().filter(|method| WORDS.iter().any(|word| method.contains(word))).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    scene.record("closes_the_pool", found);
    Ok(())
}
