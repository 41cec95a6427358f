// layernorm_backward_weight: first stage of the gradients of layer norm's weight and bias: sums over chunks of rows.
//
// Shapes:    partials (chunks of CHUNK rows, n_col); dout, inp (n_row, n_col); mean, rstd (n_row).
// Work:      one invocation per chunk and column; neighbours take neighbouring columns.
// Numerics:  sums of CHUNK products dout xhat, or of dout with BIAS, in order of rows.
// Limits:    n_row * n_col < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/layernorm.rs.
//: import index
//: variant cpu WG=16u
const WG: u32 = 64u;       //: tune
const BIAS: bool = false;  //: mode false true
const CHUNK: u32 = 32u;

struct Params { n_row: u32, n_col: u32, first_chunk: u32 }
@group(0) @binding(0) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read> inp: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let chunk = i / params.n_col;
    let col = i % params.n_col;
    let first = chunk * CHUNK;
    if first >= params.n_row { return; }
    let end = min(first + CHUNK, params.n_row);
    var sum = 0.0;
    for (var row = first; row < end; row++) {
        let at = row * params.n_col + col;
        var term = dout[at];
        if !BIAS { term *= (inp[at] - mean[row]) * rstd[row]; }
        sum += term;
    }
    partials[(params.first_chunk + chunk) * params.n_col + col] = sum;
}
