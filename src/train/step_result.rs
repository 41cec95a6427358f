/// The result of a step, available some steps later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// The step's number, from 1.
    pub step: u64,
    /// Mean negative log-likelihood over the step's real targets, nats.
    pub loss: f32,
    /// Global norm of the gradients before clipping; 0 if they weren't finite.
    pub grad_norm: f32,
    /// Whether loss and gradients were finite. Otherwise the step changed nothing.
    pub finite: bool,
    /// Whether the step changed the weights: it was finite, and within the limits of [`super::Session::set_limits`].
    pub applied: bool,
    /// Gradient elements that weren't finite.
    pub n_nonfinite: f32,
    /// Steps so far that changed nothing.
    pub n_skipped: u64,
    /// Real targets in the step.
    pub n_target: u64,
}

impl StepResult {
    /// Loss and gradient norm, if both are finite.
    pub(super) fn for_spikes(&self) -> Option<(f32, f32)> {
        self.finite.then_some((self.loss, self.grad_norm))
    }
}
