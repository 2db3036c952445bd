//! Servers of JSON-RPC, members of a cluster, and locks of one.

use std::{mem, time::Duration};

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, ProtocolVersion, transport};
use jsonrpc_http_server::jsonrpc_core::IoHandler;
use rs_consul::{Config, Consul, Lock, types::LockRequest};
use servers::serve;
use tokio::runtime::Handle;
use tower_lsp_server::{
    Client, LanguageServer, LspService,
    jsonrpc::Result,
    ls_types::{InitializeParams, InitializeResult},
};
use trials::Case;

use crate::{folder, thread};

pub fn cases() -> Vec<Case> {
    [over_http(), over_sockets(), editors(), members(), locks()].into_iter().flatten().collect()
}

fn over_http() -> Vec<Case> {
    let server = |threads| {
        thread(move || {
            let server = jsonrpc_http_server::ServerBuilder::new(IoHandler::new());
            let any = ([127, 0, 0, 1], 0).into();
            server.threads(threads).start_http(&any).expect("a server")
        })
    };
    vec![
        Case::of("jsonrpc-http-server", move || server(1)).when("on one thread"),
        Case::of("jsonrpc-http-server", move || server(2)).when("on two threads"),
        Case::of("jsonrpc-http-server", || async {
            let executor = Handle::current();
            let started = thread(|| {
                let server = jsonrpc_http_server::ServerBuilder::new(IoHandler::new());
                let any = ([127, 0, 0, 1], 0).into();
                server.event_loop_executor(executor).start_http(&any).expect("a server")
            });
            started.await
        })
        .when("on the runtime of others"),
        Case::of("jsonrpc-http-server", move || async move {
            let server = server(1).await;
            let handle = server.close_handle();
            mem::forget(server);
            handle
        })
        .when("before its server"),
        Case::of("jsonrpc-http-server", move || async move {
            let server = server(1).await;
            let handle = server.close_handle();
            thread(|| drop(server)).await;
            handle
        })
        .when("after its server"),
    ]
}

fn over_sockets() -> Vec<Case> {
    let server = || {
        thread(|| {
            let server = jsonrpc_ipc_server::ServerBuilder::new(IoHandler::new());
            let path = folder().join("a");
            server.start(path.to_str().expect("a path")).expect("a server")
        })
    };
    vec![
        Case::of("jsonrpc-ipc-server", server).when("on its own runtime"),
        Case::of("jsonrpc-ipc-server", || async {
            let executor = Handle::current();
            let started = thread(|| {
                let server = jsonrpc_ipc_server::ServerBuilder::new(IoHandler::new());
                let path = folder().join("a");
                let server = server.event_loop_executor(executor);
                server.start(path.to_str().expect("a path")).expect("a server")
            });
            started.await
        })
        .when("on the runtime of others"),
        Case::of("jsonrpc-ipc-server", move || async move {
            let server = server().await;
            let handle = server.close_handle();
            mem::forget(server);
            handle
        })
        .when("before its server"),
        Case::of("jsonrpc-ipc-server", move || async move {
            let server = server().await;
            let handle = server.close_handle();
            thread(|| drop(server)).await;
            handle
        })
        .when("after its server"),
    ]
}

/// Knows a client, and no language.
struct Backend {
    _client: Client,
}

impl LanguageServer for Backend {
    async fn initialize(&self, _: InitializeParams) -> Result<InitializeResult> {
        Ok(InitializeResult::default())
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}

fn editors() -> Vec<Case> {
    let service = || LspService::new(|client| Backend { _client: client });
    vec![
        Case::of("tower-lsp-server", move || async move {
            let (service, socket) = service();
            mem::forget(socket);
            service
        })
        .when("before its socket"),
        Case::of("tower-lsp-server", move || async move { service().0 }).when("after its socket"),
        Case::of("tower-lsp-server", move || async move {
            let (service, socket) = service();
            mem::forget(service);
            socket
        })
        .when("before its service"),
        Case::of("tower-lsp-server", move || async move { service().1 }).when("after its service"),
    ]
}

async fn member() -> ChitchatHandle {
    let address = ([127, 0, 0, 1], 1).into();
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new("a", 0, address),
        cluster_id: "a cluster".to_owned(),
        gossip_interval: Duration::from_millis(50),
        listen_addr: address,
        seed_nodes: vec![],
        failure_detector_config: chitchat::FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(9),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    };
    let network = transport::ChannelTransport::default();
    chitchat::spawn_chitchat(config, vec![], &network).await.expect("a member")
}

fn members() -> Vec<Case> {
    vec![
        Case::of("chitchat", member).when("alive"),
        Case::of("chitchat", || async {
            let member = member().await;
            member.initiate_shutdown().expect("a shutdown");
            member.termination_watcher().await.expect("an end");
            member
        })
        .when("shut down"),
    ]
}

/// A client that is never dropped, because its locks refer to it.
fn consul() -> &'static Consul {
    let address = format!("http://{}", serve(servers::consul));
    Box::leak(Box::new(Consul::new(Config { address, ..Config::default() })))
}

async fn lock() -> Lock<'static> {
    let request = LockRequest { key: "a", ..LockRequest::default() };
    consul().get_lock(request, b"a row").await.expect("a lock")
}

fn locks() -> Vec<Case> {
    vec![
        Case::of("rs-consul", || async {
            Consul::new(Config { address: "http://127.0.0.1:9".to_owned(), ..Config::default() })
        }),
        Case::of("rs-consul", lock).when("the last one"),
        Case::of("rs-consul", || async {
            let lock = lock().await;
            mem::forget(lock.clone());
            lock
        })
        .when("one of two"),
    ]
}
