// embedding_vec4_backward_chunks: first stage of the gradient of a table, if the number of columns is a multiple of 4.
//
// Shapes:    as embedding_backward_chunks; n_col counts groups of 4 columns.
// Work:      one invocation per sorted index and four columns; those not at the start of a chunk do nothing.
// Numerics:  as embedding_backward_chunks, element for element.
// Limits:    n_row * n_col < 2^32; positions beyond dout (the host passes none) are read as the last one.
// Reference: src/reference/embedding.rs.
//: import index embedding_backward_chunks
//: variant cpu WG=256u
alias Value = vec4<f32>;

@group(0) @binding(0) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
