//! The servers of the page about servers, with real clients.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use experiments::server_process::ServerProcess;
use hyper::rt::bounds::Http2ClientConnExec;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use servers::web::Visit;
use sundown::{GroupReport, Stop, TaskGroup};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// How long a process may take to be gone, however busy the machine is.
const GONE: Duration = Duration::from_secs(60);

/// An example. `cargo test` builds examples, `cargo test --test` alone not.
fn example(example: &str) -> TestResult<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().ok_or("a test is in a folder")?.with_file_name("examples");
    let path = folder.join(example);
    assert!(path.exists(), "{}: cargo build -p servers --examples", path.display());
    Ok(path)
}

fn start(name: &str, limit: &str) -> TestResult<ServerProcess> {
    let mut command = Command::new(example(name)?);
    ServerProcess::start(command.args(["127.0.0.1:0", limit]), false)
}

/// Sends a request, and returns the connection after the head of the answer, with its status.
fn ask(server: SocketAddr, request: &str) -> TestResult<(String, BufReader<TcpStream>)> {
    let mut connection = TcpStream::connect(server)?;
    connection.set_read_timeout(Some(GONE))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(connection);
    let (mut status, mut line) = (String::new(), String::new());
    answer.read_line(&mut status)?;
    while line != "\r\n" {
        line.clear();
        assert_ne!(answer.read_line(&mut line)?, 0, "{request}: the head has no end");
    }
    Ok((status.trim().to_owned(), answer))
}

fn get(server: SocketAddr, page: &str) -> TestResult<(String, BufReader<TcpStream>)> {
    ask(server, &format!("GET {page} HTTP/1.1\r\nhost: x\r\n\r\n"))
}

fn ended(server: &mut ServerProcess) -> TestResult<(Option<i32>, String)> {
    let status = server.wait(GONE)?.ok_or("it has not ended")?;
    Ok((status.code(), server.printed()?))
}

#[test]
fn the_first_server_of_the_page_answers_and_ends_well() -> TestResult {
    let mut server = start("axum_hello", "")?;
    let (status, mut answer) = get(server.address()?, "/")?;
    let mut hello = String::new();
    answer.read_line(&mut hello)?;
    assert_eq!((&*status, &*hello), ("HTTP/1.1 200 OK", "hello\n"));
    server.send(Signal::TERM)?;
    let (code, printed) = ended(&mut server)?;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("service `web`, asked by SIGTERM, has ended"), "{printed}");
    Ok(())
}

/// The server with a child process, in a process group of its own, as a terminal starts it.
struct WithAWorker {
    process: Child,
    printed: BufReader<ChildStdout>,
    scratch: PathBuf,
    address: SocketAddr,
}

impl WithAWorker {
    /// Its worker handles signals by then.
    fn start() -> TestResult<Self> {
        let mut command = Command::new(example("axum_worker")?);
        command.arg("127.0.0.1:0").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut printed = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        let (mut scratch, mut address) = (String::new(), String::new());
        printed.read_line(&mut scratch)?;
        printed.read_line(&mut address)?;
        let scratch = PathBuf::from(scratch.trim());
        while !scratch.join("ready").exists() {
            thread::yield_now();
        }
        Ok(Self { process, printed, scratch, address: address.trim().parse()? })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn wait_for(&mut self, line: &str) -> TestResult {
        let mut found = String::new();
        while found.trim() != line {
            found.clear();
            assert_ne!(self.printed.read_line(&mut found)?, 0, "no `{line}`");
        }
        Ok(())
    }

    /// How it ended, and what it printed until its worker had ended, too: both have the pipe.
    fn end(mut self) -> TestResult<(ExitStatus, String)> {
        let mut printed = String::new();
        self.printed.read_to_string(&mut printed)?;
        let status = self.process.wait()?;
        assert!(!self.scratch.exists(), "its directory is there: {printed}");
        Ok((status, printed))
    }
}

#[test]
fn a_child_serves_the_last_request_and_ends_with_its_directory_also_when_a_terminal_asks()
-> TestResult {
    for (signal, code) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut server = WithAWorker::start()?;
        let address = server.address;
        let visitor =
            thread::spawn(move || get(address, "/work").map(|it| it.0).unwrap_or_default());
        server.wait_for("work: begun")?;
        // As a supervisor does, and as a terminal does.
        match signal {
            Signal::INT => kill_process_group(server.pid(), signal)?,
            _ => kill_process(server.pid(), signal)?,
        }
        let (status, printed) = server.end()?;
        assert_eq!(status.code(), Some(0), "{printed}");
        let expected = format!("work: done\nservice `web`, asked by {code}, has ended after ");
        assert!(printed.starts_with(&expected), "{printed}");
        assert!(printed.ends_with("worker: SIGTERM\n"), "{printed}");
        assert_eq!(visitor.join().map_err(|_| "a visitor panicked")?, "HTTP/1.1 200 OK");
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_the_child_and_its_directory_without_waiting_for_the_service() -> TestResult
{
    let mut server = WithAWorker::start()?;
    let mut visitor = TcpStream::connect(server.address)?;
    visitor.write_all(b"GET /export HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut other = TcpStream::connect(server.address)?;
    other.write_all(b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n")?;
    // It takes a second. Without a request under way, the service would end at the first signal.
    server.wait_for("work: begun")?;
    kill_process_group(server.pid(), Signal::INT)?;
    // A signal that comes sooner is taken for the first.
    thread::sleep(Duration::from_millis(300));
    kill_process_group(server.pid(), Signal::INT)?;
    let (status, printed) = server.end()?;
    assert_eq!((status.code(), &*printed), (Some(130), "worker: SIGTERM\n"));
    Ok(())
}

#[test]
fn axum_is_not_ready_during_the_grace_and_then_all_visitors_get_what_was_begun() -> TestResult {
    let mut server = start("axum_service", "40")?;
    let address = server.address()?;
    let row = "POST /rows HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nrow";
    assert_eq!(ask(address, row)?.0, "HTTP/1.1 202 Accepted");
    assert_eq!(get(address, "/ready")?.0, "HTTP/1.1 200 OK");

    let visitors = Visit::ALL.map(|visit| visit.begin(address));
    server.send(Signal::TERM)?;
    // Until the signal has arrived, and then for the grace.
    let refused = loop {
        match get(address, "/ready") {
            Ok((status, _)) if status == "HTTP/1.1 200 OK" => {}
            Ok((status, _)) => break status,
            Err(error) => return Err(format!("there was no grace: {error}").into()),
        }
    };
    assert_eq!(refused, "HTTP/1.1 503 Service Unavailable");
    // A request that comes during the grace is answered.
    assert_eq!(ask(address, row)?.0, "HTTP/1.1 202 Accepted");

    let (code, printed) = ended(&mut server)?;
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.starts_with("2 written\nservice `web`, asked by SIGTERM, has ended"),
        "{printed}"
    );
    for word in ["cut off", "aborted"] {
        assert!(!printed.contains(word), "{printed}");
    }
    for (visit, visitor) in Visit::ALL.into_iter().zip(visitors) {
        let got_all = visitor?.join().map_err(|_| "a visitor panicked")?;
        assert!(got_all, "{visit:?}");
    }
    assert!(TcpStream::connect(address).is_err(), "it is still served");
    Ok(())
}

#[test]
fn axum_is_gone_at_its_limit_and_names_the_request_that_does_not_listen() -> TestResult {
    let mut server = start("axum_service", "2")?;
    let (status, mut rows) = get(server.address()?, "/export")?;
    assert_eq!(status, "HTTP/1.1 200 OK");
    server.send(Signal::TERM)?;
    let (code, printed) = ended(&mut server)?;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("`GET /export` (spawned at "), "{printed}");
    assert!(printed.contains("1 foreign task cut off"), "{printed}");
    let _ = rows.read_to_end(&mut Vec::new());
    Ok(())
}

#[test]
fn connections_and_streams_that_hyper_spawns_are_tasks_of_the_service() -> TestResult {
    let mut server = start("hyper_service", "40")?;
    let address = server.address()?;
    let visits = [Visit::Idle, Visit::Request, Visit::Http2];
    let visitors = visits.map(|visit| visit.begin(address));
    server.send(Signal::TERM)?;
    let (code, printed) = ended(&mut server)?;
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains("foreign task cut off") && !printed.contains("aborted"), "{printed}");
    for (visit, visitor) in visits.into_iter().zip(visitors) {
        assert!(visitor?.join().map_err(|_| "a visitor panicked")?, "{visit:?}");
    }
    Ok(())
}

#[test]
fn a_connection_that_does_not_end_is_aborted_and_named_and_so_is_a_stream_of_http2() -> TestResult {
    let mut server = start("hyper_service", "2")?;
    let address = server.address()?;
    let (_, visitor) = get(address, "/export")?;
    let client = visitor.get_ref().local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let connection = tokio::net::TcpStream::connect(address).await?;
        let (client, connection) = h2::client::handshake(connection).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("http://{address}/export")).body(())?;
        let (answer, _) = client.ready().await?.send_request(request, true)?;
        let answer = answer.await?;
        TestResult::Ok((answer, connection))
    })?;
    server.send(Signal::TERM)?;
    let (code, printed) = ended(&mut server)?;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(&format!("`connection of {client}` (spawned at ")), "{printed}");
    assert!(printed.contains("`spawned by hyper` (spawned at "), "{printed}");
    assert!(!printed.contains("foreign task cut off"), "{printed}");
    drop((stream, runtime));
    Ok(())
}

/// A client of HTTP/2 in a group, whose connection is still open at the limit: what the report counts.
fn with_a_client<E>(executor: impl FnOnce(Stop) -> E + Send + 'static) -> TestResult<GroupReport>
where
    E: Http2ClientConnExec<String, TokioIo<tokio::net::TcpStream>> + Clone + Send + Unpin + 'static,
{
    let server = start("hyper_service", "2")?;
    let address = server.address()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let group = TaskGroup::new("client");
    runtime.block_on(async {
        let connection = TokioIo::new(tokio::net::TcpStream::connect(address).await?);
        let executor = executor(group.stop_signal());
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(executor, connection).await?;
        group.spawn("connection", |_| async { drop(connection.await) })?;
        let request = http::Request::post(format!("http://{address}/export"));
        let answer = client.send_request(request.body(String::new())?).await?;
        let report = group.drain(Duration::from_secs(1)).await;
        drop((client, answer));
        Ok(report)
    })
}

#[test]
fn what_a_client_of_hyper_spawns_is_a_task_of_the_group() -> TestResult {
    let report = with_a_client(|stop| stop)?;
    let spawned = report.aborted_tasks.iter().filter(|task| task.name == "spawned by hyper");
    assert!(spawned.count() > 0 && report.foreign == 0, "{report}");
    let control = with_a_client(|_| TokioExecutor::new())?;
    assert!(control.foreign > 0, "{control}");
    Ok(())
}
