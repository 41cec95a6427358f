// embedding_backward_chunks: first stage of the gradient of a table: sums over chunks of positions of one token.
//
// Shapes:    partials (n_row, n_col), written at the first sorted index of each chunk only; dout (n_row, n_col); sorted
//            (3, n_row): positions sorted by token, the token at each, where in the order that token's run begins.
// Work:      one invocation per sorted index and column; those that begin no chunk do nothing.
// Numerics:  sums of up to CHUNK values in order of positions.
// Limits:    n_row * n_col < 2^32; positions beyond dout (the host makes none) are read as the last one.
// Reference: src/reference/embedding.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const CHUNK: u32 = 32u;

struct Params { n_row: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let first = i / params.n_col;
    let col = i % params.n_col;
    let n = params.n_row;
    if first >= n { return; }
    let run = sorted[2u * n + first];
    if (first - run) % CHUNK != 0u { return; }
    let end = min(first + CHUNK, n);
    var sum = 0.0;
    for (var k = first; k < end && sorted[2u * n + k] == run; k++) {
        sum += dout[min(sorted[k], n - 1u) * params.n_col + col];
    }
    partials[i] = sum;
}
