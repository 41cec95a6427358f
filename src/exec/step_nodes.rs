//! Running a phase one node at a time, to inspect what each node produces.

use std::ops::ControlFlow;

use super::{ExecError, Program};
use crate::graph::Phase;

impl Program {
    /// Runs a phase node by node and calls `look` with each node's index after it has run, while its outputs still
    /// exist. The results are those of [`Program::run`].
    ///
    /// # Errors
    ///
    /// Any failure that the device has reported, and any error of `look`.
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
