// embedding_backward: second stage of the gradient of a table: adds each token's chunks to its row.
//
// Shapes:    dwte (n_id, n_col): rows first_id.. of the table's gradient; partials (n_row, n_col); sorted (3, n_row).
// Work:      one invocation per sorted index and column; those not at the start of a run do nothing.
// Numerics:  the chunks' sums in order, added to what dwte holds.
// Limits:    n_row * n_col < 2^32; tokens outside the rows bound here belong to another dispatch.
// Reference: src/reference/embedding.rs.
//: import index embedding_backward
//: variant cpu WG=256u
alias Value = f32;

@group(0) @binding(0) var<storage, read_write> dwte: array<f32>;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
