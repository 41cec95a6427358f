// embedding_vec4_backward: second stage of the gradient of a table, where the number of columns is a multiple of 4.
//
// Shapes:    as embedding_backward; n_col counts groups of 4 columns.
// Work:      one invocation per sorted index and four columns; those not at the start of a run do nothing.
// Numerics:  as embedding_backward, element for element.
// Limits:    n_row * n_col < 2^32; tokens outside the rows bound here belong to another dispatch.
// Reference: src/reference/embedding.rs.
//: import index embedding_backward
//: variant cpu WG=256u
alias Value = vec4<f32>;

@group(0) @binding(0) var<storage, read_write> dwte: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
