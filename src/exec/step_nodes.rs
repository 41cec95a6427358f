//! Running a phase one node after another, to see what each one makes.

use std::ops::ControlFlow;

use super::{ExecError, Program};
use crate::graph::Phase;

impl Program {
    /// Runs a phase node by node, and calls `look` with the index of each after it, when its outputs are still there. The
    /// results are those of [`Program::run`].
    ///
    /// # Errors
    ///
    /// Any failure that the device has reported, and whatever `look` fails with.
    pub fn run_nodes<E: From<ExecError>>(
        &self,
        phase: Phase,
        mut look: impl FnMut(usize) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut next = self.calls.partition_point(|c| c.phase < phase);
        let end = self.calls.partition_point(|c| c.phase <= phase);
        while next < end {
            let node = self.plan.steps[next].node;
            let n = self.plan.steps[next..end].iter().take_while(|step| step.node == node).count();
            let submission = self.submit(&self.calls[next..next + n], None);
            self.gpu.wait_for(submission).map_err(ExecError::from)?;
            next += n;
            if look(node)?.is_break() {
                break;
            }
        }
        Ok(self.gpu.check().map_err(ExecError::from)?)
    }
}
