use std::time::{Duration, Instant};

use super::{Run, RunError, Session, SessionError};
use crate::exec::HostTime;
use crate::speed::{Peaks, Profile, Spans};

/// Steps before the profile: kernels are compiled and command buffers reach their size.
const WARM_UP: u64 = 3;

impl Run {
    /// Checks that `left` steps are enough for a profile.
    ///
    /// # Errors
    ///
    /// [`RunError::NoProfile`] if they aren't.
    pub fn check_profile(left: u64) -> Result<(), RunError> {
        Profiling::new(1, left).map(drop).ok_or(RunError::NoProfile { left })
    }
}

/// Profiles a run while it trains: after a warm-up, some steps as usual and as many with every dispatch timed.
#[derive(Debug)]
pub(super) struct Profiling {
    n_step: u64,
    done: u64,
    started: Instant,
    host: HostTime,
    plain: Duration,
    timed: Duration,
}

impl Profiling {
    /// A profile of `n_step` steps, or of fewer if only `left` are left; `None` if those are too few.
    pub(super) fn new(n_step: u64, left: u64) -> Option<Self> {
        let n_step = n_step.min(left.saturating_sub(WARM_UP) / 2);
        let (plain, timed) = (Duration::ZERO, Duration::ZERO);
        let started = Instant::now();
        (n_step > 0).then(|| Self { n_step, done: 0, started, host: HostTime::default(), plain, timed })
    }

    /// To be called before each step.
    pub(super) fn before(&mut self, session: &Session) -> Result<(), SessionError> {
        let program = session.program();
        program.gpu().wait().map_err(crate::exec::ExecError::from)?;
        if self.done == WARM_UP {
            self.host = program.host_time();
        }
        if self.done == WARM_UP + self.n_step {
            self.host = program.host_time().since(self.host);
            program.start_timing()?;
        }
        self.started = Instant::now();
        Ok(())
    }

    /// To be called after each step. Returns the profile after the last one.
    pub(super) fn after(&mut self, session: &Session) -> Result<Option<Profile>, SessionError> {
        let program = session.program();
        program.gpu().wait().map_err(crate::exec::ExecError::from)?;
        let took = self.started.elapsed();
        if self.done >= WARM_UP + self.n_step {
            self.timed += took;
        } else if self.done >= WARM_UP {
            self.plain += took;
        }
        self.done += 1;
        if self.done < WARM_UP + 2 * self.n_step {
            return Ok(None);
        }
        let timings = program.stop_timing();
        let spans = Spans { n_step: self.n_step, plain: self.plain, timed: self.timed, host: self.host };
        let peaks = Peaks::measure(program.gpu(), &program.plan().choice)?;
        Ok(Some(Profile::new(program.plan(), &timings, spans, peaks, &program.gpu().name())))
    }
}
