//! Times different ways to open a device, each in its own process: a driver reads its settings when it is loaded.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Time limit for compiling a process's kernels: they need 3 to 5 seconds of a core, many times that on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// Time limit for one lap.
const LAP: Duration = Duration::from_secs(10);
/// How long all laps take together, once every process is ready.
const SPAN: Duration = Duration::from_millis(800);
/// The minimum and maximum number of laps of each process.
const LAPS: std::ops::Range<u32> = 5..40;

/// Returns the shortest lap of each process; `None` for one that failed or took too long. A process runs a lap for each
/// line on its standard input and prints the time in nanoseconds. Processes take turns, so that other load affects all
/// alike.
pub(super) fn race<const N: usize>(commands: [Command; N]) -> [Option<Duration>; N] {
    let mut runners = commands.map(Runner::start);
    // all compile at once
    runners.iter_mut().for_each(Runner::go);
    for runner in &mut runners {
        runner.arrive(READY);
    }
    let started = Instant::now();
    for lap in 0..LAPS.end {
        if lap >= LAPS.start && started.elapsed() > SPAN {
            break;
        }
        for runner in &mut runners {
            runner.go();
            runner.arrive(LAP);
        }
    }
    runners.map(|runner| runner.best)
}

struct Runner {
    running: Option<Running>,
    best: Option<Duration>,
}

struct Running {
    child: Child,
    starter: ChildStdin,
    laps: Receiver<Duration>,
}

impl Runner {
    fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let running = child.ok().and_then(|mut child| {
            let (starter, out) = (child.stdin.take()?, child.stdout.take()?);
            let (sender, laps) = channel();
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines() {
                    // any other output ends the race for this process
                    let Some(ns) = line.ok().and_then(|line| line.trim().parse().ok()) else { return };
                    if sender.send(Duration::from_nanos(ns)).is_err() {
                        return;
                    }
                }
            });
            Some(Running { child, starter, laps })
        });
        Self { running, best: None }
    }

    fn go(&mut self) {
        if let Some(running) = &mut self.running
            && running.starter.write_all(b"\n").is_err()
        {
            self.give_up();
        }
    }

    /// Waits up to `limit` for the end of a lap.
    fn arrive(&mut self, limit: Duration) {
        let Some(running) = &self.running else { return };
        match running.laps.recv_timeout(limit) {
            Ok(lap) => self.best = Some(self.best.map_or(lap, |best| best.min(lap))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.give_up(),
        }
    }

    /// Discards the process and its laps: a process that fails midway proves nothing.
    fn give_up(&mut self) {
        self.running = None;
        self.best = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn script(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn the_shortest_lap_counts_and_failing_processes_are_out() {
        let best = race([
            script("n=900; while read line; do n=$((n - 1)); test $n -gt 880 || n=900; echo $n; done"),
            script("exit 3"),
            script("read line; echo 5; read line; exit 1"),
            script("while read line; do echo nonsense; done"),
            Command::new("/nonexistent"),
        ]);
        assert_eq!(best[1..], [None; 4]);
        let ns = best[0].map_or(0, |best| best.as_nanos());
        // at least five laps were run after the first
        assert!((881..=894).contains(&ns), "{ns}");
    }
}
