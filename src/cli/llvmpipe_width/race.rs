//! Two ways to open a device, compared in processes of their own: a driver reads its settings when it is loaded.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What a process may take until its kernels are compiled: they need 3 to 5 seconds of a core, on a busy machine many times that.
const READY: Duration = Duration::from_secs(90);
/// What one lap may take.
const LAP: Duration = Duration::from_secs(10);
/// How long the laps of all go on, once every process is ready.
const SPAN: Duration = Duration::from_millis(800);
/// The fewest laps of each, and the most.
const LAPS: std::ops::Range<u32> = 5..40;

/// The shortest lap of each process; `None` of one that failed or took too long. A process runs a lap for each line that it
/// gets, and answers with what that took, in nanoseconds. They take turns, so that what else the machine does meets all alike.
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
                    // whatever else a process says is no lap
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

    /// Waits for the end of a lap.
    fn arrive(&mut self, most: Duration) {
        let Some(running) = &self.running else { return };
        match running.laps.recv_timeout(most) {
            Ok(lap) => self.best = Some(self.best.map_or(lap, |best| best.min(lap))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.give_up(),
        }
    }

    /// One that fails on the way has shown nothing.
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
    fn the_shortest_lap_counts_and_whoever_fails_is_out() {
        let best = race([
            script("n=900; while read line; do n=$((n - 1)); test $n -gt 880 || n=900; echo $n; done"),
            script("exit 3"),
            script("read line; echo 5; read line; exit 1"),
            script("while read line; do echo nonsense; done"),
            Command::new("/nonexistent"),
        ]);
        assert_eq!(best[1..], [None; 4]);
        let ns = best[0].map_or(0, |best| best.as_nanos());
        // five laps at least were run after the first
        assert!((881..=894).contains(&ns), "{ns}");
    }
}
