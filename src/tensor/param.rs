use super::Shape;

/// A trained parameter, declared where the model uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Its name in checkpoints: `h.3.attn.c_proj.weight`.
    pub name: String,
    /// Its axes.
    pub shape: Shape,
    /// Its values before the first step.
    pub init: Init,
    /// How the optimizer treats it.
    pub group: ParamGroup,
    /// The order of its elements in other programs' files.
    pub layout: Layout,
}

/// The values of a parameter before the first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Drawn from a normal distribution around 0.
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

/// The kinds of parameters that optimizers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamGroup {
    /// The weight of a linear layer.
    Matrix,
    /// A table with a row per token or position, or an output projection, which also has a row per token.
    Embedding,
    /// A bias or the weight of a norm.
    Vector,
}

impl ParamGroup {
    /// Whether weight decay applies: to all but vectors, as in GPT-2's training.
    pub fn decays(self) -> bool {
        self != Self::Vector
    }
}

/// The order of a parameter's elements, which exporters follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A linear layer's weight (inputs, outputs), as GPT-2 stores it. PyTorch's `Linear` stores the transpose.
    InOut,
    /// The same in every program.
    Plain,
}
