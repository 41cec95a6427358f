// embedding_backward_chunks: first stage of the gradient of a table: sums over chunks of positions of one token.
//
// Shapes:    partials (n_row, n_col), written at the first sorted index of each chunk only; dout (n_row, n_col); sorted
//            (3, n_row): positions sorted by token, the token at each, and where that token's run begins in this order.
// Work:      one invocation per sorted index and column; those not at the start of a chunk do nothing.
// Numerics:  sums of up to CHUNK values in order of positions.
// Limits:    n_row * n_col < 2^32; positions beyond dout (the host passes none) are read as the last one.
// Reference: src/reference/embedding.rs.
//: import index embedding_backward_chunks
//: variant cpu WG=256u
alias Value = f32;

@group(0) @binding(0) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;
