// embedding_backward: second stage of the gradient of a table: adds each token's chunks to its row.
//
// Shapes:    dwte (n_id, n_col): rows first_id.. of the table's gradient; partials (n_row, n_col); sorted (3, n_row).
// Work:      one invocation per sorted index and column; those that begin no run do nothing.
// Numerics:  the chunks' sums in order, added to what dwte holds.
// Limits:    n_row * n_col < 2^32; tokens outside of the rows bound here are left to another dispatch.
// Reference: src/reference/embedding.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const CHUNK: u32 = 32u;

struct Params { n_row: u32, n_col: u32, first_id: u32, n_id: u32 }
@group(0) @binding(0) var<storage, read_write> dwte: array<f32>;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> sorted: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let run = i / params.n_col;
    let col = i % params.n_col;
    let n = params.n_row;
    if run >= n { return; }
    let token = sorted[n + run];
    let here = token >= params.first_id && token - params.first_id < params.n_id;
    if !here || sorted[2u * n + run] != run { return; }
    var sum = 0.0;
    for (var k = run; k < n && sorted[2u * n + k] == run; k += CHUNK) {
        sum += partials[k * params.n_col + col];
    }
    dwte[(token - params.first_id) * params.n_col + col] += sum;
}
