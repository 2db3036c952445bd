//! Runs each service in each situation, in a process of its own, in interleaved rounds.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    PEERS, Peer,
    app::{BoxError, LIMIT, Situation},
};

/// A process that is not gone after this time does not end.
const STUCK: Duration = Duration::from_secs(3);

/// A run in a situation in which a service may use up its limit or hang takes seconds. So these have fewer.
const FEWER: usize = 5;

/// How one process ended.
struct Ended {
    /// `None` if it had to be killed.
    after: Option<Duration>,
    code: Option<i32>,
    /// Whether the visitor got a complete answer.
    answered: Option<bool>,
    /// Whether it had ended before it got a signal.
    before: bool,
    /// The last line that it printed.
    said: String,
}

pub fn run(rounds: usize) -> Result<(), BoxError> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let columns = [
        "situation",
        "with",
        "runs",
        "ended",
        "exit code",
        "ms, median",
        "ms, longest",
        "answered",
    ];
    table.set_header(columns);
    let mut sayings = Vec::new();
    for situation in Situation::ALL {
        let is_quick = matches!(
            situation,
            Situation::Idle | Situation::Request | Situation::Events | Situation::Panic
        );
        let rounds = if is_quick { rounds } else { rounds.min(FEWER) };
        let mut ended = PEERS.map(|_| Vec::new());
        for round in 0..rounds {
            // Another one is the first in each round.
            for turn in 0..PEERS.len() {
                let at = (round + turn) % PEERS.len();
                ended[at].push(once(&PEERS[at], situation)?);
            }
        }
        for (peer, ended) in PEERS.iter().zip(&mut ended) {
            table.add_row(row(situation, peer, ended));
            let said = ended.last().map(|it| it.said.clone()).unwrap_or_default();
            sayings.push(format!("{}, {}: {said}", situation.word(), peer.name));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for peer in &PEERS {
        println!("{}: {} lines", peer.name, lines(peer.source));
    }
    println!("\n{}\n\n{}", table.trim_fmt(), sayings.join("\n"));
    Ok(())
}

/// The lines of a source without the empty ones and the comments.
fn lines(source: &str) -> usize {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    source.lines().map(str::trim).filter(is_code).count()
}

fn row(situation: Situation, peer: &Peer, ended: &mut [Ended]) -> Vec<String> {
    let runs = ended.len();
    ended.sort_by_key(|it| it.after.unwrap_or(Duration::MAX));
    let time = |it: Option<&Ended>| match it {
        Some(Ended { before: true, .. }) => "before the signal".to_owned(),
        Some(Ended { after: Some(after), .. }) => format!("{:.1}", after.as_secs_f64() * 1e3),
        _ => "–".to_owned(),
    };
    let mut codes: Vec<_> = ended
        .iter()
        .map(|it| it.code.map_or("killed".to_owned(), |code| code.to_string()))
        .collect();
    codes.sort();
    codes.dedup();
    let has_ended = ended.iter().filter(|it| it.after.is_some()).count();
    let answers: Vec<_> = ended.iter().filter_map(|it| it.answered).collect();
    let answered = match answers.len() {
        0 => "–".to_owned(),
        all => format!("{} of {all}", answers.iter().filter(|it| **it).count()),
    };
    vec![
        situation.word().to_owned(),
        peer.name.to_owned(),
        runs.to_string(),
        has_ended.to_string(),
        codes.join(", "),
        time(ended.get(runs / 2)),
        time(ended.last()),
        answered,
    ]
}

fn once(peer: &Peer, situation: Situation) -> Result<Ended, BoxError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--serve", peer.name, situation.word()])
        // A backtrace takes longer than the rest of a service's end.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = observe(&mut child, situation);
    let _ = child.kill();
    let _ = child.wait();
    ended
}

fn observe(child: &mut Child, situation: Situation) -> Result<Ended, BoxError> {
    let mut address = String::new();
    BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut address)?;
    let visitor = visit(address.trim(), situation)?;
    let gone = |child: &mut Child, limit: Duration| -> Result<Option<Duration>, BoxError> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if child.try_wait()?.is_some() {
                return Ok(Some(began.elapsed()));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(None)
    };
    // A panic may end it by itself.
    let before = situation == Situation::Panic && gone(child, LIMIT / 2)?.is_some();
    if !before {
        kill_process(Pid::from_child(child), Signal::TERM)?;
    }
    let after = gone(child, STUCK)?;
    let code = match after {
        Some(_) => child.wait()?.code(),
        None => {
            child.kill()?;
            child.wait()?;
            None
        }
    };
    let mut said = String::new();
    child.stderr.take().ok_or("no pipe")?.read_to_string(&mut said)?;
    let said = said.lines().last().unwrap_or("(nothing)").to_owned();
    let answered = match visitor {
        Some(mut answer) => {
            let mut rest = Vec::new();
            let read = answer.read_to_end(&mut rest);
            // The last chunk of a complete answer has no bytes.
            Some(read.is_ok() && rest.ends_with(b"0\r\n\r\n"))
        }
        None => None,
    };
    Ok(Ended { after, code, answered, before, said })
}

/// A visitor, when the server has begun to answer. `None` if it has no answer to wait for.
fn visit(address: &str, situation: Situation) -> Result<Option<BufReader<TcpStream>>, BoxError> {
    let (page, begun) = match situation {
        Situation::Request => ("/work", "begun"),
        Situation::Events => ("/events", "data: tick"),
        Situation::Deaf => ("/deaf", "data: tick"),
        Situation::Idle => ("/", ""),
        _ => return Ok(None),
    };
    let mut connection = TcpStream::connect(address)?;
    write!(connection, "GET {page} HTTP/1.1\r\nhost: x\r\n\r\n")?;
    let mut answer = BufReader::new(connection);
    let mut line = String::new();
    loop {
        line.clear();
        if answer.read_line(&mut line)? == 0 {
            return Err("the server has hung up".into());
        }
        if line.trim_end() == begun {
            break;
        }
    }
    if situation == Situation::Idle {
        let mut body = [0; 5];
        answer.read_exact(&mut body)?;
        // It is kept alive for as long as the process.
        std::mem::forget(answer);
        return Ok(None);
    }
    Ok(Some(answer))
}
